"""`Program`: everything that determines a trial's states except its schedule, seed and length.

    program = ClassifyProgram(task=Classify(), model=Vgg5(width=16), data=Digits(), optimizer=Sgd(), batch_size=16)
    to_dict(program)["model"]["width"] == 16

Task, model, data and optimiser are tagged variants: frozen dataclasses looked up by their `kind` (`workers.plugins`). The
dictionary form is canonical: numbers have their declared type, and every field is present, but for one of `added` at its
default; so equal programs have equal JSON. `sweeps.spec.programs` decodes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import Any, Literal, get_args, get_type_hints

from workers import plugins
from workers.contracts import Optimizer, Task


def require(holds: bool, name: str, rule: str, value: object) -> None:
    """Raise ValueError unless a rule holds: "width must be at least 1, got 0"."""
    if not holds:
        raise ValueError(f"{name} must {rule}, got {value!r}")


def is_inside(path: str) -> bool:
    """Whether a path is relative and cannot lead out of the folder to which it is."""
    parts = PurePosixPath(path)
    return bool(path) and "\0" not in path and not parts.is_absolute() and ".." not in parts.parts


ADDED = "added"


def added(default: Any) -> Any:
    """Declare a field that a variant got after states of it were recorded: at its default, which must never change, it is
    left out of the canonical dictionary, so that programs from before keep their names and their states' keys.
    """
    return field(default=default, metadata={ADDED: True})


@dataclass(frozen=True, kw_only=True)
class Program:
    """What the programs of all tasks have; a task's own class adds what it trains with. The schedule gives learning rates."""

    task: Task = field(metadata={"group": plugins.TASKS})
    optimizer: Optimizer = field(metadata={"group": plugins.OPTIMIZERS})
    l2: float = 0.0  # 0.5 * l2 * sum(w**2) over parameters is added to the loss
    l2_on: Literal["all", "kernels"] = added("all")  # parameters in that sum; kernels have two or more dimensions
    batch_size: int  # of the first epoch, over all devices of a worker; a schedule may grow it
    clip: float | None = None  # maximum global norm of a gradient, including the penalty's part

    def __post_init__(self) -> None:
        require(math.isfinite(self.l2) and self.l2 >= 0, "l2", "be finite and at least 0", self.l2)
        require(self.l2_on in ("all", "kernels"), "l2_on", "be 'all' or 'kernels'", self.l2_on)
        require(self.batch_size >= 1, "batch_size", "be at least 1", self.batch_size)
        if self.clip is not None:
            require(math.isfinite(self.clip) and self.clip > 0, "clip", "be finite and above 0, or null", self.clip)

    @classmethod
    def with_length(cls, given: Mapping[str, Any], epochs: int) -> Mapping[str, Any]:
        """Return a program's dictionary with the fields filled in that follow from a spec's number of epochs."""
        return given

    def check_batch(self, batch_size: int, devices: int) -> None:
        """Raise ValueError if a worker with so many devices cannot train this batch, to which a schedule may have grown it."""


def variants_of(program: Program) -> list[Any]:
    """Return the tagged parts of a program: its task, optimiser and what its task trains with."""
    return [getattr(program, item.name) for item in fields(program) if "group" in item.metadata]


def to_dict(value: Any) -> dict[str, Any]:
    """Return the canonical dictionary of a program, or of a part of one: JSON types only."""
    cls: Any = type(value)
    hints, given = _hints(cls), {item: getattr(value, item.name) for item in fields(value)}
    return {
        item.name: _encoded(found, hints[item.name])
        for item, found in given.items()
        if not (ADDED in item.metadata and found == item.default)
    }


@cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls)


def _encoded(value: Any, hint: Any) -> Any:
    if is_dataclass(value):
        return to_dict(value)
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return dict(sorted(value.items()))
    wants_float = float in (hint, *get_args(hint))
    return float(value) + 0.0 if wants_float and value is not None else value  # -0.0 and 0 become 0.0
