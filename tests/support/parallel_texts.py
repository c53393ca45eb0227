"""A small made-up language and its translation: every word has one, and the order of words is reversed."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

SOURCE = ("red", "blue", "small", "old", "cat", "dog", "bird", "tree", "sees", "eats", "likes", "finds")
TARGET = ("rot", "blau", "klein", "alt", "katze", "hund", "vogel", "baum", "sieht", "frisst", "mag", "findet")
Pair = tuple[str, str]


def made_up(count: int, seed: int = 0, words: tuple[int, int] = (2, 6)) -> list[Pair]:
    """Random sentences of at least and fewer than so many words, with their translations."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        chosen = random.integers(len(SOURCE), size=random.integers(*words))
        found.append((" ".join(SOURCE[word] for word in chosen), " ".join(TARGET[word] for word in chosen[::-1])))
    return found


def write_pairs(place: Path, pairs: Sequence[Pair], languages: Pair = ("en", "de"), zipped: bool = False) -> None:
    """Leave two text files, one for each side, whose names begin with `place`."""
    place.parent.mkdir(parents=True, exist_ok=True)
    for side, language in enumerate(languages):
        content = "".join(f"{pair[side]}\n" for pair in pairs).encode()
        file = place.with_name(f"{place.name}.{language}{'.gz' * zipped}")
        file.write_bytes(gzip.compress(content) if zipped else content)


def texts_in(directory: Path, train: int = 120, test: int = 10) -> dict[str, Any]:
    """Leave training and test pairs in `directory`; return a program's `data` that reads them."""
    write_pairs(directory / "made-up" / "train", made_up(train))
    write_pairs(directory / "made-up" / "test", made_up(test, seed=1), zipped=True)
    return {
        "kind": "text_pairs",
        "train": ["made-up/train"],
        "test": "made-up/test",
        "vocabulary_size": 40,
        "buckets": [12, 20],
    }
