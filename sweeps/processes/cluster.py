"""Notices that a process is gone which the local Ray cluster cannot do without.

Ray ends a driver in such a case, but late, or in the middle of anything, or not at all while it starts.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

VITAL = {"gcs_server": "GCS", "raylet": "raylet"}  # by the name of the process
LOOK_SECONDS = 0.5


@contextmanager
def watched(lost: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Watch the vital ones of this process's children while the block runs; yields a function that ends the watch.

    Args:
        lost: takes what happened, once, in another thread.
    """
    ended = threading.Event()

    def watch() -> None:
        seen: dict[psutil.Process, str] = {}
        while not ended.wait(LOOK_SECONDS):
            seen |= {child: VITAL[name] for child in psutil.Process().children() if (name := _name(child)) in VITAL}
            gone = sorted({name for child, name in seen.items() if not _runs(child)})
            if gone and not ended.is_set():
                lost(f"the {' and the '.join(gone)} of its local Ray cluster ended")
                return

    thread = threading.Thread(target=watch, name="cluster", daemon=True)
    thread.start()
    try:
        yield ended.set
    finally:
        ended.set()
        thread.join()


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
