"""Coverage of the bootstrap intervals of `abel study`, by number of workloads and seeds.

    python bench/study.py [--studies 500]

A score is that of its workload, from 0 to 1, plus noise of standard deviation 0.3. The second arm of a pair has errors higher by
0.3. *absent* is the share of probabilities without bounds, as all resamples agree.
"""

import argparse
import math

import numpy as np
from scipy import stats

from sweeps.results.study.aggregates import improvement, iqm

NOISE = SHIFT = 0.3


def coverage(workloads: int, seeds: int, studies: int) -> tuple[float, float, float]:
    """Return the coverage of the IQM, that of the probability of improvement, and the share of these without bounds."""
    draw, levels = np.random.default_rng(20210323), np.linspace(0, 1, workloads)
    whole = stats.trim_mean(
        np.concatenate([stats.norm.ppf(np.linspace(1e-6, 1 - 1e-6, 20001), m, NOISE) for m in levels]), 0.25
    )
    better = stats.norm.cdf(SHIFT / (NOISE * math.sqrt(2)))
    of_means, of_pairs, absent = 0, 0, 0
    for _ in range(studies):
        first, second = (levels[:, None] + NOISE * draw.normal(size=(workloads, seeds)) for _ in range(2))
        found = iqm([row[None] for row in first])
        of_means += found.low <= whole <= found.high
        pair = improvement(list(first), list(second + SHIFT))
        absent += math.isnan(pair.low)
        of_pairs += pair.low <= better <= pair.high
    return of_means / studies, of_pairs / max(1, studies - absent), absent / studies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=500)
    studies = parser.parse_args().studies
    print("workloads  seeds    IQM  improvement  absent")
    for workloads in (2, 5):
        for seeds in (3, 5, 10):
            numbers = coverage(workloads, seeds, studies)
            print(f"{workloads:9}  {seeds:5}  {numbers[0]:.2f}  {numbers[1]:11.2f}  {numbers[2]:6.2f}", flush=True)


if __name__ == "__main__":
    main()
