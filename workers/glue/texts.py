"""The data of a program: a GLUE task's sentences, encoded for a network."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from workers.config import is_inside, require
from workers.glue.benchmark import GLUE_NAMES, GlueName
from workers.glue.pieces import EncodedSentences, read_vocabulary, trained_vocabulary
from workers.glue.reading import sentences_of_tfds, sentences_of_tsv


@dataclass(frozen=True, kw_only=True)
class GlueTexts:
    """A task of GLUE, from the data directory."""

    name: GlueName  # the task, as TensorFlow Datasets spells it
    source: Literal["tfds", "tsv"] = "tfds"  # TensorFlow Datasets' glue/NAME, or the TSV files in glue/SST-2 and so on
    vocabulary: str | None = None  # SentencePiece file, below the data directory; null: trained on the texts
    vocabulary_size: int = 2000  # pieces of a vocabulary that is trained on the texts
    lower_case: bool = True  # write texts in lower case first, as for all of ALBERT's models
    max_length: int = 128  # pieces of an example; longer ones lose the end of their longer sentence
    subset: int | None = None  # use only the first `subset` training examples; null for all
    test_subset: int | None = None  # use only the first `test_subset` examples of each test set; null for all

    def __post_init__(self) -> None:
        require(self.name in GLUE_NAMES, "name", f"be one of {', '.join(GLUE_NAMES)}", self.name)
        require(self.source in ("tfds", "tsv"), "source", "be 'tfds' or 'tsv'", self.source)
        inside = self.vocabulary is None or is_inside(self.vocabulary)
        require(inside, "vocabulary", "be a path inside the data directory, or null", self.vocabulary)
        require(self.vocabulary_size >= 8, "vocabulary_size", "be at least 8", self.vocabulary_size)
        holds = self.vocabulary is None or self.vocabulary_size == 2000
        require(holds, "vocabulary_size", "be left out where vocabulary names a file", self.vocabulary_size)
        require(8 <= self.max_length <= 4096, "max_length", "lie in [8, 4096]", self.max_length)
        for name in ("subset", "test_subset"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, "be at least 1, or null", value)

    def load(self, data_dir: Path | None) -> EncodedGlue:
        """Read and encode the sentences; raise `DataError` if they or the vocabulary cannot be read."""
        read = sentences_of_tsv if self.source == "tsv" else sentences_of_tfds
        train, tests = read(self.name, data_dir)
        train = train.subset(self.subset, "subset")
        tests = tuple(test.subset(self.test_subset, "test_subset") for test in tests)
        if self.vocabulary is None:
            texts = [*train.firsts, *(train.seconds or ())]
            vocabulary = trained_vocabulary(texts, self.vocabulary_size, lower_case=self.lower_case)
        else:
            vocabulary = read_vocabulary(self.vocabulary, data_dir, lower_case=self.lower_case)
        encoded, *encoded_tests = vocabulary.encode_all([train, *tests], self.max_length)
        return EncodedGlue(
            name=self.name,
            train=encoded,
            tests=tuple(encoded_tests),
            vocabulary=vocabulary.size,
            vocabulary_digest=vocabulary.digest,
            lower_case=self.lower_case,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedGlue:
    """A task's examples as a network reads them; `vocabulary` is the number of pieces."""

    name: GlueName
    train: EncodedSentences
    tests: tuple[EncodedSentences, ...]  # two for MNLI: matched and mismatched
    vocabulary: int
    vocabulary_digest: str  # sha256 (hex) of the SentencePiece model
    lower_case: bool  # whether the texts were written in lower case first

    @property
    def examples(self) -> int:
        """Number of training examples."""
        return len(self.train.labels)

    @property
    def width(self) -> int:
        """Number of positions of an example."""
        return int(self.train.pieces.shape[1])

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) over the task, the vocabulary, and dtype, shape and bytes of all arrays."""
        hashed = hashlib.sha256(repr((self.name, self.vocabulary_digest)).encode())
        for split in (self.train, *self.tests):
            for array in (split.pieces, split.lengths, split.seconds, split.labels):
                hashed.update(f"{array.dtype.str}{array.shape}".encode())
                hashed.update(array.tobytes())
        return hashed.hexdigest()
