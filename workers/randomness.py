"""PRNG keys, a function of seed and epoch, so any epoch can be replayed from its checkpoint."""

import jax


def epoch_key(seed: int, epoch: int) -> jax.Array:
    """Return the PRNG key of an epoch, counted from 1; epoch 0 is the initialisation."""
    return jax.random.fold_in(jax.random.key(seed), epoch)
