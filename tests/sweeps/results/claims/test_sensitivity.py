"""Tests for `sensitivity.py` and its figures in `services/report/`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from services.report import themes
from services.report.exhibits import exhibit, missing
from services.report.themes import LIGHT
from sweeps.results.claims.evidence import FACTOR, LAST, RATE, Evidence
from sweeps.results.claims.paper import evaluate_claims
from sweeps.results.claims.sensitivity import last_decays, rates_by_factors
from sweeps.results.frames import CURVE_COLUMNS, Frames
from workers.contracts import Metric

RATES, FACTORS = (0.01, 0.1, 1.0), (0.5, 0.1)
LEVELS = {"abel": 20.0, "step": 22.0, "cosine": 21.0}


def trial(arm: str, seed: int, error: float, settings: Mapping[str, Any], decays: Sequence[int] = ()) -> dict[str, Any]:
    name = f"{arm} {settings} seed={seed}"
    plain = {"trial_id": name, "name": name, "arm": arm, "kind": arm, "seed": seed, "settings": dict(settings)}
    ended = {"outcome": "finished", "epoch": 40, "epochs": 40, "error": "", "decay_epochs": tuple(decays)}
    errors = {"minimum_error": error - 1, "final_error": error, "selected_error": error}
    return plain | ended | errors


def frames(rows: Sequence[Mapping[str, Any]], figure: str) -> Frames:
    points = [
        (row["trial_id"], row["arm"], row["seed"], 1, metric, 1.0)
        for row in rows
        for metric in ("train_loss", "test_error", "weight_norm_sq")
    ]
    curves = pd.DataFrame(points, columns=list(CURVE_COLUMNS))
    return Frames(spec={"figure": figure}, trials=pd.DataFrame(list(rows)), curves=curves)


def both_axes() -> list[dict[str, Any]]:
    rows = []
    for arm, level in LEVELS.items():
        factors = (None,) if arm == "cosine" else FACTORS
        for (place, rate), factor, seed in product(enumerate(RATES), factors, range(3)):
            settings = {RATE: rate} | ({FACTOR: factor} if factor else {})
            jitter = 0.1 * ((seed + place) % 2) + 0.3 * (arm == "step" and seed == 1)
            rows.append(trial(arm, seed, level + 2 * place + seed + jitter, settings))
    return rows


ALONE = {
    "abel": {"schedule.learning_rate": [0.01, 0.1, 1.0]},
    "abel-factor": {"schedule.decay_factor": [0.2, 0.3]},
    "abel-long": {"schedule.decay_factor": [0.5]},
    "step": {"schedule.learning_rate": [0.01, 0.1, 1.0]},
    "step-factor": {"schedule.decay_factor": [0.2, 0.3, 0.5]},
}


def one_at_a_time() -> Frames:
    """Rates at factor 0.1, and factors at rate 0.1, where factor 0.1 is a trial of the rates."""
    rows, arms = [], {}
    for arm, grid in ALONE.items():
        ((axis, values),) = grid.items()
        kind = arm.partition("-")[0]
        schedule = {"kind": kind, "learning_rate": 0.1, "decay_factor": 0.1, "warmup_epochs": 5}
        arms[arm] = {"schedule": schedule, "grid": grid, **({"epochs": 60} if arm == "abel-long" else {})}
        for value, seed in product(values, range(3)):
            error = LEVELS[kind] + 3 * value + seed + 0.1 * (seed == 1) * (kind == "step")
            rows.append(trial(arm, seed, error, {axis: value}, range(int(10 * value))) | {"kind": kind})
    plain = frames(rows, "rate_by_factor")
    return Frames(spec=plain.spec | {"arms": arms}, trials=plain.trials, curves=plain.curves)


def of_last_decays(epochs: Sequence[int] = (38, 24, 30)) -> list[dict[str, Any]]:
    return [
        trial("abel", seed, 20.0 + seed + (epoch - 30) / 10, {LAST: epoch}, decays=(10, epoch))
        for epoch, seed in product(epochs, range(3))
    ]


def test_arms_over_rates_and_factors() -> None:
    numbers = rates_by_factors(Evidence(frames=frames(both_axes(), "rate_by_factor")))
    assert list(numbers.arms) == ["abel", "step", "cosine"]
    assert {arm: len(table.settings) for arm, table in numbers.arms.items()} == {"abel": 6, "step": 6, "cosine": 3}


def test_rates_and_factors_one_at_a_time() -> None:
    numbers = rates_by_factors(Evidence(frames=one_at_a_time()))
    assert [list(arms) for arms in numbers.grids] == [["abel", "step"], ["abel", "step"]]
    assert [value for ((_, value),) in numbers.arms["abel"].settings] == [0.01, 0.1, 1.0]
    for table in numbers.by_factor.values():
        assert [value for ((_, value),) in table.settings] == [0.1, 0.2, 0.3, 0.5], "0.1 is a trial of the rates"
    found = evaluate_claims(Evidence(frames=one_at_a_time()), ["decay_factor", "rate"], 2.0)
    told = {one.says: one.numbers for one in found}
    assert "decays per trial by factor, 0.1: 1.0, 0.2: 2.0, 0.3: 3.0, 0.5: 5.0" in told[found[1].says]
    assert found[2].numbers.startswith("on average ABEL is")


def test_a_figure_of_one_axis_at_a_time_has_findings_for_both_and_no_maps() -> None:
    shown = exhibit(one_at_a_time())
    assert shown is not None and "the other being fixed" in shown.caption
    assert [text.split(",")[0] for text in shown.findings if " is best at " in text] == [
        "abel is best at learning rate 0.01",
        "step is best at learning rate 0.01",
        "abel is best at decay factor 0.1",
        "step is best at decay factor 0.1",
    ]
    figure = shown.draw(title="both")
    assert [panel.get_xlabel() for panel in figure.axes] == ["learning rate", "decay factor"]


def test_last_decays_in_order_with_that_at_85_percent() -> None:
    numbers = last_decays(Evidence(frames=frames(of_last_decays(), "last_decay_epoch")))
    assert numbers.epochs == [24, 30, 38]
    assert numbers.table.errors[:, 0] == pytest.approx([19.4, 20, 20.8])
    assert numbers.epochs[numbers.reference] in (30, 38)
    exact = last_decays(Evidence(frames=frames(of_last_decays((24, 34, 38)), "last_decay_epoch")))
    assert exact.reference == 1
    rows = [row | {"outcome": "diverged"} if row["settings"][LAST] == 24 else row for row in of_last_decays()]
    table = last_decays(Evidence(frames=frames(rows, "last_decay_epoch"), guessing=90.0)).table
    assert table.diverged is not None and table.diverged.sum(axis=1).tolist() == [3, 0, 0]


@pytest.mark.parametrize(
    ("figure", "rows", "needs"),
    [
        (
            "rate_by_factor",
            [row for row in both_axes() if row["arm"] != "abel"],
            "one abel arm whose grid varies rate",
        ),
        ("rate_by_factor", of_last_decays(), "one abel arm whose grid varies rate"),
        ("rate_by_factor", [*both_axes()[1:]], "one abel arm whose grid varies rate"),
        ("last_decay_epoch", both_axes(), "whose grid varies only schedule.last_decay_epoch"),
    ],
)
def test_a_sweep_without_the_trials_has_no_figure_and_says_why(
    figure: str, rows: Sequence[Mapping[str, Any]], needs: str
) -> None:
    seen = frames(rows, figure)
    assert exhibit(seen) is None
    assert missing(seen).startswith(f"There is no figure {figure}: it needs finished trials of") and needs in missing(
        seen
    )


def test_findings_of_rate_by_factor() -> None:
    shown = exhibit(frames(both_axes(), "rate_by_factor"))
    assert shown is not None and shown.file == "rate_by_factor.png"
    first, second, third, *against, how = shown.findings
    assert first.startswith("abel is best at decay factor 0.5, learning rate 0.01, with 21.0 % (")
    assert (second.split()[0], third.split()[0]) == ("step", "cosine")
    assert against[0].startswith("abel minus step, in points, paired by seed: at its own best -2.1 (-2.")
    assert "Benjamini and Yekutieli" in how


@pytest.mark.parametrize(("figure", "rows"), [("rate_by_factor", both_axes()), ("last_decay_epoch", of_last_decays())])
def test_errors_are_called_by_the_metric(figure: str, rows: Sequence[Mapping[str, Any]]) -> None:
    accuracy = Metric(name="accuracy", label="accuracy", unit="%", higher_is_better=True)
    shown = exhibit(replace(frames(rows, figure), metric=accuracy))
    assert shown is not None and shown.heading.startswith("Final 100 - accuracy by")
    assert "final 100 - accuracy" in shown.findings[0]
    axes_labels = {panel.get_ylabel() for panel in shown.draw().axes}
    assert "final 100 - accuracy (%)" in axes_labels and not any("test error" in label for label in axes_labels)


def test_findings_of_last_decay() -> None:
    shown = exhibit(frames(of_last_decays((24, 34, 38)), "last_decay_epoch"))
    assert shown is not None and shown.file == "last_decay_epoch.png"
    assert "after epoch 34, the nearest to 85 % of training, ABEL's final test error is 21.4 %" in shown.findings[0]
    assert "for epochs 24 to 38 it differs from that by 1.0 points at most" in shown.findings[0]
    assert shown.findings[1] == "It decays 2.0 to 2.0 times per trial, including the last decay."


@pytest.mark.parametrize(("figure", "rows"), [("rate_by_factor", both_axes()), ("last_decay_epoch", of_last_decays())])
def test_figures_are_drawn_on_their_background(figure: str, rows: Sequence[Mapping[str, Any]], tmp_path: Any) -> None:
    shown = exhibit(frames(rows, figure))
    assert shown is not None
    (tmp_path / "figure.png").write_bytes(themes.png(shown.draw(title="A title")))
    pixels = np.rint(imread(tmp_path / "figure.png")[..., :3] * 255).astype(int)
    ground = tuple(int(LIGHT.background[index : index + 2], 16) for index in (1, 3, 5))
    assert tuple(pixels[2, 2]) == ground
    assert (pixels != ground).any(axis=2).mean() > 0.02


def test_one_seed_is_drawn_without_a_spread() -> None:
    for figure, rows in (("rate_by_factor", both_axes()), ("last_decay_epoch", of_last_decays())):
        shown = exhibit(frames([row for row in rows if row["seed"] == 0], figure))
        assert shown is not None
        assert themes.png(shown.draw()).startswith(b"\x89PNG")
        assert "nan" not in " ".join(shown.findings)


@pytest.mark.parametrize(("figure", "rows"), [("rate_by_factor", both_axes()), ("last_decay_epoch", of_last_decays())])
def test_a_diverged_trial_counts_as_guessing(figure: str, rows: Sequence[Mapping[str, Any]]) -> None:
    rows = [dict(row) | {"outcome": "diverged"} if place == 0 else row for place, row in enumerate(rows)]
    seen = frames(rows, figure)
    shown = exhibit(seen, 90.0)
    assert shown is not None
    assert themes.png(shown.draw()).startswith(b"\x89PNG")
    assert exhibit(seen) is None
    assert "a trial diverged and counts as guessing, but the number of classes is unknown" in missing(seen)
