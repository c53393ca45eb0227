"""What is known of a sweep's execution without asking a cluster."""

from pathlib import Path
from typing import Any

import pytest

from services.errors import OperationError
from services.schemas import Request
from services.settings import Settings
from services.verbs.running import placing
from sweeps.processes.job import ACCELERATOR_LABEL
from sweeps.spec.sweep import SweepSpec, load_spec, parse_document
from workers.contracts import Metric
from workers.trajectory import Identity


@pytest.fixture
def spec() -> SweepSpec:
    return load_spec("fig-s6a-digits")


def test_labels_choose_nodes_of_a_cluster_and_not_this_machine(spec: SweepSpec, tmp_path: Path) -> None:
    given = {"ABEL_HOME": str(tmp_path), "ABEL_RAY_LABELS": "pool=train"}
    here = Settings.from_env(given)
    there = Settings.from_env(given | {"ABEL_RAY_ADDRESS": "head:6379"})
    assert placing.options(here, Request(spec="fig-s6a-digits"), spec).labels == {}
    assert placing.options(there, Request(spec="fig-s6a-digits"), spec).labels == {"pool": "train"}


def test_workers_find_the_object_store(spec: SweepSpec, tmp_path: Path) -> None:
    settings = Settings.from_env({"ABEL_HOME": str(tmp_path), "ABEL_STORE": "s3://lab/sweeps"})
    options = placing.options(settings, Request(spec="fig-s6a-digits"), spec)
    assert (options.store, options.checkpoints) == ("s3://lab/sweeps", settings.cache / "checkpoints")
    assert ACCELERATOR_LABEL not in options.labels


def test_a_worker_of_several_hosts_needs_a_cluster(spec: SweepSpec, tmp_path: Path) -> None:
    wide = spec.model_copy(update={"resources": spec.resources.model_copy(update={"hosts": 2})})
    settings = Settings.from_env({"ABEL_HOME": str(tmp_path)})
    rule = "resources.hosts: must be 1 without a Ray cluster, whose address is in ABEL_RAY_ADDRESS, got 2"
    with pytest.raises(OperationError, match=rule):
        placing.place(settings, Request(spec="fig-s6a-digits"), wide)


@pytest.mark.parametrize(
    ("highest", "scaled", "got"),
    [
        ((100.0, 200.0), False, "mean_return in 0..100, mean_return in 0..200"),
        (
            (100.0, 100.0),
            True,
            "mean_return in 0..100 of minatar: breakout, mean_return in 0..100 of minatar: space_invaders",
        ),
    ],
)
def test_trials_are_compared_by_one_metric_of_one_range_and_game(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, highest: tuple[float, float], scaled: bool, got: str
) -> None:
    spec = load_spec("table-2-rl-mini")
    given = spec.to_dict()
    other = given["arms"]["linear"] | {"program": {"data": {"kind": "minatar", "game": "breakout"}}}
    both = parse_document(given | {"arms": given["arms"] | {"other": other}})

    def identities(programs: list[Any], *given: Any) -> dict[Any, Identity]:
        ends = dict(zip(("breakout", "space_invaders"), highest, strict=True))
        return {
            program: Identity(
                program={"batch_size": program.batch_size},
                data="",
                examples=10**6,
                numerics={"devices": "1"},
                code="",
                metric=Metric(
                    name="mean_return",
                    label="return",
                    bounds=(0.0, ends[program.data.game]),
                    bounds_of=f"minatar: {program.data.game}" if scaled else "",
                ),
            )
            for program in programs
        }

    monkeypatch.setattr(placing, "identities_here", identities)
    settings = Settings.from_env({"ABEL_HOME": str(tmp_path)})
    rule = f"must be compared by one metric, got {got}; give each a sweep of its own"
    with pytest.raises(OperationError, match=rule):
        placing.place(settings, Request(spec="table-2-rl-mini"), both)
    assert len(placing.place(settings, Request(spec="table-2-rl-mini"), spec).identities) == 1
