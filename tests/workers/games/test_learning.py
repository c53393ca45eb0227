"""Advantages, loss and an update of PPO against a plain transcription in NumPy, in float64."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from workers.games import learning
from workers.games.environment import Environment, ReturnRange
from workers.games.learning import Agent, Learner, Minibatch, Rollout
from workers.models.mlp import Mlp
from workers.models.small_cnn import SmallCnn
from workers.optimizers.adam import Adam

STEPS, AGENTS, ACTIONS, PASSES = 6, 2, 3, 2
SHAPE = (2, 2, 1)
GAME = Environment(
    name="test: nothing",
    shape=SHAPE,
    actions=ACTIONS,
    scale=2.0,
    returns=ReturnRange(low=0.0, high=1.0, random=0.0),
    digest="",
)
NUMBERS = {
    "discount": 0.9,
    "gae_lambda": 0.8,
    "surrogate_clip": 0.1,
    "value_weight": 0.5,
    "entropy_weight": 0.01,
    "l2": 0.0,
    "clip": np.inf,
    **Adam().hyper(),
}
HYPER = {name: jnp.float32(value) for name, value in NUMBERS.items()}


def agent(*, clip_schedule: Literal["rate", "linear", "constant"] = "rate", model: Any = None) -> Agent:
    return Agent(
        environment=GAME,
        model=model or Mlp(width=5, layers=1),
        optimizer=Adam().static(),
        agents=AGENTS,
        actor_steps=STEPS,
        passes=PASSES,
        clip_schedule=clip_schedule,
        clip_loops=4,
        l2_on="all",
    )


first = jax.jit(learning.first_learner, static_argnums=0)
learned = jax.jit(learning.learned, static_argnums=0)


def rollout(seed: int = 0) -> Rollout:
    random, shape = np.random.default_rng(seed), (STEPS + 1, AGENTS)
    return Rollout(
        observations=random.integers(0, 3, (*shape, *SHAPE)).astype(np.uint8),
        actions=random.integers(0, ACTIONS, shape).astype(np.int32),
        log_probs=np.log(random.uniform(0.1, 0.9, shape)).astype(np.float32),
        values=random.normal(size=shape).astype(np.float32),
        rewards=random.normal(size=shape).astype(np.float32),
        scores=np.zeros(shape, np.float32),
        over=random.uniform(size=shape) < 0.3,
    )


def by_hand_advantages(seen: Rollout) -> np.ndarray:
    """From the definition: the sum over later steps of the episode of (discount * lambda)^k times the error of the value."""
    values, over, found = seen.values.astype(float), seen.over, np.zeros((STEPS, AGENTS))
    for step in range(STEPS):
        for one in range(AGENTS):
            factor = 1.0
            for later in range(step, STEPS):
                following = 0.0 if over[later, one] else values[later + 1, one]
                error = seen.rewards[later, one] + NUMBERS["discount"] * following - values[later, one]
                found[step, one] += factor * error
                if over[later, one]:
                    break
                factor *= NUMBERS["discount"] * NUMBERS["gae_lambda"]
    return found


def test_advantages_are_those_of_the_definition() -> None:
    seen = rollout()
    assert seen.over.any()
    found = jax.jit(learning.advantages_of)(seen, HYPER["discount"], HYPER["gae_lambda"])
    np.testing.assert_allclose(found, by_hand_advantages(seen), rtol=1e-5, atol=1e-6)


def by_hand_loss(params: Any, batch: Minibatch, clip: float) -> tuple[float, Any]:
    """The loss of a network with one hidden layer, and its gradient by the chain rule."""
    inputs = batch.observations.reshape(len(batch.actions), -1) / GAME.scale
    before = inputs @ params["dense1"]["kernel"] + params["dense1"]["bias"]
    hidden = np.maximum(before, 0)
    outputs = hidden @ params["head"]["kernel"] + params["head"]["bias"]
    logits, values, rows = outputs[:, :-1], outputs[:, -1], np.arange(len(inputs))
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    probs, one_hot = np.exp(log_probs), np.eye(ACTIONS)[batch.actions]
    ratios = np.exp(log_probs[rows, batch.actions] - batch.log_probs)
    scaled = (batch.advantages - batch.advantages.mean()) / (batch.advantages.std() + 1e-8)
    plain, bounded = ratios * scaled, np.clip(ratios, 1 - clip, 1 + clip) * scaled
    entropies = -(probs * log_probs).sum(1)
    loss = -np.minimum(plain, bounded).mean()
    loss += NUMBERS["value_weight"] * np.square(batch.returns - values).mean()
    loss -= NUMBERS["entropy_weight"] * entropies.mean()
    through = np.where(plain <= bounded, plain, 0.0)[:, None]
    of_logits = -through * (one_hot - probs) + NUMBERS["entropy_weight"] * probs * (log_probs + entropies[:, None])
    of_values = -2 * NUMBERS["value_weight"] * (batch.returns - values)
    of_outputs = np.concatenate([of_logits, of_values[:, None]], 1) / len(inputs)
    of_before = (of_outputs @ params["head"]["kernel"].T) * (before > 0)
    gradient = {
        "dense1": {"kernel": inputs.T @ of_before, "bias": of_before.sum(0)},
        "head": {"kernel": hidden.T @ of_outputs, "bias": of_outputs.sum(0)},
    }
    return float(loss), gradient


def doubled(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def batch_of(seen: Rollout) -> Minibatch:
    advantages = by_hand_advantages(seen)
    return Minibatch(
        observations=seen.observations[:-1].reshape(-1, *SHAPE),
        actions=seen.actions[:-1].reshape(-1),
        log_probs=seen.log_probs[:-1].reshape(-1),
        returns=(advantages + seen.values[:-1]).reshape(-1),
        advantages=advantages.reshape(-1),
    )


def test_loss_and_gradient_are_those_by_hand() -> None:
    learner = first(agent(), HYPER, jax.random.key(0))
    batch = batch_of(rollout())

    @jax.jit
    def found(params: Any) -> Any:
        def loss(params: Any) -> Any:
            return learning.loss_of(agent(), params, batch, jnp.float32(0.1), HYPER)

        return jax.value_and_grad(loss, has_aux=True)(params)

    (loss, terms), gradient = found(learner.params)
    expected, own = by_hand_loss(doubled(learner.params), batch, 0.1)
    assert 0 < terms.clipped < 1
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), gradient, own)


def by_hand_learning(params: Any, seen: Rollout, rates: np.ndarray, orders: np.ndarray) -> tuple[Any, list[float]]:
    """All updates: minibatches in the given orders, and Adam."""
    whole, losses = batch_of(seen), []
    moments = [jax.tree.map(np.zeros_like, params) for _ in range(2)]
    for number, (rate, order) in enumerate(zip(rates, orders, strict=True), start=1):
        clip = 0.1 * rate / rates[:number].max()
        loss, gradient = by_hand_loss(params, Minibatch(*(leaf[order] for leaf in whole)), clip)
        losses.append(loss)
        moments[0] = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], gradient)
        moments[1] = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, moments[1], gradient)
        params = jax.tree.map(
            lambda w, m, v, rate=rate, n=number: (
                w - rate * (m / (1 - 0.9**n)) / (np.sqrt(v / (1 - 0.999**n)) + NUMBERS["eps"])
            ),
            params,
            *moments,
        )
    return params, losses


def test_all_updates_of_a_rollout_are_those_by_hand() -> None:
    learner, seen, key = first(agent(), HYPER, jax.random.key(0)), rollout(), jax.random.key(5)
    rates = np.float32([0.02, 0.04, 0.03, 0.01])
    after, columns = learned(agent(), learner, seen, HYPER, rates, key)
    keys = jax.random.split(key, PASSES)
    orders = np.stack([jax.random.permutation(own, STEPS * AGENTS) for own in keys]).reshape(len(rates), -1)
    assert all(sorted(order) == list(range(STEPS * AGENTS)) for order in orders.reshape(PASSES, -1))
    params, losses = by_hand_learning(doubled(learner.params), seen, rates.astype(float), orders)
    np.testing.assert_allclose(columns.loss, losses, rtol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), after.params, params)
    np.testing.assert_allclose(columns.surrogate_clip, 0.1 * rates / np.maximum.accumulate(rates), rtol=1e-6)
    assert after.highest_rate == np.float32(0.04)


def test_the_clip_stays_where_it_does_not_follow_the_rate() -> None:
    learner = first(agent(), HYPER, jax.random.key(0))
    fixed, rates = agent(clip_schedule="constant"), np.float32([0.02, 0.04, 0.03, 0.01])
    _, columns = learned(fixed, learner, rollout(), HYPER, rates, jax.random.key(5))
    np.testing.assert_array_equal(columns.surrogate_clip, np.full(4, 0.1, np.float32))


def test_a_linear_clip_decays_with_each_update_whatever_the_rate() -> None:
    learner = first(agent(), HYPER, jax.random.key(0))._replace(loops=jnp.int32(2))
    linear, rates = agent(clip_schedule="linear"), np.float32([0.02, 0.04, 0.03, 0.01])
    for shares in ([0.5, 0.4375, 0.375, 0.3125], [0.25, 0.1875, 0.125, 0.0625], np.zeros(4)):
        learner, columns = learned(linear, learner, rollout(), HYPER, rates, jax.random.key(5))
        np.testing.assert_allclose(columns.surrogate_clip, 0.1 * np.asarray(shares), rtol=1e-6)
    assert learner.loops == 5


def test_a_rate_of_zero_leaves_the_clip_and_moves_nothing() -> None:
    learner = first(agent(), HYPER, jax.random.key(0))
    after, columns = learned(agent(), learner, rollout(), HYPER, np.zeros(4, np.float32), jax.random.key(5))
    assert isinstance(after, Learner)
    jax.tree.map(np.testing.assert_array_equal, after.params, learner.params)
    np.testing.assert_array_equal(columns.surrogate_clip, np.full(4, 0.1, np.float32))


def test_a_model_with_batch_statistics_is_refused() -> None:
    own = agent(model=SmallCnn(width=2))
    with pytest.raises(ValueError, match="model 'small_cnn' must have no state besides its parameters"):
        jax.eval_shape(lambda key: learning.first_learner(own, HYPER, key), jax.random.key(0))
