"""Fenced leases: one invocation at a time may write for a sweep.

An invocation that takes a sweep writes its number to the sweep's row. Each of its writes first checks, inside the same
transaction, that the number is still there. So a process that was paused beyond its lease and resumes after another took
the sweep over writes nothing more. Leases depend on the clocks of the machines, which must agree to a few seconds; the fence
does not.
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
SILENT_SECONDS = 12.5  # two renewals are missing: worth asking whether the holder is still there

_command: int | None = None  # in a driver process: the process that started it


def hold_for(command: int) -> None:
    """Make this driver process hold sweeps on behalf of the command that started it, given that command's pid."""
    global _command
    _command = command


class SweepBusy(LedgerError):
    """Another process is running the sweep."""


class SweepPaused(LedgerError):
    """The sweep is paused, so no process may begin to run it."""


class Fenced(LedgerError):
    """Another process has taken the sweep over; this one must not write any more."""


class Holder(NamedTuple):
    """A process, identified by more than its pid, which may be reused.

    ``place`` names the boot and the pid namespace, since hosts may share a name. ``born`` is unaffected by clock changes.
    ``command`` is the process to stop in order to stop the sweep: it replaces a driver that ends.
    """

    host: str
    place: str
    pid: int
    born: int
    command: int

    @classmethod
    def here(cls) -> "Holder":
        """Return this process."""
        return cls(socket.gethostname(), _place(), os.getpid(), _born(os.getpid()), _command or os.getpid())

    @classmethod
    def read(cls, text: str) -> "Holder":
        """Parse the text stored in the ledger."""
        host, place, pid, born, *command = text.split("/")
        return cls(host, place, int(pid), int(born), int(command[0] if command else pid))

    def __str__(self) -> str:
        return "/".join(map(str, self))

    @property
    def is_here(self) -> bool:
        """Whether the process is, or was, one of this machine since it started."""
        return (self.host, self.place) == (socket.gethostname(), _place())

    def is_for(self, command: "Holder") -> bool:
        """Whether this process is a command, or a driver that it started."""
        return (self.host, self.place, self.command) == (command.host, command.place, command.pid)

    @property
    def has_command(self) -> bool:
        """Whether the process that would replace this one, if it was lost, may still run on this machine."""
        return self.is_here and psutil.pid_exists(self.command)

    @property
    def is_gone(self) -> bool:
        """Whether the process is known to have ended; never known of processes on other machines."""
        if not self.is_here:
            return False
        try:
            return _born(self.pid) != self.born or psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE
        except (psutil.NoSuchProcess, FileNotFoundError):
            return True


def is_held(sweep: Any) -> bool:
    """Whether a sweep's lease is valid: it has not expired, and its holder is not known to have ended."""
    return stands(sweep.holder, sweep.lease_until_ms)


def stands(holder: str | None, lease_until_ms: int) -> bool:
    """Whether a lease is valid; see :func:`is_held`."""
    return holder is not None and lease_until_ms > _now_ms() and not Holder.read(holder).is_gone


def is_silent(lease_until_ms: int) -> bool:
    """Whether a lease was not renewed for so long that its holder may be lost."""
    return lease_until_ms - _now_ms() < (LEASE_SECONDS - SILENT_SECONDS) * 1000


def refuse_held(row: Mapping[str, Any]) -> None:
    """Check a sweep's row.

    Raises:
        SweepBusy: another process holds the sweep.
    """
    if stands(row["holder"], row["lease_until_ms"]):
        other = Holder.read(row["holder"])
        raise SweepBusy(
            f"sweep {row['name']!r}: is being run by process {other.command} on {other.host}; wait for it or stop it; "
            f"if it hangs, kill it: its lease runs out {LEASE_SECONDS:.0f} s after it was last renewed"
        )


def taken(row: Mapping[str, Any], invocation: int) -> dict[str, Any]:
    """Return the changes to a sweep's row that give it to an invocation.

    Raises:
        SweepBusy: another process holds it.
    """
    here = str(Holder.here())
    # A process may take over from itself: on a full disk it could not record the end of its last invocation.
    if row["holder"] != here:
        refuse_held(row)
    return {"invocation": invocation, "holder": here, "lease_until_ms": until_ms()}


def renewed(row: Mapping[str, Any], invocation: int) -> dict[str, Any]:
    """Return the changes to a sweep's row that renew the lease, to be written in the transaction that they fence.

    Raises:
        Fenced: another invocation has the sweep.
    """
    if row["invocation"] != invocation:
        raise Fenced(f"sweep {row['id']}: another process has taken it over; this one stops and writes nothing more")
    return {"lease_until_ms": until_ms()}


# The changes that release a sweep. The fence stays, so the invocation cannot write afterwards.
RELEASED: Mapping[str, Any] = MappingProxyType({"invocation": 0, "holder": None, "lease_until_ms": 0})


@contextmanager
def kept(renewal: Callable[[], None], lost: Callable[[Fenced], None]) -> Iterator[None]:
    """Renew a lease every few seconds while the block runs, regardless of the length of an epoch."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(RENEW_SECONDS):
            try:
                renewal()
            except Fenced as error:
                lost(error)
                return
            except LedgerError:
                continue  # a full disk stops the sweep at its next record; the lease may expire, but the fence holds

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(RENEW_SECONDS)  # it may be waiting for an unresponsive database; it ends with the process


def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return "-"  # not available on this system


def _born(pid: int) -> int:
    """Return when a process started, in ticks since boot; psutil's time depends on the clock, which may be changed."""
    if not Path("/proc/self/stat").exists():
        return round(psutil.Process(pid).create_time())
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def until_ms() -> int:
    """Return when a lease that is taken or renewed now runs out (ms since 1970)."""
    return _now_ms() + round(LEASE_SECONDS * 1000)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
