"""A Ray cluster whose head cannot train, and one whose nodes are of two kinds: workers run on nodes of one kind."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cluster
import pytest
from cluster import Network, Node, node
from oracle import Curves, compare, undisturbed

from sweeps.ledger.ledger import Ledger
from sweeps.processes.job import ACCELERATOR_LABEL
from sweeps.spec.sweep import load_spec
from workers.trajectory import processor

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PATIENCE_SECONDS = 300
SPEC: dict[str, Any] = {
    "name": "placed",
    "program": {
        "task": "classify",
        "model": "small_cnn",
        "data": {"kind": "digit_pairs", "train": 96, "test": 40},
        "batch_size": 16,
    },
    "epochs": 4,
    "seeds": [0, 1],
    "arms": {
        "constant": {"schedule": {"kind": "constant", "learning_rate": 0.1}},
        "at": {
            "schedule": {"kind": "decay_at", "learning_rate": 0.1, "decay_factor": 0.1, "decay_epoch": 1},
            "grid": {"schedule.decay_epoch": [1, 2]},
        },
    },
}
OTHER_PROCESSOR = "processor\t: 0\nmodel name\t: Another CPU\nflags\t\t: fpu\n\n"
HIDDEN = 'mount --bind "$0" /proc/cpuinfo && exec "$@"'  # in a mount namespace, where it needs no root


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Curves:
    """Every trial trained alone in this process, without Ray."""
    folder = tmp_path_factory.mktemp("alone")
    return undisturbed(load_spec(_written(folder, {})), folder)


@pytest.fixture
def open_() -> Iterator[ExitStack]:
    """Ends the nodes of a test."""
    with ExitStack() as opened:
        yield opened


def _written(folder: Path, resources: dict[str, Any]) -> Path:
    file = folder / "placed.json"
    file.write_text(json.dumps(SPEC | ({"resources": resources} if resources else {})))
    return file


class Place:
    """A folder with a spec, and the commands on it at a cluster."""

    def __init__(self, folder: Path, head: Node, resources: dict[str, Any], **environment: str) -> None:
        self.home, self.spec = folder / "home", _written(folder, resources)
        self.environment = os.environ | {"ABEL_RAY_ADDRESS": head.cluster, "ABEL_HOME": str(self.home)} | environment

    def command(self, *arguments: str, entry: Sequence[str] = ()) -> "subprocess.CompletedProcess[str]":
        command = [*entry, sys.executable, "-m", "services.cli", *arguments]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )

    def run(self, entry: Sequence[str] = ()) -> "subprocess.CompletedProcess[str]":
        return self.command("run", str(self.spec), "--no-tracking", "--json", entry=entry)

    def device(self, expected: Curves) -> str:
        """The device that trained the sweep last run, whose records are compared with the expected ones."""
        ledger = Ledger.open(f"sqlite:///{self.home}/ledger.db")
        try:
            sweep = ledger.sweep("placed")
            found = compare(expected, ledger, sweep.id)
            assert found.is_clean and found.records == len(expected), found
            assert ledger.events_of(sweep.id, "incident") == []  # as a worker on another device would be
            return sweep.identities[0].numerics["device"]
        finally:
            ledger.close()


def _finished(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outcome"] == "finished"
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def test_a_head_without_the_resource_leaves_the_sweep_to_its_nodes(
    open_: ExitStack, tmp_path: Path, expected: Curves
) -> None:
    if reason := cluster.no_namespaces():
        pytest.skip(reason)
    cable = open_.enter_context(cluster.cable())
    # The head has another processor, as a machine without accelerators does.
    other = tmp_path / "cpuinfo"
    other.write_text(OTHER_PROCESSOR)
    hidden = ("unshare", "--mount", "sh", "-c", HIDDEN, str(other))
    head_network = Network(cable.near.address, (*cable.near.entry, *hidden))
    head = open_.enter_context(node(cpus=0, network=head_network))
    open_.enter_context(node(head.cluster, cpus=2, network=cable.far, resources={"slot": 2}))
    place = Place(tmp_path, head, {"custom": {"slot": 1}})
    planned = place.command("plan", str(place.spec), "--json", entry=head_network.entry)
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["workers"] == 2
    said = _finished(place.run(head_network.entry))
    assert "kinds" not in said
    assert place.device(expected) == f"cpu: {processor()}"


def test_the_kind_of_node_with_most_slots_is_used_by_default(
    open_: ExitStack, tmp_path: Path, expected: Curves
) -> None:
    if reason := cluster.no_namespaces():
        pytest.skip(reason)
    other = tmp_path / "cpuinfo"
    other.write_text(OTHER_PROCESSOR)
    hidden = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", HIDDEN, str(other))
    head = open_.enter_context(node(cpus=0))
    open_.enter_context(node(head.cluster, cpus=2, gpus=2, labels={ACCELERATOR_LABEL: "A100"}))
    few, network = {ACCELERATOR_LABEL: "H100"}, Network(entry=hidden)
    open_.enter_context(node(head.cluster, cpus=1, gpus=1, labels=few, network=network))

    by_processor = Place(tmp_path, head, {})
    planned = json.loads(by_processor.command("plan", str(by_processor.spec), "--json").stdout)
    assert planned["workers"] == 2
    (note,) = planned["notes"]
    assert f"{processor()} (2 workers), Another CPU" in note

    # No GPU is here: what these workers see instead are the two processors.
    majority = Place(tmp_path, head, {"gpu": 1})
    assert "A100 (2 workers), H100 (1 worker); only A100 is used" in _finished(majority.run())
    assert majority.device(expected) == f"cpu: {processor()}"

    named = Place(tmp_path, head, {"gpu": 1, "accelerator": "H100"})
    assert "kinds" not in _finished(named.run())
    assert named.device(expected).startswith("cpu: Another CPU")

    refused = Place(tmp_path, head, {"gpu": 1}, ABEL_RAY_LABELS="pool=none").run()
    assert refused.returncode == 2
    assert "must have a node with the labels pool=none, got 3 nodes without" in refused.stdout
