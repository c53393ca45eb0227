"""ABEL as an optax transform for jitted steps, and schedules that depend only on the epoch as `optax.Schedule`; needs optax.

The first step of epoch t + 1 receives the weights at the end of epoch t. It observes their norm before it scales its
updates, so it already uses the decayed rate, exactly as `abel.Abel` plans. The norm of the initial weights is not observed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from abel import bounce, checks, double_float, norms, rates
from abel.baselines import GrowBatch, Timed
from abel.double_float import DoubleFloat
from abel.plans import Event, Observation, Schedule
from abel.schedules import last_epoch_named

__all__ = ["ScaleByAbelState", "as_optax", "scale_by_abel"]

Scalar = Any  # a number or a scalar array, traced or not

# decay_factor**decays is stored scaled up by this factor, so its low part does not underflow before the rate does.
_SCALE: Final = 2.0**40


class ScaleByAbelState(NamedTuple):
    """State of `scale_by_abel`: three arrays instead of a dozen, as each costs every step a few microseconds."""

    learning_rate: jax.Array  # f32[], rate of the last step; before any step, of the first one
    counts: jax.Array  # i32[6], finished epochs, steps since, decays, event, reached_minimum, has_fallen
    memory: jax.Array  # f32[3, 2], DoubleFloat each: last norm, the norm before it, decay_factor**decays * 2**40

    @property
    def epoch(self) -> jax.Array:
        """Epochs whose end has been observed, i32[]."""
        return self.counts[..., 0]

    @property
    def step(self) -> jax.Array:
        """Steps since the last observed end of an epoch, i32[]."""
        return self.counts[..., 1]

    @property
    def decays(self) -> jax.Array:
        """Decays so far, i32[]."""
        return self.counts[..., 2]

    @property
    def event(self) -> jax.Array:
        """Events at the last observed end of an epoch, flags of `abel.Event`, i32[]."""
        return self.counts[..., 3]

    @property
    def weight_norm_sq(self) -> jax.Array:
        """The last observed squared norm, NaN before the first, f32[]."""
        return self.memory[..., 0, 0]


def scale_by_abel(
    learning_rate: Scalar,
    *,
    decay_factor: Scalar,
    last_decay_epoch: Scalar | None,
    steps_per_epoch: Scalar,
    warmup_epochs: Scalar = 0,
    ignore_until_falling: Scalar = False,
    where: Callable[..., bool] | None = None,
    flip_sign: bool = True,
) -> optax.GradientTransformationExtraArgs:
    """Multiply updates by minus the rate of `abel.Abel` (paper, Algorithm 1), counting epochs in steps.

    The rate is `learning_rate * decay_factor**decays * min(1, epochs_passed / warmup_epochs)`. Put the transform last in a
    chain of transforms that keep the gradient's sign, instead of `optax.scale_by_learning_rate`, whose sign convention it
    follows. A complete optimiser such as `optax.sgd` has its own rate and has already flipped the sign; after it, the
    default would ascend. `abel.optimizers.with_abel` combines the two correctly.

    Here an epoch is one step, and the weights are set by hand:

    >>> rule = scale_by_abel(0.5, decay_factor=0.25, last_decay_epoch=None, steps_per_epoch=1)
    >>> optimizer = optax.chain(optax.trace(decay=0.9), rule)
    >>> state = optimizer.init(jnp.zeros(1))
    >>> for weight in [9.9, 3.0, 2.0, 3.0, 4.0, 3.5]:
    ...     updates, state = optimizer.update(jnp.ones(1), state, jnp.full(1, weight))
    ...     abel = state[-1]
    ...     print(int(abel.epoch), float(abel.weight_norm_sq), Event(int(abel.event)).name, float(abel.learning_rate))
    0 nan NONE 0.5
    1 9.0 NONE 0.5
    2 4.0 NONE 0.5
    3 9.0 MINIMUM 0.5
    4 16.0 NONE 0.5
    5 12.25 DECAY 0.125

    `update` needs the parameters, or their squared norm before this update as `weight_norm_sq=`, f[]. Pass the norm if
    you have it already, or if this transform sees only some of the parameters (under `optax.partition`, `optax.masked`,
    `jax.shard_map`). For arrays sharded under `jit` the norm is that of the whole array. Only the first step of an epoch
    reads the norm.

    Rates are within one unit in the last place of those that `abel.Abel` plans from the same norms. The norm is the
    48-bit sum of `abel.norms.per_leaf`, whose sums over a leaf are float32, or float64 for a float64 leaf.

    Every number may be a traced scalar, so a function of hyperparameters that builds, initialises and updates the
    transform can be vmapped. Traced values are not checked, and are float32 unless they are float64.

    Args:
        learning_rate: base rate, reached at the end of the warm-up; below 2**80.
        decay_factor: factor of each decay, in the paper as for the step-wise reference: 0.2 for CIFAR, 0.1 elsewhere.
        last_decay_epoch: the epoch of the forced decay, rounded up; None for never (infinity if traced).
        steps_per_epoch: updates in an epoch; with `optax.MultiSteps`, updates of the optimiser, not mini-batches.
        warmup_epochs: length of the linear warm-up; its norms are ignored, as they say nothing about equilibration.
        ignore_until_falling: ignore bounces until the norm has fallen once; the paper counts them.
        where: selects the parameters that count, as in `abel.norms.per_leaf`; by default all.
        flip_sign: multiply by minus the rate, for updates that point uphill like gradients; False after an optimiser
            with a rate of 1.
    """
    rule = _Abel(
        _number(_rate_in_range, "learning_rate", learning_rate),
        _number(checks.decay_factor, "decay_factor", decay_factor),
        _last_epoch(last_decay_epoch),
        _number(partial(checks.whole, at_least=1), "steps_per_epoch", steps_per_epoch),
        _number(partial(checks.whole, at_least=0), "warmup_epochs", warmup_epochs),
        _number(checks.flag, "ignore_until_falling", ignore_until_falling),
        where if where is None else checks.function("where", where),
        checks.flag("flip_sign", flip_sign),
    )
    return optax.GradientTransformationExtraArgs(rule.init, rule.update)


@dataclass(frozen=True)
class _Abel:
    """The checked arguments of `scale_by_abel`."""

    learning_rate: Scalar
    decay_factor: Scalar
    last_decay_epoch: Scalar | None
    steps_per_epoch: Scalar
    warmup_epochs: Scalar
    ignore_until_falling: Scalar
    where: Callable[..., bool] | None
    flip_sign: bool

    def init(self, params: Any) -> ScaleByAbelState:
        """Return the state before the first step; raise if the parameters have no norm."""
        jax.eval_shape(self._norm, params)
        counts, never = jnp.zeros(6, jnp.int32), double_float.of(jnp.nan)
        memory = jnp.array([never, never, double_float.of(_SCALE)])
        return ScaleByAbelState(self._rate(counts, memory), counts, memory)

    def update(
        self, updates: Any, state: ScaleByAbelState, params: Any = None, *, weight_norm_sq: Any = None, **_: Any
    ) -> tuple[Any, ScaleByAbelState]:
        """Scale the updates of one step; the first step of an epoch first observes the end of the epoch before."""
        state = checks.instance("state", state, ScaleByAbelState, "from init or the last update")
        if weight_norm_sq is None:
            norm = partial(self._norm, _checked_params(params, updates))
        else:
            norm = partial(double_float.of, _checked_norm(weight_norm_sq))
        counts, memory = state.counts, state.memory
        ended = counts[1] >= self.steps_per_epoch
        counts, memory = jax.lax.cond(ended, lambda: self._observe(counts, memory, norm()), lambda: (counts, memory))
        rate = self._rate(counts, memory)
        factor = -rate if self.flip_sign else rate
        scaled = jax.tree.map(lambda update: factor.astype(jnp.result_type(update)) * update, updates)
        return scaled, ScaleByAbelState(rate, counts.at[1].add(1), memory)

    def _norm(self, params: Any) -> DoubleFloat:
        return double_float.total_of(norms.per_leaf(params, self.where).values())

    def _observe(self, counts: jax.Array, memory: jax.Array, norm: Any) -> tuple[jax.Array, jax.Array]:
        """Return counts and memory after the end of an epoch: `Abel.update` on arrays."""
        epoch, _, decays, _, reached_minimum, has_fallen = counts
        previous, before_previous, power = (DoubleFloat(*parts) for parts in memory)
        before = bounce.BounceState(previous, before_previous, reached_minimum > 0, has_fallen > 0)  # type: ignore[arg-type]
        after, event = bounce.update(before, norm, ignore_until_falling=self.ignore_until_falling)
        epoch += 1
        observed = epoch > self.warmup_epochs
        after = jax.tree.map(partial(jnp.where, observed), after, before)
        event = jnp.where(observed, event, bounce.NONE)
        last = epoch == (-1 if self.last_decay_epoch is None else self.last_decay_epoch)
        for decayed in (event == bounce.DECAY, last):
            decays += decayed
            smaller = double_float.product(power, double_float.of(self.decay_factor))
            power = jax.tree.map(partial(jnp.where, decayed), smaller, power)
        event += int(Event.LAST_DECAY) * last
        counts = jnp.array([epoch, 0, decays, event, after.reached_minimum, after.has_fallen], jnp.int32)
        return counts, jnp.array([after.previous, after.before_previous, power])

    def _rate(self, counts: jax.Array, memory: jax.Array) -> jax.Array:
        """Return the rate of the next step, f32[]: the formula of `abel.rates`, rounded to float32 at the end."""
        epoch, step, power = counts[0], counts[1], DoubleFloat(*memory[2])
        warmup_steps = jnp.asarray(self.warmup_epochs * self.steps_per_epoch, jnp.int32)
        steps = jnp.minimum(epoch, self.warmup_epochs) * self.steps_per_epoch + step
        # Without a warm-up the divisor would be 0; the quotient is unused then.
        shape = double_float.quotient(*(jnp.float32(n) for n in (steps, jnp.maximum(warmup_steps, 1))))
        warm = jax.tree.map(partial(jnp.where, steps < warmup_steps), double_float.product(power, shape), power)
        return double_float.product(warm, double_float.of(self.learning_rate)).high / _SCALE


def _number(check: Callable[[str, Any], Any], name: str, value: Any) -> Scalar:
    """Return a checked number, or a traced one unchecked."""
    if np.shape(value) != ():
        raise ValueError(f"{name} must be a scalar (vmap over several), got shape {np.shape(value)}")
    if isinstance(value, jax.core.Tracer):
        return value
    return check(name, checks.plain(value))


def _rate_in_range(name: str, value: Any) -> float:
    rate = checks.learning_rate(name, value)
    if rate >= 2.0**80:
        raise ValueError(f"{name} must be < 2**80, got {value!r}")
    return rate


def _last_epoch(value: Any) -> Scalar | None:
    if value is None:
        return None
    epoch = _number(checks.fractional_epoch, "last_decay_epoch", value)
    if isinstance(epoch, jax.core.Tracer):
        return jnp.maximum(1, jnp.ceil(epoch * (1 - 1e-6)))  # 0.55 * 100 in float32 may exceed 55, but 55 is meant
    return rates.rounded_up(epoch)


def _checked_params(params: Any, updates: Any) -> Any:
    if params is None:
        raise ValueError("params (or weight_norm_sq) must be passed to update, as ABEL observes their norm, got None")
    structure: Any = jax.tree.structure(params)
    like: Any = jax.tree.structure(updates)
    if structure != like:
        raise ValueError(f"params must be a pytree like the updates, {like}, got {structure}")
    shapes, expected = ([jnp.shape(leaf) for leaf in jax.tree.leaves(tree)] for tree in (params, updates))
    if shapes != expected:
        raise ValueError(f"params must have leaves of the same shapes as the updates, {expected}, got {shapes}")
    return params


def _checked_norm(weight_norm_sq: Any) -> Any:
    if np.shape(weight_norm_sq) != ():
        raise ValueError(f"weight_norm_sq must be a scalar, got shape {np.shape(weight_norm_sq)}")
    if not isinstance(weight_norm_sq, jax.core.Tracer) and checks.number("weight_norm_sq", weight_norm_sq) < 0:
        raise ValueError(f"weight_norm_sq must be >= 0, got {weight_norm_sq!r}")
    return weight_norm_sq


def as_optax(schedule: Schedule, steps_per_epoch: int) -> optax.Schedule:
    """Return a schedule that depends only on the epoch as an `optax.Schedule`, from step (from 0) to rate, f32[].

    The rates equal those of the schedule's plans bit for bit, and stay constant after the last epoch that the schedule
    names. They are stored in a table, 4 bytes per step.

    >>> from abel import DecayAt
    >>> schedule = as_optax(DecayAt(learning_rate=0.5, decay_factor=0.5, decay_epoch=2), steps_per_epoch=3)
    >>> [float(schedule(step)) for step in (0, 5, 6, 1000)]
    [0.5, 0.5, 0.25, 0.25]
    """
    if isinstance(schedule, GrowBatch):
        raise ValueError(f"schedule must not change the batch size, got {schedule!r}")
    if not isinstance(schedule, Timed):
        raise ValueError(f"schedule must depend only on the epoch, got {schedule!r}; for ABEL, use scale_by_abel")
    constant_from = 1 + max(last_epoch_named(schedule) or 0, schedule.warmup_epochs)
    table = _table(schedule, constant_from, checks.whole("steps_per_epoch", steps_per_epoch, at_least=1))
    return lambda step: jnp.take(table, step, mode="clip")


def _table(schedule: Schedule, constant_from: int, steps_per_epoch: int) -> NDArray[np.float32]:
    """Return the rates of all steps up to the first step from which they are constant, f32[steps]."""
    state, planned = schedule.init(), []
    for epoch in range(1, constant_from + 1):
        plan = schedule.plan(state, epoch, examples=steps_per_epoch, batch_size=1)
        if plan.batch_size != 1:
            raise ValueError(f"schedule must not change the batch size, got {schedule!r}")
        planned.append(plan.learning_rates)
        state = schedule.update(state, Observation(weight_norm_sq=math.nan, train_loss=math.nan))
    return np.concatenate([*planned[:-1], planned[-1][:1]])
