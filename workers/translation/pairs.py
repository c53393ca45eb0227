"""Where parallel texts come from: plain text files, one sentence a line, and sets of TensorFlow Datasets in array_record."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from workers.data import DataError, DataMissing
from workers.data.tfds import open_prepared
from workers.data.translations import translated_languages
from workers.text.lines import decoded_text, lines_of, plain_or_zipped

_BLOCK = 20_000  # pairs that are read at a time
TFDS = "tfds:"  # before NAME@SPLIT


class TextPair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


class TextFiles:
    """The pairs of two text files, `PLACE.SOURCE` and `PLACE.TARGET`, each plain or gzipped (`.gz`).

    Their text is not kept in memory: whoever asks for pairs reads the files.
    """

    def __init__(self, place: str, languages: tuple[str, str], data_dir: Path | None) -> None:
        self.name = place
        self._files = [_file(place, language, data_dir) for language in languages]
        self._versions = list(map(_version, self._files))
        first, second = (sum(1 for _ in lines_of(file)) for file in self._files)
        if first != second:
            rule = "must have one line for each of the other"
            raise DataError(f"{self._files[0]} and {self._files[1]}: {rule}, got {first} and {second} lines")
        self._pairs = first

    def __len__(self) -> int:
        return self._pairs

    def blocks(self, count: int) -> Iterator[list[TextPair]]:
        """Yield the first so many pairs, a block at a time.

        Raises:
            DataError: a file has changed since it was opened.
        """
        pairs = zip(*map(lines_of, self._files), strict=False)
        for start in range(0, count, _BLOCK):
            block = [TextPair(*pair) for pair in islice(pairs, min(_BLOCK, count - start))]
            for file, version in zip(self._files, self._versions, strict=True):
                if _version(file) != version:
                    raise DataError(f"{file}: changed while it was read; start again")
            yield block


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

    def blocks(self, count: int) -> Iterator[list[TextPair]]:
        """Yield the first so many pairs, a block at a time."""
        for start in range(0, count, _BLOCK):
            examples = self._source.__getitems__(list(range(start, min(start + _BLOCK, count))))
            yield [
                TextPair(*(decoded_text(one[language], self.name) for language in self._languages)) for one in examples
            ]


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


def texts_of(source: PairSource, count: int) -> Iterator[list[TextPair]]:
    """Yield the first so many pairs, a block at a time, without spaces at either end.

    Raises:
        DataError: a side of a pair is empty.
    """
    seen = 0
    for block in source.blocks(count):
        found = [TextPair(*(side.strip() for side in pair)) for pair in block]
        for number, pair in enumerate(found, start=seen + 1):
            if not all(pair):
                raise DataError(f"{source.name}: both sides of pair {number} must have text, got {tuple(pair)!r}")
        seen += len(found)
        yield found


def _version(file: Path) -> tuple[int, int, int] | None:
    """Return what differs after a file is written or replaced; None if it cannot be found."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _file(place: str, language: str, data_dir: Path | None) -> Path:
    if data_dir is None:
        raise DataMissing(f"{place}: a data directory must be given (--data-dir)")
    plain = Path(data_dir) / f"{place}.{language}"
    if (found := plain_or_zipped(plain)) is None:
        raise DataMissing(f"{plain}: does not exist, and neither does {plain.name}.gz")
    return found
