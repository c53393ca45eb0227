"""The steps of a training, taken by all processes of a gang at once.

A step computes on the devices of all processes, so each has to start the same steps in the same order. The leader alone decides
what is trained, saved and reported; it tells its peers every step before it takes it:

    leader = Leader(tell)                    tell sends a JointStep to every peer
    training = leader.led(program, training)

    follower = Follower(workshop.training)   in each peer
    follower.take(step)

States are whole on every device, so each process has its own copy. The leader sends a state only where it is not the result of
the step before, as after a restore.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from workers.config import Program
from workers.contracts import Metric, Segment, Training, Tree
from workers.tracing import is_traced


@dataclass(frozen=True, kw_only=True)
class JointStep:
    """What a peer has to do, with the arguments of the method of `Training` that has this name."""

    program: Program
    name: Literal["init", "advance", "trace", "evaluate"]  # to trace is to advance without computing anything
    key: np.ndarray | None = None  # the words of the key; None to trace, where any will do
    state: Tree | None = None  # of arrays of the host; None for the state that the peer has
    stretch: tuple[np.ndarray, int, tuple[int, int]] | None = None  # learning rates, batch size, stretch


class Leader:
    """The process that decides; ``tell`` is called with each step before it is taken."""

    def __init__(self, tell: Callable[[JointStep], None]) -> None:
        self.tell = tell
        self.held: Tree | None = None  # the state that every process has

    def led(self, program: Program, training: Training) -> Training:
        """Return a program's training whose steps the peers take too."""
        return _Led(self, program, training)


@dataclass(frozen=True, eq=False)
class _Led:
    """A training of the leader."""

    leader: Leader
    program: Program
    training: Training

    @property
    def metric(self) -> Metric:
        return self.training.metric

    @property
    def segment(self) -> Segment:
        return self.training.segment

    @property
    def fingerprint(self) -> str:
        return self.training.fingerprint

    @property
    def hyper(self) -> Mapping[str, jax.Array]:
        return self.training.hyper

    def stretches(self, steps: int) -> Sequence[tuple[int, int]]:
        return self.training.stretches(steps)

    def metrics(self, train_sums: Sequence[Tree], test_sums: Tree) -> dict[str, float]:
        return self.training.metrics(train_sums, test_sums)

    def init(self, key: jax.Array) -> Tree:
        self._tell("init", key)
        self.leader.held = self.training.init(key)
        return self.leader.held

    def advance(
        self,
        state: Tree,
        hyper: Mapping[str, jax.Array],
        learning_rates: np.ndarray,
        key: jax.Array,
        batch_size: int,
        stretch: tuple[int, int],
    ) -> tuple[Tree, Tree]:
        arguments = (learning_rates, batch_size, stretch)
        if is_traced(state):
            # The peers trace too, because what a training keeps, such as data on its devices, may be placed by a trace.
            self._tell("trace", None, stretch=arguments)
            return self.training.advance(state, hyper, learning_rates, key, batch_size, stretch)
        self._tell("advance", key, state=self._unheld(state), stretch=arguments)
        self.leader.held, sums = self.training.advance(state, hyper, learning_rates, key, batch_size, stretch)
        return self.leader.held, sums

    def evaluate(self, state: Tree, key: jax.Array) -> Tree:
        self._tell("evaluate", key, state=self._unheld(state))
        self.leader.held = state
        return self.training.evaluate(state, key)

    def _tell(self, name: Any, key: jax.Array | None, **arguments: Any) -> None:
        words = None if key is None else np.asarray(jax.random.key_data(key))
        self.leader.tell(JointStep(program=self.program, name=name, key=words, **arguments))

    def _unheld(self, state: Tree) -> Tree | None:
        return None if state is self.leader.held else jax.device_get(state)


class Follower:
    """A process that takes the steps it is told; ``training`` returns the training of a program."""

    def __init__(self, training: Callable[[Program], Training]) -> None:
        self._training = training
        self.held: Tree | None = None

    def take(self, step: JointStep) -> None:
        """Take a step; nothing is returned, as the leader has the same result."""
        training = self._training(step.program)
        key = jax.random.key(0) if step.key is None else jax.random.wrap_key_data(jnp.asarray(step.key))
        if step.state is not None:
            self.held = jax.tree.map(jax.device_put, step.state)  # like those of a restored checkpoint
        match step.name:
            case "init":
                self.held = training.init(key)
            case "advance":
                self.held, sums = _advanced(training, step, key, self.held)
                jax.block_until_ready(sums)  # type: ignore[no-untyped-call]
            case "trace":
                jax.eval_shape(partial(_advanced, training, step, key), self.held)
            case "evaluate":
                jax.block_until_ready(training.evaluate(self.held, key))  # type: ignore[no-untyped-call]


def _advanced(training: Training, step: JointStep, key: jax.Array, state: Tree) -> tuple[Tree, Tree]:
    assert step.stretch is not None
    learning_rates, batch_size, stretch = step.stretch
    return training.advance(state, training.hyper, learning_rates, key, batch_size, stretch)
