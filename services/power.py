"""How many seeds does a margin need? The gate itself, on simulated sweeps with the noise that a real one showed."""

import math
from collections.abc import Mapping

import numpy as np

from services import check
from services.measures import Floats, Grid
from services.schemas import Power, Verdict

SEEDS = (2, 3, 5, 10)
SWEEPS = 400
LEVELS = ("mean", "best", "median", "worst")


def power(arm: str, name: str, table: Grid, margin: float, looks: int = 1, sweeps: int = SWEEPS) -> Power:
    """The share of each verdict where a measure is as before, or worse by half its margin, by it, and by twice as much.

    Args:
        arm: whose results these are.
        name: a measure of errors.
        table: the arm's results, from which setting means and noise are taken.
        looks: how many measures and arms are checked at once.

    Raises:
        ValueError: one seed, or a measure that is none of errors.
    """
    if name not in (*LEVELS, "spread", "area"):
        raise ValueError(
            f"{name}: must be a measure of errors to have a table of power ({', '.join(LEVELS)}, spread, area)"
        )
    if len(table.seeds) < 2:
        raise ValueError(f"{arm}: must have two seeds or more to know its noise, got one")
    draw = np.random.default_rng(20210323)
    rows: list[tuple[int, float, Mapping[str, float]]] = []
    for seeds in SEEDS:
        for worse in (0.0, margin / 2, margin, 2 * margin):
            given = [_verdict(name, table, worse, margin, seeds, draw, looks) for _ in range(sweeps)]
            rows.append((seeds, worse, {verdict: given.count(verdict) / sweeps for verdict in Verdict}))
    return Power(arm=arm, measure=name, margin=margin, rows=tuple(rows))


def _verdict(
    name: str, table: Grid, worse: float, margin: float, seeds: int, draw: np.random.Generator, looks: int
) -> Verdict:
    means = table.errors.mean(axis=1)
    before = _drawn(table, means, seeds, draw, first_seed=0)
    after = _drawn(table, _worsened(name, means, table.weights, worse), seeds, draw, first_seed=seeds)
    return check.compared("", name, before, after, margin, check.ALPHA / looks).verdict


def _drawn(table: Grid, means: Floats, seeds: int, draw: np.random.Generator, first_seed: int) -> Grid:
    """A sweep with these means, the table's noise, and other seeds."""
    by_seed = table.errors.mean(axis=0)
    left = table.errors - table.errors.mean(axis=1)[:, None] - by_seed + by_seed.mean()
    freedom = max(1, (len(means) - 1) * (len(by_seed) - 1))
    noise = math.sqrt(float(np.square(left).sum()) / freedom)
    common = math.sqrt(max(0.0, float(by_seed.var(ddof=1)) - noise**2 / len(means)))
    errors = means[:, None] + common * draw.normal(size=seeds) + noise * draw.normal(size=(len(means), seeds))
    names = tuple(range(first_seed, first_seed + seeds))
    return Grid(settings=table.settings, seeds=names, errors=errors, decays=np.zeros_like(errors))


def _worsened(name: str, means: Floats, weights: Floats, worse: float) -> Floats:
    """Means whose measure is larger by so much: all of them, the worst, or all but the best."""
    if name in LEVELS:
        return means + worse
    if len(means) == 1:
        raise ValueError(f"{name}: must have two settings or more to be other than 0, got one")
    if name == "spread":
        return np.where(np.arange(len(means)) == means.argmax(), means + worse, means)
    best = means.argmin()
    return np.where(np.arange(len(means)) == best, means, means + worse / (1 - weights[best]))
