"""Training is a fold over epochs; this is how one is taken, by workers, by the driver, in forecasts and in results.

plan
    Every member's schedule plans the next epoch; those with the same plan go on together.
key
    The state after the epoch is named by the state before it and the plan.
record
    The epoch is trained, or the ledger has it.
update
    Every member's schedule sees two numbers of the record.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, NamedTuple

from abel.schedules import EpochPlan, Observation, Schedule, ScheduleState, replay
from workers.trajectory import Identity, child


@dataclass(frozen=True, kw_only=True)
class Member:
    """A trial of a cohort."""

    trial: str
    schedule: Schedule


Pair = tuple[Member, Any]  # a member and the state of its schedule


class PlannedEpoch(NamedTuple):
    """What an epoch is trained with, and the key of the state after it."""

    plan: EpochPlan
    key: str


def plan_epoch(schedule: Schedule, state: Any, epoch: int, key: str, identity: Identity) -> PlannedEpoch:
    """What a schedule plans at the state ``key``."""
    plan = schedule.plan(state, epoch, identity.examples, identity.batch_size)
    return PlannedEpoch(plan, child(key, plan))


def part(members: Sequence[Pair], epoch: int, key: str, identity: Identity) -> list[tuple[PlannedEpoch, list[Pair]]]:
    """Group members by what they plan at the state ``key``, largest group first, else in the members' order."""
    groups: dict[str, tuple[PlannedEpoch, list[Pair]]] = {}
    for member, state in members:
        planned = plan_epoch(member.schedule, state, epoch, key, identity)
        groups.setdefault(planned.key, (planned, []))[1].append((member, state))
    return sorted(groups.values(), key=lambda group: -len(group[1]))


def updated(schedule: Schedule, state: Any, seen: Observation) -> Any:
    """What a schedule remembers after an epoch; one that diverged is not shown to it."""
    return state if diverged(seen) else schedule.update(state, seen)


def states(schedule: Schedule, seen: Iterable[Observation]) -> list[ScheduleState]:
    """The state of a schedule before epoch 1, and after each recorded epoch up to one that diverged."""
    return replay(schedule, takewhile(lambda one: not diverged(one), seen))


def planned_epochs(
    schedule: Schedule, seen: Sequence[Observation], root: str, identity: Identity
) -> list[PlannedEpoch]:
    """What was planned for each recorded epoch, from the state ``root`` on."""
    path, key = list[PlannedEpoch](), root
    for epoch, state in enumerate(states(schedule, seen)[: len(seen)], start=1):
        path.append(plan_epoch(schedule, state, epoch, key, identity))
        key = path[-1].key
    return path


def observation(metrics: Mapping[str, float]) -> Observation:
    """The two numbers of a record that schedules see."""
    return Observation(weight_norm_sq=metrics["weight_norm_sq"], train_loss=metrics["train_loss"])


def diverged(seen: Observation) -> bool:
    """Whether training has left the finite numbers: an outcome that is recorded, not an error."""
    return not (math.isfinite(seen.train_loss) and math.isfinite(seen.weight_norm_sq))


def finished(members: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Members whose schedule wants no more epochs, and the others."""
    return [pair for pair in members if pair[1].finished], [pair for pair in members if not pair[1].finished]
