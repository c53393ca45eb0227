from typing import NamedTuple

import pytest


class Trace(NamedTuple):
    norms: tuple[float, ...]  # squared weight norm at the end of epochs 1, 2, …
    minima: tuple[int, ...]
    decays: tuple[int, ...]


# What the paper's Algorithm 1 says of each, ties and a norm that rises first included.
TRACES = {
    "A: one bounce": Trace((10, 8, 6, 5, 6, 7, 8, 7.9, 7.5, 7), (5,), (8,)),
    "B: two bounces": Trace((10, 8, 6, 7, 8, 7.5, 6, 7, 8, 7.9, 7), (4, 8), (6, 10)),
    "C: rises first": Trace((5, 6, 7, 6, 5, 6, 7, 6.5), (4, 8), (6,)),
    "D: a tie hides the minimum": Trace((10, 8, 6, 6, 7, 8, 7.5, 7), (7,), ()),
    "E: rises throughout": Trace((1, 2, 3, 4, 5, 6, 7, 8), (), ()),
    "F: minimum at the first chance": Trace((10, 9, 9.5, 10, 9.8, 9.5, 9.4, 9.3), (3,), (5,)),
    "G: noise": Trace((10, 8, 6, 7, 6.9, 7.5, 7.4, 8, 7.9), (4, 6, 8), (5, 7, 9)),
}


@pytest.fixture(params=TRACES.values(), ids=TRACES.keys())
def trace(request: pytest.FixtureRequest) -> Trace:
    return request.param


@pytest.fixture
def traces() -> list[Trace]:
    return list(TRACES.values())
