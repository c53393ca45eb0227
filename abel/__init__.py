"""ABEL, the learning-rate schedule that decays when the weight norm bounces, as a library for any training loop.

    bounce      Algorithm 1: takes a squared weight norm, returns an event; on Python floats, and under jit and vmap
    norms       the squared L2 norm of a pytree, per leaf and in total, over all parameters or a subset
    schedules   Abel, all schedules by name, and replay; every schedule has init, plan and update
    baselines   schedules that depend only on the epoch: Constant, Simple, DecayAt, Step, GrowBatch
    annealing   those with a new rate at every step: Cosine, Linear, WarmupStableDecay, InverseSqrt, OneCycle
    planning    base classes of all schedules: counters, base rate, warm-up, plan
    plateau     Plateau, which watches the training loss
    plans       types exchanged between schedule and training loop: EpochPlan, Observation, Event
    rates       the learning-rate formula
    transform   ABEL as an optax transform for jitted steps; needs optax, so `import abel` does not import it
    optimizers  optax optimisers with ABEL's rate, and a check of their epoch count; needs optax
    double_float  48-bit sums and products where float64 is disabled
    dynamics    the weight-norm equation: the terms of a step's d|w|^2, their residual, the ratio r, the rotation
    curves      minima, decays and depth of a recorded norm curve
    checks      validation of numbers, states and observations

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
    InverseSqrt,
    Linear,
    OneCycle,
    Plateau,
    Simple,
    Step,
    WarmupStableDecay,
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
    "InverseSqrt",
    "Linear",
    "Observation",
    "OneCycle",
    "Plateau",
    "Schedule",
    "ScheduleState",
    "Simple",
    "Step",
    "WarmupStableDecay",
    "bounce",
    "curves",
    "dynamics",
    "last_epoch_named",
    "norms",
    "replay",
    "schedules",
]


def __getattr__(name: str) -> ModuleType:
    """Import the modules that need JAX on first use; planning a schedule does not need it."""
    if name in ("dynamics", "norms"):
        return import_module(f"abel.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
