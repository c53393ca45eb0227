"""The leases of a process that has ended without giving them back: freed before they run out, where its place knows it."""

from sqlalchemy import Connection

from sweeps.ledger import leases, tables
from sweeps.ledger.holding import held, now_ms
from sweeps.ledger.leases import Holder
from sweeps.ledger.sealing import change_rows
from sweeps.ledger.submissions.entering import AT
from sweeps.ledger.submissions.rows import Submission


def free_leases(connection: Connection, one: Submission) -> None:
    """Free a submission's lease, unless it was renewed meanwhile, and that of its sweep if the same process held it.

    A driver that outlives its command for a moment renews the sweep's lease, which is left to it. Its fence stays, so a
    process that was taken for lost writes nothing more.

    Raises:
        Damage: the sweep's row is damaged or missing.
    """
    as_seen = (AT.id == one.id) & (AT.holder == one.holder) & (AT.lease_until_ms == one.lease_until_ms)
    freed = {"holder": None, "lease_until_ms": 0, "changed_ms": now_ms()}
    if not change_rows(connection, tables.submissions, as_seen, freed) or one.holder is None or one.sweep_id is None:
        return
    process = Holder.read(one.holder)
    with held(connection, one.sweep_id) as sweep:
        holder, until_ms = sweep.row["holder"], sweep.row["lease_until_ms"]
        if holder is not None and Holder.read(holder).is_for(process) and leases.is_silent(until_ms):
            sweep.row |= leases.RELEASED
