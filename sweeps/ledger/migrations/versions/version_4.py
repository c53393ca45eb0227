"""What the curve of a trial comes to, in the trial's row."""

from alembic import op
from sqlalchemy import Column, Connection, MetaData, Table, Text, bindparam, select, update

from sweeps.ledger import sealing

revision = "4"
down_revision = "3"

PAGE = 1000


def upgrade() -> None:
    """Add the column, empty, and seal the rows again; those that were damaged before stay so."""
    connection = op.get_bind()
    before = Table("trials", MetaData(), autoload_with=connection)
    op.add_column("trials", Column("result", Text))
    _seal_again(connection, before, Table("trials", MetaData(), autoload_with=connection))


def _seal_again(connection: Connection, before: Table, trials: Table) -> None:
    statement = update(trials).where(trials.c.id == bindparam("trial")).values(digest=bindparam("sealed"))
    keys = connection.scalars(select(trials.c.id).order_by(trials.c.id)).all()
    for start in range(0, len(keys), PAGE):
        rows = connection.execute(select(trials).where(trials.c.id.in_(keys[start : start + PAGE]))).mappings().all()
        intact = [row for row in rows if sealing.is_intact(before, row)]
        if intact:
            sealed = [{"trial": row["id"], "sealed": sealing.digest(trials, row)} for row in intact]
            connection.execute(statement, sealed)
