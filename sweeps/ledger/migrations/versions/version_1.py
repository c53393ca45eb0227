"""The first schema: sweeps, trials, states, checkpoints, events, invocations and offsets of tracking stores."""

from alembic import op
from sqlalchemy import BigInteger, Column, Float, Integer, String, Text

revision = "1"
down_revision = None

Wide = BigInteger().with_variant(Integer, "sqlite")


def upgrade() -> None:
    """Create every table."""
    op.create_table("meta", Column("name", String, primary_key=True), Column("value", String, nullable=False))
    op.create_table(
        "sweeps",
        Column("id", String, primary_key=True),
        Column("name", String, nullable=False, index=True),
        Column("spec", Text, nullable=False),
        Column("sharing", Integer, nullable=False),
        Column("status", String, nullable=False),
        Column("created_ms", Wide, nullable=False),
        Column("used_ms", Wide, nullable=False),
        Column("forecast", Text),
        Column("identities", Text, nullable=False),
    )
    op.create_table(
        "trials",
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
    )
    op.create_table(
        "states",
        Column("key", String, primary_key=True),
        Column("parent", String, nullable=False),
        Column("epoch", Integer, nullable=False),
        Column("metrics", Text, nullable=False),
        Column("finished_at_ms", Wide, nullable=False),
        Column("worker", String, nullable=False),
    )
    op.create_table(
        "checkpoints",
        Column("key", String, primary_key=True),
        Column("epoch", Integer, nullable=False),
        Column("saved_at_ms", Wide, nullable=False),
    )
    op.create_table(
        "events",
        Column("id", Wide, primary_key=True, autoincrement=True),
        Column("sweep_id", String, nullable=False),
        Column("kind", String, nullable=False),
        Column("payload", Text, nullable=False),
        Column("at_ms", Wide, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("events_by_sweep", "events", ["sweep_id", "id"])
    op.create_table(
        "invocations",
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
    )
    op.create_table(
        "tracking",
        Column("sweep_id", String, primary_key=True),
        Column("target", String, primary_key=True),
        Column("event_id", Wide, nullable=False),
    )
