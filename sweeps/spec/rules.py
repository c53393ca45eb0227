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
    if name.rpartition(".")[2] in SHARES and amount >= 1:
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
    if found["measure"] in SHARES and not 0 <= bound <= 1:
        raise ValueError(f"must bound {found['measure']} between 0 and 1, as it is a fraction")
    if bound < 0:
        raise ValueError("must have a bound of at least 0, as no measure is negative")
    return Rule(arm=found["arm"], measure=found["measure"], at_most=found["sign"] == "<=", bound=bound)
