"""The data of pre-training: lines of text, encoded for a network. Some of them are held out for the test.

Axes: N lines, T positions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from workers.config import is_inside, require
from workers.data import DataError, DataMissing
from workers.glue.benchmark import GLUE_NAMES, GlueName
from workers.glue.pieces import EncodedSentences, Vocabulary, cleaned_text, read_vocabulary, trained_vocabulary
from workers.glue.reading import LabelledSentences, sentences_of_tfds, sentences_of_tsv
from workers.text.kept import kept_model
from workers.text.lines import lines_of, plain_or_zipped
from workers.text.vocabulary import trainer_version

MASK = "[MASK]"
_CHARACTERS = 10_000_000  # of the lines that a vocabulary is trained on, as for translations
_ENDS = 2  # pieces that mark the ends of a line, which are never masked


@dataclass(frozen=True, kw_only=True)
class PlainTexts:
    """Lines of text files, and the training sentences of GLUE tasks. Equal lines count once, empty ones do not count."""

    files: tuple[str, ...] = ()  # UTF-8, a sentence or passage a line, below the data directory; plain or with ".gz"
    glue: tuple[GlueName, ...] = ()  # tasks whose training sentences are read too, one a line
    source: Literal["tfds", "tsv"] = "tfds"  # of those: TensorFlow Datasets' glue/NAME, or the TSV files in glue/SST-2
    vocabulary: str | None = None  # SentencePiece file, below the data directory; null: trained on the training lines
    vocabulary_size: int = 2000  # pieces of a vocabulary that is trained
    lower_case: bool = True  # write texts in lower case first, as for all of ALBERT's models
    max_length: int = 128  # pieces of a line, those that mark its ends included; longer ones lose their end
    held_out: int = 1000  # lines that are tested and not trained, evenly spaced over all lines

    def __post_init__(self) -> None:
        require(bool(self.files or self.glue), "files", "have at least one text file, unless glue names a task", ())
        inside = all(map(is_inside, self.files))
        require(inside, "files", "be paths inside the data directory", self.files)
        require(set(self.glue) <= set(GLUE_NAMES), "glue", f"be some of {', '.join(GLUE_NAMES)}", self.glue)
        require(self.source in ("tfds", "tsv"), "source", "be 'tfds' or 'tsv'", self.source)
        inside = self.vocabulary is None or is_inside(self.vocabulary)
        require(inside, "vocabulary", "be a path inside the data directory, or null", self.vocabulary)
        require(self.vocabulary_size >= 8, "vocabulary_size", "be at least 8", self.vocabulary_size)
        holds = self.vocabulary is None or self.vocabulary_size == 2000
        require(holds, "vocabulary_size", "be left out where vocabulary names a file", self.vocabulary_size)
        require(8 <= self.max_length <= 4096, "max_length", "lie in [8, 4096]", self.max_length)
        require(self.held_out >= 1, "held_out", "be at least 1", self.held_out)

    def load(self, data_dir: Path | None) -> EncodedLines:
        """Read and encode the lines.

        Raises:
            DataMissing: a file, a task's sentences or the vocabulary are not there.
            DataError: they cannot be read, there are too few lines, or the vocabulary has no [MASK].
        """
        train, test = self._split(list(self._distinct(data_dir)))
        if self.vocabulary is None:
            vocabulary = self._trained(train, data_dir)
        else:
            vocabulary = read_vocabulary(self.vocabulary, data_dir, lower_case=self.lower_case)
        mask = vocabulary.number(MASK)
        if mask is None:
            raise DataError(f"data.vocabulary {self.vocabulary}: must have the piece {MASK}, which it lacks")
        encoded = vocabulary.encode_all([_unlabelled(train), _unlabelled(test)], self.max_length)
        splits = [EncodedSplit.those_with_pieces(split) for split in encoded]
        if not all(len(split.lengths) for split in splits):
            raise DataError("data: training and held-out lines must have pieces, got only lines without any")
        return EncodedLines(train=splits[0], test=splits[1], vocabulary=vocabulary, mask=mask)

    def _trained(self, lines: Sequence[str], data_dir: Path | None) -> Vocabulary:
        """Return the vocabulary of the lines, from the data directory if it is kept there."""
        texts = lines[:: max(1, -(-sum(map(len, lines)) // _CHARACTERS))]
        settings = (trainer_version(), "masked_lm", self.vocabulary_size, self.lower_case)
        named = hashlib.sha256(repr(settings).encode())
        named.update("\n".join(texts).encode())
        model = kept_model(
            data_dir,
            named.hexdigest(),
            lambda: trained_vocabulary(texts, self.vocabulary_size, lower_case=self.lower_case).model,
        )
        return Vocabulary(model=model, lower_case=self.lower_case)

    def _distinct(self, data_dir: Path | None) -> Iterator[str]:
        """Yield lines with single spaces, of those that a vocabulary reads alike the first."""
        seen: set[str] = set()
        for text in self._texts(data_dir):
            line = " ".join(text.split())
            compared = cleaned_text(line, self.lower_case)
            if line and compared not in seen:
                seen.add(compared)
                yield line

    def _texts(self, data_dir: Path | None) -> Iterator[str]:
        if data_dir is None:
            raise DataMissing("data: a data directory must be given (--data-dir)")
        for name in self.files:
            yield from _lines(name, Path(data_dir))
        read = sentences_of_tsv if self.source == "tsv" else sentences_of_tfds
        for task in self.glue:
            sentences, _ = read(task, data_dir)
            yield from sentences.firsts
            yield from sentences.seconds or ()

    def _split(self, lines: Sequence[str]) -> tuple[list[str], list[str]]:
        if self.held_out >= len(lines):
            rule = f"data.held_out must be below {len(lines)}, the number of distinct lines"
            raise DataError(f"{rule}, got {self.held_out}")
        tested = {number * len(lines) // self.held_out for number in range(self.held_out)}
        train = [line for number, line in enumerate(lines) if number not in tested]
        return train, [lines[number] for number in sorted(tested)]


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedSplit:
    """A split: pieces, uint16 or i32[N, T], filled up with piece 0; and lengths, i32[N], the ends included."""

    pieces: np.ndarray
    lengths: np.ndarray

    @classmethod
    def those_with_pieces(cls, split: EncodedSentences) -> EncodedSplit:
        """Return the lines in which something can be masked: some characters have no piece."""
        kept = split.lengths > _ENDS
        return cls(pieces=split.pieces[kept], lengths=split.lengths[kept])

    def to_mask(self, share: float) -> np.ndarray:
        """Return how many pieces of each line are masked, i32[N]: a share of them, rounded, and at least one."""
        return np.maximum(1, np.floor(share * (self.lengths - _ENDS) + 0.5)).astype(np.int32)


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedLines:
    """Lines as a network reads them; `mask` is the number of the piece [MASK]."""

    train: EncodedSplit
    test: EncodedSplit
    vocabulary: Vocabulary
    mask: int

    @property
    def examples(self) -> int:
        """Number of training lines."""
        return len(self.train.lengths)

    @property
    def width(self) -> int:
        """Number of positions of a line."""
        return int(self.train.pieces.shape[1])

    @cached_property
    def most_frequent(self) -> float:
        """Share of the most frequent piece among those of the held-out lines, in percent: the accuracy of guessing."""
        inner = np.arange(self.width)[None, :]
        counted = self.test.pieces[(inner > 0) & (inner < self.test.lengths[:, None] - 1)]
        return 100 * int(np.bincount(counted).max()) / len(counted)

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) over the vocabulary, and dtype, shape and bytes of all arrays."""
        hashed = hashlib.sha256(self.vocabulary.digest.encode())
        for split in (self.train, self.test):
            for array in (split.pieces, split.lengths):
                hashed.update(f"{array.dtype.str}{array.shape}".encode())
                hashed.update(np.ascontiguousarray(array).data)
        return hashed.hexdigest()


def _unlabelled(lines: Sequence[str]) -> LabelledSentences:
    return LabelledSentences(firsts=lines, seconds=None, labels=np.zeros(len(lines), np.int32))


def _lines(name: str, data_dir: Path) -> list[str]:
    file = plain_or_zipped(data_dir / name)
    if file is None:
        raise DataMissing(f"data.files: must name text files below the data directory, {data_dir} has no {name!r}")
    lines = list(lines_of(file))
    if not any(map(str.strip, lines)):
        raise DataError(f"{file}: must have at least one line that is not empty, got none")
    return lines
