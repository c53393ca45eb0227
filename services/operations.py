"""The verbs behind the command line: each checks its input, does one thing, and returns a frozen value.

The run (Ray) and the report (MLflow, Matplotlib) are imported inside their verbs: each takes seconds to import, and the
other verbs need neither.
"""

import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services import forecasts, standing
from services.errors import OperationError
from services.interruption import Stop
from services.schemas import (
    CatalogEntry,
    Collected,
    Plan,
    ReportFiles,
    Request,
    RunResult,
    SweepDetail,
    SweepOverview,
    Tracked,
    UiServer,
    Validation,
)
from services.settings import MLFLOW_ENVIRONMENT, Settings, SettingsError
from sweeps import catalog as shipped
from sweeps.database import LedgerError
from sweeps.expansion import alike
from sweeps.files import PathFault, named, private, resolve
from sweeps.identity import IdentityError, IdentityLost
from sweeps.job import ClusterAway
from sweeps.spec import SpecError, SweepSpec, json_schema, load_spec, parse_document, parse_spec
from sweeps.urls import is_server, without_credentials
from workers.data import DataError

if TYPE_CHECKING:
    from services.watching import View

INPUT_ERRORS = (SpecError, IdentityError, DataError, LedgerError, SettingsError, OperationError)
MACHINE_ERRORS = (IdentityLost, ClusterAway)  # nothing is known to be wrong with the input


def catalog() -> list[CatalogEntry]:
    """The sweeps that ship with the package."""
    specs = (load_spec(name) for name in shipped.names())
    return [CatalogEntry(name=spec.name, title=spec.title, claim=spec.claim, cost=spec.cost) for spec in specs]


def catalog_text(name: str) -> str:
    """The YAML of a catalogue entry."""
    if name not in shipped.names():
        raise OperationError(f"{name}: must be a catalogue entry ({', '.join(shipped.names())})")
    return shipped.read(name)


def catalog_document(name: str) -> dict[str, Any]:
    """A catalogue entry as a document of JSON types, which a `.json` spec may hold."""
    return parse_spec(catalog_text(name), f"{name}.yaml").to_dict()


def init(file: Path) -> None:
    """Write a commented spec to start from; never over a file that is there."""
    try:
        with resolve(file).open("x", encoding="utf-8") as target:
            target.write(shipped.template())
    except PathFault as error:
        raise OperationError(f"{named(file)}: {error}") from None
    except FileExistsError:
        raise OperationError(f"{file}: must not exist yet; it was left as it is") from None
    except OSError as error:
        raise OperationError(f"{file}: cannot be written: {error.strerror}") from None


def schema() -> dict[str, Any]:
    """The JSON schema of a spec."""
    return json_schema()


def validate(spec_name: str) -> Validation:
    """Check a spec."""
    spec = load_spec(spec_name)
    trials = spec.expand()
    return Validation(
        name=spec.name,
        title=spec.title,
        trials=len(trials),
        arms={arm: sum(trial.arm == arm for trial in trials) for arm in spec.arms},
        seeds=tuple(spec.seeds),
        epochs=max(trial.epochs for trial in trials),
        epochs_naive=sum(trial.epochs for trial in trials),
        notes=alike(trials),
    )


def plan(settings: Settings, request: Request) -> Plan:
    """What a sweep would cost; nothing is started or written."""
    with standing.opened_if_any(settings) as ledger:
        return forecasts.plan(settings, request, _spec(request), ledger)


def run(settings: Settings, request: Request, *, view: "View", stop: Stop) -> RunResult:
    """Run a sweep, or go on with it, until it ends or ``stop`` is set."""
    spec = _spec(request)  # before anything else is imported: a slip in a spec is told at once

    from services import execution

    return execution.run(settings, request, spec, view=view, stop=stop)


def sweeps(settings: Settings) -> list[SweepOverview]:
    """Every sweep of the ledger, newest first."""
    with standing.opened_if_any(settings) as ledger:
        rows = ledger.sweeps() if ledger else []
        return [standing.overview(settings, ledger, row) for row in reversed(rows) if ledger]


def status(settings: Settings, sweep: str) -> SweepDetail:
    """One sweep with its arms and trials, by name or id."""
    with standing.found(settings, sweep) as (ledger, row):
        return standing.detail(settings, ledger, row)


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

    from services import report as reports
    from services.runs import RunsError
    from services.tracking import TrackingError, attach_figure

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


def gc(settings: Settings, *, dry_run: bool) -> Collected:
    """Remove the checkpoints that no sweep needs any more; a dry run only says which."""
    from services import storage  # brings JAX, for the checkpoints

    return storage.collect(settings, dry_run=dry_run)


def track(settings: Settings, sweep: str | None, *, rebuild: bool, say: Callable[[str], None]) -> tuple[Tracked, ...]:
    """Bring a sweep, or every sweep, into the tracking store as far as it is not there; ends with one that fails.

    Args:
        rebuild: show everything again from the ledger's first event, whatever the store says that it holds.
    """
    with standing.opened_if_any(settings) as ledger:
        if ledger is None and sweep is not None:
            raise standing.nothing_here(settings, sweep)
        if ledger is None:
            return ()
        rows = ledger.sweeps() if sweep is None else [ledger.sweep(sweep)]

        from services import uploading

        done: list[Tracked] = []
        for row in rows:
            ledger.verify(row.id)
            with private():
                done.append(uploading.track(settings, ledger, row, rebuild=rebuild, say=say))
            if done[-1].error:
                break
        return tuple(done)


def ensure_free(port: int) -> None:
    """Refuse a port of this machine that cannot be listened on, with one that can.

    Raises:
        OperationError: another program listens there, perhaps another ``abel ui``, or this user may not.
    """
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        with socket.create_server(("127.0.0.1", 0)) as free:
            other = free.getsockname()[1]
        rule = f"must be a free port of 127.0.0.1, got {port} ({os.strerror(error.errno or 0)})"
        raise OperationError(f"--port: {rule}; `abel ui --port {other}` takes one that is free") from None


def ui(settings: Settings, port: int, sweep: str | None) -> UiServer:
    """How to serve the tracking store to a browser on this machine, and where a sweep, else the last one, is shown."""
    rows = sweeps(settings)
    shown = status(settings, sweep).sweep if sweep else next(iter(rows), None)
    page = _page(settings, shown) if shown else ""
    if is_server(settings.tracking_uri):
        return UiServer(url=without_credentials(settings.tracking_uri) + page, command=None, environment={})
    settings.prepare()
    command = [
        *(sys.executable, "-P", "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--default-artifact-root", settings.artifacts.as_uri()),
    ]
    # Every user of the machine may read a command line: the URI, which may hold a password, is in the environment.
    environment = {**MLFLOW_ENVIRONMENT, "MLFLOW_BACKEND_STORE_URI": settings.tracking_uri}
    return UiServer(url=f"http://127.0.0.1:{port}{page}", command=tuple(command), environment=environment)


def _page(settings: Settings, sweep: SweepOverview) -> str:
    from services import runs

    try:
        return runs.comparison(settings.tracking_uri, sweep.name, sweep.id)
    except runs.StoreDamaged as error:
        raise OperationError(str(error)) from None
    except runs.RunsError:
        return ""  # nothing was uploaded yet, or the store is out of reach: MLflow's own first page says more


def _spec(request: Request) -> SweepSpec:
    spec = load_spec(request.spec)
    if request.seeds is None:
        return spec
    return parse_document({**spec.to_dict(), "seeds": list(request.seeds)}, f"{request.spec} --seeds")
