"""The tables of a report's page: measures, comparisons, claims, arms, trials, cost and versions."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from services.report import page
from services.report.figures import mean_percent
from services.report.findings import listed
from services.report.page import Cell, Column, Link
from services.wording import duration
from sweeps.ledger.records import SweepRow
from sweeps.results import comparison
from sweeps.results.axes import heat, interaction
from sweeps.results.claims.paper import ClaimResult
from sweeps.results.claims.robustness_evidence import Held
from sweeps.results.frames import Frames
from sweeps.results.measures import near_chance
from sweeps.results.robustness_tables import Robustness
from sweeps.results.summary import best_seeds
from sweeps.results.values import Interval
from sweeps.results.wording import counted, in_words, signed
from sweeps.spec.measures import MEASURES

OF_ONE_SETTING = ("mean", "diverged", "decays")  # measures of an arm without a grid
FOLD_ABOVE = 60  # a longer table of trials is folded
KINDS = {Held.HELD: "held", Held.NOT_HELD: "not-held", Held.CANNOT_TELL: ""}


def measures_section(arms: Sequence[Robustness]) -> str:
    """Every measure of each arm, with its interval."""
    columns = [Column(name="measure"), *(Column(name=arm.arm, number=True) for arm in arms)]
    gridded = any(len(arm.table.settings) > 1 for arm in arms)
    rows: list[tuple[str, list[Cell]]] = [
        ("", [f"{name}: {known.meaning}", *(_measure(name, arm.measures[name]) for arm in arms)])
        for name, known in MEASURES.items()
        if gridded or name in OF_ONE_SETTING
    ]
    sizes = [f"{counted(len(arm.table.settings), 'setting')}, {counted(len(arm.table.seeds), 'seed')}" for arm in arms]
    lone = any(len(arm.table.seeds) == 1 for arm in arms)
    note = (
        f"Measures of the {arms[0].in_words}, in percent or points, with 95 % intervals over the seeds. A diverged trial "
        "counts as guessing. All but the mean are corrected for the selection bias that the noise of few seeds adds to extremes."
        + " With one seed the noise is unknown, so there are no intervals: run at least two." * lone
        + _hopeless(arms)
    )
    return page.table(columns, [("", ["grid", *sizes]), *rows], "measures") + page.paragraph(note, "note")


def _hopeless(arms: Sequence[Robustness]) -> str:
    last = [arm.arm for arm in arms if near_chance(arm.table)]
    return f" Near chance, so spread, area and near are not informative: {', '.join(last)}." * bool(last)


def _measure(name: str, found: Interval) -> str:
    scale, digits, unit = (100, 0, " %") if MEASURES[name].kind == "share" else (1, 1, "")
    value, low, high = (f"{scale * bound:.{digits}f}" for bound in found)
    return f"{value}{unit}" if math.isnan(found.low) else f"{value}{unit} ({low} to {high})"


def comparisons_section(arms: Sequence[Robustness]) -> str:
    """ABEL, or else the first arm, against every other of its row, paired by seed; empty if there is nothing to compare."""
    rows = dict.fromkeys(arm.row for arm in arms)
    told = {row: _row_section([arm for arm in arms if arm.row == row]) for row in rows}
    return "".join((page.paragraph(row) if row else "") + text for row, text in told.items() if text)


def _row_section(arms: Sequence[Robustness]) -> str:
    if len(arms) < 2:
        return ""
    tables = {arm.arm: arm.table for arm in arms}
    first = next((arm.arm for arm in arms if arm.kind == "abel"), arms[0].arm)
    rows, lone = comparison.comparisons(tables, first), comparison.unpaired(tables, first)
    table = _compared([arm for arm in arms if arm.arm not in lone], first, rows) if rows else ""
    if not lone:
        return table
    left = f"{first} is not compared with {', '.join(lone)}: they share no seed."
    return table + page.paragraph(left, "note")


def _compared(arms: Sequence[Robustness], first: str, rows: Sequence[comparison.Row]) -> str:
    numbers = (first, "other", "difference", "effect size", "p, corrected")
    columns = [Column(name="against"), Column(name="measure"), *(Column(name=name, number=True) for name in numbers)]
    cells = [
        (
            "",
            [
                row.second,
                row.measure,
                *(f"{value:.1f}" for value in row.values),
                signed(row.difference.value),
                "–" if math.isnan(row.difference.effect) else f"{row.difference.effect:+.1f}",
                "–" if math.isnan(row.corrected) else f"{row.corrected:.2g}",
            ],
        )
        for row in rows
    ]
    grids = {frozenset(arm.table.settings) for arm in arms}
    note = (
        f"{first} minus the other, in points of {arms[0].in_words}, paired over their common seeds, with 95 % "
        f"intervals; below 0, {first} is better. Best and worst are chosen over all seeds and corrected for selection bias. "
        "Effect size: mean difference in units of its standard deviation, with Hedges' correction. p: one minus the confidence "
        "at which the interval reaches 0, corrected over all rows (Benjamini and Yekutieli)."
        + " The grids differ: worst, spread and area are over different choices." * (len(grids) > 1)
        + " With one seed, or the same difference in every seed, the noise is unknown: there is no interval and no p."
        * any(math.isnan(row.corrected) for row in rows)
        + _hopeless(arms)
    )
    return page.table(columns, cells) + page.paragraph(note, "note")


def interactions_section(arms: Sequence[Robustness]) -> str:
    """Whether one axis's effect depends on another, for each arm and pair of axes; empty if there is no pair."""
    found = list(_interactions(arms))
    if not found:
        return ""
    columns = [Column(name="arm"), Column(name="axes")]
    columns += [Column(name=name, number=True) for name in ("interaction, points", "F", "p")]
    note = (
        "Interaction: standard deviation of what the effects of the two axes together leave unexplained, without noise. F and p "
        "are from an analysis of variance with seeds as blocks, where there is noise."
    )
    return page.table(columns, [("", row) for row in found]) + page.paragraph(note, "note")


def _interactions(arms: Sequence[Robustness]) -> Iterator[list[Cell]]:
    for arm in arms:
        for down, across in combinations(arm.axes, 2):
            errors = heat(arm.table, down, across).errors
            if len(arm.table.seeds) == 1 or not np.isfinite(errors).all():
                continue
            found = interaction(errors)
            both = f"{in_words({down: ''}).strip()} × {in_words({across: ''}).strip()}"
            freedom = f"({found.freedom[0]}, {found.freedom[1]})"
            judged = ["–", "–"] if math.isnan(found.p) else [f"{found.f:.1f} {freedom}", f"{found.p:.2g}"]
            yield [arm.arm, both, f"{found.points:.1f}", *judged]


def claims_section(told: Sequence[ClaimResult]) -> str:
    """The paper's claims, and whether they hold here."""
    of_row = ["row"] * any(one.row for one in told)
    columns = [Column(name=name) for name in (*of_row, "the paper", "here", "the numbers", "held where")]
    rows: list[tuple[str, list[Cell]]] = [
        (
            KINDS[one.here],
            [*([one.row] if of_row else []), f"{one.says} ({one.source})", str(one.here), one.numbers, one.rule],
        )
        for one in told
    ]
    note = (
        "Each claim has a rule on one number with its 95 % interval over seeds, not corrected for multiple claims. "
        "sweeps/results/claims/paper.py and bench/RESULTS.md document what was known when the rules were written, and what "
        "was changed afterwards."
    )
    return page.table(columns, rows, "claims") + page.paragraph(note, "note")


def arms_section(shown: Frames) -> str:
    """The outcomes of each arm, and its best setting."""
    seldom = [outcome for outcome in ("cancelled", "stopped") if (shown.trials["outcome"] == outcome).any()]
    ended = ["finished", "diverged", "failed", *seldom]
    numbers = ("trials", *ended, f"minimum {shown.metric.error_label}", "final")
    columns = [Column(name="arm"), Column(name="schedule"), *(Column(name=name, number=True) for name in numbers)]
    columns.append(Column(name="best setting"))
    rows, results = [], shown.results
    for arm, trials in shown.trials.groupby("arm", sort=False):
        counts = [str(int((trials["outcome"] == outcome).sum())) for outcome in ended]
        best = best_seeds([result for result in results if result.arm == arm])
        setting = in_words(best[0].settings) if best else "–"
        errors = [_percent(one.minimum_error for one in best), _percent(one.final_error for one in best)]
        rows.append(("", [str(arm), str(trials["kind"].iloc[0]), str(len(trials)), *counts, *errors, setting]))
    note = (
        "Errors are means with 95 % intervals at the arm's best setting, among those whose seeds all finished. Settings are "
        "chosen on the test set, as in the paper: the errors compare arms, but do not estimate the error on new data."
    )
    return page.table(columns, rows) + page.paragraph(note, "note")


def trials_section(shown: Frames, tracking_url: str, runs: Mapping[str, str]) -> str:
    """Every trial; its number links to its run in MLflow's UI, whose base URL can be changed on the page.

    Args:
        runs: each trial's address in MLflow below that URL, by trial id; empty if MLflow does not have them.
    """
    least = f"minimum {shown.metric.error_label}"
    numbers = {"#", "epochs", least, "at", "final"}
    names = ("#", "trial", "outcome", "epochs", least, "at", "final", "decays after", "norm minimum at")
    columns = [Column(name=name, number=name in numbers) for name in names]
    rows = [(str(row["outcome"]), _trial(row, tracking_url, runs)) for _, row in shown.trials.iterrows()]
    table = page.table(columns, rows, "trials", sortable=True)
    folded = table if len(rows) <= FOLD_ABOVE else page.folded(f"{len(rows):,} trials", table)
    if not runs:
        return page.paragraph("Click a heading to sort. MLflow does not have these trials.", "note") + folded
    note = page.paragraph(
        "Click a heading to sort, and a number to open the trial's run in MLflow. `abel ui` serves MLflow and prints its "
        "address; if it differs from the one below, enter it there.",
        "note",
    )
    return note + page.base_of_links("MLflow", tracking_url) + folded


def _trial(row: "pd.Series[Any]", tracking_url: str, runs: Mapping[str, str]) -> list[Cell]:
    named = dict.fromkeys(row["bounce_epochs"], "bounce")
    for epoch in row["forced_epochs"]:
        named[epoch] = f"{named[epoch]} and last" if epoch in named else "last"
    decays = ", ".join(f"{epoch} ({named[epoch]})" if epoch in named else str(epoch) for epoch in row["decay_epochs"])
    return [
        Link(str(row["number"]), tracking_url + runs[row["trial_id"]])
        if row["trial_id"] in runs
        else str(row["number"]),
        row["name"] + (f": {row['error']}" if row["error"] else ""),
        row["outcome"],
        f"{row['epoch']} of {row['epochs']}" if row["epoch"] < row["epochs"] else str(row["epoch"]),
        _number(row["minimum_error"]),
        str(row["minimum_epoch"] or "–"),
        _number(row["final_error"]),
        decays or "–",
        listed(row["minimum_epochs"]) or "–",
    ]


def cost_section(shown: Frames, row: SweepRow) -> str:
    """What was shared, and the cost."""
    return page.fact_list(_cost(shown, row))


def _cost(shown: Frames, row: SweepRow) -> Mapping[str, str]:
    naive, work = int(shown.trials["epoch"].sum()), shown.work
    if work is None:
        return {"epochs without sharing": f"{naive:,}"}
    outcomes = shown.trials["outcome"].value_counts(sort=False)
    return {
        "trials": ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()),
        "epochs without sharing": f"{naive:,}",
        "epochs trained": f"{work.trained:,}",
        "epochs saved": f"{naive - work.trained:,} ({1 - work.trained / naive:.0%})" if naive else "0",
        "epochs replayed": f"{work.replayed:,} (retrained to reach a state without a checkpoint)",
        "time in training": duration(work.seconds_training),
        "wall time": f"{duration(work.seconds_wall)} in {counted(work.invocations, 'run')}",
        "sharing": "on" if row.sharing else "off",
    }


def result_tiles(shown: Frames) -> Iterator[tuple[str, str]]:
    """What sharing saved, and the progress of the sweep."""
    naive, trained = int(shown.trials["epoch"].sum()), shown.work.trained if shown.work else 0
    if naive and trained:
        yield f"{1 - trained / naive:.0%}", f"of epochs saved by sharing: {trained:,} trained, {naive:,} without"
    yield f"{len(shown.finished)} of {len(shown.trials)}", "trials finished"


def versions_section(row: SweepRow) -> str:
    """The versions and devices that determine the numbers, as in the sweep's state keys."""
    known = {name: str(text) for identity in row.identities for name, text in identity.numerics.items() if text}
    return page.fact_list(dict(sorted(known.items())))


def _percent(errors: Iterable[float | None]) -> str:
    known = [error for error in errors if error is not None and math.isfinite(error)]
    return mean_percent(known) if known else "–"


def _number(error: float) -> str:
    return f"{error:.2f} %" if math.isfinite(error) else "–"
