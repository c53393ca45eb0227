"""Tests for `services/verbs/running/preflight.py`."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from services.verbs.running import preflight
from services.verbs.running.preflight import PreflightError, check_home, check_room, file_system

Usage = namedtuple("Usage", "total used free")


def test_a_home_that_does_not_exist_yet_is_checked_where_it_would_lie(tmp_path: Path) -> None:
    check_home(tmp_path / "deep" / "home")
    check_room(tmp_path / "deep" / "home", 1)
    assert list(tmp_path.iterdir()) == []


def test_room_is_needed_for_two_of_the_largest_checkpoint_and_the_rest() -> None:
    assert preflight.needed_bytes(10**9) == 2_200_000_000
    assert preflight.needed_bytes(0) == 200_000_000
    assert preflight.needed_bytes(None) == 500_000_000  # before there is one


def test_a_full_disk_is_refused_with_place_rule_and_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 2_199_999_999))
    place = tmp_path / "home" / "checkpoints"
    rule = r"needs 2.2 GB of free disk \(twice the largest checkpoint plus 200 MB\), got 2.2 GB"
    with pytest.raises(PreflightError, match=f"^{place}: {rule}; `abel gc`"):
        check_room(place, preflight.needed_bytes(10**9))
    check_room(place, preflight.needed_bytes(999_999_999))


def test_room_is_looked_for_on_the_disk_itself(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    assert preflight.has_space(tmp_path / "not" / "there", free // 2)
    assert not preflight.has_space(tmp_path / "not" / "there", free * 2)


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
