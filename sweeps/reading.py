"""What a ledger tells: sweeps, trials, states, checkpoints, events and what was spent, as frozen rows."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, Float, cast, func, select

from sweeps import database, tables
from sweeps.database import LedgerError
from sweeps.rows import EventRow, StateRow, SweepRow, TrialRow, TrialStatus, Work

WORK_COLUMNS = (
    *("trained", "replayed", "forks"),
    *("seconds_training", "seconds_saving", "seconds_committing", "seconds_starting"),
)
OUTCOMES = tuple(status for status in TrialStatus if status.final)
KEYS_PER_QUERY = 500  # SQLite takes 32,766 variables in a statement; small pages keep each read short


class Reading:
    """The reading half of a ledger; every method is one short transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with (
            database.told(self._engine.url, "opened or read"),
            self._engine.connect() as connection,
            connection.begin(),
        ):
            yield connection

    # Sweeps and trials

    def sweeps(self) -> list[SweepRow]:
        """All sweeps, the one that was run last at the end."""
        with self._read() as connection:
            rows = connection.execute(select(tables.sweeps).order_by(tables.sweeps.c.used_ms))
            return [SweepRow.read(row) for row in rows]

    def sweep(self, id_or_name: str) -> SweepRow:
        """The sweep with this id, or the one of this name that was run last; :class:`LedgerError` where there is none."""
        known = self.sweeps()
        matching = [row for row in known if id_or_name in (row.id, row.name)]
        if not matching:
            names = ", ".join(sorted({row.name for row in known})) or "none yet"
            raise LedgerError(f"sweep {id_or_name!r}: must be one that was run here ({names})")
        return matching[-1]

    def trials(self, sweep_id: str) -> list[TrialRow]:
        """The trials of a sweep in the order of its spec."""
        query = select(tables.trials).where(tables.trials.c.sweep_id == sweep_id).order_by(tables.trials.c.number)
        with self._read() as connection:
            return [TrialRow.read(row) for row in connection.execute(query)]

    def cancellations(self, sweep_id: str) -> list[str]:
        """The trials whose end was asked for and that have no outcome yet."""
        at = tables.trials.c
        asked = (at.sweep_id == sweep_id) & at.cancel_asked_ms.is_not(None) & at.status.not_in(OUTCOMES)
        with self._read() as connection:
            return list(connection.scalars(select(at.id).where(asked)))

    # States and checkpoints

    def states(self, keys: Iterable[str]) -> dict[str, StateRow]:
        """The recorded states among these keys."""
        found: dict[str, StateRow] = {}
        with self._read() as connection:
            for page in pages(list(keys)):
                rows = connection.execute(select(tables.states).where(tables.states.c.key.in_(page)))
                found.update({row.key: StateRow.read(row) for row in rows})
        return found

    def curve(self, head: str | None) -> list[StateRow]:
        """The recorded epochs that lead to a state, first epoch first."""
        if head is None:
            return []
        path = select(tables.states).where(tables.states.c.key == head).cte(recursive=True)
        path = path.union_all(select(tables.states).join(path, tables.states.c.key == path.c.parent))
        with self._read() as connection:
            return [StateRow.read(row) for row in connection.execute(select(path).order_by(path.c.epoch))]

    def checkpointed(self, keys: Iterable[str]) -> set[str]:
        """The keys among these under which a checkpoint was saved and not pruned (that it verifies, restoring tells)."""
        found: set[str] = set()
        at = tables.checkpoints.c
        with self._read() as connection:
            for page in pages(list(keys)):
                query = select(at.key).where(at.key.in_(page), at.pruned_ms.is_(None))
                found.update(connection.scalars(query))
        return found

    def checkpoints(self) -> set[str]:
        """The keys of all checkpoints that were saved and not pruned."""
        with self._read() as connection:
            at = tables.checkpoints.c
            return set(connection.scalars(select(at.key).where(at.pruned_ms.is_(None))))

    def paths(self, sweep_id: str) -> dict[str, list[str]]:
        """The keys of the states that each trial of a sweep went through, first epoch first, by the trial's id."""
        states, trials = tables.states, tables.trials.c
        heads = select(trials.id, trials.head).where(trials.sweep_id == sweep_id)
        last = select(trials.head).where(trials.sweep_id == sweep_id)
        way = select(states.c.key, states.c.parent).where(states.c.key.in_(last)).cte(recursive=True)
        way = way.union(select(states.c.key, states.c.parent).join(way, states.c.key == way.c.parent))
        with self._read() as connection:
            parents = {row.key: row.parent for row in connection.execute(select(way))}
            return {row.id: _path(row.head, parents) for row in connection.execute(heads)}

    # Events and accounts

    def events(self, sweep_id: str, after: int = 0, limit: int = 1000) -> list[EventRow]:
        """The sweep's next events after an event's id, in order."""
        at = tables.events.c
        query = select(tables.events).where(at.sweep_id == sweep_id, at.id > after).order_by(at.id).limit(limit)
        with self._read() as connection:
            return [EventRow.read(row) for row in connection.execute(query)]

    def events_of(self, sweep_id: str, kind: str) -> list[EventRow]:
        """All the sweep's events of one kind, in order."""
        at = tables.events.c
        query = select(tables.events).where(at.sweep_id == sweep_id, at.kind == kind).order_by(at.id)
        with self._read() as connection:
            return [EventRow.read(row) for row in connection.execute(query)]

    def work(self, sweep_id: str) -> Work:
        """What workers did for the sweep so far."""
        at = tables.invocations.c
        wall_ms = cast(func.sum(at.ended_ms - at.started_ms), Float)  # PostgreSQL adds up integers to decimals
        summed = {name: func.sum(at[name]) for name in WORK_COLUMNS} | {"seconds_wall": wall_ms / 1000.0}
        query = select(
            func.count().label("invocations"), *(func.coalesce(value, 0).label(name) for name, value in summed.items())
        ).where(at.sweep_id == sweep_id)
        with self._read() as connection:
            return Work(**connection.execute(query).one()._mapping)

    def tracking_offset(self, sweep_id: str, target: str) -> int:
        """The last event of the sweep that the tracking store at ``target`` has acknowledged."""
        at = tables.tracking.c
        query = select(at.event_id).where(at.sweep_id == sweep_id, at.target == target)
        with self._read() as connection:
            return connection.scalar(query) or 0


def pages(keys: list[str]) -> Iterator[list[str]]:
    """The keys in as many as one statement takes."""
    for start in range(0, len(keys), KEYS_PER_QUERY):
        yield keys[start : start + KEYS_PER_QUERY]


def _path(head: str | None, parents: Mapping[str, str]) -> list[str]:
    keys = []
    while head is not None:
        keys.append(head)
        head = parents.get(head)
    return keys[::-1]
