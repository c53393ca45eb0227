import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abel import bounce


@pytest.fixture(autouse=True)
def strict_ranks() -> Iterator[None]:
    with jax.numpy_rank_promotion("raise"):
        yield


def events_of(norms: Iterable[float], **options: bool) -> list[Any]:
    state, events = bounce.init(), []
    for norm in norms:
        state, event = bounce.update(state, norm, **options)
        events.append(event)
    return events


def events_expected(trace: Any) -> list[int]:
    return [
        bounce.MINIMUM * (epoch in trace.minima) + bounce.DECAY * (epoch in trace.decays)
        for epoch in range(1, len(trace.norms) + 1)
    ]


def scan(norms: jax.Array) -> tuple[bounce.BounceState, jax.Array]:
    return jax.lax.scan(bounce.update, bounce.init(), norms)


def test_golden_trace_on_python_floats(trace: Any) -> None:
    assert events_of(trace.norms) == events_expected(trace)


def test_golden_trace_under_jit(trace: Any) -> None:
    update = jax.jit(bounce.update)
    state, events = bounce.init(), []
    for norm in trace.norms:
        state, event = update(state, jnp.float32(norm))
        events.append(int(event))
    assert events == events_expected(trace)


def test_golden_traces_in_one_vmapped_scan(traces: Any) -> None:
    longest = max(len(trace.norms) for trace in traces)
    norms_TE = np.full((len(traces), longest), np.nan, np.float32)
    for row, trace in enumerate(traces):
        norms_TE[row, : len(trace.norms)] = trace.norms
    _, events_TE = jax.jit(jax.vmap(scan))(norms_TE)
    for events, trace in zip(events_TE.tolist(), traces, strict=True):
        expected = events_expected(trace)
        assert events == expected + [bounce.NONE] * (longest - len(expected))


def test_python_floats_stay_python_floats() -> None:
    state, event = bounce.update(bounce.init(), 10.0)
    assert [type(value) for value in state] == [float, float, bool, bool]
    assert type(event) is int


def test_double_precision_near_equilibrium() -> None:
    norms = [1e8 + offset for offset in (3, 2, 1, 2, 3)]
    assert events_of(norms) == [0, 0, 0, bounce.MINIMUM, 0]
    assert not np.any(np.diff(np.float32(norms))), "float32 could not tell these norms apart"


def test_tiny_slopes_whose_product_underflows() -> None:
    assert events_of(1e-200 * norm for norm in (3, 2, 1, 2, 3, 2.5)) == [0, 0, 0, bounce.MINIMUM, 0, bounce.DECAY]


@pytest.mark.parametrize("epoch", range(8))
def test_nan_never_makes_an_event(epoch: int) -> None:
    norms = [10.0, 8.0, 9.0, 8.0, 9.0, 8.0, 9.0, 8.0]
    norms[epoch] = math.nan
    events = events_of(norms)
    assert not any(events[epoch : epoch + 3]), "the NaN and the two slopes that it spoils"
    assert any(events), "later norms are seen again"


def test_safe_variant_waits_for_the_first_fall() -> None:
    rises_first = (5, 6, 7, 6, 5, 6, 7, 6.5)
    assert events_of(rises_first) == [0, 0, 0, bounce.MINIMUM, 0, bounce.DECAY, 0, bounce.MINIMUM]
    safe = events_of(rises_first, ignore_until_falling=True)
    assert safe == [0, 0, 0, 0, 0, bounce.MINIMUM, 0, bounce.DECAY]


def test_safe_variant_is_the_paper_where_the_norm_falls_first(trace: Any) -> None:
    if trace.norms[1] < trace.norms[0]:
        assert events_of(trace.norms, ignore_until_falling=True) == events_expected(trace)


def test_both_variants_in_one_vmap() -> None:
    norms = jnp.array([5, 6, 7, 6, 5, 6, 7, 6.5], jnp.float32)

    def events(ignore_until_falling: jax.Array) -> jax.Array:
        step = lambda state, norm: bounce.update(state, norm, ignore_until_falling=ignore_until_falling)  # noqa: E731
        return jax.lax.scan(step, bounce.init(), norms)[1]

    both = jax.vmap(events)(jnp.array([False, True]))
    assert both.tolist() == [[0, 0, 0, 1, 0, 2, 0, 1], [0, 0, 0, 0, 0, 1, 0, 2]]


def test_carry_keeps_its_structure_under_scan() -> None:
    carry, events = jax.eval_shape(scan, jax.ShapeDtypeStruct((5,), jnp.float32))
    assert [leaf.dtype for leaf in carry] == [jnp.float32, jnp.float32, jnp.bool_, jnp.bool_]
    assert all(leaf.shape == () for leaf in carry)
    assert (events.shape, events.dtype) == ((5,), jnp.int32)
    again, _ = jax.eval_shape(lambda state, norms: jax.lax.scan(bounce.update, state, norms), carry, jnp.zeros(5))
    assert [(leaf.shape, leaf.dtype) for leaf in again] == [(leaf.shape, leaf.dtype) for leaf in carry]


def algorithm_1(norms: list[float]) -> list[int]:
    """Transcribe the paper's Algorithm 1 plainly, in exact arithmetic, with the whole history at hand."""
    w = [Fraction(norm) for norm in norms]
    reached_minimum = False
    events = []
    for t in range(len(w)):
        event = bounce.NONE
        if t >= 2 and (w[t] - w[t - 1]) * (w[t - 1] - w[t - 2]) < 0:
            if reached_minimum:
                event = bounce.DECAY
                reached_minimum = False
            else:
                event = bounce.MINIMUM
                reached_minimum = True
        events.append(event)
    return events


any_norm = st.floats(min_value=0, allow_nan=False, allow_infinity=False)
few_levels = st.integers(0, 3).map(float)  # ties and turns are frequent


@given(st.lists(any_norm | few_levels, max_size=30) | st.lists(few_levels, max_size=30))
def test_update_is_algorithm_1(norms: list[float]) -> None:
    assert events_of(norms) == algorithm_1(norms)


compiled_scan = jax.jit(scan)


@given(st.lists(few_levels, min_size=12, max_size=12))
def test_compiled_update_is_algorithm_1(norms: list[float]) -> None:
    assert compiled_scan(np.float32(norms))[1].tolist() == algorithm_1(norms)
