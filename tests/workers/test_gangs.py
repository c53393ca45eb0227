"""The steps of a gang, with leader and peer in one process, where each has a training of its own."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from bitwise import bits_of

from abel.schedules import Constant
from workers.cohort import train
from workers.config import Program
from workers.data.digits import DigitPairs
from workers.fold import Member
from workers.gangs.lockstep import Follower, JointStep, Leader
from workers.models.small_cnn import SmallCnn
from workers.optimizers.sgd import Sgd
from workers.reports import Cohort, Partway, Record
from workers.tasks.classify import Classify, ClassifyProgram
from workers.workshop import Workshop

PROGRAM = ClassifyProgram(
    task=Classify(save_every_steps=2),
    model=SmallCnn(width=2),
    data=DigitPairs(train=64, test=20),
    optimizer=Sgd(momentum=0.9),
    batch_size=16,
)


class Pair:
    """A leader whose peer takes each step before it does, and the states that it sent."""

    def __init__(self, checkpoints: Path) -> None:
        self.follower = Follower(Workshop(checkpoints=checkpoints, data_dir=None).training)
        self.leader = Leader(self.tell)
        self.told: list[JointStep] = []
        self.workshop = Workshop(checkpoints=checkpoints, data_dir=None, save_every_seconds=0.0, led=self.leader.led)

    def tell(self, step: JointStep) -> None:
        self.told.append(step)
        self.follower.take(step)

    @property
    def sent(self) -> list[str]:
        """The names of the steps for which a state was sent."""
        return [step.name for step in self.told if step.state is not None]

    def assert_in_step(self) -> None:
        ours, theirs = (jax.tree.leaves(jax.device_get(held)) for held in (self.leader.held, self.follower.held))
        assert len(ours) == len(theirs) > 0
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def cohort_of(program: Program, folder: Path) -> Cohort:
    identity = Workshop(checkpoints=folder, data_dir=None).identity(program)
    member = Member(trial="one", schedule=Constant(learning_rate=0.05))
    return Cohort(program=program, identity=identity, seed=0, epochs=3, members=(member,))


def records(reports: Iterable[object]) -> list[Any]:
    return [report for report in reports if isinstance(report, Record)]


def test_a_peer_has_its_leader_s_states_after_a_restore_too(tmp_path: Path) -> None:
    cohort = cohort_of(PROGRAM, tmp_path / "unused")
    alone = records(train(cohort, Workshop(checkpoints=tmp_path / "alone", data_dir=None)))
    left = Pair(tmp_path / "gang")
    trained = []
    for report in train(cohort, left.workshop):
        trained += records([report])
        if isinstance(report, Partway) and len(trained) == 1:
            left.workshop.leaving.set()
    left.assert_in_step()
    assert [step.name for step in left.told] == ["init", "advance", "advance", "evaluate", "advance"]
    assert left.sent == []

    resumed = Pair(tmp_path / "gang")
    trained += records(train(replace(cohort, observations=(trained[0].observation,)), resumed.workshop))
    resumed.assert_in_step()
    assert [step.name for step in resumed.told][:4] == ["init", "trace", "advance", "evaluate"]
    assert resumed.sent == ["advance"]
    assert bits_of(trained) == bits_of(alone)
