"""Waiting for what another thread or process does in its own time."""

import time
from collections.abc import Callable

LOOK_SECONDS = 0.02


def wait_for(happened: Callable[[], object], seconds: float = 60) -> None:
    """Return once something is so; it is a failure if it is not within the seconds."""
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(LOOK_SECONDS)
