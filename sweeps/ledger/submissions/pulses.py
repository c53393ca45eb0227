"""The pulse of a sweep: detects changes to a sweep from its own row, without reading its trials."""

from typing import NamedTuple

from sqlalchemy import Connection

from sweeps.ledger import leases
from sweeps.ledger.holding import holdings
from sweeps.ledger.integrity import sweep_row


class Pulse(NamedTuple):
    """What differs once a sweep is shown differently, or there is an event. A renewed lease changes nothing.

    Attributes:
        last_event: the id of its last event; 0 if nothing has happened.
        status: of its row; empty if there is no such sweep.
        is_held: whether a process runs it; that changes by itself, as time passes.
        invocations: number of times that it was run.
        changes: number of commits and retries, which may change trials or work without an event.
    """

    last_event: int
    status: str
    is_held: bool
    invocations: int
    changes: int


def pulse_of(connection: Connection, sweep_id: str) -> Pulse:
    """Return a sweep's pulse; one without an event if there is no such sweep.

    Raises:
        Damage: the sweep's row is damaged or missing.
    """
    if (row := sweep_row(connection, sweep_id)) is None:
        return Pulse(0, "", False, 0, 0)
    holds, is_held = holdings(row["holds"]), leases.stands(row["holder"], row["lease_until_ms"])
    return Pulse(holds["last_event"], row["status"], is_held, holds["invocations"], holds["changes"])
