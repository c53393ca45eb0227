"""Cleans up after a process, however it ended: ends the processes left in a directory and removes the directory.

    python -m sweeps.processes.janitor DIRECTORY

The janitor is a separate process. It reads from a pipe whose other end only its owner holds: when the owner exits or is killed,
the pipe closes. A killed janitor is replaced. If owner and janitor are killed together, the lock on a file in the directory is
released, and the next run cleans up.
"""

import fcntl
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

GRACE_SECONDS = 5.0
PATIENCE_SECONDS = 30.0  # to wait for a janitor: twice the grace period plus the removal of files
LOOK_SECONDS = 1.0
LOCK = "lock"
PREFIXES = ("abel-ray-", "abel-ui-")
UNLOCKED_SECONDS = 24 * 3600.0  # older versions created directories without a lock


@contextmanager
def cleaned(directory: Path) -> Iterator[None]:
    """Remove the directory and end every process working in it when the block ends or this process dies."""
    lock = _locked(directory)
    janitor, ended = [_janitor(directory, lock)], threading.Event()

    def keep() -> None:
        while not ended.wait(LOOK_SECONDS):
            if janitor[-1].poll() is not None:
                janitor.append(_janitor(directory, lock))

    keeper = threading.Thread(target=keep, name="janitor", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()
        if not _has_cleaned(janitor[-1]):
            clean(directory)
        os.close(lock)


def _locked(directory: Path) -> int:
    """Create and take the lock atomically: it appears under its name only once it is taken."""
    draft = directory / f".{LOCK}"
    lock = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    draft.rename(directory / LOCK)
    return lock


def _janitor(directory: Path, lock: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "sweeps.processes.janitor", str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=(lock,),  # it holds the lock as well
        start_new_session=True,  # unaffected by Ctrl-C and by the end of the terminal session
    )


def _has_cleaned(janitor: "subprocess.Popen[bytes]") -> bool:
    """Let the janitor clean up; return False if it was killed or is stopped."""
    try:
        janitor.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        janitor.kill()
        janitor.wait()
    return janitor.returncode == 0


def clean(directory: Path) -> None:
    """End the processes that work in the directory or have it among their arguments, and remove it."""
    left = list(_at_work(directory))
    for process in left:
        _send(process.terminate)
    _, alive = psutil.wait_procs(left, timeout=GRACE_SECONDS)
    for process in [*alive, *_at_work(directory)]:
        _send(process.kill)
    psutil.wait_procs(alive, timeout=GRACE_SECONDS)
    shutil.rmtree(directory, ignore_errors=True)


def clean_leftovers() -> None:
    """Clean up every directory of this user whose owner and janitor were both killed."""
    for place in {tempfile.gettempdir(), "/tmp"}:
        for prefix in PREFIXES:
            for path in Path(place).glob(f"{prefix}*"):
                with suppress(OSError):  # another user's, in use, or already removed
                    _clean_leftover(path)


def _clean_leftover(path: Path) -> None:
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        return
    try:
        lock = os.open(path / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        if time.time() - status.st_mtime > UNLOCKED_SECONDS and not any(_at_work(path)):
            shutil.rmtree(path)
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        clean(path)
    finally:
        os.close(lock)


def _at_work(directory: Path) -> Iterator[psutil.Process]:
    name, ours = str(directory), {process.pid for process in [psutil.Process(), *psutil.Process().parents()]}
    for process in psutil.process_iter():
        try:
            if (
                process.pid not in ours
                and process.uids().real == os.getuid()
                and (Path(process.cwd()).is_relative_to(directory) or any(name in part for part in process.cmdline()))
            ):
                yield process
        except psutil.Error:
            continue  # ended in the meantime


def _send(end: Callable[[], None]) -> None:
    with suppress(psutil.NoSuchProcess):
        end()


if __name__ == "__main__":
    sys.stdin.buffer.read()
    clean(Path(sys.argv[1]))
