"""Algorithm 1 on 10,000 norm sequences, against the paper's text in plain Python. Axes: N sequences, T epochs."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abel import bounce
from abel.plans import Observation
from abel.schedules import Abel, replay
from abel.transform import scale_by_abel

pytestmark = pytest.mark.slow

N, T = 10_000, 16
RATE, LAST_DECAY_EPOCH = 0.1, 12
FACTOR = 0.2
PRECISIONS = (np.float32, np.float64)
RULE = scale_by_abel(RATE, decay_factor=FACTOR, last_decay_epoch=LAST_DECAY_EPOCH, steps_per_epoch=1)


class Outcome(NamedTuple):
    """What Algorithm 1 says of one sequence, epoch by epoch."""

    events: list[int]
    rates: list[float]  # after the epoch


def algorithm_1(w: Sequence[float], factor: float, last_decay_epoch: int | None = None) -> Outcome:
    """Transcribe the paper's listing; differences have the precision of the norms, a product has only its sign."""
    lr, reached_minimum, outcome = RATE, False, Outcome([], [])
    for t in range(1, len(w) + 1):
        event = 0
        if t >= 3:
            d1, d0 = w[t - 1] - w[t - 2], w[t - 2] - w[t - 3]
            if sign(d1) * sign(d0) < 0:
                if reached_minimum:
                    lr, reached_minimum, event = factor * lr, False, 2
                else:
                    reached_minimum, event = True, 1
        if t == last_decay_epoch:
            lr, event = factor * lr, event + 4
        outcome.events.append(event)
        outcome.rates.append(lr)
    return outcome


def sign(number: float) -> float:
    return math.copysign(1.0, number) if number != 0 and not math.isnan(number) else 0.0


def drawn() -> np.ndarray:
    """Norms, f64[N, T]: random and adversarial, a tenth of each kind."""
    draw = np.random.default_rng(210312682)
    shape, epoch = (N // 10, T), np.arange(T)
    turn = draw.integers(1, T, (N // 10, 1))
    kinds = [
        draw.uniform(0, 100, shape),
        draw.integers(0, 3, shape).astype(float),  # ties
        np.repeat(draw.uniform(0, 10, (N // 10, T // 4)), 4, axis=1),  # plateaus
        np.abs(epoch - turn) + draw.normal(0, 0.3, shape),  # falls first, noisy near its minimum
        10.0 - np.abs(epoch - turn) + draw.integers(-1, 2, shape),  # rises first
        5.0 + (-1.0) ** epoch * draw.choice([0.0, 1e-3, 1.0], shape),  # zigzag, with ties
        np.exp(draw.uniform(-60, 60, shape)),  # tiny beside huge
        1e-30 * draw.integers(0, 4, shape),  # a product of two differences underflows
        1e38 * draw.uniform(-3, 3, shape),  # a difference overflows single precision
        1e8
        + draw.integers(0, 24, shape).astype(float),  # near equilibrium: single precision cannot tell them all apart
    ]
    norms = np.concatenate(kinds)
    odd = draw.choice([math.nan, math.inf, -math.inf, 0.0], norms.shape)
    return np.where(draw.uniform(size=norms.shape) < 0.03, odd, norms)


@pytest.fixture(scope="module")
def norms() -> dict[type, np.ndarray]:
    """The sequences in each precision."""
    return {precision: drawn().astype(precision) for precision in PRECISIONS}


@pytest.fixture(scope="module")
def expected(norms: dict[type, np.ndarray]) -> dict[type, np.ndarray]:
    """The events of each sequence, i64[N, T], differences taken in its precision."""
    with np.errstate(all="ignore"):
        return {
            precision: np.array([algorithm_1(list(w), factor=0.5).events for w in norms[precision]])
            for precision in PRECISIONS
        }


def one_by_one(w: Iterable[Any]) -> list[Any]:
    state, events = bounce.init(), []
    for norm in w:
        state, event = bounce.update(state, norm)
        events.append(event)
    return events


def scan(w: jax.Array) -> Any:
    return jax.lax.scan(bounce.update, bounce.init(), w)[1]


def step_by_step(norms_NT: np.ndarray) -> np.ndarray:
    """No jit and no scan: each epoch of all sequences at once."""
    state, columns = jax.tree.map(lambda leaf: jnp.full(N, leaf), bounce.init()), []
    for t in range(T):
        state, events_N = jax.vmap(bounce.update)(state, norms_NT[:, t])
        columns.append(events_N)
    return np.stack(columns, axis=1)


def test_the_sequences_have_what_could_go_wrong(
    norms: dict[type, np.ndarray], expected: dict[type, np.ndarray]
) -> None:
    double = norms[np.float64]
    assert np.isnan(double).sum() > 1000
    assert np.isinf(double).sum() > 1000
    assert np.sum(double[:, 1:] == double[:, :-1]) > 10_000, "ties"
    assert np.any(expected[np.float32] != expected[np.float64]), "precision matters"
    assert {*np.unique(expected[np.float64])} == {bounce.NONE, bounce.MINIMUM, bounce.DECAY}
    assert np.sum(expected[np.float64] == bounce.DECAY) > 10_000


@pytest.mark.parametrize("precision", PRECISIONS)
def test_on_the_host(norms: dict[type, np.ndarray], expected: dict[type, np.ndarray], precision: type) -> None:
    with np.errstate(all="ignore"):
        found = [one_by_one(w) for w in (norms[precision].tolist() if precision is np.float64 else norms[precision])]
    np.testing.assert_array_equal(found, expected[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "run",
    [
        step_by_step,
        jax.jit(jax.vmap(scan)),
        jax.vmap(scan),
        jax.jit(lambda norms_NT: jax.lax.map(scan, norms_NT)),
    ],
    ids=["vmap", "jit, vmap, scan", "vmap, scan", "jit, scan"],
)
def test_on_the_device(
    norms: dict[type, np.ndarray], expected: dict[type, np.ndarray], precision: type, run: Callable[..., Any]
) -> None:
    with jax.enable_x64(precision is np.float64):
        found = run(norms[precision])
    np.testing.assert_array_equal(found, expected[precision])


def held(norm: Any) -> Any:
    """What `scale_by_abel` holds of a norm: in double precision its first 48 bits, two float32."""
    if norm.dtype == np.float32:
        return norm
    high = norm.astype(np.float32)
    low = np.where(np.isfinite(high), norm - high, 0).astype(np.float32)
    return high.astype(np.float64) + low


@pytest.fixture(scope="module")
def told(norms: dict[type, np.ndarray]) -> dict[type, Outcome]:
    """What the transform is to do, a[N, T] each: Algorithm 1 on the norms as it holds them, which are not negative."""
    outcomes = {}
    with np.errstate(all="ignore"):
        for precision in PRECISIONS:
            each = [algorithm_1(list(w), FACTOR, LAST_DECAY_EPOCH) for w in held(np.abs(norms[precision]))]
            outcomes[precision] = Outcome(*(np.array(column) for column in zip(*each, strict=True)))
    return outcomes


def transform_epoch(state: Any, norm: Any) -> tuple[Any, tuple[Any, Any]]:
    """One epoch of one step on the device; what an epoch brought is seen in the first step of the next."""
    _, state = RULE.update(jnp.float32(1), state, weight_norm_sq=norm)
    return state, (state.event, state.learning_rate)


def transform_scan(w: jax.Array) -> Any:
    first = RULE.update(jnp.float32(1), RULE.init(jnp.zeros(1)), weight_norm_sq=w[0])[1]
    return jax.lax.scan(transform_epoch, first, w)[1]


def transform_by_step(norms_NT: np.ndarray) -> tuple[Any, ...]:
    """No jit and no scan: each epoch of all sequences at once."""
    state, columns = jax.vmap(lambda w: RULE.update(w, RULE.init(w), weight_norm_sq=w)[1])(norms_NT[:, 0]), []
    for t in range(T):
        state, column = jax.vmap(transform_epoch)(state, norms_NT[:, t])
        columns.append(column)
    return tuple(np.stack(part, axis=1) for part in zip(*columns, strict=True))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "run",
    [
        transform_by_step,
        jax.jit(jax.vmap(transform_scan)),
        jax.vmap(transform_scan),
        jax.jit(lambda norms_NT: jax.lax.map(transform_scan, norms_NT)),
    ],
    ids=["vmap", "jit, vmap, scan", "vmap, scan", "jit, scan"],
)
def test_events_and_rates_on_the_device(
    norms: dict[type, np.ndarray], told: dict[type, Outcome], precision: type, run: Callable[..., Any]
) -> None:
    with jax.enable_x64(precision is np.float64):
        events, rates = run(np.abs(norms[precision]))
    np.testing.assert_array_equal(events, told[precision].events)
    assert rates.dtype == np.float32
    np.testing.assert_array_max_ulp(np.asarray(rates), np.float32(told[precision].rates), maxulp=1)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_events_and_rates_on_the_device_without_vmap_or_jit(
    norms: dict[type, np.ndarray], told: dict[type, Outcome], precision: type
) -> None:
    # One sequence, as every operation of every step is dispatched by itself: the one with most events.
    number = np.argmax(np.count_nonzero(told[precision].events, axis=1))
    w, epochs = np.abs(norms[precision][number]), []
    with jax.enable_x64(precision is np.float64):
        _, state = RULE.update(jnp.float32(1), RULE.init(jnp.zeros(1)), weight_norm_sq=w[0])
        for norm in w:
            state, seen = transform_epoch(state, norm)
            epochs.append(seen)
    events, rates = (np.array(column) for column in zip(*epochs, strict=True))
    np.testing.assert_array_equal(events, told[precision].events[number])
    np.testing.assert_array_max_ulp(rates, np.float32(told[precision].rates[number]), maxulp=1)


def test_rates_of_the_device_mean_something(told: dict[type, Outcome]) -> None:
    assert len(np.unique(told[np.float64].rates)) > 5
    assert {2, 4, 6} <= {*np.unique(told[np.float64].events)}, "decays, the last decay, and both in one epoch"
    assert np.any(told[np.float32].rates != told[np.float64].rates), "precision matters"


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("factor", [0.5, 0.2])
def test_the_schedule_has_the_paper_s_rates(norms: dict[type, np.ndarray], precision: type, factor: float) -> None:
    schedule = Abel(learning_rate=RATE, decay_factor=factor, last_decay_epoch=LAST_DECAY_EPOCH)
    rates, paper_rates = [], []
    sequences = np.abs(norms[precision])
    for number, w in enumerate(np.where(np.isfinite(sequences), sequences, 1.0)):  # a schedule refuses all others
        told = algorithm_1(w.tolist(), factor, LAST_DECAY_EPOCH)  # a schedule takes the differences in double
        states = replay(schedule, [Observation(norm, train_loss=1.0) for norm in w])[1:]
        assert [state.event for state in states] == told.events
        some = slice(None) if number % 10 == 0 else slice(-1, None)  # planning takes longer than the rest
        rates += [schedule.plan(state, state.epoch + 1, 1, 1).learning_rates[0] for state in states[some]]
        paper_rates += told.rates[some]
    if factor == 0.5:  # whose products are exact
        np.testing.assert_array_equal(rates, np.float32(paper_rates))
    else:
        np.testing.assert_array_max_ulp(np.float32(rates), np.float32(paper_rates), maxulp=1)
