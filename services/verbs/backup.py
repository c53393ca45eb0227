"""The verbs that copy out of a home: ``backup`` the ledger, even while sweeps run, ``weights`` what a trial has trained."""

import os
import shutil
import tempfile
from contextlib import closing
from pathlib import Path

from services import ledgers
from services.errors import OperationError
from services.settings import Settings
from services.upkeep import BackedUp, Exported
from services.verbs.control import chosen_trials
from sweeps.ledger import copies
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepRow, TrialRow, TrialStatus
from sweeps.processes.identity import WorkerEnvironment, ask_worker
from sweeps.urls import of_sqlite, sqlite_file
from workers.checkpoints import open_checkpoints


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


def weights(settings: Settings, sweep: str, trial: str, directory: Path) -> Exported:
    """Write what a finished trial has trained into a folder, created if missing: the files that its task exports.

    The trial's last checkpoint is restored and verified in a process of its own. Files of the same names are replaced.

    Raises:
        OperationError: no such trial, it is not finished, or its last checkpoint was removed; the folder cannot be written.
        LedgerError: no such sweep.
        IdentityError: the task exports nothing, the checkpoint is damaged, or the data differ from those of the sweep.
        IdentityLost: the process that restores was killed or stopped three times.
        StoreError: the object store, or reading or writing a file in that process, fails.
    """
    with ledgers.found(settings, sweep) as (ledger, _):
        row, (one,) = chosen_trials(ledger, sweep, None, trial)
    key = _last_state(settings, row, one)
    environment = WorkerEnvironment(threads=1, cache=settings.prepare().cache)
    draft = _draft(directory)
    try:
        question = {
            "checkpoints": str(settings.checkpoints),
            "store": settings.store,
            "data_dir": settings.data_dir and str(settings.data_dir),
            "program": one.program,
            "data": next(each.data for each in row.identities if each.program == one.program),
            "key": key,
            "folder": str(draft),
        }
        ask_worker("sweeps.processes.exporting", question, environment, "the process that exports weights")
        files = _moved(draft, directory.absolute())
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Exported(sweep=row.name, trial=one.name, epoch=one.epoch, files=files)


def _draft(directory: Path) -> Path:
    """Return a new folder in a folder that is created if missing, as readable for others as the umask lets it be."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".weights-", dir=directory.absolute()))
    except OSError as error:
        raise OperationError(f"{directory}: cannot be written: {error.strerror}") from None


def _moved(draft: Path, directory: Path) -> tuple[Path, ...]:
    """Move all files of a folder into another; return where they are.

    A kill in between leaves new weights beside an old vocabulary. Weights name their vocabulary, so such a pair is refused.
    """
    found = []
    for file in sorted(draft.iterdir()):
        target = directory / file.name
        try:
            os.replace(file, target)
        except OSError as error:
            raise OperationError(f"{target}: cannot be written: {error.strerror}") from None
        found.append(target)
    return tuple(found)


def _last_state(settings: Settings, row: SweepRow, trial: TrialRow) -> str:
    """Return the key of a trial's last state, which has a checkpoint."""
    what = f"trial {trial.name!r} of sweep {row.name!r}"
    if trial.status is not TrialStatus.FINISHED or trial.head is None:
        raise OperationError(f"{what}: must be finished, got {trial.status} after epoch {trial.epoch}")
    if trial.head not in open_checkpoints(settings.checkpoints, settings.store):
        place = settings.store or settings.checkpoints
        raise OperationError(f"{what}: its last checkpoint must be in {place}, got none for state {trial.head}")
    return trial.head


def _verified(file: Path) -> int:
    """Verify every sweep of the copy; return their number."""
    with closing(Ledger.open(of_sqlite(file))) as ledger:
        sweeps = ledger.sweeps()
        for sweep in sweeps:
            ledger.verify(sweep.id)
        return len(sweeps)
