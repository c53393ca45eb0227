"""Cleans up after a driver, however it ended: ends what its local Ray left running and removes its directory.

    python -m sweeps.janitor DIRECTORY

A process of its own. It reads from a pipe whose other end the driver alone holds: when the driver ends, by its own will or by
SIGKILL, the pipe closes.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

GRACE_SECONDS = 5.0


@contextmanager
def cleaned(directory: Path) -> Iterator[None]:
    """Have the directory, and every process at work in it, gone when the block ends or this process dies."""
    janitor = subprocess.Popen(
        [sys.executable, "-P", "-m", "sweeps.janitor", str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # neither Ctrl-C nor the end of a terminal's session is for it
    )
    try:
        yield
    finally:
        janitor.communicate()


def clean(directory: Path) -> None:
    """End the processes that work in the directory or name it among their arguments, and remove it."""
    left = list(_at_work(directory))
    for process in left:
        _send(process.terminate)
    _, alive = psutil.wait_procs(left, timeout=GRACE_SECONDS)
    for process in [*alive, *_at_work(directory)]:
        _send(process.kill)
    psutil.wait_procs(alive, timeout=GRACE_SECONDS)
    shutil.rmtree(directory, ignore_errors=True)


def _at_work(directory: Path) -> Iterator[psutil.Process]:
    name, ours = str(directory), {process.pid for process in [psutil.Process(), *psutil.Process().parents()]}
    for process in psutil.process_iter():
        try:
            if process.pid not in ours and (
                Path(process.cwd()).is_relative_to(directory) or any(name in part for part in process.cmdline())
            ):
                yield process
        except psutil.Error:
            continue  # another user's, or gone meanwhile


def _send(end: Callable[[], None]) -> None:
    with suppress(psutil.NoSuchProcess):
        end()


if __name__ == "__main__":
    sys.stdin.buffer.read()
    clean(Path(sys.argv[1]))
