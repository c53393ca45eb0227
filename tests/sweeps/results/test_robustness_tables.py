"""Tests for `sweeps/results/robustness_tables.py` and `services/report/robustness_figures.py`."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sentences import absent

from services.report.robustness_figures import axes_figure, axis_names, heat_figure, parallel_figure
from services.report.themes import svg
from sweeps.results.axes import along
from sweeps.results.frames import CURVE_COLUMNS, TRIAL_COLUMNS, Frames
from sweeps.results.grids import Grid
from sweeps.results.measures import measures, near_chance
from sweeps.results.robustness_tables import Robustness, ordered, robustness, robustness_findings

RATES, FACTORS, SEEDS = (0.01, 0.1, 1.0), (0.1, 0.5), (0, 1, 2)


def error(arm: str, rate: float, factor: float, seed: int) -> float:
    return 10 + 3 * abs(math.log10(rate) + 1) * (2 if arm == "step" else 1) + factor + 0.1 * seed


def frames(change: Callable[[dict[str, object]], None] = lambda row: None) -> Frames:
    rows = [_row(number, *cell) for number, cell in enumerate(_cells())]
    for row in rows:
        change(row)
    trials = pd.DataFrame(rows, columns=list(TRIAL_COLUMNS))
    return Frames(trials=trials, curves=pd.DataFrame(columns=list(CURVE_COLUMNS)))


def _cells() -> Iterator[tuple[str, float, float, int]]:
    yield from (
        (arm, rate, factor, seed) for arm in ("abel", "step") for rate in RATES for factor in FACTORS for seed in SEEDS
    )


def _row(number: int, arm: str, rate: float, factor: float, seed: int) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(TRIAL_COLUMNS, "") | {"selected_error": math.nan}
    epochs = {f"{kind}_epochs": () for kind in ("bounce", "forced", "minimum")} | {"decay_epochs": (5,)}
    settings = {"schedule.learning_rate": rate, "schedule.decay_factor": factor}
    found = error(arm, rate, factor, seed)
    return (
        row
        | epochs
        | {"trial_id": f"{number}", "number": number, "name": f"{arm} {number}", "arm": arm, "kind": arm, "seed": seed}
        | {"outcome": "finished", "settings": settings, "minimum_error": found, "final_error": found}
    )


def arms(change: Callable[[dict[str, object]], None] = lambda row: None, guessing: float = 90.0) -> list[Robustness]:
    found, lacking = robustness(frames(change), guessing)
    assert lacking == []
    return found


def test_an_arms_table_is_that_of_its_runs() -> None:
    abel, step = arms()
    assert (abel.arm, abel.kind, step.arm) == ("abel", "abel", "step")
    assert abel.axes == ("schedule.decay_factor", "schedule.learning_rate")
    for setting, errors in zip(abel.table.settings, abel.table.errors, strict=True):
        known = dict(setting)
        wanted = [
            error("abel", known["schedule.learning_rate"], known["schedule.decay_factor"], seed) for seed in SEEDS
        ]
        assert list(errors) == wanted
    assert abel.measures == measures(abel.table)


def test_a_diverged_trial_counts_as_guessing() -> None:
    def diverge(row: dict[str, object]) -> None:
        if row["number"] == 0:
            row.update(outcome="diverged", minimum_error=math.nan)

    abel, _ = arms(diverge, guessing=90.0)
    assert abel.table.errors[0, 0] == 90.0
    assert abel.table.diverged is not None and abel.table.diverged.sum() == 1


def test_a_diverged_arm_has_no_measures_without_the_guessing_error() -> None:
    def diverge(row: dict[str, object]) -> None:
        if row["number"] == 0:
            row.update(outcome="diverged")

    found, lacking = robustness(frames(diverge), None)
    assert [arm.arm for arm in found] == ["step"]
    assert absent(lacking[0], "abel has no measures", "diverged") == []


@pytest.mark.parametrize("outcome", ["failed", "running", "cancelled"])
def test_trials_without_a_result_are_told(outcome: str) -> None:
    def end(row: dict[str, object]) -> None:
        if row["number"] in (1, 2):
            row["outcome"] = outcome

    found, lacking = robustness(frames(end), 90.0)
    assert [arm.arm for arm in found] == ["step"]
    names = f"abel 1 ({outcome}), abel 2 ({outcome})"
    (sentence,) = lacking
    assert absent(sentence, "abel has no measures", "2 of 18", names) == []


def test_values_are_in_the_order_of_numbers_or_as_they_come() -> None:
    assert ordered([10, 2, 2, 0.5]) == [0.5, 2, 10]
    assert ordered(["b", "a", "b"]) == ["b", "a"]
    assert ordered([None, 3, True]) == [None, 3, True]


def test_the_findings_say_which_arm_depends_least_on_its_settings() -> None:
    abel, step, least = robustness_findings(arms())
    assert absent(abel, "abel: over its 6 settings", "10.2 to 13.6 %", "spread of 3.4 (") == []
    assert step.startswith("step: over its 6 settings")
    assert absent(least, "abel has the smallest spread (3.4", "step the largest (6.4", "do not overlap") == []


def test_an_arm_near_chance_is_named_and_ranked_last() -> None:
    def fail(row: dict[str, object]) -> None:
        if row["arm"] == "step":
            row.update(minimum_error=float(str(row["minimum_error"])) / 20 + 96)

    hopeless, abel, ranked = robustness_findings(arms(fail, guessing=99.0))
    assert absent(hopeless, "step is near chance", "96.5 %", "guessing has 99 %") == []
    assert abel.startswith("abel: over its 6 settings")
    assert absent(ranked, "abel, step", "no spread to compare", "step is last") == []


def test_an_arm_is_near_chance_in_a_range_chosen_by_hand_if_it_may_be_no_better_than_guessing() -> None:
    errors = np.array([[95.0, 95.4, 94.9], [97.0, 97.5, 97.2]])
    table = Grid(
        settings=((("schedule.x", 1),), (("schedule.x", 2),)), seeds=(0, 1, 2), errors=errors, decays=0 * errors
    )
    by_share, by_hand = replace(table, guessing=99.0), replace(table, guessing=99.0, is_by_hand=True)
    assert near_chance(by_share) and not near_chance(by_hand)
    assert near_chance(replace(by_hand, guessing=95.3)) and not near_chance(replace(table, is_by_hand=True))
    lone = replace(by_hand, errors=errors[:, :1], decays=errors[:, :1], seeds=(0,))
    assert not near_chance(lone) and near_chance(replace(lone, guessing=95.0))


def test_an_arm_has_one_marker_in_every_panel_and_in_the_legend() -> None:
    both = arms()
    lone = replace(both[0], arm="lone", kind="simple", table=along(both[0].table, "schedule.learning_rate"))
    figure = axes_figure([lone, *both])
    lines = [bars.lines[0] for axes in figure.axes for bars in axes.containers]
    markers = {(line.get_color(), line.get_marker()) for line in lines}
    assert len(lines) == 5 and len(markers) == 3
    assert len({marker for _, marker in markers}) == 3


def test_the_mean_over_the_range_is_not_called_a_choice_among_the_settings() -> None:
    settings = tuple((("schedule.learning_rate", rate),) for rate in RATES)
    errors = np.array([[10.0, 10], [12, 12], [30, 30]])
    table = Grid(settings=settings, seeds=(0, 1), errors=errors, decays=np.ones((3, 2)))
    lone = Robustness(
        arm="abel", kind="abel", error="minimum", table=table, measures=measures(table), metric="test error"
    )
    (sentence,) = robustness_findings([lone])
    # By the trapezoid rule (10 + 2 * 12 + 30) / 4 = 16; at even odds it would be 17.3.
    assert sentence.endswith("; averaged over the grid it is 6.0 (6.0 to 6.0) points above the best.")


def test_arms_of_equal_spread_are_not_ranked() -> None:
    def collapse(row: dict[str, object]) -> None:
        row["minimum_error"] = 18.9

    *_, least = robustness_findings(arms(collapse))
    assert absent(least, "abel, step", "no difference in spread", "0.0 points") == []


def test_one_seed_cannot_tell_which_spread_is_the_least() -> None:
    kept = frames()
    found, _ = robustness(replace(kept, trials=kept.trials[kept.trials["seed"] == 0]), 90.0)
    *_, least = robustness_findings(found)
    assert absent(least, "abel has the smallest spread (3.4", "step the largest (6.4", "one seed") == []


def test_arms_of_other_grids_are_not_ranked() -> None:
    abel, step = arms()
    table = Grid(settings=((("a", 1),), (("a", 2),)), seeds=(0, 1), errors=np.eye(2) * 9, decays=np.ones((2, 2)))
    other = replace(step, table=table, measures=measures(table), metric="test error")
    assert len(list(robustness_findings([abel, other]))) == 2


def test_the_error_that_counts_is_named_and_taken() -> None:
    def later(row: dict[str, object]) -> None:
        row["final_error"] = 50.0

    found, _ = robustness(frames(later), 90.0, "final")
    assert set(found[0].table.errors.flat) == {50.0}
    sentence, *_ = robustness_findings(found)
    assert "the final test error ranges from 50.0 to 50.0 %" in sentence
    assert axes_figure(found).axes[0].get_ylabel() == "final test error (%)"


def test_arms_without_a_grid_say_nothing_of_settings() -> None:
    table = Grid(settings=((),), seeds=(0, 1), errors=np.full((1, 2), 89.0), decays=np.ones((1, 2)))
    lone = Robustness(arm="a", kind="abel", error="minimum", table=table, measures=measures(table), metric="test error")
    assert list(robustness_findings([lone])) == []
    (hopeless,) = robustness_findings([replace(lone, table=replace(table, guessing=90.0))])
    assert hopeless.startswith("a is near chance") and hopeless.endswith("guessing has 90 %.")


def test_the_error_is_drawn_along_every_axis() -> None:
    assert axis_names(arms()) == ("schedule.decay_factor", "schedule.learning_rate")
    figure = axes_figure(arms())
    factor, rate = figure.axes
    assert (factor.get_xlabel(), rate.get_xlabel()) == ("decay factor", "learning rate")
    assert [text.get_text() for text in rate.get_xticklabels()] == ["0.01", "0.1", "1"]
    assert list(rate.get_xticks()) == pytest.approx([-2, -1, 0])  # rates stand by their logarithm
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["abel", "step"]
    assert svg(figure)


def test_what_is_measured_by_its_logarithm_is_drawn_by_it() -> None:
    settings = tuple((("program.l2", value),) for value in (1e-4, 1e-3, 1e-2))
    table = Grid(settings=settings, seeds=(0, 1), errors=np.ones((3, 2)), decays=np.ones((3, 2)))
    lone = Robustness(
        arm="abel", kind="abel", error="minimum", table=table, measures=measures(table), metric="test error"
    )
    assert list(axes_figure([lone]).axes[0].get_xticks()) == pytest.approx([-4, -3, -2])


def test_two_axes_are_drawn_in_one_scale() -> None:
    figure = heat_figure(arms())
    abel, step, _ = figure.axes
    assert [axes.get_title(loc="left") for axes in (abel, step)] == ["abel", "step"]
    assert abel.images[0].get_clim() == step.images[0].get_clim()
    cells = [np.mean([error("abel", rate, factor, seed) for seed in SEEDS]) for rate in RATES for factor in FACTORS]
    assert [text.get_text() for text in abel.texts] == [f"{value:.1f}" for value in cells]
    assert (abel.get_xlabel(), abel.get_ylabel()) == ("decay factor", "learning rate")


def test_settings_that_were_drawn_are_points() -> None:
    settings = tuple((("a", first), ("b", second)) for first, second in ((1, 0.3), (2, 0.1), (4, 0.2)))
    table = Grid(settings=settings, seeds=(0, 1), errors=np.array([[1.0, 2], [3, 4], [5, 6]]), decays=np.ones((3, 2)))
    drawn = Robustness(
        arm="a", kind="abel", error="minimum", table=table, measures=measures(table), metric="test error"
    )
    assert not drawn.whole and arms()[0].whole
    styles = [{line.get_linestyle() for line in axes_figure([one]).axes[0].lines} for one in (drawn, arms()[0])]
    assert "-" not in styles[0] and "-" in styles[1]


def test_what_no_grid_has_is_a_hole() -> None:
    settings = tuple((("a", first), ("b", second)) for first, second in ((1, 1), (1, 2), (2, 1)))
    table = Grid(settings=settings, seeds=(0, 1), errors=np.ones((3, 2)), decays=np.ones((3, 2)))
    holed = Robustness(
        arm="a", kind="abel", error="minimum", table=table, measures=measures(table), metric="test error"
    )
    assert sorted(text.get_text() for text in heat_figure([holed]).axes[0].texts) == ["", "1.0", "1.0", "1.0"]


def test_every_trial_is_a_line_and_the_worst_lies_below() -> None:
    shown = frames()
    figure = parallel_figure(shown, None)
    (lines,) = figure.axes[0].collections
    heights = [float(segment[-1][1]) for segment in lines.get_segments()]
    assert len(heights) == len(shown.trials)
    assert heights == sorted(heights, reverse=True)
    labels = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert labels == ["arm", "decay factor", "learning rate", "seed", "decays", "minimum\ntest error"]
