"""Tests for `table_figures.py` and `curve_figures.py`: the paper's tables and its curves by epoch."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from evidences import BOUNCE, FALL, evidence, trial

from services.report import sections
from services.report.exhibits import Exhibit, exhibit, missing
from services.report.themes import png
from sweeps.results.claims.paper import claims_of
from sweeps.results.frames import Frames
from sweeps.results.robustness_tables import robustness

ROWS = {"WRN": {"step": (20.0, 3.7), "abel": (20.4, 3.8)}, "VGG": {"abel": (30.0, None)}}


def table_1(figure: str = "table", **more: Any) -> Frames:
    """Two rows of a table; the paper has no number for the second one."""
    rows, arms = [], {}
    for row, errors in ROWS.items():
        for kind, (error, reported) in errors.items():
            arm = f"{row.lower()}-{kind}"
            arms[arm] = {"row": row} | ({} if reported is None else {"reported": reported})
            for seed, shift in enumerate((-0.3, 0.1, 0.3 if kind == "step" else 0.2)):
                last = trial(arm, seed, (90.0, 60.0, 40.0, error + shift), {}, kind=kind)
                rows.append(last | {"decay_epochs": (3,)})
    return evidence(rows, spec={"figure": figure, "arms": arms, "program": {"l2": 0.01}, **more}).frames


def shown(frames: Frames) -> Exhibit:
    found = exhibit(frames, 90.0)
    assert found is not None
    return found


def test_a_table_has_the_paper_s_errors_beside_those_found() -> None:
    found = shown(table_1())
    drawn = found.draw(title="Table 1")
    paper, here = drawn.axes
    assert (paper.get_xlabel(), here.get_xlabel()) == ("final error in the paper (%)", "final error here (%)")
    assert [label.get_text() for label in paper.get_yticklabels()] == ["WRN", "VGG"]
    assert [text.get_text() for text in paper.texts] == ["3.7", "3.8"]
    assert [text.get_text() for text in here.texts] == ["20.0", "20.4", "30.0"]
    assert png(drawn).startswith(b"\x89PNG")
    wrn, vgg = found.findings
    assert wrn.startswith("WRN: step 20.0 % (19.") and ", in the paper 3.7 %; abel 20.4 % (" in wrn
    assert "in the paper" not in vgg


def test_arms_of_one_kind_in_a_row_are_named() -> None:
    rows = [
        trial(arm, seed, (20.0 + seed,), {}, kind=arm.partition("-")[0])
        for arm in ("cosine", "cosine-no-l2", "abel")
        for seed in (0, 1)
    ]
    spec = {"figure": "table", "arms": dict.fromkeys(("cosine", "cosine-no-l2", "abel"), {"row": "WRN"})}
    (told,) = shown(evidence(rows, spec=spec).frames).findings
    assert told.startswith("WRN: cosine (cosine) 20.5 %") and "; cosine (cosine-no-l2) 20.5 %" in told
    assert "; abel 20.5 %" in told


def test_a_table_without_numbers_of_the_paper_has_one_panel() -> None:
    frames = evidence([trial("abel", seed, (20.0 + seed,), {"schedule.x": 0.5}) for seed in (0, 1)]).frames
    (panel,) = shown(Frames(**{**vars(frames), "spec": {"figure": "table"}})).draw().axes
    assert [text.get_text() for text in panel.texts] == ["20.5 x=0.5"]


def test_a_diverged_trial_of_a_table_counts_as_guessing() -> None:
    rows = [trial("abel", seed, (20.0,), {}) for seed in (0, 1)]
    rows[1] |= {"outcome": "diverged", "final_error": float("nan")}
    (told,) = shown(evidence(rows, spec={"figure": "table"}).frames).findings
    assert told.startswith("abel: 55.0 %")


def test_a_table_says_where_the_error_of_simple_decay_rises_after_its_decay() -> None:
    errors = ((50.0, 20.0, 26.0), (50.0, 30.0, 26.0))
    captions = []
    for curve in errors:
        rows = [trial("simple", seed, curve, {}, losses=(3.0, 1.0, 2.0), decay_epochs=(1,)) for seed in (0, 1)]
        found = shown(evidence(rows, spec={"figure": "table", "program": {"l2": 0.01}}).frames)
        captions.append(found.caption)
        assert ("20.0 %" in found.findings[0]) is (curve is errors[0])
    assert captions[0].endswith("if it rises after the decay.") and captions[1].endswith("it is on the left.")


def test_curves_have_a_column_for_each_row_and_a_line_for_each_kind() -> None:
    drawn = shown(table_1("training_curves")).draw()
    norm, error, rate = (drawn.axes[start : start + 2] for start in (0, 2, 4))
    assert [axes.get_title(loc="left") for axes in norm] == ["WRN", "VGG"]
    assert [len(axes.lines) for axes in error] == [2, 1]
    np.testing.assert_allclose(error[0].lines[0].get_ydata(), [90, 60, 40, 20.0 + 0.1 / 3])
    assert (error[0].get_ylabel(), rate[0].get_yscale()) == ("test error (%)", "log")
    (legend,) = drawn.legends
    assert [text.get_text() for text in legend.texts] == ["step", "abel"]
    assert error[0].lines[1].get_color() == error[1].lines[0].get_color()


def test_a_legend_of_long_names_stays_inside_and_shows_how_abel_is_drawn() -> None:
    rows = [
        trial(arm, seed, (90.0, 60.0), {"schedule.learning_rate": rate, "schedule.decay_factor": 0.25})
        for arm in ("abel", "cosine", "step", "simple")
        for rate in (0.1, 2.0)
        for seed in (0, 1)
    ]
    drawn = shown(evidence(rows, spec={"figure": "training_curves"}).frames).draw()
    png(drawn)
    (legend,) = drawn.legends
    reach = legend.get_window_extent()
    assert reach.x0 >= 0 and reach.x1 <= drawn.bbox.x1, "wider than the figure"
    assert len(legend.texts) == 8
    dashed = [line.get_color() for line in legend.get_lines() if line.get_linestyle() == "--"]
    assert dashed == [line.get_color() for line in drawn.axes[0].lines if line.get_linestyle() == "--"] != []


def test_curves_of_one_arm_are_told_apart_by_setting() -> None:
    scales: Mapping[float, Any] = {0.1: tuple(norm / 50 for norm in FALL), 1.0: BOUNCE}
    rows = [
        trial("cosine", seed, (90.0, 60.0, 40.0, 20.0), {"program.initial_scale": scale}, norm=norm)
        for scale, norm in scales.items()
        for seed in (0, 1)
    ]
    drawn = shown(evidence(rows, spec={"figure": "training_curves"}).frames).draw()
    assert [text.get_text() for text in drawn.legends[0].texts] == [
        "cosine initial_scale=0.1",
        "cosine initial_scale=1.0",
    ]
    assert drawn.axes[0].get_yscale() == "log", "the norms are far apart"
    assert len({line.get_color() for line in drawn.axes[0].lines}) == 2


@pytest.mark.parametrize("count", [0, 9])
def test_curves_that_cannot_be_told_apart_are_not_drawn(count: int) -> None:
    rows = [trial("abel", 0, (20.0,), {"schedule.x": number}) for number in range(count)]
    rows = rows or [trial("abel", 0, (20.0,), {}, outcome="failed")]
    frames = evidence(rows, spec={"figure": "training_curves"}).frames
    assert exhibit(frames) is None
    assert "at most 8 arms and settings" in missing(frames)


def test_layers_are_drawn_with_their_share() -> None:
    layers = {f"conv{index}/kernel": tuple(float(index * epoch) for epoch in (1, 2, 3, 4)) for index in range(1, 13)}
    layers |= {"conv12/bias": (1.0, 1.0, 1.0, 1.0)}
    norm = tuple(map(sum, zip(*layers.values(), strict=True)))
    rows = [trial("step", seed, (20.0,) * 4, {}, norm=norm, layers=layers) for seed in (0, 1)]
    found = shown(evidence(rows, spec={"figure": "layers"}).frames)
    above, below = found.draw().axes
    assert [line.get_label() for line in above.lines] == [f"conv{index}" for index in range(12, 2, -1)]
    assert above.lines[0].get_ydata()[0] == 13, "kernel and bias are one layer"
    np.testing.assert_allclose(
        below.lines[-1].get_ydata(), [100 * (1 - 3 * epoch / (78 * epoch + 1)) for epoch in (1, 2, 3, 4)]
    )
    assert found.findings == ("The 10 layers of 12 with the largest norms hold 96 to 96 % of the squared norm.",)


def test_arms_are_compared_within_their_row() -> None:
    frames = table_1(claims={"tested": ["tuned"], "margin": 2})
    arms, _ = robustness(frames, 90.0)
    assert {arm.arm: arm.row for arm in arms} == {"wrn-step": "WRN", "wrn-abel": "WRN", "vgg-abel": "VGG"}
    compared = sections.comparisons_section(arms)
    assert "WRN" in compared and "wrn-step" in compared and "vgg" not in compared.lower()
    assert compared.count("<td>mean</td>") == 1 and "<td>best</td>" not in compared, (
        "an arm without a grid has one error"
    )
    assert [row in sections.measures_section(arms) for row in ("mean: ", "decays: ", "spread: ")] == [True, True, False]
    told = sections.claims_section(claims_of(frames, 90.0))
    assert "<th>row</th>" in told and told.count("VGG") == 1
    assert "needs one arm of kind step, got 0" in told and re.search(
        r"ABEL 20\.\d %, step-wise 20\.\d %; difference", told
    )
