"""How often the 95 % interval of each measure covers the true value, at how many seeds: the least over the simulated
grids and noises of `bench/coverage.py`, 2,000 sweeps each. The gate trusts no measure whose interval covers less.
"""

from collections.abc import Mapping

ENOUGH = 0.90
COVERAGE: Mapping[str, Mapping[int, float]] = {  # by measure and number of seeds
    "mean": {2: 0.951, 3: 0.948, 5: 0.944, 10: 0.954},
    "best": {2: 0.993, 3: 0.982, 5: 0.976, 10: 0.967},
    "median": {2: 0.996, 3: 0.996, 5: 0.993, 10: 0.985},
    "worst": {2: 0.990, 3: 0.987, 5: 0.978, 10: 0.955},
    "spread": {2: 0.949, 3: 0.955, 5: 0.964, 10: 0.962},
    "area": {2: 0.963, 3: 0.973, 5: 0.976, 10: 0.976},
    "near": {2: 0.980, 3: 0.987, 5: 0.993, 10: 0.997},
    "diverged": {2: 0.980, 3: 0.963, 5: 0.956, 10: 0.965},
    "decays": {2: 1.0, 3: 0.956, 5: 0.948, 10: 0.944},
}


def trusted(measure: str, seeds: int) -> bool:
    """Whether the measure's interval was seen to cover the truth often enough with as many seeds, or fewer."""
    seen = [covered for count, covered in COVERAGE[measure].items() if count <= seeds]
    return bool(seen) and seen[-1] >= ENOUGH
