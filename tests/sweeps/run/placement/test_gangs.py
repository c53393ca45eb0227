"""A gang of two processes on one machine: each trains the other's steps, and neither outlives the other."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import pytest
import ray
from bitwise import bits_of
from ray.actor import ActorHandle
from ray.exceptions import RayActorError
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from abel.schedules import Constant
from sweeps.processes.job import Options
from sweeps.run.failures import FailureClass
from sweeps.run.ray_cluster import ray_cluster
from sweeps.run.trainable import CohortTrainable, Payload, WorkerSettings
from workers.checkpoints import Checkpoints
from workers.config import Program
from workers.fold import Member
from workers.reports import Cohort, Record
from workers.workshop import Workshop

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")]

HOSTS = 2
PATIENCE_SECONDS = 120

Gang = Callable[[Cohort, Path], AbstractContextManager[ActorHandle]]


@pytest.fixture(scope="module")
def gang_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gang]:
    """The leader of a gang on a local Ray, whose processes share its one node."""
    cache = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    options = Options(checkpoints=tmp_path_factory.mktemp("checkpoints"), cache=cache, workers=HOSTS)

    @contextmanager
    def gang(cohort: Cohort, checkpoints: Path) -> Iterator[ActorHandle]:
        group = ray.util.placement_group([{"CPU": 1}] * HOSTS)
        settings = replace(
            WorkerSettings.of(options),
            checkpoints=checkpoints,
            hosts=HOSTS,
            save_every_seconds=0.0,
            report_every_seconds=600.0,
        )
        config = {"cohort": Payload.of(cohort), "settings": settings, "lingers": False}
        here = PlacementGroupSchedulingStrategy(group, 0, placement_group_capture_child_tasks=True)
        leader = ray.remote(CohortTrainable).options(num_cpus=1, scheduling_strategy=here)
        try:
            yield leader.remote(config=config)
        finally:
            ray.util.remove_placement_group(group)

    with patch.dict(os.environ), ray_cluster(options, leave=lambda: None):
        yield gang


@pytest.fixture
def cohort(tiny_program: Program, tmp_path: Path) -> Cohort:
    """One trial, as a sweep with workers of two hosts has it; long enough to be met in training at any time."""
    identity = Workshop(checkpoints=tmp_path / "unused", data_dir=None).identity(tiny_program).over(HOSTS)
    member = Member(trial="long", schedule=Constant(learning_rate=0.05))
    return Cohort(program=tiny_program, identity=identity, seed=0, epochs=100_000, members=(member,))


def records(result: dict[str, Any]) -> list[Record]:
    return [report for report in result["reports"] if isinstance(report, Record)]


def processes(name: str) -> list[psutil.Process]:
    """Ray's workers on this machine that run a class of this name."""
    found = psutil.Process().children(recursive=True)
    return [process for process in found if f"ray::{name}" in " ".join(process.cmdline())]


def test_a_gang_that_loses_a_process_ends_and_another_trains_on_with_the_same_bits(gang_of, cohort, tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    with gang_of(cohort, tmp_path / "checkpoints") as leader:
        answer = leader.train.remote()
        until = time.monotonic() + PATIENCE_SECONDS
        while len(checkpoints.sizes()) < 3:
            assert time.monotonic() < until
            time.sleep(0.05)
        (peer,) = processes("Peer")
        peer.kill()
        broken = ray.get(answer, timeout=PATIENCE_SECONDS)
        assert (broken["done"], broken["failure_class"]) == (False, FailureClass.INFRASTRUCTURE)
        assert broken["failure"].startswith("PeerLost: a process of the gang was lost: The actor is dead because")
        with pytest.raises(RayActorError):
            ray.get(leader.train.remote(), timeout=PATIENCE_SECONDS)
    trained = records(broken)
    rest = replace(cohort, observations=tuple(one.observation for one in trained), epochs=len(trained) + 2)
    with gang_of(rest, tmp_path / "checkpoints") as leader:
        trained += records(ray.get(leader.train.remote(), timeout=PATIENCE_SECONDS))
        settings = ray.get(leader.__ray_call__.remote(lambda self: self.config["settings"]))
        config = {"cohort": Payload.of(replace(rest, observations=())), "settings": settings, "lingers": False}
        assert ray.get(leader.reset.remote(config), timeout=PATIENCE_SECONDS)
        undisturbed = records(ray.get(leader.train.remote(), timeout=PATIENCE_SECONDS))
    assert bits_of([one for one in trained if not one.replay]) == bits_of(undisturbed)
