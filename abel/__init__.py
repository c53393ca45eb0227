"""ABEL, the learning-rate schedule that decays when the weight norm bounces, as a library for any training loop.

    bounce      Algorithm 1: a squared weight norm in, an event out; on Python floats, and under jit and vmap
    norms       the squared L2 norm of a pytree, per leaf and in total, of all parameters or some
    schedules   Abel, all schedules by name, and replay: every schedule is init, plan, update
    baselines   by the clock alone: Constant, Simple, DecayAt, Step, Cosine, Linear, GrowBatch
    planning    what all schedules share: counters, base rate and warm-up, the way to a plan
    plateau     Plateau, which watches the training loss
    plans       what passes between schedule and training loop: EpochPlan, Observation, Event
    rates       the one spelling of a learning rate
    transform   ABEL inside one's own jitted step; needs optax, so `import abel` leaves it out
    optimizers  optax's optimisers with ABEL's rate, and a check of the count of epochs; needs optax too
    double_float  sums and products with 48 bits where float64 is off
    dynamics    the weight-norm equation: the terms of a step's d|w|^2, their residual, the ratio r, the rotation
    curves      what a recorded curve of the norm shows: minima, decays, depth
    checks      what numbers, states and observations must satisfy

Paper: A. Lewkowycz, "How to decay your learning rate", arXiv 2103.12682.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from abel import bounce, curves, schedules
from abel.plans import DECAYS, EpochPlan, Event, Observation, Schedule, ScheduleState
from abel.schedules import (
    SCHEDULES,
    Abel,
    Constant,
    Cosine,
    DecayAt,
    GrowBatch,
    Linear,
    Plateau,
    Simple,
    Step,
    last_epoch_named,
    replay,
)

if TYPE_CHECKING:
    from abel import dynamics, norms

__all__ = [
    "DECAYS",
    "SCHEDULES",
    "Abel",
    "Constant",
    "Cosine",
    "DecayAt",
    "EpochPlan",
    "Event",
    "GrowBatch",
    "Linear",
    "Observation",
    "Plateau",
    "Schedule",
    "ScheduleState",
    "Simple",
    "Step",
    "bounce",
    "curves",
    "dynamics",
    "last_epoch_named",
    "norms",
    "replay",
    "schedules",
]


def __getattr__(name: str) -> ModuleType:
    """Import what needs JAX when it is asked for: schedules are planned without it."""
    if name in ("dynamics", "norms"):
        return import_module(f"abel.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
