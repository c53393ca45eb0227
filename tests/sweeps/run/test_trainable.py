"""A worker as Ray runs it: a process of its own that a signal reaches."""

import os
import pickle
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import ray
from bitwise import bits, bits_of
from ray.actor import ActorHandle
from ray.exceptions import RayActorError
from waiting import wait_for

from abel.schedules import Constant
from sweeps.processes.job import Options
from sweeps.run.failures import FailureClass
from sweeps.run.ray_cluster import ray_cluster
from sweeps.run.trainable import CohortTrainable, Payload, WorkerSettings
from workers.checkpoints import Checkpoints
from workers.cohort import train
from workers.config import Program
from workers.fold import Member
from workers.reports import Cohort, Record, Saved
from workers.workshop import Workshop

# Ray starts its helpers by fork and exec; in the product no JAX backend runs beside the driver, here the oracle's does.
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")]

GRACE_SECONDS = 30  # what a cloud gives between its notice and the end


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A local Ray with room for one worker."""
    cache = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    options = Options(checkpoints=tmp_path_factory.mktemp("checkpoints"), cache=cache, workers=1)
    with patch.dict(os.environ), ray_cluster(options, leave=lambda: None):
        yield


@pytest.fixture
def cohort(tiny_program: Program, tmp_path: Path) -> Cohort:
    """One trial that is long enough to be met in training at any time."""
    identity = Workshop(checkpoints=tmp_path / "unused", data_dir=None).identity(tiny_program)
    member = Member(trial="long", schedule=Constant(learning_rate=0.01))
    return Cohort(program=tiny_program, identity=identity, seed=0, epochs=100_000, members=(member,))


@pytest.fixture
def worker(cluster: None, tmp_path: Path, cohort: Cohort) -> ActorHandle:
    """An actor that would answer after minutes only, and saves after every epoch."""
    settings = WorkerSettings(
        checkpoints=tmp_path / "checkpoints",
        store=None,
        data_dir=None,
        save_every_seconds=0.0,
        report_every_seconds=600.0,
        allow_nondeterminism=False,
    )
    return ray.remote(CohortTrainable).remote(
        config={"cohort": Payload.of(cohort), "settings": settings, "lingers": False}
    )


def records(reports: Iterable[object]) -> list[Any]:
    return [report for report in reports if isinstance(report, Record)]


def test_a_worker_told_to_leave_ends_its_epoch_and_saves(worker: ActorHandle, cohort: Cohort, tmp_path: Path) -> None:
    pid = ray.get(worker.__ray_call__.remote(lambda _: os.getpid()))
    answer = worker.train.remote()
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    while len(checkpoints.sizes()) < 3:
        time.sleep(0.05)
    told = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    result = ray.get(answer, timeout=120)
    assert time.monotonic() - told < GRACE_SECONDS
    assert (result["preempted"], result["failure_class"]) == (True, FailureClass.PREEMPTED)

    trained, last = records(result["reports"]), result["reports"][-1]
    assert isinstance(last, Saved)
    assert (last.key, last.epoch) == (trained[-1].key, trained[-1].epoch)
    assert checkpoints.intact(last.key)
    alone = Workshop(checkpoints=tmp_path / "alone", data_dir=None)
    undisturbed = records(islice(train(cohort, alone), len(trained) + 1))
    assert bits_of(trained) == bits_of(undisturbed[:-1])

    told = replace(cohort, observations=tuple(record.observation for record in trained))
    following = next(train(told, Workshop(checkpoints=tmp_path / "checkpoints", data_dir=None)))
    assert not following.replay
    assert bits(following.metrics) == bits(undisturbed[-1].metrics)

    with pytest.raises(RayActorError):
        ray.get(worker.train.remote(), timeout=60)


def test_a_worker_that_was_told_to_leave_takes_no_cohort_up(worker: ActorHandle, tmp_path: Path) -> None:
    ray.get(worker.__ray_call__.remote(lambda _: os.kill(os.getpid(), signal.SIGTERM)))
    result = ray.get(worker.train.remote(), timeout=60)
    assert (result["preempted"], result["reports"]) == (True, [])
    assert Checkpoints(tmp_path / "checkpoints").sizes() == {}
    with pytest.raises(RayActorError):
        ray.get(worker.train.remote(), timeout=60)


def test_what_a_program_raises_is_an_answer_with_its_class(worker: ActorHandle, cohort: Cohort) -> None:
    foreign = replace(cohort.identity, numerics={**cohort.identity.numerics, "threads": "64"})
    settings = ray.get(worker.__ray_call__.remote(lambda self: self.config["settings"]))
    config = {"cohort": Payload.of(replace(cohort, identity=foreign)), "settings": settings, "lingers": False}
    assert ray.get(worker.reset.remote(config))
    result = ray.get(worker.train.remote(), timeout=60)
    assert (result["done"], result["failure_class"]) == (True, FailureClass.USER)
    assert result["failure"].startswith("WorkerMismatch: ")


def test_a_cohort_that_tune_pickles_into_a_file_is_freed(worker: ActorHandle, cohort: Cohort) -> None:
    def held() -> set[Any]:
        return set(ray._private.worker.global_worker.core_worker.get_all_reference_counts())

    # By name: Ray frees what earlier tests held when it gets to it.
    before, payload = held(), Payload.of(cohort)
    (ours,) = held() - before
    left_out = pickle.loads(pickle.dumps(payload))
    assert ray.get(worker.__ray_call__.remote(lambda _, sent: sent.get(), payload), timeout=60) == cohort
    del payload
    wait_for(lambda: ours not in held())  # Ray hands over a result before it releases arguments
    with pytest.raises(ValueError, match="object refs"):
        left_out.get()
