import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shops import Shop

from services.settings import Settings
from services.verbs import gc
from sweeps.ledger.records import SweepStatus, TrialStatus
from sweeps.ledger.retention import Fate, fates
from sweeps.ledger.retention import Path as Way
from sweeps.ledger.submissions.queue import Submissions
from sweeps.run.frontier import Frontier
from sweeps.spec.sweep import SweepSpec
from workers.checkpoints.local import DRAFT, DRAFT_SECONDS

# The rule, on letters: a way's keys, first epoch first.


def way(keys: str, status: TrialStatus = TrialStatus.FINISHED, **options: Any) -> Way:
    return Way(keys=list(keys), status=status, **options)


def decide(found: str, *ways: Any, damaged: str = "") -> dict[str, str]:
    return {key: fate.name.lower() for key, fate in fates(found, ways, lambda key: key not in damaged).items()}


def test_of_a_finished_trial_the_last_checkpoint_stays() -> None:
    assert decide("bd", way("abcd")) == {"b": "waypoint", "d": "last"}
    assert decide("bc", way("abcde")) == {"b": "waypoint", "c": "last"}  # killed before it saved its end


def test_a_fork_stays_while_a_trial_that_came_by_has_no_result() -> None:
    done, going = way("abcd"), way("abxy", TrialStatus.WAITING)
    assert decide("abdxy", done, going) == {"a": "waypoint", "b": "fork", "d": "last", "x": "waypoint", "y": "last"}
    assert decide("abd", done, way("abxy"))["b"] == "last"  # nothing deeper was saved of the second


@pytest.mark.parametrize("status", [TrialStatus.FAILED, TrialStatus.CANCELLED, TrialStatus.RUNNING])
def test_what_may_be_taken_up_again_has_no_result(status: TrialStatus) -> None:
    assert decide("bdx", way("abcd"), way("abx", status))["b"] == "fork"


def test_a_state_that_diverged_is_not_gone_on_from() -> None:
    assert decide("bcd", way("abcd", TrialStatus.DIVERGED)) == {"b": "waypoint", "c": "last", "d": "waypoint"}


def test_what_one_sweep_needs_stays_whatever_another_thinks() -> None:
    assert decide("bd", way("abcd"), way("ab")) == {"b": "last", "d": "last"}


def test_a_sweep_that_is_running_keeps_all_and_what_nobody_knows_yet() -> None:
    assert decide("bdz", way("abcd", running=True)) == {"b": "running", "d": "running", "z": "running"}
    assert decide("bdz", way("abcd")) == {"b": "waypoint", "d": "last", "z": "strange"}


def test_what_is_behind_a_damaged_checkpoint_stays_in_its_place() -> None:
    assert decide("bcd", way("abcd"), damaged="d") == {"b": "waypoint", "c": "last", "d": "damaged"}
    assert decide("bd", way("abcd"), damaged="bd") == {"b": "last", "d": "damaged"}


def test_only_what_others_could_go_for_is_read() -> None:
    asked = []
    assert fates("d", [way("abcd")], asked.append) == {"d": Fate.LAST}
    assert asked == []


# The command, on sweeps that were trained.


@pytest.fixture
def settings(shop: Shop) -> Settings:
    shop.workshop.save_every_seconds = 0.0  # a checkpoint after every epoch
    home = shop.directory
    return Settings(home=home, ledger_url=f"sqlite:///{home}/ledger.db", tracking_uri=f"sqlite:///{home}/mlflow.db")


def run(shop: Shop, spec: SweepSpec, **options: Any) -> tuple[str, Frontier]:
    """Run a sweep and let it go, as a driver does at its end."""
    sweep_id, frontier = shop.run(spec, **options)
    done = all(status.final for status in frontier.statuses.values())
    status = SweepStatus.FINISHED if done else SweepStatus.INTERRUPTED
    shop.ledger.end_invocation(sweep_id, frontier.invocation, status)
    return sweep_id, frontier


def files_of(directory: Path) -> dict[str, Any]:
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}


def counts(collected: Any) -> dict[str, Any]:
    return {group.what: group.count for group in collected.groups}


def test_after_a_collection_a_longer_sweep_trains_its_new_epochs_alone(
    shop: Shop, another_shop: Shop, spec_of: Callable[..., SweepSpec], settings: Settings
) -> None:
    short, _ = run(shop, spec_of())
    before = shop.workshop.checkpoints.sizes()
    collected = gc.collect(settings, dry_run=False)
    left = shop.workshop.checkpoints.sizes()
    assert collected.freed == sum(before.values()) - sum(left.values()) > 0
    assert set(left) == shop.ledger.checkpoints() == {row.head for row in shop.ledger.trials(short)}
    assert counts(collected)[Fate.LAST] == len(left)

    arms = {name: spec_of().to_dict()["arms"][name] for name in ("constant", "at", "abel")}
    longer, frontier = run(shop, spec_of(epochs=7, arms=arms))
    curves = {row.head for row in shop.ledger.trials(longer)}
    assert (frontier.trained, frontier.replayed) == (2 * len(curves), 0)
    whole, _ = another_shop.run(spec_of(epochs=7, arms=arms))
    assert shop.curves(longer) == another_shop.curves(whole)


@pytest.mark.parametrize("most", [5, 23])
def test_after_a_collection_an_interrupted_sweep_goes_on(
    shop: Shop, another_shop: Shop, spec_of: Callable[..., SweepSpec], settings: Settings, most: int
) -> None:
    sweep_id, begun = run(shop, spec_of(), most=most)
    needed = {row.head for row in shop.ledger.trials(sweep_id) if not row.status.final} - {None}
    gc.collect(settings, dry_run=False)
    assert needed & set(shop.workshop.checkpoints.sizes()) == needed
    again, frontier = run(shop, spec_of())
    assert again == sweep_id
    assert frontier.replayed == 0
    whole, undisturbed = another_shop.run(spec_of())
    assert shop.curves(sweep_id) == another_shop.curves(whole)
    assert begun.trained + frontier.trained == undisturbed.trained


def test_a_dry_run_changes_nothing_and_says_the_same(
    shop: Shop, spec_of: Callable[..., SweepSpec], settings: Settings
) -> None:
    run(shop, spec_of())
    before, rows = files_of(settings.checkpoints), shop.ledger.checkpoints()
    told = gc.collect(settings, dry_run=True)
    assert (files_of(settings.checkpoints), shop.ledger.checkpoints()) == (before, rows)
    done = gc.collect(settings, dry_run=False)
    assert (done.groups, done.freed) == (told.groups, told.freed)
    again = gc.collect(settings, dry_run=False)
    assert again.freed == 0
    assert all(group.kept for group in again.groups)


def test_a_sweep_that_another_process_runs_keeps_all(
    shop: Shop, spec_of: Callable[..., SweepSpec], settings: Settings, another_process: Callable[..., Any]
) -> None:
    sweep_id, _ = run(shop, spec_of())
    before = shop.workshop.checkpoints.sizes()
    another_process(settings.ledger_url, sweep_id)
    collected = gc.collect(settings, dry_run=False)
    assert counts(collected) == {Fate.RUNNING: len(before)}
    assert shop.workshop.checkpoints.sizes() == before


def test_what_belongs_to_no_sweep_goes_and_drafts_once_they_are_old(
    shop: Shop, spec_of: Callable[..., SweepSpec], settings: Settings
) -> None:
    run(shop, spec_of(arms={"constant": {"schedule": {"kind": "constant", "learning_rate": 0.1}}}))
    gc.collect(settings, dry_run=False)
    shop.workshop.checkpoints.save("00" * 32, 1, {"a": 1.0})
    young, old = (settings.checkpoints / "00" / f"{DRAFT}{name}" for name in ("young", "old"))
    for draft in (young, old):
        draft.mkdir()
        (draft / "file").write_text("some bytes")
    hour_ago = time.time() - DRAFT_SECONDS - 1
    os.utime(old, (hour_ago, hour_ago))
    collected = gc.collect(settings, dry_run=False)
    assert counts(collected) == {Fate.LAST: 2, Fate.STRANGE: 1, gc.DRAFT: 1}
    assert [path.name for path in (settings.checkpoints / "00").iterdir()] == [young.name]


def test_logs_go_after_a_month_unless_their_submission_is_open(
    shop: Shop, spec_of: Callable[..., SweepSpec], settings: Settings
) -> None:
    run(shop, spec_of(seeds=[0], arms={"constant": {"schedule": {"kind": "constant", "learning_rate": 0.1}}}))
    gc.collect(settings, dry_run=False)
    queue = Submissions.of(shop.ledger)
    (going, _), (ended, _) = (queue.submit("ada", "x", {"name": "x"}, {"n": number}) for number in range(2))
    queue.settle(ended.id, "finished")
    logs = [settings.logs / f"submission-{id}-{number}.log" for id in (going.id, ended.id) for number in (1, 2)]
    settings.logs.mkdir(exist_ok=True)
    for log in logs:
        log.write_text("a line\n")
    month_ago = time.time() - gc.LOG_SECONDS - 1
    for log in logs[:3]:
        os.utime(log, (month_ago, month_ago))
    told = gc.collect(settings, dry_run=True)
    assert (counts(told)[gc.LOG], told.freed, len(list(settings.logs.iterdir()))) == (1, 7, 4)
    gc.collect(settings, dry_run=False)
    assert [log for log in logs if not log.exists()] == [logs[2]]


def test_a_checkpoint_s_row_goes_and_returns_with_its_files(
    shop: Shop, spec_of: Callable[..., SweepSpec], settings: Settings
) -> None:
    spec = spec_of(seeds=[0], arms={"constant": {"schedule": {"kind": "constant", "learning_rate": 0.1}}})
    sweep_id, _ = run(shop, spec)
    head = shop.ledger.trials(sweep_id)[0].head
    shop.workshop.checkpoints.discard(head)
    gc.collect(settings, dry_run=False)
    assert shop.ledger.checkpointed([head]) == set()
    longer, frontier = run(shop, spec_of(seeds=[0], epochs=6, arms=spec.to_dict()["arms"]))
    assert (frontier.trained, frontier.replayed) == (1, 1)
    assert shop.ledger.checkpointed([shop.ledger.trials(longer)[0].head]) != set()


KILLED = """
import os, signal, sys
from pathlib import Path
from services.verbs import gc
from services.settings import Settings
from sweeps.ledger.ledger import Ledger
from workers.checkpoints import Checkpoints

home, last, seen = Path(sys.argv[1]), int(sys.argv[2]), 0

def dying(function):
    def call(*given, **named):
        global seen
        seen += 1
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*given, **named)
    return call

Ledger.prune_checkpoints = dying(Ledger.prune_checkpoints)
Checkpoints.discard = dying(Checkpoints.discard)
os.unlink = dying(os.unlink)
url = f"sqlite:///{home}/ledger.db"
gc.collect(Settings(home=home, ledger_url=url, tracking_uri=url), dry_run=False)
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", [1, 2, 3, 5, 9, 20])
def test_a_collection_that_was_killed_leaves_no_claim_without_files(
    shop: Shop, spec_of: Callable[..., SweepSpec], settings: Settings, moment: int
) -> None:
    sweep_id, _ = run(shop, spec_of(seeds=[0]))
    killed = subprocess.run([sys.executable, "-c", KILLED, str(settings.home), str(moment)], check=False)
    assert killed.returncode == -signal.SIGKILL
    there = set(shop.workshop.checkpoints.sizes())
    assert shop.ledger.checkpoints() <= there
    heads = {row.head for row in shop.ledger.trials(sweep_id)}
    assert all(shop.workshop.checkpoints.intact(head) for head in heads)
    gc.collect(settings, dry_run=False)
    assert set(shop.workshop.checkpoints.sizes()) == shop.ledger.checkpoints() == heads


def test_a_home_without_a_ledger_stays_as_it_is(tmp_path: Path) -> None:
    home = tmp_path / "home"
    settings = Settings(home=home, ledger_url=f"sqlite:///{home}/ledger.db", tracking_uri=f"sqlite:///{home}/m.db")
    assert gc.collect(settings, dry_run=False).groups == ()
    assert not home.exists()
