"""Commands to a sweep from outside: end trials, or have those that ended without a result trained after all."""

import difflib
from collections.abc import Sequence

from services import ledgers
from services.errors import OperationError
from services.schemas import Command
from services.settings import Settings
from sweeps.ledger import leases
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepRow, TrialRow

NAMES_SHOWN = 8


def cancel(settings: Settings, sweep: str, arm: str | None = None, trial: str | None = None) -> Command:
    """End a sweep's trials, or those of an arm, or one; what runs ends with its next report, others at once.

    Raises:
        OperationError: no such arm or trial.
        LedgerError: no such sweep.
    """
    with ledgers.opened(settings) as ledger:
        row, chosen = _chosen(ledger, sweep, arm, trial)
        asked = ledger.cancel_trials(row.id, [one.id for one in chosen])
        return Command(sweep=row.name, trials=asked, running=leases.is_held(row))


def retry(settings: Settings, sweep: str, arm: str | None = None, trial: str | None = None) -> Command:
    """Let trials that failed or were cancelled wait for the next run.

    Raises:
        OperationError: no such arm or trial, or none of them failed or was cancelled.
        LedgerError: no such sweep, or a process runs it.
    """
    with ledgers.opened(settings) as ledger:
        row, chosen = _chosen(ledger, sweep, arm, trial)
        retried = ledger.retry_trials(row.id, [one.id for one in chosen])
        if not retried:
            raise OperationError(f"sweep {row.name!r}: must have a trial that failed or was cancelled there, got none")
        return Command(sweep=row.name, trials=retried, running=False)


def _chosen(ledger: Ledger, sweep: str, arm: str | None, trial: str | None) -> tuple[SweepRow, Sequence[TrialRow]]:
    row = ledger.sweep(sweep)
    trials = ledger.trials(row.id)
    for what, value, known in (
        ("arm", arm, sorted({one.arm for one in trials})),
        ("trial", trial, [one.name for one in trials]),
    ):
        if value is not None and value not in known:
            raise OperationError(f"{what} {value!r}: must be one of sweep {row.name!r} ({_nearest(value, known)})")
    chosen = [one for one in trials if arm in (None, one.arm) and trial in (None, one.name)]
    if not chosen:
        raise OperationError(f"trial {trial!r}: must be of arm {arm!r}, as sweep {row.name!r} has them, and is not")
    return row, chosen


def _nearest(value: str, known: Sequence[str]) -> str:
    """The known names, or of many those that are most alike."""
    if len(known) <= NAMES_SHOWN:
        return ", ".join(known)
    near = difflib.get_close_matches(value, known, n=NAMES_SHOWN, cutoff=0.0)
    return f"nearest: {', '.join(near)}; {len(known) - len(near):,} more in `abel status --trials`"
