"""For how many epochs schedules plan the same, before anything is trained.

Every schedule is advanced with NaN observations, so it only does what depends on the epoch. Sorted by their plans, courses
form a tree: each shares a prefix with the one before it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from abel.schedules import (
    Abel,
    Constant,
    DecayAt,
    GrowBatch,
    Observation,
    Plateau,
    Schedule,
    Simple,
    Step,
    last_epoch_named,
)

Ints = NDArray[np.int64]

# Number of steps per epoch at which rates are compared: schedules that differ within an epoch differ at one of them.
_STEPS = 8
NEVER = 2**40  # an epoch that no trial reaches
_UNSEEN = Observation(weight_norm_sq=math.nan, train_loss=math.nan)


class PlannedCourse(NamedTuple):
    """A schedule in a program: the initial batch size, and the examples of an epoch (`NEVER` if unknown)."""

    schedule: Schedule
    batch_size: int
    examples: int = NEVER


def clock_decays(schedule: Schedule) -> tuple[int, ...] | None:
    """Return the epochs of a schedule's fixed decays or growths; None if its rate is not constant between them."""
    match schedule:
        case Step(decay_epochs=epochs) | GrowBatch(decay_epochs=epochs):
            return epochs
        case Abel() | Constant() | DecayAt() | Plateau() | Simple():
            last = last_epoch_named(schedule)
            return () if last is None else (last,)
        case _:
            return None


class Prefixes:
    """Courses sorted by their plans; `row[course]` is a course's place, the same for equal plans.

    `shared` is, for each place, the number of epochs planned like the place before, i64[places]; -1 for the first.
    """

    def __init__(self, courses: Iterable[PlannedCourse], epochs: int) -> None:
        self.row: dict[PlannedCourse, int] = {}
        shared: list[int] = []
        members = [_Walker(course) for course in courses]
        waiting = [_Group(members, 1, b"", -1)] if members else []
        while waiting:
            group = waiting.pop()
            if len(group.members) == 1 or group.epoch > epochs:
                self.row |= {member.course: len(shared) for member in group.members}
                shared.append(group.shared)
            else:
                waiting += reversed(_parted(group))
        self.shared: Ints = np.array(shared, np.int64)

    def common(self, one: int, other: int) -> int:
        """Return for how many epochs two different places plan the same."""
        first, second = sorted((one, other))
        return int(self.shared[first + 1 : second + 1].min())

    def classes(self, depth: int) -> Ints:
        """Return a number for each place, equal exactly for those that plan the same for the first `depth` epochs."""
        return np.cumsum(self.shared < depth)


class _Walker:
    """A course, advanced epoch by epoch."""

    def __init__(self, course: PlannedCourse) -> None:
        self.course = course
        self._decays = clock_decays(course.schedule)
        self._warmup_epochs = int(getattr(course.schedule, "warmup_epochs", 0))
        self._state: Any = course.schedule.init()
        self.epoch = 1  # the next one whose plan may differ from the one before

    def token(self) -> bytes:
        """Return the token of the epoch's plan, and advance to the next epoch."""
        epoch, (schedule, batch_size, examples) = self.epoch, self.course
        if self._decays is None:
            while self._state.epoch < epoch - 1:
                self._state = schedule.update(self._state, _UNSEEN)
            self.epoch += 1
        else:
            decays = bisect_left(self._decays, epoch)
            following = self._decays[decays] + 1 if decays < len(self._decays) else NEVER
            self.epoch = epoch + 1 if epoch <= self._warmup_epochs else following
            if isinstance(schedule, GrowBatch):
                # Its rates do not depend on its growths, and are compared at the same steps as all others.
                batch_size, decays = schedule.grown(batch_size, decays, examples), 0
            self._state = self._state._replace(epoch=epoch - 1, decays=decays)
        plan = schedule.plan(self._state, epoch, examples=_STEPS, batch_size=1)
        return plan._replace(batch_size=batch_size).token()


class _Group(NamedTuple):
    members: Sequence[_Walker]  # with the same plans before `epoch`
    epoch: int
    token: bytes  # of the previous epoch
    shared: int  # epochs in common with the previous group


def _parted(group: _Group) -> list[_Group]:
    """Split a group by its plans for its epoch, in order."""
    found: dict[bytes, list[_Walker]] = {}
    for member in group.members:
        found.setdefault(member.token() if member.epoch == group.epoch else group.token, []).append(member)
    shared = [group.shared, *([group.epoch - 1] * (len(found) - 1))]
    return [
        _Group(members, min(member.epoch for member in members), token, common)
        for (token, members), common in zip(found.items(), shared, strict=True)
    ]
