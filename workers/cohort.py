"""The main path: train a cohort, epoch by epoch, until it ends or its members' plans part.

A cohort is a set of trials that share one training state, because everything that has entered their arithmetic so far is
equal. It trains as one. After each epoch every member's schedule sees the record and plans its next epoch; members whose
plans differ part: the state is saved, the siblings are handed to the caller, and training goes on with the largest group.
A schedule can also be finished before the last epoch; its member then ends there, and the others go on.

    with closing(train(cohort, workshop)) as reports:
        for report in reports:
            ...

Closing the generator early saves the state it stands at. A workshop that is leaving lets the epoch under way finish, has the
state saved and reported, and ends the generator without an end of its members.
"""

import os
import socket
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

from abel.schedules import EpochPlan, replay
from workers.checkpoints import CheckpointDamaged
from workers.config import Program, from_dict
from workers.randomness import epoch_key
from workers.reports import Cohort, Damaged, Ended, Forked, Pair, Record, Report, Saved, diverged, finished, part
from workers.tasks import Training
from workers.trajectory import Identity, child
from workers.workshop import Workshop


class WorkerMismatch(Exception):
    """This worker would train other states than the keys say: its data, code, libraries or processor differ."""


def train(cohort: Cohort, workshop: Workshop) -> Generator[Report, None, None]:
    """Train a cohort from its deepest intact checkpoint on; see the module's text.

    Raises:
        WorkerMismatch: this process does not compute what the cohort's keys name.
    """
    if workshop.leaving.is_set():
        return
    program = from_dict(cohort.identity.program)
    training = workshop.training(program)
    _refuse_other_numerics(cohort, workshop.identity(program))
    if cohort.observations and diverged(cohort.observations[-1]):  # its worker was lost before it could say so
        yield Ended(trials=tuple(member.trial for member in cohort.members), epoch=cohort.epoch, diverged=True)
        return
    plans = _plans(cohort, training.examples, program.batch_size)
    keys = _keys(cohort.root, plans)
    run = yield from _restore(cohort, training, workshop, keys)
    for plan in plans[run.epoch :]:
        record = run.advance(plan)
        yield replace(record, replay=True)
        if record.observation != cohort.observations[run.epoch - 1] and not workshop.allow_nondeterminism:
            return  # the machine contradicts its own record, as the caller has seen: nothing of it may be saved
        if run.save_is_due or workshop.leaving.is_set():
            run.save()  # unreported: a report of it would say that all recorded epochs are safe
        if workshop.leaving.is_set():
            return
    try:
        yield from _continue(run, cohort, program)
    except GeneratorExit:
        run.save()
        raise


@dataclass
class _Run:
    """A training under way: the state after ``epoch`` epochs, which is named ``key``."""

    cohort: Cohort
    training: Training
    workshop: Workshop
    state: Any
    key: str
    epoch: int
    saved_at: float

    def advance(self, plan: EpochPlan) -> Record:
        """Train one epoch; the old state is donated to it."""
        training, epoch = self.training, self.epoch + 1
        began = time.perf_counter()
        self.state, train_sums = training.epoch(
            self.state,
            training.data,
            training.hyper,
            plan.learning_rates,
            epoch_key(self.cohort.seed, epoch),
            plan.batch_size,
        )
        test_sums = training.evaluate(self.state, training.data)
        metrics = training.metrics(*jax.device_get((train_sums, test_sums)))
        seconds = time.perf_counter() - began
        parent, self.key, self.epoch = self.key, child(self.key, plan), epoch
        return Record(
            key=self.key,
            parent=parent,
            epoch=epoch,
            metrics=metrics | _pace(plan, seconds),
            finished_at_ms=time.time_ns() // 1_000_000,
            worker=f"{socket.gethostname()}:{os.getpid()}",
        )

    def save(self) -> Saved:
        """Make the state durable."""
        began = time.monotonic()
        self.workshop.checkpoints.save(self.key, self.epoch, self.state)
        self.saved_at = time.monotonic()
        return Saved(key=self.key, epoch=self.epoch, seconds=self.saved_at - began)

    @property
    def save_is_due(self) -> bool:
        return time.monotonic() - self.saved_at >= self.workshop.save_every_seconds


def _continue(run: _Run, cohort: Cohort, program: Program) -> Iterator[Report]:
    """Epochs that no ledger holds yet."""
    members = [(member, replay(member.schedule, cohort.observations)[-1]) for member in cohort.members]
    seen = cohort.observations[-1] if cohort.observations else None
    while run.epoch < cohort.epochs and not (seen and diverged(seen)):
        done, members = finished(members)
        if not members:
            members = done
            break
        if done:
            yield Ended(trials=_trials(done), epoch=run.epoch, diverged=False)
        (plan, members), *siblings = part(members, run.epoch + 1, run.training.examples, program.batch_size)
        if siblings:
            yield run.save()
            yield Forked(epoch=run.epoch, siblings=tuple(_trials(group) for _, group in siblings))
        elif run.save_is_due:
            yield run.save()
        if run.workshop.leaving.is_set():
            yield run.save()
            return
        record = run.advance(plan)
        yield record
        seen = record.observation
        if not diverged(seen):
            members = [(member, member.schedule.update(state, seen)) for member, state in members]
    broken = seen is not None and diverged(seen)
    if not broken:
        yield run.save()  # a longer sweep goes on from here
    yield Ended(trials=_trials(members), epoch=run.epoch, diverged=broken)


def _restore(
    cohort: Cohort, training: Training, workshop: Workshop, keys: Sequence[str]
) -> Generator[Report, None, "_Run"]:
    """The run at the deepest state of the path that can be had: a checkpoint that verifies, else the initialisation."""
    fresh = training.init(epoch_key(cohort.seed, 0))
    for epoch in range(len(keys) - 1, 0, -1):
        try:
            state = workshop.checkpoints.restore(keys[epoch], like=fresh)
        except FileNotFoundError:
            continue
        except CheckpointDamaged as error:
            workshop.checkpoints.discard(keys[epoch])
            yield Damaged(key=keys[epoch], message=str(error))
            continue
        return _Run(cohort, training, workshop, state, keys[epoch], epoch, time.monotonic())
    return _Run(cohort, training, workshop, fresh, keys[0], 0, time.monotonic())


def _plans(cohort: Cohort, examples: int, batch_size: int) -> list[EpochPlan]:
    """The plans of the recorded epochs; they are every member's, since members share the history."""
    schedule = cohort.members[0].schedule
    states = replay(schedule, cohort.observations)[:-1]
    return [schedule.plan(state, epoch, examples, batch_size) for epoch, state in enumerate(states, start=1)]


def _keys(root: str, plans: Sequence[EpochPlan]) -> list[str]:
    keys = [root]
    for plan in plans:
        keys.append(child(keys[-1], plan))
    return keys


def _pace(plan: EpochPlan, seconds: float) -> dict[str, float]:
    return {
        "learning_rate_first": float(plan.learning_rates[0]),
        "learning_rate_last": float(plan.learning_rates[-1]),
        "batch_size": float(plan.batch_size),
        "seconds": seconds,
        "examples_per_second": len(plan.learning_rates) * plan.batch_size / seconds,
    }


def _trials(group: Sequence[Pair]) -> tuple[str, ...]:
    return tuple(member.trial for member, _ in group)


def _refuse_other_numerics(cohort: Cohort, ours: Identity) -> None:
    if why := cohort.identity.why_not(ours):
        raise WorkerMismatch("this worker must compute what the sweep's keys name, but differs in " + "; ".join(why))
