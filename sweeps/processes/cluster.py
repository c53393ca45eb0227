"""Detects the loss of a process that the local Ray cluster cannot do without.

In such a case Ray ends the driver, but late, or at an arbitrary point, or not at all during start-up.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

VITAL = {"gcs_server": "GCS", "raylet": "raylet"}  # by process name
LOOK_SECONDS = 0.5


@contextmanager
def watched(lost: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Watch the vital child processes while the block runs; yield a function that ends the watch.

    Args:
        lost: called once with a description of the loss, from another thread.
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
