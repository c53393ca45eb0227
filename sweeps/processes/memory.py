"""Memory figures of the kernel: memory in use, and the number of processes killed for lack of it.

Figures are those of this process's control group if it has one, else of the machine, which a container shares with others.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

GIB = 2**30
SYSTEM = Path("/")
MACHINE = "proc/vmstat"
# By version of control groups: the files with kills, usage and limit.
FILES = {
    2: ("memory.events", "memory.current", "memory.max"),
    1: ("memory.oom_control", "memory.usage_in_bytes", "memory.limit_in_bytes"),
}


def oom_kills() -> int:
    """Return how many processes the kernel has killed for lack of memory; 0 if unknown.

    Only an increase of the count is informative.
    """
    for file in (*(group / FILES[version][0] for version, group in _groups()), SYSTEM / MACHINE):
        with suppress(OSError):
            counts = [line.split()[1] for line in file.read_text().splitlines() if line.startswith("oom_kill ")]
            if counts:
                return int(counts[0])
    return 0


def memory() -> tuple[int, int]:
    """Return the bytes in use, and the total."""
    machine = psutil.virtual_memory()
    for version, group in _groups():
        _, current, most = FILES[version]
        with suppress(OSError, ValueError):  # the limit may be "max"
            used, limit = (int((group / name).read_text()) for name in (current, most))
            if limit < machine.total:
                return used, limit
    return machine.total - machine.available, machine.total


def in_use() -> str:
    """Return the memory in use as text."""
    used, total = memory()
    return f"memory in use: {used / GIB:.1f} GiB of {total / GIB:.1f} GiB"


def _groups() -> Iterator[tuple[int, Path]]:
    """Yield possible folders of this process's control group, with its version; in a container it may be the root."""
    with suppress(OSError):
        for line in (SYSTEM / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                yield from ((2, SYSTEM / "sys/fs/cgroup" / place) for place in (path.lstrip("/"), ""))
            elif controllers == "memory":
                yield from ((1, SYSTEM / "sys/fs/cgroup/memory" / place) for place in (path.lstrip("/"), ""))
