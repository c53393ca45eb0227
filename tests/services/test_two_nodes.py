"""A Ray cluster of two nodes, of which one is lost: it trains on elsewhere, and the curves are those of a quiet run."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cluster
import pytest
from cluster import Network, Node, node
from oracle import MOVING, Curves, compare

from abel.schedules import Event
from services.execution import NO_NODE, NODE_JOINED
from sweeps.failures import FailureClass
from sweeps.ledger import Ledger
from sweeps.spec import load_spec
from workers.cohort import Cohort, Member, Record, train
from workers.workshop import Workshop

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SPEC = Path(__file__).parents[1] / "chaos" / "nodes.yaml"
PATIENCE_SECONDS = 180
LOOK_SECONDS = 0.1


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Curves:
    """Every trial trained alone in this process, without Ray."""
    workshop = Workshop(checkpoints=tmp_path_factory.mktemp("alone"), data_dir=None)
    curves: dict[tuple[str, int], Mapping[str, float]] = {}
    for trial in load_spec(SPEC).expand():
        cohort = Cohort(
            identity=workshop.identity(trial.program),
            seed=trial.seed,
            epochs=trial.epochs,
            members=(Member(trial=trial.name, schedule=trial.schedule),),
            salt=trial.name,
        )
        for record in train(cohort, workshop):
            if isinstance(record, Record):
                metrics = {name: value for name, value in record.metrics.items() if name not in MOVING}
                curves[trial.name, record.epoch] = metrics
    return curves


@dataclass
class Run:
    """``abel run`` of the sweep on a cluster, under way."""

    process: "subprocess.Popen[bytes]"
    home: Path
    ledger: Ledger

    def wait_until(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait until something holds, while the command runs."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            assert self.process.poll() is None, f"the run ended before {what}: {self.said}"
            assert time.monotonic() < until, f"{what} did not come about: {self.said}"
            time.sleep(LOOK_SECONDS)

    def wait_for_records(self, node: Node) -> None:
        """Wait until an epoch is recorded that this node trained."""
        self.wait_until("a record", lambda: bool(self.workers & {process.pid for process in node.processes()}))

    @property
    def workers(self) -> set[int]:
        """The processes that trained what is recorded so far."""
        heads = [row.head for sweep in self.ledger.sweeps() for row in self.ledger.trials(sweep.id)]
        return {int(state.worker.rpartition(":")[2]) for head in heads for state in self.ledger.curve(head)}

    @property
    def said(self) -> str:
        return (self.home / "stderr").read_text()

    def assert_ends_like(self, expected: Curves) -> None:
        """Wait for the end, by itself, and compare every record."""
        assert self.process.wait(PATIENCE_SECONDS) == 0, self.said
        assert json.loads((self.home / "stdout").read_text())["outcome"] == "finished"
        assert "Traceback" not in self.said
        sweep_id = self.ledger.sweep("chaos-nodes").id
        found = compare(expected, self.ledger, sweep_id)
        assert found.is_clean and found.records == len(expected), found
        turns = [event.payload for event in self.ledger.events_of(sweep_id, "schedule")]
        assert len({turn["epoch"] for turn in turns if turn["event"] & Event.DECAY}) > 1  # forks out of the data
        incidents = self.ledger.events_of(sweep_id, "incident")
        assert {event.payload["class"] for event in incidents} == {FailureClass.INFRASTRUCTURE}


@pytest.fixture
def start(abel_home: Path) -> Iterator[Callable[[Node, Network], Run]]:
    """Start the command on a cluster's head."""
    with ExitStack() as started:

        def begin(head: Node, network: Network = cluster.HERE) -> Run:
            command = [*network.entry, sys.executable, "-m", "services.cli", "run", str(SPEC)]
            abel_home.mkdir()
            with (abel_home / "stdout").open("wb") as out, (abel_home / "stderr").open("wb") as err:
                process = subprocess.Popen(
                    [*command, "--no-tracking", "--save-every", "2", "--json"],
                    env=os.environ | {"ABEL_RAY_ADDRESS": head.cluster},
                    stdout=out,
                    stderr=err,
                )
            started.enter_context(process)
            started.callback(process.kill)
            ledger = Ledger.open(f"sqlite:///{abel_home}/ledger.db")
            started.callback(ledger.close)
            return Run(process, abel_home, ledger)

        yield begin


def test_a_sweep_waits_when_the_last_node_is_killed_and_goes_on_when_another_joins(
    expected: Curves, start: Any
) -> None:
    with node(cpus=0) as head:
        with node(head.cluster, cpus=2) as first:
            run = start(head)
            run.wait_for_records(first)
            first.kill()
            run.wait_until("the wait for a node", lambda: NO_NODE in run.said)
        with node(head.cluster, cpus=2) as second:
            run.wait_for_records(second)
            run.assert_ends_like(expected)
    assert NODE_JOINED in run.said
