"""Leases with a fence: one invocation at a time may write for a sweep.

An invocation that takes a sweep puts its number into the sweep's row. Each of its writes first looks, inside the same
transaction, whether that number still stands there; so a process that was stopped past its lease and goes on after another
took the sweep over writes nothing more. A lease runs by the clocks of the machines, which must agree to a few seconds; the
fence does not depend on them.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import psutil

from sweeps.ledger.database import LedgerError

LEASE_SECONDS = 30.0
RENEW_SECONDS = 5.0

_command: int | None = None  # in a driver's process: the one that started it


def hold_for(command: int) -> None:
    """Have this process, a driver, hold sweeps for the command that started it; takes that process's number."""
    global _command
    _command = command


class SweepBusy(LedgerError):
    """Another process runs the sweep."""


class Fenced(LedgerError):
    """Another process has taken the sweep over; what this one still had to write is not wanted."""


class Holder(NamedTuple):
    """A process as others can look it up: a number alone may be given to another process.

    ``place`` names the boot and the process namespace, for hosts may share a name; ``born`` does not move with the clock.
    ``command`` is the process to stop where the sweep is to stop: a driver that ends alone is replaced by its command.
    """

    host: str
    place: str
    pid: int
    born: int
    command: int

    @classmethod
    def here(cls) -> "Holder":
        """This process."""
        return cls(socket.gethostname(), _place(), os.getpid(), _born(os.getpid()), _command or os.getpid())

    @classmethod
    def read(cls, text: str) -> "Holder":
        """From the ledger."""
        host, place, pid, born, *command = text.split("/")
        return cls(host, place, int(pid), int(born), int(command[0] if command else pid))

    def __str__(self) -> str:
        return "/".join(map(str, self))

    @property
    def is_gone(self) -> bool:
        """Whether it is known to have ended; of another machine nothing is known."""
        if (self.host, self.place) != (socket.gethostname(), _place()):
            return False
        try:
            return _born(self.pid) != self.born or psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, FileNotFoundError):
            return True


def is_held(sweep: Any) -> bool:
    """Whether a sweep's lease stands: it has not run out, and its holder is not known to have ended."""
    return stands(sweep.holder, sweep.lease_until_ms)


def stands(holder: str | None, lease_until_ms: int) -> bool:
    """Whether a lease does; see :func:`is_held`."""
    return holder is not None and lease_until_ms > _now_ms() and not Holder.read(holder).is_gone


def refuse_held(row: Mapping[str, Any]) -> None:
    """Check a sweep's row.

    Raises:
        SweepBusy: another process holds the sweep.
    """
    if stands(row["holder"], row["lease_until_ms"]):
        other = Holder.read(row["holder"])
        raise SweepBusy(
            f"sweep {row['name']!r}: is being run by process {other.command} on {other.host}; wait for it, stop it, "
            f"or, if it hangs, end it: its lease runs out {LEASE_SECONDS:.0f} s after its last sign of life"
        )


def taken(row: Mapping[str, Any], invocation: int) -> dict[str, Any]:
    """What to write to a sweep's row to give it to an invocation.

    Raises:
        SweepBusy: another process holds it.
    """
    here = str(Holder.here())
    # A process may take over from itself: with a full disk it could not write that its last invocation had ended.
    if row["holder"] != here:
        refuse_held(row)
    return {"invocation": invocation, "holder": here, "lease_until_ms": _until_ms()}


def renewed(row: Mapping[str, Any], invocation: int) -> dict[str, Any]:
    """The fence: what to write to a sweep's row to go on with the lease, in the transaction of the write that it protects.

    Raises:
        Fenced: another invocation has the sweep.
    """
    if row["invocation"] != invocation:
        raise Fenced(f"sweep {row['id']}: another process has taken it over; this one ends and writes nothing more")
    return {"lease_until_ms": _until_ms()}


# What to write to let a sweep go; the fence stays, so that nothing of the invocation comes after.
RELEASED: Mapping[str, Any] = MappingProxyType({"invocation": 0, "holder": None, "lease_until_ms": 0})


@contextmanager
def kept(renewal: Callable[[], None], lost: Callable[[Fenced], None]) -> Iterator[None]:
    """Renew a lease every few seconds while the block runs, however long an epoch takes."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(RENEW_SECONDS):
            try:
                renewal()
            except Fenced as error:
                lost(error)
                return
            except LedgerError:
                continue  # a full disk stops the sweep at its next record; the lease may run out, the fence holds

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(RENEW_SECONDS)  # it may wait for a database that is silent, and ends with the process


def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return "-"  # no such thing on this system


def _born(pid: int) -> int:
    """When a process began, in ticks since the machine did; psutil's time is of the clock, which may be set."""
    if not Path("/proc/self/stat").exists():
        return round(psutil.Process(pid).create_time())
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def _until_ms() -> int:
    return _now_ms() + round(LEASE_SECONDS * 1000)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
