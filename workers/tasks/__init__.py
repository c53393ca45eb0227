"""Tasks, which define one epoch of training. `Training` is their interface to the training loop."""

from __future__ import annotations

from typing import Any, Protocol

import jax
import numpy as np

Tree = Any  # a pytree of arrays


class Training(Protocol):
    """A task bound to a program and its data. State, sums, data and hyper are pytrees of arrays."""

    @property
    def examples(self) -> int:
        """Number of training examples."""

    @property
    def data(self) -> Tree:
        """The data set on the device."""

    @property
    def hyper(self) -> dict[str, jax.Array]:
        """Numbers that are arguments of the compiled epoch: f32[] each."""

    def init(self, key: jax.Array) -> Tree:
        """Return the state before the first epoch; all randomness comes from `key`."""

    def epoch(
        self,
        state: Tree,
        data: Tree,
        hyper: dict[str, jax.Array],
        learning_rates: np.ndarray,  # f32[steps]
        key: jax.Array,
        batch_size: int,
    ) -> tuple[Tree, Tree]:
        """Train one epoch in one call and return the new state and the epoch's sums; `state` is consumed."""

    def evaluate(self, state: Tree, data: Tree) -> Tree:
        """Return sums over the test set."""

    def metrics(self, train_sums: Tree, test_sums: Tree) -> dict[str, float]:
        """Return the metrics of the record from both sums."""
