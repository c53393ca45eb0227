"""The ledger's tables: sweeps, their trials, and every training state that was ever recorded.

A *state* (one epoch's record) belongs to its key, not to a sweep: two sweeps that reach the same key share the row. Everything
that readers must see in order is an *event*; events are only ever appended. A change here needs a new ``SCHEMA_VERSION`` and
a revision in ``migrations/versions``.

Every row has a digest (:mod:`sweeps.ledger.sealing`). Missing and added rows are detected by others: ``meta`` lists the sweeps, a
sweep's ``holds`` counts its rows in the other tables, an event refers to the previous one, and a state to its parent.
"""

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text

SCHEMA_VERSION = 5

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
    Column("holds", Text, nullable=False, server_default="{}"),  # numbers of its changes, and rows in other tables
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

# The service's: sweeps that people asked for, who they are, and what they did.

submissions = Table(
    "submissions",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False, index=True),
    Column("idempotency", String),  # the client's key for this request; with the same one it is entered once
    Column("body", String, nullable=False),  # digest of the request, to tell another one under the same key
    Column("name", String, nullable=False),
    Column("spec", Text, nullable=False),
    Column("options", Text, nullable=False),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("wanted", String, nullable=False),
    Column("outcome", String),  # how it ended; null while it may still run
    Column("error", Text),
    Column("sweep_id", String),  # known once a worker's node was asked what it computes with
    Column("workers", Integer),  # at most so many at once, as granted at the last launch
    Column("launches", Integer, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="0"),  # launches in a row that ended without an outcome
    Column("launched_ms", Wide),  # until the process that was started takes it
    # As of a sweep: the process that carries it out, and until when.
    Column("holder", String),
    Column("lease_until_ms", Wide, nullable=False, server_default="0"),
    Column("created_ms", Wide, nullable=False),
    Column("changed_ms", Wide, nullable=False),
    _digest(),
    Index("submissions_by_key", "owner", "idempotency", unique=True),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("secret", String, nullable=False),  # SHA-256 of the secret part
    Column("scopes", String, nullable=False),
    Column("created_ms", Wide, nullable=False),
    Column("expires_ms", Wide),
    Column("revoked_ms", Wide),
    _digest(),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Wide, primary_key=True, autoincrement=True),
    Column("at_ms", Wide, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("target", String, nullable=False),
    Column("detail", Text, nullable=False, server_default=""),
    _digest(),
    sqlite_autoincrement=True,
)
