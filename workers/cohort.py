"""The main path: train a cohort epoch by epoch, until it finishes or its members' plans differ.

A cohort is a set of trials that share one training state, because everything that has entered their arithmetic so far is
equal. It trains as one. After each epoch every member's schedule observes the record and plans its next epoch. If the plans
differ, the cohort forks: the state is saved, the siblings are handed to the caller, and training continues with the largest
group. A schedule can also finish before the last epoch; its member then ends, and the others continue.

    with closing(train(cohort, workshop)) as reports:
        for report in reports:
            ...

Closing the generator early saves its current state. When the workshop is leaving, training goes on to the next state that can
be saved, usually that after the epoch, saves it, and the generator stops without reporting an end of its members.
"""

import os
import socket
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from workers.checkpoints import CheckpointDamaged
from workers.contracts import Training
from workers.fold import Pair, PlannedEpoch, diverged, finished, part, planned_epochs, states, updated
from workers.randomness import epoch_key
from workers.reports import Cohort, Damaged, Ended, Forked, Partway, Record, Report, Saved
from workers.segments import SegmentRun
from workers.trajectory import Identity
from workers.workshop import Workshop


class WorkerMismatch(Exception):
    """This worker would not train the states that the keys name: its data, code, libraries or processor differ."""


class OtherDevice(WorkerMismatch):
    """This worker's processor or accelerator is of another kind; a worker on another machine may train the states."""


def train(cohort: Cohort, workshop: Workshop) -> Generator[Report, None, None]:
    """Train a cohort from its latest intact checkpoint; see the module docstring.

    Raises:
        WorkerMismatch: this process would not compute the states that the cohort's keys name.
    """
    if workshop.leaving.is_set():
        return
    training = workshop.training(cohort.program)
    refuse_other_numerics(cohort.identity, workshop.identity(cohort.program))
    if cohort.observations and diverged(cohort.observations[-1]):  # its worker was lost before it reported this
        yield Ended(trials=tuple(member.trial for member in cohort.members), epoch=cohort.epoch, diverged=True)
        return
    # Members share their history, so they have the same plans for all recorded epochs.
    path = planned_epochs(cohort.members[0].schedule, cohort.observations, cohort.root, cohort.identity)
    run = yield from _restore(cohort, training, workshop, path)
    for planned in path[run.epoch :]:
        record = yield from run.advance(planned)
        if record is None:
            return
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
        if run.segment is None:
            run.save()
        raise


@dataclass
class _Run:
    """A running training: the state after ``epoch`` epochs, with state key ``key``, or a segment on its way from there."""

    cohort: Cohort
    training: Training
    workshop: Workshop
    state: Any
    key: str
    epoch: int
    saved_at: float
    segment: SegmentRun | None = None  # trained in part, on the way to the state `target`; the state before it is gone
    target: str = ""
    partial: str = ""  # name of the checkpoint inside a segment, until the state after it is saved

    def advance(self, planned: PlannedEpoch) -> Generator[Report, None, Record | None]:
        """Train one epoch; return its record, or None if the workshop is leaving before its end. The old state is donated."""
        segment = yield from self._begun(planned)
        for step in segment.advance():
            self.segment, self.target = segment, planned.key
            if self.save_is_due or self.workshop.leaving.is_set():
                self._save_segment()
            try:
                yield Partway(epoch=segment.epoch, step=step, steps=segment.steps)
            except GeneratorExit:
                self._save_segment()
                raise
            if self.workshop.leaving.is_set():
                self._save_segment()
                return None
        metrics = segment.metrics()
        parent, self.key, self.epoch, self.state = self.key, planned.key, segment.epoch, segment.state
        self.segment = None
        return Record(
            key=self.key,
            parent=parent,
            epoch=self.epoch,
            metrics=metrics,
            finished_at_ms=time.time_ns() // 1_000_000,
            worker=f"{socket.gethostname()}:{os.getpid()}",
        )

    def _begun(self, planned: PlannedEpoch) -> Generator[Report, None, SegmentRun]:
        """Return the segment that leads to a planned state, from its last intact checkpoint or from its beginning."""
        if self.segment is not None and self.target == planned.key:
            return self.segment
        segment = SegmentRun(self.training, planned.plan, self.cohort.seed, self.epoch + 1, self.state)
        found, damaged = segment.resume(self.workshop.checkpoints, planned.key)
        self.partial = found or self.partial
        yield from (Damaged(key=name, message=message) for name, message in damaged)
        return segment

    def save(self) -> Saved:
        """Make the state durable."""
        began = time.monotonic()
        self.workshop.checkpoints.save(self.key, self.epoch, self.state)
        self.forget_partial()
        self.saved_at = time.monotonic()
        return Saved(key=self.key, epoch=self.epoch, seconds=self.saved_at - began)

    def forget_partial(self) -> None:
        """Remove the checkpoint inside a segment, which a later state has made superfluous."""
        if self.partial:
            self.workshop.checkpoints.discard(self.partial)
            self.partial = ""

    def _save_segment(self) -> None:
        """Save the segment in training, in place of its checkpoint before."""
        assert self.segment is not None
        name = self.segment.save(self.workshop.checkpoints, self.target)
        if self.partial != name:
            self.forget_partial()
        self.partial, self.saved_at = name, time.monotonic()

    @property
    def save_is_due(self) -> bool:
        """Whether it is time, or a checkpoint inside a segment waits to be replaced by the state after it."""
        finished = bool(self.partial) and self.segment is None
        return finished or time.monotonic() - self.saved_at >= self.workshop.save_every_seconds


def _continue(run: _Run, cohort: Cohort) -> Generator[Report, None, None]:
    """Train the epochs that are not recorded yet."""
    members = _pairs(cohort)
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
        elif run.segment is None and run.save_is_due:
            yield run.save()
        if run.workshop.leaving.is_set():
            if run.segment is None:
                yield run.save()
            return
        record = yield from run.advance(planned)
        if record is None:
            return
        yield record
        seen = record.observation
        members = [(member, updated(member.schedule, state, seen)) for member, state in members]
    broken = seen is not None and diverged(seen)
    if broken:
        run.forget_partial()
    else:
        yield run.save()  # a longer sweep continues from here
    yield Ended(trials=_trials(members), epoch=run.epoch, diverged=broken)


def _restore(
    cohort: Cohort, training: Training, workshop: Workshop, path: Sequence[PlannedEpoch]
) -> Generator[Report, None, "_Run"]:
    """Return the run at the latest intact checkpoint: inside the next epoch or on the path; else at the initialisation."""
    fresh = training.init(epoch_key(cohort.seed, 0))
    key = path[-1].key if path else cohort.root
    run = _Run(cohort, training, workshop, fresh, key, len(path), time.monotonic())
    if path and (planned := _next(cohort, key)) is not None:
        segment = yield from run._begun(planned)
        if segment.sums:
            run.segment, run.target = segment, planned.key
            return run
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


def _next(cohort: Cohort, key: str) -> PlannedEpoch | None:
    """Return the plan of the epoch after the recorded ones, or None if members part there, end or have diverged."""
    members = _pairs(cohort)
    if cohort.epoch >= cohort.epochs or finished(members)[0] or diverged(cohort.observations[-1]):
        return None
    groups = part(members, cohort.epoch + 1, key, cohort.identity)
    return groups[0][0] if len(groups) == 1 else None


def _pairs(cohort: Cohort) -> list[Pair]:
    """Return the members, each with its schedule's state after the recorded epochs."""
    return [(member, states(member.schedule, cohort.observations)[-1]) for member in cohort.members]


def _trials(group: Sequence[Pair]) -> tuple[str, ...]:
    return tuple(member.trial for member, _ in group)


def refuse_other_numerics(wanted: Identity, ours: Identity) -> None:
    """Raise unless a process with the identity ``ours`` computes the states that a sweep's keys name.

    Raises:
        WorkerMismatch: it differs in data, code, libraries or settings; `OtherDevice` if also in its processor or accelerator.
    """
    if why := wanted.why_not(ours):
        kind = OtherDevice if any(part.startswith("device: ") for part in why) else WorkerMismatch
        raise kind("this worker must compute the states that the sweep's keys name, but differs in " + "; ".join(why))
