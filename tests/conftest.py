"""Every test has a home, an `ABEL_HOME` and a Ray directory of its own, no outside settings, and leaves no process."""

import atexit
import contextlib
import gc
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoints
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import psutil
import pytest

if TYPE_CHECKING:
    from stories import Story

    from workers.config import Program

# Before anything imports JAX, which reads these when it starts. Child processes inherit them, and the mark.
MARK = ("ABEL_TEST_SESSION", uuid.uuid4().hex)
os.environ.update(
    {
        MARK[0]: MARK[1],
        "JAX_PLATFORMS": "cpu",
        "NPROC": "1",
        "MPLBACKEND": "Agg",
        "RAY_USAGE_STATS_ENABLED": "0",
        # Ray's workers are at 15: beside other tests they would get next to no CPU time, and their tests wait for them.
        "RAY_worker_niceness": "0",
    }
)

# Looking for cycles among a million objects takes up to a tenth of the tests' time.
gc.set_threshold(100_000, 20, 100)

# Else each process of the run would compile our modules again, which takes up to a tenth of its start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# What one process of the run has compiled, the others take from here. A test that compares what two of them compile makes
# its own. An entry that is being written, or was when its writer was killed, is compiled again.
if "PYTEST_XDIST_WORKER" not in os.environ:
    COMPILED = Path(tempfile.mkdtemp(prefix="abel-compiled-"))
    atexit.register(shutil.rmtree, COMPILED, ignore_errors=True)
    os.environ |= {"JAX_COMPILATION_CACHE_DIR": str(COMPILED), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"}
COMPILED = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])

# An example may take as long as it does: a busy machine is no fault of the code's.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

OUTSIDE = ("ABEL_", "MLFLOW_TRACKING_URI", "RAY_ADDRESS", "TFDS_DATA_DIR")  # names that start so
GRACE_SECONDS = 10
PATIENCE_SECONDS = 180


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to `make chaos` what it alone runs; files with slow tests come first, so that none of these is the last.

    Of those, files that wait for Ray and files that compute take turns: run side by side, each kind has what the other leaves.
    """
    if "CHAOS_SEEDS" not in os.environ:
        later = pytest.mark.skip(reason="takes minutes; `make chaos` runs it")
        for item in items:
            if item.get_closest_marker("chaos"):
                item.add_marker(later)
    slow, ray = (
        dict.fromkeys(item.path for item in items if item.get_closest_marker(name)) for name in ("slow", "ray")
    )
    kinds = [path for path in slow if path in ray], [path for path in slow if path not in ray]
    turns = {path: number / len(kind) for kind in kinds for number, path in enumerate(kind)}
    items.sort(key=lambda item: turns.get(item.path, 1.0))


def _ours() -> list[psutil.Process]:
    """Live processes that descend from this test run, also those whose parent has died."""
    found = {process.pid: process for process in psutil.Process().children(recursive=True)}
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(MARK[0]) == MARK[1]:
                found[process.pid] = process
        except (psutil.Error, OSError):  # another user's, or gone meanwhile
            continue
    return [process for process in found.values() if _counts(process)]


def _counts(process: psutil.Process) -> bool:
    try:
        # Python's own bookkeeper of shared memory lives as long as the process that first needed it.
        tracker = any("multiprocessing.resource_tracker" in part for part in process.cmdline())
        return process.status() != psutil.STATUS_ZOMBIE and not tracker
    except psutil.Error:
        return False


def _reap(grace_seconds: float) -> list[str]:
    """Wait for our processes to end, kill by pid those that do not; return these as text."""
    _, alive = psutil.wait_procs(_ours(), timeout=grace_seconds)
    left = []
    for process in alive:
        try:
            left.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=GRACE_SECONDS)
    return left


@pytest.fixture
def reap() -> Callable[[], list[str]]:
    """For tests that kill a command: ends at once, by pid, whatever its death left running."""
    return lambda: _reap(0)


@pytest.fixture(scope="module", autouse=True)
def no_process_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Set up first in a module, so checked after the module's other fixtures have cleaned up."""
    yield
    left = _reap(GRACE_SECONDS)
    assert not left, f"{request.node.nodeid} left processes running (ended now): {left}"


@pytest.fixture(scope="session")
def font_cache() -> Iterator[Path]:
    """Matplotlib looks through the fonts once a session, not once a process and home."""
    with tempfile.TemporaryDirectory(prefix="abel-fonts-") as directory:
        yield Path(directory)


@pytest.fixture(autouse=True)
def own_directories(font_cache: Path) -> Iterator[Path]:
    """A directory with `home`, `ray` and, for ABEL_HOME, `abel` (not made yet); the environment is put back after."""
    before = dict(os.environ)
    root = Path(tempfile.mkdtemp(prefix="abel-"))  # tmp_path is too long: a socket of Ray's has 107 bytes for its path
    for name in ("home", "ray"):
        (root / name).mkdir()
    for name in [name for name in os.environ if name.startswith(OUTSIDE) and name != MARK[0]]:
        del os.environ[name]
    os.environ.update(
        {
            "HOME": str(root / "home"),
            "ABEL_HOME": str(root / "abel"),
            "RAY_TMPDIR": str(root / "ray"),
            "MPLCONFIGDIR": str(font_cache),
            "ABEL_CACHE_DIR": str(COMPILED),
        }
    )
    yield root
    os.environ.clear()
    os.environ.update(before)
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def abel_home(own_directories: Path) -> Path:
    """This test's ABEL_HOME."""
    return own_directories / "abel"


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Ask the operating system for a port that nobody listens on."""

    def ask() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port

    return ask


@dataclass
class Running:
    """A command under way."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        """What it has printed."""
        return self.log.read_text()

    def wait_for(self, happened: Callable[[], object]) -> None:
        """Wait until something is so, at most three minutes; the command may not end before."""
        until = time.monotonic() + PATIENCE_SECONDS
        while not happened():
            assert self.process.poll() is None and time.monotonic() < until, self.said
            time.sleep(0.05)

    def wait_for_end(self, code: int = 0) -> None:
        """Wait until it ends with that exit code."""
        assert self.process.wait(PATIENCE_SECONDS) == code, self.said


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start a command, with more environment; it ends with the test at the latest."""
    with contextlib.ExitStack() as started:

        def begin(command: list[str], **environment: str) -> Running:
            log = tmp_path / f"log-{uuid.uuid4().hex[:8]}"
            output = started.enter_context(log.open("wb"))
            process = subprocess.Popen(command, env=os.environ | environment, stdout=output, stderr=output)
            started.callback(process.wait)
            started.callback(process.kill)
            return Running(process, log)

        yield begin


RUNNER = """
import sys
from sweeps.ledger.ledger import Ledger

ledger = Ledger.open(sys.argv[1])
print(ledger.begin_invocation(sys.argv[2]), flush=True)
for line in sys.stdin:
    try:
        ledger.renew_lease(sys.argv[2], int(line))
        print("renewed", flush=True)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)
"""


@dataclass
class Runner:
    """Another process that has taken a sweep; it writes only when told to."""

    process: subprocess.Popen[str]
    invocation: int

    def renew(self) -> str:
        """Have it renew its lease; what it says."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{self.invocation}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


@pytest.fixture
def another_process() -> Iterator[Callable[[str, str], Runner]]:
    """Start a process that takes the sweep with this id in the ledger at this URL."""
    with contextlib.ExitStack() as started:

        def start(url: str, sweep_id: str) -> Runner:
            command = [sys.executable, "-c", RUNNER, url, sweep_id]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            started.enter_context(process)
            started.callback(process.kill)
            assert process.stdout is not None
            return Runner(process, int(process.stdout.readline()))

        yield start


@pytest.fixture(scope="session")
def tiny_program() -> "Program":
    """A classification that trains an epoch in milliseconds, with everything random that a pipeline can draw."""
    from sweeps.spec.programs import program_from_dict

    return program_from_dict(
        {
            "task": "classify",
            "model": {"kind": "small_cnn", "width": 4, "dropout": 0.1},
            "data": {"kind": "digit_pairs", "train": 96, "test": 40},
            "optimizer": {"kind": "sgd", "momentum": 0.9},
            "augment": {"flip": True, "crop": 2},
            "l2": 0.001,
            "batch_size": 16,
            "clip": 5.0,
        }
    )


@pytest.fixture
def story(tmp_path: Path) -> Iterator["Story"]:
    from stories import Story

    from sweeps.ledger.ledger import Ledger

    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield Story(ledger)
    ledger.close()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database that was initialised once: its migrations take seconds."""
    from services.tracking.runs import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments(max_results=1)
    return path


@pytest.fixture
def tracking_uri(tmp_path: Path, empty_store: Path) -> str:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def uninstall(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """What takes every plug-in away, ours too, until the test ends."""
    from sweeps.spec import programs
    from workers import plugins

    def take_away() -> None:
        monkeypatch.setattr(plugins, "entry_points", EntryPoints)
        programs.forget()

    yield take_away
    monkeypatch.undo()
    programs.forget()
