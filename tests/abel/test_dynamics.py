from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from abel import dynamics

RATE, L2 = 0.1, 0.05


def tree(seed: int, scale: float = 1.0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    draw = lambda *shape: (scale * rng.normal(size=shape)).astype(np.float32)  # noqa: E731
    return {"conv": {"kernel": draw(3, 3, 2, 4), "bias": draw(4)}, "blocks": [draw(6), draw(5, 2)]}


def norm_sq(params: Any) -> dict[str, Any]:
    """By path, in double precision."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.sum(np.asarray(leaf, np.float64) ** 2)
        for path, leaf in leaves
    }


def step(params: Any, gradient: Any, rate: Any, l2: float) -> Any:
    """Plain SGD in double precision."""
    shrunk = lambda w, g: (1 - rate * l2) * np.asarray(w, np.float64) - rate * np.asarray(g, np.float64)  # noqa: E731
    return jax.tree.map(shrunk, params, gradient)


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("l2", [0.0, 0.05, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_terms_add_up_to_the_exact_change_of_every_leaf(
    seed: int, l2: float, transform: Callable[..., Any]
) -> None:
    params, gradient = tree(seed), tree(seed + 100, scale=2.0)
    with jax.numpy_rank_promotion("raise"):
        found = transform(dynamics.terms)(params, gradient, jnp.float32(RATE), jnp.float32(l2))
    before, after = norm_sq(params), norm_sq(step(params, gradient, RATE, l2))
    slopes = norm_sq(gradient)
    assert found.keys() == before.keys()
    for path, leaf in found.items():
        assert leaf.growth.shape == () and leaf.growth.dtype == jnp.float32
        exact = after[path] - before[path]
        size = sum(abs(float(term)) for term in leaf)
        assert float(leaf.change) == pytest.approx(exact, abs=3e-6 * size)
        assert float(leaf.growth) == pytest.approx(RATE**2 * slopes[path], rel=1e-5)
        assert float(leaf.decay) == pytest.approx(-2 * RATE * l2 * before[path], rel=1e-5)
        assert float(leaf.approximation + leaf.residual) == pytest.approx(float(leaf.change), abs=1e-6 * size)
    assert l2 == 0 or all(abs(leaf.residual) > 0 for leaf in found.values())


def test_without_l2_the_approximation_is_exact_and_the_ratio_infinite() -> None:
    whole = dynamics.total(dynamics.terms(tree(0), tree(1), RATE, 0.0))
    assert float(whole.residual) == 0 and float(whole.change) == float(whole.approximation)
    assert float(whole.ratio) == np.inf


def test_the_residual_is_of_second_order_in_the_rate() -> None:
    residuals = [dynamics.total(dynamics.terms(tree(0), tree(1), rate, L2)).residual for rate in (1e-2, 1e-3)]
    assert residuals[0] / residuals[1] == pytest.approx(100, rel=1e-3)


def test_leaves_add_up_to_the_whole_and_some_of_them_to_a_layer() -> None:
    by_leaf = dynamics.terms(tree(0), tree(1), RATE, L2)
    whole = dynamics.total(by_leaf)
    flat = lambda params: {"all": np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])}  # noqa: E731
    np.testing.assert_allclose(whole, dynamics.terms(flat(tree(0)), flat(tree(1)), RATE, L2)["all"], rtol=1e-4)
    conv = dynamics.total({path: leaf for path, leaf in by_leaf.items() if path.startswith("conv/")})
    np.testing.assert_allclose(conv, dynamics.total(dynamics.terms(tree(0)["conv"], tree(1)["conv"], RATE, L2)))


def test_the_step_itself_gives_the_exact_change_under_momentum() -> None:
    params, slots = tree(0), jax.tree.map(np.zeros_like, tree(0))
    for seed in range(1, 6):
        gradient = jax.tree.map(lambda g, w: g + np.float32(L2) * w, tree(seed), params)
        slots = jax.tree.map(lambda m, g: np.float32(0.9) * m + g, slots, gradient)
        after = jax.tree.map(lambda w, m: w - np.float32(RATE) * m, params, slots)
        moved = dynamics.displacements(params, after)
        exact = {path: norm - norm_sq(params)[path] for path, norm in norm_sq(after).items()}
        for path, leaf in moved.items():
            assert float(leaf.change) == pytest.approx(exact[path], rel=1e-5, abs=1e-5)
        plain = dynamics.total(dynamics.terms(params, tree(seed), RATE, L2))
        whole = float(dynamics.total(moved).change)
        assert seed == 1 or abs(float(plain.change) - whole) > 0.1 * abs(whole)
        params = after


def test_half_precision_weights_are_measured_in_single_precision() -> None:
    params = {"w": jnp.full(1000, 1.0078125, jnp.bfloat16)}
    found = dynamics.terms(params, params, 1.0, 0.5)["w"]
    assert found.growth.dtype == jnp.float32
    assert float(found.growth) == pytest.approx(1000 * 1.0078125**2, rel=1e-6)


def test_many_strengths_of_l2_at_once() -> None:
    strengths = jnp.float32([0.0, 0.1, 0.2])
    many = jax.jit(jax.vmap(lambda l2: dynamics.total(dynamics.terms(tree(0), tree(1), RATE, l2))))(strengths)
    for index, l2 in enumerate(strengths):
        one = dynamics.total(dynamics.terms(tree(0), tree(1), RATE, l2))
        np.testing.assert_allclose([term[index] for term in many], one, rtol=1e-5, atol=1e-7)


IMAGES = np.random.default_rng(0).normal(size=(8, 6, 6, 2)).astype(np.float32)
TARGETS = np.random.default_rng(1).normal(size=(8, 6, 6, 4)).astype(np.float32)


def batch_normed(params: Any) -> jax.Array:
    """The loss of a convolution with batch norm: the kernel's scale means nothing to it."""
    axes = ("NHWC", "HWIO", "NHWC")
    features = jax.lax.conv_general_dilated(IMAGES, params["kernel"], (1, 1), "SAME", dimension_numbers=axes)
    centred = features - features.mean((0, 1, 2), keepdims=True)
    normed = centred / jnp.sqrt((centred**2).mean((0, 1, 2), keepdims=True))
    return jnp.mean((jnp.tanh(normed) - TARGETS) ** 2)


def kernel(seed: int = 0) -> dict[str, Any]:
    return {"kernel": np.random.default_rng(seed).normal(size=(3, 3, 2, 4)).astype(np.float32)}


def test_before_a_batch_norm_the_gradient_is_orthogonal_to_the_weights() -> None:
    found = dynamics.terms(kernel(), jax.grad(batch_normed)(kernel()), 1.0, 0.1)["kernel"]
    assert float(found.growth) > 1e-4
    assert abs(float(found.alignment)) < 1e-5 * np.sqrt(float(found.growth) * norm_sq(kernel())["kernel"])


def test_without_l2_a_scale_invariant_norm_never_falls() -> None:
    params, gradient = kernel(), jax.jit(jax.grad(batch_normed))
    for _ in range(50):
        after = jax.tree.map(lambda w, g: w - 3.0 * g, params, gradient(params))
        assert float(dynamics.displacements(params, after)["kernel"].change) > 0
        turned = dynamics.rotations(params, after)["kernel"]
        assert float(turned.angle) > 1e-3
        assert float(turned.from_norms) == pytest.approx(float(turned.angle), rel=2e-2)
        params = after


def test_rotation() -> None:
    before = {"a": jnp.float32([3.0, 0.0]), "b": jnp.float32([0.0, 4.0])}
    after = {"a": jnp.float32([3.0, 4.0]), "b": jnp.float32([0.0, 2.0])}
    by_leaf = dynamics.rotations(before, after)
    assert float(by_leaf["a"].angle) == pytest.approx(np.arctan2(4, 3), rel=1e-6)
    assert float(by_leaf["a"].from_norms) == pytest.approx(np.arctan2(4, 3), rel=1e-6)
    assert float(by_leaf["b"].angle) == 0 and np.isnan(by_leaf["b"].from_norms)
    whole = dynamics.rotation(before, after)
    assert float(whole.angle) == pytest.approx(np.arccos(17 / np.sqrt(25 * 29)), rel=1e-6)
    assert float(whole.from_norms) == pytest.approx(np.arcsin(np.sqrt(4 / 29)), rel=1e-6)


@pytest.mark.parametrize("angle", [1e-5, 1e-3, 1.0, 3.1])
def test_small_angles_are_not_lost(angle: float) -> None:
    before, after = {"w": jnp.float32([1.0, 0.0])}, {"w": jnp.float32([np.cos(angle), np.sin(angle)])}
    assert float(dynamics.rotation(before, after).angle) == pytest.approx(angle, rel=1e-3)


def test_the_ratio_is_one_where_the_norm_is_lowest() -> None:
    """Gradients at right angles to the weights that grow in time, as in training: a synthetic bounce."""
    rng, weights = np.random.default_rng(0), np.full(200, 0.5)
    rate, l2, norms, ratios, balances = 0.01, 0.5, [], [], []
    for number in range(600):
        slope = rng.normal(size=200)
        slope -= weights * (slope @ weights) / (weights @ weights)
        slope *= (1 + number / 50) / np.linalg.norm(slope) * 3
        found = dynamics.terms({"w": np.float32(weights)}, {"w": np.float32(slope)}, rate, l2)["w"]
        norms.append(weights @ weights)
        ratios.append(float(found.ratio))
        balances.append(float(found.balance))
        weights = weights - rate * slope - rate * l2 * weights
    lowest = int(np.argmin(norms))
    assert 100 < lowest < 500
    assert max(ratios[: lowest - 2]) < 1 < min(ratios[lowest + 2 :])
    np.testing.assert_allclose(ratios, balances, rtol=1e-3)


def test_relaxation_time() -> None:
    assert dynamics.relaxation_steps(0.1, 5e-4, 0.9) == pytest.approx(1000)
    assert dynamics.relaxation_steps(0.1, 0.0) == np.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dynamics.terms(tree(0), tree(1), -0.1, 0.1), "learning_rate must be finite and >= 0, got -0.1"),
        (lambda: dynamics.terms(tree(0), tree(1), 0.1, jnp.float32(-1)), "l2 must be finite and >= 0, got -1.0"),
        (lambda: dynamics.terms(tree(0), tree(1), np.nan, 0.1), "learning_rate must be finite and >= 0, got nan"),
        (lambda: dynamics.terms(tree(0), tree(1), jnp.ones(2), 0.1), "learning_rate must be finite and >= 0, got"),
        (lambda: jax.jit(lambda p: dynamics.terms(p, p, 0.1, -2.0))(tree(0)), "l2 must be finite and >= 0, got -2.0"),
        (lambda: dynamics.terms(tree(0), tree(1)["conv"], 0.1, 0.1), "gradient must be a pytree like the parameters"),
        (lambda: dynamics.terms({}, {}, 0.1, 0.1), "must have at least one parameter, got none"),
        (
            lambda: dynamics.displacements({"w": np.ones(2)}, {"w": np.ones(3)}),
            r"after must have the shape \(2,\) at 'w', got \(3,\)",
        ),
        (lambda: dynamics.rotation({"n": np.arange(3)}, {"n": np.arange(3)}), "must be floating-point arrays, got int"),
        (lambda: dynamics.total({}), "a total must have at least one part, got none"),
        (lambda: dynamics.relaxation_steps(0.1, 0.1, 1.0), r"momentum must lie in \[0, 1\), got 1.0"),
        (lambda: dynamics.relaxation_steps(0.1, -0.1), "l2 must be finite and >= 0, got -0.1"),
    ],
)
def test_bad_input(call: Callable[..., Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
