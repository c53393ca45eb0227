"""Decoding of schedules in specs: defaults that depend on the length of training, and checks against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Annotated, Any

from abel.schedules import SCHEDULES, Schedule, last_epoch_named
from sweeps.errors import ConfigError, shown
from sweeps.spec.shapes import Shape, Tagged

_EPOCH_FIELDS = ("decay_epoch", "decay_epochs", "last_decay_epoch", "epochs")


@cache
def schedule_shape() -> Shape[Schedule]:
    """Return the shape of any schedule, tagged by kind."""
    return Shape(Annotated[Any, Tagged(SCHEDULES)])


def schedule_from_dict(values: Any) -> Schedule:
    """Return the schedule of a dictionary, looked up by its kind.

    Raises:
        ConfigError: with all faults of the dictionary.
    """
    schedule, faults = schedule_shape().decode(values)
    if schedule is None:
        raise ConfigError(faults)
    return schedule


def with_defaults(schedule: Any, epochs: int | None) -> Any:
    """Return a schedule's dictionary with defaults from the sweep: its end, the last decay at 85 %, a cooldown of 20 %."""
    if not isinstance(schedule, Mapping):
        return schedule
    kind = schedule.get("kind")
    variant = SCHEDULES.get(kind) if isinstance(kind, str) else None
    names = {item.name for item in fields(variant)} if variant else set()
    length = epochs or 1_000_000
    # 17/20 instead of 0.85, which is not exact in binary: 0.85 * 180 is not 153.
    taken: dict[str, Any] = {"last_decay_epoch": max(1.0, 17 * length / 20), "epochs": length}
    taken["cooldown_epochs"] = max(1, round(length / 5))
    if "gain_threshold" in names and schedule.get("gain_threshold") is not None:
        taken["last_decay_epoch"] = None  # training determines its last decay
    return {**{name: value for name, value in taken.items() if name in names}, **schedule}


def too_late(schedule: Schedule, given: Mapping[str, Any], epochs: int) -> dict[str, str]:
    """Return the spec's fields that name an epoch after the end of training, with the broken rules."""
    found: dict[str, str] = {}
    last = last_epoch_named(schedule)
    for name in _EPOCH_FIELDS:
        if last is None or name not in given:
            continue
        if name == "epochs" and last > epochs:
            found[name] = f"must be at most epochs = {epochs}, got {shown(given[name])}"
        if name != "epochs" and last >= epochs:
            rule = f"must be less than epochs = {epochs}, as a decay acts after its epoch"
            found[name] = f"{rule}, got {shown(given[name])}"
    warmup_epochs = given.get("warmup_epochs", 0)
    if warmup_epochs > epochs:
        found["warmup_epochs"] = f"must be at most epochs = {epochs}, got {shown(warmup_epochs)}"
    return found
