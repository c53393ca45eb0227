"""A sweep's evidence for the paper's claims on what schedules gain, with L2 and without.

Errors are those that the paper compares (`reported.py`). As in `robustness_evidence`, every function raises `ValueError` with
what is missing if there is no deciding number.
"""

from collections.abc import Callable, Mapping
from typing import cast

import numpy as np
import pandas as pd

from sweeps.results.claims.evidence import Evidence
from sweeps.results.claims.reported import as_reported
from sweeps.results.claims.robustness_evidence import Seen, points_text
from sweeps.results.claims.trial_rows import (
    Row,
    Rows,
    all_rows,
    counted_rows,
    final_errors,
    finished_rows,
    longest_rows,
    mean_over_seeds,
    paired_gap,
    rows_by_l2,
    rows_of_kind,
    seed_differences,
    seed_means,
    setting_key,
    shortest_rows,
)
from sweeps.results.comparison import lowest_mean
from sweeps.results.confidence import level
from sweeps.results.measures import chance_in_words, has_learned
from sweeps.results.wording import bounded, in_words, percent, signed

COSINE = "finished trials of cosine and simple decay"
LINEAR = "finished trials of linear and simple decay of one program, with a seed in common"
PLATEAU = "finished trials of plateau and ABEL"
SMALL = "finished trials of a constant rate and of simple decay at a larger one"


def gain(evidence: Evidence, margin: float) -> Seen:
    """Return what cosine gains over simple decay, in the longest trials."""
    return _gain(longest_rows(counted_rows(as_reported(evidence)), all_rows(evidence)))


def gain_in_shortest(evidence: Evidence, margin: float) -> Seen:
    """Return what cosine gains over simple decay, in the shortest of trials of several lengths."""
    return _gain(shortest_rows(counted_rows(as_reported(evidence)), all_rows(evidence)))


def linear_gap(evidence: Evidence, margin: float) -> Seen:
    """Return simple decay's final error minus linear decay's, each at its best setting, if both have learned something.

    The trials are the longest ones. Where several programs are trained with both, the errors are means over these.
    """
    rows = longest_rows(counted_rows(as_reported(evidence)), all_rows(evidence))
    simple, linear = _at_best(evidence, rows)
    errors = final_errors(simple), final_errors(linear)
    found = paired_gap(errors[0], errors[1], LINEAR)
    means = [float(np.mean(list(own.values()))) for own in errors]
    told = f"simple decay {means[0]:.2f} %{_at(simple)}, linear {means[1]:.2f} %{_at(linear)}"
    if needed := _needed_to_have_learned(evidence, (*simple, *linear)):
        raise ValueError(f"{needed}; {told}")
    return Seen(found, f"{told}: {points_text(found)} apart")


def _at_best(evidence: Evidence, rows: Rows) -> tuple[Rows, Rows]:
    """Return the trials of simple decay and of linear decay, each at its best setting, with the seeds that both have.

    Each program that is trained with both has a best setting of its own.
    """
    simple, linear = (_best_of_programs(evidence, rows_of_kind(rows, kind)) for kind in ("simple", "linear"))
    common = {(program, row["seed"]) for program in simple.keys() & linear.keys() for row in simple[program]} & {
        (program, row["seed"]) for program, own in linear.items() for row in own
    }
    one, other = (
        [row for of, own in best.items() for row in own if (of, row["seed"]) in common] for best in (simple, linear)
    )
    return one, other


def _best_of_programs(evidence: Evidence, rows: Rows) -> dict[str, Rows]:
    """Return the trials at the setting with the lowest mean error, by program."""
    programs: dict[str, dict[tuple[str, str], list[Row]]] = {}
    for row in rows:
        settings = programs.setdefault(evidence.frames.programs.get(row["name"], ""), {})
        settings.setdefault(setting_key(row), []).append(row)
    return {
        program: settings[lowest_mean({key: final_errors(own) for key, own in settings.items()})]
        for program, settings in programs.items()
    }


def _at(rows: Rows) -> str:
    """Return the setting of trials as the end of a phrase; empty if they have none, or several."""
    found = {in_words(row["settings"]) for row in rows if row["settings"]}
    return f" at {found.pop()}" if len(found) == 1 else ""


def _needed_to_have_learned(evidence: Evidence, rows: Rows) -> str:
    """Return what is missing if a schedule has not learned one of its programs; empty if the ledger has no error of guessing."""
    chance, of_program = evidence.frames.chance, dict[tuple[str, str], list[Row]]()
    for row in rows:
        of_program.setdefault((evidence.frames.programs.get(row["name"], ""), row["kind"]), []).append(row)
    for own in of_program.values():
        guessing = chance.common([row["name"] for row in own], evidence.guessing)
        if guessing is None and chance.guesses:
            return "needs one error of guessing for all trials of a program"
        found = level(list(final_errors(own).values())).interval()
        if guessing is not None and not has_learned(found, guessing, chance.is_by_hand):
            near = f"{chance_in_words(chance.is_by_hand)}, {guessing:g} %"
            return f"needs trials that have learned, as others are alike; an error is {near}"
    return ""


def training_error(evidence: Evidence, margin: float) -> Seen:
    """Return the training error at the end of simple decay, in the longest trials."""
    return _training_error(evidence, longest_rows(finished_rows(evidence), all_rows(evidence)))


def training_error_in_shortest(evidence: Evidence, margin: float) -> Seen:
    """Return the training error at the end of simple decay, in the shortest of trials of several lengths."""
    return _training_error(evidence, shortest_rows(finished_rows(evidence), all_rows(evidence)))


def gain_without_l2(evidence: Evidence, margin: float) -> Seen:
    """Return what cosine gains over simple decay without L2."""
    return _gain(_counted_by_l2(evidence)[1])


def gain_with_l2(evidence: Evidence, margin: float) -> Seen:
    """Return by how many points more cosine gains over simple decay with L2 than without."""
    return _more_with_l2(evidence, _gains, "cosine gains", COSINE)


def small_rate_loss(evidence: Evidence, margin: float) -> Seen:
    """Return what the lowest constant rate loses to simple decay at a larger rate, with L2."""
    found = mean_over_seeds(_small_rate_losses(evidence)(_counted_by_l2(evidence)[0]), f"{SMALL}, with L2")
    return Seen(found, f"with L2 the small rate's error is {points_text(found)} above that of simple decay")


def small_rate_loss_with_l2(evidence: Evidence, margin: float) -> Seen:
    """Return by how many points more the lowest constant rate loses to simple decay with L2 than without."""
    return _more_with_l2(evidence, _small_rate_losses(evidence), "the small rate loses", SMALL)


def extra_decays_of_plateau(evidence: Evidence, margin: float) -> Seen:
    """Return how many more decays a plateau schedule makes than ABEL."""
    plateau, abel = (_decays(evidence, kind) for kind in ("plateau", "abel"))
    found = mean_over_seeds(seed_differences(plateau, abel), f"{PLATEAU} with one seed")
    means = [float(np.mean(list(counts.values()))) for counts in (plateau, abel)]
    return Seen(found, f"plateau decays {means[0]:.1f} times, ABEL {means[1]:.1f} times: {signed(found)}")


def decays_of_plateau(evidence: Evidence, margin: float) -> Seen:
    """Return how many decays a plateau schedule makes."""
    found = mean_over_seeds(_decays(evidence, "plateau"), "a finished trial of plateau")
    return Seen(found, f"plateau decays {bounded(found)} times")


def plateau_loss(evidence: Evidence, margin: float) -> Seen:
    """Return by how much a plateau schedule's final error is above ABEL's."""
    plateau, abel = (final_errors(rows_of_kind(counted_rows(evidence), kind)) for kind in ("plateau", "abel"))
    found = mean_over_seeds(seed_differences(plateau, abel), f"{PLATEAU} with one seed")
    return Seen(found, f"plateau's final error minus ABEL's is {points_text(found)}")


def _counted_by_l2(evidence: Evidence) -> tuple[Rows, Rows]:
    """Return the trials whose errors count, as the paper compares them, with L2 and without."""
    reported = as_reported(evidence)
    return rows_by_l2(reported, counted_rows(reported))


def _decays(evidence: Evidence, kind: str) -> dict[int, float]:
    return seed_means([(row, len(row["decay_epochs"])) for row in rows_of_kind(finished_rows(evidence), kind)])


def _training_error(evidence: Evidence, rows: Rows) -> Seen:
    simple, errors = rows_of_kind(rows, "simple"), evidence.frames.curve("train_error")
    curves = [cast("pd.Series[float]", errors[row["trial_id"]].dropna()) for row in simple if row["trial_id"] in errors]
    if not curves:
        raise ValueError("needs finished trials of simple decay that record their training error")
    found = level([float(curve.iloc[-1]) for curve in curves]).interval()
    return Seen(found, f"in {simple[0]['epochs']} epochs simple decay ends with a training error of {percent(found)}")


def _gain(rows: Rows) -> Seen:
    found = mean_over_seeds(_gains(rows), COSINE)
    return Seen(found, f"cosine gains {points_text(found)} over simple decay")


def _gains(rows: Rows) -> dict[int, float]:
    simple, cosine = (final_errors(rows_of_kind(rows, kind)) for kind in ("simple", "cosine"))
    return seed_differences(simple, cosine)


def _small_rate_losses(evidence: Evidence) -> Callable[[Rows], dict[int, float]]:
    """Return the function for the losses of the lowest constant rate, in its longest trials, by seed."""
    rates = evidence.base_rates
    every = rows_of_kind(all_rows(evidence), "constant")

    def losses(rows: Rows) -> dict[int, float]:
        constant, simple = (rows_of_kind(rows, kind) for kind in ("constant", "simple"))
        lowest = min((rates[row["trial_id"]] for row in constant), default=0.0)
        if any(rates[row["trial_id"]] <= lowest for row in simple):
            raise ValueError(f"needs {SMALL}; the lowest constant rate is {lowest:g}")
        slow, among = ([row for row in own if rates[row["trial_id"]] == lowest] for own in (constant, every))
        return seed_differences(final_errors(longest_rows(slow, among)), final_errors(simple)) if slow else {}

    return losses


def _more_with_l2(evidence: Evidence, by_seed: Callable[[Rows], Mapping[int, float]], verb: str, lack: str) -> Seen:
    """Return by how much a number of each seed is larger with L2 than without."""
    lack = f"{lack}, with L2 and without"
    with_l2, without = (by_seed(rows) for rows in _counted_by_l2(evidence))
    more = mean_over_seeds(seed_differences(with_l2, without), lack)
    told = [points_text(mean_over_seeds(each, lack)) for each in (with_l2, without)]
    return Seen(more, f"{verb} {told[0]} with L2 and {told[1]} without: {points_text(more)} more")
