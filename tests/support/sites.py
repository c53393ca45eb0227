"""The whole service on one machine: a Ray head that takes jobs, two nodes, PostgreSQL, MLflow, an S3 server, and the service.

Its parts share no more than those of a real site. Each node has a network of its own and a disk of its own for copies of
checkpoints; nodes, head and service have host names and homes of their own, so nobody can see on another's behalf that a process
has ended. PostgreSQL alone is reached by a socket, as it does not run as root.
"""

import importlib.util
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import postgres_server
import psutil
from cluster import DASHBOARD_PORT, Network, Node, node, star
from mlflow_server import MlflowServer
from object_stores import object_server
from postgres_server import Cluster
from relays import ports_into

ROOT = Path(__file__).resolve().parents[2]
SERVICE_PORT, TRACKING_PORT, STORE_PORT = 8900, 5000, 9000
NODES = 2
END_SECONDS = 60  # for killed processes
SLOTS = 2  # workers of a node
NAMED = 'hostname "$0" && exec "$@"'
# In namespaces of its own, where it needs no root.
NODE = 'hostname "$0" && mount -t tmpfs tmpfs "$1" && shift && exec "$@"'


def interpreter_with_jobs() -> Path | None:
    """An interpreter whose Ray takes jobs, or None: this one, or that of `make test`."""
    if all(map(importlib.util.find_spec, ("aiohttp_cors", "colorful", "opencensus"))):
        return Path(sys.executable)
    other = ROOT / ".venv-jobs" / "bin" / "python"
    return other if other.exists() else None


@dataclass(kw_only=True)
class Site:
    """What runs where. Its parts can be killed and started again."""

    directory: Path
    networks: Sequence[Network]  # the middle one, then the nodes'
    service_url: str  # as this process reaches it; so is the next
    dashboard_url: str
    tracking_store: Path
    ray_token: Path
    ledger_url: str
    settings: Mapping[str, str]
    secrets: Sequence[str]
    postgres: Cluster
    start: Callable[..., Any]
    service: Any = None
    nodes: dict[int, Node] = field(default_factory=dict)
    _open: ExitStack = field(default_factory=ExitStack)
    _database: ExitStack = field(default_factory=ExitStack)

    def home(self, name: str) -> Path:
        """The ABEL_HOME of a machine, by which its processes are known."""
        return self.directory / name

    def serve(self) -> None:
        """Start the service, and wait until it serves."""
        middle = self.networks[0]
        jobs = ("--ray-jobs", f"http://{middle.address}:{DASHBOARD_PORT}", "--ray-token-file", str(self.ray_token))
        at = ("--host", middle.address, "--port", str(SERVICE_PORT), "--name", "127.0.0.1")
        command = [*_named("service", middle).entry, sys.executable, "-m", "services.cli", "serve", *at, *jobs]
        self.service = self.start(command, **self.settings, ABEL_HOME=str(self.home("service")))
        self.service.wait_for(lambda: "serving at" in self.service.said)

    def start_head(self) -> None:
        """Start the head, always at the same address; it has no room for workers."""
        python = interpreter_with_jobs()
        assert python is not None
        machine = _named("head", self.networks[0])
        environment = {**self.settings, "ABEL_HOME": str(self.home("head"))}
        self._head = self._open.enter_context(node(cpus=0, network=machine, jobs=python, **environment))

    def join(self, number: int) -> None:
        """Start a node, also in place of one that is lost."""
        name, network = node_name(number), self.networks[1 + number]
        private = ("unshare", "--uts", "--mount", "sh", "-c", NODE, name, str(self.copies))
        machine = Network(network.address, (*network.entry, *private))
        environment = {**self.settings, "ABEL_HOME": str(self.home(name))}
        joined = node(self._head.cluster, cpus=SLOTS, network=machine, **environment)
        self.nodes[number] = self._open.enter_context(joined)

    @property
    def copies(self) -> Path:
        """Where a machine keeps its copies of checkpoints: the same path on all, and on each node another disk."""
        return Path(self.settings["ABEL_CACHE_DIR"]) / "checkpoints"

    def kill(self, name: str) -> None:
        """Kill all processes of a machine, as its loss does: without a word to anybody."""
        while found := list(self._processes(name)):
            for process in found:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            _await_ends(found)

    def _processes(self, name: str) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            with suppress(psutil.Error):  # gone meanwhile, or another user's
                if is_alive(process) and process.environ().get("ABEL_HOME") == str(self.home(name)):
                    yield process

    def run_postgres(self) -> None:
        """Start PostgreSQL, also after it was killed."""
        self._database.enter_context(self.postgres.running())

    def kill_postgres(self) -> None:
        """Kill its server and wait until all its processes are gone: else it could not be started again."""
        server = psutil.Process(int((self.postgres.directory / "data" / "postmaster.pid").read_text().split()[0]))
        under = server.children()
        self.postgres.kill()
        self._database.close()
        _await_ends(under)


@contextmanager
def site(directory: Path, tracking_store: Path, start: Callable[..., Any], **environment: str) -> Iterator[Site]:
    """All parts but the service, which needs a token first; ``environment`` is added to that of each part."""
    with ExitStack() as open_:
        networks = open_.enter_context(star(NODES))
        ports = (SERVICE_PORT, TRACKING_PORT, STORE_PORT, DASHBOARD_PORT)
        service, tracking, store, dashboard = open_.enter_context(ports_into(networks[0], *ports))
        mlflow = MlflowServer(
            f"sqlite:///{tracking_store}", directory, TRACKING_PORT, network=networks[0], reached_at=tracking
        )
        open_.push(mlflow)  # it imports MLflow while the others start
        objects = open_.enter_context(object_server("s3", network=networks[0], port=STORE_PORT, reached_at=store))
        postgres = open_.enter_context(postgres_server.empty())
        token = directory / "ray-token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        parts = open_.enter_context(ExitStack())
        database = parts.enter_context(ExitStack())
        ledger_url = database.enter_context(postgres.running()).create()
        settings = {
            "ABEL_LEDGER": ledger_url,
            "ABEL_TRACKING_URI": mlflow.url,
            "ABEL_STORE": objects.url,
            "ABEL_CACHE_DIR": str(directory / "cache"),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_JOB_STOP_WAIT_TIME_S": "120",
            "RAY_raylet_liveness_self_check_interval_ms": "1000",  # as in the images
            "RAY_prestart_worker_first_driver": "0",  # each would take seconds, and be used by nobody
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            **objects.environment,
            **environment,
        }
        made = Site(
            directory=directory,
            networks=networks,
            service_url=service,
            dashboard_url=dashboard,
            tracking_store=tracking_store,
            ray_token=token,
            ledger_url=ledger_url,
            settings=settings,
            secrets=(postgres_server.PASSWORD, objects.environment["AWS_SECRET_ACCESS_KEY"], token.read_text()),
            postgres=postgres,
            start=start,
            _open=parts,
            _database=database,
        )
        made.copies.mkdir(parents=True)
        try:
            made.start_head()
            for number in range(NODES):
                made.join(number)
            mlflow.start()
            yield made
        finally:
            for name in ("service", "head", *map(node_name, range(NODES))):
                made.kill(name)


def is_alive(process: psutil.Process) -> bool:
    """Whether a process is there; one that ended and that nobody has waited for is not."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _await_ends(processes: Sequence[psutil.Process]) -> None:
    until = time.monotonic() + END_SECONDS
    while any(map(is_alive, processes)):
        assert time.monotonic() < until, processes
        time.sleep(0.05)


def node_name(number: int) -> str:
    """The name of a node's machine."""
    return f"node-{number}"


def _named(name: str, network: Network) -> Network:
    """A network as a machine of this name sees it."""
    return Network(network.address, (*network.entry, "unshare", "--uts", "sh", "-c", NAMED, name))
