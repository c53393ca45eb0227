"""The findings of the weight-norm experiments, in sentences, seed by seed."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import pandas as pd

from services.report.findings import listed
from sweeps.results.claims.norm_curves import LEAST_RISE, NormCourse
from sweeps.results.wording import counted

ROUNDING = 1e-4  # relative to the terms' magnitudes, after an epoch's steps in float32


def norm_equation_findings(courses: Sequence[NormCourse]) -> Iterator[str]:
    """The findings on the terms of the weight-norm equation (paper, section 4.1)."""
    yield _identity(courses)
    yield _approximation(courses)
    for course in courses:
        where = f"With L2 {course.value:g}" if course.value else "Without L2"
        yield f"{where} {_bounce(course)}"
        if course.value:
            yield _ratio(course)
        yield from _abel(course, where)


def norm_curves_findings(courses: Sequence[NormCourse]) -> Iterator[str]:
    """The findings on the norm at each rate (paper, figure S5)."""
    for course in courses:
        where = f"At rate {course.value:g}"
        yield f"{where}, over {course.epochs} epochs, {_bounce(course)}"
        if "ratio" in course.equation:
            yield _ratio(course)
        yield from _abel(course, where)


def _identity(courses: Sequence[NormCourse]) -> str:
    steps = max(_largest(c.equation["change_sgd"] - c.equation["change_steps"], c.size) for c in courses)
    norms = max(_largest(c.equation["change"] - c.equation["change_steps"], c.norm) for c in courses)
    holds = "holds to float32 rounding" if steps < ROUNDING else "does not hold, as these steps are not plain SGD"
    return (
        f"The exact identity of plain SGD {holds}: the predicted and the measured change of the steps differ by at most "
        f"{steps:.1e} of the terms' magnitudes per epoch. The sum over the steps matches the change of the norm over an "
        f"epoch to within {norms:.1e} of the norm."
    )


def _approximation(courses: Sequence[NormCourse]) -> str:
    parts = []
    for course in courses:
        share = course.equation["residual"].abs() / course.size
        where = f"with L2 {course.value:g}" if course.value else "without L2"
        parts.append(
            f"{100 * share.mean().mean():.2g} % on average and {100 * share.max().max():.2g} % at most {where}"
        )
    return f"The residual of the paper's three terms, relative to their magnitudes, is {', '.join(parts)}."


def _largest(difference: pd.DataFrame, beside: pd.DataFrame) -> float:
    return float((difference.abs() / beside).max().max())


def _bounce(course: NormCourse) -> str:
    """What the norm does at the constant rate: in which seeds it bounces, only rises, or does not bounce."""
    seen = course.bounces
    bounced = [one for one in seen.values() if one.bounced and one.whole.rise >= LEAST_RISE]
    rising = {seed: one for seed, one in seen.items() if one.whole.minimum == 1}
    falling = [one for seed, one in seen.items() if one not in bounced and seed not in rising]
    told = []
    if bounced:
        told.append(
            f"bounces in {_of(bounced, seen)}: it falls by {_percents(one.whole.fall for one in bounced)} to its minimum "
            f"after epoch {listed(one.whole.minimum for one in bounced)} and then rises by "
            f"{_percents(one.whole.rise for one in bounced)}"
        )
    if rising:
        fallen = [int((course.norm[seed].diff() < 0).sum()) for seed in rising]
        told.append(
            f"is lowest at the start in {_of(rising, seen)}: it rises by "
            f"{_percents(one.whole.rise for one in rising.values())}, and falls in {listed(fallen)} of its epochs (by seed)"
        )
    if falling:
        told.append(
            f"does not bounce in {_of(falling, seen)}: it falls by {_percents(one.whole.fall for one in falling)} and ends "
            f"{_percents(one.whole.rise for one in falling)} above its minimum"
        )
    return f"the squared norm {'; it '.join(told)}."


def _ratio(course: NormCourse) -> str:
    ratio, balance = (_first_above_one(course.equation[name]) for name in ("ratio", "balance"))
    minima = [one.whole.minimum for one in course.bounces.values()]
    return (
        f"The ratio r of growth to decay first exceeds 1 {ratio}; with the term -2 eta g.w included, {balance}; the norm's "
        f"minimum is after epoch {listed(minima)} (by seed)."
    )


def _first_above_one(ratios: pd.DataFrame) -> str:
    above = [ratio.index[ratio > 1] for _, ratio in ratios.items()]
    if not any(map(len, above)):
        return "in no epoch"
    return f"in epoch {', '.join(str(one[0]) if len(one) else 'none' for one in above)}"


def _abel(course: NormCourse, where: str) -> Iterator[str]:
    """When ABEL decays by itself and what the norm then does; decays after the last one are counted separately."""
    if course.abel.empty:
        return
    last = {seed: max(course.forced_epochs.get(seed, ()), default=course.epochs) for seed in course.bounce_epochs}
    own = {seed: [epoch for epoch in epochs if epoch < last[seed]] for seed, epochs in course.bounce_epochs.items()}
    later = sum(len(epochs) for epochs in course.bounce_epochs.values()) - sum(map(len, own.values()))
    also = f"; bounce decays after the last one, over all seeds: {later}" if later else ""
    own = {seed: epochs for seed, epochs in sorted(own.items()) if epochs}
    if not own:
        forced = sorted({epoch for epochs in course.forced_epochs.values() for epoch in epochs})
        simple = (
            f" before its last decay, after epoch {listed(forced)}: until then it is simple decay" if forced else ""
        )
        yield f"{where} ABEL does not decay by itself{simple}{also}."
        return
    each = "; ".join(listed(epochs) for epochs in own.values())
    many = f"in {_of(own, course.bounce_epochs)}, after epochs {each} (by seed)"
    yield f"{where} ABEL decays by itself before its last decay {many}{also}."
    answers = [answer for seed, epochs in own.items() for answer in _after(course, seed, epochs)]
    fell, turned = (sum(answer[index] for answer in answers) for index in (0, 1))
    decays = counted(len(answers), "such decay")
    yield f"The norm falls again after {fell} of {decays}; after {turned} of them it then rises before the next decay."


def _after(course: NormCourse, seed: int, decays: Sequence[int]) -> Iterator[tuple[bool, bool]]:
    """For each decay, whether the norm falls after it, and whether it then rises from its minimum."""
    curve = course.abel[seed].dropna()
    every = sorted({*decays, *course.forced_epochs.get(seed, ()), len(curve)})
    for decay, following in pairwise(every):
        if decay in decays:
            later = curve.loc[decay:following]
            lowest = float(later.min())
            yield lowest < later.iloc[0], lowest < later.iloc[0] and later.iloc[-1] > lowest


def _of(some: Iterable[object], all_of_them: Iterable[object]) -> str:
    return f"{len(list(some))} of {counted(len(list(all_of_them)), 'seed')}"


def _percents(parts: Iterable[float]) -> str:
    return ", ".join(f"{100 * part:.1f}" for part in parts) + " %"
