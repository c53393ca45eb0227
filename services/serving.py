"""A server in the foreground that ends with the command, by whatever signal that ends, and all that it started with it."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from sweeps.files import OWNER_ONLY
from sweeps.processes.janitor import clean_leftovers, cleaned

ENDING = (signal.SIGTERM, signal.SIGHUP)


def serve(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the server until it ends, or Ctrl-C, SIGTERM or SIGHUP ends it; returns its exit code, 0 for the latter."""
    clean_leftovers()
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    directory = Path(tempfile.mkdtemp(prefix="abel-ui-"))
    try:
        with cleaned(directory):  # whatever works in the directory ends with this process
            return subprocess.call(command, env=os.environ | environment, cwd=directory, umask=OWNER_ONLY)
    except KeyboardInterrupt:
        return 0


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt
