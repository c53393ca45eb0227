"""The verb `report`: write a page with figures, and attach the files to the sweeps' runs."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from services import ledgers
from services.errors import OperationError
from services.schemas import ReportFiles
from services.settings import Settings
from services.tracking.attaching import Attaching, has_store
from sweeps.files import PathFault, private, resolve


def report(
    settings: Settings,
    sweeps: Sequence[str],
    out: Path | None,
    export: str | None = None,
    ui_url: str | None = None,
    spec: Mapping[str, Any] | None = None,
) -> ReportFiles:
    """Write a report of sweeps, optionally with their numbers as ``csv`` or ``parquet``, and attach it to their runs.

    Args:
        ui_url: base URL of the page's links to MLflow.
        spec: of the same trials, for its title, claims and figure; by default what the sweeps were last described by.

    Raises:
        OperationError: nothing was run here yet, or the report cannot be written.
        LedgerError: no such sweep.
        StoreError: the report is written here, but cannot be copied to the object store.
    """
    # Before Matplotlib is imported: an unknown name fails at once.
    rows = [ledgers.row_of(settings, name) for name in sweeps]
    tracked = [row.id for row in rows] if has_store(settings) else []
    with Attaching(settings, tracked) as attaching:
        from services.report import report as reports

        try:
            with private() if out is None else nullcontext():
                written = reports.write_report(
                    settings, [row.id for row in rows], out and resolve(out), export, ui_url, attaching.places, spec
                )
        except PathFault as error:
            raise OperationError(f"--out: {error}") from None
        except OSError as error:
            elsewhere = "" if out else "; --out writes the report to another folder"
            raise OperationError(f"{out or settings.reports}: cannot be written: {error.strerror}{elsewhere}") from None
        attaching.attach(written.files)
    notes = list(attaching.notes)
    if settings.store and out is None:
        notes.append(_upload(settings.store, written.files))
    return ReportFiles(files=written.files, findings=written.findings, note=" ".join(notes) or None)


def _upload(store: str, files: Sequence[Path]) -> str:
    """Copy a report's files to the object store; return where they are."""
    from workers.checkpoints.stores import ObjectStore

    place = ObjectStore(f"{store}/reports/{files[0].parent.name}")
    for file in files:
        place.upload(file)
    return f"The files are also at {place.url}."
