"""What the verbs take and return: frozen values of plain types, ready to be shown or written as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sweeps.results.values import ArmSummary, Finding, TrialResult, Verdict

UI_PORT = 5000  # where `abel ui` serves a database, unless it is given another


@dataclass(frozen=True, kw_only=True)
class Request:
    """A sweep as someone asks for it: a file or catalogue name, and what overrides spec and defaults."""

    spec: str
    sharing: bool = True
    workers: int | None = None
    threads: int = 1
    seeds: tuple[int, ...] | None = None
    tracking: bool = True
    allow_nondeterminism: bool = False
    save_every_seconds: float = 120.0


@dataclass(frozen=True, kw_only=True)
class CatalogEntry:
    """A sweep that ships with the package."""

    name: str
    title: str
    claim: str
    cost: str


@dataclass(frozen=True, kw_only=True)
class Validation:
    """A spec that holds, in numbers."""

    name: str
    title: str
    trials: int
    arms: Mapping[str, int]  # trials per arm
    seeds: tuple[int, ...]
    epochs: int  # of the longest trial
    epochs_naive: int
    notes: tuple[str, ...] = ()  # what holds and was hardly meant


@dataclass(frozen=True, kw_only=True)
class ArmPlan:
    """One arm by itself, as if it were the whole sweep."""

    arm: str
    trials: int
    epochs_naive: int
    epochs_shared: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a sweep will cost. Epochs are ranges (low, high) where forks depend on what training shows.

    Of the naive epochs ``epochs_known`` are recorded, or ``reason`` says why none is; ``epochs_remaining`` are those of
    the shared ones that are left to train. ``seconds`` forecasts their wall time with ``start_seconds``, which a run takes
    before it trains, and ``basis`` says from what.
    """

    name: str
    title: str
    trials: int
    arms: tuple[ArmPlan, ...]
    epochs_naive: int
    epochs_shared: tuple[int, int]
    epochs_known: int
    epochs_remaining: tuple[int, int]
    reason: str | None
    workers: int
    seconds: tuple[float, float] | None
    start_seconds: float
    basis: str
    notes: tuple[str, ...] = ()  # what holds and was hardly meant


@dataclass(frozen=True, kw_only=True)
class SweepOverview:
    """A sweep as one line of ``abel status``; ``status`` is "stopped" where its process is gone without a word."""

    id: str
    name: str
    status: str
    sharing: bool
    created_ms: int
    trials: int
    ended: int
    diverged: int
    failed: int
    cancelled: int
    stopped: int  # at a rung of its arm
    covered: int  # trial-epochs recorded
    total: int  # trial-epochs
    trained: int  # epochs that workers trained for it, replays not counted
    replayed: int


@dataclass(frozen=True, kw_only=True)
class Incident:
    """One thing that went wrong during a run, however often: how many trials it hit, and when last.

    The loss of a driver hits the sweep as a whole and no trial.
    """

    kind: str  # its class, as "infrastructure"
    text: str
    times: int
    retried: int
    trials: int
    last_trial: str | None
    last_epoch: int
    last_ms: int


@dataclass(frozen=True, kw_only=True)
class Command:
    """What a command to end or to retry trials did; ``running`` tells whether a process runs the sweep."""

    sweep: str
    trials: int
    running: bool


@dataclass(frozen=True, kw_only=True)
class SweepDetail:
    """A sweep with its arms, its trials and their incidents."""

    sweep: SweepOverview
    arms: tuple[ArmSummary, ...]
    trials: tuple[TrialResult, ...]
    incidents: tuple[Incident, ...]
    lacking: int  # events that the tracking store does not show yet; counted up to a thousand


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """How an invocation of ``abel run`` ended; ``trained`` and ``replayed`` count this invocation's epochs."""

    outcome: str  # a status of the sweep, or "nothing to do"
    trained: int
    replayed: int
    seconds: Mapping[str, float]
    error: str | None  # why the sweep as a whole stopped, where it did
    tracking: str | None  # what is not in the tracking store yet and why; None when all of it is
    detail: SweepDetail


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """What ``abel track`` brought about for one sweep."""

    id: str
    name: str
    target: str  # the tracking store, without credentials
    lacking: int  # events of the ledger that the store does not show yet; counted up to a thousand
    error: str | None  # why it lacks some


@dataclass(frozen=True, kw_only=True)
class ReportFiles:
    """Where a report was written, and what it says."""

    files: tuple[Path, ...]
    findings: tuple[str, ...]  # what it says, in sentences
    note: str | None  # what could not be done beside writing them


@dataclass(frozen=True, kw_only=True)
class DataSources:
    """What ``program.data`` can be: kinds of source with what they are, and the sets that are prepared."""

    kinds: Mapping[str, str]
    data_dir: Path | None
    prepared: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """A data set as a sweep would read it."""

    name: str
    train_examples: int
    test_examples: int
    shape: tuple[int, ...]  # height, width, channels
    classes: int
    digest: str


@dataclass(frozen=True, kw_only=True)
class UiServer:
    """How to serve the tracking store on this machine; ``command`` is None where a server runs already."""

    url: str
    command: tuple[str, ...] | None
    environment: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A sweep against a baseline: the verdict, and what it rests on."""

    sweep: str
    id: str
    baseline: str
    error: str  # which test error of a trial counted
    verdict: Verdict
    findings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a command failed, as `--json` prints it.

    Args:
        kind: "spec", "identity", "data", "ledger", "settings", "operation", "usage", "interrupted" or "internal".
        message: what a person reads on standard error.
        faults: of a spec, each "path: rule, got value".
    """

    kind: str
    message: str
    exit_code: int
    faults: tuple[str, ...] = ()
