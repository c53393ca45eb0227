"""Figures of a study: tunability by workload, and tuning curves with their bands."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from services.report.figures import arm_colors, bars
from services.report.themes import LIGHT, blank, canvas, fitted_legend, png, themed
from sweeps.results.study.values import ArmInWorkload, Study

LINE = 0.3  # inches for an arm of a workload
PANEL = (4.2, 3.4)  # inches for the curves of a workload
ROW = 3  # panels side by side


def write_figures(result: Study, folder: Path) -> tuple[Path, ...]:
    """Write the figures that have data as PNG; return their files."""
    files = []
    for name, figure in _figures(result):
        folder.mkdir(parents=True, exist_ok=True)
        files.append(folder / f"{name}.png")
        files[-1].write_bytes(png(figure))
    return tuple(files)


def _figures(result: Study) -> Iterator[tuple[str, Figure]]:
    if any(arm.tunability is not None for arm in result.arms):
        yield "tunability", tunability_figure(result)
    if any(arm.tuning_curve for arm in result.arms):
        yield "tuning-curves", tuning_curves_figure(result)


def tunability_figure(result: Study) -> Figure:
    """A point for each arm and workload with its 95 % interval over seeds; arms without a default are left out."""
    shown = [(arm, arm.tunability) for arm in result.arms if arm.tunability is not None]
    colors = _colors([arm for arm, _ in shown])
    with themed():
        figure, axes = canvas("", (7.4, 1.6 + LINE * len(shown)))
        for place, (arm, found) in enumerate(shown):
            axes.errorbar([found.value], [-place], xerr=bars([found]), fmt="o", color=colors[arm.arm], capsize=3)
        names = [arm.workload for arm, _ in shown]
        labels = [name if name not in names[:place] else "" for place, name in enumerate(names)]
        axes.set_yticks([-place for place in range(len(shown))], labels)
        axes.set_ylim(0.7 - len(shown), 0.7)
        axes.set_xlabel(f"tunability: {result.error} of the default minus that of the best setting (points)")
        axes.grid(axis="x", color=LIGHT.rule, linewidth=0.7)
        handles = {name: Line2D([], [], color=color, marker="o", linestyle="") for name, color in colors.items()}
        fitted_legend(figure, handles, "outside lower left")
        return figure


def tuning_curves_figure(result: Study) -> Figure:
    """A panel for each workload: the median error of the best of so many draws, with a simultaneous 95 % band."""
    drawn = [arm for arm in result.arms if arm.tuning_curve]
    workloads = list(dict.fromkeys(arm.workload for arm in drawn))
    colors = _colors(drawn)
    across = min(ROW, len(workloads))
    down = -(-len(workloads) // across)
    with themed():
        figure = blank("", (PANEL[0] * across, PANEL[1] * down + 0.4))
        panels = list(figure.subplots(down, across, sharey=True, squeeze=False).flat)
        for axes, workload in zip(panels, workloads, strict=False):
            for arm in (one for one in drawn if one.workload == workload):
                draws, errors = zip(*arm.tuning_curve, strict=True)
                color = colors[arm.arm]
                axes.plot(draws, [found.value for found in errors], color=color, marker="o", markersize=4)
                low, high = ([found[end] for found in errors] for end in (1, 2))
                axes.fill_between(draws, low, high, color=color, alpha=0.15, linewidth=0)
            axes.set_xscale("log", base=2)
            counts = sorted({one.draws for arm in drawn for one in arm.tuning_curve})
            axes.set_xticks(counts, [str(count) for count in counts])
            axes.set_title(workload, fontsize=10.5)
            axes.set_xlabel("random draws")
            axes.grid(color=LIGHT.rule, linewidth=0.7)
        for axes in panels[len(workloads) :]:
            axes.remove()
        figure.supylabel(f"median {result.error} of the best (%)", fontsize=10.5)
        fitted_legend(
            figure, {name: Line2D([], [], color=color) for name, color in colors.items()}, "outside lower left"
        )
        return figure


def _colors(arms: Sequence[ArmInWorkload]) -> dict[str, str]:
    return arm_colors({arm.arm: arm.kind for arm in arms})
