"""Text files, line by line, by one rule: UTF-8, without NUL; a line feed ends a line, alone or after a carriage return.

Nothing else ends one: sentences contain other characters that Python splits at, such as U+2028 or a vertical tab. A byte order
mark at the start of a file is not part of its text.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workers.data import DataError


def lines_of(file: Path) -> Iterator[str]:
    """Yield the lines of a file, plain or gzipped (`.gz`), without their ends, as they are read.

    Raises:
        DataError: the file cannot be read, or a line breaks the rule.
    """
    opened: Any = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rb") as stream:
            for number, line in enumerate(stream, start=1):
                yield _line(line, file, number)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: cannot be read: {error}") from None


def plain_or_zipped(file: Path) -> Path | None:
    """Return a file, or that of its name with `.gz` if only this is there; None if neither is."""
    return next((one for one in (file, file.with_name(f"{file.name}.gz")) if one.is_file()), None)


def decoded_text(value: Any, place: str) -> str:
    """Return a text of TensorFlow Datasets, which stores them as bytes.

    Raises:
        DataError: it is not UTF-8.
    """
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        raise DataError(f"{place}: must be UTF-8 text, got {value[:80]!r}") from None


def _line(line: bytes, file: Path, number: int) -> str:
    if line.endswith(b"\n"):
        line = line[:-1].removesuffix(b"\r")
    if number == 1:
        line = line.removeprefix(codecs.BOM_UTF8)
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"{line[error.start]:#04x} as byte {error.start + 1} of the line"
        raise DataError(f"{file}:{number}: must be UTF-8 text, got {found}") from None
    if (place := text.find("\0")) >= 0:  # of UTF-16, or of a file that is no text
        raise DataError(f"{file}:{number}: must be UTF-8 text, got NUL as character {place + 1} of the line")
    return text
