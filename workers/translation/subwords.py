"""Subword vocabularies of sentencepiece: one that is given as a file, or one that is trained on texts.

Token 0 fills up rows and begins every target. A trained vocabulary reserves it; the tokens of a file that does not are shifted
by one.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence

import sentencepiece

from workers.data import DataError
from workers.translation import PAD


class Subwords:
    """A vocabulary, from the bytes of a sentencepiece model.

    Args:
        model: the content of a `.model` file.
        name: what errors call it.

    Raises:
        DataError: it is no such model, or its model has no token for the end of a sentence.
    """

    def __init__(self, model: bytes, name: str) -> None:
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError:
            raise DataError(f"{name}: must be a sentencepiece model, got {len(model)} bytes that are none") from None
        if self._processor.eos_id() < 0:
            raise DataError(f"{name}: must have a token for the end of a sentence (eos), got none")
        self._shift = 0 if self._processor.pad_id() == PAD else 1
        self.digest = hashlib.sha256(model).hexdigest()

    @property
    def size(self) -> int:
        """Number of tokens, with the one that fills up."""
        return int(self._processor.get_piece_size()) + self._shift

    @property
    def end(self) -> int:
        """The token at the end of a sentence."""
        return int(self._processor.eos_id()) + self._shift

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, the last one `end`."""
        found = self._processor.encode(list(texts), out_type=int)
        return [[token + self._shift for token in tokens] + [self.end] for tokens in found]

    def decode(self, rows: Iterable[Sequence[int]]) -> list[str]:
        """Return the text of each row, up to its first `end`."""
        return [self._processor.decode(self._pieces(row)) for row in rows]

    def _pieces(self, row: Sequence[int]) -> list[int]:
        tokens = [int(token) for token in row]
        kept = tokens[: tokens.index(self.end)] if self.end in tokens else tokens
        return [token - self._shift for token in kept if token != PAD]


def trained_model(texts: Iterable[str], size: int) -> bytes:
    """Return a unigram model of so many tokens, as the bytes of a `.model` file; equal texts give equal bytes.

    Raises:
        DataError: the texts are too short for so many tokens.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="unigram",
            vocab_size=size,
            character_coverage=1.0,
            pad_id=PAD,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            num_threads=1,  # sums over several threads are rounded in another order
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = " ".join(str(error).split()).rpartition("] ")[2]
        raise DataError(f"vocabulary_size must fit the training texts, got {size}: {reason}") from None
    return model.getvalue()
