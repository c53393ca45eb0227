"""GLUE's sentences from TSV files and from TensorFlow Datasets, and as pieces of a SentencePiece model."""

import gzip
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tfds_files import FEATURES, TfdsWriter

from workers.data import DataError, DataMissing
from workers.glue.benchmark import GLUE_NAMES, TFDS_SENTENCES, TSV_LAYOUTS, GlueName
from workers.glue.pieces import Vocabulary, read_vocabulary, trained_vocabulary
from workers.glue.reading import LabelledSentences, sentences_of_tfds, sentences_of_tsv
from workers.glue.texts import GlueTexts

SHARED = Path(os.environ.get("ABEL_SHARED_DATA") or Path(__file__).resolve().parents[4] / "shared" / "data" / "text")
needs_texts = pytest.mark.skipif(not (SHARED / "glue").is_dir(), reason="needs the texts of GLUE (ABEL_SHARED_DATA)")
SENTENCE = "the cat sat on a mat while 3 dogs, 12,000 birds and one fish slept near some grey house"
WORDS = SENTENCE.split()
TEXTS = [" ".join(np.random.default_rng(n).permutation(WORDS)[: 4 + n % 9]) for n in range(120)]
# As in GLUE's download: a header, unless the task has none, and two rows.
ROWS: dict[GlueName, tuple[str, ...]] = {
    "mnli": (
        "index\tsentence1\tsentence2\tlabel1\tgold_label",
        "0\tone\ttwo\tx\tneutral",
        "1\tthree\tfour\tx\tentailment",
    ),
    "qqp": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
        "1\t2\t3\tone\ttwo\t0",
        "4\tbroken",
        "5\t6\t7\tthree\tfour\t1",
    ),
    "qnli": ("index\tquestion\tsentence\tlabel", "0\tone\ttwo\tentailment", '1\tthree "\tfour\tnot_entailment'),
    "sst2": ("sentence\tlabel", "one \t0", "two \t1"),
    "cola": ("gj04\t1\t\tOne.", "gj04\t0\t*\tTwo."),
    "stsb": ("main\tfile\t2012\t1\t5.000\tone\ttwo", "main\tfile\t2012\t2\t1.25\tthree\tfour\tsource"),
    "mrpc": ("\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String", "1\t2\t3\tone\ttwo", "0\t4\t5\tthree\tfour"),
    "rte": ("index\tsentence1\tsentence2\tlabel", "0\tone\ttwo\tentailment", "2\tthree\tfour\tnot_entailment"),
}
LABELS = {
    "mnli": [1, 0],
    "qqp": [0, 1],
    "qnli": [0, 1],
    "sst2": [0, 1],
    "cola": [1, 0],
    "stsb": [5, 1.25],
    "mrpc": [1, 0],
    "rte": [0, 1],
}


def lay_out(folder: Path, name: GlueName, rows: tuple[str, ...] = ()) -> Path:
    """The files of a task, in `folder`/glue; the test files are packed."""
    layout = TSV_LAYOUTS[name]
    text = "\n".join(rows or ROWS[name]) + "\n"
    place = folder / "glue" / layout.folder
    place.mkdir(parents=True)
    (place / layout.train[-1][0]).write_text(text)
    for choices in layout.tests:
        (place / f"{choices[0][0]}.gz").write_bytes(gzip.compress(text.encode()))
    return place


@pytest.mark.parametrize("name", GLUE_NAMES)
def test_every_task_is_read_from_its_files(tmp_path: Path, name: GlueName) -> None:
    lay_out(tmp_path, name)
    train, tests = sentences_of_tsv(name, tmp_path)
    assert len(tests) == (2 if name == "mnli" else 1)
    for split in (train, *tests):
        assert split.labels.tolist() == LABELS[name]
        assert split.labels.dtype == (np.float32 if name == "stsb" else np.int32)
        assert (split.seconds is None) == (len(TFDS_SENTENCES[name]) == 1)
        assert [text.lower().strip('. "') for text in split.firsts] == [
            "one",
            "two" if name in ("sst2", "cola") else "three",
        ]


def test_rte_is_joined_and_sorted_and_cola_tests_on_both_domains(tmp_path: Path) -> None:
    place = lay_out(tmp_path, "rte")
    (place / "val.tsv").write_text("1\tfive\tsix\tentailment\n")
    assert sentences_of_tsv("rte", tmp_path)[0].firsts == ["one", "five", "three"]
    place = tmp_path / "glue" / "CoLA"
    place.mkdir()
    for file in ("in_domain_train.tsv", "in_domain_dev.tsv", "out_of_domain_dev.tsv"):
        (place / file).write_text("gj04\t1\t\tOne.\n")
    assert len(sentences_of_tsv("cola", tmp_path)[1][0].labels) == 2


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("sst2", ("sentence\tlabel", "one\ttwo\t1"), r"train.tsv:2: must have 2 columns, got 3"),
        ("sst2", ("text\tlabel", "one\t1"), r"must have a header with the columns sentence, got text, label"),
        ("sst2", ("sentence\tlabel", "one\t2"), r"train.tsv:2: label must be one of 0, 1, got '2'"),
        (
            "stsb",
            ("main\tfile\t2012\t1\t5.5\tone\ttwo",),
            r"sts-train.csv:1: score must be a number in 0..5, got '5.5'",
        ),
        ("cola", ("gj04\t1\tOne.",), r"train.tsv:1: must have 4 columns, got 3"),
        ("qqp", ("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",), r"must have at least one row, got none"),
        ("sst2", ("sentence\tlabel", "one\t1", "\t1"), r"train.tsv:3: sentence must have text, got ''"),
        ("cola", ("gj04\t1\t\tOne.", "gj04\t0\t*\t \u00a0 "), r"train.tsv:2: sentence must have text, got ' .xa0 '"),
        ("mrpc", (ROWS["mrpc"][0], "1\t2\t3\tone\t "), r"train.tsv:2: #2 String must have text, got ' '"),
        ("qqp", (ROWS["qqp"][0], "1\t2\t3\t\ttwo\t0"), r"train.tsv:2: question1 must have text, got ''"),
    ],
)
def test_files_with_other_columns_are_refused(
    tmp_path: Path, name: GlueName, rows: tuple[str, ...], message: str
) -> None:
    lay_out(tmp_path, name, rows)
    with pytest.raises(DataError, match=message):
        sentences_of_tsv(name, tmp_path)


def test_a_second_question_of_qqp_may_be_empty(tmp_path: Path, vocabulary: Vocabulary) -> None:
    lay_out(tmp_path, "qqp", (ROWS["qqp"][0], "1\t2\t3\tthe cat\t\t0"))
    (train, _) = sentences_of_tsv("qqp", tmp_path)
    assert (train.firsts, train.seconds) == (["the cat"], [""])
    (encoded,) = vocabulary.encode_all([train], 20)
    begins, ends = 2, 3
    assert encoded.pieces.tolist() == [[begins, *vocabulary.encoded("the cat"), ends, ends]]


@pytest.mark.parametrize("suffix", ["tsv", "csv"])
def test_stsb_is_read_under_the_names_of_its_release(tmp_path: Path, suffix: str) -> None:
    (place := tmp_path / "glue" / "STS-B").mkdir(parents=True)
    for file in ("sts-train", "sts-dev", "sts-test"):
        (place / f"{file}.{suffix}").write_text("\n".join(ROWS["stsb"]) + "\n")
    train, (test,) = sentences_of_tsv("stsb", tmp_path)
    assert train.labels.tolist() == test.labels.tolist() == LABELS["stsb"]


def test_a_damaged_file_and_a_wrong_index_are_named(tmp_path: Path) -> None:
    (place := tmp_path / "glue" / "CoLA").mkdir(parents=True)
    packed = bytearray(gzip.compress(b"gj04\t1\t\tOne.\n" * 50))
    packed[12] ^= 0xFF  # the first after the header: another kind of block
    (place / "train.tsv.gz").write_bytes(packed)
    (place / "dev.tsv").write_text("gj04\t1\t\tOne.\n")
    with pytest.raises(DataError, match=r"train.tsv.gz: cannot be read: .*"):
        sentences_of_tsv("cola", tmp_path)
    place = lay_out(tmp_path, "rte")
    (place / "val.tsv").write_text("first\tfive\tsix\tentailment\n")
    with pytest.raises(DataError, match=r"val.tsv:1: the index must be a whole number, got 'first'"):
        sentences_of_tsv("rte", tmp_path)


def test_a_set_that_is_not_prepared_is_named_with_the_command_that_prepares_it(tmp_path: Path) -> None:
    command = f"run `tfds build glue/sst2 --file_format=array_record --data_dir {tmp_path}`"
    with pytest.raises(DataMissing, match=command):
        sentences_of_tfds("sst2", tmp_path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match="a data directory must be given"):
        sentences_of_tsv("sst2", None)
    lay_out(tmp_path, "cola")
    (tmp_path / "glue" / "CoLA" / "dev.tsv.gz").unlink()
    with pytest.raises(DataMissing, match=r"must have dev.tsv or in_domain_dev.tsv and out_of_domain_dev.tsv"):
        sentences_of_tsv("cola", tmp_path)
    (tmp_path / "glue" / "CoLA" / "train.tsv").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"train.tsv:1: must be UTF-8 text, got 0xff as byte 1 of the line"):
        sentences_of_tsv("cola", tmp_path)


def test_tfds_sets_are_read_as_the_files_are(tmp_path: Path, tfds_writer: TfdsWriter) -> None:
    text = {"pythonClassName": f"{FEATURES}text_feature.Text", "text": {}}
    examples = [{"sentence": f"s{n}".encode(), "label": n % 2, "idx": n} for n in range(6)]
    features = {"sentence": text, "label": tfds_writer.label(2)}
    tfds_writer.write("glue/sst2", {"train": examples, "validation": examples[:3]}, features)
    train, (test,) = sentences_of_tfds("sst2", tmp_path)
    assert (list(train.firsts), train.seconds, train.labels.tolist()) == ([f"s{n}" for n in range(6)], None, [0, 1] * 3)
    assert test.labels.tolist() == [0, 1, 0]
    with pytest.raises(DataMissing, match="glue/rte is not prepared in"):
        sentences_of_tfds("rte", tmp_path)
    tfds_writer.write("glue/cola", {"train": examples}, features)
    with pytest.raises(DataError, match="must have a split 'validation', got train"):
        sentences_of_tfds("cola", tmp_path)
    tfds_writer.write("glue/qnli", {"train": examples}, features)
    with pytest.raises(DataError, match="must have the features question, got label, sentence"):
        sentences_of_tfds("qnli", tmp_path)


def test_a_sentence_without_text_in_a_tfds_set_is_refused(tmp_path: Path, tfds_writer: TfdsWriter) -> None:
    text = {"pythonClassName": f"{FEATURES}text_feature.Text", "text": {}}
    examples = [{"sentence": text.encode(), "label": n, "idx": n} for n, text in enumerate(("some", " "))]
    tfds_writer.write(
        "glue/sst2", {"train": examples, "validation": examples}, {"sentence": text, "label": tfds_writer.label(2)}
    )
    with pytest.raises(DataError, match="glue/sst2: sentence of example 1 of split 'train' must have text, got ' '"):
        sentences_of_tfds("sst2", tmp_path)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return trained_vocabulary(TEXTS, 44, lower_case=True)


def test_a_trained_vocabulary_has_albert_s_special_pieces_and_the_same_bits_again(vocabulary: Vocabulary) -> None:
    assert [vocabulary.opened.piece(n) for n in range(5)] == ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    assert (vocabulary.size, trained_vocabulary(TEXTS, 44, lower_case=True).model) == (44, vocabulary.model)
    with pytest.raises(
        DataError, match="vocabulary_size must fit the training texts, got 5000: Vocabulary size too high"
    ):
        trained_vocabulary(TEXTS, 5000, lower_case=True)


def test_texts_are_cleaned_and_a_comma_after_a_digit_stands_alone(vocabulary: Vocabulary) -> None:
    assert vocabulary.encoded(" The  C\u00e4t\tsat") == vocabulary.encoded("the cat sat")
    pieces = [vocabulary.opened.piece(number) for number in vocabulary.encoded("3 dogs, 12,000 birds")]
    assert not [piece for piece in pieces if len(piece) > 1 and piece.endswith(",") and piece[-2].isdigit()]
    assert "".join(pieces).replace("\u2581", " ").split() == ["3", "dogs,", "12,000", "birds"]


def test_pairs_are_marked_and_the_longer_sentence_is_cut(vocabulary: Vocabulary) -> None:
    pair = LabelledSentences(firsts=TEXTS[7:9], seconds=["cat", "cat"], labels=np.zeros(2, np.int32))
    single = replace(pair, seconds=None)
    encoded, alone = vocabulary.encode_all([pair, single], 12)
    assert encoded.pieces.shape == alone.pieces.shape == (2, 12)
    begins, ends = 2, 3
    second = vocabulary.encoded("cat")
    for row, length, at in zip(encoded.pieces.tolist(), encoded.lengths, encoded.seconds, strict=True):
        assert (row[0], row[at - 1], row[length - 1], length) == (begins, ends, ends, 12)
        assert row[at : length - 1] == second
    assert alone.seconds.tolist() == alone.lengths.tolist() == [12, 12]
    short = vocabulary.encode_all([replace(single, firsts=["a", TEXTS[0]])], 12)[0]
    assert short.pieces.shape[1] == short.lengths.max() < 12
    assert (short.pieces[0, short.lengths[0] :] == 0).all()


def test_a_vocabulary_file_is_read_or_refused(tmp_path: Path, vocabulary: Vocabulary) -> None:
    (tmp_path / "spiece.model").write_bytes(vocabulary.model)
    assert read_vocabulary("spiece.model", tmp_path, lower_case=True).digest == vocabulary.digest
    with pytest.raises(
        DataMissing, match=r"SentencePiece file of the model, below the data directory, got 'other.model'"
    ):
        read_vocabulary("other.model", tmp_path, lower_case=True)
    (tmp_path / "other.model").write_bytes(b"no model")
    with pytest.raises(DataError, match=r"other.model: must be a SentencePiece model, got 8 bytes that are not one"):
        read_vocabulary("other.model", tmp_path, lower_case=True)


def test_a_task_is_loaded_with_its_vocabulary(tmp_path: Path, vocabulary: Vocabulary) -> None:
    lay_out(tmp_path, "sst2", ("sentence\tlabel", *(f"{text}\t{n % 2}" for n, text in enumerate(TEXTS))))
    (tmp_path / "spiece.model").write_bytes(vocabulary.model)
    given = GlueTexts(name="sst2", source="tsv", vocabulary_size=44, subset=100, test_subset=20)
    own = given.load(tmp_path)
    assert (own.examples, [len(test.labels) for test in own.tests], own.vocabulary) == (100, [20], 44)
    assert own.digest == given.load(tmp_path).digest
    theirs = GlueTexts(name="sst2", source="tsv", vocabulary="spiece.model").load(tmp_path)
    assert (theirs.examples, theirs.vocabulary_digest) == (120, vocabulary.digest)
    with pytest.raises(DataError, match="data.subset must be at most 120, the number of examples, got 121"):
        replace(given, subset=121).load(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "wnli"}, "name must be one of mnli, qqp, qnli, sst2, cola, stsb, mrpc, rte, got 'wnli'"),
        ({"max_length": 4}, r"max_length must lie in \[8, 4096\], got 4"),
        ({"vocabulary": "a", "vocabulary_size": 100}, "vocabulary_size must be left out where vocabulary names a file"),
        ({"vocabulary": "../pieces"}, "vocabulary must be a path inside the data directory, or null, got '../pieces'"),
    ],
)
def test_faulty_fields_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GlueTexts(**{"name": "sst2", **fields})  # type: ignore[arg-type]


@needs_texts
@pytest.mark.parametrize(("name", "sizes"), [("cola", (8551, 1043)), ("rte", (2490, 277)), ("stsb", (5749, 1500))])
def test_the_real_files_are_read(name: GlueName, sizes: tuple[int, int]) -> None:
    train, (test,) = sentences_of_tsv(name, SHARED)
    assert (len(train.labels), len(test.labels)) == sizes
