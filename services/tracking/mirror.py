"""Mirrors one sweep of the ledger in a tracking store: follows its events; tags in the store record how far it got.

Training never waits for it. After any fault, it discards what it knows of the store and continues from the last event that
both the store and the ledger record as shown.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from services.tracking import acts, projection, run_measures, view
from services.tracking.acts import Change
from services.tracking.projection import MetricPoint
from services.tracking.store import Shown, Store
from services.tracking.trial_records import TrialRecords
from sweeps.ledger.leases import is_held
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import EventRow, StateRow, SweepStatus, TrialRow, TrialStatus
from sweeps.results import guessing

EVENTS_PER_PAGE = 500
VOUCHING = ("abel.data", "abel.view")  # tags that record what else the store has of a run
GATHERED = (*projection.EPOCH_TAGS, "abel.incident", "nonfinite.")  # prefixes of tags that accumulate over events
OURS = ("abel.", "nonfinite.")  # prefixes of tags that only this program writes


class Mirror:
    """One sweep of a ledger in one tracking store.

    Args:
        rebuild: show everything again, whatever the store reports; existing points are not duplicated.
        data_dir: directory of the data. For a sweep recorded by an older version, the data's number of classes gives the
            error of guessing, which diverged trials count as.
    """

    def __init__(
        self, ledger: Ledger, sweep_id: str, store: Store, *, rebuild: bool = False, data_dir: Path | None = None
    ) -> None:
        self._ledger = ledger
        self._sweep = ledger.sweep(sweep_id)
        self._store = store
        ledger.move_tracking_offset(self._sweep.id, store.former_target, store.target)
        self._experiment = ""
        self._parent: Shown | None = None
        self._trials: dict[str, Shown] = {}
        self._records = TrialRecords(ledger, self._sweep)
        self._rebuild = rebuild
        self._data_dir = data_dir
        self._settled = False
        self.offset = 0

    def step(self) -> bool:
        """Show the next events and record that they are shown; return whether more are waiting.

        Raises:
            MlflowException, OSError, SQLAlchemyError, LedgerError: a fault; the next call starts anew.
            TrackingError: the store must be repaired by hand.
        """
        try:
            parent = self._parent or self._connect()
            page = self._ledger.events(self._sweep.id, after=self.offset, limit=EVENTS_PER_PAGE)
            act = acts.act(page)
            if act:
                self._show(parent, act)
                self._ledger.save_tracking_offset(self._sweep.id, self._store.target, act[-1].id)
                self.offset = act[-1].id
            waiting = len(act) < len(page) or len(page) == EVENTS_PER_PAGE
            if not (waiting or self._settled):
                self._settle(parent)
        except Exception:
            self._parent = None
            raise
        return waiting

    def running(self) -> bool:
        """Whether the ledger lists the sweep as running, so more events may come."""
        sweep = self._ledger.sweep(self._sweep.id)
        return sweep.status is SweepStatus.RUNNING or (sweep.status is SweepStatus.PAUSED and is_held(sweep))

    def _connect(self) -> Shown:
        """Read what the store shows already.

        The ledger may be ahead of the store, if the store was emptied or restored from a backup. The store may be ahead of
        the ledger, if a process was killed before it could record what it had sent.
        """
        self._experiment = self._store.experiment(self._sweep.name, self._sweep.id)
        self._records.refresh()
        self._trials = self._store.runs(self._sweep.id)
        if self._rebuild:
            self._forget()
        parent = self._trials.pop("", None) or self._make_parent()
        self.offset = min(parent.event, self._ledger.tracking_offset(self._sweep.id, self._store.target))
        for name, shown in self._trials.items():
            known = projection.trial_tags(self._records.rows[name]) if name in self._records.rows else {}
            self._store.send(shown, tags={"mlflow.parentRunId": parent.run_id, **known})
        if "abel.spec" not in parent.tags:
            self._describe(parent)
        self._prepare_view(parent)
        self._parent, self._settled = parent, False
        return parent

    def _forget(self) -> None:
        """Reset what the runs vouch for in the store itself, so no fault brings it back."""
        self._ledger.save_tracking_offset(self._sweep.id, self._store.target, 0)
        for name, shown in self._trials.items():
            forgotten = {tag: "" for tag in shown.tags if tag in VOUCHING or tag.startswith(GATHERED)}
            self._store.send(shown, tags=forgotten | {"abel.epoch" if name else "abel.event": "0"})
        self._rebuild = False

    def _settle(self, parent: Shown) -> None:
        """Check once more: the server may have carried out an abandoned request late, e.g. after it hung.

        Then a run may exist twice, or have an old tag or status again. Points cannot be affected.
        """
        held = {"": parent} | self._trials
        found = self._store.runs(self._sweep.id, prefer={shown.run_id for shown in held.values()})
        for name, shown in held.items():
            if name in found and found[name].run_id == shown.run_id:
                ours = {tag: text for tag, text in shown.tags.items() if tag.startswith(OURS)}
                self._store.send(found[name], tags=ours)
                self._store.set_status(found[name], shown.status, shown.ended_ms)
        self._settled = True

    def _describe(self, parent: Shown) -> None:
        """Show the spec, as a file and in the tags of the sweep's run."""
        self._store.attach(parent, self._sweep.spec, "spec.yaml")
        tags = projection.sweep_tags(self._sweep, len(self._records.rows)) | {"abel.spec": "spec.yaml"}
        self._store.send(parent, tags=tags)

    def _prepare_view(self, parent: Shown) -> None:
        """Save the sweep's view, once: a view changed in MLflow stays changed."""
        page = view.view(self._sweep, list(self._records.rows.values()))
        if parent.tags.get("abel.view") != page.digest:
            self._store.save_view(self._experiment, page)
            self._store.send(parent, tags={"abel.view": page.digest})

    def _make_parent(self) -> Shown:
        tags = projection.sweep_tags(self._sweep, len(self._records.rows))
        return self._store.make(self._experiment, f"sweep {self._sweep.name}", self._sweep.created_ms, tags)

    def _make_trial(self, row: TrialRow, parent: Shown, started_ms: int) -> Shown:
        about = {"mlflow.parentRunId": parent.run_id, "abel.outcome": str(TrialStatus.RUNNING)}
        tags = projection.trial_tags(row) | about
        return self._store.make(self._experiment, row.name, started_ms, tags)

    def _show(self, parent: Shown, act: Sequence[EventRow]) -> None:
        changes = acts.changes(act)
        if any(change.ended for change in changes.values()):
            self._records.refresh()  # for the heads of ended trials
        states = self._ledger.states({key for change in changes.values() for key in change.keys})
        for trial, change in changes.items():
            if trial not in self._trials:
                self._trials[trial] = self._make_trial(self._records.rows[trial], parent, change.first_ms)
            self._show_trial(self._records.rows[trial], self._trials[trial], change, states)
        self._show_sweep(parent, act)

    def _show_trial(self, row: TrialRow, shown: Shown, change: Change, states: Mapping[str, StateRow]) -> None:
        news = self._records.news(row, shown, change, states)
        path = self._records.path(row, change, states) if change.ended else []
        kept = self._records.kept(row, shown, change, news, path)
        points, tags = projection.trial_update(shown.tags, change, news, self._sweep.metric, kept)
        if change.ended:
            points += [*self._errors(row, change.ended, path), *projection.bounce_points(path)]
        data = projection.data_of(self._sweep, row)
        if data is not None and shown.tags.get("abel.data") != data.digest:
            self._store.use(shown, data)
            tags["abel.data"] = data.digest
        self._store.send(shown, points, tags, projection.trial_parameters(row))
        if change.ended:
            status = projection.TRIALS_AS.get(tags["abel.outcome"], projection.FAILED)
            self._store.set_status(shown, status, change.ended.at_ms)
        elif change.trained:
            self._store.set_status(shown, "RUNNING")

    def _errors(self, row: TrialRow, ended: EventRow, path: Sequence[StateRow]) -> Iterator[MetricPoint]:
        if ended.payload["status"] != TrialStatus.DIVERGED:
            return projection.error_points(path, self._sweep.metric)
        return projection.guessing_points(path, guessing.known_metric(self._sweep, row.program, self._data_dir))

    def _show_sweep(self, parent: Shown, act: Sequence[EventRow]) -> None:
        """Update the sweep's own run to the end of the act; its tag ``abel.event`` vouches for all of it, so it comes last."""
        if any(event.kind == "sweep_described" for event in act):
            self._sweep = self._ledger.sweep(self._sweep.id)
            self._describe(parent)
        incidents = [event for event in act if event.kind == "incident"]
        tags = projection.incident_tags(parent.tags, incidents) | projection.note_tags(act)
        points: list[MetricPoint] = []
        if act[-1].kind == "sweep_ended":
            trials = self._ledger.trials(self._sweep.id)
            tags |= projection.cost_tags(trials, self._ledger.work(self._sweep.id))
            points += run_measures.measure_points(self._ledger, self._sweep, trials, self._data_dir)
            self._end(parent, act[-1])
            self._store.count()
        elif any(acts.is_work(event) for event in act):
            self._store.set_status(parent, "RUNNING")
        self._store.send(parent, points, tags | {"abel.event": str(act[-1].id)})

    def _end(self, parent: Shown, ended: EventRow) -> None:
        status = str(ended.payload["status"])
        for shown in self._trials.values():
            if shown.status == "RUNNING":
                self._store.send(shown, tags={"abel.outcome": status})
                self._store.set_status(shown, "KILLED", ended.at_ms)
        self._store.set_status(parent, projection.SWEEPS_AS.get(status, projection.FAILED), ended.at_ms)
        self._settled = False
