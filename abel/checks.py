"""Checks of the numbers that make a schedule: each returns the value as a plain Python number or raises ValueError."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

_F32 = np.finfo(np.float32)


def _fault(name: str, rule: str, value: object) -> ValueError:
    return ValueError(f"{name} must {rule}, got {value!r}")


def _real(value: Any) -> float:
    """Return a number as a float, NaN for anything else and inf for huge integers; no rule admits these."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def learning_rate(name: str, value: Any) -> float:
    """Return a learning rate: finite, positive, and neither 0 nor infinite once rounded to float32."""
    rate = _real(value)
    if not 0 < rate < math.inf:
        raise _fault(name, "be finite and > 0", value)
    if not float(_F32.tiny) <= rate <= float(_F32.max):
        raise _fault(name, f"lie in the range of float32, {_F32.tiny} to {_F32.max}", value)
    return rate


def decay_factor(name: str, value: Any) -> float:
    """Return a decay factor, strictly between 0 and 1."""
    factor = _real(value)
    if not 0 < factor < 1:
        raise _fault(name, "lie in (0, 1)", value)
    return factor


def share(name: str, value: Any) -> float:
    """Return a relative amount: at least 0 and less than 1."""
    amount = _real(value)
    if not 0 <= amount < 1:
        raise _fault(name, "lie in [0, 1)", value)
    return amount


def not_negative(name: str, value: Any) -> float:
    """Return a finite number that is not below 0."""
    number = _real(value)
    if not 0 <= number < math.inf:
        raise _fault(name, "be finite and >= 0", value)
    return number


def fractional_epoch(name: str, value: Any) -> float:
    """Return an epoch that need not be whole, such as 85 % of 90 epochs."""
    epoch = _real(value)
    if not 1 <= epoch < math.inf:
        raise _fault(name, "be finite and >= 1", value)
    return epoch


def whole(name: str, value: Any, *, at_least: int) -> int:
    """Return an integer that is not below `at_least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < at_least:
        raise _fault(name, f"be an integer >= {at_least}", value)
    return int(value)


def increasing_epochs(name: str, value: Any) -> tuple[int, ...]:
    """Return a non-empty, strictly increasing sequence of epochs as a tuple."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise _fault(name, "be a non-empty sequence of epochs", value)
    epochs = tuple(whole(f"{name}[{index}]", epoch, at_least=1) for index, epoch in enumerate(value))
    if any(later <= earlier for earlier, later in zip(epochs, epochs[1:], strict=False)):
        raise _fault(name, "be strictly increasing", value)
    return epochs


def flag(name: str, value: Any) -> bool:
    """Return a bool; 0, 1 and words are refused."""
    if not isinstance(value, bool):
        raise _fault(name, "be true or false", value)
    return value


def function(name: str, value: Any) -> Any:
    """Return what can be called."""
    if not callable(value):
        raise _fault(name, "be a function", value)
    return value


def choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return one of some words."""
    if value not in choices:
        raise _fault(name, f"be one of {', '.join(choices)}", value)
    return str(value)
