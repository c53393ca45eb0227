"""Memory that loading parallel texts takes, in bytes a pair: at its peak, and held afterwards.

    python bench/translation_memory.py --pairs 500000

The pairs are made-up words, about as many a sentence as in WMT's German and English, in two plain text files. They are loaded by
a process of its own; what it has taken before, and for a thousand pairs, is left out.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from workers.translation.subwords import trained_model
from workers.translation.text_pairs import TextPairs

WORDS = 25  # of a sentence, on average
LEXICON = 20_000
PIECES = 1000
FEW = 1000  # pairs that are loaded first
SYLLABLES = ("ba", "ker", "lo", "mit", "nu", "sch", "tra", "ung", "ver", "wei", "zen", "\u00fcb")


def write(folder: Path, pairs: int) -> None:
    """Leave the pairs, a few of them, and a vocabulary."""
    random = np.random.default_rng(0)
    words = np.array(["".join(random.choice(SYLLABLES, size)) for size in random.integers(1, 5, LEXICON)])
    for side in ("en", "de"):
        with (folder / f"all.{side}").open("w", encoding="utf-8") as file:
            for start in range(0, pairs, 10_000):
                lengths = random.integers(5, 2 * WORDS - 5, min(10_000, pairs - start))
                chosen = words[random.zipf(1.3, lengths.sum()) % LEXICON]
                rows = np.split(chosen, np.cumsum(lengths)[:-1])
                file.writelines(f"{' '.join(row)}.\n" for row in rows)
        with (folder / f"all.{side}").open(encoding="utf-8") as file:
            few = [line for line, _ in zip(file, range(FEW), strict=False)]
        (folder / f"few.{side}").write_text("".join(few), encoding="utf-8")
    texts = (folder / "few.en").read_text(encoding="utf-8") + (folder / "few.de").read_text(encoding="utf-8")
    (folder / "own.model").write_bytes(trained_model(texts.splitlines(), PIECES))


def memory() -> tuple[int, int]:
    """Return the bytes that this process has in memory, and has had at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kib = {
        name: int(value.split()[0]) for name, value in (line.split(":", 1) for line in lines) if name.startswith("Vm")
    }
    return 1024 * kib["VmRSS"], 1024 * kib["VmHWM"]


def measure(folder: Path) -> None:
    few = TextPairs(train=("few",), test="few", test_subset=100, vocabulary="own.model")
    few.load(folder)
    before, _ = memory()
    began = time.process_time()
    corpus = TextPairs(train=("all",), test="few", test_subset=100, vocabulary="own.model").load(folder)
    seconds = time.process_time() - began
    corpus.train.lengths.max()
    (held, peak), pairs = memory(), len(corpus.train) + corpus.left_out
    text = sum((folder / f"all.{side}").stat().st_size for side in ("en", "de")) / pairs
    print(f"{pairs:,} pairs, {text:.0f} bytes of text and {len(corpus.train.tokens) / pairs:.0f} tokens each")
    print(f"a pair: {(peak - before) / pairs:.0f} bytes at the peak, {(held - before) / pairs:.0f} held")
    print(f"{pairs / seconds:,.0f} pairs a CPU-second")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=500_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options, _ = parser.parse_known_args()
    if options.measure is not None:
        measure(options.measure)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), options.pairs)
        subprocess.run([sys.executable, __file__, "--measure", folder], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
