"""Parallel texts: where they come from, their subwords, and every way in which they cannot be used."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parallel_texts import SOURCE, TARGET, made_up, texts_in, write_pairs
from tfds_files import TfdsWriter

from workers.data import DataError, DataMissing
from workers.translation import PAD, pairs, text_pairs
from workers.translation.corpus import PairTokens, ParallelCorpus, encoded
from workers.translation.subwords import TRAINER, Subwords, trained_model
from workers.translation.text_pairs import TextPairs


def pairs_of(given: dict[str, Any], **changed: Any) -> TextPairs:
    sizes = {"vocabulary_size": 32_000} if "vocabulary" in changed else {}  # the default
    values = given | sizes | changed
    return TextPairs(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Any]:
    return texts_in(tmp_path)


def sentences(corpus: ParallelCorpus, part: PairTokens, side: int) -> list[str]:
    tokens, starts = part.tokens.tolist(), part.starts.tolist()
    rows = [tokens[starts[2 * number + side] : starts[2 * number + side + 1]] for number in range(len(part))]
    assert all(row[-1] == corpus.subwords.end for row in rows)
    return corpus.subwords.decode(rows)


def test_texts_are_read_plain_and_gzipped_and_come_back_from_their_tokens(
    given: dict[str, Any], tmp_path: Path
) -> None:
    corpus = pairs_of(given).load(tmp_path)
    made = [made_up(120), made_up(10, seed=1)]
    found = set(zip(*(sentences(corpus, corpus.train, side) for side in (0, 1)), strict=True))
    kept = [pair for pair in made[0] if pair in found]
    assert len(corpus.train) == len(kept) == 120 - corpus.left_out
    assert corpus.train.lengths.max() <= 20
    assert [sentences(corpus, corpus.test, side) for side in (0, 1)] == [
        [pair[side] for pair in made[1]] for side in (0, 1)
    ]
    assert corpus.references == tuple(target for _, target in made[1])


def test_rows_are_filled_up_and_a_longer_one_keeps_its_end() -> None:
    tokens, starts = np.array([5, 6, 1, 7, 1, 5, 6, 7, 8, 1, 9, 1]), np.array([0, 3, 5, 10, 12])
    sources, targets = PairTokens(tokens=tokens, starts=starts).rows(np.array([1, 0]), rows=3, length=4)
    assert sources.tolist() == [[5, 6, 7, 1], [5, 6, 1, PAD], [PAD] * 4]
    assert targets.tolist() == [[9, 1, PAD, PAD], [7, 1, PAD, PAD], [PAD] * 4]


def test_back_translated_pairs_are_added(given: dict[str, Any], tmp_path: Path) -> None:
    more = made_up(30, seed=2, words=(2, 3))
    write_pairs(tmp_path / "back", more)
    alone = pairs_of(given).load(tmp_path)
    both = pairs_of(given, back_translated=["back"]).load(tmp_path)
    assert len(both.train) == len(alone.train) + 30
    assert sentences(both, both.train, 0)[-30:] == [source for source, _ in more]
    assert both.subwords.digest == alone.subwords.digest  # the vocabulary is that of `train`
    assert both.digest != alone.digest


def test_subsets_are_the_first_pairs(given: dict[str, Any], tmp_path: Path) -> None:
    corpus = pairs_of(given, subset=50, test_subset=3, vocabulary_size=38).load(tmp_path)
    assert len(corpus.train) + corpus.left_out == 50
    assert corpus.references == tuple(target for _, target in made_up(10, seed=1)[:3])


def test_a_vocabulary_is_trained_once_with_the_same_bits(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pairs_of(given).load(tmp_path)
    (kept,) = (tmp_path / "vocabularies").iterdir()
    again = trained_model([text for pair in made_up(120) for text in pair], 40)
    assert again == kept.read_bytes()
    kept.write_bytes(trained_model([text for pair in made_up(120) for text in pair], 39))  # whole, but another
    assert pairs_of(given).load(tmp_path).digest == first.digest
    assert again == kept.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("workers.translation.subwords.trained_model", None)
        assert pairs_of(given).load(tmp_path).digest == first.digest
    monkeypatch.setattr("workers.translation.subwords.TRAINER", {**TRAINER, "eos_id": 2, "unk_id": 1})
    assert pairs_of(given).load(tmp_path).digest != first.digest  # trained anew, with other settings


def test_a_given_vocabulary_is_used_and_its_file_is_in_the_digest(given: dict[str, Any], tmp_path: Path) -> None:
    model = trained_model([text for pair in made_up(120) for text in pair], 36)
    (tmp_path / "own.model").write_bytes(model)
    corpus = pairs_of(given, vocabulary="own.model").load(tmp_path)
    assert corpus.subwords.size == 36
    assert corpus.digest != pairs_of(given).load(tmp_path).digest


def test_tokens_of_a_vocabulary_that_does_not_reserve_the_first_are_shifted(tmp_path: Path) -> None:
    import sentencepiece

    texts = [text for pair in made_up(120) for text in pair]
    prefix = str(tmp_path / "usual")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_prefix=prefix, vocab_size=36, num_threads=1, minloglevel=2
    )
    usual = Subwords(Path(f"{prefix}.model").read_bytes(), "usual")
    assert (usual.size, usual.end) == (37, 3)
    (row,) = usual.encode([texts[0]])
    assert PAD not in row and row[-1] == usual.end
    assert usual.decode([[*row, 7, PAD]]) == [texts[0]]


@pytest.fixture
def tfds_texts(tfds_writer: TfdsWriter) -> Callable[..., None]:
    """Leave a set of translations as TFDS stores them."""

    def write(name: str, **splits: Any) -> None:
        examples = {
            split: [{"en": source.encode(), "de": target.encode()} for source, target in pairs]
            for split, pairs in splits.items()
        }
        tfds_writer.write(name, examples, {}, languages=("de", "en"))

    return write


def test_a_tfds_set_gives_what_the_same_texts_in_files_give(
    given: dict[str, Any], tfds_texts: Callable[..., None], tmp_path: Path
) -> None:
    tfds_texts("made_translate", train=made_up(120), test=made_up(10, seed=1))
    sources = {"train": ["tfds:made_translate@train"], "test": "tfds:made_translate@test"}
    assert pairs_of(given, **sources).load(tmp_path).digest == pairs_of(given).load(tmp_path).digest


def test_separators_inside_a_sentence_do_not_split_it(given: dict[str, Any], tmp_path: Path) -> None:
    expected = pairs_of(given).load(tmp_path)
    for side in ("en", "de"):
        file = tmp_path / "made-up" / f"train.{side}"
        file.write_bytes(file.read_bytes().replace(b" ", "\u2028".encode()).replace(b"\n", b"\x0b\r\n"))
    found = pairs_of(given).load(tmp_path)
    assert len(found.train) + found.left_out == len(expected.train) + expected.left_out


def test_blocks_of_any_size_give_the_same_corpus(
    given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = pairs_of(given, back_translated=["made-up/test"]).load(tmp_path).digest
    monkeypatch.setattr(pairs, "_BLOCK", 7)
    assert pairs_of(given, back_translated=["made-up/test"]).load(tmp_path).digest == expected
    with_an_empty_side(tmp_path)
    with pytest.raises(DataError, match="both sides of pair 120 must have text"):
        pairs_of(given).load(tmp_path)


def test_loading_holds_neither_texts_nor_an_object_for_each_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 4000
    made = made_up(count)
    subwords = Subwords(trained_model([text for pair in made[:120] for text in pair], 40), "made-up")
    write_pairs(tmp_path / "long", made)
    del made
    monkeypatch.setattr(pairs, "_BLOCK", 100)
    tracemalloc.start()
    source = pairs.open_pairs("long", ("en", "de"), tmp_path)
    found, left_out = encoded([source], [count], subwords, 64)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(found), left_out, found.tokens.dtype) == (count, 0, np.uint16)
    kept = found.tokens.nbytes + found.starts.nbytes
    assert kept < peak < kept + 60 * count  # an object for each pair is over 100 bytes


def shorter(content: bytes) -> bytes:
    return b"".join(content.splitlines(keepends=True)[:60])


def longer(content: bytes) -> bytes:
    return content + b"rot\n"


@pytest.mark.parametrize("change", [shorter, longer])
@pytest.mark.parametrize("sides", [("en",), ("de",), ("en", "de")])
def test_a_file_that_changes_while_it_is_read_is_named(
    given: dict[str, Any], tmp_path: Path, sides: tuple[str, ...], change: Callable[[bytes], bytes]
) -> None:
    source = pairs.open_pairs("made-up/train", ("en", "de"), tmp_path)
    files = [tmp_path / "made-up" / f"train.{side}" for side in sides]
    for file in files:
        file.write_bytes(change(file.read_bytes()))
    with pytest.raises(DataError, match=rf"{files[0]}: changed while it was read"):
        list(source.blocks(120))


def test_a_file_that_is_removed_while_it_is_read_is_named(given: dict[str, Any], tmp_path: Path) -> None:
    source = pairs.open_pairs("made-up/train", ("en", "de"), tmp_path)
    (tmp_path / "made-up" / "train.de").unlink()
    with pytest.raises(DataError, match=r"train\.de: cannot be read"):
        list(source.blocks(120))


def without_a_line(directory: Path) -> None:
    file = directory / "made-up" / "train.de"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))


def with_an_empty_side(directory: Path) -> None:
    write_pairs(directory / "made-up" / "train", [*made_up(119), ("red cat", " ")])


def in_latin_1(directory: Path) -> None:
    (directory / "made-up" / "train.de").write_bytes("Bär\n".encode("latin-1") * 120)


def broken_off(directory: Path) -> None:
    file = directory / "made-up" / "test.de.gz"
    file.write_bytes(file.read_bytes()[:-9])


def with_a_flipped_byte(directory: Path) -> None:
    file = directory / "made-up" / "test.de.gz"
    content = bytearray(file.read_bytes())
    content[12] ^= 0xFF  # the first after the header: another kind of block
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (without_a_line, r"train\.en and .*train\.de: must have one line for each of the other, got 120 and 119 lines"),
        (with_an_empty_side, r"made-up/train: both sides of pair 120 must have text, got \('red cat', ''\)"),
        (in_latin_1, r"train\.de:1: must be UTF-8 text, got 0xe4 as byte 2 of the line"),
        (broken_off, r"test\.de\.gz: cannot be read"),
        (with_a_flipped_byte, r"test\.de\.gz: cannot be read"),
        (lambda directory: write_pairs(directory / "made-up" / "train", []), "must have at least one pair"),
    ],
)
def test_texts_that_cannot_be_used(
    given: dict[str, Any], tmp_path: Path, spoil: Callable[[Path], None], rule: str
) -> None:
    spoil(tmp_path)
    with pytest.raises(DataError, match=rule):
        pairs_of(given).load(tmp_path)


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"train": ["other"]}, r"other\.en: does not exist, and neither does other\.en\.gz"),
        ({"vocabulary": "own.model"}, r"own\.model: the vocabulary does not exist; leave vocabulary out to train one"),
        ({"vocabulary": "made-up/train.en"}, "must be a SentencePiece model"),
        ({"vocabulary_size": 5000}, "vocabulary_size must fit the training texts, got 5000: .*<= "),
        ({"subset": 121}, "made-up/train: subset must be at most 120, the number of its pairs, got 121"),
        ({"buckets": [2]}, "at most 2 tokens, the longest of buckets; all 120 are longer"),
        ({"test": "tfds:none@test"}, "none is not prepared"),
    ],
)
def test_data_that_do_not_fit_each_other(
    given: dict[str, Any], tmp_path: Path, changed: dict[str, Any], rule: str
) -> None:
    with pytest.raises(DataError, match=rule):
        pairs_of(given, **changed).load(tmp_path)


def test_texts_need_a_directory(given: dict[str, Any]) -> None:
    with pytest.raises(DataMissing, match="a data directory must be given"):
        pairs_of(given).load(None)


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"languages": ["en", "en"]}, "languages must differ"),
        ({"train": []}, "train must have at least one source"),
        ({"train": ["/etc/passwd"]}, "train must name text files inside the data directory or tfds:NAME@SPLIT"),
        ({"train": ["tfds:../../elsewhere@train"]}, "train must name text files inside the data directory"),
        ({"back_translated": ["tfds:wmt17_translate/de-en"]}, "back_translated must name text files"),
        ({"test": "../secrets"}, "test must name text files inside"),
        ({"vocabulary": "/etc/passwd"}, "vocabulary must be a path inside the data directory"),
        (
            {"vocabulary": "a.model", "vocabulary_size": 100},
            "vocabulary_size must be left out where vocabulary names a",
        ),
        ({"vocabulary_size": 7}, "vocabulary_size must be at least 8, got 7"),
        ({"buckets": [20, 12]}, "buckets must be ascending"),
        ({"test_subset": 0}, "test_subset must be at least 1, or null, got 0"),
    ],
)
def test_fields_that_break_a_rule(given: dict[str, Any], changed: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        pairs_of(given, **changed)


def test_a_token_beyond_the_vocabulary(given: dict[str, Any], tmp_path: Path) -> None:
    corpus = pairs_of(given).load(tmp_path)
    wrong = PairTokens(tokens=np.array([5, 40, 1]), starts=np.array([0, 2, 3]))
    with pytest.raises(DataError, match=r"tokens must lie in 0\.\.39, the vocabulary's, got 40"):
        ParallelCorpus(
            name="made-up",
            subwords=corpus.subwords,
            buckets=(12,),
            train=wrong,
            test=corpus.test,
            references=corpus.references,
            left_out=0,
        )


def test_a_vocabulary_sees_equal_shares_of_all_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pairs(tmp_path / "one", made_up(300))
    write_pairs(tmp_path / "two", [(target, source) for source, target in made_up(300)])
    seen: list[str] = []
    monkeypatch.setattr(text_pairs, "_CHARACTERS", 2000)
    monkeypatch.setattr(
        "workers.translation.subwords.trained_model",
        lambda texts, size: seen.extend(texts) or trained_model(seen, size),  # type: ignore[func-returns-value]
    )
    TextPairs(train=("one", "two"), test="one", vocabulary_size=38, buckets=(64,)).load(tmp_path)
    shares = [sum(len(text) for text in seen[0::2] if text.split()[0] in words) for words in (SOURCE, TARGET)]
    assert 1900 < sum(map(len, seen)) < 2200
    assert min(shares) > 300
