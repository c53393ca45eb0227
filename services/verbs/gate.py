"""The verbs of the gate: save a sweep's results as a baseline, and check a later sweep against it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from services import ledgers
from services.errors import OperationError
from services.schemas import Checked, Request, RunResult
from services.settings import Settings
from sweeps.errors import Faults
from sweeps.ledger.records import SweepRow
from sweeps.results import baseline as baselines
from sweeps.results import guessing
from sweeps.results import noninferiority as checks
from sweeps.results import power as powers
from sweeps.results.baseline import Baseline
from sweeps.results.grids import Grid
from sweeps.results.load import load
from sweeps.results.measures import telling
from sweeps.results.values import Chance, Finding, Interval, Power, TrialResult, Verdict
from sweeps.spec import shapes
from sweeps.spec.measures import MEASURES, Rule, margin_fault, read_rule
from sweeps.spec.sections import Check, Statistic
from sweeps.spec.sweep import load_spec


class _Results(NamedTuple):
    """A sweep's trials, the error of guessing on the data of the first (None if unknown), and of each where recorded."""

    trials: Sequence[TrialResult]
    guessing: float | None
    chance: Chance


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What a spec requires of the gate."""

    sweep: str
    arms: tuple[str, ...]
    check: Check


def save(settings: Settings, sweep: str) -> str:
    """A sweep's baseline, as JSON.

    Raises:
        OperationError: a trial has no result, or there is only one seed.
        LedgerError: no such sweep.
    """
    row, results = _results(settings, sweep)
    try:
        kept = _baseline(row, results, _asked(row).check.error)
    except ValueError as error:
        raise OperationError(f"sweep {row.name!r}: {error}") from None
    if lone := [arm for arm, table in kept.arms.items() if len(table.seeds) < 2]:
        raise OperationError(
            f"sweep {row.name!r}: must have at least two seeds to estimate its noise, got one in arm {lone[0]}"
        )
    return baselines.dump(kept)


def check(
    settings: Settings, sweep: str, before: Baseline, margins: Mapping[str, float], more_rules: Sequence[Rule] = ()
) -> Checked:
    """Check a sweep against a baseline, by the margins and rules of its spec and those given here.

    Raises:
        OperationError: there is no margin or rule, or one refers to an unknown arm.
        LedgerError: no such sweep.
    """
    row, results = _results(settings, sweep)
    margins, wanted = _wanted(_asked(row), margins, more_rules)
    findings = _obstacles(before, row) or _compare(before, row, results, margins, wanted)
    return Checked(
        sweep=row.name,
        id=row.id,
        baseline=before.source,
        error=before.error,
        verdict=checks.verdict(findings),
        findings=tuple(findings),
        metric=row.metric.error_label,
    )


def run_then_check(
    settings: Settings,
    request: Request,
    before: Baseline,
    margins: Mapping[str, float],
    more_rules: Sequence[Rule],
    run: Callable[[Request], RunResult],
) -> Checked | None:
    """Run a sweep by ``run``, then check it; return None if the run was stopped. Margins and rules are checked before training.

    Raises:
        SpecError: the spec is invalid.
        OperationError: there is no margin or rule, or one refers to an unknown arm.
    """
    spec = load_spec(request.spec)
    _wanted(_Asked(sweep=spec.name, arms=tuple(spec.arms), check=spec.check or Check()), margins, more_rules)
    done = run(request)
    if done.outcome in ("interrupted", "paused"):
        return None
    return check(settings, done.detail.sweep.id, before, margins, more_rules)


def _wanted(
    asked: _Asked, margins: Mapping[str, float], more_rules: Sequence[Rule]
) -> tuple[dict[str, float], list[Rule]]:
    margins, wanted = _held_to(asked, margins, more_rules)
    if not margins and not wanted:
        raise OperationError(
            f"sweep {asked.sweep!r}: needs a margin or a rule to check, got none; "
            "give --margin spread=1.5, or `check:` in its spec"
        )
    return margins, wanted


def measured(settings: Settings, sweep: str) -> dict[str, dict[str, Interval]]:
    """The informative measures of every arm of a sweep, by name; empty if a trial has no result.

    Raises:
        LedgerError: no such sweep.
    """
    row, results = _results(settings, sweep)
    try:
        arms = _baseline(row, results, _asked(row).check.error).arms
    except ValueError:
        return {}
    return {arm: telling(table) for arm, table in arms.items()}


def _results(settings: Settings, sweep: str) -> tuple[SweepRow, _Results]:
    with ledgers.found(settings, sweep) as (ledger, row):
        guess = guessing.guessing_error(row, ledger.trials(row.id)[0].program, settings.data_dir)
        frames = load(ledger, row, ())
        return row, _Results(frames.results, guess, frames.chance)


def _held_to(
    asked: _Asked, margins: Mapping[str, float], more_rules: Sequence[Rule]
) -> tuple[dict[str, float], list[Rule]]:
    """The margins and rules of a spec, with those given on top; a given margin overrides the spec's."""
    margins = {**asked.check.margins, **margins}
    wanted = [*map(read_rule, asked.check.rules), *more_rules]
    named = [rule.arm for rule in wanted if rule.arm] + [name.rpartition(".")[0] for name in margins if "." in name]
    if strange := [arm for arm in named if arm not in asked.arms]:
        known = ", ".join(asked.arms)
        raise OperationError(
            f"margins and rules must name an arm of sweep {asked.sweep!r} ({known}), got {strange[0]!r}"
        )
    return margins, wanted


def _asked(row: SweepRow) -> _Asked:
    """What a sweep's spec requires of the gate. Nothing else is read: a plug-in that the spec names may be gone.

    Raises:
        SpecError: another version of the program wrote it.
    """
    faults = Faults()
    check = shapes.read_shape(Check, row.spec.get("check") or {}, faults)
    faults.raise_if_any(f"sweep {row.name!r}: `check` of its spec in the ledger, written by another version")
    assert check is not None
    return _Asked(sweep=row.name, arms=tuple(row.spec["arms"]), check=check)


def rule(text: str) -> Rule:
    """Parse a rule such as ``spread <= 1.5``.

    Raises:
        OperationError: it is invalid.
    """
    try:
        return read_rule(text)
    except ValueError as error:
        raise OperationError(f"rule {text!r}: {error}") from None


def _baseline(row: SweepRow, results: _Results, error: Statistic) -> Baseline:
    arms = baselines.tables(results.trials, error, results.guessing, results.chance)
    return Baseline(source=row.id, sweep=row.name, spec=baselines.spec_hash(row.spec), error=error, arms=arms)


def _obstacles(before: Baseline, row: SweepRow) -> list[Finding]:
    asked = _asked(row).check.error
    if before.error != asked:
        why = (
            f"the baseline has the {before.error} errors, but the spec's check.error is {asked}; "
            "`abel baseline save` makes a new one"
        )
        return [Finding(arm="", what="error", verdict=Verdict.CANNOT_TELL, why=why)]
    if before.spec == baselines.spec_hash(row.spec):
        return []
    why = (
        f"the baseline belongs to another spec ({before.sweep}, {before.spec}; this is {row.name}, "
        f"{baselines.spec_hash(row.spec)}): program, epochs and arms must match; `abel baseline save` makes a new one"
    )
    return [Finding(arm="", what="spec", verdict=Verdict.CANNOT_TELL, why=why)]


def _compare(
    before: Baseline,
    row: SweepRow,
    results: _Results,
    margins: Mapping[str, float],
    wanted: Sequence[Rule],
) -> list[Finding]:
    try:
        after: Mapping[str, Grid] = _baseline(row, results, before.error).arms
    except ValueError as error:
        return [Finding(arm="", what="trials", verdict=Verdict.CANNOT_TELL, why=str(error))]
    old, new = ({arm: table.settings for arm, table in arms.items()} for arms in (before.arms, after))
    if old != new:
        why = "the baseline must have the arms and settings of its spec; it was edited by hand"
        return [Finding(arm="", what="baseline", verdict=Verdict.CANNOT_TELL, why=why)]
    return checks.noninferior(before.arms, after, margins, wanted)


def margins(given: Sequence[str]) -> dict[str, float]:
    """Parse margins such as ``spread=1.5``.

    Raises:
        OperationError: one is invalid.
    """
    return dict(map(_margin, given))


def _margin(text: str) -> tuple[str, float]:
    name, _, amount = text.partition("=")
    try:
        value = float(amount)
    except ValueError:
        value = math.nan
    if name.rpartition(".")[2] not in MEASURES or math.isnan(value):
        raise OperationError(
            f"margin {text!r}: must be MEASURE=AMOUNT or ARM.MEASURE=AMOUNT, with an amount above 0 and one of "
            f"{', '.join(MEASURES)}"
        )
    if fault := margin_fault(name, value):
        raise OperationError(f"margin {text!r}: {fault}")
    return name, value


def power(settings: Settings, sweep: str, given: Mapping[str, float]) -> tuple[Power, ...]:
    """How often `check` would be right at a sweep's noise level, by number of seeds, for the given margins or the spec's.

    Raises:
        OperationError: the sweep lacks results, seeds or margins, or no margin has a table.
        LedgerError: no such sweep.
    """
    row, results = _results(settings, sweep)
    margins, wanted = _held_to(_asked(row), given, ())
    if not margins:
        raise OperationError(f"sweep {row.name!r}: needs a margin in its spec or as --margin mean=1.5")
    try:
        arms = _baseline(row, results, _asked(row).check.error).arms
        held = checks.limits(arms, margins)
        looks = len(held) + len(checks.bounds(arms, wanted))
        shown = [one for one in held if not given or not given.keys().isdisjoint((one[1], f"{one[0]}.{one[1]}"))]
        found = tuple(powers.verdict_shares(arm, name, arms[arm], margin, looks) for arm, name, margin in shown)
    except ValueError as error:
        raise OperationError(f"sweep {row.name!r}: {error}") from None
    if not any(one.rows for one in found):
        raise OperationError(f"sweep {row.name!r}: {found[0].measure} {found[0].why}")
    return found
