"""`Trial`: one training run of a sweep."""

from __future__ import annotations

import ctypes
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from typing import Any

from abel.schedules import Schedule
from sweeps.spec.grid import Setting
from sweeps.spec.sections import Halving
from workers import config
from workers.config import Program


def trained_as(settings: Mapping[str, Setting]) -> tuple[tuple[str, Setting], ...]:
    """Return settings rounded to float32, as in training, where 0.3 and 0.30000000000000004 are equal."""
    rounded = (
        (name, ctypes.c_float(value).value if isinstance(value, float) else value) for name, value in settings.items()
    )
    return tuple(sorted(rounded))


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A program, a schedule and a seed, trained for `epochs` epochs.

    Args:
        number: position in the sweep, from 0.
        name: readable and unique in the sweep, such as "decay-at decay_epoch=10 seed=0".
        arm: the arm of the spec that it belongs to.
        settings: its point in the arm's grid, by dotted field name.
        halving: how its setting competes with the others of its arm; None if every trial is trained to its end.
    """

    number: int
    name: str
    arm: str
    program: Program
    schedule: Schedule
    seed: int
    epochs: int
    settings: dict[str, Setting] = field(default_factory=dict, hash=False)
    halving: Halving | None = None

    @cached_property
    def id(self) -> str:
        """16 hex digits that identify what is trained, independent of its position and name in a sweep."""
        schedule = _canonical(schedule_to_dict(self.schedule))
        # The canonical JSON of `content`, assembled by hand so a program shared by thousands of trials is encoded once.
        program = _canonical_program(self.program)
        text = f'{{"epochs":{self.epochs},"program":{program},"schedule":{schedule},"seed":{self.seed}}}'
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def content(self) -> dict[str, Any]:
        """Return what the trial trains, as JSON types."""
        return {
            "program": config.to_dict(self.program),
            "schedule": schedule_to_dict(self.schedule),
            "seed": self.seed,
            "epochs": self.epochs,
        }


@lru_cache(maxsize=1024)
def _canonical_program(program: Program) -> str:
    return _canonical(config.to_dict(program))


def _canonical(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)


def schedule_to_dict(schedule: Schedule) -> dict[str, Any]:
    """Return the canonical dictionary of a schedule: every field, including its kind, as JSON types."""
    values = {item.name: getattr(schedule, item.name) for item in fields(schedule)}  # type: ignore[arg-type]
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
