"""`Trial`: one training run that a sweep asks for."""

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
from sweeps.spec.models import Halving
from workers import config
from workers.config import Program


def trained_as(settings: Mapping[str, Setting]) -> tuple[tuple[str, Setting], ...]:
    """A trial's place in its grid as training has it: 0.3 and 0.30000000000000004 are one number in float32."""
    rounded = (
        (name, ctypes.c_float(value).value if isinstance(value, float) else value) for name, value in settings.items()
    )
    return tuple(sorted(rounded))


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A program, a schedule and a seed, trained for so many epochs.

    Args:
        number: place in the sweep, from 0.
        name: readable and unique in the sweep, such as "decay-at decay_epoch=10 seed=0".
        arm: the arm of the spec that it belongs to.
        settings: its point in the arm's grid, by the axes' dotted names.
        halving: how its setting competes with the others of its arm; None where every trial is trained to its end.
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
        """16 hex digits that name what is trained, wherever it stands in a sweep and whatever it is called."""
        schedule = _canonical(schedule_to_dict(self.schedule))
        # The canonical JSON of `content`, put together so that a program shared by thousands is spelt once.
        program = _canonical_program(self.program)
        text = f'{{"epochs":{self.epochs},"program":{program},"schedule":{schedule},"seed":{self.seed}}}'
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def content(self) -> dict[str, Any]:
        """What the trial trains, as JSON types."""
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
    """The canonical dictionary of a schedule: every field, its kind among them, as JSON types."""
    values = {item.name: getattr(schedule, item.name) for item in fields(schedule)}  # type: ignore[arg-type]
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
