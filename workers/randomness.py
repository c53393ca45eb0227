"""Where every random number comes from: a function of the seed and the epoch, so that any epoch replays from its checkpoint."""

import jax


def epoch_key(seed: int, epoch: int) -> jax.Array:
    """The PRNG key of an epoch, counted from 1; epoch 0 is the initialisation."""
    return jax.random.fold_in(jax.random.key(seed), epoch)
