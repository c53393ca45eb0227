"""Tests for `services/verbs/gc.py`; what a collection leaves of trained sweeps is tested with the rule it follows."""

from dataclasses import replace
from pathlib import Path

import pytest
from stories import Story

from services.settings import Settings
from services.verbs import gc
from sweeps.ledger.retention import Fate


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    home = tmp_path / "home"
    return Settings(home=home, ledger_url=f"sqlite:///{home}/ledger.db", tracking_uri=f"sqlite:///{home}/mlflow.db")


def weigh(settings: Settings, key: str, count: int) -> None:
    """Put so many bytes in the place of a checkpoint."""
    place = settings.checkpoints / key[:2] / key / "state"
    place.mkdir(parents=True)
    (place / "file").write_bytes(bytes(count))


def test_the_largest_checkpoint_is_the_sweeps_own_else_any(settings: Settings, story: Story) -> None:
    assert gc.largest(settings, None, "none") is None
    weigh(settings, "ab" * 32, 700)
    assert gc.largest(settings, None, "none") == 700
    story.begin().tell(upto=3)
    assert gc.largest(settings, story.ledger, story.sweep_id) == 700
    first, _, third = story.ledger.paths(story.sweep_id)[story.ledger.trials(story.sweep_id)[0].id][1:]
    weigh(settings, first, 50)
    weigh(settings, third, 60)
    assert gc.largest(settings, story.ledger, story.sweep_id) == 60


def test_a_place_whose_manifest_is_gone_goes_as_well(settings: Settings, story: Story) -> None:
    weigh(settings, "ab" * 32, 700)
    settings = replace(settings, ledger_url=str(story.ledger._engine.url))
    assert gc.collect(settings, dry_run=False).freed == 700
    assert list((settings.checkpoints / "ab").iterdir()) == []


def test_in_a_store_what_other_ledgers_may_know_stays(settings: Settings, story: Story, tmp_path: Path) -> None:
    settings = replace(settings, store_place=tmp_path / "shared", ledger_url=str(story.ledger._engine.url))
    weigh(settings, "ab" * 32, 700)
    collected = gc.collect(settings, dry_run=False)
    assert [(group.what, group.kept, group.bytes) for group in collected.groups] == [(str(Fate.FOREIGN), True, 700)]
    assert list((tmp_path / "shared" / "checkpoints" / "ab").iterdir()) != []
