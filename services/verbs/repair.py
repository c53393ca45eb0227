"""The verb ``repair``: repair the ledger from its intact parts, and retrain what only training restores."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from services import ledgers
from services.errors import OperationError
from services.schemas import Request, RunResult
from services.settings import Settings
from services.signals import Stop
from services.upkeep import Mended, Repaired
from services.verbs.running import execution, placing
from services.verbs.running.again import as_entered, threads_of
from services.verbs.running.watching import View
from sweeps.ledger import copies, database
from sweeps.ledger.database import LedgerDamaged
from sweeps.ledger.entries import sweep_identity
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.repair import repair_ledger
from sweeps.urls import of_sqlite, sqlite_file
from workers.checkpoints import open_checkpoints


def repair(settings: Settings, sweep: str | None = None, *, dry_run: bool) -> Repaired:
    """Repair the ledger. An intact one is not changed; a damaged file is kept beside the repaired one.

    Args:
        sweep: name or id of a sweep that the ledger must have.

    Raises:
        OperationError: there is no ledger.
        LedgerError: there is no such sweep.
        SweepBusy: a sweep is running.
        LedgerDamaged: nothing can be read.
    """
    file = sqlite_file(settings.ledger_url)
    if file is not None and not file.exists():
        raise OperationError(f"repair: needs a ledger, but {settings.home} has none")
    database.make_whole(settings.ledger_url, Ledger.create)  # which refuses an empty file
    mend = partial(_mend, settings, sweep=sweep)
    try:
        found = mend(settings.ledger_url, dry_run=True)
    except LedgerDamaged:
        if file is None:
            raise
        return _salvaged(mend, file, dry_run=dry_run)
    if dry_run or not found:
        return Repaired(dry_run=dry_run, mended=found)
    kept = None
    if file is not None:
        kept = file.with_name(f"{file.name}.damaged-{copies.stamp()}")
        copies.copy_ledger(file, kept)
    done = mend(settings.ledger_url, dry_run=False)
    return Repaired(dry_run=False, mended=done, kept=kept)


def _salvaged(mend: Callable[..., tuple[Mended, ...]], file: Path, *, dry_run: bool) -> Repaired:
    """Copy what can be read of a file into a new one, and repair that."""
    draft = file.with_name(f".{file.name}-salvaged-{copies.stamp()}")
    try:
        rows = copies.salvage(file, draft)
        found = ", ".join(f"{count} {table}" for table, count in rows.items() if count)
        read = Mended(sweep="", what="the database file", how=f"copied into a new file: {found}", restored=True)
        mended = (read, *mend(of_sqlite(draft), dry_run=False))
        if dry_run:
            return Repaired(dry_run=True, mended=mended)
        return Repaired(dry_run=False, mended=mended, kept=copies.replace(file, draft))
    finally:
        draft.unlink(missing_ok=True)


def _mend(settings: Settings, url: str, *, dry_run: bool, sweep: str | None) -> tuple[Mended, ...]:
    done = repair_ledger(
        url, open_checkpoints(settings.checkpoints, settings.store).__contains__, dry_run=dry_run, sweep=sweep
    )
    return tuple(Mended(**asdict(one), trains=one.trains) for one in done)


def to_train(mended: Sequence[Mended], sweep: str | None) -> dict[str, str]:
    """The names, by id, of the sweeps with epochs to retrain.

    Args:
        sweep: an id or a name; every sweep of that name is trained.
    """
    lacking = {item.sweep_id: item.sweep for item in mended if item.trains}
    return {key: name for key, name in lacking.items() if sweep in (None, key, name)}


def train_missing(settings: Settings, request: Request, sweep_id: str, *, view: View, stop: Stop) -> RunResult:
    """Train a sweep's missing epochs, as its row in the ledger specifies.

    Raises:
        OperationError: this machine or this program would train states that differ from those recorded.
    """
    with ledgers.found(settings, sweep_id) as (ledger, row):
        spec = as_entered(row, ledger.trials(row.id))
    request = Request(spec=row.name, sharing=row.sharing, threads=threads_of(row))
    known = placing.place(settings, request, spec).identities
    if sweep_identity(spec.name, spec.expand(), known, sharing=request.sharing) != row.id:
        differs = sorted({why for ours in row.identities for other in known.values() for why in ours.why_not(other)})
        raise OperationError(
            f"sweep {row.name!r}: missing epochs must be trained in the environment of their records, and this one "
            f"differs ({'; '.join(differs)})"
        )
    return execution.execute(settings, request, spec, view=view, stop=stop)
