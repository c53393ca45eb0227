"""A digest for every row, the chain of events, and the counts of a sweep's rows in the other tables."""

import json
from collections import Counter

from alembic import op
from sqlalchemy import BigInteger, Column, Connection, Integer, MetaData, String, Table, Text, bindparam, select, update

from sweeps.ledger import sealing

revision = "3"
down_revision = "2"

Wide = BigInteger().with_variant(Integer, "sqlite")
TABLES = ("meta", "sweeps", "trials", "states", "checkpoints", "events", "invocations", "tracking")
PAGE = 1000


def upgrade() -> None:
    """Add the columns and seal existing rows; earlier damage to a row cannot be detected."""
    op.add_column("events", Column("previous", Wide, nullable=False, server_default="0"))
    op.add_column("sweeps", Column("holds", Text, nullable=False, server_default="{}"))
    for name in TABLES:
        op.add_column(name, Column("digest", String, nullable=False, server_default=""))
    connection, known = op.get_bind(), MetaData()
    made = {name: Table(name, known, autoload_with=connection) for name in TABLES}
    _link_events(connection, made["events"])
    _count(connection, made)
    for table in made.values():
        _seal(connection, table)


def _link_events(connection: Connection, events: Table) -> None:
    last: dict[str, int] = {}
    links = []
    for row in connection.execute(select(events.c.id, events.c.sweep_id).order_by(events.c.id)):
        links.append({"number": row.id, "before": last.get(row.sweep_id, 0)})
        last[row.sweep_id] = row.id
    if links:
        statement = update(events).where(events.c.id == bindparam("number"))
        connection.execute(statement.values(previous=bindparam("before")), links)


def _count(connection: Connection, made: dict[str, Table]) -> None:
    """Fill the counts of each sweep, and the list of sweeps."""
    counts = {
        name: Counter(connection.scalars(select(made[name].c.sweep_id)))
        for name in ("trials", "invocations", "tracking")
    }
    kinds: dict[str, Counter[str]] = {}
    last: dict[str, int] = {}
    events = made["events"].c
    for row in connection.execute(select(events.id, events.sweep_id, events.kind).order_by(events.id)):
        kinds.setdefault(row.sweep_id, Counter())[row.kind] += 1
        last[row.sweep_id] = row.id
    sweeps = made["sweeps"]
    names = {row.id: row.name for row in connection.execute(select(sweeps.c.id, sweeps.c.name)).all()}
    for sweep in names:
        holds: dict[str, object] = {name: count[sweep] for name, count in counts.items()}
        holds |= {"events": dict(kinds.get(sweep, {})), "last_event": last.get(sweep, 0)}
        text = json.dumps(holds, sort_keys=True, separators=(",", ":"))
        connection.execute(update(sweeps).where(sweeps.c.id == sweep).values(holds=text))
    listed = {str(key): str(name) for key, name in names.items()}  # damaged ones may be bytes
    register = {"name": "sweeps", "value": json.dumps(listed, sort_keys=True, separators=(",", ":"))}
    connection.execute(made["meta"].insert().values(register))


def _seal(connection: Connection, table: Table) -> None:
    keys = list(table.primary_key)
    statement = update(table).where(*(key == bindparam(f"key_{key.name}") for key in keys))
    statement = statement.values(digest=bindparam("sealed"))
    found = connection.execute(select(*keys).order_by(*keys)).all()
    for start in range(0, len(found), PAGE):
        page = [dict(zip([key.name for key in keys], row, strict=True)) for row in found[start : start + PAGE]]
        first, last = ([row[key.name] for key in keys] for row in (page[0], page[-1]))
        within = (keys[0] >= first[0]) & (keys[0] <= last[0])
        rows = connection.execute(select(table).where(within)).mappings().all()
        sealed = [{f"key_{key.name}": row[key.name] for key in keys} | {"sealed": _digest(table, row)} for row in rows]
        connection.execute(statement, sealed)


def _digest(table: Table, row: sealing.Row) -> str:
    """Return the digest, or an empty one for a row that is already damaged: SQLite accepts text in number columns."""
    for column in table.columns:
        value, kind = row[column.name], column.type.python_type
        if value is not None and not isinstance(value, (int, float) if kind is float else kind):
            return ""
    return sealing.digest(table, row)
