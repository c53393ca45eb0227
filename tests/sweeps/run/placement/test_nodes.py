"""What a node of a cluster offers a worker, from what Ray says about it, and how a sweep is kept to nodes of one kind."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sweeps.processes.identity import IdentityError
from sweeps.processes.job import ACCELERATOR_LABEL, Options
from sweeps.processes.surveying import options_from_dict, options_to_dict
from sweeps.run.placement.nodes import NODE_LABEL, ClusterNode, refuse_if_none_fits, selector, workers_on
from sweeps.run.placement.survey import pin


def options(**parts: Any) -> Options:
    return Options(checkpoints=Path("checkpoints"), cache=Path("cache"), **parts)


def machine(id: str = "a", labels: Mapping[str, str] | None = None, **resources: float) -> ClusterNode:
    return ClusterNode(id=id, resources=resources, labels=labels or {})


def test_slots_are_limited_by_the_scarcest_resource() -> None:
    there = machine(CPU=8, GPU=4, slot=3)
    assert there.slots(options(cpu=2)) == 4
    assert there.slots(options(cpu=2, gpu=2)) == 2
    assert there.slots(options(gpu=0.5, custom={"slot": 1})) == 3
    assert there.slots(options(tpu=4)) == 0
    assert there.slots(options(labels={"pool": "train"})) == 0


@pytest.mark.parametrize(
    ("slots", "hosts", "workers"),
    [((3, 1), 1, 4), ((3, 1), 2, 1), ((3, 3), 2, 3), ((2, 1, 1), 2, 2), ((5, 1, 1), 2, 2), ((4, 4), 3, 0), ((), 2, 0)],
)
def test_processes_of_a_gang_are_on_different_nodes(slots: tuple[int, ...], hosts: int, workers: int) -> None:
    nodes = [machine(str(number), CPU=count) for number, count in enumerate(slots)]
    assert workers_on(nodes, options(hosts=hosts)) == workers


def test_an_accelerator_is_known_by_ray_s_label_or_resource() -> None:
    assert machine(labels={ACCELERATOR_LABEL: "A100"}, GPU=1).accelerator == "A100"
    assert machine(**{"GPU": 1, "accelerator_type:H100": 1}).accelerator == "H100"
    assert machine(GPU=1).accelerator == "no accelerator type"


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (options(cpu=9), "resources.cpu: must be at most the 8 that Ray offers here, got 9"),
        (options(custom={"slot": 1}), "resources.custom.slot: must be at most the 0 that Ray offers here, got 1"),
        (options(cpu=8, gpu=1), "resources: must fit on one node of the Ray cluster, got cpu 8, gpu 1"),
        (
            options(cpu=2, hosts=2),
            "resources.hosts: must be at most the 1 nodes of the Ray cluster that are large enough, got 2",
        ),
        (options(labels={"pool": "x"}), "Ray cluster: must have a node with the labels pool=x, got 2 nodes without"),
    ],
)
def test_a_worker_that_fits_nowhere_is_refused(wanted: Options, said: str) -> None:
    with pytest.raises(IdentityError) as info:
        refuse_if_none_fits(wanted, [machine("a", CPU=8), machine("b", CPU=1, GPU=1)])
    assert str(info.value) == said


def test_accelerators_are_chosen_by_label_and_cpus_by_exclusion() -> None:
    nodes = [
        machine("a", {ACCELERATOR_LABEL: "A100"}, CPU=1, GPU=1),
        machine("b", {ACCELERATOR_LABEL: "H100"}, CPU=1, GPU=1),
    ]
    by_label = pin(options(gpu=1), "A100", nodes, {"a": "A100", "b": "H100"})
    assert (by_label.kind, selector(by_label)) == ("A100", {ACCELERATOR_LABEL: "A100"})
    by_id = pin(options(), "this CPU", nodes, {"a": "this CPU", "b": "that CPU"})
    assert (by_id.kind, selector(by_id)) == ("this CPU", {NODE_LABEL: "!in(b)"})
    only = pin(options(labels={"pool": "x"}), "this CPU", nodes, {"a": "this CPU", "b": "this CPU"})
    assert selector(only) == {"pool": "x"}


def test_a_node_that_did_not_tell_its_processor_is_avoided() -> None:
    nodes = [machine("a", CPU=1), machine("b", CPU=1), machine("c", CPU=0.5)]
    assert selector(pin(options(), "this CPU", nodes, {"a": "this CPU"})) == {NODE_LABEL: "!in(b)"}


def test_options_survive_the_way_to_the_survey() -> None:
    given = options(gpu=0.5, custom={"slot": 1}, labels={"pool": "x"}, avoid=("a", "b"), data_dir=Path("/data"))
    assert options_from_dict(options_to_dict(given)) == given
