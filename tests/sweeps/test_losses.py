"""What Ray says of a lost worker becomes a class and a line."""

import pytest
from ray.exceptions import ActorDiedError, NodeDiedError, OutOfMemoryError

from sweeps import kernel
from sweeps.failures import FailureClass
from sweeps.losses import Loss, Losses, WorkerLost

MONITOR = """
OOM kill reason: Memory usage 5984366592B exceeded threshold of 5686112256B (22.5% of 25325268992B limit)
Selected to kill: (Actor(0f): job ID=01, task name=T.__init__, pid=8894, actual memory used=1.61GB, worker ID=26)
(Actor(32): job ID=01, task name=T.__init__, pid=8862, actual memory used=3.00GB, worker ID=84)
"""


def test_the_figures_are_those_of_the_machine_and_of_the_worker_that_was_lost():
    loss = Loss(WorkerLost(OutOfMemoryError(MONITOR)), "32")
    assert loss.failure is FailureClass.OUT_OF_MEMORY
    assert str(loss) == (
        "out of memory: 5.6 GiB of 23.6 GiB were in use, and the threshold is 5.3 GiB; the worker had 3.0 GiB"
    )


def test_what_ray_puts_otherwise_keeps_its_class():
    assert Loss(WorkerLost(OutOfMemoryError("Memory is low. Sorry.")), "32").failure is FailureClass.OUT_OF_MEMORY
    assert Loss(WorkerLost(NodeDiedError("its node died")), "32").failure is FailureClass.INFRASTRUCTURE
    assert str(Loss(WorkerLost(NodeDiedError("its node died. Bye.")), "32")) == "a worker was lost: its node died"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine whose kernel counts in the places that it has, by version of control groups."""
    monkeypatch.setattr(kernel, "SYSTEM", tmp_path)

    def count(place, kills, groups="0::/job"):
        for file, text in (("proc/self/cgroup", groups), (place, f"oom 7\noom_kill {kills}\noom_group_kill 3\n")):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(text)

    return count


@pytest.mark.parametrize(
    ("place", "groups"),
    [
        ("proc/vmstat", ""),
        ("sys/fs/cgroup/job/memory.events", "0::/job"),
        ("sys/fs/cgroup/memory/job/memory.oom_control", "4:cpu,cpuacct:/\n3:memory:/job"),
    ],
)
def test_a_worker_that_died_when_the_kernel_killed_one_ran_out_of_memory(machine, place, groups):
    machine(place, 2, groups)
    losses = Losses()
    with losses.dealt_with(ActorDiedError(), "32"):
        assert losses.current.failure is FailureClass.INFRASTRUCTURE
    machine(place, 3, groups)
    with losses.dealt_with(ActorDiedError(), "32"):
        assert losses.current.failure is FailureClass.OUT_OF_MEMORY
        assert str(losses.current) == "out of memory: the kernel killed the worker"
    with losses.dealt_with(ActorDiedError(), "32"):
        assert losses.current.failure is FailureClass.INFRASTRUCTURE
    assert losses.current is None
