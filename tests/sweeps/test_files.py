"""Tests for `sweeps/files.py`."""

import os
import stat
from pathlib import Path

import pytest

from sweeps.files import PathFault, decode_text, private, read_file


def test_only_a_regular_file_of_a_bounded_size_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * 101)
    (tmp_path / "link").symlink_to("large")
    for path, rule in (
        ("/dev/zero", "must be a regular file, got a device"),
        (tmp_path / "pipe", "must be a regular file, got a pipe"),
        (tmp_path, "must be a regular file, got a directory"),
        (tmp_path / "large", "must have at most 100 bytes, got 101"),
    ):
        with pytest.raises(PathFault, match=rule):
            read_file(Path(path), 100)
    assert read_file(tmp_path / "link", 101) == b"x" * 101


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_is_read_with_or_without_a_byte_order_mark(encoding: str) -> None:
    assert decode_text("naïve ✓".encode(encoding)) == "naïve ✓"


def test_what_is_made_privately_has_the_modes_of_its_owner(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with private():
            with private():
                (tmp_path / "inner").touch()
            (tmp_path / "outer").touch()
        (tmp_path / "after").touch()
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"inner": 0o600, "outer": 0o600, "after": 0o644}
