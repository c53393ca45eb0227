"""Tests for `services/projector.py`; what a projector does beside a run is tested with the runs."""

from pathlib import Path

from services import projector
from services.settings import Settings


def test_the_ledgers_password_is_not_on_the_command_line_that_everybody_may_read(tmp_path: Path) -> None:
    url = "postgresql://abel:s3cret@host/ledger"
    settings = Settings.from_env({"ABEL_HOME": str(tmp_path), "ABEL_LEDGER": url})
    assert not any("s3cret" in part for part in projector.command(settings, "tiny"))
