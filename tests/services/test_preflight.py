"""Tests for `services/preflight.py`."""

from collections import namedtuple
from pathlib import Path

import pytest

from services import preflight
from services.preflight import PreflightError, check_home, file_system

Usage = namedtuple("Usage", "total used free")


def test_a_home_that_does_not_exist_yet_is_checked_where_it_would_lie(tmp_path: Path) -> None:
    check_home(tmp_path / "deep" / "home", minimum_free_bytes=1)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_refused_with_both_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 100 * 2**20))
    with pytest.raises(PreflightError, match="needs 512 MiB of free disk to start, got 100 MiB"):
        check_home(tmp_path / "home")


def test_a_file_in_place_of_the_home_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PreflightError, match="must be a directory"):
        check_home(tmp_path / "file" / "home")


def test_a_home_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.os, "access", lambda *_: False)  # tests may run as root, to whom all is permitted
    with pytest.raises(PreflightError, match="must be writable"):
        check_home(tmp_path / "home")


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs"])
def test_a_network_file_system_is_refused(tmp_path: Path, kind: str) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/export {tmp_path} {kind} rw 0 0\n")
    with pytest.raises(PreflightError, match=f"local disk.* got {kind}"):
        check_home(tmp_path / "home", mounts=mounts)


def test_the_deepest_and_then_the_latest_mount_decides(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("a / ext4 rw 0 0\nb /data nfs rw 0 0\nc /data xfs rw 0 0\nd /with\\040space tmpfs rw 0 0\n")
    assert file_system(Path("/data/home"), mounts) == "xfs"
    assert file_system(Path("/database"), mounts) == "ext4"
    assert file_system(Path("/with space/home"), mounts) == "tmpfs"
    assert file_system(Path("/data"), tmp_path / "none") is None
