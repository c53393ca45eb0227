"""Rules that a sweep's results must keep, as a spec words them: ``spread <= 1.5``, ``abel.worst <= 20``, ``near >= 0.5``."""

import math
import re
from dataclasses import dataclass

MEASURES = ("mean", "best", "median", "worst", "spread", "area", "near", "diverged", "decays")
SHARES = frozenset({"near", "diverged"})  # the others are points of test error, or numbers of decays
_RULE = re.compile(
    r"(?:(?P<arm>[A-Za-z0-9][A-Za-z0-9._-]*)\.)?(?P<measure>[a-z]+) *(?P<sign><=|>=) *(?P<bound>[-+.0-9eE]+)"
)


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A bound of a measure, for one arm or, where `arm` is None, for each."""

    arm: str | None
    measure: str
    at_most: bool
    bound: float

    @property
    def text(self) -> str:
        """The rule without its arm."""
        return f"{self.measure} {'<=' if self.at_most else '>='} {self.bound:g}"


def margin_fault(name: str, amount: float) -> str:
    """What is wrong with a margin, if anything: ``must …``; `name` may be of one arm, as ``abel.near``."""
    if not 0 < amount < math.inf:
        return f"must have a finite amount above 0 for {name}"
    if name.rpartition(".")[2] in SHARES and amount >= 1:
        return f"must have an amount below 1 for {name}: a share, as 0.2"
    return ""


def read_rule(text: str) -> Rule:
    """Read a rule.

    Raises:
        ValueError: it is none.
    """
    found = _RULE.fullmatch(text.strip())
    if found is None or found["measure"] not in MEASURES:
        raise ValueError(
            f'must be as "spread <= 1.5" or "ARM.worst <= 20", with <= or >= and nothing else, of one of {", ".join(MEASURES)}'
        )
    try:
        bound = float(found["bound"])
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        raise ValueError("must end with a finite number")
    if found["measure"] in SHARES and not 0 <= bound <= 1:
        raise ValueError(f"must bound {found['measure']} within 0 and 1: a share, as 0.2")
    if bound < 0:
        raise ValueError("must have a bound of at least 0, as no measure is less")
    return Rule(arm=found["arm"], measure=found["measure"], at_most=found["sign"] == "<=", bound=bound)
