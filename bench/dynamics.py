"""Overhead of recording the weight-norm equation in a training step of VGG-5 on CPU: the same epoch with and without it.

    python bench/dynamics.py --rounds 15

Both run in one process with one thread, compiled once; epochs alternate, and the ratio is taken per pair.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

os.environ |= {"JAX_PLATFORMS": "cpu", "NPROC": "1"}  # before JAX starts

import jax
import numpy as np

from workers.data import Dataset
from workers.data.digits import Digits
from workers.models.vgg import Vgg5
from workers.optimizers.sgd import Sgd
from workers.tasks.classify import Classify, ClassifyProgram

TARGET_RATIO = 1.1


@dataclass(frozen=True, kw_only=True)
class Size:
    """A model and a batch."""

    shape: tuple[int, int, int]  # height, width, channels
    width: int
    batch_size: int
    pools: tuple[bool, bool, bool, bool] = (True, True, True, True)
    steps: int  # in a round


SIZES = {
    "digit pairs: 8x16x1, width 16, batch 16": Size(
        shape=(8, 16, 1), width=16, batch_size=16, pools=(False, True, True, True), steps=93
    ),
    "CIFAR-10: 32x32x3, width 16, batch 32": Size(shape=(32, 32, 3), width=16, batch_size=32, steps=20),
    "paper: 32x32x3, width 64, batch 128": Size(shape=(32, 32, 3), width=64, batch_size=128, steps=2),
}


def epoch(size: Size, dynamics: bool) -> Callable[[], None]:
    random, examples = np.random.default_rng(0), size.batch_size * size.steps
    dataset = Dataset(
        name="noise",
        train_images=random.normal(size=(examples, *size.shape)).astype(np.float32),
        train_labels=random.integers(10, size=examples).astype(np.int32),
        test_images=np.zeros((1, *size.shape), np.float32),
        test_labels=np.zeros(1, np.int32),
        classes=10,
        mean=(0.0,) * size.shape[2],
        std=(1.0,) * size.shape[2],
    )
    program = ClassifyProgram(
        task=Classify(dynamics=dynamics),
        model=Vgg5(width=size.width, pools=size.pools),
        data=Digits(),
        optimizer=Sgd(),
        l2=0.005,
        batch_size=size.batch_size,
    )
    training = program.task.build(program, lambda data: dataset)
    key, rates = jax.random.key(0), np.full(size.steps, 0.01, np.float32)
    state = training.init(key)

    def run() -> None:
        nonlocal state
        state, _ = training.advance(state, training.hyper, rates, key, size.batch_size, (0, len(rates)))
        jax.block_until_ready(state)

    return run


def seconds(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print("Milliseconds per training step of VGG-5 on one thread (median); ratio: median of the paired ratios.")
    print("| size | without | with the equation | ratio |\n|---|---|---|---|")
    worst = 0.0
    for label, size in SIZES.items():
        plain, recording = epoch(size, False), epoch(size, True)
        plain(), recording()  # compiles
        pairs = [(seconds(plain), seconds(recording)) for _ in range(options.rounds)]
        without, beside = (1e3 * statistics.median(column) / size.steps for column in zip(*pairs, strict=True))
        ratio = statistics.median(longer / shorter for shorter, longer in pairs)
        worst = max(worst, ratio)
        print(f"| {label} | {without:.2f} | {beside:.2f} | {ratio:.3f} |")
    print(f"\nTarget: at most {TARGET_RATIO} times the step without. Worst here: {worst:.3f}.")
    return 0 if worst <= TARGET_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
