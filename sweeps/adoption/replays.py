"""Replays: a sample of recorded epochs, trained again by this code and compared bit for bit with their records."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

from sweeps.adoption.rekeying import RekeyedEpoch, program_key
from sweeps.processes.identity import WorkerEnvironment, ask_worker
from workers.reports import MEASURED_TIMES


def sample(epochs: Sequence[RekeyedEpoch], intact: Callable[[str], bool], count: int, seed: str) -> list[RekeyedEpoch]:
    """Choose epochs that can be replayed: first epochs, and epochs after an intact checkpoint, of every program in turn.

    Args:
        intact: whether the state with a recorded key has an intact checkpoint.
        count: number of epochs; at least a first and a later one of each program are chosen, if it has them.
        seed: the same seed chooses the same epochs.
    """
    by_program: dict[str, list[RekeyedEpoch]] = {}
    for epoch in epochs:
        by_program.setdefault(program_key(epoch.identity.program), []).append(epoch)
    turns = zip_longest(*(_candidates(group, intact, seed) for group in by_program.values()))
    return list(islice(filter(None, chain.from_iterable(turns)), max(count, 2 * len(by_program))))


def _candidates(epochs: Sequence[RekeyedEpoch], intact: Callable[[str], bool], seed: str) -> Iterator[RekeyedEpoch]:
    """Yield a program's epochs in random order, first epochs and later ones in turn."""
    shuffled = random.Random(seed).sample(epochs, len(epochs))
    first = (epoch for epoch in shuffled if epoch.state.epoch == 1)
    later = (epoch for epoch in shuffled if epoch.state.epoch > 1 and intact(epoch.state.parent))
    yield from filter(None, chain.from_iterable(zip_longest(first, later)))


def differing(
    epochs: Sequence[RekeyedEpoch], checkpoints: Path, data_dir: Path | None, environment: WorkerEnvironment
) -> list[str]:
    """Train epochs again in a process with a worker's environment; return how they differ from their records.

    Raises:
        IdentityError: an epoch could not be trained.
        IdentityLost: the process was killed or stopped three times.
    """
    question = {
        "checkpoints": str(checkpoints),
        "data_dir": data_dir and str(data_dir),
        "epochs": [_question(epoch) for epoch in epochs],
    }
    answer = ask_worker("workers.replays", question, environment, "the process that replays epochs")
    compared = zip(epochs, answer["metrics"], strict=True)
    return [why for epoch, metrics in compared for why in differences(epoch, metrics)]


def _question(epoch: RekeyedEpoch) -> dict[str, Any]:
    state, plan = epoch.state, epoch.planned.plan
    return {
        "program": epoch.identity.program,
        "seed": epoch.seed,
        "epoch": state.epoch,
        "parent": state.parent if state.epoch > 1 else None,
        "learning_rates": [float(rate) for rate in plan.learning_rates],
        "batch_size": plan.batch_size,
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
