"""The service as a process: the API, and the loop that starts and stops jobs, until a signal ends it."""

import os
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import uvicorn

from services import ledgers
from services.api.app import build
from services.api.loopback import is_loopback
from services.errors import OperationError
from services.server.jobs import JobPlace, LocalJobs
from services.server.reconciling import Reconciler
from services.server.shares import ServiceLimits
from services.server.values import LOCAL
from services.settings import Settings
from services.traces import traced
from sweeps import catalog
from sweeps.files import OWNER_ONLY
from sweeps.ledger.submissions.tokens import Tokens
from sweeps.spec.sweep import parse_spec
from sweeps.urls import of_server

MOST_CONNECTIONS = 512
DRAIN_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Serving:
    """Where and how to serve.

    Args:
        host: the address to listen on; another than loopback needs tokens in the ledger.
        port: 0 for any free one.
        hosts: names by which the service may be called.
        makes_token: make a token for whoever can read this home, as on loopback, also if others can connect.
    """

    host: str = "127.0.0.1"
    port: int = 8900
    hosts: Sequence[str] = ("*",)
    limits: ServiceLimits = field(default_factory=ServiceLimits)
    makes_token: bool = False


def run_service(settings: Settings, serving: Serving, say: Callable[[str], None], jobs: JobPlace | None = None) -> None:
    """Serve until SIGINT or SIGTERM. Jobs go on without the service, and the next one finds them.

    Raises:
        OperationError: the address is taken, or not allowed without tokens.
    """
    settings.check("home", "ledger_url", "store", "tracking_uri", "mlflow_url", "traces_url", "data_dir", "cache_dir")
    os.umask(OWNER_ONLY)
    with ledgers.opened(settings.prepare()) as ledger, traced(settings, say) as tracers:
        tokens = Tokens.of(ledger)
        makes_token = serving.makes_token or is_loopback(serving.host)
        if not makes_token:
            _check_host(serving.host, tokens)
        place = jobs or LocalJobs(settings.logs)
        listening = _listening(serving)
        if makes_token:
            say(f"token for this machine: {local_token(settings, tokens)}")
        parse_spec(catalog.entry(catalog.names()[0]))  # imports what the first submission would wait for
        app = build(settings, ledger, place, hosts=_names(serving), tracers=tracers)
        reconciler = Reconciler(ledger, place, serving.limits, say)
        stop = threading.Event()
        loop = threading.Thread(target=reconciler.run, args=(stop,), name="reconciler", daemon=True)
        loop.start()
        host, port = listening.getsockname()[:2]
        threading.Thread(target=_prepare, name="imports", daemon=True).start()
        say(f"serving at {of_server(host, port)} (Ctrl-C stops it; sweeps go on)")
        try:
            uvicorn.Server(_config(app)).run(sockets=[listening])
        finally:
            stop.set()
            loop.join(DRAIN_SECONDS)


def _prepare() -> None:
    """Import what the first curves and the first check would wait for, for seconds."""
    for name in ("sweeps.results.load", "services.verbs.gate"):
        import_module(name)


def _config(app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_level="warning",
        access_log=False,  # the audit log has what people did; query strings need not be kept
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        h11_max_incomplete_event_size=32 * 1024,
    )


def _listening(serving: Serving) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in serving.host else socket.AF_INET
        return socket.create_server((serving.host, serving.port), family=family, backlog=256)
    except OSError as error:
        rule = f"must be a free address of this machine, got {serving.host}:{serving.port}"
        raise OperationError(f"--host, --port: {rule} ({os.strerror(error.errno or 0)})") from None


def _check_host(host: str, tokens: Tokens) -> None:
    if not any(one.is_valid and one.owner != LOCAL for one in tokens.all()):
        rule = "must be a loopback address as long as there are no tokens"
        raise OperationError(f"--host: {rule} (`abel token create OWNER` or --make-token makes one), got {host}")


def _names(serving: Serving) -> Sequence[str]:
    """The names by which the service may be called: on loopback only those, so that no web page's host name leads here."""
    if is_loopback(serving.host) and tuple(serving.hosts) == ("*",):
        return ("127.0.0.1", "localhost", "[::1]", "::1", serving.host)
    return serving.hosts


def token_file(settings: Settings) -> Path:
    """The file with the token of this machine's own service."""
    return settings.home / "token"


def local_token(settings: Settings, tokens: Tokens) -> Path:
    """Make a token for this machine unless its file has a valid one; return the file, which only its owner can read."""
    file = token_file(settings)
    try:
        known = tokens.known(file.read_text().strip())
    except FileNotFoundError:
        known = None
    if known is None or not known.is_valid:
        _, text = tokens.make(LOCAL, ["read", "submit", "admin"])
        file.unlink(missing_ok=True)
        with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as made:
            made.write(text + "\n")
    return file
