"""Replays: a sample of recorded epochs, trained again by this code and compared bit for bit with their records."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

from sweeps.adoption.rekeying import RekeyedEpoch, program_key
from sweeps.processes.identity import WorkerEnvironment, ask_worker
from workers.reports import MEASURED_TIMES

Way = tuple[
    RekeyedEpoch, ...
]  # consecutive epochs, trained from a checkpoint or, the first one being epoch 1, from the start


def sample(epochs: Sequence[RekeyedEpoch], intact: Callable[[str], bool], count: int, seed: str) -> list[Way]:
    """Choose what to replay: first epochs, and epochs after an intact checkpoint, of every program in turn.

    A program without such a checkpoint has its second epoch replayed after its first.

    Args:
        intact: whether the state with a recorded key has an intact checkpoint.
        count: number of ways; at least a first and a later epoch of each program are chosen, if it has them.
        seed: the same seed chooses the same epochs.
    """
    by_program: dict[str, list[RekeyedEpoch]] = {}
    for epoch in epochs:
        by_program.setdefault(program_key(epoch.identity.program), []).append(epoch)
    turns = zip_longest(*(_candidates(group, intact, seed) for group in by_program.values()))
    return list(islice(filter(None, chain.from_iterable(turns)), max(count, 2 * len(by_program))))


def _candidates(epochs: Sequence[RekeyedEpoch], intact: Callable[[str], bool], seed: str) -> Iterator[Way]:
    """Yield a program's epochs in random order, first epochs and later ones in turn."""
    shuffled = random.Random(seed).sample(epochs, len(epochs))
    later = ((epoch,) for epoch in shuffled if epoch.state.epoch > 1 and intact(epoch.state.parent))
    one = next(later, None)
    first: list[Way] = [(epoch,) for epoch in shuffled if epoch.state.epoch == 1]
    if one is None:
        seconds = {epoch.state.parent: epoch for epoch in shuffled if epoch.state.epoch == 2}
        first = [(*way, seconds[way[0].state.key]) if way[0].state.key in seconds else way for way in first]
    yield from filter(None, chain.from_iterable(zip_longest(first, chain([one], later))))


def differing(
    ways: Sequence[Way], checkpoints: Path, store: str | None, data_dir: Path | None, environment: WorkerEnvironment
) -> list[str]:
    """Train epochs again in a process with a worker's environment; return how they differ from their records.

    Raises:
        IdentityError: an epoch could not be trained.
        IdentityLost: the process was killed or stopped three times.
    """
    question = {
        "checkpoints": str(checkpoints),
        "store": store,
        "data_dir": data_dir and str(data_dir),
        "ways": [_question(way) for way in ways],
    }
    answer = ask_worker("sweeps.processes.replaying", question, environment, "the process that replays epochs")
    found: list[str] = []
    for way, metrics in zip(ways, answer["metrics"], strict=True):
        for epoch, values in zip(way, metrics or [None], strict=False):
            found += differences(epoch, values)
    return found


def _question(way: Way) -> dict[str, Any]:
    first, plans = way[0], [epoch.planned.plan for epoch in way]
    return {
        "program": first.identity.program,
        "seed": first.seed,
        "epoch": first.state.epoch,
        "parent": first.state.parent if first.state.epoch > 1 else None,
        "plans": [
            {"learning_rates": [float(rate) for rate in plan.learning_rates], "batch_size": plan.batch_size}
            for plan in plans
        ],
    }


def differences(epoch: RekeyedEpoch, metrics: Mapping[str, float] | None) -> list[str]:
    """Return how an epoch's metrics differ from its record; None stands for a checkpoint that this code cannot restore."""
    where = f"seed {epoch.seed}, epoch {epoch.state.epoch}"
    if metrics is None:
        return [f"{where}: the checkpoint before it is damaged, or holds a state of another structure"]
    recorded = {name: value for name, value in epoch.state.metrics.items() if name not in MEASURED_TIMES}
    if other := recorded.keys() ^ (metrics.keys() - MEASURED_TIMES):
        return [f"{where}: only one of the two has {', '.join(sorted(other))}"]
    return [
        f"{where}: {name} was {value!r}, now {metrics[name]!r}"
        for name, value in sorted(recorded.items())
        if float(value).hex() != float(metrics[name]).hex()
    ]
