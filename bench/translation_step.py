"""One training step of a translator on CPU: ours compared with PyTorch, paired in one run.

    make bench            # or: python bench/translation_step.py --threads 1 2 --rounds 9

The program is that of `table-2-nlp-mini`: its network, shapes of batches, label smoothing and Adam, with random tokens and no
data set. Ours is timed as it is used: `Translation.advance`, which also shuffles the pairs, fills up rows, counts wrong tokens
and takes norms. PyTorch has the network of `reference/translation.py` and its fused Adam, and gets ready batches. Tokens are
those of targets, without those that fill up.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from itertools import pairwise
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
from sides.pairs import TARGET_RATIO, cells, measure, serve

from sweeps.spec.sweep import load_spec
from workers.translation.corpus import PairTokens

ENTRY = "table-2-nlp-mini"
BATCHES = (2, 5)  # of each bucket in a round, about as in a pass over the entry's data
SHORTEST = 7  # tokens
RATE = 1e-4
SIDES = ("jax", "pytorch")


def batches_of(program: Any) -> list[PairTokens]:
    """Return random pairs that fill the batches of each bucket; the longer side of every pair falls into its bucket."""
    random, buckets = np.random.default_rng(0), program.data.buckets
    found = []
    for (shorter, longest), count in zip(pairwise((SHORTEST, *buckets)), BATCHES, strict=True):
        lengths = random.integers(shorter + 1, longest + 1, size=(program.batch_size // longest * count, 2))
        starts = np.concatenate([[0], np.cumsum(lengths)])
        tokens = random.integers(1, program.data.vocabulary_size, size=starts[-1]).astype(np.uint16)
        found.append(PairTokens(tokens=tokens, starts=starts))
    return found


def joined(parts: list[PairTokens]) -> PairTokens:
    lengths = np.concatenate([part.lengths.ravel() for part in parts])
    return PairTokens(
        tokens=np.concatenate([part.tokens for part in parts]), starts=np.concatenate([[0], np.cumsum(lengths)])
    )


def ours(program: Any) -> Callable[[], None]:
    import jax

    pairs = joined(batches_of(program))
    subwords = SimpleNamespace(size=program.data.vocabulary_size)
    corpus = SimpleNamespace(buckets=program.data.buckets, subwords=subwords, train=pairs)
    training = program.task.build(program, lambda data: corpus)
    key, steps = jax.random.key(0), sum(BATCHES)
    rates = np.full(2 * steps, RATE, np.float32)  # a segment that is longer than a round, so none ends with a search
    state = training.init(key)

    def run() -> None:
        nonlocal state
        state, _ = training.advance(state, training.hyper, rates, key, program.batch_size, (0, steps))
        jax.block_until_ready(state)

    return run


def pytorch(program: Any, threads: int) -> Callable[[], None]:
    import torch
    from reference.translation import Translator, smoothed_loss

    torch.set_num_threads(threads)
    fields = {name: value for name, value in asdict(program.model).items() if name != "kind"}
    network = Translator(**fields, vocabulary=program.data.vocabulary_size)
    torch.nn.init.normal_(network.embedding)
    named = {"lr": RATE, "betas": (program.optimizer.b1, program.optimizer.b2), "eps": program.optimizer.eps}
    optimizer = torch.optim.Adam(network.parameters(), fused=True, **named)
    batches = []
    for pairs, length, count in zip(batches_of(program), program.data.buckets, BATCHES, strict=True):
        for chosen in np.arange(len(pairs)).reshape(count, -1):
            rows = pairs.rows(chosen, len(chosen), length)
            batches.append(tuple(torch.from_numpy(side).long() for side in rows))

    def run() -> None:
        for sources, targets in batches:
            optimizer.zero_grad()
            smoothed_loss(network(sources, targets), targets, program.label_smoothing).backward()
            optimizer.step()

    return run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--serve", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    program: Any = load_spec(ENTRY).expand()[0].program
    if options.serve:
        threads = options.threads[0]
        serve(ours(program) if options.serve == "jax" else pytorch(program, threads), sum(BATCHES))
        return 0
    has_torch = find_spec("torch") is not None
    if not has_torch:
        print("PyTorch is not installed, so there is nothing to compare with: pip install torch==2.13.0\n")
    sides = SIDES if has_torch else SIDES[:1]
    print(f"Milliseconds per step of {ENTRY} on the clock, and of CPU time: ours and PyTorch; medians of rounds.")
    print("Ratios are medians over the pairs. With one thread the one of CPU times counts, else the other.")
    print("| threads | ours | PyTorch | ratio | CPU: ours | PyTorch | ratio | our tokens per CPU-s | load |")
    print("|---|---|---|---|---|---|---|---|---|")
    tokens = sum(int(pairs.lengths[:, 1].sum()) for pairs in batches_of(program)) / sum(BATCHES)
    worst = 0.0
    for threads in options.threads:
        command = [sys.executable, __file__, "--threads", str(threads), "--serve"]
        times = measure(command, sides, threads, options.rounds)
        figures, counts = cells(times, SIDES, threads)
        worst = max(worst, counts)
        rate = 1e3 * tokens / median(step.cpu for step in times[SIDES[0]])
        print(f"| {threads} | {' | '.join(figures)} | {rate:,.0f} | {os.getloadavg()[0]:.1f} |", flush=True)
    if has_torch:
        print(f"\nTarget: at most {TARGET_RATIO} times PyTorch's time. Worst here: {worst:.2f}.")
    return 0 if worst <= TARGET_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
