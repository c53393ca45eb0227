"""The one door to SentencePiece: vocabularies of pieces, opened from the bytes of a model file, or trained on texts."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from typing import Any

from workers.data import DataError
from workers.data.libraries import import_failure


class PieceModel:
    """A vocabulary of pieces, numbered from 0.

    Args:
        model: the content of a `.model` file.
        name: what errors call it.

    Raises:
        DataError: it is no such model.
    """

    def __init__(self, model: bytes, name: str) -> None:
        try:
            self._processor: Any = _library().SentencePieceProcessor(model_proto=model)
            size = int(self._processor.get_piece_size()) if model else 0
        except RuntimeError:
            size = 0
        if not size:
            raise DataError(f"{name}: must be a SentencePiece model, got {len(model)} bytes that are not one")
        self.size = size
        self.digest = hashlib.sha256(model).hexdigest()

    @property
    def filling(self) -> int:
        """The number of the padding piece; -1 without one."""
        return int(self._processor.pad_id())

    @property
    def end(self) -> int:
        """The number of the end-of-sentence piece; -1 without one."""
        return int(self._processor.eos_id())

    def number_or_unknown(self, piece: str) -> int:
        """Return the number of a piece; of an unknown one, that of the piece that stands for all unknown ones."""
        return int(self._processor.piece_to_id(piece))

    def piece(self, number: int) -> str:
        """Return a piece by its number."""
        return str(self._processor.id_to_piece(number))

    def pieces(self, text: str) -> list[str]:
        """Return the pieces of a text."""
        found: list[str] = self._processor.encode(text, out_type=str)
        return found

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the numbers of the pieces of each text."""
        found: list[list[int]] = self._processor.encode(list(texts), out_type=int)
        return found

    def decode(self, numbers: Sequence[int]) -> str:
        """Return the text of some pieces."""
        return str(self._processor.decode(list(numbers)))


def trained_pieces(texts: Iterable[str], size: int, **settings: Any) -> bytes:
    """Return a unigram model of so many pieces, as the bytes of a `.model` file; equal texts give equal bytes.

    Args:
        settings: of SentencePiece's trainer, such as the numbers of special pieces. A model tells which were given.

    Raises:
        DataError: the texts do not give that many pieces.
    """
    written = io.BytesIO()
    try:
        _library().SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=written,
            vocab_size=size,
            num_threads=1,  # sums over several threads are rounded in another order
            minloglevel=2,
            **settings,
        )
    except RuntimeError as error:
        reason = " ".join(str(error).split()).rpartition("] ")[2]
        raise DataError(f"vocabulary_size must fit the training texts, got {size}: {reason}") from None
    return written.getvalue()


def trainer_version() -> str:
    """Return the version of SentencePiece, which a trained model depends on."""
    return str(_library().__version__)


def _library() -> Any:
    try:
        import sentencepiece
    except ImportError as error:
        raise import_failure("a vocabulary", "sentencepiece", error, "sentencepiece") from error
    return sentencepiece
