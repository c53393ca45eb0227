"""What `abel check` prints, writes and exits with, on a sweep that a ledger has."""

import json
from pathlib import Path
from typing import Any

import pytest
from stories import Story
from typer.testing import CliRunner, Result

from services.cli.app import app
from services.settings import Settings
from services.verbs import gate
from sweeps.processes.identity import IdentityLost
from sweeps.spec.measures import MEASURES

SPEC = {
    "program": {},
    "epochs": 3,
    "arms": dict.fromkeys(("constant", "abel"), {}),
    "check": {"margins": {"constant.mean": 5}},
}


@pytest.fixture
def small(story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Story:
    monkeypatch.setenv("ABEL_HOME", str(tmp_path))
    story.seeds, story.epochs, story.decays, story.layers, story.spec = 2, 3, (), 1, SPEC
    return story


def check(story: Story, folder: Path, *more: str, better: float = 0.0) -> Result:
    """Hold the sweep to a baseline whose errors are lower by so much, a bit more in each seed."""
    kept = json.loads(CliRunner().invoke(app, ["baseline", "save", story.name]).stdout)
    for row in kept["arms"]["constant"]["trials"]:
        row["errors"] = [error - better * (1 + 0.01 * seed) for seed, error in enumerate(row["errors"])]
    (folder / "baseline.json").write_text(json.dumps(kept))
    return CliRunner().invoke(app, ["check", story.name, "--baseline", str(folder / "baseline.json"), *more])


def test_a_file_that_fails_late_changes_no_verdict(small: Story, tmp_path: Path) -> None:
    small.begin().tell().end()
    for better, code, verdict in ((0.0, 0, "holds"), (20.0, 1, "regressed")):
        done = check(small, tmp_path, "--json", "--junit", "/dev/full", better=better)
        assert (done.exit_code, json.loads(done.stdout)["verdict"]) == (code, verdict)
        assert "/dev/full: cannot be written: No space left" in " ".join(done.stderr.split())


def test_a_machine_that_fails_is_no_bug_and_no_verdict(
    small: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any) -> None:
        raise IdentityLost("the process that looks at the data was killed by SIGKILL")

    small.begin().tell().end()
    monkeypatch.setattr(gate, "check", lost)
    done = check(small, tmp_path, "--json")
    error = json.loads(done.stdout)["error"]
    assert (done.exit_code, error["exit_code"], error["kind"]) == (70, 70, "identitylost")
    assert done.stderr.startswith("error: the process that looks at the data was killed")
    assert "Traceback" not in done.stderr and "bug" not in done.stderr


@pytest.mark.parametrize("guessing", [99.0, None])  # None: as older versions wrote it; its data tell it
def test_an_arm_near_chance_is_not_praised(small: Story, tmp_path: Path, guessing: float | None) -> None:
    small.hopeless, small.guessing = True, guessing
    small.begin().tell().end()
    told = gate.measured(Settings.from_env(), small.name)
    assert {arm: set(measures) for arm, measures in told.items()} == {
        arm: MEASURES.keys() - {"spread", "area", "near"} for arm in ("constant", "abel")
    }
    done = check(small, tmp_path, "--margin", "constant.spread=90", "--json")
    (spread,) = [one for one in json.loads(done.stdout)["findings"] if one["what"] == "spread"]
    assert "near chance" in spread["why"]
