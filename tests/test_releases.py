"""A home that an earlier release wrote is read, reported and gated as that release did, to the last digit."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from services.cli.app import app

RELEASES = sorted(Path(__file__).with_name("releases").iterdir())
SWEEP = "release"  # its name in each of them


@pytest.fixture(params=RELEASES, ids=lambda release: release.name)
def release(request: pytest.FixtureRequest, abel_home: Path) -> Path:
    """What a release wrote and said, its ledger restored into this test's home."""
    folder: Path = request.param
    abel_home.mkdir(exist_ok=True)
    with closing(sqlite3.connect(abel_home / "ledger.db")) as connection:
        connection.executescript((folder / "ledger.sql").read_text())
    return folder


def abel(*arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == code, done.output
    return done


def test_the_status_is_the_same(release: Path) -> None:
    told = json.loads(abel("status", SWEEP, "--json").stdout)
    then = json.loads((release / "status.json").read_text())
    for trial in then["trials"]:
        trial |= {f"{name}_error": trial.pop(f"{name}_test_error") for name in ("minimum", "final", "selected")}
    assert told == then | {"adopted": [], "error": "test error"}


def test_the_baseline_is_the_same_and_holds(release: Path, tmp_path: Path) -> None:
    saved = (release / "baseline.json").read_text()
    assert abel("baseline", "save", SWEEP).stdout == saved
    checked = json.loads(abel("check", SWEEP, "--baseline", str(release / "baseline.json"), "--json").stdout)
    assert checked["verdict"] == "holds"
    worse = json.loads(saved)
    for trial in worse["arms"]["at"]["trials"]:
        trial["errors"] = [error / 2 for error in trial["errors"]]
    (tmp_path / "worse.json").write_text(json.dumps(worse))
    abel("check", SWEEP, "--baseline", str(tmp_path / "worse.json"), "--json", code=1)


def test_the_report_s_measures_are_the_same(release: Path, tmp_path: Path) -> None:
    abel("report", SWEEP, "--out", str(tmp_path), "--export", "csv")
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "measures.csv"), pd.read_csv(release / "measures.csv"), check_exact=True
    )
    assert "claims and the evidence here" in (tmp_path / "index.html").read_text()
