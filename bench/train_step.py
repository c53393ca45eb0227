"""One VGG-5 training step on CPU: this project's jitted epoch compared with the same model in PyTorch, paired in one run.

    make bench            # or: python bench/train_step.py --threads 1 2 --rounds 9

Both sides do the same step: cross-entropy, gradient, L2, plain SGD, data in memory. Ours is timed as it is used: a compiled
epoch with shuffle and norms, divided by its steps. PyTorch runs in both memory layouts, and the faster one counts. Each side
runs in its own process, because the number of threads is fixed at start-up. Rounds alternate, so a busy machine slows both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

TARGET_RATIO = 1.2
SIDES = ("jax", "nchw", "channels_last")


@dataclass(frozen=True, kw_only=True)
class Size:
    """A model and a batch."""

    shape: tuple[int, int, int]  # height, width, channels
    width: int
    batch_size: int
    classes: int
    pools: tuple[bool, bool, bool, bool]
    steps: int  # in a round

    @property
    def label(self) -> str:
        return f"{'x'.join(map(str, self.shape))}, width {self.width}, batch {self.batch_size}"


SIZES = {
    "demo": Size(shape=(8, 16, 1), width=16, batch_size=16, classes=100, pools=(False, True, True, True), steps=93),
    "paper": Size(shape=(32, 32, 3), width=64, batch_size=128, classes=10, pools=(True, True, True, True), steps=3),
}


def jax_round(size: Size) -> Callable[[], None]:
    import jax
    import numpy as np

    from workers.data import Dataset
    from workers.data.digits import Digits
    from workers.models.vgg import Vgg5
    from workers.optimizers.sgd import Sgd
    from workers.tasks.classify import Classify, ClassifyProgram

    random, examples = np.random.default_rng(0), size.batch_size * size.steps
    dataset = Dataset(
        name="noise",
        train_images=random.normal(size=(examples, *size.shape)).astype(np.float32),
        train_labels=random.integers(size.classes, size=examples).astype(np.int32),
        test_images=np.zeros((1, *size.shape), np.float32),
        test_labels=np.zeros(1, np.int32),
        classes=size.classes,
        mean=(0.0,) * size.shape[2],
        std=(1.0,) * size.shape[2],
    )
    model = Vgg5(width=size.width, pools=size.pools)
    program = ClassifyProgram(
        task=Classify(), model=model, data=Digits(), optimizer=Sgd(), l2=0.005, batch_size=size.batch_size
    )
    training = program.task.build(program, lambda data: dataset)
    key, rates = jax.random.key(0), np.full(size.steps, 0.01, np.float32)
    state = training.init(key)

    def run() -> None:
        nonlocal state
        state, _ = training.advance(state, training.hyper, rates, key, size.batch_size, (0, len(rates)))
        jax.block_until_ready(state)

    return run


def torch_round(size: Size, threads: int, channels_last: bool) -> Callable[[], None]:
    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    height, width, channels = size.shape
    layers: list[nn.Module] = []
    for features, pooled in zip((1, 2, 2, 2), size.pools, strict=True):
        layers += [nn.Conv2d(channels, features * size.width, 3, padding=1), nn.ReLU()]
        channels = features * size.width
        if pooled:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(height * width * channels, size.classes))
    images = torch.randn(size.steps, size.batch_size, size.shape[2], *size.shape[:2])
    labels = torch.randint(size.classes, (size.steps, size.batch_size))
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    batches = [batch.contiguous(memory_format=torch.channels_last) if channels_last else batch for batch in images]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, weight_decay=0.005)

    def run() -> None:
        for batch, answers in zip(batches, labels, strict=True):
            optimizer.zero_grad()
            functional.cross_entropy(model(batch), answers).backward()
            optimizer.step()

    return run


def serve(side: str, size: Size, threads: int) -> None:
    """Answer every line of standard input with the milliseconds per step of one round."""
    run = jax_round(size) if side == "jax" else torch_round(size, threads, channels_last=side == "channels_last")
    run()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(1e3 * (time.perf_counter() - start) / size.steps, flush=True)


def measure(name: str, threads: int, rounds: int, sides: tuple[str, ...]) -> dict[str, list[float]]:
    """Return the milliseconds per step of every side, round by round; the sides take turns."""
    environment = os.environ | {"NPROC": str(threads), "OMP_NUM_THREADS": str(threads), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, __file__, "--threads", str(threads), "--size", name, "--serve"]
    servers = {
        side: subprocess.Popen(
            [*command, side], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        for side in sides
    }
    times: dict[str, list[float]] = {side: [] for side in sides}
    try:
        for server in servers.values():
            if server.stdout is None or server.stdout.readline() != "ready\n":
                raise RuntimeError(f"{' '.join(map(str, server.args))} did not start")  # type: ignore[arg-type]
        for _ in range(rounds):
            for side, server in servers.items():
                assert server.stdin is not None and server.stdout is not None
                print("go", file=server.stdin, flush=True)
                times[side].append(float(server.stdout.readline()))
    finally:
        for server in servers.values():
            server.kill()
            server.communicate()
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--size", choices=SIZES, nargs="+", default=list(SIZES))
    parser.add_argument("--serve", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, SIZES[options.size[0]], options.threads[0])
        return 0
    has_torch = find_spec("torch") is not None
    if not has_torch:
        print("PyTorch is not installed, so there is nothing to compare with: pip install torch==2.13.0\n")
    sides = SIDES if has_torch else SIDES[:1]
    print("Milliseconds per training step of VGG-5 (median); ratio: median of the paired ratios to the faster PyTorch.")
    print("| size | threads | ours | PyTorch NCHW | PyTorch channels-last | ratio |")
    print("|---|---|---|---|---|---|")
    worst = 0.0
    for name in options.size:
        for threads in options.threads:
            times = measure(name, threads, options.rounds, sides)
            medians = {side: statistics.median(values) for side, values in times.items()}
            cells = [f"{medians[side]:.2f}" if side in medians else "-" for side in SIDES]
            ratio = None
            if has_torch:
                faster = min(SIDES[1:], key=medians.__getitem__)
                ratio = statistics.median(ours / other for ours, other in zip(times["jax"], times[faster], strict=True))
                worst = max(worst, ratio)
            cells.append("-" if ratio is None else f"{ratio:.2f}")
            print(f"| {SIZES[name].label} | {threads} | {' | '.join(cells)} |")
    if has_torch:
        print(f"\nTarget: at most {TARGET_RATIO} times PyTorch's time. Worst here: {worst:.2f}.")
    return 0 if worst <= TARGET_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
