"""Expansion of a spec's arms into trials: count them first, then build and check every point of every grid.

A trial is a grid point or a sampled setting of an arm, with a seed. Trials are numbered over arms, points and seeds, in
the spec's order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from abel.schedules import Schedule
from sweeps.errors import Faults, join, leads
from sweeps.spec import arms, programs, sampling, schedules, sections
from sweeps.spec.arms import DecodedArm
from sweeps.spec.grid import Between, spelled, values
from sweeps.spec.sections import Arm, Claim, Document, Figure
from sweeps.spec.trial import Trial, trained_as
from workers.config import Program
from workers.contracts import cadence_of

_BY_EPOCH: Claim = "curves"  # compares errors after every epoch
# These take the error of simple decay with L2 at its lowest training loss, if it rises after the decay.
_AS_REPORTED: tuple[Claim, ...] = ("cosine", "linear", "l2_gap", "small_rate", "easy", "short_run")
_WITH_REPORTED: tuple[Figure, ...] = ("table", "training_curves")


@dataclass(frozen=True, kw_only=True)
class ExpansionRequest:
    """Input of an expansion; `epochs` is None if the spec's number is faulty."""

    program: Any
    arms: Mapping[str, Any]
    seeds: Sequence[int]
    epochs: int | None
    most_trials: int
    most_epochs: int


def expand(request: ExpansionRequest, faults: Faults) -> list[Trial]:
    """Return the trials of a sweep and add their faults to `faults`; with faults, trials may be missing.

    A program or schedule that is not a mapping is a fault of the spec's shape and is reported there.
    """
    base = _base_programs(request, faults)
    read = [arms.read_arm(name, raw, base[name], request.epochs, faults) for name, raw in request.arms.items()]
    within_limits = _within_limits(read, request, faults)
    trials: list[Trial] = []
    for arm in read:
        given = {**request.program, **arm.program} if isinstance(request.program, Mapping) else None
        points = _Points(arm, given, base[arm.name], faults)
        # Even if there are too many points to check, the first one shows the faults of a schedule.
        for settings, pair in points.each(most=None if within_limits else 1):
            trials += _trials(arm, settings, pair, request.seeds, len(trials))
    _check_distinct(trials, request.seeds, faults)
    _check_batches(trials, faults)
    return trials


def _base_programs(request: ExpansionRequest, faults: Faults) -> dict[str, Program | None]:
    """Return each arm's program before its grid varies it: the sweep's, with the fields that the arm replaces."""
    if not isinstance(request.program, Mapping):
        return dict.fromkeys(request.arms)
    found: dict[str, Program | None] = {}
    decoded: dict[str, tuple[Program | None, dict[str, str]]] = {}
    for name, arm in request.arms.items():
        own = arms.own_program(arm)
        length = arms.own_epochs(arm, request.epochs)
        if (key := repr((own, length))) not in decoded:  # equal programs are one object
            decoded[key] = programs.decode_program({**request.program, **own}, length or sections.MAX_EPOCHS)
        found[name], broken = decoded[key]
        for path, rule in broken.items():
            field = max((key for key in (*request.program, *own) if leads(key, path)), key=len, default=None)
            top = f"arms.{name}.program" if field in own else "program"
            faults.add(join(top, path) if path else top, rule)
    return found


def alike(trials: Iterable[Trial]) -> tuple[str, ...]:
    """Return a sentence for each pair of an arm's settings that are equal in float32, the precision of training."""
    seen: dict[tuple[object, ...], Trial] = {}
    found: dict[str, None] = {}
    for trial in trials:
        first = seen.setdefault((trial.arm, trial.seed, trained_as(trial.settings)), trial)
        for name, value in trial.settings.items():
            if first.settings[name] != value:
                both = f"{first.settings[name]!r} and {value!r}"
                found[f"arms.{trial.arm}.grid.{name}: {both} are equal in float32, so their trials count once"] = None
    return tuple(found)


def trial_count(request: ExpansionRequest) -> int:
    """Return the number of trials of a valid request, without building them."""
    read = (arms.read_arm(name, raw, None, None, Faults()) for name, raw in request.arms.items())
    return sum(arm.points for arm in read) * len(request.seeds)


def _within_limits(arms: Iterable[DecodedArm], request: ExpansionRequest, faults: Faults) -> bool:
    """Whether the numbers of trials and epochs are within their limits; adds a fault if not."""
    arms, before = list(arms), len(faults)
    trials = sum(arm.points for arm in arms) * len(request.seeds)
    epochs = sum(arm.points * (arm.epochs or 1) for arm in arms) * len(request.seeds)
    if trials > request.most_trials:
        # Do not print numbers of thousands of digits.
        got = f"{trials:,}" if trials < 10**15 else "more than 10^15"
        faults.add("arms", f"must make at most limits.trials = {request.most_trials:,} trials, got {got}")
    elif epochs > request.most_epochs:
        faults.add("arms", f"must take at most limits.epochs = {request.most_epochs:,} epochs in total, got {epochs:,}")
    return len(faults) == before


class _Points:
    """The points of an arm's grid. Programs and schedules are built once per combination of their own axes."""

    def __init__(self, arm: DecodedArm, given: Any, program: Program | None, faults: Faults) -> None:
        self._arm, self._given, self._program, self._faults = arm, given, program, faults
        self._programs: dict[str, Program | None] = {}
        self._schedules: dict[str, Schedule | None] = {}

    def each(self, most: int | None) -> Iterator[tuple[dict[str, Any], tuple[Program | None, Schedule | None]]]:
        """Yield settings by axis and their program and schedule, for at most `most` values of each axis, or samples."""
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
            rule = f"must be at most the number of different settings, apparently {found}"
            self._faults.add(f"{self._arm.path}.search.samples", f"{rule}, got {search.samples}")

    def _program_at(self, settings: dict[str, Any]) -> Program | None:
        own = {field: value for field, value in settings.items() if field.startswith("program.")}
        if self._program is None or not own:
            return self._program
        if (key := repr(own)) not in self._programs:
            document = programs.with_kinds(self._given)
            for field, value in own.items():
                document = programs.replaced(document, field.removeprefix("program."), value)
            built, found = programs.decode_program(document, self._arm.epochs or sections.MAX_EPOCHS)
            self._note("program", found, own)
            self._programs[key] = built
        return self._programs[key]

    def _schedule_at(self, settings: dict[str, Any]) -> Schedule | None:
        own = {field: value for field, value in settings.items() if field.startswith("schedule.")}
        if (key := repr(own)) not in self._schedules:
            if not isinstance(self._arm.schedule, Mapping):
                return None
            given = {**self._arm.schedule, **{field.removeprefix("schedule."): value for field, value in own.items()}}
            built, found = schedules.schedule_shape().decode(schedules.with_defaults(given, self._arm.epochs))
            if built is not None and self._arm.epochs is not None:
                found = schedules.too_late(built, given, self._arm.epochs)
            self._note("schedule", found, own)
            self._schedules[key] = built
        return self._schedules[key]

    def _note(self, top: str, found: dict[str, str], own: dict[str, Any]) -> None:
        for path, rule in found.items():
            field = join(top, path) if path else top
            unread = self._arm.unread
            if rule == "is missing" and (unread is None or field in unread):
                continue  # its axis is faulty, and that fault is reported
            varied = any(leads(axis, field) for axis in own)
            if not varied and (within := [axis for axis in own if leads(field, axis)]):
                varied, field = True, within[0]  # a rule on a group of fields, which the axis broke
            axis = self._arm.axes.get(field)
            if isinstance(axis, Between) and rule.startswith("must be an integer"):
                ends = f"{math.ceil(axis.ends[0])}, {math.floor(axis.ends[1])}"
                rule = f"must be a whole number: give it a step, as in {{range: [{ends}], step: 1}}"
            self._faults.add(f"{self._arm.path}{'.grid' if varied else ''}.{field}", rule)


def _trials(
    arm: DecodedArm,
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
    """Add a fault for each duplicate trial; checking one seed is enough, as every point has all seeds."""
    first: dict[str, Trial] = {}
    for trial in trials:
        if trial.seed == seeds[0] and (same := first.setdefault(trial.id, trial)) is not trial:
            faults.add(f"arms.{trial.arm}", f"trial {trial.name!r} is the same as {same.name!r}")


def _check_batches(trials: Iterable[Trial], faults: Faults) -> None:
    """Add a fault for each program whose batch cannot be trained on any number of devices."""
    for program, arm in {trial.program: trial.arm for trial in reversed(list(trials))}.items():
        try:
            program.check_batch(program.batch_size, devices=1)
        except ValueError as error:
            faults.add(f"arms.{arm}.program", str(error))


def check_cadence(trials: Iterable[Trial], spec: Document, faults: Faults) -> None:
    """Add a fault for each field by which a repeated value of the metric would count.

    A task may measure its metric after every so many epochs, its cadence, and repeat it in the records between. A repeated value
    belongs to an earlier state. So trials must end, compete and be judged at epochs at which it is new, the same epochs in all.
    """
    cadences = dict[int, str]()
    for trial in trials:
        cadences.setdefault(every := cadence_of(trial.program.task), trial.arm)
        if every > 1:
            _check_lengths(trial, spec.arms[trial.arm], every, faults)
            _check_judged(trial, spec, every, faults)
    if len(cadences) > 1:
        found = ", ".join(f"every {every} epochs in arm {arm}" for every, arm in cadences.items())
        faults.add("program.task", f"must have the metric measured in the same epochs in all trials, got {found}")


def _check_lengths(trial: Trial, arm: Arm, every: int, faults: Faults) -> None:
    lengths = {"epochs" if arm.epochs is None else f"arms.{trial.arm}.epochs": trial.epochs}
    if trial.halving is not None:  # later rungs are its multiples
        lengths[f"arms.{trial.arm}.halving.grace_epochs"] = trial.halving.grace_epochs
    for path, epochs in lengths.items():
        if epochs % every:
            faults.add(path, f"must be a multiple of {every}, as {_measured(every)}, got {epochs}")
    if (gain := getattr(trial.schedule, "gain_threshold", None)) is not None:
        rule = "must be left out, as training may then end at an epoch with a repeated metric"
        faults.add(_where(trial, arm, "schedule.gain_threshold"), f"{rule}: {_measured(every)}, got {gain}")


def _check_judged(trial: Trial, spec: Document, every: int, faults: Faults) -> None:
    tested = spec.claims.tested if spec.claims is not None else []
    if spec.check is not None and spec.check.error == "selected":
        rule = "must be minimum or final, as the epoch with the lowest training loss may have a repeated metric"
        faults.add("check.error", f"{rule}: {_measured(every)}, got selected")
    if _BY_EPOCH in tested:
        rule = f"must not name {_BY_EPOCH}, as it compares errors after every epoch"
        faults.add("claims.tested", f"{rule}: {_measured(every)}, got {', '.join(tested)}")
    readers = [f"claim {claim}" for claim in tested if claim in _AS_REPORTED]
    readers += [f"figure {spec.figure}"] if spec.figure in _WITH_REPORTED else []
    if readers and trial.schedule.kind == "simple" and trial.program.l2 > 0:
        rule = f"must be 0 with simple decay, as {' and '.join(readers)} may take an epoch with a repeated metric"
        path = _where(trial, spec.arms[trial.arm], "program.l2")
        faults.add(path, f"{rule}: {_measured(every)}, got {trial.program.l2:g}")


def _where(trial: Trial, arm: Arm, field: str) -> str:
    """Return the path at which a spec gives a field of a trial's program or schedule."""
    if field in trial.settings:
        return f"arms.{trial.arm}.grid.{field}"
    top, _, name = field.partition(".")
    return f"arms.{trial.arm}.{field}" if name in getattr(arm, top) else field


def _measured(every: int) -> str:
    return f"the task measures its metric every {every} epochs and repeats it in between"
