"""The ledger of an ABEL_HOME, opened for a verb and closed after it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from services.errors import OperationError
from services.settings import Settings, SettingsError
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepRow
from sweeps.urls import sqlite_file, without_credentials


@contextmanager
def opened(settings: Settings) -> Iterator[Ledger]:
    """Open this home's ledger; create it if it is missing."""
    ledger = Ledger.open(settings.ledger_url)
    try:
        yield ledger
    finally:
        ledger.close()


@contextmanager
def opened_if_any(settings: Settings) -> Iterator[Ledger | None]:
    """Open this home's ledger; yield None if its file does not exist, since a query must not create it."""
    file = sqlite_file(settings.ledger_url)
    if file is None or file.exists():
        with opened(settings) as ledger:
            yield ledger
    else:
        yield None


@contextmanager
def found(settings: Settings, sweep: str) -> Iterator[tuple[Ledger, SweepRow]]:
    """Open this home's ledger and find a sweep in it by name or id.

    Raises:
        OperationError: nothing was run here yet.
        LedgerError: no such sweep.
    """
    with opened_if_any(settings) as ledger:
        if ledger is None:
            raise nothing_here(settings, sweep)
        yield ledger, ledger.sweep(sweep)


def row_of(settings: Settings, sweep: str) -> SweepRow:
    """Return the row of a sweep of this home by name or id.

    Raises:
        OperationError: nothing was run here yet.
        LedgerError: no such sweep.
    """
    with found(settings, sweep) as (_, row):
        return row


def labels(ledger: Ledger, rows: Sequence[SweepRow]) -> dict[str, str]:
    """Return the name of each sweep by its id, with part of the id if the name is ambiguous among them or in the ledger."""
    names = [row.name for row in rows]
    return {
        row.id: row.name
        if names.count(row.name) == 1 and ledger.sweep(row.name).id == row.id
        else f"{row.name} {row.id[:6]}"
        for row in rows
    }


def intact_sweep(ledger: Ledger, sweep_id: str) -> SweepRow | None:
    """Return a sweep's row, or None if no intact sweep has this id."""
    return next(iter(ledger.intact_sweeps([sweep_id])), None)


def nothing_here(settings: Settings, sweep: str) -> OperationError:
    """The error for a sweep requested in a home without any sweeps."""
    return OperationError(f"sweep {sweep!r}: must be one that was run here, but {settings.home} has none yet")


def lag(settings: Settings, ledger: Ledger, sweep_id: str) -> int:
    """Count the events of a sweep that the tracking store has not acknowledged, up to a thousand.

    The count is 0 if the environment names no valid store.
    """
    try:
        target = without_credentials(settings.tracking_uri)
    except SettingsError:
        return 0
    offset = ledger.tracking_offset(sweep_id, target)
    return len(ledger.events(sweep_id, after=offset, limit=1000))
