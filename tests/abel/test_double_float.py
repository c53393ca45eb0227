from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abel import double_float
from abel.double_float import DoubleFloat

EPSILON = 2.0**-45
Transform = Callable[[Callable[..., DoubleFloat]], Callable[..., DoubleFloat]]

NAMED: Mapping[str, Transform] = {"eager": lambda f: f, "jit": jax.jit}


@pytest.fixture(params=NAMED.values(), ids=NAMED.keys())
def transform(request: pytest.FixtureRequest) -> Transform:
    chosen: Transform = request.param
    return chosen


def exact(number: DoubleFloat) -> np.ndarray:
    return np.asarray(number.high, np.float64) + np.asarray(number.low, np.float64)


def parts(values: np.ndarray) -> DoubleFloat:
    high = values.astype(np.float32)
    return DoubleFloat(high, (values - high).astype(np.float32))


def draw(seed: int) -> np.ndarray:
    return 2.0 ** np.random.default_rng(seed).uniform(-20, 20, 10_000)


def test_products(transform: Transform) -> None:
    a, b = draw(0), draw(1)
    product = transform(double_float.product)(parts(a), parts(b))
    np.testing.assert_allclose(exact(product), a * b, rtol=EPSILON)
    np.testing.assert_array_equal(product.high, (a * b).astype(np.float32))
    assert np.any(np.float32(a) * np.float32(b) != (a * b).astype(np.float32)), "float32 alone must not do"


def test_quotients(transform: Transform) -> None:
    a, b = np.random.default_rng(2).integers(1, 2**24, (2, 10_000)).astype(np.float32)
    quotient = transform(double_float.quotient)(a, b)
    np.testing.assert_allclose(exact(quotient), a.astype(np.float64) / b, rtol=EPSILON)


def test_a_number_over_itself_is_exactly_one(transform: Transform) -> None:
    a = np.arange(1, 1000, dtype=np.float32)
    quotient = transform(double_float.quotient)(a, a)
    assert np.all(quotient.high == 1) and not np.any(quotient.low)


def test_a_power_does_not_drift(transform: Transform) -> None:
    power, factor = double_float.of(1.0), double_float.of(0.9)
    multiply = transform(double_float.product)
    for _ in range(200):
        power = multiply(power, factor)
    assert exact(power) == pytest.approx(0.9**200, rel=200 * EPSILON, abs=0)


def test_totals_keep_what_float32_loses(transform: Transform) -> None:
    values = [np.float32(value) for value in (1e8, 0.25, -1e8, 3.5, 2.0**-20)]
    total = transform(lambda *leaves: double_float.total_of(leaves))(*map(jnp.float32, values))
    assert exact(total) == 3.75 + 2.0**-20


def test_differences_have_the_right_sign(transform: Transform) -> None:
    difference = transform(lambda a, b: a - b)
    numbers = [double_float.of(1e8 + offset) for offset in (0, 1, 2, 3, 4, 5, 8, 9)]
    for i, a in enumerate(numbers):
        for j, b in enumerate(numbers):
            assert np.sign(difference(a, b)) == np.sign(i - j)


@pytest.mark.parametrize("sign", [1, -1])
def test_an_infinity_is_no_nan(sign: int, transform: Transform) -> None:
    infinite, one = double_float.of(sign * np.inf), double_float.of(1.0)
    total = transform(lambda *leaves: double_float.total_of(leaves))(infinite.high, one.high)
    assert exact(infinite) == exact(total) == transform(lambda a, b: a - b)(infinite, one) == sign * np.inf
    assert exact(double_float.of(sign * 1e300)) == sign * np.inf


def test_nan_stays_nan(transform: Transform) -> None:
    assert np.isnan(exact(transform(lambda leaf: double_float.total_of([leaf]))(jnp.float32(np.nan))))


@pytest.mark.parametrize("value", [1e8 + 3, np.float64(0.1), np.float32(0.1), 3, np.array(1e8 + 3)])
def test_numbers_of_the_host_keep_double_precision(value: Any) -> None:
    assert exact(double_float.of(value)) == pytest.approx(float(value), rel=EPSILON, abs=0)


def test_arrays_keep_what_they_have() -> None:
    for dtype in (jnp.bfloat16, jnp.float32, jnp.int32):
        assert exact(double_float.of(jnp.array(3, dtype))) == 3
    with jax.enable_x64(True):
        assert exact(jax.jit(double_float.of)(jnp.float64(1e8 + 3))) == 1e8 + 3
