"""The error of guessing, assigned to diverged trials in every measure, claim, gate and figure."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.ledger.records import SweepRow
from workers.config import from_dict
from workers.guessing import error_of_guessing

UNKNOWN = (
    "a trial diverged and counts as guessing, but the number of classes is unknown: the sweep does not record it, and the "
    "data set is not available here"
)
# By data set and folder: a sweep has many trials, and every lookup would read a whole data set.
_KNOWN: dict[tuple[str, Path | None], float] = {}


def guessing_error(sweep: SweepRow, program: Mapping[str, Any], data_dir: Path | None) -> float | None:
    """Return the error of guessing of a sweep's program, in percent; None if unknown.

    It is stored in the ledger. For sweeps of older versions it is computed from the data, if data and plug-in are available.
    """
    for identity in sweep.identities:
        if identity.program == program and identity.guessing is not None:
            return identity.guessing
    try:
        data, asked = from_dict(program).data, (json.dumps(program["data"], sort_keys=True), data_dir)
        if asked not in _KNOWN:
            _KNOWN[asked] = error_of_guessing(data.load(data_dir).classes)
        return _KNOWN[asked]
    except Exception:  # plug-in code may raise anything, and results can be read without it
        return None
