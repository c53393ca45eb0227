"""Reads of a ledger: sweeps, trials, states, checkpoints, events and totals of work, as frozen rows."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, select, true

from sweeps.ledger import database, tables
from sweeps.ledger.database import LedgerError
from sweeps.ledger.integrity import about, expect, held_by, intact_rows, linked, sweep_rows, unbroken
from sweeps.ledger.records import EventRow, Place, StateRow, SweepRow, TrialRow, TrialStatus, Work
from sweeps.ledger.sealing import Damage, checked

WORK_COLUMNS = (
    *("trained", "replayed", "forks"),
    *("seconds_training", "seconds_saving", "seconds_committing", "seconds_starting"),
)
Decoded = TypeVar("Decoded")

OUTCOMES = tuple(status for status in TrialStatus if status.final)
KEYS_PER_QUERY = 500  # SQLite allows 32,766 variables per statement; small pages keep each read short


class Reading:
    """The reads of a ledger; every method is one short transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with database.refusals_told(self._engine.url, "opened or read"), self._snapshot() as connection:
            yield connection

    @contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        with database.reader(self._engine) as connection, connection.begin():
            yield connection

    def verify(self, sweep_id: str) -> None:
        """Read everything that the ledger holds about a sweep.

        Raises:
            LedgerDamaged: some of it, or the database's file, is damaged or missing.
        """
        with database.refusals_told(self._engine.url, "read"):
            database.check_file(self._engine)
        sweep, after = self.sweep(sweep_id), 0
        self.checkpointed({state.key for curve in self.curves(sweep, self.trials(sweep.id)) for state in curve})
        while page := self.events(sweep.id, after):
            after = page[-1].id
        self.work(sweep.id)
        self.tracking_offset(sweep.id, "")

    # Sweeps and trials

    def sweeps(self) -> list[SweepRow]:
        """Return all sweeps, the most recently run last.

        Raises:
            LedgerDamaged: the row of a sweep is damaged or missing.
        """
        with self._read() as connection:
            intact, lost = sweep_rows(connection)
            if lost:
                raise Damage(f"the row of sweep {_named(lost)} is missing or damaged")
            return intact

    def intact_sweeps(self, ids: Collection[str] | None = None) -> list[SweepRow]:
        """Return the sweeps whose own rows are intact, the most recently run last; only those with these ids, if given."""
        with self._read() as connection:
            return sweep_rows(connection, ids)[0]

    def sweep(self, id_or_name: str) -> SweepRow:
        """Return the sweep with this id, or the most recently run one with this name.

        Raises:
            LedgerError: there is no such sweep.
        """
        with self._read() as connection:
            intact, lost = sweep_rows(connection)
            if by_id := [row for row in intact if row.id == id_or_name]:
                return by_id[0]
            # A damaged row does not show which of several sweeps was run last.
            if affected := {key: name for key, name in lost.items() if id_or_name in (key, name)}:
                raise Damage(f"the row of sweep {_named(affected)} is missing or damaged")
        matching = [row for row in intact if row.name == id_or_name]
        if not matching:
            names = ", ".join(sorted({row.name for row in intact})) or "none yet"
            raise LedgerError(f"sweep {id_or_name!r}: must be one that was run here ({names})")
        return matching[-1]

    def trials(self, sweep_id: str) -> list[TrialRow]:
        """Return the trials of a sweep in the order of its spec."""
        with self._read() as connection:
            return _trials(connection, sweep_id, TrialRow.read)

    def places(self, sweep_id: str) -> list[Place]:
        """Return where each trial of a sweep is, without decoding the rest of its row."""
        with self._read() as connection:
            return _trials(connection, sweep_id, Place.read)

    def cancellations(self, sweep_id: str) -> list[str]:
        """Return the ids of trials whose cancellation was requested and that have no outcome yet."""
        at = tables.trials.c
        asked = (at.sweep_id == sweep_id) & at.cancel_asked_ms.is_not(None) & at.status.not_in(OUTCOMES)
        with self._read() as connection:
            query = select(tables.trials).where(asked)
            return [row.id for row in intact_rows(connection, tables.trials, query, TrialRow.read)]

    # States and checkpoints

    def states(self, keys: Iterable[str]) -> dict[str, StateRow]:
        """Return the recorded states among these keys."""
        found: dict[str, StateRow] = {}
        with self._read() as connection:
            for page in pages(list(keys)):
                query = select(tables.states).where(tables.states.c.key.in_(page))
                found.update({row.key: row for row in intact_rows(connection, tables.states, query, StateRow.read)})
        return found

    def curve(self, head: str | None) -> list[StateRow]:
        """Return the recorded epochs that lead to a state, in order.

        Raises:
            LedgerDamaged: one of them is damaged, or the path does not reach epoch 1.
        """
        with self._read() as connection:
            return _curve(connection, head)

    def curves(self, sweep: SweepRow, trials: Iterable[TrialRow]) -> Iterator[list[StateRow]]:
        """Yield the recorded epochs of each trial of a sweep, in order.

        Raises:
            LedgerDamaged: a path is damaged, has another length than its trial's row says, or starts at another root.
        """
        for trial in trials:
            with (
                database.refusals_told(self._engine.url, "opened or read"),
                about(sweep, trial),
                self._snapshot() as connection,
            ):
                curve = _curve(connection, trial.head)
                if len(curve) != trial.epoch:
                    raise Damage(f"{trial.epoch} epochs must be recorded, got {len(curve)}")
                if curve and curve[0].parent not in sweep.roots(trial):
                    raise Damage("its first epoch does not follow from the sweep's program, data and seed")
            yield curve

    def checkpointed(self, keys: Iterable[str]) -> set[str]:
        """Return those keys that have a saved and not pruned checkpoint; only a restore shows whether it is intact."""
        found: set[str] = set()
        at = tables.checkpoints.c
        with self._read() as connection:
            for page in pages(list(keys)):
                found |= _saved(connection, at.key.in_(page))
        return found

    def checkpoints(self) -> set[str]:
        """Return the keys of all checkpoints that were saved and not pruned."""
        with self._read() as connection:
            return _saved(connection, true())

    def paths(self, sweep_id: str) -> dict[str, list[str]]:
        """Return the state keys along the path of each trial of a sweep, root first, by trial id."""
        states, trials = tables.states, tables.trials.c
        last = select(trials.head).where(trials.sweep_id == sweep_id)
        way = select(states.c.key, states.c.parent).where(states.c.key.in_(last)).cte(recursive=True)
        way = way.union(select(states.c.key, states.c.parent).join(way, states.c.key == way.c.parent))
        query = select(states).where(states.c.key.in_(select(way.c.key)))
        heads = self.trials(sweep_id)
        with self._read() as connection:
            rows = checked(states, connection.execute(query).mappings())
            parents = {row["key"]: row["parent"] for row in rows}
        found = {row.id: _path(row.head, parents) for row in heads}
        with database.refusals_told(self._engine.url, "read"):
            for row in heads:
                expect(sweep_id, f"epochs of trial {row.name!r}", len(found[row.id][1:]), row.epoch)
        return found

    # Events and invocations

    def events(self, sweep_id: str, after: int = 0, limit: int = 1000) -> list[EventRow]:
        """Return the sweep's next events after an event id, in order."""
        at = tables.events.c
        query = select(tables.events).where(at.sweep_id == sweep_id, at.id > after).order_by(at.id).limit(limit)
        with self._read() as connection:
            last = held_by(connection, sweep_id)["last_event"]
            rows = intact_rows(connection, tables.events, query, EventRow.read)
            linked(sweep_id, rows, after, last if len(rows) < limit else None)
            return rows

    def last_event(self, sweep_id: str) -> int:
        """Return the id of the sweep's last event; 0 if nothing has happened."""
        with self._read() as connection:
            return int(held_by(connection, sweep_id)["last_event"])

    def events_of(self, sweep_id: str, kind: str) -> list[EventRow]:
        """Return all the sweep's events of one kind, in order."""
        at = tables.events.c
        query = select(tables.events).where(at.sweep_id == sweep_id, at.kind == kind).order_by(at.id)
        with self._read() as connection:
            count = held_by(connection, sweep_id)["events"].get(kind, 0)
            rows = intact_rows(connection, tables.events, query, EventRow.read)
            expect(sweep_id, f"{kind!r} events", len(rows), count)
            return rows

    def work(self, sweep_id: str) -> Work:
        """Return the total work of all invocations of the sweep so far."""
        query = select(tables.invocations).where(tables.invocations.c.sweep_id == sweep_id)
        with self._read() as connection:
            rows = intact_rows(connection, tables.invocations, query, dict)
            expect(sweep_id, "invocations", len(rows), held_by(connection, sweep_id)["invocations"])
        return _total(rows)

    def tracking_offset(self, sweep_id: str, target: str) -> int:
        """Return the id of the sweep's last event that the tracking store at ``target`` has acknowledged."""
        query = select(tables.tracking).where(tables.tracking.c.sweep_id == sweep_id)
        with self._read() as connection:
            holds = held_by(connection, sweep_id)
            rows = intact_rows(connection, tables.tracking, query, dict)
            expect(sweep_id, "tracking stores", len(rows), holds["tracking"])
        return next((int(row["event_id"]) for row in rows if row["target"] == target), 0)


def _total(invocations: Sequence[Mapping[str, Any]]) -> Work:
    summed = {name: sum(row[name] or 0 for row in invocations) for name in WORK_COLUMNS}
    wall_ms = sum(row["ended_ms"] - row["started_ms"] for row in invocations if row["ended_ms"] is not None)
    return Work(invocations=len(invocations), seconds_wall=wall_ms / 1000, **summed)


def pages(keys: list[str]) -> Iterator[list[str]]:
    """Split keys into lists short enough for one statement."""
    for start in range(0, len(keys), KEYS_PER_QUERY):
        yield keys[start : start + KEYS_PER_QUERY]


def _trials(connection: Connection, sweep_id: str, read: Callable[[Any], Decoded]) -> list[Decoded]:
    query = select(tables.trials).where(tables.trials.c.sweep_id == sweep_id).order_by(tables.trials.c.number)
    holds = held_by(connection, sweep_id)
    rows = intact_rows(connection, tables.trials, query, read)
    expect(sweep_id, "trials", len(rows), holds["trials"])
    return rows


def _path(head: str | None, parents: Mapping[str, str]) -> list[str]:
    keys: dict[str, None] = {}  # damaged parents may form a ring
    while head is not None and head not in keys:
        keys[head] = None
        head = parents.get(head)
    return list(keys)[::-1]


def _curve(connection: Connection, head: str | None) -> list[StateRow]:
    if head is None:
        return []
    path = select(tables.states).where(tables.states.c.key == head).cte(recursive=True)
    path = path.union(select(tables.states).join(path, tables.states.c.key == path.c.parent))
    query = select(path).order_by(path.c.epoch)
    curve = intact_rows(connection, tables.states, query, StateRow.read)
    unbroken(head, curve)
    return curve


def _saved(connection: Connection, which: ColumnElement[bool]) -> set[str]:
    query = select(tables.checkpoints).where(which, tables.checkpoints.c.pruned_ms.is_(None))
    return {row["key"] for row in checked(tables.checkpoints, connection.execute(query).mappings())}


def _named(sweeps: Mapping[str, str]) -> str:
    return ", ".join(f"{name!r} ({key})" for key, name in sweeps.items())
