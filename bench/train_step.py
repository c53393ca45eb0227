"""One training step on CPU of every mini, and of other small networks: ours compared with PyTorch, paired in one run.

    make bench            # or: python bench/train_step.py --threads 1 2 --rounds 9 --only table-1-mini

Both sides do the same step: forward and backward with batch statistics, cross-entropy, L2, the clip where a program has one, and
SGD with its momentum. Ours is timed as it is used: a compiled epoch that also shuffles and augments the images and takes norms,
divided by its steps. PyTorch gets ready batches, in both memory layouts, and the faster one counts. Each side runs in its own
process, because the number of threads is fixed at start-up. Rounds alternate, so a busy machine slows both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import IO, NamedTuple, cast

from sides.catalogue import WORKLOADS
from sides.workloads import Workload

TARGET_RATIO = 1.2
SIDES = ("jax", "nchw", "channels_last")


class Step(NamedTuple):
    """Milliseconds of a step."""

    wall: float
    cpu: float  # of all threads of the process


def round_of(side: str, workload: Workload, threads: int) -> Callable[[], None]:
    """Return what trains a round of one side; its framework is imported only here, and reads the threads when it starts."""
    if side == "jax":
        from sides import ours

        return ours.training_round(workload)
    import torch
    from sides import pytorch

    torch.set_num_threads(threads)
    return pytorch.training_round(workload, channels_last=side == "channels_last")


def serve(side: str, name: str, threads: int) -> None:
    """Answer every line of standard input with the milliseconds per step of one round: on the clock, and of CPU time."""
    workload = WORKLOADS[name]()
    run = round_of(side, workload, threads)
    run()
    print("ready", flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        took = time.perf_counter() - wall, time.process_time() - cpu
        print(*(1e3 * seconds / workload.steps for seconds in took), flush=True)


def measure(name: str, threads: int, rounds: int, sides: tuple[str, ...]) -> dict[str, list[Step]]:
    """Return the times per step of every side, round by round; the sides take turns."""
    environment = os.environ | {"NPROC": str(threads), "OMP_NUM_THREADS": str(threads), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, __file__, "--threads", str(threads), "--only", name, "--serve"]
    servers = {
        side: subprocess.Popen(
            [*command, side], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        for side in sides
    }
    times: dict[str, list[Step]] = {side: [] for side in sides}
    try:
        for side, server in servers.items():
            if cast(IO[str], server.stdout).readline() != "ready\n":
                raise RuntimeError(f"side {side} of {name} did not start: its error is above")
        for _ in range(rounds):
            for side, server in servers.items():
                print("go", file=server.stdin, flush=True)
                times[side].append(Step(*map(float, cast(IO[str], server.stdout).readline().split())))
    finally:
        for server in servers.values():
            server.kill()
            server.communicate()
    return times


def ratio(times: dict[str, list[Step]], clock: Callable[[Step], float]) -> float:
    """Return the median of the paired ratios of ours to the PyTorch layout with the lower median."""
    taken = {side: [clock(step) for step in steps] for side, steps in times.items()}
    faster = min(SIDES[1:], key=lambda side: statistics.median(taken[side]))
    return statistics.median(ours / other for ours, other in zip(taken["jax"], taken[faster], strict=True))


def cells(times: dict[str, list[Step]], threads: int) -> tuple[list[str], float]:
    """Return a row's figures, and the ratio that counts: with one thread of CPU times, which a busy machine hardly changes."""
    wall = [f"{statistics.median(step.wall for step in times[side]):.2f}" if side in times else "-" for side in SIDES]
    cpu = [f"{statistics.median(step.cpu for step in times[side]):.2f}" if side in times else "-" for side in SIDES]
    if len(times) < len(SIDES):
        return [*wall, "-", *cpu, "-"], 0.0
    by_wall, by_cpu = ratio(times, lambda step: step.wall), ratio(times, lambda step: step.cpu)
    return [*wall, f"{by_wall:.2f}", *cpu, f"{by_cpu:.2f}"], by_cpu if threads == 1 else by_wall


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", choices=WORKLOADS, nargs="+", default=list(WORKLOADS))
    parser.add_argument("--serve", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.only[0], options.threads[0])
        return 0
    has_torch = find_spec("torch") is not None
    if not has_torch:
        print("PyTorch is not installed, so there is nothing to compare with: pip install torch==2.13.0\n")
    sides = SIDES if has_torch else SIDES[:1]
    print(
        "Milliseconds per training step on the clock, and of CPU time: ours, PyTorch NCHW and channels-last; medians of rounds."
    )
    print(
        "Ratios to the faster layout are medians over the pairs. With one thread the one of CPU times counts, else the other."
    )
    print(
        "| workload | threads | ours | NCHW | channels-last | ratio | CPU: ours | NCHW | channels-last | ratio | load |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    worst = 0.0
    for name in options.only:
        for threads in options.threads:
            figures, counts = cells(measure(name, threads, options.rounds, sides), threads)
            worst = max(worst, counts)
            row = [f"{name}: {WORKLOADS[name]().label}", str(threads), *figures, f"{os.getloadavg()[0]:.1f}"]
            print(f"| {' | '.join(row)} |", flush=True)
    if has_torch:
        print(f"\nTarget: at most {TARGET_RATIO} times PyTorch's time. Worst here: {worst:.2f}.")
    return 0 if worst <= TARGET_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
