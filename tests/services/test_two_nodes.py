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
from cluster import Cable, Network, Node, node
from oracle import Curves, compare, undisturbed

from abel.schedules import Event
from services.verbs.running.watching import NO_NODE, NODE_JOINED
from sweeps.ledger.ledger import Ledger
from sweeps.run.failures import FailureClass
from sweeps.spec.sweep import load_spec

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SPEC = Path(__file__).parents[1] / "chaos" / "nodes.yaml"
PATIENCE_SECONDS = 180  # a driver that trusts a connection which is dead waits five minutes
LOOK_SECONDS = 0.1
CUT_SECONDS = 30
# Of the head: it gives a node up after five seconds without an answer; the default is about a minute.
IMPATIENT = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Curves:
    """Every trial trained alone in this process, without Ray."""
    return undisturbed(load_spec(SPEC), tmp_path_factory.mktemp("alone"))


@dataclass
class Run:
    """``abel run`` of the sweep on a cluster, under way."""

    process: "subprocess.Popen[bytes]"
    home: Path
    ledger: Ledger

    def wait_until(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait until something holds, which the end of the command does not bring about."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            assert self.process.poll() in (None, 0), f"the run failed before {what}: {self.said}"
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
    def incidents(self) -> list[Mapping[str, Any]]:
        """What befell the sweep's workers."""
        return [e.payload for sweep in self.ledger.sweeps() for e in self.ledger.events_of(sweep.id, "incident")]

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
        assert {incident["class"] for incident in self.incidents} == {FailureClass.INFRASTRUCTURE}


@pytest.fixture
def cable() -> Iterator[Cable]:
    """A network for the head and one for the other node."""
    if reason := cluster.no_namespaces():
        pytest.skip(reason)
    with cluster.cable() as between:
        yield between


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


def test_a_sweep_without_nodes_waits_until_another_joins(expected: Curves, start: Any) -> None:
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


@pytest.mark.chaos
def test_a_node_whose_network_is_cut_for_30_s_goes_on_soon_after_it(expected: Curves, start: Any, cable: Cable) -> None:
    with node(cpus=0, network=cable.near) as head, node(head.cluster, cpus=2, network=cable.far) as far:
        run = start(head, cable.near)
        run.wait_for_records(far)
        before = run.workers
        cable.pull()
        time.sleep(CUT_SECONDS)
        cable.plug()
        run.wait_until("a record after the cut", lambda: run.workers > before)
        run.assert_ends_like(expected)


@pytest.mark.chaos
def test_a_node_given_up_during_a_cut_writes_nothing_when_it_comes_back(
    expected: Curves, start: Any, cable: Cable
) -> None:
    with node(cpus=1, network=cable.near, **IMPATIENT) as head, node(head.cluster, cpus=1, network=cable.far) as far:
        run = start(head, cable.near)
        run.wait_for_records(far)
        cable.pull()
        run.wait_until("an incident", lambda: bool(run.incidents))
        assert "its node has died" in run.incidents[0]["text"]
        assert far.processes()  # and its worker trains on, for nobody
        cable.plug()
        run.wait_until("the end of the node", lambda: not far.processes())
        run.assert_ends_like(expected)
    assert NO_NODE not in run.said  # the head's own processor took the work
