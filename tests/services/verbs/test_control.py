"""Tests for `services/verbs/control.py`, through the command line where it is what a user types."""

from pathlib import Path
from typing import Any

import pytest
from stories import Story
from typer.testing import CliRunner

from services.cli.app import app
from services.errors import OperationError
from services.settings import Settings
from services.verbs import control
from services.verbs import status as standing
from sweeps.ledger.entries import Batch
from sweeps.ledger.leases import SweepBusy
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus


@pytest.fixture
def stopped(story: Story, own_directories: Path) -> tuple[Settings, Story]:
    """A sweep that was stopped after two epochs, in this test's ABEL_HOME."""
    settings = Settings.from_env().prepare()
    story.ledger, story.seeds, story.epochs, story.decays = Ledger.open(settings.ledger_url), 2, 6, (2,)
    return settings, story.begin().tell(upto=2).end(SweepStatus.INTERRUPTED)


def statuses(settings: Settings, name: str) -> dict[str, str]:
    return {trial.name: trial.status for trial in standing.status(settings, name).trials}


def abel(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_an_arm_is_cancelled_and_retried(stopped: tuple[Settings, Story]) -> None:
    settings, story = stopped
    before = statuses(settings, story.name)
    done = abel("cancel", story.name, "--arm", "abel")
    assert (done.exit_code, "2 trials cancelled; training has stopped" in done.output) == (0, True)
    after = statuses(settings, story.name)
    assert {name for name in after if after[name] == "cancelled"} == {"abel seed=0", "abel seed=1"}
    assert {name: status for name, status in after.items() if not name.startswith("abel")} == {
        name: status for name, status in before.items() if not name.startswith("abel")
    }
    done = abel("retry", story.name, "--trial", "abel seed=1")
    assert (done.exit_code, "1 trial queued" in done.output) == (0, True)
    assert statuses(settings, story.name)["abel seed=1"] == "waiting"
    assert statuses(settings, story.name)["abel seed=0"] == "cancelled"


def test_a_sweep_without_open_trials_is_cancelled_as_a_whole(stopped: tuple[Settings, Story]) -> None:
    settings, story = stopped
    assert control.cancel(settings, story.name).trials == 6
    detail = standing.status(settings, story.name)
    assert (detail.sweep.status, detail.sweep.cancelled) == ("cancelled", 6)
    assert control.cancel(settings, story.name).trials == 0
    assert control.retry(settings, story.name).trials == 6
    assert standing.status(settings, story.name).sweep.status == "interrupted"


def test_what_is_not_there_is_refused_and_changes_nothing(stopped: tuple[Settings, Story]) -> None:
    settings, story = stopped
    before = statuses(settings, story.name)
    with pytest.raises(OperationError, match=r"arm 'no': must be one of sweep .* \(abel, constant, decay-at\)"):
        control.cancel(settings, story.name, arm="no")
    with pytest.raises(OperationError, match="trial 'abel seed=0': must be of arm 'constant'"):
        control.cancel(settings, story.name, arm="constant", trial="abel seed=0")
    with pytest.raises(OperationError, match="must have a failed or cancelled trial"):
        control.retry(settings, story.name)
    assert abel("cancel", "unknown").exit_code == 2
    assert statuses(settings, story.name) == before


def test_the_status_lists_trials_by_the_names_that_commands_take(stopped: tuple[Settings, Story]) -> None:
    settings, story = stopped
    listed = abel("status", story.name, "--trials")
    assert listed.exit_code == 0
    for name in statuses(settings, story.name):
        assert name in " ".join(listed.output.split())
    assert abel("cancel", story.name, "--trial", "abel seed=1").exit_code == 0
    assert abel("status", "--trials").exit_code == 2


def test_an_unknown_trial_names_the_nearest(stopped: tuple[Settings, Story]) -> None:
    _, story = stopped
    story.seeds = 30
    story.name = "many"
    story.begin()
    refused = abel("cancel", "many", "--trial", "abel sed=17")
    assert refused.exit_code == 2
    assert "nearest: abel seed=17," in " ".join(refused.output.split())


def test_cancelled_trials_are_not_shown_as_complete(stopped: tuple[Settings, Story]) -> None:
    _, story = stopped
    abel("cancel", story.name)
    shown = " ".join(abel("status", story.name).output.split())
    assert "6 of 6 done 6 cancelled" in shown
    assert "0/2 2 cancelled" in shown


def test_nothing_is_retried_while_a_process_runs_the_sweep(
    stopped: tuple[Settings, Story], another_process: Any
) -> None:
    settings, story = stopped
    another_process(settings.ledger_url, story.sweep_id)
    with pytest.raises(SweepBusy, match="is being run by process"):
        control.retry(settings, story.name)
    asked = control.cancel(settings, story.name, arm="constant")
    assert (asked.trials, asked.running) == (2, True)
    assert "cancelled" not in statuses(settings, story.name).values()  # its driver ends them


def test_the_status_tells_what_befell_the_sweep_and_how_often(stopped: tuple[Settings, Story]) -> None:
    settings, story = stopped
    story.resume()
    trials = [row.id for row in story.ledger.trials(story.sweep_id)]
    lost = {"class": "infrastructure", "text": "a worker was lost", "trials": trials[:3], "epoch": 2, "attempt": 1}
    events = [("incident", lost | {"again": again}) for again in (True, True, False)]
    story.ledger.commit(story.sweep_id, story.invocation, Batch(events=events))
    (incident,) = standing.status(settings, story.name).incidents
    assert (incident.kind, incident.times, incident.retried, incident.trials) == ("infrastructure", 3, 2, 3)
    shown = " ".join(abel("status", story.name).output.split())
    assert "infrastructure 3×, retried 2×: a worker was lost (last:" in shown
    assert "and 2 more, epoch 2)" in shown


def test_the_status_tells_what_the_tracking_store_lacks(stopped: tuple[Settings, Story]) -> None:
    settings, story = stopped
    lacking = standing.status(settings, story.name).lacking
    assert lacking > 0
    assert f"lacks {lacking} events" in " ".join(abel("status", story.name).output.split())
    assert abel("track", story.name).exit_code == 0
    assert "up to date" in abel("status", story.name).output
