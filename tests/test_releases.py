"""A home that an earlier release wrote is read, reported and gated as that release did, to the last digit; its epochs are kept.

A folder of `releases/` has what a release said of a small sweep: the ledger as SQL, `abel status --json`, `abel baseline save`,
and the measures that `abel report --export csv` writes. Where the release's checkpoints can be read, it has them too. Ledger and
checkpoints name the host and the folder of the home, so both had neutral names when the sweep ran.
"""

import json
import re
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from answers import answer_here
from typer.testing import CliRunner, Result

from services.cli.app import app
from workers import trajectory

FOLDERS = Path(__file__).with_name("releases")
RELEASES = sorted(folder for folder in FOLDERS.iterdir() if folder.is_dir())
SWEEP = "release"  # its name in each of them
BEFORE = FOLDERS / "0.2.0"
EPOCHS, RECORDED, CHECKPOINTS = 30, 22, 10  # of the sweep of the release before; its trials share some epochs


def restored(folder: Path, home: Path) -> Path:
    """Make a release's home anew."""
    home.mkdir(exist_ok=True)
    with closing(sqlite3.connect(home / "ledger.db")) as connection:
        connection.executescript((folder / "ledger.sql").read_text())
    return folder


@pytest.fixture(params=RELEASES, ids=lambda release: release.name)
def release(request: pytest.FixtureRequest, abel_home: Path) -> Path:
    """What a release wrote and said, its ledger restored into this test's home."""
    return restored(request.param, abel_home)


@pytest.fixture
def spec(abel_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The spec of the sweep of the release before, whose whole home is restored; no worker processes start."""
    answer_here(monkeypatch)
    restored(BEFORE, abel_home)
    with tarfile.open(BEFORE / "checkpoints.tar.xz") as saved:
        saved.extractall(abel_home, filter="data")
    with closing(sqlite3.connect(abel_home / "ledger.db")) as ledger:
        ((document,),) = ledger.execute("SELECT spec FROM sweeps")
    (tmp_path / "release.json").write_text(document)
    return tmp_path / "release.json"


def abel(*arguments: object, code: int = 0) -> Result:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == code, done.output
    return done


def told(*arguments: object, code: int = 0) -> Any:
    """What a command prints with `--json`."""
    return json.loads(abel(*arguments, "--json", code=code).stdout)


def test_the_status_is_the_same(release: Path) -> None:
    now, then = told("status", SWEEP), json.loads((release / "status.json").read_text())
    best = min(trial["minimum_test_error"] for trial in then["trials"])
    assert [(one["id"], one["best"]) for one in told("list")] == [(then["sweep"]["id"], best)]
    for trial in then["trials"]:
        trial |= {f"{name}_error": trial.pop(f"{name}_test_error") for name in ("minimum", "final", "selected")}
    assert now == then | {"adopted": [], "error": "test error"}


def test_a_damaged_curve_is_left_out_of_the_list(abel_home: Path) -> None:
    restored(BEFORE, abel_home)
    with closing(sqlite3.connect(abel_home / "ledger.db")) as ledger, ledger:
        ledger.execute("DELETE FROM states WHERE epoch = 1")
    assert [one["best"] for one in told("list")] == [None]


def test_the_baseline_is_the_same_and_holds(release: Path, tmp_path: Path) -> None:
    saved = (release / "baseline.json").read_text()
    assert abel("baseline", "save", SWEEP).stdout == saved
    assert told("check", SWEEP, "--baseline", release / "baseline.json")["verdict"] == "holds"
    worse = json.loads(saved)
    for trial in worse["arms"]["at"]["trials"]:
        trial["errors"] = [error / 2 for error in trial["errors"]]
    (tmp_path / "worse.json").write_text(json.dumps(worse))
    told("check", SWEEP, "--baseline", tmp_path / "worse.json", code=1)


def the_measures_are_those_of(release: Path, out: Path) -> None:
    abel("report", SWEEP, "--out", out, "--export", "csv")
    pd.testing.assert_frame_equal(
        pd.read_csv(out / "measures.csv"), pd.read_csv(release / "measures.csv"), check_exact=True
    )


def test_the_report_s_measures_are_the_same(release: Path, tmp_path: Path) -> None:
    the_measures_are_those_of(release, tmp_path)
    assert "claims and the evidence here" in (tmp_path / "index.html").read_text()


@pytest.mark.slow
def test_the_epochs_of_the_release_before_are_adopted_and_nothing_is_left_to_train(
    spec: Path, abel_home: Path, tmp_path: Path
) -> None:
    if differing := differing_numerics(abel_home):
        pytest.skip(f"the epochs were recorded elsewhere; {differing} differ")
    anew = told("plan", spec)
    assert (anew["epochs_known"], anew["epochs_remaining"]) == (0, [RECORDED, RECORDED])
    assert anew["reason"].endswith("; `abel adopt` keeps them if they are the same")
    (adopted,) = told("adopt", SWEEP)
    # A change of code that alters the bits of training fails here. The changelog must then say that `abel adopt` refuses.
    assert (adopted["outcome"], adopted["why"]) == ("adopted", [])
    assert (adopted["epochs"], adopted["checkpoints"], adopted["replayed"]) == (RECORDED, CHECKPOINTS, 8)
    assert [one["outcome"] for one in told("adopt", SWEEP)] == ["nothing to adopt"]
    kept = told("plan", spec)
    assert (kept["epochs_known"], kept["epochs_remaining"], kept["reason"]) == (EPOCHS, [0, 0], None)
    ran = told("run", spec, "--no-tracking", "--workers", 1)
    assert (ran["outcome"], ran["trained"], ran["replayed"]) == ("finished", 0, 0)
    now, then = told("status", SWEEP), json.loads((BEFORE / "status.json").read_text())
    assert now["sweep"]["id"] != then["sweep"]["id"]
    assert now["arms"] == then["arms"]
    assert [one["epochs"] for one in now["adopted"]] == [RECORDED]
    assert told("check", SWEEP, "--baseline", BEFORE / "baseline.json")["verdict"] == "holds"
    the_measures_are_those_of(BEFORE, tmp_path / "report")


def test_on_another_processor_they_are_refused_and_nothing_changes(
    spec: Path, abel_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = dict(trajectory.numerics()) | {"device": "cpu: another one"}
    monkeypatch.setattr(trajectory, "numerics", lambda: elsewhere)
    assert [one["id"] for one in told("list")] == [json.loads((BEFORE / "status.json").read_text())["sweep"]["id"]]
    before = contents(abel_home)
    (refused,) = told("adopt", SWEEP, code=1)
    assert (refused["outcome"], refused["replayed"]) == ("not adoptable", 0)
    assert refused["why"][0].startswith("more than the code differs from when it was trained: ")
    assert re.search(r"device: cpu: .+, cpu: another one", refused["why"][0])
    assert contents(abel_home) == before
    anew = told("plan", spec)
    assert anew["epochs_remaining"] == [RECORDED, RECORDED]
    assert "abel adopt" not in anew["reason"]


def differing_numerics(home: Path) -> list[str]:
    """What determines the bits of arithmetic, and is not here as it was where the home's sweep was trained."""
    with closing(sqlite3.connect(home / "ledger.db")) as ledger:
        ((identities,),) = ledger.execute("SELECT identities FROM sweeps")
    here = trajectory.numerics()
    return [name for name, then in json.loads(identities)[0]["numerics"].items() if here.get(name) != then]


def contents(home: Path) -> tuple[list[str], list[Path]]:
    """The rows of a home's ledger, and the files of its checkpoints."""
    with closing(sqlite3.connect(home / "ledger.db")) as ledger:
        return list(ledger.iterdump()), sorted((home / "checkpoints").rglob("*"))
