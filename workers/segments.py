"""One segment of training: stretch by stretch, so that a long one can stop and resume in between.

A segment that is not finished is saved under the key of the state after it and the number of its steps so far, with the sums of
its stretches. Most segments are one stretch, and nothing of them is saved before they end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import numpy as np

from abel.schedules import EpochPlan
from workers.checkpoints import CheckpointDamaged, Checkpoints
from workers.contracts import Training, Tree
from workers.randomness import epoch_key

_EVALUATION = 2**32 - 1  # sets the key of an evaluation apart from those that a task derives from the segment's


@dataclass
class SegmentRun:
    """A segment in training: the state after its first ``len(sums)`` stretches. The state it began with is donated."""

    training: Training
    plan: EpochPlan
    seed: int
    epoch: int  # its number, from 1
    state: Tree
    sums: list[Tree] = field(default_factory=list)  # of each trained stretch
    seconds: float = 0.0

    @property
    def steps(self) -> int:
        """Steps of the whole segment."""
        return len(self.plan.learning_rates)

    @property
    def stretches(self) -> Sequence[tuple[int, int]]:
        """First step, and the step after the last, of each stretch."""
        return self.training.stretches(self.steps)

    @property
    def step(self) -> int:
        """Number of steps trained."""
        return self.stretches[len(self.sums) - 1][1] if self.sums else 0

    def advance(self) -> Iterator[int]:
        """Train the stretches that are left; yield the number of steps trained between two of them."""
        for stretch in self.stretches[len(self.sums) :]:
            began = time.perf_counter()
            self.state, sums = self._trained(self.state, stretch)
            self.sums.append(jax.device_get(sums))
            self.seconds += time.perf_counter() - began
            if stretch[1] < self.steps:
                yield stretch[1]

    def metrics(self) -> dict[str, float]:
        """Evaluate the state, once all stretches are trained, and return the metrics of the record."""
        began = time.perf_counter()
        key = jax.random.fold_in(epoch_key(self.seed, self.epoch), _EVALUATION)
        metrics = self.training.metrics(self.sums, jax.device_get(self.training.evaluate(self.state, key)))
        if lacking := {"weight_norm_sq", "train_loss", self.training.metric.name} - metrics.keys():
            raise ValueError(
                f"the metrics of a record must have {', '.join(sorted(lacking))}, got {', '.join(metrics)}"
            )
        return metrics | _pace(self.plan, self.seconds + time.perf_counter() - began)

    def save(self, checkpoints: Checkpoints, key: str) -> str:
        """Save the trained stretches of a segment that leads to the state `key`; return the checkpoint's name."""
        name = _name(key, self.step)
        checkpoints.save(name, self.epoch, (self.state, self.sums, np.float32(self.seconds)))
        return name

    def resume(self, checkpoints: Checkpoints, key: str) -> tuple[str | None, list[tuple[str, str]]]:
        """Go to the last intact checkpoint inside the segment, if there is one.

        Returns:
            its name, or None; and name and message of each damaged one, which are removed.
        """
        damaged: list[tuple[str, str]] = []
        ends = [last for _, last in self.stretches[:-1]]
        for count in range(len(ends), 0, -1):
            name = _name(key, ends[count - 1])
            if name not in checkpoints:
                continue
            try:
                self.state, self.sums, seconds = checkpoints.restore(name, like=self._like(count))
            except FileNotFoundError:
                continue
            except CheckpointDamaged as error:
                checkpoints.discard(name)
                damaged.append((name, str(error)))
                continue
            self.seconds = float(seconds)
            return name, damaged
        return None, damaged

    def _trained(self, state: Tree, stretch: tuple[int, int]) -> tuple[Tree, Tree]:
        training, plan = self.training, self.plan
        key = epoch_key(self.seed, self.epoch)
        return training.advance(state, training.hyper, plan.learning_rates, key, plan.batch_size, stretch)

    def _like(self, count: int) -> Any:
        """Return the structure of what is saved after `count` stretches."""
        sums = [jax.eval_shape(partial(self._sums, part), self.state) for part in self.stretches[:count]]
        return self.state, sums, np.float32()

    def _sums(self, stretch: tuple[int, int], state: Tree) -> Tree:
        return self._trained(state, stretch)[1]


def train_segment(
    training: Training, state: Tree, plan: EpochPlan, seed: int, epoch: int
) -> tuple[Tree, dict[str, float]]:
    """Return the state after a segment and the metrics of its record; the old state's buffers are donated."""
    run = SegmentRun(training, plan, seed, epoch, state)
    for _ in run.advance():
        pass
    return run.state, run.metrics()


def _name(key: str, step: int) -> str:
    return f"{key}-{step}"


def _pace(plan: EpochPlan, seconds: float) -> dict[str, float]:
    return {
        "learning_rate_first": float(plan.learning_rates[0]),
        "learning_rate_last": float(plan.learning_rates[-1]),
        "batch_size": float(plan.batch_size),
        "seconds": seconds,
        "examples_per_second": len(plan.learning_rates) * plan.batch_size / seconds,
    }
