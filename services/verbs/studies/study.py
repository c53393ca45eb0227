"""The verb `study`: several sweeps as one study, each a workload, from the ledger alone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from services import ledgers
from services.errors import OperationError
from services.settings import Settings
from sweeps.files import PathFault, resolve
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepRow
from sweeps.results import guessing
from sweeps.results.load import load
from sweeps.results.study.arms import Workload
from sweeps.results.study.rate_sensitivity import LOSS
from sweeps.results.study.study import study_of
from sweeps.results.study.values import Study
from sweeps.results.summary import counted_error

NOTHING_TO_DRAW = "There is no figure, as no arm has a tunability or a tuning curve."


def study(settings: Settings, sweeps: Sequence[str], curves: Sequence[str] = (), out: Path | None = None) -> Study:
    """Return the study of sweeps: measures of tuning for each arm in each sweep, and over all sweeps.

    Args:
        sweeps: names or ids.
        curves: arms whose tuning curves are wanted; by default those of every arm whose settings were drawn.
        out: folder to write figures to; by default there are none.

    Raises:
        OperationError: nothing was run here yet, the sweeps are not comparable, an arm can have no tuning curve, or
            the figures cannot be written.
        LedgerError: no such sweep.
    """
    with ledgers.opened_if_any(settings) as ledger:
        if ledger is None:
            raise ledgers.nothing_here(settings, sweeps[0])
        workloads = _workloads(settings, ledger, [ledger.sweep(name) for name in sweeps])
    try:
        found = study_of(workloads, curves)
    except ValueError as fault:
        raise OperationError(str(fault)) from None
    if out is None:
        return found
    files = _drawn(found, out)
    return replace(found, files=files, notes=found.notes if files else (*found.notes, NOTHING_TO_DRAW))


def _drawn(found: Study, out: Path) -> tuple[Path, ...]:
    from services.report.studies import study_figures  # Matplotlib takes a second to import

    try:
        return study_figures.write_figures(found, resolve(out))
    except PathFault as error:
        raise OperationError(f"--out: {error}") from None
    except OSError as error:
        raise OperationError(f"{out}: cannot be written: {error.strerror}") from None


def _workloads(settings: Settings, ledger: Ledger, rows: Sequence[SweepRow]) -> list[Workload]:
    ids = [row.id for row in rows]
    if twice := [row for row in rows if ids.count(row.id) > 1]:
        raise OperationError(f"sweep {twice[0].name!r}: must be named once, got it {len(twice)} times ({twice[0].id})")
    labels = ledgers.labels(ledger, rows)
    return [
        Workload(
            label=labels[row.id],
            sweep_id=row.id,
            frames=load(ledger, row, (LOSS,)),
            guessing=guessing.guessing_error(row, ledger.trials(row.id)[0].program, settings.data_dir),
            error=counted_error(row.spec),
        )
        for row in rows
    ]
