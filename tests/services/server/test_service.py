"""The service as a user runs it: submitted and killed with its service, a sweep has the curves of an undisturbed one.

In `make chaos` it is also paused and resumed.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from bitwise import bits, bits_of
from oracle import alone

from services.client.client import Client
from services.server.values import Happening
from sweeps.ledger.leases import Holder
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.submissions.queue import Submissions
from sweeps.spec.sweep import parse_document
from workers.config import Program, to_dict
from workers.workshop import Workshop

PAUSES = "CHAOS_SEEDS" in os.environ  # each costs another start of Ray

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def document(program: Any) -> dict[str, Any]:
    rate = {"learning_rate": 0.05, "decay_factor": 0.1}
    schedule = {"kind": "decay_at", "decay_epoch": 1} | rate
    return {
        "name": "served",
        "program": to_dict(program),
        "epochs": 120,
        "seeds": [0, 1],
        "arms": {"at": {"schedule": schedule, "grid": {"schedule.decay_epoch": [40, 80]}}},
    }


def test_a_sweep_survives_its_job_and_its_service(
    tiny_program: Program,
    abel_home: Path,
    tmp_path: Path,
    start: Callable[..., Any],
    free_port: Callable[[], int],
    reap: Callable[[], list[str]],
) -> None:
    spec, port = document(tiny_program), free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "services.cli", "serve", "--port", str(port)]
    service = start(command)
    service.wait_for(lambda: "serving at" in service.said)
    assert (abel_home / "token").stat().st_mode & 0o777 == 0o600
    client = Client(url, (abel_home / "token").read_text().strip(), patience_seconds=60)
    one, _ = client.submit(spec, key="once")
    seen: list[int] = []
    watching = threading.Thread(
        target=lambda: seen.extend(event.id for event in client.events(one.id) if isinstance(event, Happening))
    )
    watching.start()
    ledger = Ledger.open(f"sqlite:///{abel_home}/ledger.db")
    queue = Submissions.of(ledger)

    service.wait_for(lambda: covered(ledger, queue, one.id) >= 10)
    if PAUSES:
        client.pause(one.id)
        service.wait_for(lambda: client.show(one.id).submission.phase == "paused")
        paused_at = covered(ledger, queue, one.id)
        time.sleep(3)
        assert covered(ledger, queue, one.id) == paused_at
        client.resume(one.id)
        service.wait_for(lambda: covered(ledger, queue, one.id) > paused_at + 10)
    job = Holder.read(queue.submission(one.id).holder)
    assert str(abel_home) not in " ".join(psutil.Process(job.pid).cmdline())
    for process in [*psutil.Process(job.pid).children(recursive=True), psutil.Process(job.pid)]:
        process.send_signal(signal.SIGKILL)

    killed_at, launches = time.monotonic(), queue.submission(one.id).launches
    service.process.kill()
    service.process.wait()
    again = start(command)
    again.wait_for(lambda: queue.submission(one.id).launches > launches and queue.submission(one.id).is_held)
    assert time.monotonic() - killed_at < 60
    again.wait_for(lambda: queue.submission(one.id).outcome is not None)
    assert queue.submission(one.id).outcome == "finished", client.log(one.id)
    watching.join(60)

    sweep = ledger.sweep("served")
    curves = {row.name: [bits(state.metrics) for state in ledger.curve(row.head)] for row in ledger.trials(sweep.id)}
    workshop = Workshop(checkpoints=tmp_path / "alone", data_dir=None)
    assert curves == {trial.name: bits_of(alone(trial, workshop)) for trial in parse_document(spec).expand()}
    assert seen == [row.id for row in ledger.events(sweep.id, limit=10_000)]
    assert client.submit(spec, key="once")[0].id == one.id
    assert "<html" in client.report(one.id)
    again.process.send_signal(signal.SIGTERM)
    assert again.process.wait(30) in (0, -signal.SIGTERM)


def covered(ledger: Ledger, queue: Submissions, id: str) -> int:
    """How many epochs of a submission's sweep are recorded."""
    sweep_id = queue.submission(id).sweep_id
    return sum(trial.epoch for trial in ledger.trials(sweep_id)) if sweep_id in {s.id for s in ledger.sweeps()} else 0


def test_its_files_hold_no_token_and_only_their_owner_reads_them(
    abel_home: Path, start: Callable[..., Any], free_port: Callable[[], int]
) -> None:
    service = start([sys.executable, "-m", "services.cli", "serve", "--port", str(free_port())])
    service.wait_for(lambda: "serving at" in service.said)
    secret = (abel_home / "token").read_text().strip()
    assert secret not in service.said
    assert secret not in " ".join(psutil.Process(service.process.pid).cmdline())
    for file in abel_home.rglob("*"):
        if file.is_file() and file.name != "token":
            assert secret.split("_", 2)[2].encode() not in file.read_bytes(), file
            assert file.stat().st_mode & 0o077 == 0, file


def test_beyond_loopback_it_serves_only_with_tokens(
    abel_home: Path, start: Callable[..., Any], free_port: Callable[[], int]
) -> None:
    service = start([sys.executable, "-m", "services.cli", "serve", "--host", "0.0.0.0", "--port", str(free_port())])
    service.wait_for_end(2)
    assert "must be a loopback address as long as there are no tokens" in service.said
    made = start([sys.executable, "-m", "services.cli", "token", "create", "ada", "--scope", "read"])
    made.wait_for_end()
    assert json.dumps(made.said).count("abel_") == 1
