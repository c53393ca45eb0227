"""Durations of an epoch and of start-up, measured by recent sweeps of the ledger."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from statistics import fmean, median
from typing import Any

from sweeps.ledger.database import LedgerDamaged
from sweeps.ledger.ledger import Ledger
from sweeps.spec.trial import Trial
from workers.config import to_dict

# Number of latest sweeps to read, as they best reflect the machine's current speed.
SWEEPS_ASKED = 5


def seconds_per_epoch(ledger: Ledger, trials: Sequence[Trial]) -> float | None:
    """Return the mean over the sweep's programs of their median seconds per recorded epoch; None if none was measured."""
    wanted = {_canonical(to_dict(trial.program)) for trial in trials}
    found: dict[str, float] = {}
    for sweep in reversed(ledger.intact_sweeps()[-SWEEPS_ASKED:]):
        with suppress(LedgerDamaged):  # reported when that sweep is used
            for row in ledger.trials(sweep.id):
                program = _canonical(row.program)
                if program in wanted and program not in found and row.head is not None:
                    found[program] = median(state.metrics["seconds"] for state in ledger.curve(row.head))
    return fmean(found.values()) if found else None


def seconds_to_start(ledger: Ledger, pace: float) -> float | None:
    """Return the median time of the latest sweeps from their start to their first epoch; None if none trained.

    Args:
        pace: seconds per epoch, subtracted for the first epoch itself.
    """
    found = []
    for sweep in reversed(ledger.sweeps()[-SWEEPS_ASKED:]):
        for began in ledger.events_of(sweep.id, "sweep_started")[:1]:
            events = ledger.events(sweep.id, after=began.id)
            keys = {key for event in events if event.kind == "progress" for key in event.payload["keys"]}
            ends = [row.finished_at_ms for row in ledger.states(keys).values() if row.finished_at_ms >= began.at_ms]
            if ends:
                found.append(max(0.0, (min(ends) - began.at_ms) / 1000 - pace))
    return median(found) if found else None


def _canonical(program: Mapping[str, Any]) -> str:
    return json.dumps(program, sort_keys=True)
