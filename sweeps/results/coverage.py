"""How often the 95 % interval of each measure covers the true value, at how many seeds: the least over the simulated
grids and noises of `bench/coverage.py`, 2,000 sweeps each. The gate trusts no measure whose interval covers less.
"""

from collections.abc import Mapping

ENOUGH = 0.90
COVERAGE: Mapping[str, Mapping[int, float]] = {  # by measure and number of seeds
    "mean": {2: 0.946, 3: 0.944, 5: 0.944, 10: 0.950},
    "best": {2: 0.993, 3: 0.981, 5: 0.978, 10: 0.969},
    "median": {2: 0.996, 3: 0.996, 5: 0.993, 10: 0.984},
    "worst": {2: 0.990, 3: 0.971, 5: 0.971, 10: 0.955},
    "spread": {2: 0.947, 3: 0.952, 5: 0.965, 10: 0.964},
    "area": {2: 0.961, 3: 0.972, 5: 0.975, 10: 0.973},
    "near": {2: 0.976, 3: 0.985, 5: 0.991, 10: 0.996},
    "diverged": {2: 0.988, 3: 0.999, 5: 0.992, 10: 0.980},
    "decays": {2: 1.0, 3: 0.961, 5: 0.949, 10: 0.951},
}


def trusted(measure: str, seeds: int) -> bool:
    """Whether the measure's interval was seen to cover the truth often enough with as many seeds, or fewer."""
    seen = [covered for count, covered in COVERAGE[measure].items() if count <= seeds]
    return bool(seen) and seen[-1] >= ENOUGH
