"""Arms decoded for expansion, as far as they are valid, with the axes of their grids."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any, TypeVar

from abel.schedules import SCHEDULES
from sweeps.errors import Faults, join, unknown
from sweeps.spec import sampling, sections, shapes
from sweeps.spec.grid import Axis, parse_axis
from workers.config import Program

_Section = TypeVar("_Section", sections.Search, sections.Halving)


@dataclass(frozen=True, kw_only=True)
class DecodedArm:
    """A schedule, the axes of its grid by dotted field name, and the length of its trials.

    `program` are the fields of the program that the arm replaces, and `unread` the fields with a faulty axis, None if the grid
    itself is faulty and could have meant any field. `epochs` is None if the spec's number is faulty, `search` is None if all
    grid points are trained, and `halving` is None if every trial is trained to its end.
    """

    name: str
    program: Mapping[str, Any]
    schedule: Any
    axes: dict[str, Axis]
    unread: frozenset[str] | None
    search: sections.Search | None
    halving: sections.Halving | None
    epochs: int | None

    @property
    def path(self) -> str:
        """Path of the arm in the spec."""
        return f"arms.{self.name}"

    @property
    def points(self) -> int:
        """Number of grid points or sampled settings, without building them."""
        return self.search.samples if self.search else math.prod(axis.count for axis in self.axes.values())

    @cached_property
    def labels(self) -> dict[str, str]:
        """Axis names as shown in trial names: the last part if it is unique and not "seed", else the full name."""
        last = ["seed", *(axis.rpartition(".")[2] for axis in self.axes)]
        return {
            axis: short if last.count(short) == 1 else axis for axis, short in zip(self.axes, last[1:], strict=True)
        }


def read_arm(name: str, raw: Any, program: Program | None, epochs: int | None, faults: Faults) -> DecodedArm:
    """Decode an arm as far as it is valid; add the faults of its grid, search and halving to `faults`."""
    raw = raw if isinstance(raw, Mapping) else {}
    path, grid = f"arms.{name}", raw.get("grid")
    if isinstance(grid, Mapping) and not grid:
        faults.must(f"{path}.grid", "name at least one field, or be left out", grid)
    search = _of_grid(sections.Search, "search", raw, f"{path}.search", "must have a grid to draw from", faults)
    rule = "must have a grid whose settings compete"
    halving = _of_grid(sections.Halving, "halving", raw, f"{path}.halving", rule, faults)
    axes = _read_axes(raw, f"{path}.grid", program, faults)
    epochs = own_epochs(raw, epochs)
    if halving is not None and epochs is not None and halving.grace_epochs >= epochs:
        rule = f"must be less than epochs = {epochs}, got {halving.grace_epochs}"
        faults.add(f"{path}.halving.grace_epochs", rule)
    return DecodedArm(
        name=name,
        program=own_program(raw),
        schedule=raw.get("schedule"),
        axes=axes,
        unread=_unread(raw.get("grid", {}), axes),
        search=search if axes else None,
        halving=halving,
        epochs=epochs,
    )


def _of_grid(
    kind: type[_Section], field: str, raw: Mapping[str, Any], path: str, rule: str, faults: Faults
) -> _Section | None:
    """Decode a section that needs a grid, whose own faults are added elsewhere; None if it is faulty or the arm has none."""
    if raw.get(field) is None:
        return None
    if "grid" not in raw:
        faults.add(path, rule)
    return shapes.read_shape(kind, raw[field], Faults())


def _read_axes(raw: Mapping[str, Any], path: str, program: Program | None, faults: Faults) -> dict[str, Axis]:
    """Decode the valid axes of an arm's grid; if the arm has a search, draws from them."""
    grid, sampled = raw.get("grid"), raw.get("search") is not None
    axes: dict[str, Axis] = {}
    for field, given in grid.items() if isinstance(grid, Mapping) else ():
        axis = parse_axis(given, join(path, field), faults, sampled=sampled)
        if fault := _field_fault(field, raw.get("schedule"), program):
            faults.add(join(path, field), fault)
        elif sampled and axis is not None and axis.count > sampling.MOST_VALUES:
            rule = "must have at most 2^31 values to draw from; leave out the step to draw any number"
            faults.add(join(path, field), rule)
        elif axis is not None:
            axes[field] = axis
    return axes


def own_program(raw: Any) -> Mapping[str, Any]:
    """Return the fields of the program that an arm replaces, empty if it has none or they are faulty."""
    given = raw.get("program") if isinstance(raw, Mapping) else None
    return given if isinstance(given, Mapping) else {}


def own_epochs(raw: Any, epochs: int | None) -> int | None:
    """Return the length of an arm's trials: its own, or that of the spec; None if the number is faulty."""
    own = raw.get("epochs") if isinstance(raw, Mapping) else None
    if own is None:
        return epochs
    return own if isinstance(own, int) and not isinstance(own, bool) and own > 0 else None


def _unread(grid: Any, axes: Iterable[str]) -> frozenset[str] | None:
    """Return the fields of a grid that have no valid axis; None if the grid is not a mapping."""
    return frozenset(grid).difference(axes) if isinstance(grid, Mapping) else None


def _field_fault(field: str, schedule: Any, program: Program | None) -> str | None:
    """Return the fault of an axis name, or None."""
    top, *parts = field.split(".")
    if top not in ("schedule", "program") or not parts:
        return "must be a field of the schedule or the program, such as schedule.learning_rate or program.l2"
    if parts[-1] == "kind":
        return f"must not be a kind: give each kind its own {'sweep' if top == 'program' else 'arm'}"
    if top == "schedule":
        kind = schedule.get("kind") if isinstance(schedule, Mapping) else None
        variant = SCHEDULES.get(kind) if isinstance(kind, str) else None
        known = [item.name for item in fields(variant) if item.name != "kind"] if variant else None
        return unknown("field", ".".join(parts), known) if known and ".".join(parts) not in known else None
    value: Any = program
    for part in parts if program is not None else ():
        if isinstance(value, Mapping):  # of an optimiser's options
            return None if part == parts[-1] else unknown("field", part, ())
        known = [item.name for item in fields(value) if item.name != "kind"] if is_dataclass(value) else []
        if part not in known:
            return unknown("field", part, known)
        value = getattr(value, part)
    return "must name a single field, not a group of fields" if is_dataclass(value) else None
