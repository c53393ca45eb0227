"""The verb ``backup``: a verified copy of the ledger, even while sweeps run."""

from contextlib import closing
from pathlib import Path

from services.errors import OperationError
from services.settings import Settings
from services.upkeep import BackedUp
from sweeps.ledger import copies
from sweeps.ledger.ledger import Ledger
from sweeps.urls import of_sqlite, sqlite_file


def backup(settings: Settings, directory: Path) -> BackedUp:
    """Copy the ledger into a folder, created if missing, and verify the copy.

    Raises:
        OperationError: there is no ledger, or it is on a server; the folder cannot be created.
        LedgerError: the ledger is damaged, or the copy cannot be written.
    """
    ledger = sqlite_file(settings.ledger_url)
    if ledger is None:
        raise OperationError("backup: the ledger must be SQLite, got PostgreSQL; use pg_dump")
    if not ledger.exists():
        raise OperationError(f"backup: needs a ledger, but {settings.home} has none yet")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OperationError(f"{directory}: cannot be created: {error.strerror}") from None
    target = directory.absolute() / f"ledger-{copies.stamp()}.db"
    copies.copy_ledger(ledger, target)
    try:
        sweeps = _verified(target)
    except BaseException:
        target.unlink()
        raise
    return BackedUp(file=target, bytes=target.stat().st_size, sweeps=sweeps)


def _verified(file: Path) -> int:
    """Verify every sweep of the copy; return their number."""
    with closing(Ledger.open(of_sqlite(file))) as ledger:
        sweeps = ledger.sweeps()
        for sweep in sweeps:
            ledger.verify(sweep.id)
        return len(sweeps)
