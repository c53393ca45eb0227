"""Coverage of intervals of differences between two arms, and how often equal arms look different.

    python bench/comparison.py [--sweeps 2000]

Two arms are drawn over the same seeds, `error[g, s] = setting[g] + seed[s] + noise[g, s]`, with seeds and noise of standard
deviation 1. The noise is the same for every setting, or grows along the grid from 0.5 to 2; where settings collapse, it is 15 in
the last third of them. *settled* is `sweeps/results/comparison.py`, *pooled* is the same with the noise of all settings pooled,
*plain* takes the best of the unshrunk means, and *left out* chooses the setting for each seed on the other seeds. The last table
shows how often the p of an interaction is below 0.05 for two axes that do not interact.
"""

import argparse
import math
from collections.abc import Callable, Mapping

import numpy as np

from sweeps.results.axes import interaction
from sweeps.results.comparison import COMPARED, quantities
from sweeps.results.confidence import Difference, Floats, Level, Quantity, level
from sweeps.results.grids import Grid

SEEDS = (2, 3, 5, 10)
LEVEL = 20.0
ARMS: dict[str, tuple[Floats, Floats]] = {
    "equal slopes": (np.linspace(0, 2, 5), np.linspace(0, 2, 5)),
    "equal and flat": (np.zeros(5), np.zeros(5)),
    "18 flat, 6 on a slope": (np.zeros(18), np.linspace(0, 3, 6)),
    "18 on a slope, 3 flat": (np.linspace(0, 6, 18), np.zeros(3)),
    "10 in a bowl, one of 5 bad": (np.abs(np.linspace(-3, 3, 10)), np.array([0.0, 0.0, 0.0, 0.0, 3.0])),
    "one, 10 flat": (np.zeros(1), np.zeros(10)),
}
COLLAPSING: dict[str, tuple[Floats, Floats]] = {
    "6 of 18 collapse, 2 of 6": (
        np.array([*np.linspace(0, 4, 12), *[25.0] * 6]),
        np.array([*np.linspace(0, 2, 4), 15.0, 20.0]),
    ),
    "2 of 6 collapse, 2 of 6": (
        np.array([*np.linspace(0, 4, 4), 25.0, 30.0]),
        np.array([*np.linspace(0, 4, 4), 15.0, 20.0]),
    ),
}
Way = Callable[[Grid], Mapping[str, Quantity]]


def grid(errors: Floats) -> Grid:
    settings, seeds = errors.shape
    places = tuple((("x", g),) for g in range(settings))
    return Grid(settings=places, seeds=tuple(range(seeds)), errors=errors, decays=np.zeros_like(errors))


def measures(table: Grid, best: Quantity, worst: Quantity) -> dict[str, Quantity]:
    mean = level(table.weights @ table.errors)
    spread, area = Difference(worst, best, least=0.0), Difference(mean, best, least=0.0)
    return {"best": best, "mean": mean, "worst": worst, "spread": spread, "area": area}


def plain(table: Grid) -> dict[str, Quantity]:
    means = table.errors.mean(axis=1)
    return measures(table, *(level(table.errors[row]) for row in (means.argmin(), means.argmax())))


def pooled(table: Grid) -> dict[str, Quantity]:
    means, seeds = table.errors.mean(axis=1), len(table.seeds)
    left = table.errors - means[:, None] - table.errors.mean(axis=0) + table.errors.mean()
    scatter = float(np.square(left).sum()) / max(1, (len(means) - 1) * (seeds - 1)) / seeds
    keep = math.sqrt(max(0.0, 1 - scatter / float(means.var(ddof=1)))) if len(means) > 1 else 1.0
    drawn = means.mean() + keep * (means - means.mean())
    return measures(table, *(Level(table.errors[row], float(drawn[row])) for row in (means.argmin(), means.argmax())))


def left_out(table: Grid) -> dict[str, Quantity]:
    others, each = table.errors.sum(axis=1, keepdims=True) - table.errors, np.arange(len(table.seeds))
    return measures(
        table, *(level(table.errors[rows, each]) for rows in (others.argmin(axis=0), others.argmax(axis=0)))
    )


WAYS: dict[str, Way] = {"settled": quantities, "pooled": pooled, "plain": plain, "left out": left_out}


def noises(shape: Floats, kind: str) -> Floats:
    if kind == "growing":
        return np.linspace(0.5, 2, len(shape))
    late = np.arange(len(shape)) >= len(shape) * 2 // 3
    return np.where(late, 15.0, 1.0) if kind == "collapsing" else np.ones(len(shape))


def cover(arms: tuple[Floats, Floats], kind: str, seeds: int, sweeps: int) -> dict[str, dict[str, tuple[float, float]]]:
    """Return coverage and bias of each measure's difference, by method."""
    draw = np.random.default_rng(20210323)
    one, other = (plain(grid(LEVEL + np.stack([shape] * 2, axis=1))) for shape in arms)
    truth = {name: one[name].value - other[name].value for name in COMPARED}
    hits = {way: dict.fromkeys(COMPARED, 0) for way in WAYS}
    errors = {way: dict.fromkeys(COMPARED, 0.0) for way in WAYS}
    for _ in range(sweeps):
        common = draw.normal(size=seeds)
        first, second = (
            grid(LEVEL + a[:, None] + common + noises(a, kind)[:, None] * draw.normal(size=(len(a), seeds)))
            for a in arms
        )
        for way, of in WAYS.items():
            here, there = of(first), of(second)
            for name in COMPARED:
                found = Difference(here[name], there[name]).interval()
                hits[way][name] += found.low - 1e-9 <= truth[name] <= found.high + 1e-9
                errors[way][name] += found.value - truth[name]
    return {w: {n: (hits[w][n] / sweeps, errors[w][n] / sweeps) for n in COMPARED} for w in WAYS}


def interactions(seeds: int, sweeps: int) -> dict[str, float]:
    """Return how often two axes that do not interact appear to, by kind of noise."""
    down, across = np.linspace(0, 8, 6)[:, None, None], np.array([0.0, 1.0, 2.0])[:, None]
    kinds = {
        "equal noise": (np.ones((6, 1, 1)), 0.0),
        "growing by row, fourfold": (np.linspace(0.5, 2, 6)[:, None, None], 0.0),
        "rows differ by seed": (np.ones((6, 1, 1)), 2.0),
        "one row without noise": (np.array([1.0, 1, 1, 1, 1, 0])[:, None, None], 0.0),
    }
    alarms = {}
    for name, (noise, own) in kinds.items():
        draw = np.random.default_rng(20210323)
        cubes = (
            down + across + own * draw.normal(size=(6, 1, seeds)) + noise * draw.normal(size=(6, 3, seeds))
            for _ in range(sweeps)
        )
        alarms[name] = sum(interaction(cube).p < 0.05 for cube in cubes) / sweeps
    return alarms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=2000)
    sweeps = parser.parse_args().sweeps
    least = {(way, seeds): dict.fromkeys(COMPARED, 1.0) for way in WAYS for seeds in SEEDS}
    alarms = {seeds: dict.fromkeys(COMPARED, 0.0) for seeds in SEEDS}
    print("settled: coverage (bias)".ljust(58), *(name.rjust(14) for name in COMPARED))
    cases = [(name, arms, kind) for name, arms in ARMS.items() for kind in ("equal", "growing")]
    cases += [(name, arms, "collapsing") for name, arms in COLLAPSING.items()]
    for name, arms, kind in cases:
        for seeds in SEEDS:
            found = cover(arms, kind, seeds, sweeps)
            cells = (f"{hit:.3f} ({bias:+.2f})".rjust(14) for hit, bias in found["settled"].values())
            print(f"{name}, {kind} noise, {seeds} seeds".ljust(58), *cells, flush=True)
            for way in WAYS:
                known = least[way, seeds]
                least[way, seeds] = {each: min(known[each], found[way][each][0]) for each in COMPARED}
            if name.startswith("equal"):
                wrong = {each: 1 - found["settled"][each][0] for each in COMPARED}
                alarms[seeds] = {each: max(alarms[seeds][each], wrong[each]) for each in COMPARED}
    print("\nleast coverage".ljust(59), *(name.rjust(14) for name in COMPARED))
    for (way, seeds), covered in least.items():
        print(f"{way}, {seeds} seeds".ljust(58), *(f"{covered[each]:.3f}".rjust(14) for each in COMPARED))
    print("\nequal arms look different, at most".ljust(59), *(name.rjust(14) for name in COMPARED))
    for seeds, wrong in alarms.items():
        print(f"{seeds} seeds".ljust(58), *(f"{wrong[each]:.3f}".rjust(14) for each in COMPARED))
    print("\naxes that do not interact appear to")
    for seeds in SEEDS:
        print(
            f"{seeds} seeds".ljust(12), *(f"{kind} {share:.3f};" for kind, share in interactions(seeds, sweeps).items())
        )


if __name__ == "__main__":
    main()
