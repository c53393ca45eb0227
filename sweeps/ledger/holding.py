"""The row of a sweep, locked for a write: its lease, and the counts of its rows in the other tables."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from sweeps.ledger import tables
from sweeps.ledger.database import LedgerError
from sweeps.ledger.records import encode
from sweeps.ledger.sealing import check_row, digest, seal


def holdings(text: str = "{}") -> dict[str, Any]:
    """Return the counts of a sweep: rows in each other table, events by kind, the id of the last event, and ``changes``.

    ``changes`` grows with every commit and retry, which may change trials or work without an event.
    """
    found: dict[str, Any] = json.loads(text)
    return {"trials": 0, "invocations": 0, "tracking": 0, "events": {}, "last_event": 0, "changes": 0} | found


@dataclass
class HeldSweep:
    """A sweep's row while a transaction has locked it. ``row`` may be changed; it is written at the end of the block."""

    connection: Connection
    row: dict[str, Any]
    holds: dict[str, Any]

    def count(self, what: str, more: int) -> None:
        """Add to the number of rows that the sweep has in a table, or to its ``changes``."""
        self.holds[what] += more

    def append(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Append an event: it gets its id while the sweep's row is locked, and refers to the previous event."""
        values = {"sweep_id": self.row["id"], "kind": kind, "payload": encode(payload), "at_ms": now_ms()}
        sealed = seal(tables.events, values | {"previous": self.holds["last_event"]})
        made = self.connection.execute(insert(tables.events).values(sealed)).inserted_primary_key
        assert made is not None
        self.holds["last_event"] = int(made[0])
        self.holds["events"][kind] = self.holds["events"].get(kind, 0) + 1


@contextmanager
def held(connection: Connection, sweep_id: str) -> Iterator[HeldSweep]:
    """Lock a sweep's row until the transaction ends.

    Raises:
        LedgerError: there is no such sweep.
        Damage: its row is damaged.
    """
    at = tables.sweeps.c
    found = (
        connection.execute(select(tables.sweeps).where(at.id == sweep_id).with_for_update()).mappings().one_or_none()
    )
    if found is None:
        raise LedgerError(f"sweep {sweep_id}: must be one that was run here")
    check_row(tables.sweeps, found)
    sweep = HeldSweep(connection, dict(found), holdings(found["holds"]))
    yield sweep
    sweep.row["holds"] = encode(sweep.holds)
    changed = {name: value for name, value in sweep.row.items() if found[name] != value}
    if changed:
        changed["digest"] = digest(tables.sweeps, sweep.row)
        connection.execute(update(tables.sweeps).where(at.id == sweep_id).values(changed))


def now_ms() -> int:
    """Return the milliseconds since 1970."""
    return time.time_ns() // 1_000_000
