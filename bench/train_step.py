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
import sys
from collections.abc import Callable
from importlib.util import find_spec

from sides.catalogue import WORKLOADS
from sides.pairs import TARGET_RATIO, cells, measure, serve
from sides.workloads import Workload

SIDES = ("jax", "nchw", "channels_last")


def round_of(side: str, workload: Workload, threads: int) -> Callable[[], None]:
    """Return what trains a round of one side; its framework is imported only here, and reads the threads when it starts."""
    if side == "jax":
        from sides import ours

        return ours.training_round(workload)
    import torch
    from sides import pytorch

    torch.set_num_threads(threads)
    return pytorch.training_round(workload, channels_last=side == "channels_last")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", choices=WORKLOADS, nargs="+", default=list(WORKLOADS))
    parser.add_argument("--serve", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        workload = WORKLOADS[options.only[0]]()
        serve(round_of(options.serve, workload, options.threads[0]), workload.steps)
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
            command = [sys.executable, __file__, "--threads", str(threads), "--only", name, "--serve"]
            figures, counts = cells(measure(command, sides, threads, options.rounds), SIDES, threads)
            worst = max(worst, counts)
            row = [f"{name}: {WORKLOADS[name]().label}", str(threads), *figures, f"{os.getloadavg()[0]:.1f}"]
            print(f"| {' | '.join(row)} |", flush=True)
    if has_torch:
        print(f"\nTarget: at most {TARGET_RATIO} times PyTorch's time. Worst here: {worst:.2f}.")
    return 0 if worst <= TARGET_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
