"""Training as a fold over epochs: the step that workers, the driver, forecasts and results share.

plan
    Every member's schedule plans the next epoch; members with the same plan stay together.
key
    The key of the state before the epoch and the plan give the key of the state after it.
record
    The epoch is trained, or read from the ledger.
update
    Every member's schedule observes two numbers of the record.
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
    """The plan of an epoch, and the key of the state after it."""

    plan: EpochPlan
    key: str


def plan_epoch(schedule: Schedule, state: Any, epoch: int, key: str, identity: Identity) -> PlannedEpoch:
    """Return a schedule's plan for the epoch that starts at the state ``key``."""
    plan = schedule.plan(state, epoch, identity.examples, identity.batch_size)
    return PlannedEpoch(plan, child(key, plan))


def part(members: Sequence[Pair], epoch: int, key: str, identity: Identity) -> list[tuple[PlannedEpoch, list[Pair]]]:
    """Group members by their plan at the state ``key``, largest group first; ties keep the members' order."""
    groups: dict[str, tuple[PlannedEpoch, list[Pair]]] = {}
    for member, state in members:
        planned = plan_epoch(member.schedule, state, epoch, key, identity)
        groups.setdefault(planned.key, (planned, []))[1].append((member, state))
    return sorted(groups.values(), key=lambda group: -len(group[1]))


def updated(schedule: Schedule, state: Any, seen: Observation) -> Any:
    """Return a schedule's state after an epoch; a diverged epoch leaves it unchanged."""
    return state if diverged(seen) else schedule.update(state, seen)


def states(schedule: Schedule, seen: Iterable[Observation]) -> list[ScheduleState]:
    """Return a schedule's states before epoch 1 and after each recorded epoch, up to the first diverged one."""
    return replay(schedule, takewhile(lambda one: not diverged(one), seen))


def planned_epochs(
    schedule: Schedule, seen: Sequence[Observation], root: str, identity: Identity
) -> list[PlannedEpoch]:
    """Return the plan of each recorded epoch, starting from the state ``root``."""
    path, key = list[PlannedEpoch](), root
    for epoch, state in enumerate(states(schedule, seen)[: len(seen)], start=1):
        path.append(plan_epoch(schedule, state, epoch, key, identity))
        key = path[-1].key
    return path


def observation(metrics: Mapping[str, float]) -> Observation:
    """Return the two numbers of a record that schedules observe."""
    return Observation(weight_norm_sq=metrics["weight_norm_sq"], train_loss=metrics["train_loss"])


def diverged(seen: Observation) -> bool:
    """Whether the loss or the norm is no longer finite; this outcome is recorded and is not an error."""
    return not (math.isfinite(seen.train_loss) and math.isfinite(seen.weight_norm_sq))


def finished(members: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Split members into those whose schedule has finished and the others."""
    return [pair for pair in members if pair[1].finished], [pair for pair in members if not pair[1].finished]
