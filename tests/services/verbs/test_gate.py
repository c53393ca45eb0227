"""Tests for the gate by its commands, on a sweep that was run: `services/verbs/gate.py`, `sweeps/results/baseline.py`."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Never
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

from services.cli.app import app
from services.encoding import to_json
from services.verbs import gate
from sweeps.ledger import tables
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.sealing import change_rows
from sweeps.results import baseline as baselines
from sweeps.results.grids import Grid
from sweeps.results.power import verdict_shares
from sweeps.results.values import Power
from workers.config import Program, to_dict

pytestmark = pytest.mark.ray

FEW = 20  # simulated sweeps


def spec(program: Mapping[str, Any], **other: Any) -> dict[str, Any]:
    return {
        "name": "guarded",
        "program": program,
        "epochs": 3,
        "seeds": [0, 1, 2],
        "arms": {
            "at": {
                "schedule": {"kind": "decay_at", "decay_epoch": 1, "learning_rate": 0.05, "decay_factor": 0.1},
                "grid": {"schedule.decay_epoch": [1, 2]},
            }
        },
        "check": {"error": "final", "margins": {"mean": 5}},
    } | other


BASELINE = {
    "format": 1,
    "sweep": "guarded",
    "spec": "0" * 16,
    "error": "final",
    "arms": {
        "at": {
            "seeds": [0, 1],
            "trials": [{"settings": {"schedule.decay_epoch": 1}, "errors": [9, 8], "decays": [1, 1]}],
            "diverged": 0,
        }
    },
}


@pytest.fixture(scope="module")
def ran(tiny_program: Program) -> Iterator[Path]:
    """A home in which the sweep was run, and its spec's file."""
    root = Path(tempfile.mkdtemp(prefix="abel-"))
    (root / "spec.json").write_text(json.dumps(spec(to_dict(tiny_program))))
    command = [sys.executable, "-m", "services.cli", "run", str(root / "spec.json"), "--no-tracking", "--workers", "1"]
    done = subprocess.run(command, env=environment(root), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    yield root
    shutil.rmtree(root)


def environment(root: Path) -> dict[str, str]:
    return os.environ | {"ABEL_HOME": str(root / "home")}


@pytest.fixture
def home(ran: Path, abel_home: Path) -> Path:
    """This test's copy of that home."""
    shutil.copytree(ran / "home", abel_home)
    return abel_home


@pytest.fixture
def baseline(home: Path, tmp_path: Path) -> Path:
    """The sweep's baseline, in a file."""
    file = tmp_path / "baseline.json"
    file.write_text(abel("baseline", "save", "guarded").stdout)
    return file


def abel(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def check(baseline: Path, *more: str, sweep: str = "guarded") -> Result:
    return abel("check", sweep, "--baseline", str(baseline), *more)


def rewritten(baseline: Path, change: Callable[[Any], object]) -> Path:
    document = json.loads(baseline.read_text())
    change(document)
    baseline.write_text(json.dumps(document))
    return baseline


def test_a_sweep_holds_to_its_own_baseline_and_says_so_everywhere(baseline: Path, tmp_path: Path) -> None:
    summary, junit = tmp_path / "summary.md", tmp_path / "junit.xml"
    done = check(baseline, "--rule", "at.worst <= 200", "--markdown", str(summary), "--junit", str(junit))
    assert done.exit_code == 0, done.output
    assert done.output.lstrip().startswith("holds  guarded")
    assert ", by final test error" in " ".join(done.output.split())
    assert summary.read_text().startswith("### Robustness: guarded holds")
    assert "`, by final test error.\n" in summary.read_text()
    assert "| at | mean |" in summary.read_text()
    suite = ElementTree.parse(junit).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "0", "0")
    assert [case.get("name") for case in suite] == ["mean", "worst <= 200"]
    document = json.loads(check(baseline, "--json").stdout)
    assert document["verdict"] == "holds"
    assert document["findings"][0]["change"] == [0, 0, 0]


def test_a_baseline_is_small_and_the_same_each_time(home: Path, baseline: Path) -> None:
    assert abel("baseline", "save", "guarded").stdout == baseline.read_text()
    document = json.loads(baseline.read_text())
    assert document["error"] == "final"
    assert [row["settings"] for row in document["arms"]["at"]["trials"]] == [
        {"schedule.decay_epoch": 1},
        {"schedule.decay_epoch": 2},
    ]
    assert all(row["decays"] == [1, 1, 1] for row in document["arms"]["at"]["trials"])
    assert len(baseline.read_text().splitlines()) < 40


def test_a_regression_is_caught_with_exit_code_1(baseline: Path, tmp_path: Path) -> None:
    def better_once(document: Any) -> None:
        for row in document["arms"]["at"]["trials"]:
            row["errors"] = [error - 20 + 0.1 * seed for seed, error in enumerate(row["errors"])]

    junit = tmp_path / "junit.xml"
    done = check(rewritten(baseline, better_once), "--junit", str(junit))
    assert done.exit_code == 1, done.output
    assert done.output.lstrip().startswith("regressed  guarded")
    (case,) = ElementTree.parse(junit).getroot()
    assert case.find("failure") is not None


def test_another_error_cannot_be_compared(baseline: Path) -> None:
    def other(document: Any) -> None:
        document["error"] = "minimum"

    done = check(rewritten(baseline, other))
    assert done.exit_code == 3
    assert "by minimum test error" in " ".join(done.output.split())
    assert "has the minimum errors, but the spec's check.error is final" in " ".join(done.output.split())


def test_another_spec_cannot_be_compared(baseline: Path, tmp_path: Path) -> None:
    def other(document: Any) -> None:
        document["spec"] = "0" * 16

    junit = tmp_path / "junit.xml"
    done = check(rewritten(baseline, other), "--junit", str(junit))
    assert done.exit_code == 3
    (case,) = ElementTree.parse(junit).getroot()
    assert (case.get("classname"), case.get("name")) == ("guarded", "spec")
    assert "belongs to another spec" in " ".join(done.output.split())


def test_a_baseline_that_lost_a_setting_cannot_be_compared(baseline: Path) -> None:
    def lost(document: Any) -> None:
        document["arms"]["at"]["trials"].pop()

    done = check(rewritten(baseline, lost))
    assert done.exit_code == 3
    assert "edited by hand" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("status", "hint"),
    [("failed", "`abel run` trains the missing ones"), ("stopped", "remove `halving` from its spec")],
)
def test_a_trial_without_a_result_cannot_tell(home: Path, baseline: Path, status: str, hint: str) -> None:
    with contextlib.closing(Ledger.open(f"sqlite:///{home}/ledger.db")) as ledger, ledger._write() as connection:
        change_rows(connection, tables.trials, tables.trials.c.number == 0, {"status": status})
    done = check(baseline)
    assert done.exit_code == 3, done.output
    assert "1 of 6 have none" in " ".join(done.output.split())
    refused = abel("baseline", "save", "guarded")
    assert refused.exit_code == 2
    assert hint in " ".join(refused.output.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--margin", "width=1"], "must be MEASURE=AMOUNT"),
        (["--margin", "mean=-1"], "must have a finite amount above 0 for mean"),
        (["--margin", "mean"], "must be MEASURE=AMOUNT"),
        (["--margin", "mean=inf"], "must have a finite amount above 0 for mean"),
        (["--margin", "at.near=1"], "must have an amount below 1 for at.near, which is a fraction"),
        (["--margin", "diverged=20"], "must have an amount below 1 for diverged, which is a fraction"),
        (["--rule", "near >= 50"], "must bound near between 0 and 1, as it is a fraction"),
        (["--rule", "mean >= -1"], "must have a bound of at least 0"),
        (["--rule", "mean < 3"], "must look like"),
        (["--rule", "abel.mean <= 3"], "must name an arm of sweep 'guarded' (at), got 'abel'"),
        (["--margin", "abel.mean=3"], "must name an arm of sweep 'guarded' (at), got 'abel'"),
    ],
)
def test_a_bad_margin_or_rule_is_bad_input(baseline: Path, arguments: Sequence[str], said: str) -> None:
    done = check(baseline, *arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Invalid JSON"),
        ("[]", "should be"),
        ('{"format": 2}', "format"),
        (None, "cannot be read: No such file"),
    ],
)
def test_a_corrupt_baseline_is_bad_input(home: Path, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "baseline.json"
    if text is not None:
        file.write_text(text)
    done = check(file)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())


def test_a_torn_table_is_bad_input(baseline: Path) -> None:
    def torn(document: Any) -> None:
        document["arms"]["at"]["trials"][0]["errors"].pop()

    done = check(rewritten(baseline, torn))
    assert done.exit_code == 2
    assert "an error and a number of decays for each of the seeds" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"diverged": 7}, "arms.at.diverged: must be at most the number of trials, 6, got 7"),
        ({"diverged": -1}, "arms.at.diverged: Input should be greater than or equal to 0, got -1"),
        ({"errors": [-5, 10, 3]}, "trials.0.errors.0: Input should be greater than or equal to 0, got -5"),
        ({"errors": [5, 1e300, 3]}, "trials.0.errors.1: Input should be less than or equal to 100, got 1e+300"),
        ({"decays": [1, 1, -1]}, "trials.0.decays.2: Input should be greater than or equal to 0, got -1"),
        ({"decays": [1, 1, 10**400]}, "trials.0.decays.2: "),
    ],
)
def test_numbers_that_no_sweep_gives_are_bad_input(baseline: Path, changed: Callable[[Any], object], said: str) -> None:
    def absurd(document: Any) -> None:
        arm = document["arms"]["at"]
        (arm if "diverged" in changed else arm["trials"][0]).update(changed)

    done = check(rewritten(baseline, absurd), "--margin", "diverged=0.1")
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.output.split())
    assert len(done.output) < 1000


def test_a_bug_is_no_regression(baseline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Never:
        raise ZeroDivisionError("nothing to divide by")

    monkeypatch.setattr(gate, "check", broken)
    done = check(baseline)
    assert done.exit_code == 70
    assert "Traceback" in done.stderr
    assert "crashed, which is a bug and not a verdict: ZeroDivisionError: nothing to divide by" in done.stderr


def test_a_sweep_that_is_not_there_is_bad_input(home: Path, tmp_path: Path, baseline: Path) -> None:
    for arguments in (["check", "other", "--baseline", str(baseline)], ["baseline", "save", "other"]):
        done = abel(*arguments)
        assert done.exit_code == 2
        assert "other" in done.output


def test_a_home_without_a_sweep_is_not_made(abel_home: Path, tmp_path: Path) -> None:
    done = abel("baseline", "save", "guarded")
    assert done.exit_code == 2
    assert "must be one that was run here" in " ".join(done.output.split())
    assert not abel_home.exists()


def test_bad_input_is_told_before_anything_runs(abel_home: Path, tmp_path: Path) -> None:
    done = abel("check", "gate-digits", "--run", "--baseline", str(tmp_path / "no.json"))
    assert done.exit_code == 2
    assert "cannot be read: No such file" in " ".join(done.output.split())
    assert not abel_home.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--margin", "abel.mean=3"], "must name an arm of sweep 'guarded' (at), got 'abel'"),
        ([], "needs a margin or a rule to check, got none"),
    ],
)
def test_what_a_sweep_cannot_be_held_to_is_told_before_it_runs(
    ran: Path, abel_home: Path, tmp_path: Path, arguments: Sequence[str], said: str
) -> None:
    file, loose = tmp_path / "baseline.json", tmp_path / "loose.json"
    file.write_text(json.dumps(BASELINE))
    document = json.loads((ran / "spec.json").read_text())
    loose.write_text(json.dumps(document | {"check": None}))
    done = abel("check", str(loose), "--run", "--baseline", str(file), *arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
    assert not abel_home.exists()


@pytest.mark.parametrize("option", ["--markdown", "--junit"])
def test_a_verdict_that_cannot_be_written_is_told_before_anything_runs(
    ran: Path, abel_home: Path, tmp_path: Path, option: str
) -> None:
    file = tmp_path / "baseline.json"
    file.write_text(json.dumps(BASELINE))
    to = tmp_path / "no" / "verdict"
    done = abel("check", str(ran / "spec.json"), "--run", "--baseline", str(file), option, str(to))
    assert done.exit_code == 2
    assert "cannot be written: No such file" in " ".join(done.output.split())
    assert not abel_home.exists()


def test_files_that_can_be_written_are_left_alone_until_there_is_a_verdict(baseline: Path, tmp_path: Path) -> None:
    summary, junit = tmp_path / "summary.md", tmp_path / "junit.xml"
    summary.write_text("Before.\n")
    done = check(baseline, "--margin", "foo.mean=1", "--markdown", str(summary), "--junit", str(junit))
    assert done.exit_code == 2
    assert summary.read_text() == "Before.\n"
    assert not junit.exists()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """By how many each table's measure shares the risk, in tables of few simulated sweeps: their shares are tested elsewhere."""
    given: list[tuple[str, int]] = []

    def shares(arm: str, name: str, table: Grid, margin: float, looks: int) -> Power:
        given.append((name, looks))
        return verdict_shares(arm, name, table, margin, looks, FEW)

    monkeypatch.setattr(gate.powers, "verdict_shares", shares)
    return given


def test_the_power_table_is_printed(home: Path, looks: Any) -> None:
    done = abel("baseline", "power", "guarded", "--margin", "mean=5")
    assert done.exit_code == 0, done.output
    assert "at, mean: margin 5" in done.output
    assert abel("baseline", "power", "guarded").stdout == done.stdout
    assert looks == [("mean", 1)] * 2


def test_the_power_table_is_that_of_the_whole_check(baseline: Path, looks: Any) -> None:
    given = ["at.mean=5", "spread=4", "decays=1"]
    margins = [word for margin in given for word in ("--margin", margin)]
    document = json.loads(abel("baseline", "power", "guarded", *margins, "--json").stdout)
    assert [one["measure"] for one in document] == ["mean", "spread", "decays"]
    assert document[2]["rows"] == []
    assert "measure of errors" in document[2]["why"]
    alone = json.loads(abel("baseline", "power", "guarded", "--margin", "spread=4", "--json").stdout)
    assert [one["measure"] for one in alone] == ["spread"]
    table = baselines.read_baseline(baseline).arms["at"]
    assert looks == [("mean", 3), ("spread", 3), ("decays", 3), ("spread", 2)]  # the spec's margin of the mean counts
    for found, among in ((document[1], 3), (alone[0], 2)):
        assert found["rows"] == json.loads(to_json(verdict_shares("at", "spread", table, 4.0, among, FEW).rows))


@pytest.mark.parametrize(
    ("margin", "said"),
    [
        ("decays=1", "decays must be a measure of errors"),
        ("foo.mean=1", "must name an arm of sweep 'guarded' (at), got 'foo'"),
    ],
)
def test_there_is_no_power_table_of_what_has_none(home: Path, margin: str, said: str) -> None:
    done = abel("baseline", "power", "guarded", "--margin", margin)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())


@pytest.mark.slow
def test_check_runs_the_spec_first_and_one_seed_cannot_tell(ran: Path, home: Path, baseline: Path) -> None:
    done = check(baseline, "--run", "--seeds", "7", "--workers", "1", sweep=str(ran / "spec.json"))
    assert done.exit_code == 3, done.output
    assert "one seed gives no estimate of the noise" in " ".join(done.stdout.split())
    lone = abel("baseline", "save", "guarded")
    assert lone.exit_code == 2
    assert "at least two seeds" in " ".join(lone.output.split())
