"""Labelled sentences of a GLUE task, from GLUE's TSV files or from TensorFlow Datasets.

train, tests = sentences_of_tsv("sst2", data_dir)
train.firsts[0], train.labels[0]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workers.data import DataError, DataMissing
from workers.data.tfds import open_prepared
from workers.glue.benchmark import TFDS_SENTENCES, TFDS_TESTS, TSV_LAYOUTS, GlueName, TsvLayout
from workers.text.lines import decoded_text, lines_of, plain_or_zipped

_MOST_SCORE = 5.0  # of STS-B


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledSentences:
    """Sentences or pairs of sentences; `seconds` is None for single ones. Labels are i32[N], or f32[N] in 0..5 for scores."""

    firsts: Sequence[str]
    seconds: Sequence[str] | None
    labels: np.ndarray

    def subset(self, count: int | None, field: str) -> LabelledSentences:
        """Return the first `count` examples, all if it is None.

        Raises:
            DataError: there are fewer.
        """
        if count is None:
            return self
        if count > len(self.labels):
            raise DataError(f"data.{field} must be at most {len(self.labels)}, the number of examples, got {count}")
        seconds = None if self.seconds is None else self.seconds[:count]
        return LabelledSentences(firsts=self.firsts[:count], seconds=seconds, labels=self.labels[:count])


Splits = tuple[LabelledSentences, tuple[LabelledSentences, ...]]  # to train on; to test on, two for MNLI


def sentences_of_tsv(name: GlueName, data_dir: Path | None) -> Splits:
    """Return the sentences in GLUE's files, which lie in `data_dir`/glue, plain or with the suffix ".gz".

    Raises:
        DataMissing: a file is not there.
        DataError: a file does not have the columns or labels of the task.
    """
    layout = TSV_LAYOUTS[name]
    folder = _existing(name, data_dir) / "glue" / layout.folder
    train = _read_tsv(layout, _chosen(name, folder, layout.train))
    return train, tuple(_read_tsv(layout, _chosen(name, folder, choices)) for choices in layout.tests)


def sentences_of_tfds(name: GlueName, data_dir: Path | None) -> Splits:
    """Return the sentences of TensorFlow Datasets' glue/`name`, stored as array_record in `data_dir`.

    Raises:
        DataMissing: the set is not there.
        DataError: it lacks a split or a feature, or is stored otherwise.
    """
    try:
        builder = open_prepared(f"glue/{name}", data_dir)
    except DataMissing:
        if data_dir is None or not Path(data_dir).is_dir():
            raise
        remedy = f"tfds build glue/{name} --file_format=array_record --data_dir {data_dir}"
        raise DataMissing(f"glue/{name} is not prepared in {data_dir}: run `{remedy}`") from None
    wanted = {*TFDS_SENTENCES[name], "label"}
    if lacking := wanted - set(builder.info.features):
        found = ", ".join(sorted(builder.info.features))
        raise DataError(f"glue/{name} must have the features {', '.join(sorted(lacking))}, got {found}")
    train, *tests = (_read_tfds(builder, name, split) for split in ("train", *TFDS_TESTS[name]))
    return train, tuple(tests)


def _existing(name: str, data_dir: Path | None) -> Path:
    if data_dir is None:
        raise DataMissing(f"glue {name}: a data directory must be given (--data-dir)")
    return Path(data_dir)


def _chosen(name: str, folder: Path, choices: Sequence[Sequence[str]]) -> list[Path]:
    """Return the files of the first choice that is there in full."""
    for choice in choices:
        found = [file for file in (plain_or_zipped(folder / one) for one in choice) if file is not None]
        if len(found) == len(choice):
            return found
    named = " or ".join(" and ".join(choice) for choice in choices)
    raise DataMissing(f"glue {name}: {folder} must have {named} (or .gz of them), which it lacks")


def _read_tsv(layout: TsvLayout, files: Sequence[Path]) -> LabelledSentences:
    rows = [row for file in files for row in _rows(layout, file)]
    if layout.index and len(files) > 1:
        rows.sort(key=lambda row: row[0])
    if not rows:
        raise DataError(f"{files[0]}: must have at least one row, got none")
    first, *second = layout.sentences
    labels = np.array([label for *_, label in rows], np.int32 if layout.classes else np.float32)
    firsts, seconds = [row[1] for row in rows], [row[2] for row in rows]
    return LabelledSentences(firsts=firsts, seconds=seconds if second else None, labels=labels)


def _rows(layout: TsvLayout, file: Path) -> Iterator[tuple[int, str, str, float]]:
    """Yield each row's index, or 0, its first sentence, its second, or "", and its label."""
    lines = list(lines_of(file))
    columns, begins = _header(layout, file, lines)
    wanted = [columns.index(one) for one in layout.sentences]
    label, index = columns.index(layout.label), columns.index(layout.index) if layout.index else None
    for number, line in enumerate(lines[begins:], start=begins + 1):
        cells = line.split("\t")
        if len(cells) != len(columns) and not (layout.extra_columns and begins == 0 and len(cells) > len(columns)):
            if layout.skips_short_rows and len(cells) < len(columns):
                continue
            raise DataError(f"{file}:{number}: must have {len(columns)} columns, got {len(cells)}")
        sentences = [cells[one].strip() for one in wanted]
        if (empty := _empty(layout, sentences)) is not None:
            raise DataError(f"{file}:{number}: {layout.sentences[empty]} must have text, got {cells[wanted[empty]]!r}")
        value = _label(layout, cells[label].strip(), file, number)
        place = 0 if index is None else _index(cells[index], file, number)
        yield place, sentences[0], sentences[1] if len(sentences) > 1 else "", value


def _empty(layout: TsvLayout, sentences: Sequence[str]) -> int | None:
    """Return the position of the first sentence that must have text and has none; None if all are as they must be."""
    for place, sentence in enumerate(sentences):
        if not sentence.strip() and not (place and layout.has_empty_seconds):
            return place
    return None


def _header(layout: TsvLayout, file: Path, lines: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """Return the names of the columns, and the number of lines before the first row."""
    first = tuple(lines[0].split("\t")) if lines else ()
    needed = {*layout.sentences, layout.label, *([layout.index] if layout.index else [])}
    if needed <= set(first):
        return first, 1
    if layout.columns:
        return layout.columns, 0
    lacking = ", ".join(sorted(needed - set(first)))
    raise DataError(f"{file}: must have a header with the columns {lacking}, got {', '.join(first)[:200] or 'nothing'}")


def _index(text: str, file: Path, number: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise DataError(f"{file}:{number}: the index must be a whole number, got {text[:80]!r}")
    return int(text)


def _label(layout: TsvLayout, text: str, file: Path, number: int) -> float:
    if layout.classes:
        if text not in layout.classes:
            raise DataError(f"{file}:{number}: {layout.label} must be one of {', '.join(layout.classes)}, got {text!r}")
        return layout.classes.index(text)
    try:
        score = float(text)
    except ValueError:
        score = -1.0
    if not 0 <= score <= _MOST_SCORE:
        raise DataError(f"{file}:{number}: {layout.label} must be a number in 0..{_MOST_SCORE:g}, got {text!r}")
    return score


def _read_tfds(builder: Any, name: GlueName, split: str) -> LabelledSentences:
    if split not in builder.info.splits:
        raise DataError(f"glue/{name} must have a split {split!r}, got {', '.join(builder.info.splits)}")
    source = builder.as_data_source(split=split)
    examples = source.__getitems__(list(range(len(source))))
    texts = [[decoded_text(example[one], f"glue/{name}") for example in examples] for one in TFDS_SENTENCES[name]]
    for number, sentences in enumerate(zip(*texts, strict=True)):
        if (empty := _empty(TSV_LAYOUTS[name], sentences)) is not None:
            where = f"glue/{name}: {TFDS_SENTENCES[name][empty]} of example {number} of split {split!r}"
            raise DataError(f"{where} must have text, got {sentences[empty]!r}")
    classes = TSV_LAYOUTS[name].classes
    labels = np.array([example["label"] for example in examples], np.int32 if classes else np.float32)
    most = len(classes) - 1 if classes else _MOST_SCORE
    if not len(labels) or labels.min() < 0 or labels.max() > most:
        found = f"{labels.min():g}..{labels.max():g}" if len(labels) else "no example"
        raise DataError(f"glue/{name}: labels of split {split!r} must lie in 0..{most:g}, got {found}")
    return LabelledSentences(firsts=texts[0], seconds=texts[1] if len(texts) > 1 else None, labels=labels)
