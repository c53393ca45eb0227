"""PyTorch's ReduceLROnPlateau compared with `abel.Plateau` on 1,000 random loss sequences: decays, and rates after them.

`--write FILE` stores PyTorch's decays; `tests/abel/test_plateau.py` compares ours with them without PyTorch. The sequences use
only a seeded `random.Random` and plain products, so they are the same on every machine.
"""

import argparse
import json
import math
import random
from pathlib import Path
from typing import NamedTuple

SEED = 2103_12682
SEQUENCES = 1_000
EPOCHS = 60


class Case(NamedTuple):
    settings: dict[str, float]  # of the schedule
    losses: list[float]  # of epochs 1, 2, …


def cases() -> list[Case]:
    return [_case(random.Random(f"{SEED} {number}")) for number in range(SEQUENCES)]


def _case(draw: random.Random) -> Case:
    settings = {
        "learning_rate": draw.choice([0.1, 0.25, 8.0, 1e-3]),
        "decay_factor": draw.choice([0.1, 0.2, 0.5, 0.9]),
        "patience": draw.choice([10, 10, 5, 2, 1, 0]),
        "threshold": draw.choice([1e-4, 1e-4, 1e-2, 0.3, 0.0]),
        "cooldown": draw.choice([0, 0, 1, 5]),
        "min_learning_rate": draw.choice([0.0, 0.0, 3e-4]),
        "eps": draw.choice([1e-8, 1e-8, 1e-3]),
    }
    return Case(settings, _losses(draw, settings["threshold"]))


def _losses(draw: random.Random, threshold: float) -> list[float]:
    """Return losses that fall, jump, stay constant, or lie at the threshold and one rounding next to it."""
    trend = draw.choice([1.0, 0.999, 0.99, 0.8, 1.01])
    noise = draw.choice([0.0, 1e-5, 1e-2, 0.3])
    restless = draw.choice([0.0, 0.1, 0.5])
    scale = draw.choice([1.0, 2.3, 1e-30, 1e30, -1.0])
    losses = [scale]
    while len(losses) < EPOCHS:
        best, kind = min(losses, key=lambda loss: (math.isnan(loss), loss)), draw.random()
        if kind < restless:
            edge = best * (1.0 - threshold)
            odd = [edge, math.nextafter(edge, -math.inf), math.nextafter(edge, math.inf), best, 0.0]
            losses.append(draw.choice([*odd, math.nan, math.inf, -best]))
        elif kind < 1.5 * restless:
            losses += [losses[-1]] * draw.randint(1, 15)
        else:
            losses.append(scale * math.prod([trend] * len(losses)) * (1.0 + noise * draw.uniform(-1.0, 1.0)))
    return losses[:EPOCHS]


def torch_decays(case: Case) -> tuple[list[int], list[float]]:
    """Return the epochs after which PyTorch's rate falls, and the rate of every epoch after the first."""
    import torch

    settings = case.settings
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=settings["learning_rate"])
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        factor=settings["decay_factor"],
        patience=settings["patience"],
        threshold=settings["threshold"],
        cooldown=settings["cooldown"],
        min_lr=settings["min_learning_rate"],
        eps=settings["eps"],
    )
    decays, rates = [], []
    for epoch, loss in enumerate(case.losses, start=1):
        before = optimizer.param_groups[0]["lr"]
        scheduler.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
        if rates[-1] < before:
            decays.append(epoch)
    return decays, rates


def our_decays(case: Case) -> tuple[list[int], list[float]]:
    from abel.plans import Observation
    from abel.schedules import Plateau, replay

    schedule = Plateau(**case.settings)
    states = replay(schedule, [Observation(weight_norm_sq=1.0, train_loss=loss) for loss in case.losses])
    decays = [state.epoch for state in states if state.event]
    plans = [schedule.plan(state, state.epoch + 1, examples=1, batch_size=1) for state in states[1:]]
    return decays, [float(plan.learning_rates[0]) for plan in plans]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE")
    arguments, _ = parser.parse_known_args()
    import torch

    drawn = cases()
    theirs, ours = [torch_decays(case) for case in drawn], [our_decays(case) for case in drawn]
    apart = sum(their[0] != our[0] for their, our in zip(theirs, ours, strict=True))
    rates = [pair for their, our in zip(theirs, ours, strict=True) for pair in zip(their[1], our[1], strict=True)]
    worst = max(abs(their - our) / their for their, our in rates)
    print(f"torch {torch.__version__}: {sum(len(decays) for decays, _ in theirs):,} decays in {len(drawn):,} sequences")
    print(f"sequences with other decays: {apart}; largest relative difference of a rate: {worst:.1e}")
    if arguments.write:
        stored = {"torch": torch.__version__, "seed": SEED, "decays": [decays for decays, _ in theirs]}
        arguments.write.write_text(json.dumps(stored, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
