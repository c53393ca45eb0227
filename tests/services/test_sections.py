"""Tests for `services/sections.py`: what the tables of a report show where there is nothing to show."""

from itertools import product

import numpy as np

from services.measures import Grid, measures
from services.robustness import Robustness
from services.sections import interactions


def arm(name: str, errors: "np.ndarray[tuple[int, int], np.dtype[np.float64]]", seeds: tuple[int, ...]) -> Robustness:
    """An arm over two rates and two factors."""
    settings = tuple((("rate", rate), ("factor", factor)) for rate, factor in product((0.1, 0.2), (0.1, 0.5)))
    table = Grid(settings=settings, seeds=seeds, errors=errors, decays=np.zeros_like(errors))
    return Robustness(arm=name, kind=name, error="minimum", table=table, measures=measures(table))


def test_an_arm_that_guessed_everywhere_has_no_f_and_no_p() -> None:
    shown = interactions([arm("abel", np.full((4, 3), 98.9), (0, 1, 2))])
    assert shown.count("–") == 2 and "0.0" in shown
    assert "nan" not in shown and "inf" not in shown
