"""What a terminal of 60, 80 and 120 columns shows, kept as snapshots: nothing is cut, however narrow it is.

`pytest tests/services/cli/test_widths.py --snapshot-update` keeps what is shown now.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from rich.cells import cell_len
from syrupy.assertion import SnapshotAssertion
from typer.testing import CliRunner

from services.cli.app import app

RELEASE = Path(__file__).parents[2] / "releases" / "0.1.0"  # a sweep of three arms that it ran


@pytest.fixture
def home(abel_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.chdir(RELEASE)  # messages name the baseline as it was given
    abel_home.mkdir(exist_ok=True)
    with closing(sqlite3.connect(abel_home / "ledger.db")) as connection:
        connection.executescript((RELEASE / "ledger.sql").read_text())
    return abel_home


def shown(command: str, width: int) -> list[str]:
    """The lines of a command; none is too wide or cut."""
    done = CliRunner().invoke(app, command.split(), env={"COLUMNS": str(width)})
    assert done.exit_code == 0, done.output
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert max(map(cell_len, lines)) <= width
    assert not any("…" in line for line in lines)
    return lines


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize(
    "command",
    [
        "status",
        "status release",
        "status release --trials",
        "list",
        "check release --baseline baseline.json",
        "study release",
        "gc --dry-run",
        "data list",
        "validate fig-s6a-digits",
    ],
)
def test_a_command_looks_as_it_did(home: Path, command: str, width: int, snapshot: SnapshotAssertion) -> None:
    assert "\n".join(shown(command, width)) == snapshot


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_catalogue_is_not_cut(home: Path, width: int) -> None:
    """Without a snapshot, as every new entry would change it."""
    assert any("fig-s6a-digits" in line for line in shown("catalog", width))
