"""The command ``abel``, which kills itself inside a write transaction of its ledger.

    python tests/chaos/driver.py COMMITS STATEMENT run spec.yaml …

After COMMITS committed write transactions it dies after the next one's STATEMENT-th statement, or else just before it is
committed.
"""

import os
import signal
import sys
from typing import Any

from sqlalchemy import Connection, Engine, event


def arm(commits: int, statement: int) -> None:
    """Listen to every engine of this process."""
    seen = {"commits": 0, "statements": 0}

    def is_write(connection: Connection) -> bool:
        return bool(connection.get_execution_options().get("abel_write", False))

    @event.listens_for(Engine, "after_cursor_execute")
    def _executed(connection: Connection, *_: Any) -> None:
        if is_write(connection) and seen["commits"] >= commits:
            seen["statements"] += 1
            if seen["statements"] >= statement:
                os.kill(os.getpid(), signal.SIGKILL)

    @event.listens_for(Engine, "commit")
    def _committing(connection: Connection) -> None:
        if is_write(connection):
            if seen["commits"] >= commits:
                os.kill(os.getpid(), signal.SIGKILL)
            seen["commits"] += 1


if __name__ == "__main__":
    arm(int(sys.argv[1]), int(sys.argv[2]))
    sys.argv = ["abel", *sys.argv[3:]]
    from services.cli import main

    main()
