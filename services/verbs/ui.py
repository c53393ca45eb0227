"""The verb `ui`: serve the tracking store to a browser on this machine."""

import os
import socket
import sys

from services import ledgers
from services.errors import OperationError
from services.schemas import UiServer
from services.settings import MLFLOW_ENVIRONMENT, Settings
from sweeps.ledger.records import SweepRow
from sweeps.urls import is_server, of_server, without_credentials


def ui(settings: Settings, port: int, sweep: str | None) -> UiServer:
    """How to serve the tracking store on this machine, and the address of a sweep's page, by default the newest's.

    Raises:
        OperationError: the port is taken, perhaps by another ``abel ui``, or not allowed for this user.
    """
    shown = _shown(settings, sweep)
    page = _page(settings, shown) if shown else ""
    if is_server(settings.tracking_uri):
        return UiServer(url=without_credentials(settings.tracking_uri) + page, command=None, environment={})
    _ensure_free(port)
    settings.prepare()
    command = [
        *(sys.executable, "-P", "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--default-artifact-root", settings.artifacts.as_uri()),
    ]
    # Every user of the machine can read a command line; the URI may hold a password, so it goes into the environment.
    environment = {**MLFLOW_ENVIRONMENT, "MLFLOW_BACKEND_STORE_URI": settings.tracking_uri}
    return UiServer(url=of_server("127.0.0.1", port) + page, command=tuple(command), environment=environment)


def _shown(settings: Settings, sweep: str | None) -> SweepRow | None:
    """Return the sweep with this name or id, or the newest if none is given; None if there are no sweeps yet."""
    if sweep:
        with ledgers.found(settings, sweep) as (_, row):
            return row
    with ledgers.opened_if_any(settings) as ledger:
        rows = ledger.sweeps() if ledger else []
        return rows[-1] if rows else None


def _ensure_free(port: int) -> None:
    """Refuse a port that cannot be used, and name one that can.

    Raises:
        OperationError: the port is taken, perhaps by another ``abel ui``, or not allowed for this user.
    """
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        with socket.create_server(("127.0.0.1", 0)) as free:
            other = free.getsockname()[1]
        rule = f"must be a free port of 127.0.0.1, got {port} ({os.strerror(error.errno or 0)})"
        raise OperationError(f"--port: {rule}; `abel ui --port {other}` uses a free one") from None


def _page(settings: Settings, sweep: SweepRow) -> str:
    from services.tracking import runs

    try:
        return runs.comparison(settings.tracking_uri, sweep)
    except runs.StoreDamaged as error:
        raise OperationError(str(error)) from None
    except runs.RunsError:
        return ""  # nothing was uploaded yet, or the store is unreachable: MLflow's own first page says more
