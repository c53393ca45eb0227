"""The error of guessing: what a diverged trial counts as, in every measure, claim, gate and figure."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.ledger.records import SweepRow
from workers.config import from_dict
from workers.guessing import error_of_guessing

UNKNOWN = (
    "a trial diverged and counts as guessing, and neither the sweep nor the data set, which is not here, says how many "
    "classes there are"
)
# By data set and folder: a sweep has many trials, and a lookup reads a whole data set.
_KNOWN: dict[tuple[str, Path | None], float] = {}


def guessing_error(sweep: SweepRow, program: Mapping[str, Any], data_dir: Path | None) -> float | None:
    """The error of guessing of a sweep's program, in percent; None where it is not known.

    The ledger has it. For sweeps of older versions it is read from the data, if these and their plug-in are here.
    """
    for identity in sweep.identities:
        if identity.program == program and identity.guessing is not None:
            return identity.guessing
    try:
        data, asked = from_dict(program).data, (json.dumps(program["data"], sort_keys=True), data_dir)
        if asked not in _KNOWN:
            _KNOWN[asked] = error_of_guessing(data.load(data_dir).classes)
        return _KNOWN[asked]
    except Exception:  # a plug-in's own code may fail in any way, and results can be read without it
        return None
