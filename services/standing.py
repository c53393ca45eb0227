"""Where sweeps stand, as the ledger has it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from services import summary
from services.errors import OperationError
from services.schemas import Incident, SweepDetail, SweepOverview
from services.settings import Settings, SettingsError
from sweeps import leases
from sweeps.ledger import Ledger
from sweeps.rows import EventRow, SweepRow, SweepStatus, TrialRow, TrialStatus
from sweeps.urls import sqlite_file, without_credentials

STOPPED = "stopped"  # marked as running, but no process runs it: it was killed, or the machine went down


@contextmanager
def opened(settings: Settings) -> Iterator[Ledger]:
    """The ledger of this home, created where there is none."""
    ledger = Ledger.open(settings.ledger_url)
    try:
        yield ledger
    finally:
        ledger.close()


@contextmanager
def opened_if_any(settings: Settings) -> Iterator[Ledger | None]:
    """The ledger of this home, or None where its file is not there yet: a question must not create it."""
    file = sqlite_file(settings.ledger_url)
    if file is None or file.exists():
        with opened(settings) as ledger:
            yield ledger
    else:
        yield None


@contextmanager
def found(settings: Settings, sweep: str) -> Iterator[tuple[Ledger, SweepRow]]:
    """This home's ledger and a sweep in it, by name or id.

    Raises:
        OperationError: nothing was run here yet.
        LedgerError: no such sweep.
    """
    with opened_if_any(settings) as ledger:
        if ledger is None:
            raise nothing_here(settings, sweep)
        yield ledger, ledger.sweep(sweep)


def nothing_here(settings: Settings, sweep: str) -> OperationError:
    """What to raise where a sweep is asked for in a home in which none was run."""
    return OperationError(f"sweep {sweep!r}: must be one that was run here, but {settings.home} holds none yet")


def lag(settings: Settings, ledger: Ledger, sweep_id: str) -> int:
    """How many of a sweep's events the tracking store has not acknowledged; from a thousand on, a thousand.

    None are awaited where the environment names no store that could take them.
    """
    try:
        target = without_credentials(settings.tracking_uri)
    except SettingsError:
        return 0
    offset = ledger.tracking_offset(sweep_id, target)
    return len(ledger.events(sweep_id, after=offset, limit=1000))


def overview(settings: Settings, ledger: Ledger, sweep: SweepRow) -> SweepOverview:
    """A sweep in figures."""
    return _overview(ledger, sweep, ledger.trials(sweep.id))


def _overview(ledger: Ledger, sweep: SweepRow, trials: Sequence[TrialRow]) -> SweepOverview:
    work = ledger.work(sweep.id)
    alive = sweep.status is not SweepStatus.RUNNING or leases.is_held(sweep)
    statuses = [trial.status for trial in trials]
    return SweepOverview(
        id=sweep.id,
        name=sweep.name,
        status=sweep.status if alive else STOPPED,
        sharing=sweep.sharing,
        created_ms=sweep.created_ms,
        trials=len(trials),
        ended=sum(status.final for status in statuses),
        diverged=statuses.count(TrialStatus.DIVERGED),
        failed=statuses.count(TrialStatus.FAILED),
        cancelled=statuses.count(TrialStatus.CANCELLED),
        stopped=statuses.count(TrialStatus.STOPPED),
        covered=sum(trial.epoch for trial in trials),
        total=sum(trial.epochs for trial in trials),
        trained=work.trained,
        replayed=work.replayed,
    )


def detail(settings: Settings, ledger: Ledger, sweep: SweepRow) -> SweepDetail:
    """A sweep with its arms and its trials."""
    trials = ledger.trials(sweep.id)
    curves = ledger.curves(sweep, trials)
    results = [summary.measure(trial, curve) for trial, curve in zip(trials, curves, strict=True)]
    return SweepDetail(
        sweep=_overview(ledger, sweep, trials),
        arms=summary.summarise(trials, results),
        trials=tuple(results),
        incidents=_incidents(ledger, sweep.id, {trial.id: trial.name for trial in trials}),
        lacking=lag(settings, ledger, sweep.id),
    )


def _incidents(ledger: Ledger, sweep_id: str, names: Mapping[str, str]) -> tuple[Incident, ...]:
    """What befell the sweep's cohorts, by class and text, the most frequent first."""
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
