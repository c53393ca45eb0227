"""Figures of a sweep. They are returned; the caller writes the files."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from services.report.themes import DASH_DOTTED, DASHED, DOTTED, LIGHT, SEQUENCE, canvas, fitted_legend, themed
from sweeps.results.claims.decay_time import DecayTime
from sweeps.results.confidence import Floats, level
from sweeps.results.frames import Frames
from sweeps.results.values import Interval
from sweeps.results.wording import in_words, percent

MANY_LINES = 16  # more groups than this share one colour per arm
FEW_EPOCHS = 3  # with a value
MANY_GROUPS = 60  # with more groups than this, each arm is drawn as a range


def decay_time_figure(numbers: DecayTime, *, title: str = "") -> Figure:
    """Minimum error against decay epoch, the fixed rate's norm behind it, ABEL's decays (paper, figure S6)."""
    with themed():
        figure, axes = canvas(title, (8.4, 5.2))
        behind = axes.twinx()
        axes.set_zorder(behind.get_zorder() + 1)
        axes.patch.set_visible(False)
        handles = [*_errors(axes, numbers), *_levels(axes, numbers)]
        handles += [*_norm(behind, numbers), *_decays(axes, numbers)]
        axes.set_xlabel("decay epoch (the rate is lower from the next epoch on)")
        axes.set_ylabel(f"minimum {numbers.label} (%)", color=LIGHT.error)
        axes.set_xlim(0, max(numbers.grid["decay_epoch"].max(), *numbers.norm.index, 1) + 1)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
        axes.grid(axis="y", color=LIGHT.rule, linewidth=0.7)
        named = {str(handle.get_label()): handle for handle in handles}
        fitted_legend(figure, named, "outside lower left", columns=2, handlelength=2.2)
        return figure


def _errors(axes: Axes, numbers: DecayTime) -> Iterator[Any]:
    by_epoch = numbers.grid.groupby("decay_epoch")["error"]
    found = {int(str(epoch)): level(list(errors)).interval() for epoch, errors in by_epoch}
    means = [one.value for one in found.values()]
    axes.errorbar(
        list(found), means, bars(found.values()), color=LIGHT.error, linewidth=2, capsize=3, elinewidth=1.2, zorder=5
    )
    axes.scatter(list(found), means, s=26, color=LIGHT.error, zorder=6)
    seeds = axes.scatter(
        numbers.grid["decay_epoch"], numbers.grid["error"], s=16, facecolor="none", edgecolor=LIGHT.error, alpha=0.75
    )
    seeds.set_zorder(5)
    count = numbers.grid["seed"].nunique()
    yield Line2D([], [], color=LIGHT.error, linewidth=2, marker="o", markersize=5, label=_spread_label(count))


def bars(found: Iterable[Interval]) -> Floats:
    """Lengths of error bars below and above the values, f64[2, n]; 0 where there is no interval."""
    return np.nan_to_num([(one.value - one.low, one.high - one.value) for one in found]).T


def _spread_label(seeds: int) -> str:
    return "one decay: mean, 95 % interval; rings: seeds" if seeds > 1 else "one decay, one seed"


def _levels(axes: Axes, numbers: DecayTime) -> Iterator[Any]:
    levels = (("never decayed", numbers.constant, LIGHT.text, DOTTED), ("ABEL", numbers.abel, LIGHT.abel, DASH_DOTTED))
    for name, errors, color, style in levels:
        if errors:
            axes.axhline(fmean(errors.values()), color=color, linewidth=1.4, linestyle=style, zorder=4)
            label = f"{name}: {mean_percent(errors.values())}"
            yield Line2D([], [], color=color, linewidth=1.4, linestyle=style, label=label)


def _norm(axes: Axes, numbers: DecayTime) -> Iterator[Any]:
    if numbers.norm.empty:
        axes.set_yticks([])
        return
    mean, low, high = (numbers.norm.agg(how, axis=1) for how in ("mean", "min", "max"))
    axes.fill_between(numbers.norm.index, low, high, color=LIGHT.norm, alpha=0.28, linewidth=0)
    axes.plot(numbers.norm.index, mean, color=LIGHT.norm, linewidth=1.8)
    axes.set_ylabel("squared weight norm, constant rate", color=LIGHT.muted)
    axes.set_ylim(0, high.max() * 1.06)
    band = Patch(
        facecolor=LIGHT.norm, alpha=0.55, label="squared weight norm at the constant rate (right): mean, range"
    )
    yield band


def _decays(axes: Axes, numbers: DecayTime) -> Iterator[Any]:
    kinds: tuple[tuple[str, Mapping[int, tuple[int, ...]], Any], ...] = (
        ("ABEL decays after a bounce, by seed", numbers.bounce_epochs, "-"),
        ("ABEL's last decay, forced", numbers.forced_epochs, DASHED),
    )
    for label, by_seed, style in kinds:
        epochs = [epoch for seed in by_seed.values() for epoch in seed]
        for epoch in epochs:
            axes.axvline(epoch, color=LIGHT.abel, linewidth=1.1, linestyle=style, alpha=0.85, zorder=3)
        if epochs:
            yield Line2D([], [], color=LIGHT.abel, linewidth=1.1, linestyle=style, label=label)


def curves_figure(frames: Frames, metric: str, label: str, *, log: bool = False, mean: bool = True) -> Figure:
    """A metric by epoch, one line for each arm and setting: the mean over seeds, or thin lines for every seed.

    With more than `MANY_GROUPS` settings, each arm shows its median and the 5 % to 95 % range of its trials.
    """
    with themed():
        figure, axes = canvas("", (8.4, 4.0))
        table = frames.curve(metric)
        entries: dict[str, Line2D] = {}
        groups = list(_groups(frames))
        ranges = len(groups) > MANY_GROUPS
        for name, kind, color, trials in _by_arm(frames) if ranges else groups:
            known = table[[trial for trial in trials if trial in table.columns]]
            if known.empty:
                continue
            known = known.dropna(how="all")
            order = 3 if kind == "constant" else 2  # a shared trunk has the colour of those that never fork
            if ranges:
                _draw_range(axes, known, color, order)
            elif mean:
                axes.plot(known.index, known.mean(axis=1), color=color, linewidth=1.5, zorder=order, **points(known))
            else:
                steps = {"drawstyle": "steps-mid", **points(known)}
                axes.plot(known.index, known, color=color, linewidth=1.0, zorder=order, **steps)
            if name not in entries:
                entries[name] = Line2D([], [], color=color, linewidth=2, label=name)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.set_xlim(left=0)
        if log:
            axes.set_yscale("log")
        axes.grid(axis="y", color=LIGHT.rule, linewidth=0.7)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
        figure.legend(handles=list(entries.values()), loc="outside right upper", frameon=False, handlelength=1.4)
        return figure


def _draw_range(axes: Axes, known: pd.DataFrame, color: Any, order: int) -> None:
    """Draw the median and the 5 % to 95 % range of curves, one for each column."""
    low, middle, high = (known.quantile(part, axis=1) for part in (0.05, 0.5, 0.95))
    axes.fill_between(known.index, low, high, color=color, alpha=0.18, linewidth=0, zorder=order - 1)
    axes.plot(known.index, middle, color=color, linewidth=1.8, zorder=order, **points(known))


def points(curves: pd.DataFrame) -> dict[str, Any]:
    """Return the style that shows the values of a curve as points, if they are so few that its line may be missed."""
    return {"marker": "o", "markersize": 4} if len(curves) < FEW_EPOCHS else {}


def many(frames: Frames) -> bool:
    """Whether there are so many settings that `curves_figure` shows ranges."""
    return len({(arm, in_words(settings)) for arm, settings in frames.trials[["arm", "settings"]].values}) > MANY_GROUPS


def _by_arm(frames: Frames) -> Iterator[tuple[str, str, Any, Sequence[str]]]:
    colors = arm_colors(dict(zip(frames.trials["arm"], frames.trials["kind"], strict=True)))
    for arm, trials in frames.trials.groupby("arm", sort=False):
        yield str(arm), str(trials["kind"].iloc[0]), colors[str(arm)], list(trials["trial_id"])


def _groups(frames: Frames) -> Iterator[tuple[str, str, Any, Sequence[str]]]:
    """Groups of trials that differ only in their seeds: name, kind of schedule, colour and trials."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for _, row in frames.trials.iterrows():
        settings = in_words(row["settings"])
        groups.setdefault((row["arm"], row["kind"], settings), []).append(row["trial_id"])
    colors = _colors(list(groups))
    for key, trials in groups.items():
        name = key[0] if len(groups) > MANY_LINES else _name(key[0], key[2])
        yield name, key[1], colors[key], trials


def _name(arm: str, settings: str) -> str:
    return f"{arm}: {settings}" if settings else arm


def _colors(groups: Sequence[tuple[str, str, str]]) -> Mapping[tuple[str, str, str], Any]:
    graded = [key for key in groups if key[2] and len(groups) <= MANY_LINES and key[1] != "abel"]
    low, high = SEQUENCE
    shades = mpl.colormaps["viridis"](np.linspace(low, high, max(len(graded), 1)))
    colors: dict[tuple[str, str, str], Any] = dict(zip(graded, shades, strict=False))
    plain = arm_colors({key[0]: key[1] for key in groups if key not in colors})
    return colors | {key: plain[key[0]] for key in groups if key not in colors}


def arm_colors(kinds: Mapping[str, str]) -> dict[str, Any]:
    """A colour for each arm by its kind: red for the first ABEL arm, the first of the others for a constant rate."""
    red = next((arm for arm, kind in kinds.items() if kind == "abel"), None)  # a second ABEL arm needs another colour
    others = sorted((arm for arm in kinds if arm != red), key=lambda arm: kinds[arm] != "constant")
    colors = {arm: LIGHT.arms[index % len(LIGHT.arms)] for index, arm in enumerate(others)}
    return colors | ({} if red is None else {red: LIGHT.abel})


def mean_percent(errors: Any) -> str:
    """The mean of one error per seed with its 95 % interval, as text; percent."""
    return percent(level(list(errors)).interval()).replace(" ", "\u00a0")
