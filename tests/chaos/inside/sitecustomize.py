"""Python runs this at the start of every process with this folder on PYTHONPATH: a driver then dies inside a transaction.

After CHAOS_COMMITS committed write transactions of its ledger it dies after the next one's CHAOS_STATEMENT-th statement, or
else just before it is committed, and the command that started it with it.
"""

import os
import signal
import sys
from typing import Any


def arm(commits: int, statement: int) -> None:
    """Listen to every engine of this process."""
    from sqlalchemy import Connection, Engine, event

    seen = {"commits": 0, "statements": 0}

    def is_write(connection: Connection) -> bool:
        return bool(connection.get_execution_options().get("abel_write", False))

    @event.listens_for(Engine, "after_cursor_execute")
    def _executed(connection: Connection, *_: Any) -> None:
        if is_write(connection) and seen["commits"] >= commits:
            seen["statements"] += 1
            if seen["statements"] >= statement:
                die()

    @event.listens_for(Engine, "commit")
    def _committing(connection: Connection) -> None:
        if is_write(connection):
            if seen["commits"] >= commits:
                die()
            seen["commits"] += 1


def die() -> None:
    """Kill the command and its driver, which is this process."""
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


if "sweeps.run.driver_process" in sys.orig_argv and "CHAOS_COMMITS" in os.environ:
    arm(int(os.environ["CHAOS_COMMITS"]), int(os.environ["CHAOS_STATEMENT"]))
