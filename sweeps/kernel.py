"""What the kernel counts of processes that it ended for lack of memory."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

SYSTEM = Path("/")


def oom_kills() -> int:
    """How many there were on this machine and in this process's control group; 0 where the kernel does not say.

    A count by itself says nothing; one that has risen does.
    """
    found = 0
    for file in _counters():
        with suppress(OSError):
            lines = (SYSTEM / file).read_text().splitlines()
            found += sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return found


def _counters() -> Iterator[str]:
    yield "proc/vmstat"
    with suppress(OSError):
        for line in (SYSTEM / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":  # version 2
                yield f"sys/fs/cgroup{path}/memory.events"
            elif controllers == "memory":
                yield f"sys/fs/cgroup/memory{path}/memory.oom_control"
