"""SentencePiece's door: what is no model, and texts that come back."""

import pytest
from parallel_texts import made_up

from workers.data import DataError
from workers.text.vocabulary import PieceModel, trained_pieces


@pytest.mark.parametrize("content", [b"", b"no model", bytes(100)])
def test_bytes_that_are_no_model_are_refused(content: bytes) -> None:
    message = f"my.model: must be a SentencePiece model, got {len(content)} bytes that are not one"
    with pytest.raises(DataError, match=message):
        PieceModel(content, "my.model")


def test_texts_come_back_from_their_pieces() -> None:
    texts = [side for pair in made_up(100) for side in pair]
    settings = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    model = trained_pieces(texts, 40, **settings)
    assert trained_pieces(texts, 40, **settings) == model
    found = PieceModel(model, "mine")
    assert (found.size, found.filling, found.end) == (40, 0, 1)
    (numbers,) = found.encode(texts[7:8])
    assert found.decode(numbers) == texts[7]
    assert [found.piece(number) for number in numbers] == found.pieces(texts[7])
    assert [found.number_or_unknown(piece) for piece in found.pieces(texts[7])] == numbers
