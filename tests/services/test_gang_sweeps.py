"""A sweep whose workers span two nodes, each in a network of its own: a process of a gang is killed, the curves are the same."""

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cluster
import psutil
import pytest
from bitwise import bits
from cluster import Node, node

from sweeps.ledger.ledger import Ledger
from sweeps.run.failures import FailureClass

pytestmark = [pytest.mark.ray, pytest.mark.slow]

EPOCHS = 30
# One that compiles quickly: each process of a gang has to compile it.
PROGRAM = {
    "task": "classify",
    "model": {"kind": "small_cnn", "width": 2},
    "data": {"kind": "digit_pairs", "train": 64, "test": 20},
    "batch_size": 16,
}
# Two trials with the same states but for the last, each trained by itself; there is room for one gang at a time.
CONSTANT = {"kind": "constant", "learning_rate": 0.05}
DECAY = {"kind": "decay_at", "learning_rate": 0.05, "decay_factor": 0.1, "decay_epoch": EPOCHS - 1}
ARMS = {"disturbed": {"schedule": CONSTANT}, "quiet": {"schedule": DECAY}}


def peers(at: Node) -> list[psutil.Process]:
    """The processes on a node that follow a gang's leader."""
    found = []
    for process in at.processes():
        with contextlib.suppress(psutil.Error):  # another of the node's workers ends meanwhile
            found += [process] if "ray::Peer" in " ".join(process.cmdline()) else []
    return found


def test_a_gang_that_loses_a_process_restarts_with_the_same_curve(
    abel_home: Path, tmp_path: Path, start: Callable[..., Any]
) -> None:
    spec = tmp_path / "gang.json"
    document = {"name": "gang", "program": PROGRAM, "epochs": EPOCHS, "seeds": [0], "arms": ARMS}
    spec.write_text(json.dumps(document | {"resources": {"hosts": 2}}))
    if reason := cluster.no_namespaces():
        pytest.skip(reason)
    command = [sys.executable, "-m", "services.cli", "run", str(spec), "--no-tracking", "--no-sharing"]
    with (
        cluster.cable() as cable,
        node(cpus=1, network=cable.near) as head,
        node(head.cluster, cpus=1, network=cable.far) as other,
    ):
        run = start([*cable.near.entry, *command, "--save-every", "1"], ABEL_RAY_ADDRESS=head.cluster)
        ledger = Ledger.open(f"sqlite:///{abel_home}/ledger.db")
        run.wait_for(lambda: any(ledger.work(sweep.id).trained for sweep in ledger.sweeps()))
        (peer,) = peers(head) + peers(other)
        peer.kill()
        run.wait_for_end()
    sweep = ledger.sweep("gang")
    assert {sweep.identities[0].numerics[name] for name in ("hosts", "devices")} == {"2"}
    (incident,) = ledger.events_of(sweep.id, "incident")
    assert incident.payload["class"] == FailureClass.INFRASTRUCTURE
    curves = {row.arm: [bits(one.metrics) for one in ledger.curve(row.head)] for row in ledger.trials(sweep.id)}
    assert len(curves["quiet"]) == EPOCHS
    assert curves["disturbed"][:-1] == curves["quiet"][:-1]
    ledger.close()
