"""A study: the measures of each arm in each workload, and of the arms that all workloads have over all of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from sweeps.results.axes import axes, is_full_grid
from sweeps.results.confidence import Floats
from sweeps.results.grids import Grid
from sweeps.results.measures import near_chance, settled
from sweeps.results.robustness_tables import Robustness
from sweeps.results.study.across import dimensions, reliance
from sweeps.results.study.aggregates import improvement, iqm
from sweeps.results.study.arms import NEAR_CHANCE, ONE_SETTING, Workload, in_workload
from sweeps.results.study.scores import Scale, aligned, best_errors, score_scale
from sweeps.results.study.tuning_curves import NOT_DRAWN
from sweeps.results.study.values import ArmAcross, ArmInWorkload, Improvement, Study
from sweeps.results.wording import error_words

Tables = Mapping[str, Grid]  # of one arm, by workload
NOT_WHOLE = "the settings must be all combinations of the fields' values, to tune some fields and keep the others"


def study_of(workloads: Sequence[Workload], curves: Sequence[str] = ()) -> Study:
    """Return the study of sweeps.

    Args:
        curves: arms whose tuning curves are wanted; by default those of all arms whose settings were drawn.

    Raises:
        ValueError: the sweeps are compared by different metrics, one has no arm with results, they share no arm, or
            an arm can have no tuning curve.
    """
    _must_be_comparable(workloads)
    notes: list[str] = []
    workloads = _of_one_error(workloads, notes)
    read = {one.label: one.arms() for one in workloads}
    notes += [sentence for _, lacking in read.values() for sentence in lacking]
    if empty := [(label, lacking) for label, (found, lacking) in read.items() if not found]:
        label, lacking = empty[0]
        raise ValueError(f"sweep {label!r}: must have an arm with results, got none: {' '.join(lacking)}")
    arms = {label: {arm.arm: arm for arm in found} for label, (found, _) in read.items()}
    single = [in_workload(one, arm) for one in workloads for arm in arms[one.label].values()]
    across, improvements = _over_workloads(arms, notes)
    return Study(
        error=error_words(workloads[0].error, workloads[0].frames.metric.error_label),
        workloads={one.label: one.sweep_id for one in workloads},
        arms=tuple(_with_curves(single, curves)),
        across=across,
        improvements=improvements,
        notes=tuple(notes),
    )


def _over_workloads(
    arms: Mapping[str, Mapping[str, Robustness]], notes: list[str]
) -> tuple[tuple[ArmAcross, ...], tuple[Improvement, ...]]:
    """Return the measures over workloads, and of each pair of arms; note what is left out."""
    if len(arms) == 1:
        notes.append("Measures over workloads need two sweeps or more, got one.")
        return (), ()
    common = _common(arms, notes)
    improvements = tuple(_improvements(common))
    try:
        scales = {label: _scale(label, [tables[label] for tables in common.values()]) for label in arms}
    except ValueError as fault:
        notes.append(f"There are no scores over workloads: {fault}.")
        return (), improvements
    return tuple(_across(arm, tables, scales) for arm, tables in common.items()), improvements


def _with_curves(arms: Sequence[ArmInWorkload], wanted: Sequence[str]) -> Iterator[ArmInWorkload]:
    """Yield the arms without the tuning curves that are not wanted."""
    for name in wanted:
        own = [arm for arm in arms if arm.arm == name]
        if not own:
            known = ", ".join(dict.fromkeys(arm.arm for arm in arms))
            raise ValueError(f"a tuning curve must be of an arm with results ({known}), got {name!r}")
        if undrawn := [arm for arm in own if not arm.design.is_drawn]:
            raise ValueError(f"{undrawn[0].workload}, {name}: there is no tuning curve: {NOT_DRAWN}")
    for arm in arms:
        yield arm if not wanted or arm.arm in wanted else replace(arm, tuning_curve=())


def _must_be_comparable(workloads: Sequence[Workload]) -> None:
    first, *others = workloads
    old = first.frames.metric.label
    for other in others:
        if (new := other.frames.metric.label) != old:
            raise ValueError(
                f"sweeps of a study must be compared by one metric, but {first.label} has {old} and {other.label} has {new}"
            )


def _of_one_error(workloads: Sequence[Workload], notes: list[str]) -> list[Workload]:
    """Return the workloads with the same error of a trial counted in all; note if their specs ask for different ones."""
    if len({one.error for one in workloads}) == 1:
        return list(workloads)
    asked = ", ".join(f"{one.label} {one.error}" for one in workloads)
    notes.append(f"The specs count different errors of a trial (check.error: {asked}); here the minimum counts.")
    return [replace(one, error="minimum") for one in workloads]


def _common(arms: Mapping[str, Mapping[str, Robustness]], notes: list[str]) -> dict[str, Tables]:
    """Return the tables of the arms that all workloads have, with the same kind of schedule; note the others."""
    (label, first), *others = arms.items()
    found: dict[str, Tables] = {}
    for name in dict.fromkeys(name for own in arms.values() for name in own):
        lacking = [one for one, own in arms.items() if name not in own]
        kinds = {own[name].kind for own in arms.values() if name in own}
        if lacking:
            notes.append(f"{name} is not compared over workloads: it has no results in {', '.join(lacking)}.")
        elif len(kinds) > 1:
            notes.append(f"{name} is not compared over workloads: its schedule is {' and '.join(sorted(kinds))}.")
        else:
            found[name] = {one: own[name].table for one, own in arms.items()}
    if not found:
        each = "; ".join(f"{one} has {', '.join(own)}" for one, own in arms.items())
        raise ValueError(f"sweeps of a study must have an arm of one schedule in common, but {each}")
    return found


def _scale(label: str, tables: Sequence[Grid]) -> Scale:
    try:
        return score_scale(tables)
    except ValueError as fault:
        raise ValueError(f"{label}: {fault}") from None


def _across(arm: str, tables: Tables, scales: Mapping[str, Scale]) -> ArmAcross:
    """Return an arm over all workloads."""
    scored = [scales[label].scores(table.errors) for label, table in tables.items()]
    best = [scales[label].scores(best_errors(table))[None] for label, table in tables.items()]
    tuned = [scales[label].scores(settled(table.errors)).max() for label, table in tables.items()]
    found = ArmAcross(
        arm=arm,
        fields=len(axes(next(iter(tables.values())))),
        tuned_score=float(np.mean(tuned)),
        iqm_at_best=iqm(best),
        iqm_over_settings=iqm(scored),
    )
    try:
        _must_rely_on_settings(tables)
        alike = aligned(tables)
    except ValueError as fault:
        return replace(found, missing={"sensitivity": str(fault), "dimensions": str(fault)})
    scores = np.array([scales[label].scores(settled(table.errors)) for label, table in alike.items()])
    return _with_reliance(found, scores, next(iter(alike.values())))


def _must_rely_on_settings(tables: Tables) -> None:
    if near := [label for label, table in tables.items() if near_chance(table)]:
        raise ValueError(f"in {', '.join(near)} {NEAR_CHANCE}")
    if all(len(table.settings) == 1 for table in tables.values()):
        raise ValueError(ONE_SETTING)


def _with_reliance(found: ArmAcross, scores: Floats, table: Grid) -> ArmAcross:
    """Add what needs the same settings in all workloads, from f64[workloads, settings]."""
    known = reliance(scores)
    found = replace(
        found,
        common_score=known.common,
        common_setting=dict(table.settings[known.row]),
        sensitivity=known.sensitivity,
    )
    if not is_full_grid(table):
        return replace(found, missing={"dimensions": NOT_WHOLE})
    try:
        fields = dimensions(scores, table.settings)
    except ValueError as fault:
        return replace(found, missing={"dimensions": str(fault)})
    return replace(found, dimensions=len(fields), tuned_fields=fields)


def _improvements(common: Mapping[str, Tables]) -> Iterator[Improvement]:
    """Yield the probability of improvement for every pair of arms, each at its best setting in each workload."""
    errors = {arm: [best_errors(table) for table in tables.values()] for arm, tables in common.items()}
    for first, second in combinations(errors, 2):
        yield Improvement(first, second, improvement(errors[first], errors[second]))
