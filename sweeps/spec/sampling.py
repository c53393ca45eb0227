"""Sampling of settings from an arm's axes, instead of training all their combinations.

    grid: {schedule.learning_rate: {log: [0.01, 1.0]}, schedule.decay_epoch: {range: [1, 39], step: 1}}
    search: {kind: sobol, samples: 16, seed: 0}

The settings form a sequence that depends only on axes, kind and seed. Increasing `samples` extends the sequence, so only the
new settings need training. Duplicates are skipped.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sweeps.spec.grid import Axis, Between, LogInterval
from sweeps.spec.sections import Search

if TYPE_CHECKING:
    import numpy as np

MOST_VALUES = 2**31  # of an axis with a list of values or a step
Draws = Iterator[dict[str, Any]]


def sampled(axes: Mapping[str, Axis], search: Search) -> Draws:
    """Yield distinct settings by axis name; fewer than `search.samples` if there appear to be no more."""
    draws = _random(axes, search.seed) if search.kind == "random" else _sobol(axes, search)
    seen: set[str] = set()
    # Drawing all of n settings takes about n ln(n) draws, and n is at most 100,000.
    for settings in itertools.islice(draws, 1000 + 20 * search.samples):
        if (key := repr(settings)) not in seen:
            seen.add(key)
            yield settings
        if len(seen) == search.samples:
            return


def _random(axes: Mapping[str, Axis], seed: int) -> Draws:
    """Yield independent draws from Ray Tune's domains."""
    import numpy as np

    generator = np.random.default_rng(seed)
    samplers = {name: _sampler(axis, generator) for name, axis in axes.items()}
    while True:
        yield {name: draw() for name, draw in samplers.items()}


def _sampler(axis: Axis, generator: np.random.Generator) -> Callable[[], Any]:
    from ray import tune  # takes seconds to import

    if isinstance(axis, Between):
        domain = (tune.loguniform if isinstance(axis, LogInterval) else tune.uniform)(*axis.ends)
        return lambda: axis.rounded(float(domain.sample(random_state=generator)))
    indices = tune.randint(0, axis.count)
    return lambda: axis.value(int(indices.sample(random_state=generator)))


def _sobol(axes: Mapping[str, Axis], search: Search) -> Draws:
    """Yield points of a scrambled Sobol sequence, which are spread more evenly than random ones."""
    from scipy.stats import qmc  # takes seconds to import

    engine = qmc.Sobol(d=len(axes), rng=search.seed)
    block = 2 ** (search.samples - 1).bit_length()  # the sequence is balanced over powers of two
    while True:
        for point in engine.random(block).tolist():
            yield {name: _at(axis, share) for (name, axis), share in zip(axes.items(), point, strict=True)}


def _at(axis: Axis, share: float) -> Any:
    return axis.at(share) if isinstance(axis, Between) else axis.value(int(share * axis.count))
