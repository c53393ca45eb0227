"""Proximal policy optimisation (Schulman et al., arXiv 1707.06347), as in Flax's PPO example: what is learned from a rollout.

The network gives one output for each action, the logits of the policy, and a last one, the value of the observation.
Axes: T steps, N agents, B batch, A actions, M minibatches; a rollout has T steps that are trained and one more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from workers import update
from workers.contracts import Model, Optimizer
from workers.games.environment import Environment

Tree = Any  # a pytree of arrays
Hyper = dict[str, jax.Array]

_TINY = 1e-8  # added to the standard deviation of advantages


@dataclass(frozen=True, kw_only=True)
class Agent:
    """The static arguments of the compiled functions; equal ones share a compilation."""

    environment: Environment
    model: Model
    optimizer: Optimizer
    agents: int
    actor_steps: int
    passes: int
    clip_schedule: Literal["rate", "linear", "constant"]
    clip_loops: int  # after which a linear clip is 0
    l2_on: Literal["all", "kernels"]


class Learner(NamedTuple):
    """What is trained."""

    params: Tree  # f32
    slots: Tree  # state of the optimiser
    highest_rate: jax.Array  # f32[]: the highest learning rate so far, for a clip that follows the rate
    loops: jax.Array  # i32[]: done so far, for a clip that decays linearly


class Rollout(NamedTuple):
    """What the agents saw and did, arrays of JAX or NumPy; the step after the last that is trained serves for its value alone."""

    observations: Any  # u8[T + 1, N, H, W, C]
    actions: Any  # i32[T + 1, N]
    log_probs: Any  # f32[T + 1, N]: of the actions
    values: Any  # f32[T + 1, N]
    rewards: Any  # f32[T + 1, N]
    scores: Any  # f32[T + 1, N]: as the game counts
    over: Any  # bool[T + 1, N]: the episode ended at this step


class Minibatch(NamedTuple):
    """Steps to learn from, as arrays."""

    observations: Any  # u8[B, H, W, C]
    actions: Any  # i32[B]
    log_probs: Any  # f32[B]: when the actions were chosen
    returns: Any  # f32[B]
    advantages: Any  # f32[B]


class LossTerms(NamedTuple):
    """The parts of the loss, f32[] each."""

    policy_loss: jax.Array
    value_loss: jax.Array
    entropy: jax.Array
    clipped: jax.Array  # share of the steps whose ratio is outside the clip


class UpdateColumn(NamedTuple):
    """What an update measured, f32[] each."""

    loss: jax.Array  # without the penalty
    terms: LossTerms
    surrogate_clip: jax.Array
    grad_norm_sq: jax.Array
    grad_dot_weight: jax.Array


@lru_cache(maxsize=32)
def _graph(model: Model, shape: tuple[int, int, int], outputs: int) -> nnx.GraphDef[nnx.Module]:
    abstract = nnx.eval_shape(lambda: model.build(shape, outputs, nnx.Rngs(0)))
    graph, *states = nnx.split(abstract, nnx.Param, ...)
    if jax.tree.leaves(states[1]):
        rule = "must have no state besides its parameters, such as batch statistics or dropout, where it plays games"
        raise ValueError(f"model {model.kind!r} {rule}")
    return graph


def first_learner(agent: Agent, hyper: Hyper, key: jax.Array) -> Learner:
    """Return what is trained, before the first update.

    Raises:
        ValueError: the model has state besides its parameters.
    """
    shape, outputs = agent.environment.shape, agent.environment.actions + 1
    _graph(agent.model, shape, outputs)
    params = nnx.to_pure_dict(nnx.state(agent.model.build(shape, outputs, nnx.Rngs(key)), nnx.Param))
    return Learner(params, agent.optimizer.transform(hyper).init(params), jnp.float32(0), jnp.int32(0))


def policy_and_values(agent: Agent, params: Tree, observations: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return log-probabilities f32[B, A] of the actions, and values f32[B], of observations u8[B, H, W, C]."""
    graph = _graph(agent.model, agent.environment.shape, agent.environment.actions + 1)
    model: Any = nnx.merge(graph, params, copy=True)
    outputs = model(observations.astype(jnp.float32) / agent.environment.scale)
    return jax.nn.log_softmax(outputs[:, :-1]), outputs[:, -1]


def chosen(agent: Agent, params: Tree, observations: jax.Array, key: jax.Array) -> tuple[jax.Array, ...]:
    """Return drawn actions i32[N], their log-probabilities and the values, f32[N] each."""
    log_probs, values = policy_and_values(agent, params, observations)
    actions = jax.random.categorical(key, log_probs)
    return actions, jnp.take_along_axis(log_probs, actions[:, None], 1)[:, 0], values


def advantages_of(rollout: Rollout, discount: jax.Array, decay: jax.Array) -> jax.Array:
    """Return generalised advantage estimates f32[T, N] (Schulman et al., arXiv 1506.02438); `decay` is lambda.

    Nothing follows the end of an episode, also where a time limit is what ended it: Flax's example masks both ends alike.
    """
    values, alive = rollout.values, 1.0 - rollout.over[:-1]
    deltas = rollout.rewards[:-1] + discount * values[1:] * alive - values[:-1]

    def step(later: jax.Array, given: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        delta, goes_on = given
        found = delta + discount * decay * goes_on * later
        return found, found

    _, advantages = lax.scan(step, jnp.zeros_like(deltas[0]), (deltas, alive), reverse=True)
    return advantages


def loss_of(agent: Agent, params: Tree, batch: Minibatch, clip: jax.Array, hyper: Hyper) -> tuple[jax.Array, LossTerms]:
    """Return the loss of a minibatch and its parts; advantages are normalised within it."""
    log_probs, values = policy_and_values(agent, params, batch.observations)
    taken = jnp.take_along_axis(log_probs, batch.actions[:, None], 1)[:, 0]
    ratios = jnp.exp(taken - batch.log_probs)
    scaled = (batch.advantages - batch.advantages.mean()) / (batch.advantages.std() + _TINY)
    surrogate = jnp.minimum(ratios * scaled, jnp.clip(ratios, 1 - clip, 1 + clip) * scaled)
    terms = LossTerms(
        policy_loss=-surrogate.mean(),
        value_loss=jnp.square(batch.returns - values).mean(),
        entropy=-(jnp.exp(log_probs) * log_probs).sum(1).mean(),
        clipped=(jnp.abs(ratios - 1) > clip).mean(),
    )
    loss = terms.policy_loss + hyper["value_weight"] * terms.value_loss - hyper["entropy_weight"] * terms.entropy
    return loss, terms


def learned(
    agent: Agent, learner: Learner, rollout: Rollout, hyper: Hyper, rates: jax.Array, key: jax.Array
) -> tuple[Learner, UpdateColumn]:
    """Return what is trained after all passes over a rollout, and a column of f32[updates].

    Args:
        rates: f32[updates], equally many in each pass.
        key: of the rollout; every pass has an order of its own.
    """
    advantages = advantages_of(rollout, hyper["discount"], hyper["gae_lambda"])
    steps = Minibatch(
        observations=_flat(rollout.observations),
        actions=_flat(rollout.actions),
        log_probs=_flat(rollout.log_probs),
        returns=(advantages + rollout.values[:-1]).reshape(-1),
        advantages=advantages.reshape(-1),
    )
    count, batches = steps.actions.shape[0], rates.shape[0] // agent.passes
    keys = jax.random.split(key, agent.passes)
    orders = jax.vmap(lambda own: jax.random.permutation(own, count))(keys).reshape(rates.shape[0], count // batches)

    begun = jnp.arange(rates.shape[0]) / rates.shape[0]  # share of the loop before each update

    def one(learner: Learner, given: tuple[jax.Array, ...]) -> tuple[Learner, UpdateColumn]:
        order, rate, share = given
        learner = learner._replace(highest_rate=jnp.maximum(learner.highest_rate, rate))
        clip = hyper["surrogate_clip"] * _clip_share(agent, learner, rate, share)
        return _updated(agent, learner, jax.tree.map(lambda leaf: leaf[order], steps), hyper, rate, clip)

    learner, columns = lax.scan(one, learner, (orders, rates, begun))
    return learner._replace(loops=learner.loops + 1), columns


def _clip_share(agent: Agent, learner: Learner, rate: jax.Array, begun: jax.Array) -> jax.Array | float:
    """Return what the clip is multiplied by at a learning rate, when a share of the loop is `begun`."""
    match agent.clip_schedule:
        case "rate":
            return jnp.where(learner.highest_rate > 0, rate / learner.highest_rate, 1.0)
        case "linear":
            return jnp.maximum(1 - (learner.loops + begun) / agent.clip_loops, 0.0)
        case "constant":
            return 1.0


def _flat(array: Any) -> Any:
    """Return the steps that are trained as one axis, in order of time."""
    return array[:-1].reshape(-1, *array.shape[2:])


def _updated(
    agent: Agent, learner: Learner, batch: Minibatch, hyper: Hyper, rate: jax.Array, clip: jax.Array
) -> tuple[Learner, UpdateColumn]:
    (loss, terms), gradient = jax.value_and_grad(
        lambda params: loss_of(agent, params, batch, clip, hyper), has_aux=True
    )(learner.params)
    params, slots, measured = update.step(
        agent.optimizer, agent.l2_on, hyper, rate, gradient, learner.params, learner.slots
    )
    return learner._replace(params=params, slots=slots), UpdateColumn(loss, terms, clip, *measured)
