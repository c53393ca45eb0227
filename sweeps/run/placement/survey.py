"""The survey of a Ray cluster before a sweep: which kinds of node can hold its workers, and which of them to use.

The question is ``{"options": {...}, "programs": [...], "data_dir": folder or null, "hosts": number, "patience_seconds": seconds
or null}``. The answer is ``{"identities": [...], "slots": {kind: workers at once}, "options": {...}}``, with options that are
limited to one kind; or ``{"fault": message, "missing": whether data are missing}``; or ``{"away": message}`` if the cluster
cannot be joined.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import ray

from sweeps.processes.identity import DataAbsent, IdentityError
from sweeps.processes.job import ACCELERATOR_LABEL, ClusterAway, Options
from sweeps.processes.surveying import options_from_dict, options_to_dict
from sweeps.run.placement import probes
from sweeps.run.placement.nodes import NODE_LABEL, ClusterNode, living_nodes, refuse_if_none_fits, selector, workers_on
from sweeps.run.ray_cluster import first_line, ray_cluster

PROBE_SECONDS = 60.0  # a node that does not tell its processor within this time is not used


def main(question: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the answer to a question."""
    asked = dict(question)
    options = options_from_dict(asked.pop("options"))
    try:
        with ray_cluster(options, leave=lambda: None):
            return surveyed(options, asked)
    except ClusterAway as error:
        return {"away": str(error)}
    except IdentityError as error:
        return {"fault": str(error), "missing": isinstance(error, DataAbsent)}


def surveyed(options: Options, question: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the identities of the question's programs on nodes of the kind with the most slots, and all kinds.

    Raises:
        IdentityError: no node is large enough for a worker, or a program does not fit its data.
    """
    nodes = living_nodes()
    refuse_if_none_fits(options, nodes)
    kinds = _kinds([node for node in nodes if node.slots(options)], options)
    slots = {
        kind: workers_on([node for node in nodes if kinds.get(node.id) == kind], options) for kind in kinds.values()
    }
    (kind, most), *_ = sorted(slots.items(), key=lambda one: (-one[1], one[0]))
    if not most:
        found = ", ".join(f"{count} of {kind}" for kind, count in sorted(Counter(kinds.values()).items()))
        rule = f"must be at most the nodes of one kind, which are {found}"
        raise IdentityError(f"resources.hosts: {rule}, got {options.hosts}")
    pinned = pin(options, kind, nodes, kinds)
    return {**_asked(pinned, question), "slots": slots, "options": options_to_dict(pinned)}


def pin(options: Options, kind: str, nodes: Sequence[ClusterNode], kinds: Mapping[str, str]) -> Options:
    """Return options that keep workers to nodes of a kind: by its label where nodes have one, else by avoiding the others.

    Args:
        kinds: the kind of each node that is large enough, by id, as far as it is known; a node of unknown kind is avoided.
    """
    marked = {ACCELERATOR_LABEL: kind}
    if options.is_accelerated and all(node.has(marked) for node in nodes if kinds.get(node.id) == kind):
        return replace(options, kind=kind, labels={**options.labels, **marked})
    others = (node.id for node in nodes if node.slots(options) and kinds.get(node.id) != kind)
    return replace(options, kind=kind, avoid=tuple(others))


def _kinds(nodes: Sequence[ClusterNode], options: Options) -> Mapping[str, str]:
    """Return the kind of each node by id: the type of its accelerator if workers use it, else its processor."""
    if options.is_accelerated:
        return {node.id: node.accelerator for node in nodes}
    asked = {node.id: probes.processor_there.options(label_selector={NODE_LABEL: node.id}).remote() for node in nodes}
    answered, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=PROBE_SECONDS)
    found: dict[str, str] = {}
    why: Exception = TimeoutError(f"no answer within {PROBE_SECONDS:.0f} s")
    for id, task in asked.items():
        if task in answered:
            try:
                found[id] = ray.get(task)
            except Exception as error:  # a node may fail alone
                why = error
    if not found:
        raise IdentityError(f"a worker process must start on a node of the Ray cluster, but: {_last_line(why)}")
    return found


def _asked(options: Options, question: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the answer of a task that holds what a cohort holds, once such a slot is free."""
    task = probes.identities_there.options(
        num_cpus=options.cpu,
        num_gpus=options.gpu,
        resources={name: amount for name, amount in options.demand.items() if name not in ("CPU", "GPU")},
        label_selector=selector(options),
    ).remote(question)
    patience = question["patience_seconds"]
    try:
        answer: Mapping[str, Any] = ray.get(task, timeout=patience)
    except ray.exceptions.GetTimeoutError:
        raise IdentityError(f"Ray cluster: must have a free worker within {patience:.0f} s, got none") from None
    except Exception as error:
        text = f"{first_line(error)}: {_last_line(error)}"
        raise IdentityError(f"a worker process must start on a node of the Ray cluster, but: {text}") from error
    if "fault" in answer:
        raise (DataAbsent if answer["missing"] else IdentityError)(answer["fault"])
    return answer


def _last_line(error: Exception) -> str:
    """Return the last line of an error's text; Ray puts the cause there, below a traceback."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
