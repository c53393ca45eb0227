"""Tests for `services/report/studies/study_figures.py`."""

import math
from pathlib import Path

import pytest

from services.report.studies.study_figures import tunability_figure, tuning_curves_figure, write_figures
from sweeps.results.study.values import ArmInWorkload, Design, Study, Tuned
from sweeps.results.values import Interval


def arm(workload: str, name: str, gain: float | None, curve: tuple[Tuned, ...] = ()) -> ArmInWorkload:
    return ArmInWorkload(
        workload=workload,
        arm=name,
        kind=name,
        design=Design.RANDOM if curve else Design.GRID,
        settings=4,
        seeds=3,
        diverged=0,
        near_chance=False,
        best=Interval(10.0, 9.0, 11.0),
        best_setting={},
        tunability=None if gain is None else Interval(gain, math.nan, math.nan),
        tuning_curve=curve,
    )


def study(*arms: ArmInWorkload) -> Study:
    return Study(
        error="minimum test error",
        workloads={one.workload: "1" for one in arms},
        arms=arms,
        across=(),
        improvements=(),
        notes=(),
    )


CURVE = (Tuned(1, Interval(30.0, 20.0, 100.0)), Tuned(2, Interval(20.0, 0.0, 40.0)))


def test_every_workload_has_a_point_for_each_arm_with_a_default() -> None:
    figure = tunability_figure(study(arm("a", "abel", 2.0), arm("a", "step", None), arm("b", "abel", 3.0)))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"] == [2.0, 3.0]
    assert "of the default minus that of the best setting (points)" in axes.get_xlabel()


@pytest.mark.parametrize("count", [1, 4])
def test_every_workload_has_a_panel_with_its_curves_and_bands(count: int) -> None:
    arms = [arm(f"w{number}", name, None, CURVE) for number in range(count) for name in ("abel", "step")]
    figure = tuning_curves_figure(study(*arms, arm("grid", "abel", 1.0)))
    assert [axes.get_title() for axes in figure.axes] == [f"w{number}" for number in range(count)]
    for axes in figure.axes:
        assert [list(line.get_ydata()) for line in axes.lines] == [[30.0, 20.0]] * 2
        for band in axes.collections:
            low, high = band.get_paths()[0].get_extents().intervaly
            assert (low, high) == (0.0, 100.0)


def test_only_figures_with_data_are_written(tmp_path: Path) -> None:
    files = write_figures(study(arm("a", "abel", None, CURVE)), tmp_path / "new")
    assert [file.name for file in files] == ["tuning-curves.png"]
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert write_figures(study(arm("a", "abel", None)), tmp_path) == ()
