"""How many seeds a margin needs: the gate applied to simulated sweeps with the noise of a real one."""

import math
from collections.abc import Mapping

import numpy as np

from sweeps.results import noninferiority
from sweeps.results.confidence import Floats
from sweeps.results.grids import Grid
from sweeps.results.values import Power, Verdict
from sweeps.spec.measures import MEASURES

SEEDS = (2, 3, 5, 10)
SWEEPS = 400


def verdict_shares(arm: str, name: str, table: Grid, margin: float, looks: int = 1, sweeps: int = SWEEPS) -> Power:
    """Return the share of each verdict if a measure is unchanged, or worse by half its margin, its margin and twice that.

    Args:
        arm: the arm of the results.
        name: a measure of errors.
        table: the arm's results, which give the means of settings and the noise.
        looks: number of comparisons and rules that share the risk of a false alarm.

    Returns:
        No rows, and the reason, if the measure is not one of errors, or is always 0 because there is only one setting.

    Raises:
        ValueError: there is only one seed.
    """
    if len(table.seeds) < 2:
        raise ValueError(f"{arm}: must have two seeds or more to estimate its noise, got one")
    if why := _without(name, len(table.settings)):
        return Power(arm=arm, measure=name, margin=margin, rows=(), why=why)
    draw, noise, means = np.random.default_rng(20210323), _noise(table), table.errors.mean(axis=1)
    rows: list[tuple[int, float, Mapping[str, float]]] = []
    for seeds in SEEDS:
        for worse in (0.0, margin / 2, margin, 2 * margin):
            worsened = _worsened(name, means, table.weights, worse)
            given = []
            for _ in range(sweeps):
                before = _drawn(table, means, noise, range(seeds), draw)
                after = _drawn(table, worsened, noise, range(seeds, 2 * seeds), draw)
                given.append(
                    noninferiority.compared(arm, name, before, after, margin, noninferiority.ALPHA / looks).verdict
                )
            rows.append((seeds, worse, {verdict: given.count(verdict) / sweeps for verdict in Verdict}))
    return Power(arm=arm, measure=name, margin=margin, rows=tuple(rows))


def _without(name: str, settings: int) -> str:
    """Why a measure has no table, if so."""
    of_errors = [known for known, measure in MEASURES.items() if measure.kind in ("level", "difference")]
    if name not in of_errors:
        return f"must be a measure of errors to have a table of power ({', '.join(of_errors)})"
    if MEASURES[name].kind == "difference" and settings == 1:
        return "must have two settings or more to be other than 0, got one"
    return ""


def _noise(table: Grid) -> tuple[float, float]:
    """Return the standard deviations of the seeds' common effects and of the rest."""
    settings, seeds = table.errors.shape
    by_seed = table.errors.mean(axis=0)
    left = table.errors - table.errors.mean(axis=1)[:, None] - by_seed + by_seed.mean()
    rest = math.sqrt(float(np.square(left).sum()) / max(1, (settings - 1) * (seeds - 1)))
    return math.sqrt(max(0.0, float(by_seed.var(ddof=1)) - rest**2 / settings)), rest


def _drawn(table: Grid, means: Floats, noise: tuple[float, float], seeds: range, draw: np.random.Generator) -> Grid:
    """Draw a sweep with these means and this noise."""
    common, rest = noise
    shape = len(means), len(seeds)
    errors = np.clip(means[:, None] + common * draw.normal(size=len(seeds)) + rest * draw.normal(size=shape), 0, 100)
    return Grid(
        settings=table.settings,
        seeds=tuple(seeds),
        errors=errors,
        decays=np.zeros_like(errors),
        diverged=np.zeros_like(errors),
    )


def _worsened(name: str, means: Floats, weights: Floats, worse: float) -> Floats:
    """Means whose measure is larger by so much: all of them, the worst, or all but the best."""
    if MEASURES[name].kind == "level":
        return means + worse
    if name == "spread":
        return np.where(np.arange(len(means)) == means.argmax(), means + worse, means)
    assert name == "area", f"how errors grow by which {name} grows must be said here"
    best = means.argmin()
    return np.where(np.arange(len(means)) == best, means, means + worse / (1 - weights[best]))
