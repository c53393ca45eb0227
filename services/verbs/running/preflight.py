"""Checks before a sweep starts: a writable home, and free disk space."""

import os
import re
import shutil
import stat
from pathlib import Path

from services.errors import OperationError
from services.wording import size

RESERVE_BYTES = 200 * 10**6  # for the ledger, the tracking store, logs and compiled programs
# Assumed size of the first checkpoint in a home; the widest catalogue model needs about 20 MB.
UNKNOWN_CHECKPOINT_BYTES = 150 * 10**6

# File systems without the shared memory and locks that SQLite's write-ahead log and our own locks need.
NETWORK_FILE_SYSTEMS = frozenset(
    (
        *(
            "9p",
            "afs",
            "beegfs",
            "ceph",
            "cifs",
            "gfs2",
            "glusterfs",
            "gpfs",
            "lustre",
            "ncpfs",
            "nfs",
            "nfs4",
            "ocfs2",
        ),
        *("orangefs", "smb3", "smbfs", "fuse.ceph", "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs", "fuse.rclone"),
        *("fuse.s3fs", "fuse.sshfs"),
    )
)


class PreflightError(OperationError):
    """The disk or the file system does not allow the start."""


def check_home(home: Path, *, mounts: Path = Path("/proc/mounts")) -> None:
    """Check, without creating anything, that a sweep can keep its files in ``home``.

    Raises:
        PreflightError: it is not a writable directory, or is on a network file system.
    """
    place = _existing(home)
    if not place.is_dir():
        raise PreflightError(f"ABEL_HOME {home}: must be a directory, but {place} is a file")
    if not os.access(place, os.W_OK | os.X_OK):
        raise PreflightError(f"ABEL_HOME {home}: must be writable, but {place} {_why_not(place)}")
    kind = file_system(place, mounts)
    if kind in NETWORK_FILE_SYSTEMS:
        raise PreflightError(f"ABEL_HOME {home}: must be on a local disk (the ledger is an SQLite file), got {kind}")


def needed_bytes(largest: int | None) -> int:
    """The free disk space that a sweep needs, in bytes: its largest checkpoint twice, old and new, and a reserve."""
    return 2 * (UNKNOWN_CHECKPOINT_BYTES if largest is None else largest) + RESERVE_BYTES


def check_room(path: Path, needed: int) -> None:
    """Check that the disk of ``path``, which need not exist yet, has ``needed`` bytes free.

    Raises:
        PreflightError: it has fewer.
    """
    if not has_space(path, needed):
        rule = f"needs {size(needed)} of free disk (twice the largest checkpoint plus {size(RESERVE_BYTES)})"
        free = shutil.disk_usage(_existing(path)).free
        raise PreflightError(f"{path}: {rule}, got {size(free)}; `abel gc` frees what no sweep needs")


def check_store(url: str) -> None:
    """Check that an object store takes and gives up objects.

    Raises:
        StoreError: it is unreachable, or refuses them.
    """
    from workers.checkpoints.stores import ObjectStore

    ObjectStore(f"{url}/checkpoints").check_writable()


def has_space(path: Path, needed: int) -> bool:
    """Whether the disk of ``path`` has ``needed`` bytes free."""
    return shutil.disk_usage(_existing(path)).free >= needed


def file_system(path: Path, mounts: Path = Path("/proc/mounts")) -> str | None:
    """The type of the file system that holds ``path``; None if the kernel does not report it (macOS)."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    best: tuple[int, str] | None = None
    for line in lines:
        _, point, kind, *_ = line.split(" ")
        mounted = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point))
        # At the same depth, a later line is mounted over an earlier one.
        if path.is_relative_to(mounted) and (best is None or len(mounted.parts) >= best[0]):
            best = (len(mounted.parts), kind)
    return None if best is None else best[1]


def _why_not(place: Path) -> str:
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        return "is on a read-only file system"
    status = place.stat()
    return f"belongs to user {status.st_uid} with mode {stat.filemode(status.st_mode)}, and this is user {os.getuid()}"


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path.resolve()
