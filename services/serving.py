"""A server in the foreground; it and its children end with the command, whatever signal ends that."""

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
    """Run the server until it exits, or Ctrl-C, SIGTERM or SIGHUP stops it; return its exit code, or 0 for a signal."""
    clean_leftovers()
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    directory = Path(tempfile.mkdtemp(prefix="abel-ui-"))
    try:
        with cleaned(directory):  # processes working in the directory end with this one
            return subprocess.call(command, env=os.environ | environment, cwd=directory, umask=OWNER_ONLY)
    except KeyboardInterrupt:
        return 0


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt
