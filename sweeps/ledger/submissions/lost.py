"""The leases of a process that has ended without giving them back: freed before they run out, where its place knows it."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from sweeps.ledger import leases, tables
from sweeps.ledger.leases import Holder
from sweeps.ledger.sealing import change_rows, check_row
from sweeps.ledger.submissions.entering import AT
from sweeps.ledger.submissions.rows import Submission


def free_leases(connection: Connection, one: Submission) -> None:
    """Free the lease of a submission and that of its sweep, if the same process holds both; nothing if either was renewed.

    A driver that outlives its command for a moment renews the sweep's lease: both are left until it is silent too. The fence
    stays, so a process that was wrongly taken for lost writes nothing more.

    Raises:
        Damage: the row of the submission or of the sweep is damaged.
    """
    # The sweep's row first, as every writer locks it before rows of other tables.
    of_sweep = tables.sweeps.c.id == one.sweep_id
    row = connection.execute(select(tables.sweeps).where(of_sweep).with_for_update()).mappings().one_or_none()
    if row is not None:
        check_row(tables.sweeps, row)
    own = row if row is not None and _is_for(one, row) else None
    if own is not None and not leases.is_silent(own["lease_until_ms"]):
        return
    as_seen = (AT.id == one.id) & (AT.holder == one.holder) & (AT.lease_until_ms == one.lease_until_ms)
    freed = change_rows(connection, tables.submissions, as_seen, {"holder": None, "lease_until_ms": 0})
    if freed and own is not None:
        change_rows(connection, tables.sweeps, of_sweep, leases.RELEASED)


def _is_for(one: Submission, sweep: Mapping[Any, Any]) -> bool:
    """Whether a sweep is held by the process that carries a submission out, or by a driver that it started."""
    if one.holder is None or sweep["holder"] is None:
        return False
    return Holder.read(sweep["holder"]).is_for(Holder.read(one.holder))
