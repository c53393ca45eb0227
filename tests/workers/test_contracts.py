"""A task's metric as an error in percent of its range, whichever way it is better."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.contracts import Metric

ACCURACY = Metric(name="accuracy", label="accuracy", unit="%", higher_is_better=True, worst=10.0)
MATTHEWS = Metric(name="matthews", label="Matthews correlation", higher_is_better=True, bounds=(-1.0, 1.0), worst=0.0)
ERROR = Metric(name="test_error", label="test error", unit="%", worst=90.0)


@pytest.mark.parametrize(
    ("metric", "value", "error", "worst"),
    [(ERROR, 12.3, 12.3, 90.0), (ACCURACY, 87.5, 12.5, 90.0), (MATTHEWS, 0.5, 25.0, 50.0), (MATTHEWS, 1.0, 0.0, 50.0)],
)
def test_an_error_counts_from_the_best_end_of_the_range(
    metric: Metric, value: float, error: float, worst: float
) -> None:
    assert metric.error(value) == error
    assert metric.error_in(1, {metric.name: value, "another": 0.0}) == error
    assert metric.worst_error == worst


def test_what_is_not_finite_stays_so() -> None:
    assert math.isnan(ACCURACY.error(math.nan))
    assert Metric(name="m", label="m").worst_error is None


def test_columns_and_labels_are_named_after_the_metric() -> None:
    assert [ERROR.column(name) for name in ("minimum", "final", "selected")] == [
        "minimum_test_error",
        "final_test_error",
        "selected_test_error",
    ]
    assert ACCURACY.column("minimum") == "maximum_accuracy"
    assert (ERROR.error_label, ACCURACY.error_label) == ("test error", "100 - accuracy")
    assert MATTHEWS.error_label == "Matthews correlation, distance from the best"


def test_a_metric_that_is_measured_every_few_epochs_has_no_error_in_the_others() -> None:
    rare = replace(ERROR, cadence=3)
    assert [rare.error_in(epoch, {"test_error": 5.0}) for epoch in range(1, 7)] == [None, None, 5.0, None, None, 5.0]
    with pytest.raises(ValueError, match="metric test_error: cadence must be at least 1, got 0"):
        replace(ERROR, cadence=0)


@given(epochs=st.integers(0, 5000), most=st.integers(1, 600), cadence=st.integers(1, 40))
def test_spaced_epochs_are_few_and_have_the_measurements_or_are_some_of_them(
    epochs: int, most: int, cadence: int
) -> None:
    metric = replace(ERROR, cadence=cadence)
    found = metric.spaced(epochs, most)
    measured = [epoch for epoch in range(1, epochs + 1) if metric.is_measured(epoch)]
    assert len(found) <= most
    assert set(measured) <= set(found) or set(found) <= set(measured)
    assert not measured or measured[0] in found
    assert cadence > 1 or not epochs or found[0] == 1


@pytest.mark.parametrize("bounds", [(0.0, math.inf), (1.0, 1.0), (math.nan, 1.0)])
def test_a_range_without_ends_is_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="metric m: bounds must be two finite numbers, the first smaller"):
        Metric(name="m", label="m", bounds=bounds)
