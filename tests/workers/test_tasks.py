"""What tasks promise of their states: the same bits after a kill at any moment, and with sharing on and off.

Image classification has its own tests, in `test_cohort` and `test_streamed`. KILL_SEED chooses the moments of an earlier run.
"""

import os
import pickle
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import jax
import pytest
from bitwise import bits_of
from small_tasks import SMALL_TASKS
from waiting import wait_for

from abel.schedules import SCHEDULES
from workers.cohort import train
from workers.config import Program
from workers.fold import Member
from workers.randomness import epoch_key
from workers.reports import Cohort, Forked, Partway, Record, Saved
from workers.workshop import Workshop

SEED = 3
LATER = 2  # epochs that are trained after a kill
PATIENCE_SECONDS = 600  # for a process to start, on a machine that has other work
MOST = 10_000  # epochs, more than a process trains before it is killed
# A rate of its own for every step: one that is trained twice, or left out, changes all numbers.
LINEAR = Member(trial="linear", schedule=SCHEDULES["linear"](learning_rate=0.02, epochs=MOST))


@pytest.fixture(params=SMALL_TASKS, scope="module")
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Program, Path]:
    """A program and the directory of its data."""
    directory = tmp_path_factory.mktemp(request.param)
    return SMALL_TASKS[request.param](directory), directory


def cohort_of(program: Program, workshop: Workshop, *members: Member, epochs: int, **fields: Any) -> Cohort:
    identity = workshop.identity(program)
    return Cohort(program=program, identity=identity, seed=SEED, epochs=epochs, members=members, **fields)


def records(reports: Iterable[object], *, replay: bool = False) -> list[Record]:
    return [report for report in reports if isinstance(report, Record) and report.replay is replay]


def observations(recorded: Iterable[Record]) -> Any:
    return tuple(record.observation for record in recorded)


def place_of(report: Any) -> tuple[int, float]:
    """How far training was at a report: the epoch, and the steps of it."""
    return report.epoch, report.step if isinstance(report, Partway) else inf


def state_at(workshop: Workshop, program: Program, key: str) -> list[tuple[str, str, bytes]]:
    """The saved state, leaf by leaf: weights, slots, the place in the texts or in the games."""
    state = workshop.checkpoints.restore(key, like=workshop.training(program).init(epoch_key(SEED, 0)))
    leaves, structure = jax.tree.flatten(jax.device_get(state))
    return [(str(structure), f"{leaf.dtype}{leaf.shape}", leaf.tobytes()) for leaf in leaves]


TRAINED = """
import pickle, sys
from workers.cohort import train
from workers.workshop import Workshop

with open(sys.argv[1], "rb") as given:
    cohort, settings = pickle.load(given)
with open(sys.argv[2], "ab", buffering=0) as log:
    for report in train(cohort, Workshop(**settings)):
        log.write(pickle.dumps(report))
"""


def reports_in(file: Path) -> list[Any]:
    """The reports that a process has written, without one that its death has cut off."""
    found: list[Any] = []
    with file.open("rb") as written:
        while True:
            try:
                found.append(pickle.load(written))
            except (EOFError, pickle.UnpicklingError):
                return found


def killed(cohort: Cohort, folder: Path, data_dir: Path, start: Callable[..., Any], draw: random.Random) -> list[Any]:
    """Train in a process of its own, saving whenever it can, and kill it; return what it had reported."""
    given, log, count = folder.with_suffix(".given"), folder.with_suffix(".log"), draw.randint(3, 8)
    given.write_bytes(pickle.dumps((cohort, {"checkpoints": folder, "data_dir": data_dir, "save_every_seconds": 0.0})))
    log.touch()
    running = start([sys.executable, "-c", TRAINED, str(given), str(log)])
    wait_for(lambda: running.process.poll() is not None or len(reports_in(log)) >= count, PATIENCE_SECONDS)
    time.sleep(draw.uniform(0, 0.2))  # into a stretch, an evaluation or a save
    running.process.kill()
    assert running.process.wait() == -signal.SIGKILL, running.said
    return reports_in(log)


@pytest.mark.slow
def test_a_process_killed_at_any_moment_goes_on_with_the_same_bits(
    small: tuple[Program, Path], tmp_path: Path, start: Callable[..., Any]
) -> None:
    seed = int(os.environ.get("KILL_SEED", time.time_ns() % 2**32))
    print(f"KILL_SEED={seed}")
    program, data_dir = small
    undisturbed = Workshop(checkpoints=tmp_path / "undisturbed", data_dir=data_dir)
    begun = cohort_of(program, undisturbed, LINEAR, epochs=MOST)
    left = killed(begun, tmp_path / "killed", data_dir, start, random.Random(seed))
    recorded = records(left)
    epochs = len(recorded) + LATER
    again = Workshop(checkpoints=tmp_path / "killed", data_dir=data_dir)
    rest = list(train(replace(begun, epochs=epochs, observations=observations(recorded)), again))

    expected = records(train(replace(begun, epochs=epochs), undisturbed))
    assert bits_of(recorded) + bits_of(records(rest)) == bits_of(expected)
    replayed = records(rest, replay=True)
    assert bits_of(replayed) == bits_of(recorded)[len(recorded) - len(replayed) :]
    saved = max(place_of(report) for report in left if isinstance(report, Saved | Partway))
    assert min(place_of(report) for report in rest if isinstance(report, Record | Partway)) > saved
    last = expected[-1].key
    assert state_at(again, program, last) == state_at(undisturbed, program, last)


def test_trials_have_the_same_bits_with_sharing_on_and_off(small: tuple[Program, Path], tmp_path: Path) -> None:
    program, data_dir = small
    workshop = Workshop(checkpoints=tmp_path, data_dir=data_dir)
    constant = Member(trial="constant", schedule=SCHEDULES["constant"](learning_rate=0.02))
    decays = Member(trial="decays", schedule=SCHEDULES["decay_at"](learning_rate=0.02, decay_factor=0.1, decay_epoch=1))
    together = cohort_of(program, workshop, constant, decays, epochs=3)
    first = list(train(together, workshop))
    ((away,),) = next(report.siblings for report in first if isinstance(report, Forked))
    common = records(first)[:1]
    shared = {}
    for member in (constant, decays):
        if member.trial == away:
            late = replace(together, members=(member,), observations=observations(common))
            second = list(train(late, workshop))
            assert not records(second, replay=True)
            shared[member.trial] = [*common, *records(second)]
        else:
            shared[member.trial] = records(first)
    for member in (constant, decays):
        alone = records(train(replace(together, members=(member,), salt=member.trial), workshop))
        assert bits_of(shared[member.trial]) == bits_of(alone)
        keys = shared[member.trial][-1].key, alone[-1].key
        assert keys[0] != keys[1]
        one, other = (state_at(workshop, program, key) for key in keys)
        assert one == other
