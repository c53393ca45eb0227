"""Argument checks of the public API: each returns the value as a plain Python number or raises ValueError.

Zero-dimensional arrays such as `jnp.array(0.1)` count as numbers; values traced by JAX do not.
"""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, TypeVar

T = TypeVar("T")

_SMALLEST, _LARGEST = 2.0**-126, (2 - 2.0**-23) * 2.0**127  # normal numbers of float32


def _fault(name: str, rule: str, value: object) -> ValueError:
    if _is_traced(value):
        return ValueError(
            f"{name} must be known outside of jit and vmap, got a traced value (scale_by_abel accepts them)"
        )
    return ValueError(f"{name} must {rule}, got {value!r}")


def plain(value: Any) -> Any:
    """Return the element of a zero-dimensional array, and anything else unchanged."""
    if type(value) in (int, float, bool, str):  # the array check below takes microseconds
        return value
    is_array = (_is_numpy(value) or _is_jax(value)) and not _is_traced(value)
    return value.item() if is_array and value.ndim == 0 else value


def _is_numpy(value: Any) -> bool:
    """Whether this is an array or a scalar of NumPy, which then is imported: without it, commands start faster."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray | numpy.generic)


def _is_jax(value: Any) -> bool:
    """Whether this is a JAX array. Does not import JAX: a caller with a JAX array already has."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(value, jax.Array)


def _is_traced(value: Any) -> bool:
    return _is_jax(value) and isinstance(value, sys.modules["jax"].core.Tracer)


def _real(value: Any) -> float:
    """Return a number as a float, NaN for anything else and inf for huge integers; every rule rejects these."""
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def number(name: str, value: Any) -> float:
    """Return a number as a float; NaN and infinities are accepted, strings and bools are not."""
    if type(value) is float:
        return value
    found = plain(value)
    if isinstance(found, bool) or not isinstance(found, Real):
        raise _fault(name, "be a number", value)
    return _real(found)


def learning_rate(name: str, value: Any) -> float:
    """Return a learning rate: finite, positive, and neither 0 nor infinite once rounded to float32."""
    rate = _real(value)
    if not 0 < rate < math.inf:
        raise _fault(name, "be finite and > 0", value)
    if not _SMALLEST <= rate <= _LARGEST:
        raise _fault(name, f"lie in the range of float32, {_SMALLEST} to {_LARGEST}", value)
    return rate


def decay_factor(name: str, value: Any) -> float:
    """Return a decay factor, strictly between 0 and 1."""
    factor = _real(value)
    if not 0 < factor < 1:
        raise _fault(name, "lie in (0, 1)", value)
    return factor


def share(name: str, value: Any) -> float:
    """Return a fraction, at least 0 and less than 1."""
    amount = _real(value)
    if not 0 <= amount < 1:
        raise _fault(name, "lie in [0, 1)", value)
    return amount


def not_negative(name: str, value: Any) -> float:
    """Return a finite number >= 0."""
    number = _real(value)
    if not 0 <= number < math.inf:
        raise _fault(name, "be finite and >= 0", value)
    return number


def at_least_one(name: str, value: Any) -> float:
    """Return a finite number >= 1."""
    number = _real(value)
    if not 1 <= number < math.inf:
        raise _fault(name, "be finite and >= 1", value)
    return number


def fractional_epoch(name: str, value: Any) -> float:
    """Return an epoch >= 1 that may be fractional, such as 85 % of 90 epochs."""
    return at_least_one(name, value)


def whole(name: str, value: Any, *, at_least: int) -> int:
    """Return an integer >= `at_least`."""
    found = plain(value)
    if isinstance(found, bool) or not isinstance(found, Integral) or found < at_least:
        raise _fault(name, f"be an integer >= {at_least}", value)
    return int(found)


def increasing_epochs(name: str, value: Any) -> tuple[int, ...]:
    """Return a non-empty, strictly increasing sequence of epochs as a tuple."""
    if not isinstance(value, Sequence) or isinstance(value, str | bytes | bytearray) or not value:
        raise _fault(name, "be a non-empty sequence of epochs", value)
    epochs = tuple(whole(f"{name}[{index}]", epoch, at_least=1) for index, epoch in enumerate(value))
    if any(later <= earlier for earlier, later in zip(epochs, epochs[1:], strict=False)):
        raise _fault(name, "be strictly increasing", value)
    return epochs


def flag(name: str, value: Any) -> bool:
    """Return a bool; 0, 1 and strings are rejected."""
    found = plain(value)
    if not isinstance(found, bool):
        raise _fault(name, "be true or false", value)
    return found


def function(name: str, value: Any) -> Any:
    """Return a callable."""
    if not callable(value):
        raise _fault(name, "be a function", value)
    return value


def choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise _fault(name, f"be one of {', '.join(choices)}", value)
    return str(value)


def instance(name: str, value: Any, kind: type[T], source: str) -> T:
    """Return an instance of `kind`; `source` says where callers get one."""
    if not isinstance(value, kind):
        raise _fault(name, f"be {_article(kind.__name__)}, {source}", value)
    return value


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'AEIOU' else 'a'} {noun}"


def curve(name: str, values: Any) -> list[float]:
    """Return a one-dimensional sequence of numbers, such as a list or an array, as floats."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) != 1:
        raise _fault(name, "be a one-dimensional sequence of numbers", values)
    return [number(f"{name}[{index}]", value) for index, value in enumerate(values)]
