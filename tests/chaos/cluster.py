"""Nodes of a Ray cluster on one machine: real raylets, each in a network of its own where that is wanted.

A namespace stands for a machine's network, a pair of virtual devices for the cable between two of them.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from sweeps.processes.janitor import cleaned

START_SECONDS = 60
PORT, DASHBOARD_PORT = 6379, 8265  # of a head that takes jobs, which is alone in its network


@dataclass(frozen=True)
class Network:
    """Where a node's processes find each other, and how a command gets in there; by default that of this machine."""

    address: str = "127.0.0.1"
    entry: tuple[str, ...] = ()


HERE = Network()


@dataclass(frozen=True)
class Cable:
    """Two networks that reach each other, until the far one's device is taken down."""

    near: Network
    far: Network

    def pull(self) -> None:
        """Cut: neither side gets a word more from the other, and nobody tells them."""
        _ip(self.far, "link", "set", "far", "down")

    def plug(self) -> None:
        """Connect again."""
        _ip(self.far, "link", "set", "far", "up")


def no_namespaces(make: "Callable[[], AbstractContextManager[object]] | None" = None) -> str | None:
    """Why networks of our own, by default two with a cable, cannot be made here, or None where they can."""
    try:
        with (make or cable)():
            return None
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or error
        return f"needs network namespaces (unshare, nsenter, ip): {said}".strip()


@contextmanager
def cable() -> Iterator[Cable]:
    """Two networks and the cable between them. Nothing outside sees them, so their addresses are free."""
    with ExitStack() as open_:
        near = Network("10.0.0.1", open_.enter_context(_namespace("--user", "--map-root-user")))
        far = Network("10.0.0.2", open_.enter_context(_namespace(entry=near.entry)))
        _ip(near, "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", far.entry[2])
        _turn_on(near, "near")
        _turn_on(far, "far")
        yield Cable(near, far)


@contextmanager
def star(count: int) -> Iterator[tuple[Network, ...]]:
    """A network and so many others, the first one in their middle: all reach each other by the switch in it."""
    with ExitStack() as open_:
        middle = Network("10.0.0.1", open_.enter_context(_namespace("--user", "--map-root-user")))
        _ip(middle, "link", "add", "switch", "type", "bridge")
        _turn_on(middle, "switch")
        around = []
        for number in range(2, count + 2):
            far = Network(f"10.0.0.{number}", open_.enter_context(_namespace(entry=middle.entry)))
            _ip(middle, "link", "add", f"port{number}", "type", "veth", "peer", "name", "far", "netns", far.entry[2])
            _ip(middle, "link", "set", f"port{number}", "master", "switch", "up")
            _turn_on(far, "far")
            around.append(far)
        yield (middle, *around)


@contextmanager
def _namespace(*options: str, entry: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """A network namespace, which lasts as long as a process that waits in it; yields the command that enters it."""
    command = [*entry, "unshare", *options, "--net", "sh", "-c", "echo; read _"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stderr is not None
        try:
            if not holder.stdout.readline():
                raise OSError(holder.stderr.read())
            yield ("nsenter", "--target", str(holder.pid), "--user", "--net", "--preserve-credentials")
        finally:
            holder.kill()


def _turn_on(network: Network, device: str) -> None:
    """Give a network its address by this device."""
    _ip(network, "address", "add", f"{network.address}/24", "dev", device)
    _ip(network, "link", "set", device, "up")
    _ip(network, "link", "set", "lo", "up")


def _ip(network: Network, *arguments: str) -> None:
    subprocess.run([*network.entry, "ip", *arguments], check=True, capture_output=True, text=True)


@dataclass(frozen=True)
class Node:
    """A started node. ``cluster`` is the address under which others join, and drivers too."""

    cluster: str
    directory: Path

    def processes(self) -> list[psutil.Process]:
        """Its raylet and the workers under it; none once the raylet is gone."""
        raylets = [process for process in _at_work(self.directory) if process.name() == "raylet"]
        return [*raylets, *(child for raylet in raylets for child in raylet.children(recursive=True))]

    def kill(self) -> None:
        """Kill the raylet, as the loss of a machine does: without a word to anybody."""
        self.processes()[0].send_signal(signal.SIGKILL)


@contextmanager
def node(
    cluster: str | None = None,
    *,
    cpus: int,
    gpus: int = 0,
    network: Network = HERE,
    resources: Mapping[str, float] | None = None,
    labels: Mapping[str, str] | None = None,
    jobs: Path | None = None,
    **environment: str,
) -> Iterator[Node]:
    """A node of the cluster at this address, or the head of a new one; what is left of it in the end is ended by pid.

    A head takes jobs if it is given an interpreter that has Ray's dashboard.
    """
    directory = Path(tempfile.mkdtemp(prefix="abel-node-"))
    joining = ("--head", "--port=0", "--include-dashboard=false") if cluster is None else (f"--address={cluster}",)
    if jobs is not None:
        dashboard = (f"--dashboard-host={network.address}", f"--dashboard-port={DASHBOARD_PORT}")
        joining = ("--head", f"--port={PORT}", *dashboard)
    command = [
        *(*network.entry, str(jobs or sys.executable), "-m", "ray.scripts.scripts", "start", *joining),
        *(f"--node-ip-address={network.address}", f"--num-cpus={cpus}", f"--temp-dir={directory}"),
        *("--dashboard-agent-listen-port=0", "--object-store-memory=80000000", "--disable-usage-stats"),
        f"--num-gpus={gpus}",
        f"--resources={json.dumps(dict(resources or {}))}",
    ]
    environment |= {"RAY_OVERRIDE_LABELS": json.dumps(dict(labels))} if labels else {}
    with cleaned(directory):
        log = directory / "start.log"
        with log.open("wb") as file:
            started = subprocess.run(
                command, cwd=directory, env=os.environ | environment, stdout=file, stderr=file, timeout=START_SECONDS
            )
        assert started.returncode == 0, log.read_text()
        yield Node(cluster or (directory / "ray_current_cluster").read_text(), directory)


def _at_work(directory: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if any(str(directory) in part for part in process.cmdline()):
                yield process
        except psutil.Error:
            continue
