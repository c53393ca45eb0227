import os
import signal
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from shops import Shop

from sweeps.ledger import leases
from sweeps.ledger.entries import Batch
from sweeps.ledger.leases import Fenced, Holder, SweepBusy, SweepPaused, is_held
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus
from sweeps.spec.sweep import SweepSpec


@pytest.fixture
def entered(shop: Shop, spec_of: Callable[..., SweepSpec]) -> tuple[Ledger, str, str]:
    _, _, sweep_id = shop.enter(spec_of())
    return shop.ledger, sweep_id, shop.url


def expire(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time pass for this process, beyond any lease."""
    now = leases._now_ms
    monkeypatch.setattr(leases, "_now_ms", lambda: now() + 31_000)


@pytest.mark.databases
def test_a_sweep_that_another_process_runs_cannot_be_taken(
    entered: tuple[Ledger, str, str], another_process: Callable[..., Any]
) -> None:
    ledger, sweep_id, url = entered
    runner = another_process(url, sweep_id)
    with pytest.raises(SweepBusy, match=f"is being run by process {runner.process.pid} on"):
        ledger.begin_invocation(sweep_id)
    assert runner.renew() == "renewed"
    assert ledger.work(sweep_id).invocations == 1  # the refused one left nothing


@pytest.mark.databases
def test_a_process_that_was_killed_is_followed_at_once(
    entered: tuple[Ledger, str, str], another_process: Callable[..., Any]
) -> None:
    ledger, sweep_id, url = entered
    runner = another_process(url, sweep_id)
    runner.process.kill()
    runner.process.wait()
    assert ledger.begin_invocation(sweep_id) > runner.invocation


@pytest.mark.databases
def test_a_process_stopped_past_its_lease_writes_nothing(
    entered: tuple[Ledger, str, str], another_process: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, sweep_id, url = entered
    runner = another_process(url, sweep_id)
    os.kill(runner.process.pid, signal.SIGSTOP)
    with pytest.raises(SweepBusy):
        ledger.begin_invocation(sweep_id)
    expire(monkeypatch)
    ours = ledger.begin_invocation(sweep_id)
    os.kill(runner.process.pid, signal.SIGCONT)
    assert runner.renew().startswith("Fenced: ")
    ledger.commit(sweep_id, ours, Batch(events=[("note", {"text": "ours"})]))


@pytest.mark.databases
def test_a_cancellation_behind_a_stopped_process_fences_it(
    entered: tuple[Ledger, str, str], another_process: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, sweep_id, url = entered
    runner = another_process(url, sweep_id)
    os.kill(runner.process.pid, signal.SIGSTOP)
    expire(monkeypatch)
    rows = ledger.trials(sweep_id)
    assert ledger.cancel_trials(sweep_id, [row.id for row in rows]) == len(rows)
    assert ledger.sweep(sweep_id).status is SweepStatus.CANCELLED
    os.kill(runner.process.pid, signal.SIGCONT)
    assert runner.renew().startswith("Fenced: ")


def test_a_cancellation_of_the_last_moment_is_carried_out(entered: tuple[Ledger, str, str]) -> None:
    ledger, sweep_id, _ = entered
    ours = ledger.begin_invocation(sweep_id)
    first = ledger.trials(sweep_id)[0]
    assert ledger.cancel_trials(sweep_id, [first.id]) == 1
    ledger.end_invocation(sweep_id, ours, SweepStatus.INTERRUPTED)
    assert ledger.trials(sweep_id)[0].status == "cancelled"


def test_nothing_of_a_fenced_batch_is_written(entered: tuple[Ledger, str, str]) -> None:
    ledger, sweep_id, _ = entered
    stale = ledger.begin_invocation(sweep_id)
    ledger.begin_invocation(sweep_id)
    before = len(ledger.events(sweep_id))
    with pytest.raises(Fenced, match="another process has taken it over"):
        ledger.commit(sweep_id, stale, Batch(events=[("note", {"text": "stale"})], checkpoints=[("k", 1)]))
    with pytest.raises(Fenced):
        ledger.end_invocation(sweep_id, stale, SweepStatus.FINISHED)
    assert len(ledger.events(sweep_id)) == before
    assert ledger.checkpointed(["k"]) == set()
    assert ledger.sweep(sweep_id).status is SweepStatus.RUNNING


@pytest.mark.databases
def test_an_ended_invocation_lets_the_sweep_go(
    entered: tuple[Ledger, str, str], another_process: Callable[..., Any]
) -> None:
    ledger, sweep_id, url = entered
    ours = ledger.begin_invocation(sweep_id)
    ledger.end_invocation(sweep_id, ours, SweepStatus.INTERRUPTED)
    with pytest.raises(Fenced):
        ledger.commit(sweep_id, ours, Batch(events=[("note", {"text": "late"})]))
    assert another_process(url, sweep_id).invocation > ours


def test_a_lease_is_renewed_while_an_epoch_takes_long_and_its_loss_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.001)
    renewals, lost = [], []

    def renew() -> None:
        renewals.append(1)
        if len(renewals) == 3:
            raise Fenced("gone")

    with leases.kept(renew, lost.append):
        while not lost:
            os.sched_yield()
    assert len(renewals) == 3
    assert isinstance(lost[0], Fenced)


def test_of_a_process_elsewhere_nothing_is_known() -> None:
    here = Holder.here()
    assert not here.is_gone
    assert here._replace(born=here.born - 100).is_gone  # the number was given to another process
    assert not here._replace(host="elsewhere", born=0).is_gone
    assert Holder.read(str(here)) == here
    assert not is_held(SimpleNamespace(holder=str(here._replace(host="elsewhere")), lease_until_ms=0))
    assert not is_held(SimpleNamespace(holder=None, lease_until_ms=10**15))


@pytest.mark.databases
def test_a_pause_holds_until_it_is_ended_and_a_later_one_holds_again(
    entered: tuple[Ledger, str, str], another_process: Callable[..., Any]
) -> None:
    ledger, sweep_id, url = entered
    ledger.pause_sweep(sweep_id)
    with pytest.raises(SweepPaused):
        ledger.begin_invocation(sweep_id)
    ledger.end_pause(sweep_id)
    ledger.pause_sweep(sweep_id)  # while a command that resumes the sweep is still starting
    with pytest.raises(SweepPaused):
        ledger.begin_invocation(sweep_id)
    ledger.end_pause(sweep_id)
    runner = another_process(url, sweep_id)
    ledger.pause_sweep(sweep_id)
    ledger.end_pause(sweep_id)
    assert ledger.sweep(sweep_id).status is SweepStatus.RUNNING
    ledger.pause_sweep(sweep_id)
    assert ledger.end_invocation(sweep_id, runner.invocation, SweepStatus.INTERRUPTED) is SweepStatus.PAUSED
