from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.errors import Faults
from sweeps.spec.grid import Range, Values, parse_axis, spelled
from sweeps.spec.grid import values as values_of


def axis(
    raw: Any,
) -> Any:
    faults = Faults()
    found = parse_axis(raw, "grid.x", faults)
    faults.raise_if_any("spec")
    return found


def faults_of(raw: Any) -> list[Any]:
    faults = Faults()
    parse_axis(raw, "grid.x", faults)
    return list(faults._found)


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        ([3, 1, 2], [3, 1, 2]),
        ([None, 34.0], [None, 34.0]),
        ([[30, 60], [40]], [[30, 60], [40]]),
        ({"range": [1, 9], "step": 4}, [1, 5, 9]),
        ({"range": [1, 10], "step": 4}, [1, 5, 9]),
        ({"range": [5, 5], "step": 1}, [5]),
        ({"range": [0.1, 0.7], "step": 0.2}, [0.1, 0.3, 0.5, 0.7]),
        ({"range": [-1, 1], "step": 0.5}, [-1.0, -0.5, 0.0, 0.5, 1.0]),
        ({"log": [0.001, 1], "count": 4}, [0.001, 0.01, 0.1, 1.0]),
        ({"log": [1e-300, 1e300], "count": 3}, [1e-300, 1.0, 1e300]),
    ],
)
def test_values_in_order_and_their_count(
    raw: Any,
    values: list[Any],
) -> None:
    found = axis(raw)
    assert list(values_of(found)) == values
    assert [type(value) for value in values_of(found)] == [type(value) for value in values]
    assert found.count == len(values)


@given(low=st.decimals(-1000, 1000, places=3), steps=st.integers(0, 50), step=st.decimals("0.001", 10, places=3))
def test_a_range_is_exact_in_decimal(low: int, steps: int, step: int) -> None:
    high = low + steps * step
    found = Range(range=(float(low), float(high)), step=float(step))
    assert found.count == steps + 1
    assert list(values_of(found)) == [float(low + index * step) for index in range(steps + 1)]


def test_a_huge_range_is_counted_not_made() -> None:
    assert axis({"range": [0, 1], "step": 1e-300}).count == 10**300 + 1
    assert axis({"range": [1, 10**9], "step": 1}).count == 10**9


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        ([], "grid.x: must have at least one value, got []"),
        ([1, 2, 1], "grid.x[2]: must differ from the values before it, got 1"),
        ([{"a": 1}], "grid.x[0]: must be a number, text, true, false, null or a list of these"),
        (3, "grid.x: must be a list of values, {range: [a, b], step: s} or {log: [a, b], count: n}, got 3"),
        ({"rnage": [1, 2]}, "grid.x: must be a list of values"),
        ({"range": [1, 2]}, "grid.x: must have a step next to its range, or a search in its arm"),
        ({"range": [1, 2], "step": None}, "grid.x.step: must be a finite number, got null"),
        ({"range": [1, 2], "step": 0}, "grid.x.step: must be > 0, got 0"),
        ({"range": [1, 2], "step": -1}, "grid.x.step: must be > 0, got -1"),
        ({"range": [2, 1], "step": 1}, "grid.x.range: must not be decreasing, got [2, 1]"),
        ({"range": [1, float("inf")], "step": 1}, "grid.x.range: must be two finite numbers"),
        ({"range": [1, True], "step": 1}, "grid.x.range: must be two finite numbers"),
        ({"range": [1], "step": 1}, "grid.x.range: must be two finite numbers, got [1]"),
        ({"range": [1, 2], "stpe": 1}, "grid.x.stpe: unknown key, did you mean 'step'? (known: range, step)"),
        ({"log": [0, 1], "count": 3}, "grid.x.log: must be positive and increasing, got [0, 1]"),
        ({"log": [1, 1], "count": 3}, "grid.x.log: must be positive and increasing, got [1, 1]"),
        ({"log": [1, 2], "count": 1}, "grid.x.count: must be at least 2, got 1"),
        ({"log": [1, 2], "count": 2.0}, "grid.x.count: must be an integer, got 2.0"),
    ],
)
def test_faults(raw: Any, fault: str) -> None:
    assert any(found.startswith(fault) for found in faults_of(raw)), faults_of(raw)


def test_true_and_1_are_two_values() -> None:
    assert axis([1, True, 1.0]) == Values((1, True, 1.0))


def test_lists_are_spelt_as_text() -> None:
    assert spelled([30, 60]) == "30,60"
    assert spelled(0.5) == 0.5
    assert spelled(None) is None
