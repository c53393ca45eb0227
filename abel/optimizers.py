"""optax optimisers with ABEL's rate, and a check that they count epochs as the training loop does; needs optax."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from abel import checks
from abel.transform import Scalar, ScaleByAbelState, scale_by_abel

__all__ = ["check_epoch", "with_abel"]


def with_abel(
    optimizer: Callable[..., Any], learning_rate: Scalar, *, options: Mapping[str, Any] | None = None, **abel: Any
) -> optax.GradientTransformationExtraArgs:
    """Return an optax optimiser with ABEL's rate instead of its own; its updates always point downhill.

    It chains `optimizer(learning_rate=1.0, **options)` and `scale_by_abel` without a second sign flip. The last element
    of its state is a `ScaleByAbelState`.

    >>> import jax.numpy as jnp
    >>> descent = with_abel(optax.sgd, 0.5, decay_factor=0.1, last_decay_epoch=None, steps_per_epoch=1)
    >>> updates, state = descent.update(jnp.ones(1), descent.init(jnp.ones(1)), jnp.ones(1))
    >>> float(updates[0]), float(state[-1].learning_rate)
    (-0.5, 0.5)

    Args:
        optimizer: a function such as `optax.sgd` or `optax.adamw` whose updates are proportional to its rate.
        learning_rate: base rate of `scale_by_abel`.
        options: the optimiser's own arguments, such as `{"momentum": 0.9}`, without a learning rate.
        abel: the other arguments of `scale_by_abel`.

    Raises:
        ValueError: `optimizer` is not a function, the rate or the sign is given twice, or a number is out of range.
    """
    if isinstance(optimizer, optax.GradientTransformation) or not callable(optimizer):
        raise ValueError(
            f"optimizer must be a function that returns an optimiser, such as optax.sgd, got {optimizer!r}"
        )
    own = dict(options or {})
    if "learning_rate" in own:
        raise ValueError(f"options must not contain the learning rate, which ABEL sets, got {own['learning_rate']!r}")
    if "flip_sign" in abel:
        raise ValueError(f"flip_sign must not be given, as with_abel sets it, got {abel['flip_sign']!r}")
    rule = scale_by_abel(learning_rate, flip_sign=False, **abel)
    return optax.with_extra_args_support(optax.chain(optimizer(learning_rate=1.0, **own), rule))


def check_epoch(opt_state: Any, epoch: int, steps: int) -> None:
    """Raise if the optimiser and the training loop count epochs differently; call it after every epoch.

    `steps_per_epoch` cannot be checked inside a step. If it is wrong, ABEL observes norms in the middle of epochs or
    misses ends of epochs. A value that is too small shows after the first epoch, one that is too large after the second.

    Args:
        opt_state: optimiser state that contains one `ScaleByAbelState`, at any depth.
        epoch: the epoch that just finished, from 1; all epochs have the same number of steps.
        steps: number of updates in that epoch.

    Raises:
        ValueError: the counts differ.
    """
    epoch, steps = checks.whole("epoch", epoch, at_least=1), checks.whole("steps", steps, at_least=1)
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, ScaleByAbelState))
    states = [leaf for leaf in leaves if isinstance(leaf, ScaleByAbelState)]
    if len(states) != 1 or states[0].counts.ndim != 1:
        raise ValueError(f"opt_state must hold one ScaleByAbelState of one optimiser, got {len(states)}")
    seen, since = int(states[0].epoch), int(states[0].step)
    if (seen, since) != (epoch - 1, steps):
        raise ValueError(
            f"steps_per_epoch must be the number of updates in an epoch: after epoch {epoch} of {steps} steps the state "
            f"must count {epoch - 1} finished epochs and {steps} steps since, got {seen} and {since}"
        )
