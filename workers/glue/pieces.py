"""Sentences as numbers of SentencePiece's pieces, as ALBERT reads them: [CLS] first [SEP] second [SEP].

Axes: N examples, T positions.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from workers.data import DataError, DataMissing
from workers.glue.reading import LabelledSentences
from workers.text.vocabulary import PieceModel, trained_pieces

_SPACE = "\u2581"  # how SentencePiece writes a space
_NARROW = 2**16


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedSentences:
    """Examples as rows of pieces, filled up with piece 0, which no example counts.

    Args:
        pieces: uint16[N, T], or i32 for a vocabulary beyond 65,536.
        lengths: i32[N], pieces of the example.
        seconds: i32[N], where the second sentence begins; the number of pieces if there is only one.
        labels: i32[N], or f32[N] for scores.
    """

    pieces: np.ndarray
    lengths: np.ndarray
    seconds: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Vocabulary:
    """A SentencePiece model, as the bytes of its file.

    Args:
        lower_case: whether texts are written in lower case first, as for all of ALBERT's models.
        name: what errors call it.
    """

    model: bytes
    lower_case: bool = True
    name: str = "the vocabulary"

    @cached_property
    def opened(self) -> PieceModel:
        """The model; raises `DataError` if the bytes are not one."""
        return PieceModel(self.model, self.name)

    @property
    def size(self) -> int:
        """Number of pieces."""
        return self.opened.size

    @property
    def digest(self) -> str:
        """sha256 (hex) of the model."""
        return self.opened.digest

    def number(self, piece: str) -> int | None:
        """Return the number of a piece; None if there is no such piece."""
        number = self.opened.number_or_unknown(piece)
        return number if self.opened.piece(number) == piece else None

    def encoded(self, text: str) -> list[int]:
        """Return the pieces of a text, as ALBERT's code does: a comma after a digit is a piece of its own."""
        found = list[int]()
        for piece in self.opened.pieces(cleaned_text(text, self.lower_case)):
            parts = self._without_comma(piece) if piece[-1:] == "," and piece[-2:-1].isdigit() else [piece]
            found += map(self.opened.number_or_unknown, parts)
        return found

    def _without_comma(self, piece: str) -> list[str]:
        parts = self.opened.pieces(piece[:-1].replace(_SPACE, ""))
        if piece[0] != _SPACE and parts[0][0] == _SPACE:
            parts = parts[1:] if len(parts[0]) == 1 else [parts[0][1:], *parts[1:]]
        return [*parts, piece[-1]]

    def rows(self, sentences: LabelledSentences, max_length: int) -> Iterator[tuple[list[int], int]]:
        """Yield the pieces of each example and the position of its second sentence."""
        begins, ends = map(self.opened.number_or_unknown, ("[CLS]", "[SEP]"))
        for index, first in enumerate(sentences.firsts):
            one = self.encoded(first)
            if sentences.seconds is None:
                whole = [begins, *one[: max_length - 2], ends]
                yield whole, len(whole)
                continue
            other = self.encoded(sentences.seconds[index])
            _shorten(one, other, max_length - 3)
            yield [begins, *one, ends, *other, ends], len(one) + 2

    def encode_all(self, splits: Sequence[LabelledSentences], max_length: int) -> tuple[EncodedSentences, ...]:
        """Return examples as rows of one width: the longest of all, at most `max_length`."""
        found = [list(self.rows(split, max_length)) for split in splits]
        width = max(len(pieces) for rows in found for pieces, _ in rows)
        dtype = np.uint16 if self.size <= _NARROW else np.int32
        encoded = []
        for split, rows in zip(splits, found, strict=True):
            table = np.zeros((len(rows), width), dtype)
            for row, (pieces, _) in zip(table, rows, strict=True):
                row[: len(pieces)] = pieces
            lengths = np.array([len(pieces) for pieces, _ in rows], np.int32)
            seconds = np.array([second for _, second in rows], np.int32)
            encoded.append(EncodedSentences(pieces=table, lengths=lengths, seconds=seconds, labels=split.labels))
        return tuple(encoded)


def read_vocabulary(name: str, data_dir: Path | None, *, lower_case: bool) -> Vocabulary:
    """Return the SentencePiece model in a file below the data directory, such as "albert_base_v2/spiece.model".

    Raises:
        DataMissing: it is not there.
        DataError: it is not such a model, or lacks the pieces that mark the ends of sentences.
    """
    if data_dir is None:
        raise DataMissing(f"data.vocabulary {name}: a data directory must be given (--data-dir)")
    file = Path(data_dir) / name
    if not file.is_file():
        rule = "must be the SentencePiece file of the model, below the data directory"
        raise DataMissing(f"data.vocabulary {rule}, got {name!r}, and {file} does not exist")
    found = Vocabulary(model=file.read_bytes(), lower_case=lower_case, name=f"data.vocabulary: {file}")
    if None in map(found.number, ("[CLS]", "[SEP]")):
        raise DataError(f"data.vocabulary: {file} must have the pieces [CLS] and [SEP], which it lacks")
    return found


def trained_vocabulary(texts: Sequence[str], size: int, *, lower_case: bool) -> Vocabulary:
    """Return a unigram model of these texts, with ALBERT's special pieces: <pad>, <unk>, [CLS], [SEP], [MASK] are 0 to 4.

    Raises:
        DataError: the texts do not give that many pieces.
    """
    special = {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1}
    symbols = {"control_symbols": ["[CLS]", "[SEP]"], "user_defined_symbols": ["[MASK]"]}
    model = trained_pieces((cleaned_text(text, lower_case) for text in texts), size, **special, **symbols)
    return Vocabulary(model=model, lower_case=lower_case)


def cleaned_text(text: str, lower_case: bool) -> str:
    """Return a text as a vocabulary reads it: without accents, with single spaces, and in lower case if so asked."""
    plain = unicodedata.normalize("NFKD", " ".join(text.split()))
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    return plain.lower() if lower_case else plain


def _shorten(one: list[int], other: list[int], most: int) -> None:
    """Take pieces from the end of the longer sentence until both together have at most so many."""
    while len(one) + len(other) > most:
        (one if len(one) > len(other) else other).pop()
