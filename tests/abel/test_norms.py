import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abel import norms


@pytest.fixture
def params() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    return {
        "conv1": {"kernel": draw(3, 3, 1, 4), "bias": draw(4)},
        "blocks": [{"scale": draw(4)}, {"scale": draw(4)}],
        "dense": {"kernel": draw(16, 10)},
    }


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_sums_of_squares_by_path(params: dict[str, Any], transform: Callable[..., Any]) -> None:
    with jax.numpy_rank_promotion("raise"):
        by_path = transform(norms.per_leaf)(params)
    expected = {
        "blocks/0/scale": params["blocks"][0]["scale"],
        "blocks/1/scale": params["blocks"][1]["scale"],
        "conv1/bias": params["conv1"]["bias"],
        "conv1/kernel": params["conv1"]["kernel"],
        "dense/kernel": params["dense"]["kernel"],
    }
    assert by_path.keys() == expected.keys()
    for path, leaf in expected.items():
        assert by_path[path].shape == () and by_path[path].dtype == jnp.float32
        np.testing.assert_allclose(by_path[path], np.sum(leaf.astype(np.float64) ** 2), rtol=1e-6)
    assert norms.total(by_path) == pytest.approx(sum(np.sum(w.astype(np.float64) ** 2) for w in expected.values()))


def test_filter_by_path(params: dict[str, Any]) -> None:
    kernels = jax.jit(partial(norms.per_leaf, where=lambda path: path.endswith("kernel")))(params)
    assert kernels.keys() == {"conv1/kernel", "dense/kernel"}


def test_all_parameters_is_the_default(params: dict[str, Any]) -> None:
    assert norms.per_leaf(params, where=norms.all_parameters) == norms.per_leaf(params)


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_matrices_are_the_leaves_of_more_than_one_dimension(
    params: dict[str, Any], transform: Callable[..., Any]
) -> None:
    by_path = transform(lambda params: norms.per_leaf(params, where=norms.matrices(params)))(params)
    assert by_path.keys() == {"conv1/kernel", "dense/kernel"}


@pytest.mark.parametrize(
    ("pattern", "kept"),
    [
        ("bias", {"conv1/bias"}),
        ("^blocks/[01]/", {"blocks/0/scale", "blocks/1/scale"}),
        ("^(?!.*(bias|scale)$)", {"conv1/kernel", "dense/kernel"}),
    ],
)
def test_paths_that_match_a_pattern(params: dict[str, Any], pattern: str, kept: set[str]) -> None:
    assert norms.per_leaf(params, where=norms.matching(pattern)).keys() == kept


def test_a_pattern_that_is_none() -> None:
    with pytest.raises(ValueError, match=re.escape("pattern must be a regular expression, got '(' (missing )")):
        norms.matching("(")
    with pytest.raises(ValueError, match=r"^pattern must be a regular expression, got None \("):
        norms.matching(None)


def test_half_precision_weights_are_summed_in_single_precision() -> None:
    weights = jnp.full(1000, 1.0078125, jnp.bfloat16)
    (norm_sq,) = norms.per_leaf({"w": weights}).values()
    assert norm_sq.dtype == jnp.float32
    assert float(norm_sq) == pytest.approx(1000 * 1.0078125**2, rel=1e-6)


def test_total_is_double_precision_and_independent_of_order() -> None:
    leaves = {"a": np.float32(1e8), "b": np.float32(1.25), "c": jnp.float32(0.5)}
    assert norms.total(leaves) == 100000001.75
    tenths = {str(index): 0.1 * 2.0**index for index in range(60)}
    assert norms.total(tenths) == norms.total(dict(reversed(tenths.items())))


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_divergence_shows_in_the_total(broken: float) -> None:
    assert np.array_equal(norms.total({"a": np.float32(1.0), "b": np.float32(broken)}), broken, equal_nan=True)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "the weight norm must have at least one parameter, got none that counts"),
        ({"count": np.arange(3)}, "parameters must be floating-point arrays, got int.* at 'count'"),
        ({"a": {"b": np.ones(1)}, "a/b": np.ones(1)}, "paths .* must differ when joined by '/', got 'a/b' twice"),
    ],
)
def test_bad_trees(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        norms.per_leaf(params)


def test_a_filter_that_is_no_function(params: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="^where must be a function, got 'zz'$"):
        norms.per_leaf(params, where="zz")


def test_filter_that_keeps_nothing(params: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least one parameter"):
        norms.per_leaf(params, where=lambda path: path == "conv1.kernel")
