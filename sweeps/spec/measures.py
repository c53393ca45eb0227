"""The measures of robustness, and the rules on them in a spec: ``spread <= 1.5``, ``abel.worst <= 20``, ``near >= 0.5``."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

NEAR_POINTS = 1.0  # within so many points of the best a setting is near it


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a measure says of an arm; :mod:`sweeps.results.measures` computes it.

    A level is an error in percent, a difference one in points, a share is of the settings or trials, a count of decays.
    One that praises flatness says nothing of an arm whose settings are equally bad.
    """

    meaning: str
    kind: Literal["level", "difference", "share", "count"]
    better: Literal["less", "more", "neither"] = "less"
    praises_flatness: bool = False


# In the order in which reports list them. A new one also needs its estimate and its coverage in `sweeps.results.measures`.
MEASURES: Mapping[str, Measure] = {
    "mean": Measure(meaning="over the grid", kind="level"),
    "best": Measure(meaning="setting", kind="level"),
    "median": Measure(meaning="setting", kind="level"),
    "worst": Measure(meaning="setting", kind="level"),
    "spread": Measure(meaning="worst minus best", kind="difference", praises_flatness=True),
    "area": Measure(meaning="mean above the best", kind="difference", praises_flatness=True),
    "near": Measure(
        meaning=f"share within {NEAR_POINTS:g} point of the best", kind="share", better="more", praises_flatness=True
    ),
    "diverged": Measure(meaning="share of trials", kind="share"),
    "decays": Measure(meaning="of a trial", kind="count", better="neither"),
}
_RULE = re.compile(
    r"(?:(?P<arm>[A-Za-z0-9][A-Za-z0-9._-]*)\.)?(?P<measure>[a-z]+) *(?P<sign><=|>=) *(?P<bound>[-+.0-9eE]+)"
)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A bound on a measure of one arm, or of each arm if `arm` is None."""

    arm: str | None
    measure: str
    at_most: bool
    bound: float

    @property
    def text(self) -> str:
        """The rule without its arm."""
        return f"{self.measure} {'<=' if self.at_most else '>='} {self.bound:g}"


def margin_fault(name: str, amount: float) -> str:
    """Return the fault of a margin as ``must …``, or an empty string; `name` may be of one arm, such as ``abel.near``."""
    if not 0 < amount < math.inf:
        return f"must have a finite amount above 0 for {name}"
    if MEASURES[name.rpartition(".")[2]].kind == "share" and amount >= 1:
        return f"must have an amount below 1 for {name}, which is a fraction"
    return ""


def read_rule(text: str) -> Rule:
    """Parse a rule.

    Raises:
        ValueError: the text is not a rule; the message starts with ``must``.
    """
    found = _RULE.fullmatch(text.strip())
    if found is None or found["measure"] not in MEASURES:
        raise ValueError(
            f'must look like "spread <= 1.5" or "ARM.worst <= 20", with <= or >=, for one of {", ".join(MEASURES)}'
        )
    try:
        bound = float(found["bound"])
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        raise ValueError("must end with a finite number")
    if MEASURES[found["measure"]].kind == "share" and not 0 <= bound <= 1:
        raise ValueError(f"must bound {found['measure']} between 0 and 1, as it is a fraction")
    if bound < 0:
        raise ValueError("must have a bound of at least 0, as no measure is negative")
    return Rule(arm=found["arm"], measure=found["measure"], at_most=found["sign"] == "<=", bound=bound)
