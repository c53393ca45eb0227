"""The verbs ``cancel`` and ``retry``: stop a sweep's trials, or queue those without a result again."""

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
    """Cancel a sweep's trials, those of an arm, or one trial; running ones stop at their next report, others at once.

    Raises:
        OperationError: no such arm or trial.
        LedgerError: no such sweep.
    """
    with ledgers.opened(settings) as ledger:
        row, chosen = chosen_trials(ledger, sweep, arm, trial)
        asked = ledger.cancel_trials(row.id, [one.id for one in chosen])
        return Command(sweep=row.name, trials=asked, running=leases.is_held(row))


def retry(settings: Settings, sweep: str, arm: str | None = None, trial: str | None = None) -> Command:
    """Queue failed or cancelled trials for the next run.

    Raises:
        OperationError: no such arm or trial, or none of them failed or was cancelled.
        LedgerError: no such sweep, or a process is running it.
    """
    with ledgers.opened(settings) as ledger:
        row, chosen = chosen_trials(ledger, sweep, arm, trial)
        retried = ledger.retry_trials(row.id, [one.id for one in chosen])
        if not retried:
            raise OperationError(f"sweep {row.name!r}: must have a failed or cancelled trial to retry, got none")
        return Command(sweep=row.name, trials=retried, running=False)


def chosen_trials(
    ledger: Ledger, sweep: str, arm: str | None, trial: str | None
) -> tuple[SweepRow, Sequence[TrialRow]]:
    """Return a sweep and its trials, those of an arm, or one by its name.

    Raises:
        OperationError: no such arm or trial.
        LedgerError: no such sweep.
    """
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
        raise OperationError(f"trial {trial!r}: must be of arm {arm!r} in sweep {row.name!r}")
    return row, chosen


def _nearest(value: str, known: Sequence[str]) -> str:
    """The known names, or the nearest ones if there are many."""
    if len(known) <= NAMES_SHOWN:
        return ", ".join(known)
    near = difflib.get_close_matches(value, known, n=NAMES_SHOWN, cutoff=0.0)
    return f"nearest: {', '.join(near)}; {len(known) - len(near):,} more in `abel status --trials`"
