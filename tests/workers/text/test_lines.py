"""Lines of text files: what ends one, and which files are refused."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from workers.data import DataError
from workers.text.lines import lines_of

ODD = "a\u2028b\x0bc\x0cd\x85e\x1cf\u2029g\rh"  # str.splitlines would make eight of it


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("one\ntwo\n", ["one", "two"]),
        ("one\r\ntwo", ["one", "two"]),
        ("\ufeffone\n\ufefftwo\n", ["one", "\ufefftwo"]),
        (f"{ODD}\n{ODD}\r\n", [ODD, ODD]),
        ("one\n\n", ["one", ""]),
        ("one\r", ["one\r"]),
        ("", []),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_only_line_feeds_end_a_line(tmp_path: Path, content: str, lines: list[str], packed: bool) -> None:
    file = tmp_path / ("text.gz" if packed else "text")
    file.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    assert list(lines_of(file)) == lines


def cut_off(packed: bytes) -> bytes:
    return packed[:-9]


def with_another_check_sum(packed: bytes) -> bytes:
    return packed[:-8] + bytes(4) + packed[-4:]


def with_a_flipped_byte(packed: bytes) -> bytes:
    return packed[:12] + bytes([packed[12] ^ 0xFF]) + packed[13:]  # another kind of block


@pytest.mark.parametrize("spoil", [cut_off, with_another_check_sum, with_a_flipped_byte, lambda packed: b"plain"])
def test_a_damaged_archive_is_named(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    file = tmp_path / "text.gz"
    file.write_bytes(spoil(gzip.compress(b"some words\n" * 50)))
    with pytest.raises(DataError, match=r"text\.gz: cannot be read: ."):
        list(lines_of(file))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("one\nB\u00e4r\n".encode("latin-1"), r"text:2: must be UTF-8 text, got 0xe4 as byte 2 of the line"),
        (b"one\ntwo\xed\xa0\x80\n", r"text:2: must be UTF-8 text, got 0xed as byte 4 of the line"),  # half a pair
        ("one\ntwo\n".encode("utf-16-le"), r"text:1: must be UTF-8 text, got NUL as character 2 of the line"),
    ],
)
def test_other_encodings_are_refused_at_their_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "text").write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(lines_of(tmp_path / "text"))
