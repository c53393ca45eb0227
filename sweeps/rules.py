"""Rules that a sweep's results must keep, as a spec words them: ``spread <= 1.5``, ``abel.worst <= 20``, ``near >= 0.5``."""

import math
import re
from dataclasses import dataclass

MEASURES = ("mean", "best", "median", "worst", "spread", "area", "near", "diverged", "decays")
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


def parse(text: str) -> Rule:
    """Read a rule.

    Raises:
        ValueError: it is none.
    """
    found = _RULE.fullmatch(text.strip())
    if found is None or found["measure"] not in MEASURES:
        raise ValueError(f'must be as "spread <= 1.5" or "ARM.worst <= 20", of one of {", ".join(MEASURES)}')
    try:
        bound = float(found["bound"])
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        raise ValueError("must end with a finite number")
    return Rule(arm=found["arm"], measure=found["measure"], at_most=found["sign"] == "<=", bound=bound)
