"""The error of guessing: what a diverged trial counts as, in every measure, claim, gate and figure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.rows import SweepRow
from workers.config import from_dict
from workers.guessing import error_of_guessing

UNKNOWN = (
    "a trial diverged and counts as guessing, and neither the sweep nor the data set, which is not here, says how many "
    "classes there are"
)


def of(sweep: SweepRow, program: Mapping[str, Any], data_dir: Path | None, *, needed: bool = True) -> float | None:
    """The error of guessing of a sweep's program, in percent; None where it is not known.

    The ledger has it. Of sweeps that older versions entered the data tell it, where they and their plug-in are here: they
    are read where it is `needed`.
    """
    for identity in sweep.identities:
        if identity.program == program and identity.guessing is not None:
            return identity.guessing
    try:
        return error_of_guessing(from_dict(program).data.load(data_dir).classes) if needed else None
    except Exception:  # a plug-in's own code may fail in any way, and results can be read without it
        return None
