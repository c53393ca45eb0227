"""The pulse of a sweep: what tells that it has changed, without reading its trials."""

from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, select

from sweeps.ledger import leases, tables
from sweeps.ledger.integrity import held_by

# Made once, as to make a statement takes longer than to carry it out.
_ROW = select(tables.sweeps.c.digest, tables.sweeps.c.holder, tables.sweeps.c.lease_until_ms).where(
    tables.sweeps.c.id == bindparam("sweep")
)
_STATUSES = (
    select(tables.trials.c.status, func.count(), func.sum(tables.trials.c.epoch))
    .where(tables.trials.c.sweep_id == bindparam("sweep"))
    .group_by(tables.trials.c.status)
    .order_by(tables.trials.c.status)
)


class Pulse(NamedTuple):
    """What differs once anything of a sweep has changed.

    Attributes:
        last_event: the id of its last event; 0 if nothing has happened.
        digest: of its row, which every report of a worker and every command changes, and every renewal of its lease.
        is_held: whether a process runs it; that changes by itself, as time passes.
        trials: of each status of trials, how many there are and how many epochs they have. A retry may change them alone.
    """

    last_event: int
    digest: str
    is_held: bool
    trials: tuple[tuple[str, int, int], ...]


def pulse_of(connection: Connection, sweep_id: str) -> Pulse:
    """Return a sweep's pulse; one without an event if there is no such sweep.

    Raises:
        Damage: the sweep's row is damaged or missing.
    """
    last = int(held_by(connection, sweep_id)["last_event"])
    row = connection.execute(_ROW, {"sweep": sweep_id}).one_or_none()
    if row is None:
        return Pulse(last, "", False, ())
    statuses = connection.execute(_STATUSES, {"sweep": sweep_id})
    trials = tuple((str(status), int(count), int(epochs)) for status, count, epochs in statuses)
    return Pulse(last, row.digest, leases.is_held(row), trials)
