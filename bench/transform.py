"""Cost of ABEL inside a training step: a jitted step of VGG-5 with `scale_by_abel` compared with one with a fixed rate.

    python bench/transform.py --rounds 40

Cross-entropy, gradient and plain SGD on data in memory, one call per step, one thread, all sides in one process. The sides
alternate step by step, in rotating order. A round is an epoch of every side, and ratios to the fixed rate are taken within a
round. Times are CPU times of the process, which other work on the machine hardly affects. Epochs have 25 steps, fewer than real
ones, so the norm is computed more often than in practice.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optax

STEPS = 25  # per epoch and round
RATE = 0.01


@dataclass(frozen=True, kw_only=True)
class Size:
    """A model and a batch."""

    shape: tuple[int, int, int]  # height, width, channels
    width: int
    batch_size: int
    classes: int
    pools: tuple[bool, bool, bool, bool] = (True, True, True, True)

    @property
    def label(self) -> str:
        return f"{'x'.join(map(str, self.shape))}, width {self.width}, batch {self.batch_size}"


SIZES = {
    "cifar10": Size(shape=(32, 32, 3), width=16, batch_size=32, classes=10),
    "demo": Size(shape=(8, 16, 1), width=16, batch_size=16, classes=100, pools=(False, True, True, True)),
}


class Problem:
    """A network, its loss and one epoch of noise."""

    def __init__(self, size: Size) -> None:
        import jax
        import optax
        from flax import nnx

        from workers.models.vgg import Vgg5

        images, labels = jax.random.split(jax.random.key(0))
        self.images_SBHWC = jax.random.normal(images, (STEPS, size.batch_size, *size.shape))
        self.labels_SB = jax.random.randint(labels, (STEPS, size.batch_size), 0, size.classes)
        network = Vgg5(width=size.width, pools=size.pools).build(size.shape, size.classes, nnx.Rngs(0))
        graph, self.params = nnx.split(network)

        def loss(params: Any, images_BHWC: jax.Array, labels_B: jax.Array) -> jax.Array:
            logits_BK = nnx.merge(graph, params)(images_BHWC)
            return optax.softmax_cross_entropy_with_integer_labels(logits_BK, labels_B).mean()

        self.loss = loss


Step = Callable[[int], None]  # trains on the batch with this index, and waits for the result


def with_optimizer(optimizer: optax.GradientTransformation, problem: Problem) -> Step:
    """Return a plain step with an optax optimiser."""
    import jax
    import optax

    @jax.jit
    def step(params: Any, state: Any, images_BHWC: jax.Array, labels_B: jax.Array) -> tuple[Any, Any, jax.Array]:
        loss, gradients = jax.value_and_grad(problem.loss)(params, images_BHWC, labels_B)
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, loss

    params, state = problem.params, optimizer.init(problem.params)

    def run(number: int) -> None:
        nonlocal params, state
        params, state, loss = step(params, state, problem.images_SBHWC[number], problem.labels_SB[number])
        loss.block_until_ready()

    return run


def fixed_rate(problem: Problem) -> Step:
    import optax

    return with_optimizer(optax.sgd(RATE), problem)


def abel_transform(problem: Problem) -> Step:
    from abel.transform import scale_by_abel

    abel = scale_by_abel(RATE, decay_factor=0.5, last_decay_epoch=None, steps_per_epoch=STEPS, warmup_epochs=1)
    return with_optimizer(abel, problem)


# The first side is the reference; the number is the largest acceptable ratio.
SIDES: dict[str, tuple[Callable[[Problem], Step], float]] = {
    "fixed rate": (fixed_rate, 1.0),
    "scale_by_abel": (abel_transform, 1.03),
}


def measure(problem: Problem, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of CPU time per step of every side, round by round, without the first round, which compiles."""
    sides = {name: build(problem) for name, (build, _) in SIDES.items()}
    names = list(sides)
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds + 1):
        seconds = dict.fromkeys(names, 0.0)
        for number in range(STEPS):
            names = [*names[1:], names[0]]
            for name in names:
                start = time.process_time()
                sides[name](number)
                seconds[name] += time.process_time() - start
        for name in names:
            times[name].append(1e3 * seconds[name] / STEPS)
    return {name: values[1:] for name, values in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--size", choices=SIZES, nargs="+", default=list(SIZES))
    options = parser.parse_args()
    os.environ.update({"NPROC": "1", "JAX_PLATFORMS": "cpu"})  # read when JAX starts
    print(f"Milliseconds of CPU time per training step of VGG-5 on one thread, medians of {options.rounds} rounds.")
    print("Ratio to the fixed rate: median of the ratios within rounds, and their quartiles.")
    print("| size | side | ms | ratio | quartiles | at most |")
    print("|---|---|---|---|---|---|")
    kept = True
    for name in options.size:
        times = measure(Problem(SIZES[name]), options.rounds)
        baseline = times[next(iter(SIDES))]
        for side, (_, most) in SIDES.items():
            ratios = [ours / base for ours, base in zip(times[side], baseline, strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            kept &= middle <= most
            cells = f"{statistics.median(times[side]):.3f} | {middle:.3f} | {low:.3f} to {high:.3f} | {most:.2f}"
            print(f"| {SIZES[name].label} | {side} | {cells} |", flush=True)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
