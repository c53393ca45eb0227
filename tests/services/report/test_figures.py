"""Tests for `services/report/figures.py`: what is drawn, not how it looks."""

import math
import re
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from services.report.figures import MANY_LINES, curves_figure, decay_time_figure, mean_percent
from services.report.themes import DARK, LIGHT, SEQUENCE, WHITE, darkened, png, svg
from sweeps.results.claims.decay_time import DecayTime
from sweeps.results.frames import CURVE_COLUMNS, Frames

NUMBERS = DecayTime(
    label="test error",
    grid=pd.DataFrame({"decay_epoch": [2, 2, 10, 10], "seed": [0, 1, 0, 1], "error": [50.0, 54.0, 30.0, 31.0]}),
    norm=pd.DataFrame({0: [9.0, 5.0, 8.0], 1: [10.0, 6.0, 8.5]}, index=[1, 2, 3]),
    constant={0: 40.0, 1: 42.0},
    abel={0: 29.0, 1: 28.0},
    bounce_epochs={0: (6,), 1: (7,)},
    forced_epochs={0: (9,), 1: ()},
    paired=None,
)


def test_the_decay_time_figure_holds_everything_it_is_about() -> None:
    figure = decay_time_figure(NUMBERS, title="T")
    front, behind = figure.axes
    verticals = [line for line in front.lines if list(line.get_ydata()) == [0, 1]]
    assert sorted(float(line.get_xdata()[0]) for line in verticals) == [6, 7, 9]
    assert len({line.get_linestyle() for line in verticals}) == 2
    levels = [float(line.get_ydata()[0]) for line in front.lines if list(line.get_xdata()) == [0, 1]]
    assert levels == [41.0, 28.5]
    assert list(behind.lines[0].get_ydata()) == [9.5, 5.5, 8.25]
    assert behind.get_ylim()[0] == 0
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(labels) == len(set(labels)) == 6
    assert front.get_zorder() > behind.get_zorder()


def test_a_long_title_stays_inside() -> None:
    title = "Why the weight norm bounces: the terms of its equation, with and without L2, on 5,000 images of CIFAR-10"
    figure = decay_time_figure(NUMBERS, title=title)
    figure.draw_without_rendering()
    (drawn,) = (text for text in figure.texts if text.get_text().startswith("Why"))
    assert drawn.get_text().split() == title.split()
    assert drawn.get_window_extent().x1 <= figure.bbox.x1


def test_it_is_drawn_without_norm_abel_and_spread_too() -> None:
    bare = DecayTime(
        label="test error",
        grid=NUMBERS.grid[NUMBERS.grid["seed"] == 0],
        norm=pd.DataFrame(),
        constant={},
        abel={},
        bounce_epochs={},
        forced_epochs={},
        paired=None,
    )
    assert png(decay_time_figure(bare)).startswith(b"\x89PNG")


def frames(settings: int, seeds: int = 2) -> Frames:
    rows = [
        {
            "trial_id": f"{x}-{seed}",
            "arm": "grid",
            "kind": "decay_at",
            "seed": seed,
            "settings": {"schedule.x": x},
        }
        for x in range(settings)
        for seed in range(seeds)
    ]
    values = [
        (row["trial_id"], "grid", row["seed"], epoch, "m", epoch + row["seed"]) for row in rows for epoch in (1, 2)
    ]
    return Frames(
        trials=pd.DataFrame(rows),
        curves=pd.DataFrame(values, columns=list(CURVE_COLUMNS)),
    )


def test_curves_are_means_over_seeds_or_every_trial() -> None:
    mean = curves_figure(frames(3), "m", "label").axes[0].lines
    assert [list(line.get_ydata()) for line in mean] == [[1.5, 2.5]] * 3
    assert len(curves_figure(frames(3), "m", "label", mean=False).axes[0].lines) == 6


def test_an_arm_without_a_finite_value_is_named_all_the_same() -> None:
    shown = frames(1)
    figure = curves_figure(replace(shown, curves=shown.curves.assign(value=math.nan)), "m", "label")
    assert [text.get_text() for text in figure.legends[0].get_texts()] != []


@pytest.mark.parametrize("mean", [True, False])
def test_a_metric_that_is_seldom_measured_is_drawn_where_it_is(mean: bool) -> None:
    shown = frames(1, seeds=1)
    (trial,) = shown.trials["trial_id"]
    values = {4: math.nan, 5: 15.0, 6: math.nan, 10: 17.0}
    rows = [[trial, "grid", 0, epoch, "m", value] for epoch, value in values.items()]
    table = pd.DataFrame(rows, columns=list(shown.curves.columns))
    (line,) = curves_figure(replace(shown, curves=table), "m", "label", mean=mean).axes[0].lines
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([5, 10], [15.0, 17.0])
    assert line.get_marker() == "o", "two values are a short line"


def test_many_settings_share_their_arms_legend_entry() -> None:
    texts = curves_figure(frames(MANY_LINES + 1, seeds=1), "m", "label").legends[0].get_texts()
    assert [text.get_text() for text in texts] == ["grid"]


def test_two_arms_of_abel_have_two_colours() -> None:
    shown = frames(2, seeds=1)
    trials = shown.trials.assign(kind="abel", arm=["abel", "abel-small"], settings=[{}, {}])
    colours = [line.get_color() for line in curves_figure(replace(shown, trials=trials), "m", "label").axes[0].lines]
    assert colours[0] == LIGHT.abel
    assert colours[1] != LIGHT.abel


def test_a_metric_nobody_has_gives_an_empty_figure() -> None:
    assert curves_figure(frames(2), "other", "label").axes[0].lines[:] == []


def test_equal_figures_are_equal_bytes() -> None:
    assert svg(decay_time_figure(NUMBERS)) == svg(decay_time_figure(NUMBERS))


def test_a_dark_page_has_the_same_drawing_in_other_colours() -> None:
    light = svg(decay_time_figure(NUMBERS)).decode()
    dark = darkened(light.encode()).decode()
    assert re.sub("#[0-9a-f]{6}", "", dark) == re.sub("#[0-9a-f]{6}", "", light)
    changed = {"background", "text", "muted", "rule", "error", "norm", "abel"}
    assert all((getattr(LIGHT, name) in light, getattr(LIGHT, name) in dark) == (True, False) for name in changed)
    assert all(getattr(DARK, name) in dark for name in changed)


def test_colours_of_data_are_the_same_on_a_dark_page() -> None:
    shades = [to_hex(shade) for shade in mpl.colormaps["viridis"](np.linspace(*SEQUENCE, 256))]
    cells = [to_hex(shade) for shade in mpl.colormaps["cividis"](np.linspace(0, 1, 256))]
    drawn = "".join(f"fill: {color};" for color in ("#000000", WHITE, *shades, *cells)).encode()
    assert darkened(drawn) == drawn


def test_errors_in_words() -> None:
    assert mean_percent([12.0, 13.0]) == "12.5\u00a0%\u00a0(7.4\u00a0to\u00a020.3)"
    assert mean_percent([12.0]) == "12.0\u00a0%"
