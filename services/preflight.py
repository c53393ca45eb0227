"""What must hold before a sweep starts: a home that takes files, and room on its disk."""

import os
import shutil
from pathlib import Path

from services.errors import OperationError

# One checkpoint of the widest catalogue model is about 20 MB and a cohort holds two at a time; below this, a sweep that
# forks often may stop in the middle, and SQLite with it.
MINIMUM_FREE_BYTES = 512 * 2**20

# File systems without the shared memory and locks that SQLite's write-ahead log and our own locks stand on.
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
    """Something outside the spec forbids the start: the disk or the file system."""


def check_home(
    home: Path, *, minimum_free_bytes: int = MINIMUM_FREE_BYTES, mounts: Path = Path("/proc/mounts")
) -> None:
    """Check, without creating anything, that a sweep can keep its files in ``home``.

    Raises:
        PreflightError: it is not a writable directory, lies on a network file system, or its disk is too full.
    """
    place = _existing(home)
    if not place.is_dir():
        raise PreflightError(f"ABEL_HOME {home}: must be a directory, but {place} is a file")
    if not os.access(place, os.W_OK | os.X_OK):
        raise PreflightError(f"ABEL_HOME {home}: must be writable, but {place} is not")
    kind = file_system(place, mounts)
    if kind in NETWORK_FILE_SYSTEMS:
        raise PreflightError(f"ABEL_HOME {home}: must lie on a local disk (the ledger is an SQLite file), got {kind}")
    if not has_room(home, minimum_free_bytes=minimum_free_bytes):
        need, free = minimum_free_bytes // 2**20, shutil.disk_usage(place).free
        raise PreflightError(f"ABEL_HOME {home}: needs {need} MiB of free disk to start, got {free // 2**20} MiB")


def file_system(path: Path, mounts: Path = Path("/proc/mounts")) -> str | None:
    """The type of the file system that holds ``path``; None where the kernel does not tell (macOS)."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    best: tuple[int, str] | None = None
    for line in lines:
        _, point, kind, *_ = line.split(" ")
        mounted = Path(point.replace("\\040", " "))
        # A later line of the same depth was mounted over the earlier one.
        if path.is_relative_to(mounted) and (best is None or len(mounted.parts) >= best[0]):
            best = (len(mounted.parts), kind)
    return None if best is None else best[1]


def has_room(home: Path, *, minimum_free_bytes: int = MINIMUM_FREE_BYTES) -> bool:
    """Whether the disk of ``home`` has what a sweep needs to start or go on."""
    return shutil.disk_usage(_existing(home)).free >= minimum_free_bytes


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path.resolve()
