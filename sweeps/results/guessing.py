"""What a diverged trial counts as in every measure, claim, gate and figure: the worst value of its task's metric."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeps.ledger.records import SweepRow
from sweeps.spec.programs import program_from_dict
from workers.contracts import Metric

UNKNOWN = (
    "a trial diverged and counts as guessing, but the number of classes is unknown: the sweep does not record it, and the "
    "data set is not available here"
)
# By task, data set and folder: a sweep has many trials, and every lookup would read a whole data set.
_KNOWN: dict[tuple[str, Path | None], Metric] = {}


def guessing_error(sweep: SweepRow, program: Mapping[str, Any], data_dir: Path | None) -> float | None:
    """Return the error of guessing of a sweep's program, in percent; None if unknown."""
    return known_metric(sweep, program, data_dir).worst_error


def known_metric(sweep: SweepRow, program: Mapping[str, Any], data_dir: Path | None) -> Metric:
    """Return the metric of a sweep's program, with the value that a diverged trial counts as, if that is known.

    It is stored in the ledger. For sweeps of version 0.1 it is found from the data, if data and plug-in are available.
    """
    unknown = replace(sweep.metric, worst=None)
    stored = next((one.metric for one in sweep.identities if one.program == program), unknown)
    return stored if stored.worst is not None else _from_data(program, data_dir) or stored


def _from_data(program: Mapping[str, Any], data_dir: Path | None) -> Metric | None:
    try:
        built = program_from_dict(program)  # an error without its plug-ins, whatever is known
        asked = json.dumps([program.get("task"), program["data"]], sort_keys=True), data_dir
        if asked not in _KNOWN:
            _KNOWN[asked] = built.task.build(built, lambda data: data.load(data_dir)).metric
        return _KNOWN[asked]
    except Exception:  # plug-in code may raise anything, and results can be read without it
        return None
