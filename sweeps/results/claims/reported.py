"""The errors that the paper compares schedules by.

They are the last ones of training, but for simple decay with L2 whose test error rises after its decay. There the paper takes
the error at the minimum of the training loss (supplement, section A, on table 2; figure S10a).
"""

from dataclasses import replace
from typing import cast

import pandas as pd

from sweeps.results.claims.evidence import Evidence
from sweeps.results.claims.trial_rows import L2, Row, finished_rows, program_value, rows_of_kind, setting_key
from sweeps.results.frames import Frames


def as_reported(evidence: Evidence) -> Evidence:
    """Return the sweep with the errors that the paper compares as its trials' final errors.

    A column ``selected`` says which of them are those at the lowest training loss.
    """
    trials = evidence.frames.trials
    chosen = trials["trial_id"].isin(_selected_trials(evidence))
    final = trials["final_error"].mask(chosen, trials["selected_error"])
    told = trials.assign(final_error=final, selected=chosen)
    return replace(evidence, frames=replace(evidence.frames, trials=told))


def _selected_trials(evidence: Evidence) -> set[str]:
    """Return the ids of the trials whose error at the lowest training loss counts.

    The seeds of a setting decide together: their mean error is larger after the last epoch than after the first one at the
    lower rate.
    """
    frames = evidence.frames
    simple = rows_of_kind(finished_rows(evidence), "simple")
    with_l2 = [row for row in simple if row["decay_epochs"] and program_value(frames, row, L2)]
    curves = frames.curve(frames.metric.name) if with_l2 else pd.DataFrame()
    rises: dict[tuple[str, str], dict[str, float]] = {}
    for row in with_l2:
        rises.setdefault(setting_key(row), {})[row["trial_id"]] = _rise(frames, row, curves)
    return {trial for seeds in rises.values() if sum(seeds.values()) > 0 for trial in seeds}


def _rise(frames: Frames, row: Row, curves: pd.DataFrame) -> float:
    """Return by how much the error rises after the first epoch at the lower rate, in points."""
    curve = cast("pd.Series[float]", curves[row["trial_id"]].dropna())
    lower = [frames.metric.error(value) for value in curve.loc[row["decay_epochs"][0] + 1 :].tolist()]
    return lower[-1] - lower[0] if lower else 0.0
