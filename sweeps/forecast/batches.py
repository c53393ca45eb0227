"""The batches that schedules grow to, checked before training: a program may need them to be divisible."""

from collections.abc import Mapping, Sequence

from abel.schedules import GrowBatch
from sweeps.spec.trial import Trial
from workers.config import Program
from workers.trajectory import Identity


def check_grown(trials: Sequence[Trial], known: Mapping[Program, Identity]) -> None:
    """Raise ValueError if a trial's schedule grows its batch to a size that its program cannot train on this machine."""
    seen = set()
    for trial in trials:
        grows = isinstance(trial.schedule, GrowBatch)
        if not grows or (course := (trial.program, trial.schedule, trial.epochs)) in seen:
            continue
        seen.add(course)
        identity = known[trial.program]
        for epoch, size in grown_sizes(trial, identity.examples):
            try:
                trial.program.check_batch(size, int(identity.numerics.get("devices", "1")))
            except ValueError as error:
                raise ValueError(f"arm {trial.arm!r}: its batch grows to {size} after epoch {epoch}: {error}") from None


def grown_sizes(trial: Trial, examples: int) -> list[tuple[int, int]]:
    """Return the last epoch before each growth of a trial's batch, and the size from there on."""
    schedule = trial.schedule
    assert isinstance(schedule, GrowBatch)
    epochs = [epoch for epoch in schedule.decay_epochs if epoch < trial.epochs]
    batch_size = trial.program.batch_size
    return [(epoch, schedule.grown(batch_size, growths, examples)) for growths, epoch in enumerate(epochs, start=1)]
