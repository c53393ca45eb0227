"""Arguments and results of the verbs: frozen values of plain types, ready to be shown or written as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sweeps.results.values import ArmSummary, Finding, TrialResult, Verdict

UI_PORT = 5000  # default port of `abel ui`


@dataclass(frozen=True, kw_only=True)
class Request:
    """A requested sweep: a file or catalogue name, and what overrides the spec and the defaults."""

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
    """A valid spec, in numbers."""

    name: str
    title: str
    trials: int
    arms: Mapping[str, int]  # trials per arm
    seeds: tuple[int, ...]
    epochs: int  # of the longest trial
    epochs_naive: int
    notes: tuple[str, ...] = ()  # what is valid but probably not intended


@dataclass(frozen=True, kw_only=True)
class ArmPlan:
    """One arm by itself, as if it were the whole sweep."""

    arm: str
    trials: int
    epochs_naive: int
    epochs_shared: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The forecast cost of a sweep. Epochs are ranges (low, high), as forks may depend on training.

    ``epochs_known`` counts the naive epochs that are recorded already; if there are none, ``reason`` says why. ``data`` says
    which data set is missing here, if one is; what is recorded already is then unknown.
    ``epochs_remaining`` counts the shared epochs left to train. ``seconds`` forecasts their wall time, including
    ``start_seconds`` before training starts; ``basis`` says what it is based on.
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
    data: str | None = None
    notes: tuple[str, ...] = ()  # what is valid but probably not intended


@dataclass(frozen=True, kw_only=True)
class SweepOverview:
    """A sweep as one line of ``abel status``; ``status`` is "stopped" if its process vanished without ending it."""

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
    trained: int  # epochs that workers trained for it, without replays
    replayed: int


@dataclass(frozen=True, kw_only=True)
class Incident:
    """One kind of incident: how often it happened, how many trials it hit, and when it last happened.

    The loss of a driver hits the sweep as a whole and no trial.
    """

    kind: str  # its failure class, e.g. "infrastructure"
    text: str
    times: int
    retried: int
    trials: int
    last_trial: str | None
    last_epoch: int
    last_ms: int


@dataclass(frozen=True, kw_only=True)
class Command:
    """The result of cancelling or retrying trials; ``running`` says whether a process is running the sweep."""

    sweep: str
    trials: int
    running: bool


@dataclass(frozen=True, kw_only=True)
class AdoptedEpochs:
    """Epochs that a sweep has from an earlier one of other code (``abel adopt``), after ``replayed`` of them were compared."""

    sweep_id: str  # the earlier one
    epochs: int
    replayed: int


@dataclass(frozen=True, kw_only=True)
class SweepDetail:
    """A sweep with its arms, its trials and their incidents."""

    sweep: SweepOverview
    arms: tuple[ArmSummary, ...]
    trials: tuple[TrialResult, ...]
    incidents: tuple[Incident, ...]
    lacking: int  # events that the tracking store lacks; counted up to a thousand
    error: str  # what the trials' errors are, in words
    adopted: tuple[AdoptedEpochs, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """How an invocation of ``abel run`` ended; ``trained`` and ``replayed`` count this invocation's epochs."""

    outcome: str  # a status of the sweep, or "nothing to do"
    trained: int
    replayed: int
    seconds: Mapping[str, float]
    error: str | None  # why the sweep as a whole stopped, if it did
    tracking: str | None  # what the tracking store lacks and why; None if it has everything
    detail: SweepDetail


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """The result of ``abel track`` for one sweep."""

    id: str
    name: str
    target: str  # the tracking store, without credentials
    lacking: int  # events of the ledger that the store lacks; counted up to a thousand
    error: str | None  # why it lacks some


@dataclass(frozen=True, kw_only=True)
class ReportFiles:
    """Where a report was written, and its findings."""

    files: tuple[Path, ...]
    findings: tuple[str, ...]  # one sentence or more each
    note: str | None  # what failed besides writing the files, such as attaching them to a run


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """An installed variant: what part of a program it can be, its kind, where it comes from, and what is wrong with it."""

    part: str  # task, model, data or optimizer
    kind: str
    source: str  # distribution and version
    where: str  # module and class
    about: str  # its docstring's first line
    fault: str | None  # None if a spec can use it


@dataclass(frozen=True, kw_only=True)
class DataSources:
    """Choices for ``program.data``: the kinds of source with their descriptions, and the prepared data sets."""

    kinds: Mapping[str, str]
    data_dir: Path | None
    prepared: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """A data set as a sweep would read it."""

    name: str
    train_examples: int
    test_examples: int
    shape: tuple[int, ...] = ()  # height, width, channels
    classes: int = 0
    digest: str = ""
    languages: tuple[str, ...] = ()  # of a set of translations, which has none of the three above


@dataclass(frozen=True, kw_only=True)
class UiServer:
    """How to serve the tracking store on this machine; ``command`` is None if a server is already running."""

    url: str
    command: tuple[str, ...] | None
    environment: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A sweep compared with a baseline: the verdict and its evidence."""

    sweep: str
    id: str
    baseline: str
    error: str  # which error of a trial counts
    verdict: Verdict
    findings: tuple[Finding, ...]
    metric: str  # what the errors are, in words


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a command failed, as `--json` prints it.

    Args:
        kind: "spec", "identity", "data", "ledger", "settings", "baseline", "operation", "identitylost", "clusteraway",
            "usage", "interrupted" or "internal".
        message: the text on standard error.
        faults: those of a spec, each "path: rule, got value".
    """

    kind: str
    message: str
    exit_code: int
    faults: tuple[str, ...] = ()
