"""Where parallel texts come from: plain text files, one sentence a line, and sets of TensorFlow Datasets in array_record."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from workers.data import DataError, DataMissing
from workers.data.tfds import open_prepared
from workers.data.translations import translated_languages

TFDS = "tfds:"  # before NAME@SPLIT


class TextPair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


class TextFiles:
    """The pairs of two text files, `PLACE.SOURCE` and `PLACE.TARGET`, each plain or gzipped (`.gz`)."""

    def __init__(self, place: str, languages: tuple[str, str], data_dir: Path | None) -> None:
        self.name = place
        files = [_file(place, language, data_dir) for language in languages]
        self._sides = [_lines(file) for file in files]
        first, second = map(len, self._sides)
        if first != second:
            rule = "must have one line for each of the other"
            raise DataError(f"{files[0]} and {files[1]}: {rule}, got {first} and {second} lines")

    def __len__(self) -> int:
        return len(self._sides[0])

    def read(self, numbers: range) -> Iterator[TextPair]:
        """Yield the pairs at these positions, from 0."""
        yield from (TextPair(self._sides[0][number], self._sides[1][number]) for number in numbers)


class TfdsPairs:
    """The pairs of a split of a TFDS set that has a translation into both languages."""

    def __init__(self, place: str, languages: tuple[str, str], data_dir: Path | None) -> None:
        self.name = place
        name, _, split = place.removeprefix(TFDS).partition("@")
        builder = open_prepared(name, data_dir)
        found = translated_languages(name, builder.info.features)
        if lacking := set(languages) - set(found):
            raise DataError(f"{name}: must have the languages {', '.join(languages)}, lacks {', '.join(lacking)}")
        try:
            self._source = builder.as_data_source(split=split)
        except (ValueError, KeyError):
            known = ", ".join(builder.info.splits)
            raise DataError(f"{name}: split must be one of {known}, got {split!r}") from None
        self._languages = languages

    def __len__(self) -> int:
        return len(self._source)

    def read(self, numbers: range) -> Iterator[TextPair]:
        """Yield the pairs at these positions, from 0."""
        for example in self._source.__getitems__(list(numbers)):
            yield TextPair(*(_text(self.name, example[language]) for language in self._languages))


PairSource = TextFiles | TfdsPairs


def open_pairs(place: str, languages: tuple[str, str], data_dir: Path | None) -> PairSource:
    """Open a source of pairs.

    Args:
        place: the start of two files' names in the data directory, or `tfds:NAME@SPLIT`.

    Raises:
        DataMissing: it is not there.
        DataError: it is empty or cannot be read, or its sides differ in length.
    """
    found = (TfdsPairs if place.startswith(TFDS) else TextFiles)(place, languages, data_dir)
    if len(found) == 0:
        raise DataError(f"{place}: must have at least one pair of sentences, got none")
    return found


def texts_of(source: PairSource, start: int, count: int) -> list[TextPair]:
    """Return some pairs, without spaces at either end.

    Raises:
        DataError: a side of a pair is empty.
    """
    found = [TextPair(*(side.strip() for side in pair)) for pair in source.read(range(start, start + count))]
    for number, pair in enumerate(found, start=start + 1):
        if not all(pair):
            raise DataError(f"{source.name}: both sides of pair {number} must have text, got {tuple(pair)!r}")
    return found


def _file(place: str, language: str, data_dir: Path | None) -> Path:
    if data_dir is None:
        raise DataMissing(f"{place}: a data directory must be given (--data-dir)")
    plain = Path(data_dir) / f"{place}.{language}"
    zipped = plain.with_name(f"{plain.name}.gz")
    found = next((file for file in (plain, zipped) if file.is_file()), None)
    if found is None:
        raise DataMissing(f"{plain}: does not exist, and neither does {zipped.name}")
    return found


def _lines(file: Path) -> list[str]:
    """Return the lines of a file; only a newline ends one, as texts contain other separators that Python splits at."""
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: must be UTF-8, got byte {error.object[error.start]:#04x} at {error.start}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: cannot be read: {error}") from None
    return text.removesuffix("\n").split("\n") if text else []


def _text(name: str, value: Any) -> str:
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        raise DataError(f"{name}: must be UTF-8, got {value[:80]!r}") from None
