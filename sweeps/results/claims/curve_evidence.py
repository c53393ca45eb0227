"""A sweep's evidence for the paper's claims on ABEL's curves: the norm after each of its decays, and the test error by epoch.

As in `robustness_evidence`, every function raises `ValueError` with what is missing if there is no deciding number. Rises and
falls are in percent of the norm.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

import numpy as np
import pandas as pd

from sweeps.results.claims.evidence import Evidence
from sweeps.results.claims.norm_evidence import bounce_before_decay, norm_by_epoch
from sweeps.results.claims.robustness_evidence import Seen, points_text
from sweeps.results.claims.trial_rows import (
    Row,
    final_errors,
    finished_rows,
    mean_over_seeds,
    rows_of_kind,
    seed_differences,
    seed_means,
)
from sweeps.results.values import Interval
from sweeps.results.wording import counted, percent, signed

LATE = 85.0  # percent of training: when the last decay of ABEL and of simple decay is


class AfterDecay(NamedTuple):
    """The norm from a decay after a bounce to the next decay, or to the end.

    `had_time` says whether the norm had time for a new minimum: until another decay after a bounce, or for as many relaxation
    times as it took to its first minimum. These are inversely proportional to the rate.
    """

    fall: float
    rise: float  # after the lowest norm
    had_time: bool

    @property
    def depth(self) -> float:
        """The smaller of the two."""
        return min(self.fall, self.rise)


def falls_again(evidence: Evidence, margin: float) -> Seen:
    """Return by how much the norm falls after ABEL's decays after a bounce, where it falls least."""
    found, decays = _weakest(evidence, lambda after: after.fall, lambda after: True)
    told = f"of {counted(decays, 'decay')}, the weakest of each trial is followed by a fall"
    return Seen(found, f"{told} of {signed(found)} %")


def new_minimum(evidence: Evidence, margin: float) -> Seen:
    """Return the depth of the bounces after ABEL's decays after a bounce, where it is lowest."""
    found, decays = _weakest(evidence, lambda after: after.depth, lambda after: after.had_time)
    told = f"of {counted(decays, 'decay')}, the weakest of each trial is followed by a bounce"
    return Seen(found, f"{told} of {signed(found)} %")


def resemblance(evidence: Evidence, margin: float) -> Seen:
    """Return by how much more ABEL's test error differs from cosine's than from step-wise's, after the first decay."""
    errors, rows = _errors(evidence), _by_seed(evidence, "abel", "step", "cosine")
    step, cosine = {}, {}
    for seed, (abel, *others) in rows.items():
        since = min(epoch for row in (abel, others[0]) for epoch in (*row["decay_epochs"], row["epoch"]))
        own, *curves = (errors[row["trial_id"]].loc[since + 1 :] for row in (abel, *others))
        step[seed], cosine[seed] = (float((own - curve).abs().mean()) for curve in curves)
    known = {seed: found for seed, found in seed_differences(cosine, step).items() if np.isfinite(found)}
    more = mean_over_seeds(known, "trials with epochs after the first decay of ABEL or of step-wise")
    means = [float(np.mean([distances[seed] for seed in known])) for distances in (step, cosine)]
    return Seen(
        more,
        f"by epoch, ABEL's test error is {means[0]:.1f} points from step-wise's and {means[1]:.1f} from cosine's: "
        f"{points_text(more)}",
    )


def cosine_reaches(evidence: Evidence, margin: float) -> Seen:
    """Return by how much cosine's final error is above ABEL's."""
    abel, cosine = (final_errors(rows_of_kind(finished_rows(evidence), kind)) for kind in ("abel", "cosine"))
    found = mean_over_seeds(seed_differences(cosine, abel), "finished trials of ABEL and cosine with one seed")
    return Seen(found, f"cosine's final error minus ABEL's is {points_text(found)}")


def cosine_is_late(evidence: Evidence, margin: float) -> Seen:
    """Return until when cosine's error is above ABEL's by more than the margin at every epoch, in percent of training."""
    errors, late = _errors(evidence), {}
    for seed, (abel, cosine) in _by_seed(evidence, "abel", "cosine").items():
        if abel["decay_epochs"]:
            above = cast("pd.Series[float]", errors[cosine["trial_id"]] - errors[abel["trial_id"]])
            after = above.loc[abel["decay_epochs"][0] + 1 :]
            late[seed] = (
                100 * (min(after[~(after > margin)].index, default=cosine["epochs"] + 1) - 1) / cosine["epochs"]
            )
    found = mean_over_seeds(late, "finished trials of cosine and of ABEL, which decays, with one seed")
    return Seen(found, f"cosine's error is that far above ABEL's until {percent(found)} of training")


def _weakest(
    evidence: Evidence, number: Callable[[AfterDecay], float], counts: Callable[[AfterDecay], bool]
) -> tuple[Interval, int]:
    """Return a number of what follows ABEL's decays, of each trial where it is lowest, and how many decays count."""
    rows = rows_of_kind(finished_rows(evidence), "abel")
    by_row = [(row, [number(after) for after in _after_decays(evidence, row) if counts(after)]) for row in rows]
    lack = "a finished trial of ABEL that decays after a bounce, and then has time for another one"
    found = mean_over_seeds(seed_means([(row, min(numbers)) for row, numbers in by_row if numbers]), lack)
    return found, sum(len(numbers) for _, numbers in by_row)


def _after_decays(evidence: Evidence, row: Row) -> Iterator[AfterDecay]:
    """Yield what follows each of a trial's decays after a bounce, but for those that its last, forced decay brings about."""
    norm, rates = norm_by_epoch(evidence, row), evidence.rates[row["trial_id"]]
    last = min(row["forced_epochs"], default=row["epoch"])
    for decay in (epoch for epoch in row["bounce_epochs"] if epoch < last):
        until = min((epoch for epoch in row["decay_epochs"] if epoch > decay), default=row["epoch"])
        after = norm.loc[decay:until]
        lowest = cast(int, after.idxmin())
        slower = evidence.base_rates[row["trial_id"]] / float(rates[decay + 1])
        time = bounce_before_decay(evidence, row).minimum * slower
        yield AfterDecay(
            fall=100 * float(1 - after[lowest] / after.iloc[0]),
            rise=100 * float(after.loc[lowest:].max() / after[lowest] - 1),
            had_time=until in row["bounce_epochs"] or until - decay >= time,
        )


def _errors(evidence: Evidence) -> pd.DataFrame:
    """Return the errors by the sweep's metric: epochs down, trial ids across."""
    metric = evidence.frames.metric
    return evidence.frames.curve(metric.name).map(metric.error)


def _by_seed(evidence: Evidence, *kinds: str) -> dict[int, list[Row]]:
    """Return one finished trial of each kind, for every seed that has them.

    Raises:
        ValueError: a seed has two of a kind, or none has one of each; or they differ in length.
    """
    rows = [row for row in finished_rows(evidence) if row["kind"] in kinds]
    if len({row["epochs"] for row in rows}) > 1:
        raise ValueError(f"needs trials of one length of {', '.join(kinds)}")
    by_kind = [{row["seed"]: row for row in rows_of_kind(rows, kind)} for kind in kinds]
    if sum(map(len, by_kind)) < len(rows) or not set.intersection(*map(set, by_kind)):
        raise ValueError(f"needs one finished trial of each of {', '.join(kinds)} for each seed")
    return {seed: [named[seed] for named in by_kind] for seed in by_kind[0] if all(seed in named for named in by_kind)}
