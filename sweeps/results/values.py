"""Plain value types of results, and the error of an unreadable baseline, quick to import."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

Scalar = str | int | float | bool | None


class BaselineError(Exception):
    """A baseline file cannot be read, or is not a baseline."""


class Interval(NamedTuple):
    """A value and its confidence bounds; the bounds are NaN for a single seed."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Chance:
    """The errors of trials that have learned nothing, where the ledger records them.

    Args:
        guesses: error of guessing on the data of a trial's program, in percent, by the trial's name; diverged trials have it.
        is_by_hand: whether the range of the metric was chosen by hand, so that only a gain over guessing has a meaning.
    """

    guesses: Mapping[str, float] = field(default_factory=dict)
    is_by_hand: bool = False

    def common(self, trials: Iterable[str], otherwise: float | None) -> float | None:
        """Return the error of guessing of all of these trials; None if it is unknown or they differ in it.

        Args:
            otherwise: that of trials for which the ledger has none; None if unknown.
        """
        found = {self.guesses.get(name, otherwise) for name in trials}
        return found.pop() if len(found) == 1 else None


UNKNOWN_CHANCE = Chance()


class Verdict(StrEnum):
    """The verdict on a measure, or on a sweep."""

    HOLDS = "holds"
    REGRESSED = "regressed"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One comparison or rule that was checked.

    Args:
        arm: its arm; empty for an obstacle to the check.
        what: its measure or rule, or the obstacle.
        before: the baseline's value, with bounds at 95 %; None for a rule.
        change: after minus before, with the bounds that decided.
        limit: the margin, or the bound of a rule.
        why: the verdict in words.
    """

    arm: str
    what: str
    verdict: Verdict
    why: str
    before: Interval | None = None
    after: Interval | None = None
    change: Interval | None = None
    limit: float | None = None


@dataclass(frozen=True, kw_only=True)
class Power:
    """The frequency of each verdict on a measure that got worse by a given amount, by number of seeds before and after."""

    arm: str
    measure: str
    margin: float
    rows: tuple[tuple[int, float, Mapping[str, float]], ...]  # seeds, worse by, share of each verdict
    why: str = ""  # why there are no rows


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One trial: errors by the sweep's metric, in percent, and the epochs after which its schedule decayed the rate."""

    name: str
    arm: str
    seed: int
    settings: Mapping[str, Scalar]
    status: str
    epoch: int
    epochs: int
    minimum_error: float | None
    final_error: float | None
    selected_error: float | None  # at the epoch with the lowest training loss
    decays: tuple[int, ...]
    error: str | None
    failure: str | None  # the class of the last failure, if any
    attempts: int  # number of retries after failures


@dataclass(frozen=True, kw_only=True)
class ArmSummary:
    """One arm at the setting of its grid with the lowest seed-mean minimum error; errors in percent.

    ``settings`` and the errors are None until every seed of at least one setting has finished; ``final_sd`` is the
    sample standard deviation over seeds, None for a single seed. ``decays`` holds the decay epochs at that setting, by seed.
    """

    arm: str
    kind: str
    trials: int
    ended: int
    diverged: int
    failed: int
    cancelled: int
    stopped: int  # at a rung, where other settings were better
    seeds: int
    settings: Mapping[str, Scalar] | None
    minimum_error: float | None
    final_error: float | None
    final_sd: float | None
    decays: tuple[tuple[int, ...], ...]
