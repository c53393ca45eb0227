"""From a spec's arms to its trials: counted first, then every point of every grid built and checked.

A trial is a point of an arm's grid, or a sampled setting, and a seed; numbers run over arms, points and seeds, in the
spec's order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any

from abel.schedules import SCHEDULES, Schedule, last_epoch_named
from sweeps.errors import Faults, join, shown, unknown
from sweeps.spec import decoding, models, sampling
from sweeps.spec.grid import Axis, Interval, parse_axis, spelled, values
from sweeps.spec.programs import program_from_dict, with_kinds
from sweeps.spec.trial import Trial, trained_as
from workers.config import Program, to_dict

_EPOCH_FIELDS = ("decay_epoch", "decay_epochs", "last_decay_epoch", "epochs")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A schedule, the fields that its grid varies, by their dotted names, and the length of its trials.

    `unread` are those whose axes are faulty, None where the grid itself is, which may have meant any. `epochs` is None where
    the spec's number is faulty, `search` where all points of the grid are meant, `halving` where every trial is trained to
    its end.
    """

    name: str
    schedule: Any
    axes: dict[str, Axis]
    unread: frozenset[str] | None
    search: models.Search | None
    halving: models.Halving | None
    epochs: int | None

    @property
    def path(self) -> str:
        """Where the arm stands in the spec."""
        return f"arms.{self.name}"

    @property
    def points(self) -> int:
        """How many points its grid has, or how many are sampled, without making them."""
        return self.search.samples if self.search else math.prod(axis.count for axis in self.axes.values())

    @cached_property
    def labels(self) -> dict[str, str]:
        """The axes' names as trials show them: the last part, where that is unique and not the trial's own seed."""
        last = ["seed", *(axis.rpartition(".")[2] for axis in self.axes)]
        return {
            axis: short if last.count(short) == 1 else axis for axis, short in zip(self.axes, last[1:], strict=True)
        }


@dataclass(frozen=True, kw_only=True)
class Request:
    """What trials are made from; `epochs` is None where the spec's number is faulty."""

    program: Any
    arms: Mapping[str, Any]
    seeds: Sequence[int]
    epochs: int | None
    most_trials: int
    most_epochs: int


def expand(request: Request, faults: Faults) -> list[Trial]:
    """The trials of a sweep; everything that is wrong with them is noted, and then the list may lack some.

    A program or a schedule that is no mapping is a fault of the spec's shape, and noted there.
    """
    program = None
    if isinstance(request.program, Mapping):
        program, found = _program(request.program)
        for path, rule in found.items():
            faults.add(join("program", path) if path else "program", rule)
    arms = [_arm(name, raw, program, request.epochs, faults) for name, raw in request.arms.items()]
    within_limits = _within_limits(arms, request, faults)
    trials: list[Trial] = []
    for arm in arms:
        points = _Points(arm, request.program, program, faults)
        # The first point tells what is wrong with a schedule even where there are too many to look at.
        for settings, pair in points.each(most=None if within_limits else 1):
            trials += _trials(arm, settings, pair, request.seeds, len(trials))
    _check_distinct(trials, request.seeds, faults)
    return trials


def _program(given: Any) -> tuple[Program | None, dict[str, str]]:
    """The program of a document, and its faults by their paths in it."""
    program, found = decoding.build(program_from_dict, given)
    return program, found or decoding.not_whole(given, to_dict(program) if program else None)


def alike(trials: Iterable[Trial]) -> tuple[str, ...]:
    """Which settings of an arm differ by less than training knows, in sentences."""
    seen: dict[tuple[object, ...], Trial] = {}
    found: dict[str, None] = {}
    for trial in trials:
        first = seen.setdefault((trial.arm, trial.seed, trained_as(trial.settings)), trial)
        for name, value in trial.settings.items():
            if first.settings[name] != value:
                both = f"{first.settings[name]!r} and {value!r}"
                found[f"arms.{trial.arm}.grid.{name}: {both} are one number in float32, so their trials count once"] = (
                    None
                )
    return tuple(found)


def count(request: Request) -> int:
    """How many trials a faultless request makes, by arithmetic."""
    arms = (_arm(name, raw, None, None, Faults()) for name, raw in request.arms.items())
    return sum(arm.points for arm in arms) * len(request.seeds)


def _arm(name: str, raw: Any, program: Program | None, epochs: int | None, faults: Faults) -> Arm:
    raw = raw if isinstance(raw, Mapping) else {}
    grid, path = raw.get("grid"), f"arms.{name}.grid"
    if isinstance(grid, Mapping) and not grid:
        faults.must(path, "name at least one field, or be left out", grid)
    sampled = raw.get("search") is not None
    search = models.read(models.Search, raw["search"], Faults()) if sampled else None
    if sampled and "grid" not in raw:
        faults.add(f"arms.{name}.search", "must have a grid to draw from")
    halving = None
    if raw.get("halving") is not None:
        halving = models.read(models.Halving, raw["halving"], Faults())
        if "grid" not in raw:
            faults.add(f"arms.{name}.halving", "must have a grid whose settings compete")
    axes: dict[str, Axis] = {}
    for field, given in grid.items() if isinstance(grid, Mapping) else ():
        axis = parse_axis(given, join(path, field), faults, sampled=sampled)
        if fault := _field_fault(field, raw.get("schedule"), program):
            faults.add(join(path, field), fault)
        elif sampled and axis is not None and axis.count > sampling.MOST_VALUES:
            faults.add(join(path, field), "must have at most 2^31 values to draw from; without a step it is any number")
        elif axis is not None:
            axes[field] = axis
    own = raw.get("epochs")
    if own is not None:
        epochs = own if isinstance(own, int) and not isinstance(own, bool) and own > 0 else None
    if halving is not None and epochs is not None and halving.grace_epochs >= epochs:
        rule = f"must be less than epochs = {epochs}, got {halving.grace_epochs}"
        faults.add(f"arms.{name}.halving.grace_epochs", rule)
    return Arm(
        name=name,
        schedule=raw.get("schedule"),
        axes=axes,
        unread=_unread(raw.get("grid", {}), axes),
        search=search if axes else None,
        halving=halving,
        epochs=epochs,
    )


def _unread(grid: Any, axes: Iterable[str]) -> frozenset[str] | None:
    """The fields of a grid without an axis; None where it is no mapping of fields."""
    return frozenset(grid).difference(axes) if isinstance(grid, Mapping) else None


def _field_fault(field: str, schedule: Any, program: Program | None) -> str | None:
    """What is wrong with the name of an axis, if anything."""
    top, *parts = field.split(".")
    if top not in ("schedule", "program") or not parts:
        return "must be a field of the schedule or the program, such as schedule.learning_rate or program.l2"
    if parts[-1] == "kind":
        return "a kind is not for a grid: give each its own arm or sweep"
    if top == "schedule":
        kind = schedule.get("kind") if isinstance(schedule, Mapping) else None
        variant = SCHEDULES.get(kind) if isinstance(kind, str) else None
        known = [item.name for item in fields(variant) if item.name != "kind"] if variant else None
        return unknown("field", ".".join(parts), known) if known and ".".join(parts) not in known else None
    value: Any = program
    for part in parts if program is not None else ():
        known = [item.name for item in fields(value)] if is_dataclass(value) else []
        if part not in known:
            return unknown("field", part, known)
        value = getattr(value, part)
    return "names a group of fields, not one of them" if is_dataclass(value) else None


def _within_limits(arms: Iterable[Arm], request: Request, faults: Faults) -> bool:
    """Whether there are not too many trials, or epochs, to look at one by one."""
    arms, before = list(arms), len(faults)
    trials = sum(arm.points for arm in arms) * len(request.seeds)
    epochs = sum(arm.points * (arm.epochs or 1) for arm in arms) * len(request.seeds)
    if trials > request.most_trials:
        # A number of thousands of digits is not for printing.
        got = f"{trials:,}" if trials < 10**15 else "more than 10^15"
        faults.add("arms", f"must make at most limits.trials = {request.most_trials:,} trials, got {got}")
    elif epochs > request.most_epochs:
        faults.add("arms", f"must take at most limits.epochs = {request.most_epochs:,} epochs in all, got {epochs:,}")
    return len(faults) == before


class _Points:
    """The points of one arm's grid; programs and schedules are built once for each combination of their own axes."""

    def __init__(self, arm: Arm, given: Any, program: Program | None, faults: Faults) -> None:
        self._arm, self._given, self._program, self._faults = arm, given, program, faults
        self._programs: dict[str, Program | None] = {}
        self._schedules: dict[str, Schedule | None] = {}

    def each(self, most: int | None) -> Iterator[tuple[dict[str, Any], tuple[Program | None, Schedule | None]]]:
        """Settings by axis, and what they make, from at most so many values of each axis, or samples."""
        for settings in self._settings(most):
            yield settings, (self._program_at(settings), self._schedule_at(settings))

    def _settings(self, most: int | None) -> Iterator[dict[str, Any]]:
        axes, search = self._arm.axes, self._arm.search
        if search is None:
            by_axis = (itertools.islice(values(axis), most) for axis in axes.values())
            for point in itertools.product(*by_axis):
                yield dict(zip(axes, point, strict=True))
            return
        drawn = itertools.count()
        for settings in itertools.islice(sampling.sampled(axes, search), most):
            next(drawn)
            yield settings
        if most is None and (found := next(drawn)) < search.samples:
            rule = f"must be at most the number of different settings, of which there seem to be {found}"
            self._faults.add(f"{self._arm.path}.search.samples", f"{rule}, got {search.samples}")

    def _program_at(self, settings: dict[str, Any]) -> Program | None:
        own = {field: value for field, value in settings.items() if field.startswith("program.")}
        if self._program is None or not own:
            return self._program
        if (key := repr(own)) not in self._programs:
            document = {"program": with_kinds(self._given)}
            for field, value in own.items():
                document = decoding.replaced(document, field, value)
            built, found = _program(document["program"])
            self._note("program", found, own)
            self._programs[key] = built
        return self._programs[key]

    def _schedule_at(self, settings: dict[str, Any]) -> Schedule | None:
        own = {field: value for field, value in settings.items() if field.startswith("schedule.")}
        if (key := repr(own)) not in self._schedules:
            if not isinstance(self._arm.schedule, Mapping):
                return None
            given = {**self._arm.schedule, **{field.removeprefix("schedule."): value for field, value in own.items()}}
            built, found = decoding.build(decoding.schedule_from_dict, with_defaults(given, self._arm.epochs))
            if built is not None and self._arm.epochs is not None:
                found = _too_late(built, given, self._arm.epochs)
            self._note("schedule", found, own)
            self._schedules[key] = built
        return self._schedules[key]

    def _note(self, top: str, found: dict[str, str], own: dict[str, Any]) -> None:
        for path, rule in found.items():
            field = join(top, path) if path else top
            unread = self._arm.unread
            if rule == "is missing" and (unread is None or field in unread):
                continue  # what is wrong with it is noted at its axis
            varied = field.partition("[")[0] in own
            axis = self._arm.axes.get(field)
            if isinstance(axis, Interval) and rule.startswith(("must be an integer", "must be a whole number")):
                ends = f"{math.ceil(axis.low)}, {math.floor(axis.high)}"
                rule = f"must be a whole number: give it a step, as in {{range: [{ends}], step: 1}}"
            self._faults.add(f"{self._arm.path}{'.grid' if varied else ''}.{field}", rule)


def with_defaults(schedule: Any, epochs: int | None) -> Any:
    """A schedule's dictionary with what it takes from the sweep: where a cosine or a line ends, the last decay at 85 %."""
    if not isinstance(schedule, Mapping):
        return schedule
    kind = schedule.get("kind")
    variant = SCHEDULES.get(kind) if isinstance(kind, str) else None
    names = {item.name for item in fields(variant)} if variant else set()
    length = epochs or 1_000_000
    # 17/20 and not 0.85, which is not a binary number: 0.85 * 180 is not 153.
    taken: dict[str, Any] = {"last_decay_epoch": max(1.0, 17 * length / 20), "epochs": length}
    if "gain_threshold" in names and schedule.get("gain_threshold") is not None:
        taken["last_decay_epoch"] = None  # its last decay comes out of the training
    return {**{name: value for name, value in taken.items() if name in names}, **schedule}


def _too_late(schedule: Schedule, given: Mapping[str, Any], epochs: int) -> dict[str, str]:
    """Fields that the spec gives and that name an epoch at which nothing can happen any more, with their rules."""
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


def _trials(
    arm: Arm,
    settings: dict[str, Any],
    pair: tuple[Program | None, Schedule | None],
    seeds: Sequence[int],
    first: int,
) -> list[Trial]:
    program, schedule = pair
    if program is None or schedule is None or arm.epochs is None:
        return []
    spelt = {field: spelled(value) for field, value in settings.items()}
    words = [arm.name, *(f"{arm.labels[field]}={value}" for field, value in spelt.items())]
    return [
        Trial(
            number=first + index,
            name=" ".join([*words, f"seed={seed}"]),
            arm=arm.name,
            program=program,
            schedule=schedule,
            seed=seed,
            epochs=arm.epochs,
            settings=spelt,
            halving=arm.halving,
        )
        for index, seed in enumerate(seeds)
    ]


def _check_distinct(trials: Iterable[Trial], seeds: Sequence[int], faults: Faults) -> None:
    """Note trials that are one and the same; looking at one seed is enough, as every point has them all."""
    first: dict[str, Trial] = {}
    for trial in trials:
        if trial.seed == seeds[0] and (same := first.setdefault(trial.id, trial)) is not trial:
            faults.add(f"arms.{trial.arm}", f"trial {trial.name!r} is the same as {same.name!r}")
