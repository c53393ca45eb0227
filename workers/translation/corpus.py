"""Parallel texts as tokens, in memory: what a translation trains on and is tested on."""

from __future__ import annotations

import array
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from workers.data import DataError
from workers.translation import PAD
from workers.translation.pairs import PairSource, texts_of
from workers.translation.subwords import Subwords


@dataclass(frozen=True, kw_only=True, eq=False)
class PairTokens:
    """Pairs of token sequences, each with its end.

    Args:
        tokens: int[...], one pair after another, the source before the target.
        starts: i64[2 N + 1], where each sequence starts, and the end of the last.
    """

    tokens: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) // 2

    @cached_property
    def lengths(self) -> np.ndarray:
        """i32[N, 2]: tokens of source and target."""
        return np.diff(self.starts).astype(np.int32).reshape(-1, 2)

    def rows(self, chosen: np.ndarray, rows: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Return sources and targets of chosen pairs, i32[rows, length] each, filled up; longer ones lose their tail."""
        sides = (self._filled(2 * chosen + side, rows, length) for side in (0, 1))
        sources, targets = sides
        return sources, targets

    def _filled(self, sequences: np.ndarray, rows: int, length: int) -> np.ndarray:
        places = np.arange(length)
        starts, ends = (self.starts[sequences + step][:, None] for step in (0, 1))
        at = np.minimum(starts + places, ends - 1)
        taken = np.where(places < ends - starts, self.tokens[at], PAD)
        taken[:, -1] = np.where(places[-1] < (ends - starts)[:, 0], self.tokens[ends[:, 0] - 1], PAD)  # keeps the end
        filled = np.full((rows, length), PAD, np.int32)
        filled[: len(taken)] = taken
        return filled


@dataclass(frozen=True, kw_only=True, eq=False)
class ParallelCorpus:
    """Training pairs that fit the longest bucket, all test pairs, and the test's reference translations.

    Raises:
        DataError: no training pair fits, there is no test pair, or a token is beyond the vocabulary.
    """

    name: str
    subwords: Subwords
    buckets: tuple[int, ...]
    train: PairTokens
    test: PairTokens
    references: tuple[str, ...]
    left_out: int  # training pairs that are longer

    def __post_init__(self) -> None:
        if not len(self.train):
            rule = f"training pairs must have at most {self.buckets[-1]} tokens, the longest of buckets"
            raise DataError(f"{self.name}: {rule}; all {self.left_out} are longer")
        if not len(self.test):
            raise DataError(f"{self.name}: must have at least one test pair, got none")
        for part in (self.train, self.test):
            if (most := int(part.tokens.max())) >= self.subwords.size:
                raise DataError(
                    f"{self.name}: tokens must lie in 0..{self.subwords.size - 1}, the vocabulary's, got {most}"
                )

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) over the vocabulary's file, the buckets, all tokens and the references."""
        hashed = hashlib.sha256(repr((self.subwords.digest, self.buckets, self.references)).encode())
        for part in (self.train, self.test):
            for numbers in (part.tokens, part.starts):
                hashed.update(f"{numbers.dtype.str}{numbers.shape}".encode())
                hashed.update(np.ascontiguousarray(numbers).data)
        return hashed.hexdigest()


def encoded(
    sources: Sequence[PairSource], counts: Sequence[int], subwords: Subwords, longest: int | None = None
) -> tuple[PairTokens, int]:
    """Return the tokens of the first so many pairs of each source, and how many were left out as longer than `longest`."""
    tokens = array.array("H" if subwords.size <= 2**16 else "i")  # an array grows in place; two or four bytes a token
    lengths = array.array("i")
    left_out = 0
    for pair in _encoded_pairs(sources, counts, subwords):
        if longest is not None and max(map(len, pair)) > longest:
            left_out += 1
            continue
        for side in pair:
            tokens.extend(side)
            lengths.append(len(side))
    starts = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    return PairTokens(tokens=np.asarray(tokens), starts=starts), left_out


def _encoded_pairs(
    sources: Sequence[PairSource], counts: Sequence[int], subwords: Subwords
) -> Iterable[tuple[list[int], list[int]]]:
    for source, total in zip(sources, counts, strict=True):
        for found in texts_of(source, total):
            sides = (subwords.encode([pair[side] for pair in found]) for side in (0, 1))
            yield from zip(*sides, strict=True)
