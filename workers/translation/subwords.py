"""Subword vocabularies of SentencePiece: one that is given as a file, or one that is trained on texts.

Token 0 fills up rows and begins every target. A trained vocabulary reserves it; the tokens of a file that does not are shifted
by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from workers.data import DataError
from workers.text.vocabulary import PieceModel, trained_pieces
from workers.translation import PAD


class Subwords:
    """A vocabulary, from the bytes of a SentencePiece model.

    Args:
        model: the content of a `.model` file.
        name: what errors call it.

    Raises:
        DataError: it is no such model, or its model has no token for the end of a sentence.
    """

    def __init__(self, model: bytes, name: str) -> None:
        self._model = PieceModel(model, name)
        if self._model.end < 0:
            raise DataError(f"{name}: must have a token for the end of a sentence (eos), got none")
        self._shift = 0 if self._model.filling == PAD else 1

    @property
    def digest(self) -> str:
        """sha256 (hex) of the model."""
        return self._model.digest

    @property
    def size(self) -> int:
        """Number of tokens, with the one that fills up."""
        return self._model.size + self._shift

    @property
    def end(self) -> int:
        """The token at the end of a sentence."""
        return self._model.end + self._shift

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, the last one `end`."""
        end, shift = self.end, self._shift
        return [[token + shift for token in tokens] + [end] for tokens in self._model.encode(texts)]

    def decode(self, rows: Iterable[Sequence[int]]) -> list[str]:
        """Return the text of each row, up to its first `end`."""
        return [self._model.decode(self._pieces(row)) for row in rows]

    def _pieces(self, row: Sequence[int]) -> list[int]:
        tokens = [int(token) for token in row]
        kept = tokens[: tokens.index(self.end)] if self.end in tokens else tokens
        return [token - self._shift for token in kept if token != PAD]


# What SentencePiece's trainer is given besides texts and size, which determine the model with its version.
TRAINER: Mapping[str, Any] = {
    "model_type": "unigram",
    "character_coverage": 1.0,
    "pad_id": PAD,
    "eos_id": 1,
    "unk_id": 2,
    "bos_id": -1,
}


def trained_model(texts: Iterable[str], size: int) -> bytes:
    """Return a unigram model of so many tokens, as the bytes of a `.model` file; equal texts give equal bytes.

    Raises:
        DataError: the texts are too short for so many tokens.
    """
    return trained_pieces(texts, size, **TRAINER)
