"""Image classification: its programs, and the task; `workers.tasks.classification` trains them.

training = Classify().build(program, load)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from workers import plugins
from workers.config import Program, added, require
from workers.contracts import Data, Load, Model
from workers.data.augment import Augment

if TYPE_CHECKING:
    from workers.tasks.classification import Classification


@dataclass(frozen=True, kw_only=True)
class ClassifyProgram(Program):
    """A network trained to classify the images of a labelled set."""

    model: Model = field(metadata={"group": plugins.MODELS})
    data: Data = field(metadata={"group": plugins.DATA})
    augment: Augment = Augment()  # what is drawn for each training image, anew in every epoch
    label_smoothing: float = added(0.0)  # share of a label that is spread evenly over all classes, in training
    initial_scale: float = added(1.0)  # factor of all initial parameters (sigma_w of the paper's figure S7)
    precision: Literal["float32", "bfloat16"] = added("float32")  # of the network; its weights stay float32
    micro_batches: int = added(
        1
    )  # equal parts of a batch, whose gradients are summed one after another, to save memory

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.label_smoothing < 1, "label_smoothing", "lie in [0, 1)", self.label_smoothing)
        holds = 0 < self.initial_scale < math.inf
        require(holds, "initial_scale", "be finite and above 0", self.initial_scale)
        holds = self.precision in ("float32", "bfloat16")
        require(holds, "precision", "be 'float32' or 'bfloat16'", self.precision)
        require(self.micro_batches >= 1, "micro_batches", "be at least 1", self.micro_batches)

    def check_batch(self, batch_size: int, devices: int) -> None:
        """Raise ValueError unless micro-batches, devices and groups of batch statistics divide a batch."""
        part, rest = divmod(batch_size, self.micro_batches)
        whole = f"batch_size = {batch_size}" + (f" / {self.micro_batches} micro-batches" * (self.micro_batches > 1))
        if rest:
            raise ValueError(f"micro_batches must divide batch_size = {batch_size}, got {self.micro_batches}")
        together = getattr(self.model, "norm_examples", None) or 1
        if part % together:
            raise ValueError(f"model.norm_examples must divide {whole}, got {together}")
        if part % devices:
            raise ValueError(f"{whole} must be divisible by the number of devices of a worker, got {devices} devices")


@dataclass(frozen=True, kw_only=True)
class Classify:
    """Cross-entropy over the classes of a labelled image set."""

    program: ClassVar = ClassifyProgram
    kind: Literal["classify"] = "classify"
    dynamics: bool = False  # record the terms of the weight-norm equation, as metrics named dynamics/...
    save_every_steps: int | None = added(None)  # a long epoch can be left after so many; null: never, streamed 1000

    def __post_init__(self) -> None:
        holds = self.save_every_steps is None or self.save_every_steps >= 1
        require(holds, "save_every_steps", "be at least 1, or null", self.save_every_steps)

    def build(self, program: ClassifyProgram, load: Load) -> Classification:
        """Bind the task to a program and its data."""
        from workers.tasks.classification import bound  # JAX, which reading a spec does not need

        return bound(self, program, load)
