"""The shape of a spec, field by field (pydantic), and its faults in a user's words.

Programs, schedules and grids are open dictionaries here, as each may lack what another gives; `sweeps.spec.expansion` decodes
them. Editors see them as what they are decoded to.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from sweeps.errors import Faults
from sweeps.spec import programs, rules, schedules
from sweeps.spec.shapes import STRICT, SchemaAs, shape_of

MAX_EPOCHS = 1_000_000
MAX_TRIALS = 100_000
MAX_SEED = 2**32 - 1

_Shape = TypeVar("_Shape", bound=BaseModel)
_Item = TypeVar("_Item", int, str)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _name(value: str) -> str:
    if len(value) > 128 or not _NAME.fullmatch(value):
        raise ValueError("must be 1 to 128 of A-Z a-z 0-9 . _ -, the first a letter or digit")
    return value


def _prose(value: str) -> str:
    """Text that looks the same wherever it is shown: no control characters, nothing invisible."""
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


def _measure(value: str) -> str:
    if value.rpartition(".")[2] not in rules.MEASURES:
        raise ValueError(f"must be a measure, or ARM.measure: one of {', '.join(rules.MEASURES)}")
    return value


def _margins(value: dict[str, float]) -> dict[str, float]:
    for name, amount in value.items():
        if fault := rules.margin_fault(name, amount):
            raise ValueError(fault)
    return value


def _rule_text(value: str) -> str:
    rules.read_rule(value)
    return value


Name = Annotated[str, AfterValidator(_name)]
Measure = Annotated[str, AfterValidator(_measure)]
RuleText = Annotated[str, AfterValidator(_rule_text)]
Statistic = Literal["minimum", "final", "selected"]
Claim = Literal["tuned", "cosine", "decay_time", "last_decay", "decay_factor", "rate"]
Line = Annotated[str, Field(max_length=200), AfterValidator(_line)]
Prose = Annotated[str, Field(max_length=10_000), AfterValidator(_prose)]
Amount = Annotated[float, Field(ge=0, le=1024)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]


class Part(BaseModel):
    """A part of a spec: frozen, without unknown keys, without conversions."""

    model_config = ConfigDict(frozen=True, **STRICT)


class Search(Part):
    """Settings that are drawn from the axes of a grid, in place of all their combinations."""

    kind: Literal["random", "sobol"] = Field(
        description="Independent draws, or points of a Sobol sequence, which lie more evenly."
    )
    samples: int = Field(ge=1, le=MAX_TRIALS, description="How many settings; with more of them the earlier ones stay.")
    seed: Seed = Field(default=0, description="Decides which settings are drawn; no seed of training.")


class Halving(Part):
    """Successive halving: after some epochs only the best settings of an arm train on."""

    grace_epochs: int = Field(ge=1, le=MAX_EPOCHS, description="So many epochs every trial is trained.")
    reduction_factor: int = Field(
        default=3, ge=2, le=1000, description="One in so many settings goes on, so many times as far."
    )
    error: Literal["minimum", "last"] = Field(
        default="minimum", description="Which test error counts so far, by its mean over seeds."
    )


class Arm(Part):
    """A schedule, and the grid of its variations."""

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
        default=None, ge=1, le=MAX_EPOCHS, description="Length of the arm's trials; that of the sweep where left out."
    )


class Resources(Part):
    """What one worker holds while it trains."""

    cpu: Annotated[float, Field(gt=0, le=1024)] = Field(default=1, description="Processor cores.")
    gpu: Amount = Field(default=0, description="GPUs, or a part of one.")
    tpu: Amount = Field(default=0, description="TPU chips.")


class Limits(Part):
    """How much a sweep may ask for; a guard against slips of the keyboard."""

    trials: int = Field(default=10_000, ge=1, le=MAX_TRIALS, description="Trials.")
    epochs: int = Field(default=10_000_000, ge=1, le=1_000_000_000, description="Epochs of all trials together.")


class Check(Part):
    """What `abel check` holds the sweep to, beside its baseline."""

    error: Statistic = Field(
        default="minimum",
        description="Which test error of a trial counts: its minimum, its last, or that of the epoch of least training loss.",
    )
    margins: Annotated[dict[Measure, Annotated[float, Field(gt=0)]], AfterValidator(_margins)] = Field(
        default={},
        description="Allowed regression of each measure, e.g. spread: 1.5; of one arm alone, e.g. abel.spread: 1.5; near and "
        "diverged are shares, below 1.",
    )
    rules: list[RuleText] = Field(default=[], description='Bounds to keep, as "spread <= 1.5" or "abel.worst <= 20".')


class Claims(Part):
    """Which of the paper's claims the sweep tests."""

    tested: Annotated[list[Claim], AfterValidator(_distinct)] = Field(
        min_length=1,
        description="tuned: ABEL is level with step-wise; cosine: it helps only where the norm bounces; decay_time: when to "
        "decay; last_decay, decay_factor: they barely matter; rate: ABEL depends less on it.",
    )
    margin: Annotated[float, Field(gt=0)] = Field(
        default=0.2, description="How many points of test error count as no difference; 0.2 in the paper."
    )


class Document(Part):
    """A sweep: one program, trained under the schedules of every arm with every seed."""

    name: Name = Field(description="Names the sweep in the ledger and in MLflow.")
    title: Line = Field(default="", description="One line for headings.")
    claim: Prose = Field(default="", description="What the sweep is to show, and who says so.")
    notes: Prose = Field(default="", description="What a reader should know of the setting.")
    cost: Prose = Field(default="", description="What it costs, on what machine.")
    epoch_seconds: float | None = Field(
        default=None,
        gt=0,
        description="How long one worker takes for an epoch; `abel plan` uses it until an epoch was measured here.",
    )
    figure: Literal["decay_time", "norm_curves", "norm_equation", "rate_by_factor", "last_decay_epoch"] | None = Field(
        default=None,
        description="The figure that the report draws: the error against the decay's epoch, the squared norm by rate, "
        "the terms of its equation, the error by rate and decay factor, or against the epoch of ABEL's last decay.",
    )
    program: Annotated[dict[str, JsonValue], SchemaAs(programs.program_shape)] = Field(
        description="What is trained, on what and how."
    )
    epochs: int = Field(ge=1, le=MAX_EPOCHS, description="Length of every trial, but where an arm has its own.")
    seeds: Annotated[list[Seed], AfterValidator(_distinct)] = Field(
        min_length=1, description="Every trial is run with each of them."
    )
    arms: dict[Name, Arm] = Field(min_length=1, description="Schedules to compare, by name.")
    resources: Resources = Field(default=Resources(), description="What one worker holds.")
    limits: Limits = Field(default=Limits(), description="How much the sweep may ask for.")
    check: Check | None = Field(default=None, description="What `abel check` holds the sweep to.")
    claims: Claims | None = Field(default=None, description="Which of the paper's claims the sweep tests.")


def read_shape(model: type[_Shape], document: Mapping[str, Any], faults: Faults) -> _Shape | None:
    """The document in its shape, or None with its faults noted."""
    found: _Shape | None
    found, broken = shape_of(model).decode(document)
    for path, rule in broken.items():
        faults.add(path, rule)
    return found
