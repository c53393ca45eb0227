"""Tests for `services/tracking/projector.py`: a real projector beside a sweep, and the death of it."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from stories import Story

from services.ledgers import lag
from services.settings import Settings
from services.tracking import projector as projectors
from services.tracking.projector import projecting


@pytest.mark.slow
def test_a_projector_that_is_killed_is_started_again(
    story: Story, tracking_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projectors, "RESTART_SECONDS", 0.0)
    settings = Settings(home=tmp_path, ledger_url=f"sqlite:///{tmp_path / 'ledger.db'}", tracking_uri=tracking_uri)
    story.seeds, story.epochs, story.decays, story.layers = 1, 4, (), 1
    story.begin().tell(upto=2)
    settings.prepare().logs.rmdir()  # as by whoever tidies up
    with projecting(settings, story.sweep_id, threading.Event()) as projector:
        first = projector.process.pid
        while lag(settings, story.ledger, story.sweep_id):
            time.sleep(0.1)
        os.kill(first, signal.SIGKILL)
        while projector.process.pid == first:
            assert projector.complaints() == []
            time.sleep(0.1)
        story.tell().end()
        assert lag(settings, story.ledger, story.sweep_id) > 0
    assert projector.pending is None
    assert lag(settings, story.ledger, story.sweep_id) == 0


def test_no_password_is_on_the_command_line_that_everybody_may_read(tmp_path: Path) -> None:
    ledger, store = "postgresql://abel:s3cret@host/ledger", "https://abel:s3cret@host/mlflow"
    environ = {"ABEL_HOME": str(tmp_path), "ABEL_LEDGER": ledger, "ABEL_TRACKING_URI": store}
    settings = Settings.from_env(environ)
    assert (settings.ledger_url, settings.tracking_uri) == (ledger, store)
    assert not any("s3cret" in part for part in projectors.command(settings, "tiny"))
