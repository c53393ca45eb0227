"""The main path: train a cohort epoch by epoch, until it finishes or its members' plans differ.

A cohort is a set of trials that share one training state, because everything that has entered their arithmetic so far is
equal. It trains as one. After each epoch every member's schedule observes the record and plans its next epoch. If the plans
differ, the cohort forks: the state is saved, the siblings are handed to the caller, and training continues with the largest
group. A schedule can also finish before the last epoch; its member then ends, and the others continue.

    with closing(train(cohort, workshop)) as reports:
        for report in reports:
            ...

Closing the generator early saves its current state. When the workshop is leaving, the current epoch finishes, its state is
saved and reported, and the generator stops without reporting an end of its members.
"""

import os
import socket
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

from abel.schedules import EpochPlan
from workers.checkpoints import CheckpointDamaged
from workers.config import from_dict
from workers.fold import Pair, PlannedEpoch, diverged, finished, part, planned_epochs, states, updated
from workers.randomness import epoch_key
from workers.reports import Cohort, Damaged, Ended, Forked, Record, Report, Saved
from workers.tasks import Training
from workers.trajectory import Identity
from workers.workshop import Workshop


class WorkerMismatch(Exception):
    """This worker would not train the states that the keys name: its data, code, libraries or processor differ."""


def train(cohort: Cohort, workshop: Workshop) -> Generator[Report, None, None]:
    """Train a cohort from its latest intact checkpoint; see the module docstring.

    Raises:
        WorkerMismatch: this process would not compute the states that the cohort's keys name.
    """
    if workshop.leaving.is_set():
        return
    program = from_dict(cohort.identity.program)
    training = workshop.training(program)
    _refuse_other_numerics(cohort, workshop.identity(program))
    if cohort.observations and diverged(cohort.observations[-1]):  # its worker was lost before it reported this
        yield Ended(trials=tuple(member.trial for member in cohort.members), epoch=cohort.epoch, diverged=True)
        return
    # Members share their history, so they have the same plans for all recorded epochs.
    path = planned_epochs(cohort.members[0].schedule, cohort.observations, cohort.root, cohort.identity)
    run = yield from _restore(cohort, training, workshop, path)
    for planned in path[run.epoch :]:
        record = run.advance(planned)
        yield replace(record, replay=True)
        if record.observation != cohort.observations[run.epoch - 1] and not workshop.allow_nondeterminism:
            return  # the replay differs from the record, which the caller has seen; none of it may be saved
        if run.save_is_due or workshop.leaving.is_set():
            run.save()  # not reported: a report would mean that all recorded epochs are saved
        if workshop.leaving.is_set():
            return
    try:
        yield from _continue(run, cohort)
    except GeneratorExit:
        run.save()
        raise


def train_epoch(training: Training, state: Any, plan: EpochPlan, seed: int, epoch: int) -> tuple[Any, dict[str, float]]:
    """Return the state after an epoch, counted from 1, and the epoch's metrics; the old state's buffers are donated."""
    began = time.perf_counter()
    state, train_sums = training.epoch(
        state, training.data, training.hyper, plan.learning_rates, epoch_key(seed, epoch), plan.batch_size
    )
    test_sums = training.evaluate(state, training.data)
    metrics = training.metrics(*jax.device_get((train_sums, test_sums)))
    return state, metrics | _pace(plan, time.perf_counter() - began)


@dataclass
class _Run:
    """A running training: the state after ``epoch`` epochs, with state key ``key``."""

    cohort: Cohort
    training: Training
    workshop: Workshop
    state: Any
    key: str
    epoch: int
    saved_at: float

    def advance(self, planned: PlannedEpoch) -> Record:
        """Train one epoch; the old state's buffers are donated."""
        epoch = self.epoch + 1
        self.state, metrics = train_epoch(self.training, self.state, planned.plan, self.cohort.seed, epoch)
        parent, self.key, self.epoch = self.key, planned.key, epoch
        return Record(
            key=self.key,
            parent=parent,
            epoch=epoch,
            metrics=metrics,
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


def _continue(run: _Run, cohort: Cohort) -> Iterator[Report]:
    """Train the epochs that are not recorded yet."""
    members = [(member, states(member.schedule, cohort.observations)[-1]) for member in cohort.members]
    seen = cohort.observations[-1] if cohort.observations else None
    while run.epoch < cohort.epochs and not (seen and diverged(seen)):
        done, members = finished(members)
        if not members:
            members = done
            break
        if done:
            yield Ended(trials=_trials(done), epoch=run.epoch, diverged=False)
        (planned, members), *siblings = part(members, run.epoch + 1, run.key, cohort.identity)
        if siblings:
            yield run.save()
            yield Forked(epoch=run.epoch, siblings=tuple(_trials(group) for _, group in siblings))
        elif run.save_is_due:
            yield run.save()
        if run.workshop.leaving.is_set():
            yield run.save()
            return
        record = run.advance(planned)
        yield record
        seen = record.observation
        members = [(member, updated(member.schedule, state, seen)) for member, state in members]
    broken = seen is not None and diverged(seen)
    if not broken:
        yield run.save()  # a longer sweep continues from here
    yield Ended(trials=_trials(members), epoch=run.epoch, diverged=broken)


def _restore(
    cohort: Cohort, training: Training, workshop: Workshop, path: Sequence[PlannedEpoch]
) -> Generator[Report, None, "_Run"]:
    """Return the run at the latest state of the path that has an intact checkpoint, else at the initialisation."""
    fresh = training.init(epoch_key(cohort.seed, 0))
    for epoch in range(len(path), 0, -1):
        key = path[epoch - 1].key
        try:
            state = workshop.checkpoints.restore(key, like=fresh)
        except FileNotFoundError:
            continue
        except CheckpointDamaged as error:
            workshop.checkpoints.discard(key)
            yield Damaged(key=key, message=str(error))
            continue
        return _Run(cohort, training, workshop, state, key, epoch, time.monotonic())
    return _Run(cohort, training, workshop, fresh, cohort.root, 0, time.monotonic())


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
        raise WorkerMismatch(
            "this worker must compute the states that the sweep's keys name, but differs in " + "; ".join(why)
        )
