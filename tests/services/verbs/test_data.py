"""The verbs of `abel data`, on a set of translations as TFDS stores it."""

from pathlib import Path

from tfds_files import TfdsWriter

from services.cli.rendering import data_report
from services.verbs.data import check_data, prepare_data


def test_a_set_of_translations_is_ready_with_its_languages(tmp_path: Path) -> None:
    pair = {"en": b"a cat", "de": b"eine Katze"}
    TfdsWriter(tmp_path).write("cats_translate", {"train": [pair] * 3, "test": [pair]}, {}, languages=("de", "en"))
    report = prepare_data("cats_translate", tmp_path)
    assert (report.train_examples, report.test_examples, report.languages) == (3, 1, ("de", "en"))
    assert check_data("cats_translate", tmp_path) == report
    assert data_report(report)
