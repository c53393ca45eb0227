"""What a kind of training must provide: protocols of the parts of a program, and the values that they hand upwards.

A program names a task, and the parts that this task trains with. `Task.build` binds them to their data as a `Training`, which
is all that the training loop (`workers.cohort`) knows. A training runs in segments: the stretch between two decisions of the
schedule, and one record. For image classification a segment is an epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import jax
    import numpy as np
    import optax
    from flax import nnx

    from workers.config import Program
    from workers.data import Dataset
    from workers.data.stream import Stream
    from workers.games.environment import Environment

Tree = Any  # a pytree of arrays
Load = Callable[[Any], Any]  # returns what a data source's `load` returns, read once per process


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What the trials of a task are compared by: one of a record's metrics.

    Args:
        name: its name in the record.
        label: its name in words.
        unit: "%" or another unit; empty if it has none.
        higher_is_better: whether trials are better the larger it is.
        bounds: the smallest and largest possible value; measures of robustness are in percent of this range.
        worst: what a diverged trial counts as, such as the error of guessing; None if unknown, as in ledgers of version 0.1.
        bounds_of: what the bounds were chosen for, such as a game; empty if they are those of the metric itself, as of an
            accuracy. Values are not comparable between two games, and the best bound of one may be out of reach.
        cadence: epochs from one measurement to the next; records between repeat it. Its task says so, not its training.
    """

    name: str
    label: str
    unit: str = ""
    higher_is_better: bool = False
    bounds: tuple[float, float] = (0.0, 100.0)
    worst: float | None = None
    bounds_of: str = ""
    cadence: int = 1

    def __post_init__(self) -> None:
        low, high = self.bounds
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(
                f"metric {self.name}: bounds must be two finite numbers, the first smaller, got {self.bounds!r}"
            )
        if self.cadence < 1:
            raise ValueError(f"metric {self.name}: cadence must be at least 1, got {self.cadence}")

    def error(self, value: float) -> float:
        """Return a value in percent of the range, counted from its best end: an error as it is, 100 minus an accuracy."""
        low, high = self.bounds
        percent = value if self.bounds == (0.0, 100.0) else 100 * (value - low) / (high - low)
        return 100 - percent if self.higher_is_better else percent

    def error_in(self, epoch: int, record: Mapping[str, float]) -> float | None:
        """Return the error of an epoch, from the metrics of its record; None where this only repeats an earlier value."""
        return self.error(record[self.name]) if self.is_measured(epoch) else None

    def is_measured(self, epoch: int) -> bool:
        """Whether the record of an epoch has a new value, and not that of an earlier epoch."""
        return epoch % self.cadence == 0

    def spaced(self, epochs: int, most: int) -> range:
        """Return at most so many evenly spaced epochs of a trial; its measurements are all among them, or evenly spaced too."""
        least = max(1, -(-epochs // most))
        stride = next(n for n in count(least) if n % self.cadence == 0 or self.cadence % n == 0)
        return range((self.cadence - 1) % stride + 1, epochs + 1, stride)

    def column(self, statistic: str) -> str:
        """Return the name of the minimum, final or selected value of a trial: "final_test_error", "maximum_accuracy"."""
        best = "maximum" if self.higher_is_better else "minimum"
        return f"{best if statistic == 'minimum' else statistic}_{self.name}"

    @property
    def label_with_unit(self) -> str:
        """The name in words with the unit, such as "test error (%)"."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def worst_error(self) -> float | None:
        """What a diverged trial counts as, in percent of the range; None if unknown."""
        return None if self.worst is None else self.error(self.worst)

    @property
    def error_label(self) -> str:
        """The name in words of what `error` returns, such as "test error" or "100 - accuracy"."""
        if not self.higher_is_better and self.bounds == (0.0, 100.0):
            return self.label
        return f"100 - {self.label}" if self.bounds == (0.0, 100.0) else f"{self.label}, distance from the best"


@dataclass(frozen=True, kw_only=True)
class Segment:
    """The stretch between two decisions of a schedule.

    Args:
        examples: number of examples that it trains; a remainder that does not fill a batch is left out.
    """

    examples: int


class Training(Protocol):
    """A task bound to a program and its data. States and sums are pytrees of arrays.

    One thing is optional: a method ``export(state, folder)``, which writes the weights of a state as files into a folder that
    exists. `abel weights` calls it.
    """

    @property
    def metric(self) -> Metric:
        """What its trials are compared by."""

    @property
    def segment(self) -> Segment:
        """What one segment trains."""

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) of the part of the data that determines states and records."""

    @property
    def hyper(self) -> Mapping[str, jax.Array]:
        """Numbers that are arguments of the compiled functions, f32[] each, so a grid over them compiles once."""

    def stretches(self, steps: int) -> Sequence[tuple[int, int]]:
        """Return the parts of a segment that `advance` trains one at a time, as first step and the step after the last.

        Between two of them a worker may save and leave. They follow from the program alone, as they may affect rounding.
        """

    def init(self, key: jax.Array) -> Tree:
        """Return the state before the first segment; all randomness comes from `key`."""

    def advance(
        self,
        state: Tree,
        hyper: Mapping[str, jax.Array],
        learning_rates: np.ndarray,  # f32[steps]: of the whole segment
        key: jax.Array,
        batch_size: int,
        stretch: tuple[int, int],
    ) -> tuple[Tree, Tree]:
        """Train a stretch of a segment; return the new state and the stretch's sums. `state` is consumed.

        All randomness comes from `key`, which is the segment's. `jax.eval_shape` must be able to trace it: it tells the shapes
        of the sums before they are computed.
        """

    def evaluate(self, state: Tree, key: jax.Array) -> Tree:
        """Return sums over the test data; what is drawn at random, such as an environment's episodes, comes from `key`."""

    def metrics(self, train_sums: Sequence[Tree], test_sums: Tree) -> dict[str, float]:
        """Return the metrics of the segment's record from the sums of its stretches, in order, and of the evaluation.

        Among them must be ``weight_norm_sq`` and ``train_loss``, which schedules observe, and that of `metric`.
        """


def cadence_of(task: Task) -> int:
    """Return the number of epochs from one measurement of a task's metric to the next; 1 unless the task says otherwise."""
    return int(getattr(task, "cadence", 1))


class Variant(Protocol):
    """A frozen dataclass that is looked up by its kind."""

    @property
    def kind(self) -> str:
        """Name of the variant."""

    def __hash__(self) -> int: ...


class Task(Variant, Protocol):
    """A kind of training.

    A property ``cadence`` is optional: the metric is measured after every so many segments, and repeated in the records between.
    Specs that would read a repeated value are refused.
    """

    program: ClassVar[type[Program]]  # the programs of this task: the common fields, and the task's parts

    def build(self, program: Any, load: Load) -> Training:
        """Return the training of a program of this task.

        Args:
            load: reads a data source, once for all programs that use it.

        Raises:
            ValueError: the program's parts do not fit its data or each other.
        """


class Model(Variant, Protocol):
    """An architecture for images."""

    def build(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> nnx.Module:
        """Return a module called as `model(images_BHWC, rngs=...) -> logits_BK`; `shape` is (height, width, channels)."""


class Data(Variant, Protocol):
    """A source of what a task trains on: labelled images, or a game."""

    def load(self, data_dir: Path | None) -> Dataset | Stream | Environment:
        """Return decoded arrays, images that are read while they train, or a game; raise `DataError` if it cannot be loaded."""


class Optimizer(Variant, Protocol):
    """A rule that turns gradients into steps; `workers.update` multiplies the step by the learning rate.

    Two things are optional. With a class attribute ``takes_rate = True``, `transform` finds ``learning_rate`` among its numbers,
    and the step is added to the parameters as it is. With a method ``evaluated(params, slots)``, the network is evaluated at the
    parameters that it returns.
    """

    def hyper(self) -> dict[str, float]:
        """Return the numbers that are arguments of the compiled epoch, so a grid over them compiles once."""

    def static(self) -> Optimizer:
        """Return this optimiser with the numbers of `hyper` blanked: the part that the compiled epoch depends on."""

    def transform(self, hyper: Mapping[str, Any]) -> optax.GradientTransformation:
        """Return the update rule without the learning rate, with the (traced) numbers of `hyper`.

        What it returns for a gradient is subtracted from the parameters, times the learning rate.
        """
