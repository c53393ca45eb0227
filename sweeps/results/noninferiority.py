"""Non-inferiority test of a sweep against a baseline, measure by measure: did a schedule become less robust?

A measure *holds* if it is sure (one-sided, at `ALPHA`) that it got worse by less than its margin. It has *regressed* if it is
sure that it got worse at all, with `ALPHA` divided among all comparisons, and not sure that it did so by less than the margin.
Otherwise the results *cannot tell*, and more seeds would help. So the rate of false alarms is at most `ALPHA`, and a measure
never holds for lack of evidence. The interval of a difference of two measures comes from theirs by MOVER (Zou & Donner 2008);
that of two means over the same seeds is paired. If an arm is near chance, small differences between its settings say nothing,
so its spread, area and near range cannot tell.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sweeps.results import confidence as intervals
from sweeps.results.confidence import level
from sweeps.results.grids import Grid
from sweeps.results.measures import chance_in_words, measure, near_chance, rounding, trusted
from sweeps.results.values import Finding, Interval, Verdict
from sweeps.spec.measures import MEASURES, Rule

ALPHA = 0.05


def verdict(findings: Sequence[Finding]) -> Verdict:
    """Return a sweep's verdict: regressed if any finding has, holds if all do, else cannot tell."""
    found = {finding.verdict for finding in findings}
    if Verdict.REGRESSED in found:
        return Verdict.REGRESSED
    return Verdict.HOLDS if found == {Verdict.HOLDS} else Verdict.CANNOT_TELL


def noninferior(
    before: Mapping[str, Grid], after: Mapping[str, Grid], margins: Mapping[str, float], rules: Sequence[Rule]
) -> list[Finding]:
    """Compare the arms by every measure with a margin, and check the rules; a margin may be of one arm, ``abel.mean``."""
    held, bound = limits(before, margins), bounds(after, rules)
    alpha = ALPHA / max(1, len(held) + len(bound))
    findings = [compared(arm, name, before[arm], after[arm], margin, alpha) for arm, name, margin in held]
    return findings + [ruled(arm, after[arm], rule, alpha) for arm, rule in bound]


def limits(arms: Iterable[str], margins: Mapping[str, float]) -> list[tuple[str, str, float]]:
    """Return arm, measure and margin of all comparisons; a margin of one arm overrides the general one."""
    names = dict.fromkeys(key.rpartition(".")[2] for key in margins)
    looked = ((arm, name, margins.get(f"{arm}.{name}", margins.get(name))) for arm in arms for name in names)
    return [(arm, name, margin) for arm, name, margin in looked if margin is not None]


def bounds(arms: Iterable[str], rules: Iterable[Rule]) -> list[tuple[str, Rule]]:
    """Return all pairs of arm and rule."""
    arms = list(arms)
    return [(arm, rule) for rule in rules for arm in ([rule.arm] if rule.arm else arms)]


def compared(arm: str, name: str, before: Grid, after: Grid, margin: float, alpha: float) -> Finding:
    """Compare one measure of one arm with its baseline; ``alpha`` is its share of the risk of a false alarm."""
    old, new = (measure(name, table) for table in (before, after))
    seen = Finding(arm=arm, what=name, verdict=Verdict.CANNOT_TELL, why="", before=old, after=new, limit=margin)
    if unsure := _unsure(name, before, after):
        return replace(seen, why=unsure)
    either = MEASURES[name].better == "neither"
    worse = "changed" if either else "worse"
    sure = change_of(name, before, after, 1 - 2 * ALPHA)
    alarm = change_of(name, before, after, 1 - (1 if either else 2) * alpha)
    seen = replace(seen, change=sure)
    if math.isnan(sure.low):
        return replace(seen, why="its change is the same in every seed, which gives no estimate of the noise")
    if MEASURES[name].better == "more":
        sure, alarm = _negative(sure), _negative(alarm)
    if sure.high < margin and (sure.low > -margin or not either):
        return replace(seen, verdict=Verdict.HOLDS, why=f"surely {worse} by less than its margin")
    if alarm.low > 0 or (either and alarm.high < 0):
        return replace(seen, verdict=Verdict.REGRESSED, why=f"surely {worse}, and not surely by less than its margin")
    return replace(seen, why="the change may be noise, but may also reach its margin")


def ruled(arm: str, after: Grid, rule: Rule, alpha: float) -> Finding:
    """Check one rule for one arm."""
    new = measure(rule.measure, after)
    seen = Finding(arm=arm, what=rule.text, verdict=Verdict.CANNOT_TELL, why="", after=new, limit=rule.bound)
    if unsure := _unsure(rule.measure, after):
        return replace(seen, why=unsure)
    sure, alarm = (measure(rule.measure, after, 1 - 2 * risk) for risk in (ALPHA, alpha))
    if sure.high <= rule.bound if rule.at_most else sure.low >= rule.bound:
        return replace(seen, verdict=Verdict.HOLDS, why="surely within its bound")
    if alarm.low > rule.bound if rule.at_most else alarm.high < rule.bound:
        return replace(seen, verdict=Verdict.REGRESSED, why="surely beyond its bound")
    return replace(seen, why="its bound lies within the interval")


def _unsure(name: str, *tables: Grid) -> str:
    """Return why a measure cannot be judged, or an empty string; the last table is that of the sweep."""
    seeds = min(len(table.seeds) for table in tables)
    if seeds < 2:
        return "one seed gives no estimate of the noise; run at least two"
    if not trusted(name, seeds):
        return f"its interval does not cover the truth often enough with {seeds} seeds"
    if name == "diverged" and any(table.diverged is None for table in tables):
        return "the baseline does not say which seeds diverged; `abel baseline save` makes a new one"
    if MEASURES[name].praises_flatness and near_chance(tables[-1]):
        return f"the arm is near chance, {chance_in_words(tables[-1].is_by_hand)}: its steadiness says nothing"
    return ""


def _negative(found: Interval) -> Interval:
    return Interval(-found.value, -found.high, -found.low)


def change_of(name: str, before: Grid, after: Grid, confidence: float) -> Interval:
    """Return the change of a measure, after minus before; 0 if all results are equal."""
    if _equal(before, after):
        return Interval(0.0, 0.0, 0.0)
    if before.seeds == after.seeds and before.settings == after.settings:
        if name == "mean":
            now, then = (level(table.weights @ table.errors) for table in (after, before))
            return intervals.paired_difference(now, then, confidence)
        if name == "decays":
            return intervals.mean_difference(
                (after.decays - before.decays).mean(axis=0), confidence, 2 * rounding(before)
            )
    return intervals.minus(measure(name, after, confidence), measure(name, before, confidence))


def _equal(before: Grid, after: Grid) -> bool:
    if (before.settings, before.seeds) != (after.settings, after.seeds):
        return False
    if (
        before.diverged is not None
        and after.diverged is not None
        and not np.array_equal(before.diverged, after.diverged)
    ):
        return False
    return np.allclose(before.errors, after.errors, rtol=0, atol=1e-5) and np.array_equal(before.decays, after.decays)
