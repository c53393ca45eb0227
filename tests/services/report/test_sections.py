"""Tests for `services/report/sections.py`: what the tables of a report show where there is nothing to show."""

from itertools import product

import numpy as np

from services.report.sections import comparisons_section, interactions_section
from sweeps.results.grids import Grid
from sweeps.results.measures import Floats, measures
from sweeps.results.robustness_tables import Robustness

NOISE = np.random.default_rng(0).normal(20, 1, (4, 4, 3))  # of four arms


def arm(name: str, errors: Floats, seeds: tuple[int, ...]) -> Robustness:
    """An arm over two rates and two factors."""
    settings = tuple((("rate", rate), ("factor", factor)) for rate, factor in product((0.1, 0.2), (0.1, 0.5)))
    table = Grid(settings=settings, seeds=seeds, errors=errors, decays=np.zeros_like(errors))
    return Robustness(arm=name, kind=name, error="minimum", table=table, measures=measures(table), metric="test error")


def test_an_arm_that_guessed_everywhere_has_no_f_and_no_p() -> None:
    shown = interactions_section([arm("abel", np.full((4, 3), 98.9), (0, 1, 2))])
    assert shown.count("–") == 2 and "0.0" in shown
    assert "nan" not in shown and "inf" not in shown


def test_arms_without_a_seed_in_common_are_named_and_the_others_compared() -> None:
    names = ("one: abel", "one: step", "two: abel", "two: step")
    arms = [
        arm(name, errors, (0, 1, 2) if name.startswith("one") else (3, 4, 5))
        for name, errors in zip(names, NOISE, strict=True)
    ]
    shown = comparisons_section(arms)
    assert shown.count("<td>one: step</td>") == 5 and "<td>two: " not in shown
    assert "one: abel is not compared with two: abel, two: step: they share no seed." in shown
    assert comparisons_section(arms[::2]).count("is not compared with two: abel") == 1
    assert "<table" not in comparisons_section(arms[::2])
    assert "not compared" not in comparisons_section(arms[:2])
    assert comparisons_section(arms[:1]) == ""
