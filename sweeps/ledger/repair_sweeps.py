"""Repair of one sweep: its row, its trials and their progress, its events and its invocations."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, select, update

from abel.schedules import DECAYS
from sweeps.errors import ConfigError
from sweeps.ledger import leases, tables
from sweeps.ledger.entries import sweep_identity, trial_row
from sweeps.ledger.holding import held, holdings
from sweeps.ledger.records import CurveResult, StateRow, SweepRow, SweepStatus, TrialRow, TrialStatus, encode
from sweeps.ledger.sealing import change_rows, digest, seal
from sweeps.spec.ordering import in_order
from sweeps.spec.schedules import schedule_from_dict
from sweeps.spec.sweep import SpecError, SweepSpec, Trial, parse_document
from workers.config import Program, to_dict
from workers.fold import diverged, observation, plan_epoch, updated
from workers.trajectory import Identity

RepairResult = tuple[str, str, bool]  # the part, what was done about it, whether it is restored
OPEN = tuple(status for status in TrialStatus if not status.final)
BACK = "retrained by its next run from the nearest checkpoint, and compared with the later records"


class SpecDiffers(ValueError):
    """The spec in a sweep's row is that of another sweep, whatever the order of its arms."""


def spec_as_entered(sweep: SweepRow, trials: Sequence[TrialRow]) -> SweepSpec:
    """Return the spec of a sweep with arms and axes in the order in which they were entered.

    Args:
        trials: those of its trials whose rows are intact.

    Raises:
        SpecError: this version cannot read the spec.
        SpecDiffers: the spec gives another id than the sweep's.
    """
    for document in in_order(sweep.spec, {trial.number: (trial.arm, trial.name) for trial in trials}):
        spec = parse_document(document, f"sweep {sweep.name}")
        expanded = spec.expand()
        try:
            known = _identities(expanded, sweep.identities)
        except KeyError:
            break
        if sweep_identity(sweep.name, expanded, known, sharing=sweep.sharing) == sweep.id:
            return spec
    raise SpecDiffers("its spec belongs to another sweep")


def restored(
    row: Mapping[str, Any], lacking: Mapping[str, str], trials: Mapping[int, tuple[str, str]]
) -> dict[str, Any] | None:
    """Return a damaged row of a sweep, restored, or None if its content no longer gives a sweep's id.

    Args:
        lacking: the names, by id, of the listed sweeps without an intact row.
        trials: arm and name of the sweep's known trials, by number.
    """
    wanted = lacking.keys() | {row["id"]}
    try:
        identities = [Identity.from_dict(values) for values in json.loads(row["identities"])]
        for spec in in_order(json.loads(row["spec"]), trials):
            expanded = parse_document(spec, "ledger").expand()
            known = _identities(expanded, identities)
            for name, sharing in product(dict.fromkeys((*lacking.values(), row["name"])), (True, False)):
                if (key := sweep_identity(name, expanded, known, sharing=sharing)) in wanted:
                    return _row(key, name, sharing, spec, row)
    except (SpecError, ConfigError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return None


def _row(key: str, name: str, sharing: bool, spec: Any, was: Mapping[str, Any]) -> dict[str, Any]:
    values = {"id": key, "name": name, "sharing": int(sharing), "status": SweepStatus.INTERRUPTED}
    times = {time: was[time] if isinstance(was[time], int) else 0 for time in ("created_ms", "used_ms")}
    return values | times | {"spec": encode(spec, sort_keys=False), "identities": was["identities"]}


@dataclass
class BrokenSweep:
    """One sweep under repair. If its row was intact (``whole``), the row gives the expected counts."""

    connection: Connection
    row: SweepRow
    whole: bool
    told: list[RepairResult] = field(default_factory=list)

    def mend(self) -> list[RepairResult]:
        """Repair the sweep; return what was done."""
        with held(self.connection, self.row.id) as sweep:
            leases.refuse_held(sweep.row)
            written, was = dict(sweep.holds), sweep.row["status"]
            events = self._events(written["events"])
            endings = {payload["trial"]: payload for payload in _payloads(events, "trial_ended")}
            told = Counter[str]()
            for payload in _payloads(events, "progress"):
                told.update(dict.fromkeys(payload["trials"], len(payload["keys"])))
            self._trials(written["trials"], endings, told)
            waiting = self._places()
            for table in (tables.invocations, tables.tracking):
                self._count(table, written[table.name])
            sweep.holds = holdings() | {
                "events": dict(Counter(event["kind"] for event in events)),
                "last_event": events[-1]["id"] if events else 0,
                "changes": written["changes"] + 1,
                **{table.name: self._size(table) for table in (tables.trials, tables.invocations, tables.tracking)},
            }
            if not self.whole:
                ended = [payload["status"] for payload in _payloads(events, "sweep_ended")]
                sweep.row["status"] = was = ended[-1] if ended else SweepStatus.INTERRUPTED
            if waiting and self.told and was not in (SweepStatus.RUNNING, SweepStatus.PAUSED):
                sweep.row["status"] = SweepStatus.INTERRUPTED
            for trial, ending in self._unsaid(endings):
                sweep.append("trial_ended", ending)
                self.told.append((f"the end of trial {trial!r}", "event recreated from the trial's row", True))
        return self.told

    def _size(self, table: Table) -> int:
        return self.connection.scalar(select(func.count()).where(table.c.sweep_id == self.row.id)) or 0

    def _count(self, table: Table, written: int) -> None:
        missing = written - self._size(table) if self.whole else 0
        if missing and table is tables.tracking:
            self.told.append(("offsets of tracking stores", "discarded; `abel track` asks the stores", True))
        elif missing > 0:
            self.told.append(
                (
                    f"the totals of {_counted(missing, 'invocation')}",
                    "lost: the sweep's totals of work and time are too low",
                    False,
                )
            )
        elif missing:  # copies, which are indistinguishable from their originals
            at = table.c
            extra = select(at.id).where(at.sweep_id == self.row.id).order_by(at.id.desc()).limit(-missing)
            self.connection.execute(delete(table).where(at.id.in_(extra)))
            self.told.append((f"the added totals of {_counted(-missing, 'invocation')}", "removed", True))

    def _events(self, written: Mapping[str, int]) -> list[dict[str, Any]]:
        """Return the events, relinked; a copy is an event whose previous event already has a successor."""
        at = tables.events.c
        rows = self.connection.execute(
            select(tables.events).where(at.sweep_id == self.row.id).order_by(at.id)
        ).mappings()
        kept, followed, last = [], set[int](), 0
        for row in map(dict, rows):
            if row["previous"] in followed:
                self.connection.execute(delete(tables.events).where(at.id == row["id"]))
                self.told.append(("an event that was added", "removed", True))
                continue
            followed.add(row["previous"])
            if row["previous"] != last:
                row["previous"] = last
                row["digest"] = digest(tables.events, row)
                linked = {"previous": last, "digest": row["digest"]}
                self.connection.execute(update(tables.events).where(at.id == row["id"]).values(linked))
            kept.append(row)
            last = row["id"]
        lost = Counter(written) - Counter(row["kind"] for row in kept) if self.whole else Counter[str]()
        for kind, count in lost.items():
            how = "lost: their incidents are no longer shown; `abel track --rebuild` restores the records in MLflow"
            self.told.append((f"{count} {kind!r} events", how, False))
        return kept

    def _trials(self, written: int, endings: Mapping[str, Any], told: Mapping[str, int]) -> None:
        """Restore missing trials from the spec."""
        at = tables.trials.c
        if self.whole and self._size(tables.trials) == written:
            return
        rows = self.connection.execute(select(tables.trials).where(at.sweep_id == self.row.id).order_by(at.number))
        known = [TrialRow.read(row) for row in rows.mappings()]
        there = {trial.id for trial in known}
        try:
            trials = spec_as_entered(self.row, known).expand()
        except (SpecError, ConfigError, ValueError, TypeError, KeyError, AttributeError) as error:
            why = " ".join(str(error).split())[:200]
            self.told.append((_counted(written - len(there), "trial"), f"cannot be restored: {why}", False))
            return
        for trial in trials:
            row = trial_row(self.row.id, trial)
            if row["id"] in there:
                continue
            ending = endings.get(row["id"], {})
            new = row | {"status": ending.get("status", TrialStatus.WAITING), "error": ending.get("error")}
            new |= {"epoch": ending.get("epoch", trial.epochs), "final_epoch": told.get(row["id"], 0), "head": ""}
            self.connection.execute(insert(tables.trials).values(seal(tables.trials, new)))
            self.told.append((f"trial {trial.name!r}", "restored from the spec; attempts and failures are reset", True))

    def _places(self) -> int:
        """Reset trials whose path has a gap to their last contiguous record; return how many wait for training."""
        at, links = tables.trials.c, self._links()
        rows = self.connection.execute(select(tables.trials).where(at.sweep_id == self.row.id).order_by(at.number))
        for trial in map(TrialRow.read, rows.mappings().all()):
            if self._is_sound(trial, links):
                continue
            new = self._reached(trial)
            epoch = new["epoch"]
            # Cancelled and failed trials stay so; `abel retry` and the next run resume them.
            again = trial.status not in (TrialStatus.CANCELLED, TrialStatus.FAILED) and epoch < trial.epoch
            if again:
                new |= {"status": TrialStatus.WAITING, "error": None}
            change_rows(self.connection, tables.trials, at.id == trial.id, new)
            if epoch < trial.epoch:
                how = BACK if again else f"its records end there, as it is {trial.status}; `abel retry` resumes it"
                self.told.append(
                    (f"trial {trial.name!r}: the path from epoch {epoch + 1} to {trial.epoch}", how, again)
                )
        left = select(func.count()).where(at.sweep_id == self.row.id, at.status.in_(OPEN))
        return self.connection.scalar(left) or 0

    def _links(self) -> dict[str, tuple[str, int]]:
        """Return the parent and the epoch of every state on the paths of the sweep's trials."""
        states, heads = tables.states.c, select(tables.trials.c.head).where(tables.trials.c.sweep_id == self.row.id)
        way = select(states.key, states.parent, states.epoch).where(states.key.in_(heads)).cte(recursive=True)
        way = way.union(select(states.key, states.parent, states.epoch).join(way, states.key == way.c.parent))
        return {row.key: (row.parent, row.epoch) for row in self.connection.execute(select(way))}

    def _is_sound(self, trial: TrialRow, links: Mapping[str, tuple[str, int]]) -> bool:
        if trial.head is None:
            return trial.epoch == 0
        key, epoch = trial.head, trial.epoch
        while key in links and links[key][1] == epoch > 0:
            key, epoch = links[key][0], epoch - 1
        return epoch == 0 and key in self.row.roots(trial)

    def _reached(self, trial: TrialRow) -> dict[str, Any]:
        """Return the place in a trial's row of the last state that is recorded without a gap from epoch 1 on."""
        place: dict[str, Any] = {"head": None, "epoch": 0, "result": None}
        identity = next((one for one in self.row.identities if one.program == trial.program), None)
        try:
            schedule = schedule_from_dict(trial.schedule)
        except ConfigError:
            return place
        if identity is None:
            return place
        key, state, result = (
            identity.root(trial.seed, "" if self.row.sharing else trial.id),
            schedule.init(),
            CurveResult(),
        )
        for epoch in range(1, trial.epoch + 1):
            before, key = key, plan_epoch(schedule, state, epoch, key, identity).key
            found = self._state(key)
            if found is None:
                break
            self._lead(trial, found, before, epoch)
            seen, error = observation(found.metrics), self.row.metric.error_in(epoch, found.metrics)
            state = updated(schedule, state, seen)
            decayed = not diverged(seen) and bool(state.event & DECAYS)
            result = result.after(epoch, error, seen.train_loss, decayed=decayed)
            place = {"head": key, "epoch": epoch, "result": result.to_text()}
            if diverged(seen):
                break
        return place

    def _lead(self, trial: TrialRow, found: StateRow, before: str, epoch: int) -> None:
        """Restore the parent and the epoch of a state, which may have been damaged before its digest was computed."""
        if (found.parent, found.epoch) != (before, epoch):
            changed = {"parent": before, "epoch": epoch}
            change_rows(self.connection, tables.states, tables.states.c.key == found.key, changed)
            self.told.append((f"trial {trial.name!r}: the parent of epoch {epoch}", "restored from its path", True))

    def _state(self, key: str) -> StateRow | None:
        row = self.connection.execute(select(tables.states).where(tables.states.c.key == key)).mappings().first()
        return None if row is None else StateRow.read(row)

    def _unsaid(self, endings: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the trials whose outcome has no event, with that event."""
        rows = self.connection.execute(select(tables.trials).where(tables.trials.c.sweep_id == self.row.id))
        for trial in map(TrialRow.read, rows.mappings().all()):
            if trial.status.final and trial.id not in endings:
                ending = {"trial": trial.id, "status": trial.status, "epoch": trial.epoch, "error": trial.error}
                yield trial.name, ending


def _identities(trials: Sequence[Trial], identities: Sequence[Identity]) -> dict[Program, Identity]:
    by_program = {encode(identity.program): identity for identity in identities}
    return {trial.program: by_program[encode(to_dict(trial.program))] for trial in trials}


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _payloads(events: Sequence[Mapping[str, Any]], kind: str) -> list[Any]:
    return [json.loads(event["payload"]) for event in events if event["kind"] == kind]
