"""Exactly once under faults: a real MLflow server behind a proxy that loses replies, and a projector that is killed.

Whatever happens, in the end there is one live run for the sweep and one for each trial, and every point of the ledger is
in its run once, bit for bit. Faults are drawn by seed; CHAOS_SEEDS says how many seeds and CHAOS_OUTAGE_SECONDS how long an
outage, for a longer run: `make chaos` has three seeds and a minute.
"""

import math
import os
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow_server import MlflowServer
from oracle import is_trial
from proxy import Draw, Fault, Plan, Proxy, Request
from stories import Story

from services.tracking import mirror as mirrors
from services.tracking.mirror import Mirror
from services.tracking.projection import metric_key
from services.tracking.store import FAULTS, Store, is_refusal
from services.upload_retries import Ending, Patience, persist
from sweeps.urls import without_credentials

pytestmark = pytest.mark.slow

SEEDS = range(int(os.environ.get("CHAOS_SEEDS", "1")))
OUTAGE_SECONDS = float(os.environ.get("CHAOS_OUTAGE_SECONDS", "2"))
CREATE, BATCH, UPDATE, SEARCH = "runs/create", "runs/log-batch", "runs/update", "runs/search"


@pytest.fixture
def proxy(server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setattr(mirrors, "EVENTS_PER_PAGE", 3)
    with Proxy(server.port, server.restart) as between:
        yield between


@pytest.fixture
def sweep(story: Story, request: pytest.FixtureRequest) -> Story:
    """A sweep of this test's name, stopped once and gone on with; one of its trials diverges."""
    story.seeds, story.epochs, story.decays, story.diverging, story.layers = 1, 14, (2, 5), True, 1
    story.name = request.node.name
    story.begin()
    for epoch in (1, 2, 5, 6):
        story.tell(upto=epoch)
    story.end("interrupted")
    story.resume()
    return story.tell(upto=11).tell().end()


def show(story: Story, uri: str, tmp_path: Path, more: Callable[[], bool] = lambda: False) -> list[str]:
    """The projector's loop, with shorter pauses and timeouts; returns what it said.

    The short timeout holds while the loop runs: what the test itself asks afterwards is not repeated, and the server may be slow
    on a busy machine.
    """
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        ending = persist(
            Mirror(story.ledger, story.sweep_id, Store(uri, tmp_path / "artifacts")).step,
            more,
            faults=FAULTS,
            refused=is_refusal,
            say=said.append,
            patience=Patience(rest_seconds=0.25, longest_pause_seconds=0.5, give_up_after_seconds=60),
        )
    assert ending is Ending.DONE, said
    return said


def runs(server: MlflowServer, story: Story, view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
    """Every run of the experiment, whatever its tags."""
    client = MlflowClient(server.url)
    experiment = client.get_experiment_by_name(story.name)
    return list(client.search_runs([experiment.experiment_id], run_view_type=view, max_results=1000))


def bits(value: float) -> bytes:
    return struct.pack("<d", value if math.isfinite(value) else math.nan)


def assert_exactly_once(server: MlflowServer, story: Story) -> None:
    """Compare all that the server has of the sweep with the ledger."""
    client, live = MlflowClient(server.url), runs(server, story)
    (parent,) = [run for run in live if not is_trial(run)]
    rows = {row.id: row for row in story.ledger.trials(story.sweep_id)}
    events = story.ledger.events(story.sweep_id)
    assert sorted(run.data.tags["abel.trial_id"] for run in live if is_trial(run)) == sorted(rows)
    assert parent.info.status == "FINISHED" and parent.data.tags["abel.event"] == str(events[-1].id)
    for run in live:
        if not is_trial(run):
            continue
        row = rows[run.data.tags["abel.trial_id"]]
        curve = story.ledger.curve(row.head)
        assert (run.info.run_name, run.data.tags["mlflow.parentRunId"]) == (row.name, parent.info.run_id)
        assert (run.data.tags["abel.outcome"], run.data.tags["abel.epoch"]) == (row.status, str(row.epoch))
        assert run.info.status == ("FAILED" if row.status == "diverged" else "FINISHED")
        assert run.data.params["seed"] == str(row.seed)
        known = {
            metric_key(name): [(s.epoch, s.finished_at_ms, bits(s.metrics[name])) for s in curve]
            for name in curve[0].metrics
        }
        known["decay_event"] = [
            (event.payload["epoch"], event.at_ms, bits(float(event.payload["event"])))
            for event in events
            if event.kind == "schedule" and event.payload["trial"] == row.id and event.payload["event"] & ~1
        ]
        for name, expected in known.items():
            history = client.get_metric_history(run.info.run_id, name)
            assert sorted((p.step, p.timestamp, bits(p.value)) for p in history) == expected, (row.name, name)


def either(*plans: Plan) -> Plan:
    return lambda request: next(filter(None, (plan(request) for plan in plans)), None)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_server_is_killed_twenty_times(
    sweep: Story, server: MlflowServer, proxy: Proxy, tmp_path: Path, seed: int
) -> None:
    creates = Draw(0, {(Fault.KILLED_AFTER, "experiments/create"): 1, (Fault.KILLED_AFTER, CREATE): 5}, chance=1.0)
    left = {
        (Fault.KILLED_AFTER, SEARCH): 3,
        (Fault.KILLED_AFTER, BATCH): 5,
        (Fault.KILLED_BEFORE, BATCH): 4,
        (Fault.KILLED_AFTER, UPDATE): 2,
    }
    others = Draw(seed, left, chance=0.4)
    proxy.plan = either(creates, others)  # of the creations none is spared: the sweep's run and all four trials'
    show(sweep, proxy.url, tmp_path)
    assert creates.spent and others.spent, (creates.left, others.left)
    assert creates.dealt.total() + others.dealt.total() == 20
    assert_exactly_once(server, sweep)
    assert len(runs(server, sweep, ViewType.ALL)) == 5  # a run whose reply was lost is found, not made again


@pytest.mark.parametrize("seed", SEEDS)
def test_replies_are_lost_and_requests_refused(
    sweep: Story, server: MlflowServer, proxy: Proxy, tmp_path: Path, seed: int
) -> None:
    faults = (Fault.REPLY_LOST, Fault.REFUSED_AFTER, Fault.UNAVAILABLE)
    left = {(fault, path): 2 for fault in faults for path in (CREATE, BATCH, UPDATE, SEARCH, "artifacts/spec.yaml")}
    left |= {(Fault.HANGS, BATCH): 1, (Fault.HANGS, CREATE): 1}
    proxy.plan = Draw(seed, left, chance=0.4)
    show(sweep, proxy.url, tmp_path)
    assert proxy.plan.dealt.total() > 15, proxy.plan.dealt
    assert_exactly_once(server, sweep)


def test_a_run_that_is_made_late_is_one_too_many_and_goes(
    sweep: Story, server: MlflowServer, proxy: Proxy, tmp_path: Path
) -> None:
    late = {b"abel.trial_id": Fault.LATE, b"abel.sharing": Fault.LATE}  # a trial's run, and the sweep's

    def plan(request: Request) -> Fault | None:
        if request.path.endswith(CREATE):
            return next((late.pop(mark) for mark in list(late) if mark in request.body), None)
        if request.path.endswith(UPDATE) and b"FINISHED" in request.body and proxy.held:
            assert proxy.release() == [200, 200]
        return None

    proxy.plan = plan
    show(sweep, proxy.url, tmp_path)
    assert not late and not proxy.held
    assert_exactly_once(server, sweep)
    assert len(runs(server, sweep, ViewType.DELETED_ONLY)) == 2


def test_tags_and_statuses_that_come_late_are_put_right(
    sweep: Story, server: MlflowServer, proxy: Proxy, tmp_path: Path
) -> None:
    late = {(BATCH, b'"running"'): 1, (UPDATE, b'"KILLED"'): 1}

    def plan(request: Request) -> Fault | None:
        for path, mark in list(late):
            if request.path.endswith(path) and mark in request.body and b'"abel.sharing"' not in request.body:
                del late[path, mark]
                return Fault.LATE
        if request.path.endswith(UPDATE) and b"FINISHED" in request.body and len(proxy.held) == 2:
            assert proxy.release() == [200, 200]
        return None

    proxy.plan = plan
    show(sweep, proxy.url, tmp_path)
    assert not late and not proxy.held
    assert_exactly_once(server, sweep)


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_an_outage_delays_and_loses_nothing(
    story: Story, server: MlflowServer, proxy: Proxy, tmp_path: Path, how: str
) -> None:
    story.seeds, story.epochs, story.decays, story.layers, story.name = 1, 12, (2,), 2, f"outage {how}"
    story.begin().tell(upto=2)
    going = [True]
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.extend(show(story, proxy.url, tmp_path, lambda: going[0])))
    thread.start()

    def acknowledged() -> int:
        return story.ledger.tracking_offset(story.sweep_id, without_credentials(proxy.url))

    for epoch in (4, 8):
        while acknowledged() < story.ledger.events(story.sweep_id)[-1].id:
            time.sleep(0.02)
        before = acknowledged()
        server.kill() if how == "killed" else server.freeze()
        story.tell(upto=epoch)  # training goes on
        time.sleep(OUTAGE_SECONDS)
        assert acknowledged() == before
        server.start() if how == "killed" else server.thaw()
    story.tell().end()
    going[0] = False
    thread.join()
    assert len([line for line in said if line.startswith("unreachable: ")]) == 2
    assert len([line for line in said if line.startswith("reachable again after ")]) == 2
    assert_exactly_once(server, story)


def test_a_full_disk_delays_and_loses_nothing(
    sweep: Story, small_disk: Any, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrors, "EVENTS_PER_PAGE", 3)
    store, log = shutil.copy(empty_store, small_disk.place / "mlflow.db"), tmp_path / "server.log"
    with MlflowServer(f"sqlite:///{store}", tmp_path) as server:
        small_disk.fill()
        timer = threading.Timer(3.0, small_disk.free)
        timer.start()
        said = show(sweep, server.url, tmp_path)
        timer.join()
        assert len(said) == 2 and said[0].startswith("unreachable: ") and said[1].startswith("reachable again after ")
        assert "database or disk is full" in log.read_text()
        assert_exactly_once(server, sweep)


def test_files_that_may_not_grow_delay_and_lose_nothing(
    sweep: Story, server: MlflowServer, proxy: Proxy, tmp_path: Path
) -> None:
    database = Path(server.store.removeprefix("sqlite:///"))
    server.limit_files(database.stat().st_size + 8192)
    timer = threading.Timer(3.0, lambda: server.limit_files(None))
    timer.start()
    said = show(sweep, proxy.url, tmp_path)
    timer.join()
    assert len(said) == 2 and said[0].startswith("unreachable: ") and said[1].startswith("reachable again after ")
    told = (database.parent / "server.log").read_text()
    assert "disk I/O error" in told or "database or disk is full" in told
    assert_exactly_once(server, sweep)


def test_a_server_that_comes_back_empty_is_filled_again(
    sweep: Story, server: MlflowServer, proxy: Proxy, tmp_path: Path, empty_store: Path
) -> None:
    emptied = []

    def plan(request: Request) -> Fault | None:
        if not emptied and request.path.endswith(UPDATE) and b"KILLED" in request.body:
            server.kill()
            emptied.append(shutil.copy(empty_store, server.store.removeprefix("sqlite:///")))
            server.start()
        return None

    proxy.plan = plan
    show(sweep, proxy.url, tmp_path)
    assert emptied
    assert_exactly_once(server, sweep)


# The projector's process, which kills itself between what the store has acknowledged and the note of it in the ledger.
KILLED = """
import os, random, signal, sys
from services.tracking import mirror, uploading
from sweeps.ledger.ledger import Ledger

seed, kills, *arguments = sys.argv[1:]
draw, save = random.Random(int(seed)), Ledger.save_tracking_offset
mirror.EVENTS_PER_PAGE = 3
for left in reversed(range(int(kills) + 1)):
    saves = draw.choice([1, 1, 1, 2]) if left else 10**6
    child = os.fork()
    if child == 0:
        def dying(*given):
            global saves
            saves -= 1
            if not saves:
                os.kill(os.getpid(), signal.SIGKILL)
            save(*given)
        Ledger.save_tracking_offset = dying
        os._exit(uploading.project(arguments))
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize("seed", SEEDS)
def test_the_projector_is_killed_before_it_notes_what_was_acknowledged(
    sweep: Story, server: MlflowServer, tmp_path: Path, seed: int
) -> None:
    kills = 15
    places = ["--ledger", f"sqlite:///{tmp_path / 'ledger.db'}", "--artifacts", str(tmp_path / "artifacts")]
    command = [sys.executable, "-c", KILLED, str(seed), str(kills), *places, "--sweep", sweep.sweep_id]
    ended = subprocess.run([*command, "--tracking-uri", server.url], capture_output=True, text=True, timeout=120)
    assert ended.stdout.split() == [*["-9"] * kills, "0"], ended.stderr
    assert_exactly_once(server, sweep)
