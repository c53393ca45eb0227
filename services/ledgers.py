"""The ledger of a home: opened for a verb, and closed after it."""

from collections.abc import Iterator
from contextlib import contextmanager

from services.errors import OperationError
from services.settings import Settings, SettingsError
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepRow
from sweeps.urls import sqlite_file, without_credentials


@contextmanager
def opened(settings: Settings) -> Iterator[Ledger]:
    """The ledger of this home, created if it is missing."""
    ledger = Ledger.open(settings.ledger_url)
    try:
        yield ledger
    finally:
        ledger.close()


@contextmanager
def opened_if_any(settings: Settings) -> Iterator[Ledger | None]:
    """The ledger of this home, or None where its file is not there yet: a question must not create it."""
    file = sqlite_file(settings.ledger_url)
    if file is None or file.exists():
        with opened(settings) as ledger:
            yield ledger
    else:
        yield None


@contextmanager
def found(settings: Settings, sweep: str) -> Iterator[tuple[Ledger, SweepRow]]:
    """This home's ledger and a sweep in it, by name or id.

    Raises:
        OperationError: nothing was run here yet.
        LedgerError: no such sweep.
    """
    with opened_if_any(settings) as ledger:
        if ledger is None:
            raise nothing_here(settings, sweep)
        yield ledger, ledger.sweep(sweep)


def nothing_here(settings: Settings, sweep: str) -> OperationError:
    """What to raise where a sweep is asked for in a home in which none was run."""
    return OperationError(f"sweep {sweep!r}: must be one that was run here, but {settings.home} holds none yet")


def lag(settings: Settings, ledger: Ledger, sweep_id: str) -> int:
    """How many of a sweep's events the tracking store has not acknowledged; from a thousand on, a thousand.

    None are awaited where the environment names no store that could take them.
    """
    try:
        target = without_credentials(settings.tracking_uri)
    except SettingsError:
        return 0
    offset = ledger.tracking_offset(sweep_id, target)
    return len(ledger.events(sweep_id, after=offset, limit=1000))
