"""A baseline: the results of a known good sweep, small enough to be stored next to the code and reviewed.

It contains the error of every trial, because the mean is compared seed by seed if a later run has the same seeds, and
the measures, for readers. It identifies the spec by a hash of what determines the numbers: program, epochs and arms, but not
seeds, title or margins.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sweeps.errors import shown
from sweeps.files import PathFault, decode_text, named, read_file
from sweeps.ledger.records import TrialStatus
from sweeps.results.grids import Grid, Point, grid
from sweeps.results.guessing import UNKNOWN
from sweeps.results.measures import measures
from sweeps.results.values import UNKNOWN_CHANCE, BaselineError, Chance, Scalar, TrialResult
from sweeps.spec.sections import MAX_EPOCHS, Statistic

FORMAT = 1
MAX_BYTES = 2**20
RULE = "must be the output of `abel baseline save SWEEP`"
DIGITS = 6


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A sweep's results by arm, ready for comparison.

    Args:
        source: the file, or the id of the sweep, that this was read from.
        sweep: name of the sweep.
        spec: hash of what determines its numbers.
        error: the error of a trial: its minimum, its last, or the one at the lowest training loss.
    """

    source: str
    sweep: str
    spec: str
    error: Statistic
    arms: Mapping[str, Grid]


def spec_hash(spec: Mapping[str, Any]) -> str:
    """Return a hash of what determines a sweep's numbers, except its seeds."""
    decisive = {name: spec[name] for name in ("program", "epochs", "arms")}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]


def tables(
    trials: Sequence[TrialResult], error: Statistic, guessing: float | None, chance: Chance = UNKNOWN_CHANCE
) -> dict[str, Grid]:
    """Return the table of each arm. A diverged trial has the error of guessing.

    Args:
        guessing: that of trials for which `chance` has none, in percent; None if unknown.

    Raises:
        ValueError: a trial has no result, a trial diverged and the error of guessing is unknown, or the settings of an arm have
            different seeds.
    """
    if lacking := [trial for trial in trials if trial.status not in (TrialStatus.FINISHED, TrialStatus.DIVERGED)]:
        names = ", ".join(f"{trial.name} ({trial.status})" for trial in lacking[:3])
        halved = any(trial.status == TrialStatus.STOPPED for trial in lacking)
        hint = (
            "remove `halving` from its spec to train all to their end"
            if halved
            else "`abel run` trains the missing ones"
        )
        raise ValueError(f"every trial must have a result, {len(lacking)} of {len(trials)} have none: {names}; {hint}")
    found: dict[str, Grid] = {}
    for arm in dict.fromkeys(trial.arm for trial in trials):
        own = [trial for trial in trials if trial.arm == arm]
        points = [_point(trial, error, chance.common([trial.name], guessing)) for trial in own]
        common = chance.common([trial.name for trial in own], guessing)
        found[arm] = replace(grid(points, common), is_by_hand=chance.is_by_hand)
    return found


def _point(trial: TrialResult, error: Statistic, guessing: float | None) -> Point:
    diverged = trial.status == TrialStatus.DIVERGED
    if diverged and guessing is None:
        raise ValueError(UNKNOWN)
    errors = {
        "minimum": trial.minimum_error,
        "final": trial.final_error,
        "selected": trial.selected_error,
    }
    value = guessing if diverged else errors[error]
    found = math.nan if value is None else value
    return Point(tuple(sorted(trial.settings.items())), trial.seed, found, len(trial.decays), diverged)


def dump(baseline: Baseline) -> str:
    """Return the baseline as JSON, with one setting per line."""
    arms = {name: _arm(table) for name, table in baseline.arms.items()}
    head = {"format": FORMAT, "sweep": baseline.sweep, "spec": baseline.spec, "error": baseline.error}
    return _compact({**head, "arms": arms})


def _arm(table: Grid) -> dict[str, Any]:
    assert table.diverged is not None
    return {
        "seeds": list(table.seeds),
        "measures": {name: [round(number, 4) for number in found] for name, found in measures(table).items()},
        "trials": [
            {
                "settings": dict(setting),
                "errors": [round(float(error), DIGITS) for error in errors],
                "decays": [int(count) for count in decays],
                **({"diverged": [int(one) for one in diverged]} if diverged.any() else {}),
            }
            for setting, errors, decays, diverged in zip(
                table.settings, table.errors, table.decays, table.diverged, strict=True
            )
        ],
        "diverged": int(table.diverged.sum()),
    }


def _compact(value: Any, indent: str = "") -> str:
    """Format JSON with each innermost list or mapping on one line."""
    deeper = indent + "  "
    if isinstance(value, dict) and any(isinstance(item, dict | list) for item in value.values()):
        lines = (f"{deeper}{json.dumps(name)}: {_compact(item, deeper)}" for name, item in value.items())
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "[\n" + ",\n".join(f"{deeper}{json.dumps(item)}" for item in value) + f"\n{indent}]"
    return json.dumps(value)


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class _Trials(_Part):
    settings: dict[str, Scalar]
    errors: list[Annotated[float, Field(ge=0, le=100)]]
    decays: list[Annotated[int, Field(ge=0, le=MAX_EPOCHS)]]
    diverged: list[Annotated[int, Field(ge=0, le=1)]] = []


class _Arm(_Part):
    seeds: list[int] = Field(min_length=1)
    trials: list[_Trials] = Field(min_length=1)
    diverged: int = Field(ge=0)


class _File(_Part):
    format: Literal[1]
    sweep: str
    spec: str
    error: Statistic
    arms: dict[str, _Arm] = Field(min_length=1)


def read_baseline(file: Path) -> Baseline:
    """Read a baseline.

    Raises:
        BaselineError: the file cannot be read, or is not a baseline.
    """
    name = named(file)
    try:
        return replace(parse_baseline(decode_text(read_file(file, MAX_BYTES)), name), source=str(file))
    except PathFault as error:
        raise BaselineError(f"baseline {name}: {error}") from None
    except OSError as error:
        raise BaselineError(f"baseline {name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BaselineError(f"baseline {name}: {RULE}; {error}") from None


def parse_baseline(text: str, name: str) -> Baseline:
    """Parse a baseline's JSON; ``name`` says in messages where it comes from.

    Raises:
        BaselineError: it is not a baseline.
    """
    try:
        held = _File.model_validate_json(text)
        arms = {name: _table(name, arm) for name, arm in held.arms.items()}
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in fault["loc"]) or "the file"
        got = "" if fault["type"] in ("missing", "json_invalid") else f", got {shown(fault['input'])}"
        raise BaselineError(f"baseline {name}: {RULE}; {place}: {fault['msg']}{got}") from None
    except ValueError as error:
        raise BaselineError(f"baseline {name}: {RULE}; {error}") from None
    return Baseline(source=name, sweep=held.sweep, spec=held.spec, error=held.error, arms=arms)


def _table(name: str, arm: _Arm) -> Grid:
    points = []
    for row in arm.trials:
        diverged = row.diverged or [0] * len(arm.seeds)
        if not len(row.errors) == len(row.decays) == len(diverged) == len(arm.seeds):
            raise ValueError(
                f"arms.{name}: {row.settings} must have an error and a number of decays for each of the seeds {arm.seeds}"
            )
        setting = tuple(sorted(row.settings.items()))
        cells = zip(arm.seeds, row.errors, row.decays, map(bool, diverged), strict=True)
        points += [Point(setting, *cell) for cell in cells]
    if len({(point.setting, point.seed) for point in points}) < len(points):
        raise ValueError(f"arms.{name}: must have each pair of setting and seed once")
    if arm.diverged > len(points):
        raise ValueError(
            f"arms.{name}.diverged: must be at most the number of trials, {len(points)}, got {arm.diverged}"
        )
    table = grid(points)
    named = sum(point.diverged for point in points)
    return table if named == arm.diverged else replace(table, diverged=None)  # an older version stored only the total
