"""Tests for `services/server/home.py`: following a sweep of a home without a service."""

from pathlib import Path
from typing import Any

import pytest
from stories import Story

from services.server import home
from services.server.values import Happening, Submitted
from services.settings import Settings
from sweeps.ledger.database import LedgerAway
from sweeps.ledger.entries import Batch
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus, TrialStatus


def test_a_ledger_that_goes_away_between_two_pages_is_asked_again_after_a_rest(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    story.seeds, story.epochs, story.decays = 1, 4, (2,)
    story.begin().tell().end()
    rows = story.ledger.events(story.sweep_id, limit=10_000)
    pages, rests, asked, read = 4, [], [], Ledger.events

    def events(*given: Any) -> Any:
        asked.append(given)
        if 2 <= len(asked) < 5:
            raise LedgerAway("ledger postgresql://db: cannot be read: connection refused")
        return read(*given)

    monkeypatch.setattr(Ledger, "events", events)
    monkeypatch.setattr(home, "PAGE", len(rows) // pages)
    monkeypatch.setattr(home.time, "sleep", rests.append)
    settings = Settings.from_env({"ABEL_HOME": str(tmp_path)})
    seen = [event.id for event in home.Home(settings).events(story.sweep_id) if isinstance(event, Happening)]
    assert seen == [row.id for row in rows]
    assert rests == [home.LOOK_SECONDS] * 3


def test_a_retry_and_a_replay_are_told_to_who_watches_here(story: Story, tmp_path: Path) -> None:
    story.seeds, story.epochs, story.decays = 1, 2, ()
    trial = story.begin().ledger.trials(story.sweep_id)[0].id
    following = home._Following(story.ledger, story.sweep_id, 0)
    assert following.news() and not following.news()
    story.ledger.commit(story.sweep_id, story.invocation, Batch(replayed=2))
    (replayed,) = following.news()
    assert isinstance(replayed, Submitted) and replayed.sweep is not None and replayed.sweep.replayed == 2
    story.ledger.commit(story.sweep_id, story.invocation, Batch(ended={trial: (TrialStatus.FAILED, "out of memory")}))
    story.end(SweepStatus.INTERRUPTED)
    assert following.news() and not following.news()
    assert story.ledger.retry_trials(story.sweep_id, [trial]) == 1
    (retried,) = following.news()
    assert isinstance(retried, Submitted) and retried.sweep is not None and retried.sweep.failed == 0
