"""What Ray says of a lost worker becomes a class and a line."""

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import pytest
import ray
from ray.exceptions import ActorDiedError, NodeDiedError, OutOfMemoryError

from sweeps.processes import memory
from sweeps.run import losses, trainable
from sweeps.run.failures import FailureClass
from sweeps.run.losses import Loss, Losses, WorkerLost, Workforce
from sweeps.run.trainable import CohortTrainable, Payload, WorkerSettings

MONITOR = """
OOM kill reason: Memory usage 5984366592B exceeded threshold of 5686112256B (22.5% of 25325268992B limit)
Selected to kill: (Actor(0f): job ID=01, task name=T.__init__, pid=8894, actual memory used=1.61GB, worker ID=26)
(Actor(32): job ID=01, task name=T.__init__, pid=8862, actual memory used=3.00GB, worker ID=84)
"""


def test_the_figures_are_of_the_machine_and_the_lost_worker() -> None:
    loss = Loss(WorkerLost(OutOfMemoryError(MONITOR)), "32")
    assert loss.failure is FailureClass.OUT_OF_MEMORY
    assert str(loss) == (
        "out of memory: 5.6 GiB of 23.6 GiB were in use, and the threshold is 5.3 GiB; the worker had 3.0 GiB"
    )


def test_what_ray_puts_otherwise_keeps_its_class() -> None:
    assert Loss(WorkerLost(OutOfMemoryError("Memory is low. Sorry.")), "32").failure is FailureClass.OUT_OF_MEMORY
    assert Loss(WorkerLost(NodeDiedError("its node died")), "32").failure is FailureClass.INFRASTRUCTURE
    assert str(Loss(WorkerLost(NodeDiedError("its node died. Bye.")), "32")) == "a worker was lost: its node died"


@dataclass(frozen=True)
class Machine:
    """A machine whose kernel counts in the places that it has, by version of control groups."""

    root: Path

    def write(self, file: str, text: str) -> None:
        (self.root / file).parent.mkdir(parents=True, exist_ok=True)
        (self.root / file).write_text(text)

    def count(self, place: str, kills: int, groups: str = "0::/job") -> None:
        """Let the kernel have killed so many processes."""
        self.write("proc/self/cgroup", groups)
        self.write(place, f"oom 7\noom_kill {kills}\noom_group_kill 3\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(memory, "SYSTEM", tmp_path)
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("place", "groups"),
    [
        ("proc/vmstat", ""),
        ("sys/fs/cgroup/job/memory.events", "0::/job"),
        ("sys/fs/cgroup/memory.events", "0::/seen/from/outside"),
        ("sys/fs/cgroup/memory/job/memory.oom_control", "4:cpu,cpuacct:/\n3:memory:/job"),
    ],
)
def test_a_worker_that_died_when_the_kernel_killed_one_ran_out_of_memory(
    machine: Machine, place: str, groups: str
) -> None:
    machine.count(place, 2, groups)
    heard = Losses()
    with heard.dealt_with(ActorDiedError(), "32"):
        assert heard.current.failure is FailureClass.INFRASTRUCTURE
    machine.count(place, 3, groups)
    with heard.dealt_with(ActorDiedError(), "32"):
        assert heard.current.failure is FailureClass.OUT_OF_MEMORY
        figures = r"memory in use: \d+\.\d GiB of \d+\.\d GiB"
        assert re.fullmatch(f"out of memory: the kernel killed the worker; {figures}", str(heard.current))
    with heard.dealt_with(ActorDiedError(), "32"):
        assert heard.current.failure is FailureClass.INFRASTRUCTURE
    assert heard.current is None


def test_kills_outside_the_control_group_of_a_worker_explain_no_loss(machine: Machine) -> None:
    machine.count("sys/fs/cgroup/job/memory.events", 2)
    machine.count("proc/vmstat", 2)
    heard = Losses()
    machine.count("proc/vmstat", 3)
    with heard.dealt_with(ActorDiedError(), "32"):
        assert heard.current.failure is FailureClass.INFRASTRUCTURE


def test_a_kill_of_long_ago_explains_no_loss_and_one_of_a_moment_ago_does(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.count("proc/vmstat", 2, "")
    now = 0.0
    monkeypatch.setattr(losses, "time", SimpleNamespace(monotonic=lambda: now))
    heard = Losses()
    machine.count("proc/vmstat", 3, "")
    now += losses.RECENT_SECONDS
    heard.look()
    with heard.dealt_with(ActorDiedError(), "32"):
        assert heard.current.failure is FailureClass.OUT_OF_MEMORY
    machine.count("proc/vmstat", 4, "")
    for _ in range(2):
        now += losses.RECENT_SECONDS
        heard.look()
    with heard.dealt_with(ActorDiedError(), "32"):
        assert heard.current.failure is FailureClass.INFRASTRUCTURE


def test_the_limit_of_a_control_group_is_what_there_is(machine: Machine) -> None:
    machine.count("sys/fs/cgroup/job/memory.events", 0)
    machine.write("sys/fs/cgroup/job/memory.current", f"{3 * 2**28}\n")
    machine.write("sys/fs/cgroup/job/memory.max", f"{2**30}\n")
    assert memory.in_use() == "memory in use: 0.8 GiB of 1.0 GiB"
    machine.write("sys/fs/cgroup/job/memory.max", "max\n")
    assert memory.memory()[1] == memory.psutil.virtual_memory().total


def test_the_last_worker_waits_a_while_for_a_second_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(losses, "time", SimpleNamespace(monotonic=lambda: now))
    workforce = Workforce()
    workforce.expect(2)
    workforce.join("a")
    assert workforce.is_starting
    workforce.join("b")
    assert not workforce.is_starting
    workforce.lose("a")
    assert workforce.is_starting
    now += 15
    assert not workforce.is_starting


@pytest.mark.parametrize(("took", "waits"), [(2, 15), (12, 36), (300, 60)])
def test_slow_starts_make_the_wait_for_a_second_worker_longer(
    monkeypatch: pytest.MonkeyPatch, took: int, waits: int
) -> None:
    now = 0.0
    monkeypatch.setattr(losses, "time", SimpleNamespace(monotonic=lambda: now))
    workforce = Workforce()
    workforce.expect(2)
    now += took
    workforce.join("a")
    workforce.join("b")
    now += 1000
    workforce.lose("a")
    now += waits - 1
    assert workforce.is_starting
    now += 1
    assert not workforce.is_starting
    workforce.join("c")
    workforce.lose("b")
    now += waits
    assert not workforce.is_starting


def test_workers_that_never_start_are_not_waited_for_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(losses, "time", SimpleNamespace(monotonic=lambda: now))
    workforce = Workforce(up={"a"})
    workforce.expect(2)
    now += 15
    workforce.lose("died while it started")
    assert not workforce.is_starting


def test_nobody_waits_where_there_is_room_for_one_worker() -> None:
    workforce = Workforce(up={"a"})
    workforce.expect(1)
    assert not workforce.is_starting


@pytest.fixture
def _process_as_before() -> Iterator[None]:
    mask, handler = os.umask(0o077), signal.getsignal(signal.SIGTERM)
    yield
    os.umask(mask)
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.usefixtures("_process_as_before")
@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (MemoryError("no room for\n3 numbers"), ""),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no room for\n3 numbers"), trainable.LESS_MEMORY),
    ],
)
def test_a_worker_whose_memory_is_short_answers_with_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, remedy: str
) -> None:
    def train(*_: object) -> Iterator[Any]:
        yield from ()
        raise error

    monkeypatch.setattr(trainable, "train", train)
    monkeypatch.setattr(ray, "get", lambda cohort: cohort)
    settings = WorkerSettings(
        checkpoints=tmp_path,
        store=None,
        data_dir=None,
        save_every_seconds=1.0,
        report_every_seconds=1.0,
        allow_nondeterminism=False,
    )
    answer = CohortTrainable(config={"cohort": Payload(None), "settings": settings, "lingers": False}).step()
    assert (answer["failure_class"], answer["done"]) == (FailureClass.OUT_OF_MEMORY, True)
    first, second, *_ = answer["failure"].splitlines()
    figures = r"\(memory in use: \d+\.\d GiB of \d+\.\d GiB; the worker has \d+\.\d GiB\)"
    assert re.fullmatch(f"{type(error).__name__}: .*no room for {figures}{remedy}", first)
    assert second == "3 numbers"
