"""The ledger's tables: sweeps, their trials, and every training state that was ever recorded.

A *state* (one epoch's record) belongs to its key, not to a sweep: two sweeps that reach the same key share the row. Everything
that readers must see in order is an *event*; events are only ever appended. A change here needs a new ``SCHEMA_VERSION`` and
a revision in ``migrations/versions``.

Every row has a digest (:mod:`sweeps.ledger.sealing`). Missing and added rows are detected by others: ``meta`` lists the sweeps, a
sweep's ``holds`` counts its rows in the other tables, an event refers to the previous one, and a state to its parent.
"""

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text

SCHEMA_VERSION = 4

# SQLite autoincrements only columns of type INTEGER, which hold 64 bits there anyway.
Wide = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()


def _digest() -> Column[str]:
    return Column("digest", String, nullable=False, server_default="")


meta = Table(
    "meta",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
    _digest(),
)

sweeps = Table(
    "sweeps",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, index=True),
    Column("spec", Text, nullable=False),
    Column("sharing", Integer, nullable=False),
    Column("status", String, nullable=False),
    Column("created_ms", Wide, nullable=False),
    Column("used_ms", Wide, nullable=False),
    Column("forecast", Text),
    Column("identities", Text, nullable=False),
    # The lease: the only invocation that may write for this sweep, its process, and until when.
    Column("invocation", Wide, nullable=False, server_default="0"),
    Column("holder", String),
    Column("lease_until_ms", Wide, nullable=False, server_default="0"),
    Column("holds", Text, nullable=False, server_default="{}"),  # numbers of the sweep's rows in the other tables
    _digest(),
)

trials = Table(
    "trials",
    metadata,
    Column("id", String, primary_key=True),
    Column("sweep_id", String, nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("name", String, nullable=False),
    Column("arm", String, nullable=False),
    Column("seed", Wide, nullable=False),
    Column("settings", Text, nullable=False),
    Column("program", Text, nullable=False),
    Column("schedule", Text, nullable=False),
    Column("epochs", Integer, nullable=False),
    Column("status", String, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("head", String),
    Column("error", Text),
    Column("final_epoch", Integer, nullable=False, server_default="0"),  # last epoch covered by a checkpoint
    Column("failure", String),  # the class of the last failure
    Column("attempts", Integer, nullable=False, server_default="0"),  # number of retries after a failure
    Column("cancel_asked_ms", Wide),
    Column("result", Text),  # what its curve came to up to `head`; null where only the curve tells
    _digest(),
)

states = Table(
    "states",
    metadata,
    Column("key", String, primary_key=True),
    Column("parent", String, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("metrics", Text, nullable=False),
    Column("finished_at_ms", Wide, nullable=False),
    Column("worker", String, nullable=False),
    _digest(),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("key", String, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("saved_at_ms", Wide, nullable=False),
    Column("pruned_ms", Wide),  # the files were removed; the records that they covered stay final
    _digest(),
)

events = Table(
    "events",
    metadata,
    Column("id", Wide, primary_key=True, autoincrement=True),
    Column("sweep_id", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("payload", Text, nullable=False),
    Column("at_ms", Wide, nullable=False),
    Column("previous", Wide, nullable=False, server_default="0"),  # the sweep's previous event
    _digest(),
    Index("events_by_sweep", "sweep_id", "id"),
    sqlite_autoincrement=True,
)

invocations = Table(
    "invocations",
    metadata,
    Column("id", Wide, primary_key=True, autoincrement=True),
    Column("sweep_id", String, nullable=False, index=True),
    Column("started_ms", Wide, nullable=False),
    Column("ended_ms", Wide),
    Column("trained", Integer, nullable=False),
    Column("replayed", Integer, nullable=False),
    Column("forks", Integer, nullable=False),
    Column("seconds_training", Float, nullable=False),
    Column("seconds_saving", Float, nullable=False),
    Column("seconds_committing", Float),
    Column("seconds_starting", Float),
    _digest(),
)

tracking = Table(
    "tracking",
    metadata,
    Column("sweep_id", String, primary_key=True),
    Column("target", String, primary_key=True),
    Column("event_id", Wide, nullable=False),
    _digest(),
)
