"""The pydantic models of a spec, with rules worded for users.

Programs, schedules and grids are open dictionaries here, because a grid may supply fields that they lack;
`sweeps.spec.expansion` decodes them. In the JSON schema for editors they have their decoded shape.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, JsonValue, ValidationInfo

from sweeps.spec import measures, programs, schedules
from sweeps.spec.shapes import Part, SchemaAs

MAX_EPOCHS = 1_000_000
MAX_TRIALS = 100_000
MAX_SEED = 2**32 - 1

_Item = TypeVar("_Item", int, str)
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _name(value: str) -> str:
    if len(value) > 128 or not _NAME.fullmatch(value):
        raise ValueError("must be 1 to 128 of A-Z a-z 0-9 . _ -, the first a letter or digit")
    return value


def _prose(value: str) -> str:
    """Return normalised text that looks the same everywhere: no control or invisible characters."""
    hidden = (character for character in value if unicodedata.category(character) in ("Cc", "Cf", "Cs"))
    if bad := next((character for character in hidden if character not in "\n\t"), None):
        raise ValueError(f"must not contain the character U+{ord(bad):04X}")
    return unicodedata.normalize("NFC", value)


def _line(value: str) -> str:
    if "\n" in value:
        raise ValueError("must be one line")
    return _prose(value)


def _distinct(value: list[_Item]) -> list[_Item]:
    if len(set(value)) < len(value):
        raise ValueError("must differ from each other")
    return value


def _accelerator(value: str) -> str:
    if len(value) > 63 or not _LABEL.fullmatch(value):
        raise ValueError("must be a Ray label, 1 to 63 of A-Z a-z 0-9 . _ -, the first and last a letter or digit")
    return value


def _resource(value: str) -> str:
    if value.lower() in ("cpu", "gpu", "tpu", "memory", "object_store_memory"):
        raise ValueError("must not be a resource that Ray has by itself")
    return _name(value)


def _gpus(value: float) -> float:
    if value > 1 and not value.is_integer():
        raise ValueError("must be a whole number above 1, as only a single GPU can be divided")
    return value


def _chips(value: float) -> float:
    if value not in (0, 1, 2, 4, 8):
        raise ValueError("must be 1, 2, 4 or 8 chips, which Ray can give a worker, or 0 for none")
    return value


def _hosts(value: int, info: ValidationInfo) -> int:
    if value > 1 and info.data.get("tpu"):
        raise ValueError("must be 1 with tpu, as a worker on TPU chips has those of one host")
    return value


def _measure(value: str) -> str:
    if value.rpartition(".")[2] not in measures.MEASURES:
        raise ValueError(f"must be a measure, or ARM.measure: one of {', '.join(measures.MEASURES)}")
    return value


def _margins(value: dict[str, float]) -> dict[str, float]:
    for name, amount in value.items():
        if fault := measures.margin_fault(name, amount):
            raise ValueError(fault)
    return value


def _rule_text(value: str) -> str:
    measures.read_rule(value)
    return value


Name = Annotated[str, AfterValidator(_name)]
Measure = Annotated[str, AfterValidator(_measure)]
RuleText = Annotated[str, AfterValidator(_rule_text)]
Accelerator = Annotated[str, AfterValidator(_accelerator)]
ResourceName = Annotated[str, AfterValidator(_resource)]
Statistic = Literal["minimum", "final", "selected"]
Claim = Literal[
    "tuned",
    "cosine",
    "linear",
    "decay_time",
    "last_decay",
    "decay_factor",
    "rate",
    "bounce",
    "milestone",
    "again",
    "curves",
    "no_l2",
    "slow_rate",
    "l2_gap",
    "small_rate",
    "easy",
    "short_run",
    "scale",
    "plateau",
    "no_plateau",
    "layers",
    "no_bounce",
    "abel_simple",
    "learns",
]
Figure = Literal[
    "decay_time",
    "norm_curves",
    "norm_equation",
    "rate_by_factor",
    "last_decay_epoch",
    "table",
    "best_scores",
    "training_curves",
    "layers",
]
Line = Annotated[str, Field(max_length=200), AfterValidator(_line)]
Prose = Annotated[str, Field(max_length=10_000), AfterValidator(_prose)]
Amount = Annotated[float, Field(ge=0, le=1024)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]


class Search(Part):
    """Settings drawn from the axes of a grid, instead of all their combinations."""

    kind: Literal["random", "sobol"] = Field(
        description="Independent draws (random), or points of a Sobol sequence, which are spread more evenly."
    )
    samples: int = Field(
        ge=1, le=MAX_TRIALS, description="Number of settings; increasing it keeps the settings drawn so far."
    )
    seed: Seed = Field(default=0, description="Seed of the draws; unrelated to the seeds of training.")


class Halving(Part):
    """Successive halving: after some epochs only the best settings of an arm continue."""

    grace_epochs: int = Field(ge=1, le=MAX_EPOCHS, description="Number of epochs that every trial is trained for.")
    reduction_factor: int = Field(
        default=3,
        ge=2,
        le=1000,
        description="At each rung, one in this many settings continues, for this many times the epochs.",
    )
    error: Literal["minimum", "last"] = Field(
        default="minimum",
        description="Error that ranks the settings, averaged over seeds: minimum so far, or last.",
    )


class Arm(Part):
    """A schedule and a grid of variations."""

    schedule: Annotated[dict[str, JsonValue], SchemaAs(schedules.schedule_shape)] = Field(
        description="The schedule: its kind and its fields."
    )
    grid: dict[str, JsonValue] = Field(
        default={}, description="Values of fields such as schedule.decay_epoch or program.l2; all combinations are run."
    )
    search: Search | None = Field(
        default=None, description="Draw settings from the grid's axes, whose `step` or `count` may then be left out."
    )
    halving: Halving | None = Field(default=None, description="Stop settings early that are not among the best.")
    epochs: int | None = Field(
        default=None, ge=1, le=MAX_EPOCHS, description="Length of the arm's trials; by default that of the sweep."
    )
    program: dict[str, JsonValue] = Field(
        default={}, description="Fields of the program that this arm replaces, such as model, data or l2."
    )
    row: Line = Field(
        default="", description="Row of the table to which the arm belongs; claims are tested row by row."
    )
    reported: Annotated[float, Field(ge=0, le=100)] | None = Field(
        default=None, description="Final error in the paper, in percent, shown beside the one found here."
    )


class Resources(Part):
    """Resources that one worker holds while it trains; with several hosts, on each of them."""

    cpu: Annotated[float, Field(gt=0, le=1024)] = Field(default=1, description="Processor cores.")
    gpu: Annotated[Amount, AfterValidator(_gpus)] = Field(default=0, description="GPUs; may be a fraction of one.")
    tpu: Annotated[Amount, AfterValidator(_chips)] = Field(default=0, description="TPU chips: 1, 2, 4 or 8.")
    hosts: Annotated[int, Field(ge=1, le=1024), AfterValidator(_hosts)] = Field(
        default=1, description="Nodes of a Ray cluster that one worker spans, each with all these resources."
    )
    custom: dict[ResourceName, Annotated[float, Field(gt=0, le=1024)]] = Field(
        default={}, description="Resources that the nodes of a Ray cluster were started with, by name."
    )
    accelerator: Accelerator | None = Field(
        default=None, description="Type of accelerator, such as A100, as the nodes of the Ray cluster are labelled."
    )


class Limits(Part):
    """Upper bounds on the size of a sweep, a guard against typing errors."""

    trials: int = Field(default=10_000, ge=1, le=MAX_TRIALS, description="Number of trials.")
    epochs: int = Field(default=10_000_000, ge=1, le=1_000_000_000, description="Total epochs of all trials.")


class Check(Part):
    """Settings of `abel check`: margins against a baseline, and rules."""

    error: Statistic = Field(
        default="minimum",
        description="Error of a trial: its minimum, its last (final), or the one at the lowest training loss (selected).",
    )
    margins: Annotated[dict[Measure, Annotated[float, Field(gt=0)]], AfterValidator(_margins)] = Field(
        default={},
        description="Allowed regression of each measure, e.g. spread: 1.5, or of one arm's, e.g. abel.spread: 1.5; near and "
        "diverged are fractions, below 1.",
    )
    rules: list[RuleText] = Field(
        default=[], description='Bounds that must hold, e.g. "spread <= 1.5" or "abel.worst <= 20".'
    )


class Claims(Part):
    """Which of the paper's claims the sweep tests."""

    tested: Annotated[list[Claim], AfterValidator(_distinct)] = Field(
        min_length=1,
        description="tuned: ABEL is level with step-wise; cosine: it helps only where the norm bounces; linear: it and simple "
        "decay are level; decay_time: when to decay; last_decay, decay_factor: they barely matter; rate: ABEL depends less on "
        "the rate; bounce: the norm falls and rises; milestone: step-wise decays after that; again: the norm bounces "
        "after each of ABEL's decays; curves: ABEL's are like step-wise's, and cosine is late; no_l2, slow_rate: the norm "
        "does not bounce without L2 or at a small rate; l2_gap: with L2 a schedule gains more; small_rate: with L2 a "
        "small fixed rate loses more; easy, short_run: cosine gains none; scale: of the initial weights; plateau, "
        "no_plateau: it decays too often, or never; layers: a few hold half of the norm; no_bounce: in other tasks the norm "
        "does not bounce; abel_simple: there ABEL is simple decay; learns: beats guessing.",
    )
    margin: Annotated[float, Field(gt=0)] = Field(
        default=0.2, description="Largest difference in points of error that counts as none; 0.2 in the paper."
    )


class Document(Part):
    """A sweep: one program, trained with the schedules of every arm and with every seed."""

    name: Name = Field(description="Name of the sweep in the ledger and in MLflow.")
    title: Line = Field(default="", description="One line for headings.")
    claim: Prose = Field(default="", description="What the sweep should show, and the source of that claim.")
    notes: Prose = Field(default="", description="What a reader should know about the setting.")
    cost: Prose = Field(default="", description="Cost of the sweep, and on which machine.")
    epoch_seconds: float | None = Field(
        default=None,
        gt=0,
        description="Seconds that one worker takes per epoch; `abel plan` uses them until an epoch is measured here.",
    )
    figure: Figure | None = Field(
        default=None,
        description="The figure in the report: error against the decay epoch, squared norm by rate, terms of the "
        "weight-norm equation, error by rate and decay factor, error against the epoch of ABEL's last decay, final "
        "errors beside the paper's, final scores at the best setting, norm, error and rate by epoch, or the norms of layers.",
    )
    program: Annotated[dict[str, JsonValue], SchemaAs(programs.program_shape)] = Field(
        description="What is trained: task, model, data, optimiser and their settings."
    )
    epochs: int = Field(ge=1, le=MAX_EPOCHS, description="Length of every trial, unless its arm has its own.")
    seeds: Annotated[list[Seed], AfterValidator(_distinct)] = Field(
        min_length=1, description="Seeds of training; every setting is run with each of them."
    )
    arms: dict[Name, Arm] = Field(min_length=1, description="Schedules to compare, by name.")
    resources: Resources = Field(default=Resources(), description="Resources of one worker.")
    limits: Limits = Field(default=Limits(), description="Upper bounds on the size of the sweep.")
    check: Check | None = Field(default=None, description="Settings of `abel check`.")
    claims: Claims | None = Field(default=None, description="Which of the paper's claims the sweep tests.")
