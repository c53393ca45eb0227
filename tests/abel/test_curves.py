from typing import Any

import numpy as np
import pytest

from abel.curves import Bounce, bounces

# For each golden trace: the bounces (start, minimum, peak, fall, rise) and whether the curve as a whole bounced.
EXPECTED = {
    "A": ([(1, 4, 7, 5 / 10, 3 / 5)], True),
    "B": ([(1, 3, 5, 4 / 10, 2 / 6), (5, 7, 9, 2 / 8, 2 / 6)], True),
    "C": ([(3, 3, 3, 0.0, 0.0), (7, 7, 7, 0.0, 0.0)], False),
    "D": ([(1, 6, 6, 2 / 10, 0.0)], True),
    "E": ([], False),
    "F": ([(1, 2, 4, 1 / 10, 1 / 9)], True),
    "G": ([(1, 3, 4, 4 / 10, 1 / 6), (4, 5, 6, 0.1 / 7, 0.6 / 6.9), (6, 7, 8, 0.1 / 7.5, 0.6 / 7.4)], True),
}


def test_golden_traces(trace: Any, request: pytest.FixtureRequest) -> None:
    seen = bounces(trace.norms)
    each, bounced = EXPECTED[request.node.callspec.id[0]]
    assert (seen.minima, seen.decays) == (trace.minima, trace.decays)
    assert [tuple(one[:3]) for one in seen.each] == [one[:3] for one in each]
    np.testing.assert_allclose([one[3:] for one in seen.each], [one[3:] for one in each], rtol=1e-9)
    assert seen.bounced is bounced


def test_the_curve_as_a_whole_turns_at_its_lowest_norm() -> None:
    seen = bounces([10, 8, 6, 7, 8, 7.5, 5, 7, 9, 7.9, 7])
    assert seen.whole == Bounce(start=1, minimum=7, peak=9, fall=0.5, rise=0.8)
    assert seen.bounced


@pytest.mark.parametrize(
    ("norms", "whole"),
    [
        ([3.0], (1, 1, 1, 0.0, 0.0)),
        ([3.0, 2.0, 1.0], (1, 3, 3, 2 / 3, 0.0)),
        ([1.0, 2.0], (1, 1, 2, 0.0, 1.0)),
        ([1.0, 4.0, 2.0], (1, 1, 2, 0.0, 3.0)),
        ([4.0, 0.0, 1.0], (1, 2, 3, 1.0, np.inf)),
        ([0.0, 0.0], (1, 1, 1, 0.0, 0.0)),
    ],
)
def test_curves_that_do_not_bounce_and_edges(norms: list[float], whole: tuple[int, int, int, float, float]) -> None:
    assert tuple(bounces(norms).whole) == whole


def test_the_safe_variant_waits_for_a_fall() -> None:
    rising_first = [5, 6, 7, 6, 5, 6, 7, 6.5]
    assert bounces(rising_first).minima[0] == 4
    safe = bounces(rising_first, ignore_until_falling=True)
    assert (safe.minima, safe.decays) == ((6,), (8,))


@pytest.mark.parametrize(
    ("norms", "message"),
    [
        ([], "norms must have at least one epoch, got none"),
        ([1.0, np.nan], "norms must be finite and >= 0, got nan at epoch 2"),
        ([-1.0], "norms must be finite and >= 0, got -1.0 at epoch 1"),
        ([1.0, np.inf], "norms must be finite and >= 0, got inf at epoch 2"),
    ],
)
def test_bad_curves(norms: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bounces(norms)
