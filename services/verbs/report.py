"""The verb `report`: a page with figures, and its files on the sweeps' runs."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from services.errors import OperationError
from services.schemas import ReportFiles
from services.settings import Settings
from services.verbs.status import status
from sweeps.files import PathFault, private, resolve


def report(
    settings: Settings, sweeps: Sequence[str], out: Path | None, export: str | None = None, ui_url: str | None = None
) -> ReportFiles:
    """Write a report of sweeps, with their numbers as ``csv`` or ``parquet`` if asked, and put it on their runs.

    Args:
        ui_url: where the page's readers have MLflow; its links begin with it.
    """
    rows = [
        status(settings, name).sweep for name in sweeps
    ]  # before MLflow is imported: an unknown name is told at once

    from services.report import report as reports
    from services.tracking.runs import RunsError
    from services.tracking.store import TrackingError, attach_figure

    try:
        with private() if out is None else nullcontext():
            written = reports.report(settings, [row.id for row in rows], out and resolve(out), export, ui_url)
    except PathFault as error:
        raise OperationError(f"--out: {error}") from None
    except RunsError as error:
        raise OperationError(str(error)) from None
    except OSError as error:
        elsewhere = "" if out else "; --out writes the report to another folder"
        raise OperationError(f"{out or settings.reports}: cannot be written: {error.strerror}{elsewhere}") from None
    notes = [written.lag]
    try:
        with private():
            for row in rows:
                attach_figure(settings, row.id, written.files)
    except TrackingError as error:
        notes.append(f"The files are not on the sweep's run: {error}")
    return ReportFiles(files=written.files, findings=written.findings, note=" ".join(filter(None, notes)) or None)
