"""The verbs `resume` and `extend`: run a sweep of this home again from its row in the ledger, as it was or longer."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from services import ledgers
from services.errors import OperationError
from services.schemas import Request, RunResult
from services.settings import Settings
from services.signals import Stop
from services.verbs.running import execution
from services.verbs.running.watching import View
from sweeps.ledger.records import SweepRow, TrialRow
from sweeps.ledger.repair_sweeps import SpecDiffers, spec_as_entered
from sweeps.spec.sweep import SweepSpec, parse_document


def resume_run(settings: Settings, request: Request, *, view: View, stop: Stop) -> RunResult:
    """Go on with a sweep, also one that was paused, as its row specifies.

    Args:
        request: ``spec`` is the sweep's name or id.

    Raises:
        OperationError, LedgerError: there is no such sweep, or this code, data or machine would make it another one.
        SweepBusy: a process runs it.
    """
    with ledgers.found(settings, request.spec) as (ledger, row):
        spec = as_entered(row, ledger.trials(row.id))
        ledger.end_pause(row.id)  # before anything that takes long: a pause that is asked for meanwhile holds

    def identified(sweep_id: str) -> None:
        if sweep_id != row.id:
            raise OperationError(
                f"sweep {row.name!r}: must be resumed with the code, data and machine of its records, and these differ; "
                f"`abel run` starts it anew, `abel adopt {row.name}` keeps its epochs after a change of code"
            )

    given = replace(request, spec=row.name, sharing=row.sharing, threads=threads_of(row))
    return execution.execute(settings, given, spec, view=view, stop=stop, identified=identified)


def extend_run(
    settings: Settings, request: Request, changes: Mapping[str, Any], *, view: View, stop: Stop
) -> RunResult:
    """Run the spec of a sweep again with other seeds or epochs; what is recorded is not trained again.

    Args:
        request: ``spec`` is the sweep's name or id.
        changes: ``seeds`` or ``epochs`` of the spec.

    Raises:
        SpecError: the changed spec has faults.
        OperationError, LedgerError: there is no such sweep.
    """
    row = ledgers.row_of(settings, request.spec)
    spec = parse_document({**row.spec, **changes}, row.name)
    given = replace(request, spec=row.name, sharing=row.sharing, threads=threads_of(row))
    return execution.execute(settings, given, spec, view=view, stop=stop)


def as_entered(row: SweepRow, trials: Sequence[TrialRow]) -> SweepSpec:
    """The spec of a sweep as it was entered.

    Raises:
        OperationError: this program reads another sweep from it.
    """
    try:
        return spec_as_entered(row, trials)
    except SpecDiffers as error:
        raise OperationError(f"sweep {row.name!r}: cannot be trained again: {error}") from None


def threads_of(row: SweepRow) -> int:
    """The threads of each worker of a sweep, which are part of its states' keys."""
    given = next((identity.numerics.get("threads", "1") for identity in row.identities), "1")
    return int(given) if given.isdecimal() else 1
