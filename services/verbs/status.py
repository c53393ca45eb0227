"""The verb `status`: the state of sweeps, from the ledger."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from services import ledgers
from services.schemas import AdoptedEpochs, Incident, SweepDetail, SweepOverview
from services.settings import Settings
from sweeps.ledger import leases
from sweeps.ledger.database import LedgerError
from sweeps.ledger.ledger import ADOPTED, Ledger
from sweeps.ledger.queries import OUTCOMES
from sweeps.ledger.records import EventRow, Place, SweepRow, SweepStatus, TrialStatus

STOPPED = "stopped"  # marked as running, but without a process: it was killed, or the machine went down


def sweeps(settings: Settings) -> list[SweepOverview]:
    """Every sweep of the ledger, newest first."""
    with ledgers.opened_if_any(settings) as ledger:
        rows = ledger.sweeps() if ledger else []
        return [overview(ledger, row) for row in reversed(rows) if ledger]


def status(settings: Settings, sweep: str) -> SweepDetail:
    """One sweep, by name or id, with its arms and trials."""
    with ledgers.found(settings, sweep) as (ledger, row):
        return detail(settings, ledger, row)


def overview(ledger: Ledger, sweep: SweepRow, places: Sequence[Place] | None = None) -> SweepOverview:
    """A sweep in figures; where its trials are is read unless it is given."""
    return _overview(ledger, sweep, ledger.places(sweep.id) if places is None else places)


def _overview(ledger: Ledger, sweep: SweepRow, places: Sequence[Place]) -> SweepOverview:
    work = ledger.work(sweep.id)
    alive = sweep.status is not SweepStatus.RUNNING or leases.is_held(sweep)
    statuses = Counter(place.status for place in places)
    return SweepOverview(
        id=sweep.id,
        name=sweep.name,
        status=sweep.status if alive else STOPPED,
        sharing=sweep.sharing,
        created_ms=sweep.created_ms,
        trials=len(places),
        ended=sum(statuses[outcome] for outcome in OUTCOMES),
        diverged=statuses[TrialStatus.DIVERGED],
        failed=statuses[TrialStatus.FAILED],
        cancelled=statuses[TrialStatus.CANCELLED],
        stopped=statuses[TrialStatus.STOPPED],
        covered=sum(place.epoch for place in places),
        total=sum(place.epochs for place in places),
        trained=work.trained,
        replayed=work.replayed,
    )


def detail(settings: Settings, ledger: Ledger, sweep: SweepRow) -> SweepDetail:
    """A sweep with its arms and its trials."""
    # The spec reader, which the list of sweeps does not need.
    from sweeps.results.summary import results_at_hand, summarise

    trials = ledger.trials(sweep.id)
    found = tuple(results_at_hand(ledger, sweep, trials))
    return SweepDetail(
        sweep=_overview(ledger, sweep, [Place.of(trial) for trial in trials]),
        arms=summarise(trials, found),
        trials=found,
        incidents=_incidents(ledger, sweep.id, {trial.id: trial.name for trial in trials}),
        lacking=ledgers.lag(settings, ledger, sweep.id),
        error=sweep.metric.error_label,
        adopted=tuple(_adopted(ledger, sweep)),
    )


def _adopted(ledger: Ledger, sweep: SweepRow) -> Iterator[AdoptedEpochs]:
    """Yield what the sweep has from earlier ones of its name whose own logs are intact."""
    for other in ledger.intact_sweeps():
        if other.name != sweep.name or other.id == sweep.id:
            continue
        with suppress(LedgerError):
            for given in (event.payload for event in ledger.events_of(other.id, ADOPTED)):
                if given["into"] == sweep.id:
                    yield AdoptedEpochs(sweep_id=other.id, epochs=given["epochs"], replayed=given["replayed"])


def _incidents(ledger: Ledger, sweep_id: str, names: Mapping[str, str]) -> tuple[Incident, ...]:
    """The incidents of the sweep's cohorts by class and text, most frequent first."""
    seen: dict[tuple[str, str], list[EventRow]] = defaultdict(list)
    for event in ledger.events_of(sweep_id, "incident"):
        seen[event.payload["class"], event.payload["text"]].append(event)
    found = [
        Incident(
            kind=kind,
            text=text,
            times=len(events),
            retried=sum(bool(event.payload["again"]) for event in events),
            trials=len({trial for event in events for trial in event.payload["trials"]}),
            last_trial=next((names[trial] for trial in events[-1].payload["trials"]), None),
            last_epoch=events[-1].payload["epoch"],
            last_ms=events[-1].at_ms,
        )
        for (kind, text), events in seen.items()
    ]
    return tuple(sorted(found, key=lambda incident: -incident.times))
