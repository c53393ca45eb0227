"""`abel study` on sweeps that a ledger has: its numbers by hand, its text at 80 columns, and what it refuses."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from stories import ACCURACY
from studies import GUESSING, RATES, Recorder, drawn, grid, over_rates
from typer.testing import CliRunner, Result

from services.cli.app import app
from sweeps.ledger.ledger import Ledger

RATE = "schedule.learning_rate"
OVER_RATES = {"constant": grid(learning_rate=list(RATES))}


@pytest.fixture
def recorder(abel_home: Path) -> Iterator[Recorder]:
    abel_home.mkdir()
    with closing(Ledger.open(f"sqlite:///{abel_home}/ledger.db")) as ledger:
        yield Recorder(ledger)


def abel(*arguments: str, columns: int = 80) -> Result:
    return CliRunner().invoke(app, ["study", *arguments], env={"COLUMNS": str(columns)})


def told(*arguments: str) -> Any:
    done = abel(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(*arguments: str) -> str:
    """Check that the command prints one error, as text and as JSON; return it on one line."""
    done, as_json = abel(*arguments), abel(*arguments, "--json")
    assert (done.exit_code, as_json.exit_code) == (2, 2), done.output
    assert done.stderr.count("error: ") == 1 and not done.stdout and "Traceback" not in done.output
    message = " ".join(done.stderr.split()).removeprefix("error: ")
    assert " ".join(json.loads(as_json.stdout)["error"]["message"].split()) == message
    return message


def moved(arm: str, settings: Mapping[str, Any], seed: int) -> float:
    """As `over_rates`, but with the best rate at 1."""
    return 20 + 10 * abs(math.log10(settings.get(RATE, 0.1))) + seed


def one(result: Any, workload: str, arm: str = "constant") -> Any:
    return next(found for found in result["arms"] if (found["workload"], found["arm"]) == (workload, arm))


def test_measures_of_two_workloads_by_hand(recorder: Recorder) -> None:
    """Means 31, 21, 31 and 41, 31, 21 at rates 0.01, 0.1 and 1; the percentiles are 22 and 31, and 22 and 40."""
    ids = {name: recorder.sweep(name, OVER_RATES, errors) for name, errors in (("a", over_rates), ("b", moved))}
    result = told("a", "b")
    assert result["error"] == "minimum test error"
    assert result["workloads"] == ids
    assert result["notes"] == [] and result["improvements"] == []
    first, second = one(result, "a"), one(result, "b")
    assert first["best"][0] == pytest.approx(21) and second["best_setting"] == {RATE: 1.0}
    assert first["default"] == {RATE: 0.1} == second["default"]
    assert [first["tunability"][0], second["tunability"][0]] == pytest.approx([0, 10])
    # The training loss is 2 at first and a hundredth of the error at last; the rates at both ends count half.
    assert [first["rate_sensitivity"][0], second["rate_sensitivity"][0]] == pytest.approx([0.1 / 2, 0.2 / 2])
    assert first["initial_loss"] == 2
    (across,) = result["across"]
    scores = {"a": {0.1: 10 / 9, 1.0: 0.0}, "b": {0.1: 9 / 18, 1.0: 19 / 18}}
    assert across["tuned_score"] == pytest.approx((scores["a"][0.1] + scores["b"][1.0]) / 2)
    assert across["common_setting"] == {RATE: 0.1}
    assert across["common_score"] == pytest.approx((scores["a"][0.1] + scores["b"][0.1]) / 2)
    assert across["sensitivity"] == pytest.approx(across["tuned_score"] - across["common_score"])
    assert (across["dimensions"], across["fields"], across["tuned_fields"]) == (1, 1, [RATE])
    # Errors of 20, 21, 22 at both best settings have the scores 11/9, 10/9, 1 and 20/18, 19/18, 1: the middle four.
    assert across["iqm_at_best"][0] == pytest.approx((1 + 19 / 18 + 10 / 9 + 20 / 18) / 4)


def test_arms_are_compared_pair_by_pair(recorder: Recorder) -> None:
    arms = {"good": grid(), "bad": grid("cosine"), "equal": grid("linear")}

    def errors(arm: str, settings: Mapping[str, Any], seed: int) -> float:
        return {"good": 10.0, "bad": 11.0, "equal": 10.0}[arm] + seed

    for name in ("a", "b"):
        recorder.sweep(name, arms, errors, seeds=2)
    found = {(first, second): probability[0] for first, second, probability in told("a", "b")["improvements"]}
    assert found == pytest.approx({("good", "bad"): 3.5 / 4, ("good", "equal"): 0.5, ("bad", "equal"): 0.5 / 4})


def test_a_diverged_trial_counts_as_guessing_and_as_the_initial_loss(recorder: Recorder) -> None:
    def errors(arm: str, settings: Mapping[str, Any], seed: int) -> float:
        return math.nan if settings[RATE] == 0.1 else over_rates(arm, settings, seed)

    recorder.sweep("a", OVER_RATES, errors, seeds=1)
    found = one(told("a"), "a")
    assert (found["diverged"], found["seeds"]) == (1, 1)
    assert found["rate_sensitivity"] == [pytest.approx((0.3 / 2 + 2.0 + 0.3 / 2) / 2 - 0.3), None, None]
    assert found["best"] == [30, None, None]
    assert found["tunability"] == [GUESSING - 30, None, None]
    assert "Diverged trials, which count as guessing: constant 1." in abel("a").stdout


def test_drawn_settings_have_a_curve_and_a_grid_says_why_not(recorder: Recorder) -> None:
    arms = {"drawn": drawn("random", 8), "sobol": drawn("sobol", 4), **OVER_RATES}
    recorder.sweep("a", arms)
    result = told("a")
    by_arm = {found["arm"]: found for found in result["arms"]}
    assert [draws for draws, _ in by_arm["drawn"]["tuning_curve"]] == [1, 2, 4, 8]
    assert [draws for draws, _ in by_arm["sobol"]["tuning_curve"]] == [1, 2, 4]
    assert by_arm["constant"]["tuning_curve"] == []
    assert "must be drawn" in by_arm["constant"]["missing"]["tuning_curve"]
    assert "independent draws" in by_arm["sobol"]["missing"]["exact_band"] and not by_arm["drawn"]["missing"].keys() & {
        "tuning_curve",
        "exact_band",
    }
    assert "learning_rate=0.1 is not" in by_arm["drawn"]["missing"]["tunability"]
    assert result["notes"] == ["Measures over workloads need two sweeps or more, got one."]
    only = {found["arm"]: found["tuning_curve"] for found in told("a", "--curve", "sobol")["arms"]}
    assert only["drawn"] == [] and only["sobol"] == by_arm["sobol"]["tuning_curve"]
    assert refused("a", "--curve", "constant") == (
        "a, constant: there is no tuning curve: settings must be drawn (`search` in the spec), as a grid's points do not show "
        "what random draws would find"
    )
    assert "of an arm with results (drawn, sobol, constant), got 'abel'" in refused("a", "--curve", "abel")


def test_an_arm_near_chance_is_not_praised(recorder: Recorder) -> None:
    recorder.sweep("a", OVER_RATES, lambda *_: 89.0)
    found = one(told("a"), "a")
    assert found["near_chance"] and found["tunability"] is None and found["rate_sensitivity"] is None
    assert "near chance" in found["missing"]["tunability"]
    assert "Near chance: constant." in abel("a").stdout


def test_an_arm_near_chance_in_one_workload_has_no_sensitivity(recorder: Recorder) -> None:
    arms = OVER_RATES | {"flat": grid("cosine", learning_rate=list(RATES))}

    def errors(arm: str, settings: Mapping[str, Any], seed: int) -> float:
        return 89.0 if arm == "flat" else over_rates(arm, settings, seed)

    recorder.sweep("a", arms)
    recorder.sweep("b", arms, errors)
    across = {found["arm"]: found for found in told("a", "b")["across"]}
    assert across["constant"]["sensitivity"] is not None
    assert across["flat"]["sensitivity"] is None and across["flat"]["dimensions"] is None
    assert across["flat"]["missing"]["sensitivity"].startswith("in b the arm is near chance")
    text = " ".join(abel("a", "b").stdout.split())
    assert "No tunability or LR sensitivity of flat in b: the arm is near chance" in text


def test_arms_of_one_setting_have_no_sensitivity(recorder: Recorder) -> None:
    for name in ("a", "b"):
        recorder.sweep(name, OVER_RATES | {"fixed": grid("cosine")})
    across = {found["arm"]: found for found in told("a", "b")["across"]}
    assert across["fixed"]["sensitivity"] is None
    assert across["fixed"]["missing"]["sensitivity"] == "there is only one setting"


def test_what_the_workloads_do_not_share_is_named(recorder: Recorder) -> None:
    other = {"constant": grid(learning_rate=[0.01, 0.1]), "abel": grid("abel", decay_factor=[0.1, 0.5])}
    recorder.sweep("a", OVER_RATES | {"abel": grid("cosine")})
    recorder.sweep("b", other | {"more": grid("linear")}, moved)
    result = told("a", "b")
    (across,) = result["across"]
    why = "the settings must be the same in all workloads, but only a has learning_rate=1.0"
    assert across["missing"] == {"sensitivity": why, "dimensions": why} and across["sensitivity"] is None
    assert result["notes"] == [
        "abel is not compared over workloads: its schedule is abel and cosine.",
        "more is not compared over workloads: it has no results in a.",
    ]


def test_an_unfinished_arm_is_left_out(recorder: Recorder) -> None:
    recorder.sweep("a", OVER_RATES | {"abel": grid("abel")}, left="abel")
    result = told("a")
    assert [found["arm"] for found in result["arms"]] == ["constant"]
    assert result["notes"][0].startswith("a: abel has no measures: every trial must have a result, 3 of 3 have none: ")
    recorder.sweep("b", {"abel": grid("abel")}, left="abel")
    assert refused("b").startswith("sweep 'b': must have an arm with results, got none: b: abel has no measures: ")


def test_sweeps_that_are_no_study_are_refused(recorder: Recorder) -> None:
    first = recorder.sweep("a", OVER_RATES)
    recorder.sweep("b", {"abel": grid("abel")})
    recorder.sweep("c", OVER_RATES, metric=replace(ACCURACY, worst=10.0))
    assert "'nosuch'" in refused("a", "nosuch")
    assert refused("a", first) == f"sweep 'a': must be named once, got it 2 times ({first})"
    assert refused("a", "b") == (
        "sweeps of a study must have an arm of one schedule in common, but a has constant; b has abel"
    )
    assert "must be compared by one metric, but a has test error and c has accuracy" in refused("a", "c")
    assert "works on this machine only" in abel("a", "--server", "http://localhost:1").stderr


def test_specs_that_count_different_errors_are_compared_by_the_minimum(recorder: Recorder) -> None:
    recorder.sweep("a", OVER_RATES)
    recorder.sweep("b", OVER_RATES, moved, check={"error": "final"})
    assert told("b")["error"] == "final test error"
    result = told("a", "b")
    assert result["error"] == "minimum test error"
    assert result["notes"] == [
        "The specs count different errors of a trial (check.error: a minimum, b final); here the minimum counts."
    ]


def test_nothing_was_run_here(abel_home: Path) -> None:
    assert "must be one that was run here" in refused("a")
    assert not abel_home.exists()


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_text_has_every_table_and_cuts_nothing(recorder: Recorder, columns: int) -> None:
    arms = OVER_RATES | {
        "abel": grid("abel", learning_rate=list(RATES), decay_factor=[0.1, 0.5]),
        "fixed": grid("cosine"),
    }
    recorder.sweep("digits", arms)
    recorder.sweep("letters", arms, moved)
    done = abel("digits", "letters", columns=columns)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert max(cell_len(line.rstrip()) for line in lines) <= columns
    assert not any("…" in line for line in lines)
    text = " ".join(done.stdout.split())
    for part in (
        "1 of 2: learning_rate",
        "No tuning curve of constant, abel: settings must be drawn",
        "No tuning curve, tunability or LR sensitivity of fixed: there is only one setting.",
        "Common setting of constant: learning_rate=0.1.",
        "probability of improvement",
        "IQM at the best setting",
    ):
        assert part in text


def test_its_order_is_that_of_the_command_line(recorder: Recorder) -> None:
    for name, errors in (("a", over_rates), ("b", moved)):
        recorder.sweep(name, OVER_RATES, errors)
    one_way, other = told("a", "b"), told("b", "a")
    assert list(other["workloads"]) == ["b", "a"]
    assert one_way["across"][0]["sensitivity"] == pytest.approx(other["across"][0]["sensitivity"])


def test_figures_are_written_where_it_is_told(recorder: Recorder, tmp_path: Path) -> None:
    recorder.sweep("a", OVER_RATES)
    files = told("a", "--out", str(tmp_path / "figures"))["files"]
    assert files == [str(tmp_path / "figures" / "tunability.png")] and Path(files[0]).stat().st_size > 1000
    assert f"Wrote {files[0]}" in abel("a", "--out", str(tmp_path / "figures")).stdout
    recorder.sweep("b", {"abel": grid("abel")})
    assert told("b", "--out", str(tmp_path / "none"))["notes"][-1].startswith("There is no figure")
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").touch()
    assert "cannot be written: " in refused("a", "--out", str(tmp_path / "file"))
