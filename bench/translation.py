"""Translation: the speed of loading, a training step, the test and the search, and the BLEU of translators that do not learn.

    python bench/translation.py --data FOLDER      # with `multi30k/` inside, as the catalogue's `table-2-nlp-mini` says

The program is that entry's. Without the data it measures nothing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sweeps.spec.sweep import load_spec
from workers.translation.pairs import TextPair, open_pairs, texts_of
from workers.translation.scores import bleu
from workers.translation.training import Translation

STEPS = 40
RATE = 1e-3


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU-seconds of a call, whose result is waited for, and the result."""
    began = time.process_time()
    found = jax.block_until_ready(call())
    return time.process_time() - began, found


def words(text: str) -> list[str]:
    return text.replace(".", " .").replace(",", " ,").split()


def word_for_word(pairs: Sequence[TextPair]) -> Callable[[str], str]:
    """Return the translator of each word by that with the highest Dice coefficient over the training pairs."""
    together: Counter[tuple[str, str]] = Counter()
    alone: tuple[Counter[str], Counter[str]] = Counter(), Counter()
    for pair in pairs:
        source, target = (set(words(side)) for side in pair)
        alone[0].update(source)
        alone[1].update(target)
        together.update((one, other) for one in source for other in target)
    best: dict[str, tuple[float, str]] = {}
    for (one, other), count in together.items():
        share = 2 * count / (alone[0][one] + alone[1][other])
        best[one] = max(best.get(one, (0.0, one)), (share, other))
    return lambda text: " ".join(best.get(word, (0.0, word))[1] for word in words(text))


def baselines(data: Any, folder: Path) -> dict[str, float]:
    """Return the BLEU of copying the source, and of translating word for word."""
    train, test = (open_pairs(place, data.languages, folder) for place in (data.train[0], data.test))
    seen, unseen = (
        list(chain.from_iterable(texts_of(*one))) for one in ((train, data.subset), (test, data.test_subset))
    )
    translate, references = word_for_word(seen), [pair.target for pair in unseen]
    return {
        "copying the source": bleu([pair.source for pair in unseen], references),
        "word for word": bleu([translate(pair.source) for pair in unseen], references),
    }


def speeds(program: Any, folder: Path) -> list[tuple[str, float, float, str]]:
    """Return what was done, its CPU-seconds, and how many of a unit a CPU-second does."""
    seconds, corpus = timed(lambda: program.data.load(folder))
    pairs = len(corpus.train) + corpus.left_out + len(corpus.test)
    found = [("load, with its vocabulary", seconds, pairs / seconds, "pairs")]
    training: Translation = program.task.build(program, lambda data: corpus)
    rates, key = np.full(3 * STEPS, RATE, np.float32), jax.random.key(0)

    def train(state: Any, first: int) -> Any:
        return training.advance(state, training.hyper, rates, key, program.batch_size, (first, first + STEPS))

    compiling, (state, _) = timed(lambda: train(training.init(key), 0))
    seconds, (state, sums) = timed(lambda: train(state, STEPS))
    tokens = int(np.sum(sums.batches.sums.tokens))
    found.append(
        (f"{STEPS} steps, compiled first in {compiling - seconds:.0f} s", seconds, tokens / seconds, "target tokens")
    )
    for what, call in (("test", training.evaluate), ("search", training.translations)):
        call(state)
        seconds, _ = timed(lambda call=call: call(state))
        found.append((what, seconds, len(corpus.test) / seconds, "sentences"))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FOLDER")
    options, _ = parser.parse_known_args()
    if options.data is None:
        print("Nothing measured: --data FOLDER names the folder with multi30k.")
        return 0
    jax.config.update("jax_platforms", "cpu")
    program = load_spec("table-2-nlp-mini").expand()[0].program
    print("| translator | BLEU |\n|---|---|")
    for name, score in baselines(program.data, options.data).items():
        print(f"| {name} | {score:.1f} |")
    print("\n| what | CPU-s | per CPU-s |\n|---|---|---|")
    for what, seconds, rate, unit in speeds(program, options.data):
        print(f"| {what} | {seconds:.1f} | {rate:,.0f} {unit} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
