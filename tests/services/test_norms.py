"""Tests for `sweeps/results/claims/norm_curves.py`, `norm_findings.py`, `norm_figures.py` and `exhibits.py`."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sentences import absent

from abel.schedules import Event, Observation, replay
from services.report.exhibits import Exhibit, exhibit
from services.report.norm_findings import norm_curves_findings, norm_equation_findings
from services.report.themes import png
from sweeps.results.claims.norm_curves import NormCourse, by_l2, by_rate
from sweeps.results.frames import CURVE_COLUMNS, CURVES, TRIAL_COLUMNS, Frames
from sweeps.spec.programs import replaced
from sweeps.spec.sweep import Trial, load_spec, parse_document
from workers.cohort import train
from workers.fold import Member
from workers.reports import Cohort, Record
from workers.workshop import Workshop


def trained(trial: Trial, workshop: Workshop) -> list[Mapping[str, float]]:
    member = Member(trial=trial.name, schedule=trial.schedule)
    cohort = Cohort(
        program=trial.program,
        identity=workshop.identity(trial.program),
        seed=trial.seed,
        epochs=trial.epochs,
        members=(member,),
    )
    with closing(train(cohort, workshop)) as reports:
        return [report.metrics for report in reports if isinstance(report, Record)]


def as_runs(figure: str, curves: Mapping[Trial, list[Mapping[str, float]]]) -> Frames:
    """Records as the tracking store would show them."""
    rows, points = [], []
    for trial, records in curves.items():
        seen = [Observation(record["weight_norm_sq"], record["train_loss"]) for record in records]
        states = replay(trial.schedule, seen)[1:]
        after = {
            name: tuple(state.epoch for state in states if state.event & flags)
            for name, flags in (("bounce_epochs", Event.DECAY), ("forced_epochs", Event.LAST_DECAY))
        }
        about = {"trial_id": trial.id, "name": trial.name, "arm": trial.arm, "kind": trial.schedule.kind}
        rows.append(about | {"seed": trial.seed, "outcome": "finished", "settings": trial.settings} | after)
        for epoch, record in enumerate(records, start=1):
            for name in CURVES:
                if name in record:
                    points.append((trial.id, trial.arm, trial.seed, epoch, name, record[name]))
    return Frames(
        spec={"figure": figure},
        trials=pd.DataFrame(rows, columns=list(TRIAL_COLUMNS)),
        curves=pd.DataFrame(points, columns=list(CURVE_COLUMNS)),
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    """The catalogue's digit entry, made small enough to train here."""
    document: Any = load_spec("norm-equation-digits").to_dict()
    for path, value in {
        "program.model.width": 2,
        "program.data": {"kind": "digit_pairs", "train": 96, "test": 20},
        "epochs": 8,
        "seeds": [0, 1],
    }.items():
        document = replaced(document, path, value)
    workshop = Workshop(checkpoints=tmp_path_factory.mktemp("checkpoints"), data_dir=None)
    trials = parse_document(document).expand()
    return as_runs("norm_equation", {trial: trained(trial, workshop) for trial in trials})


def test_the_equation_s_experiment_from_training_to_its_sentences(measured: Frames) -> None:
    shown = exhibit(measured)
    assert shown is not None and shown.file == "norm_equation.png"
    courses = by_l2(measured)
    assert courses is not None and [course.value for course in courses] == [0.01, 0.0]
    for course in courses:
        assert course.norm.shape == course.abel.shape == (8, 2)
        change = course.norm.diff().iloc[1:]
        np.testing.assert_allclose(course.equation["change"].iloc[1:], change, rtol=1e-6, atol=1e-9)
        beside = course.size.abs()
        assert ((course.approximation - course.equation["change_steps"]).abs() <= 0.01 * beside).all(axis=None)
    identity, approximation, *others = shown.findings
    assert identity.startswith("The exact identity of plain SGD holds to float32 rounding")
    assert "% at most with L2 0.01" in approximation and "% at most without L2" in approximation
    for where in ("With L2 0.01", "Without L2"):
        assert [text.startswith(f"{where} the squared norm") for text in others].count(True) == 1
        assert [text.startswith(f"{where} ABEL") for text in others].count(True) == 1
    assert sum("The ratio r of growth to decay" in text for text in others) == 1


def test_the_equation_s_figure_holds_a_column_for_each_strength(measured: Frames) -> None:
    shown = exhibit(measured)
    assert shown is not None
    figure = shown.draw(title="T")
    assert len(figure.axes) == 6
    middle = figure.axes[2]
    courses = by_l2(measured)
    assert courses is not None
    drawn = [np.asarray(line.get_ydata(), float) for line in middle.lines if len(line.get_xdata()) == 8]
    expected = [
        courses[0].equation["change"],
        *(courses[0].equation[name] for name in ("growth", "decay", "alignment")),
    ]
    for line, table in zip(drawn, [*expected, courses[0].approximation], strict=True):
        np.testing.assert_allclose(line, table.mean(axis=1))
    residual = figure.axes[4].lines
    np.testing.assert_allclose(residual[1].get_ydata(), courses[0].equation["residual"][0])
    assert png(figure).startswith(b"\x89PNG")


def frame(*curves: list[float]) -> pd.DataFrame:
    return pd.DataFrame(dict(enumerate(curves)), index=range(1, len(curves[0]) + 1))


def course(value: float, norm: pd.DataFrame, abel: pd.DataFrame, **others: Any) -> NormCourse:
    empty: Any = {"bounce_epochs": {0: ()}, "forced_epochs": {0: (5,)}, "equation": {}}
    return NormCourse(value=value, norm=norm, abel=abel, **(empty | others))


DEEP = frame([10.0, 8.0, 6.0, 7.0, 8.0, 9.0], [10.0, 8.0, 5.0, 7.0, 8.0, 9.0])
TWICE = frame([10.0, 8.0, 9.0, 8.5, 8.0, 8.2])


def test_a_bounce_is_told_by_seed_and_its_decays_with_what_followed() -> None:
    bounce, abel, after = norm_curves_findings([course(0.1, DEEP, TWICE, bounce_epochs={0: (4,)})])
    assert absent(bounce, "rate 0.1", "bounces in 2 of 2 seeds", "40.0, 50.0 %", "epoch 3, 3", "50.0, 80.0 %") == []
    assert absent(abel, "ABEL decays by itself", "1 of 1 seed", "after epochs 4 (by seed)") == []
    assert absent(after, "falls again after 1 of 1", "after 0 of them", "rises") == []


def test_a_turn_after_a_decay_counts() -> None:
    *_, after = norm_curves_findings([course(0.1, DEEP, TWICE, bounce_epochs={0: (4,)}, forced_epochs={0: ()})])
    assert absent(after, "falls again after 1 of 1", "after 1 of them", "rises") == []


def test_no_bounce_is_told_and_abel_is_simple_decay() -> None:
    falling = frame([3.0, 2.0, 1.0])
    bounce, abel = norm_curves_findings([course(0.02, falling, falling)])
    assert absent(bounce, "does not bounce in 1 of 1 seed", "66.7 %", "0.0 % above its minimum") == []
    assert absent(abel, "rate 0.02", "does not decay by itself", "after epoch 5", "simple decay") == []


def test_a_norm_that_levels_does_not_bounce() -> None:
    level = frame([100.0, 90.0, 80.0, 79.9, 80.0])
    (told,) = norm_curves_findings([course(0.02, level, pd.DataFrame())])
    assert absent(told, "does not bounce in 1 of 1 seed", "20.1 %", "0.1 % above its minimum") == []


def test_decays_after_the_last_are_told_apart() -> None:
    _, abel = norm_curves_findings([course(0.1, DEEP, TWICE, bounce_epochs={0: (6,)})])
    assert absent(abel, "simple decay", "after the last one", ": 1.") == []


def test_seeds_that_differ_are_told_apart() -> None:
    norm = frame([1.0, 2.0, 3.0], [1.0, 3.0, 2.0], [2.0, 1.0, 3.0])
    (told,) = norm_curves_findings([course(0.1, norm, pd.DataFrame())])
    assert absent(told, "bounces in 1 of 3 seeds", "50.0 %", "epoch 2", "200.0 %") == []
    assert absent(told, "lowest at the start in 2 of 3 seeds", "200.0, 200.0 %", "0, 1 of its epochs") == []


def test_steps_that_are_not_plain_sgd_break_its_identity() -> None:
    names = ("growth", "decay", "alignment", "residual", "change", "change_steps", "ratio", "balance")
    equation = dict.fromkeys(names, DEEP) | {"change_sgd": 1.1 * DEEP}
    told = next(iter(norm_equation_findings([course(0.01, DEEP, pd.DataFrame(), equation=equation)])))
    assert told.startswith("The exact identity of plain SGD does not hold, as these steps are not plain SGD")


def test_where_the_ratio_crosses_one() -> None:
    names = ("growth", "decay", "alignment", "residual", "change", "change_sgd", "change_steps")
    equation = dict.fromkeys(names, DEEP) | {"ratio": DEEP / 7.5, "balance": DEEP / 1e3}
    told = list(norm_equation_findings([course(0.01, DEEP, pd.DataFrame(), equation=equation)]))
    assert absent(told[3], "exceeds 1 in epoch 1, 1", "-2 eta g.w", "in no epoch", "minimum", "epoch 3, 3") == []


def rates_apart(**changes: Any) -> tuple[Frames, list[Trial]]:
    spec = parse_document({**load_spec("fig-s5-cifar10").to_dict(), "seeds": [0, 1], **changes})
    trials = spec.expand()
    curves = {}
    for trial in trials:
        small = trial.schedule.learning_rate < 0.1
        rate = float(np.float32(trial.schedule.learning_rate))
        curves[trial] = [
            {
                "weight_norm_sq": 10.0 / epoch if small else 10 + abs(epoch - 9),
                "train_loss": 1.0,
                "test_error": 50.0,
                "learning_rate_first": rate,
                "learning_rate_last": rate,
            }
            for epoch in range(1, trial.epochs + 1)
        ]
    return as_runs("norm_curves", curves), trials


def test_rates_are_told_apart_though_their_arms_differ_in_length() -> None:
    frames, _ = rates_apart()
    courses = by_rate(frames)
    assert courses is not None
    assert [(course.value, course.epochs) for course in courses] == [(0.1, 30), (0.02, 150)]
    assert courses[1].norm.shape == (150, 2) and courses[0].norm.shape == (30, 2)
    shown = exhibit(frames)
    assert isinstance(shown, Exhibit) and shown.file == "norm_curves.png"
    figure = shown.draw()
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["rate 0.1, 30 epochs", "rate 0.02, 150 epochs"]
    assert [axes.get_xlim() for axes in figure.axes] == [(0, 31), (0, 151)]
    assert any(
        "before its last decay, after epoch 128: until then it is simple decay" in text for text in shown.findings
    )


def test_what_cannot_be_told_apart_has_no_figure() -> None:
    frames, _ = rates_apart(
        arms={
            "a": {
                "schedule": {"kind": "constant", "learning_rate": 0.1},
                "grid": {"program.l2": [0.1, 0.2]},
            }
        }
    )
    assert by_rate(frames) is None
    assert by_l2(frames) is None  # L2 varies, but nothing was recorded of the equation
    assert exhibit(frames) is None


def test_a_sweep_without_a_figure(measured: Frames, tmp_path: Path) -> None:
    bare = Frames(trials=measured.trials, curves=measured.curves)
    assert exhibit(bare) is None
