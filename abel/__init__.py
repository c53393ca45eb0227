"""ABEL, the learning-rate schedule that decays when the weight norm bounces, as a library for any training loop.

    bounce      Algorithm 1: a squared weight norm in, an event out; on Python floats, and under jit and vmap
    norms       the squared L2 norm of a pytree, per leaf and in total
    schedules   Abel, all schedules by name, and replay: every schedule is init, plan, update
    baselines   Constant, Simple, DecayAt, Step, Cosine
    plans       what passes between schedule and training loop: EpochPlan, Observation, Event
    rates       the one spelling of a learning rate
    dynamics    the weight-norm equation: the terms of a step's d|w|^2, their residual, the ratio r, the rotation
    curves      what a recorded curve of the norm shows: minima, decays, depth
    checks      what the numbers of a schedule must satisfy

Paper: A. Lewkowycz, "How to decay your learning rate", arXiv 2103.12682.
"""

from abel import bounce, curves, dynamics, norms, schedules
from abel.plans import EpochPlan, Event, Observation, Schedule, ScheduleState
from abel.schedules import (
    SCHEDULES,
    Abel,
    Constant,
    Cosine,
    DecayAt,
    Simple,
    Step,
    last_epoch_named,
    replay,
)

__all__ = [
    "SCHEDULES",
    "Abel",
    "Constant",
    "Cosine",
    "DecayAt",
    "EpochPlan",
    "Event",
    "Observation",
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
