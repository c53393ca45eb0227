"""Keeps a sweep's workers to nodes of one kind while nodes come and go."""

from dataclasses import replace

import ray

from sweeps.processes.job import Options
from sweeps.run.placement import probes
from sweeps.run.placement.nodes import NODE_LABEL, ClusterNode, living_nodes, selector, workers_on


class WorkerNodes:
    """The nodes that a sweep's workers may use: large enough, with the labels, and not known to be of another kind.

    A node that joins may get a worker before its kind is known. That worker refuses its cohort, which is trained elsewhere.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._asked: dict[str, ray.ObjectRef] = {}  # nodes by id that were asked for their processor, with the task
        self._seen: set[str] = set()

    @property
    def room(self) -> int:
        """How many workers these nodes can hold at once, whatever else they do; at most as many as the sweep may have."""
        fitting = workers_on([node for node in living_nodes() if node.id not in self._options.avoid], self._options)
        return min(fitting, self._options.workers or fitting)

    @property
    def has_room(self) -> bool:
        """Whether any of these nodes can hold a worker; nodes may be lost and join while a sweep runs."""
        return not ray.is_initialized() or self.room > 0

    @property
    def selector(self) -> dict[str, str]:
        """Ray's label selector for these nodes."""
        return selector(self._options)

    def look(self) -> None:
        """Find out the kind of each node that has joined, without waiting for an answer."""
        if self._options.kind is None:
            return
        for node in living_nodes():
            if node.id not in self._seen and node.slots(self._options):
                self._seen.add(node.id)
                self._ask(node)
        answered, _ = ray.wait(list(self._asked.values()), num_returns=len(self._asked), timeout=0)
        for id in [id for id, task in self._asked.items() if task in answered]:
            self._heed(id, self._asked.pop(id))

    def avoid(self, node: str) -> None:
        """Use a node no longer, because it is of another kind."""
        if node not in self._options.avoid:
            self._options = replace(self._options, avoid=(*self._options.avoid, node))

    def _ask(self, node: ClusterNode) -> None:
        if not self._options.is_accelerated:
            self._asked[node.id] = probes.processor_there.options(label_selector={NODE_LABEL: node.id}).remote()
        elif node.accelerator != self._options.kind:
            self.avoid(node.id)

    def _heed(self, id: str, task: ray.ObjectRef) -> None:
        try:
            kind = ray.get(task)
        except ray.exceptions.RayError:  # it may be gone again; if not, a worker there reports what is wrong
            return
        if kind != self._options.kind:
            self.avoid(id)
