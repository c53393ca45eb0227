"""A sweep in a real ledger whose curves are made up but look like trained ones."""

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from abel.schedules import Abel, Constant, DecayAt, Schedule
from sweeps.ledger.entries import Batch
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus, TrialStatus
from sweeps.spec.programs import program_from_dict
from sweeps.spec.schedules import schedule_from_dict
from sweeps.spec.trial import Trial
from workers.config import Program, to_dict
from workers.contracts import Metric
from workers.fold import observation, states
from workers.reports import Record
from workers.trajectory import Identity

EPOCH_MS = 600
START_MS = 1_790_000_000_000

PROGRAM: Mapping[str, Any] = {
    "task": {"kind": "classify"},
    "model": {"kind": "vgg5", "width": 16},
    "data": {"kind": "digit_pairs"},
    "optimizer": {"kind": "sgd"},
    "l2": 0.01,
    "batch_size": 16,
}

ACCURACY = Metric(name="accuracy", label="accuracy", unit="%", higher_is_better=True)


IDENTITY = Identity(
    program=to_dict(program_from_dict(PROGRAM)),
    data="d" * 64,
    examples=1500,
    numerics={"jax": "0.10.2", "jaxlib": "0.10.2", "device": "cpu", "NPROC": "1"},
    code="c" * 64,
)


@dataclass
class Story:
    """What becomes of a sweep, and the writing of it into a ledger the way a driver does."""

    ledger: Ledger
    seeds: int = 3
    epochs: int = 40
    decays: tuple[int, ...] = (1, 4, 10, 20, 30)
    diverging: bool = False
    layers: int = 5
    hopeless: bool = False  # near chance throughout
    guessing: float | None = 99.0
    accuracy: bool = False  # whether its task tells accuracies instead of errors
    name: str = "fig-s6a-digits"
    title: str = "When is the right moment to decay? Digit pairs"
    sweep_id: str = ""
    invocation: int = 0
    spec: Mapping[str, Any] = field(default_factory=dict)  # more of the sweep's spec

    def begin(self) -> "Story":
        spec = {
            "name": self.name,
            "title": self.title,
            "claim": "Decaying before the weight norm bounces hurts; ABEL's own moment is near the best (figure S6).",
            "cost": "about 4 minutes on 2 cores",
            "figure": "decay_time",
            "claims": {"tested": ["decay_time"], "margin": 2.0},
            **self.spec,
        }
        worst = self.guessing if self.guessing is None or not self.accuracy else 100 - self.guessing
        identity = replace(IDENTITY, metric=replace(ACCURACY if self.accuracy else IDENTITY.metric, worst=worst))
        self.sweep_id = self.ledger.create_sweep(self.name, spec, self.trials(), {program_from_dict(PROGRAM): identity})
        self.invocation = self.ledger.begin_invocation(self.sweep_id)
        return self

    def trials(self) -> list[Trial]:
        arms: list[tuple[str, Schedule, dict[str, Any]]] = []
        for decay in self.decays:
            schedule = DecayAt(learning_rate=0.1, decay_factor=0.1, decay_epoch=decay)
            arms.append(("decay-at", schedule, {"schedule.decay_epoch": decay}))
        arms.append(("constant", Constant(learning_rate=0.1), {}))
        arms.append(("abel", Abel(learning_rate=0.1, decay_factor=0.1, last_decay_epoch=34), {}))
        program: Program = program_from_dict(PROGRAM)
        cells = [(arm, schedule, point, seed) for arm, schedule, point in arms for seed in range(self.seeds)]
        return [
            Trial(
                number=number,
                name=" ".join(
                    [arm, *(f"{key.rpartition('.')[2]}={value}" for key, value in point.items()), f"seed={seed}"]
                ),
                arm=arm,
                program=program,
                schedule=schedule,
                seed=seed,
                epochs=self.epochs,
                settings=point,
            )
            for number, (arm, schedule, point, seed) in enumerate(cells)
        ]

    def tell(self, upto: int | None = None, only: Callable[[str], bool] = lambda name: True) -> "Story":
        """Train the trials up to an epoch (default: to their ends)."""
        for row in self.ledger.trials(self.sweep_id):
            if not only(row.name) or row.status.final:
                continue
            last = self.epochs if upto is None else upto
            diverges = self.diverging and row.schedule["kind"] == "constant" and row.seed == 0
            last = min(last, 12) if diverges else last
            records = list(self._path(row.schedule, row.seed, last, diverges))
            new = records[row.epoch :]
            if not new:
                continue
            events: list[tuple[str, dict[str, Any]]] = [
                ("progress", {"trials": [row.id], "keys": [r.key for r in new]})
            ]
            for state in states(schedule_from_dict(row.schedule), (observation(one.metrics) for one in records)):
                if state.event and row.epoch < state.epoch:
                    turn = {"event": int(state.event), "rate_before": 0.1, "rate_after": 0.01}
                    events.append(("schedule", {"trial": row.id, "epoch": state.epoch, **turn}))
            ended = {}
            if last == self.epochs or diverges:
                status = TrialStatus.DIVERGED if diverges else TrialStatus.FINISHED
                events.append(("trial_ended", {"trial": row.id, "status": status, "epoch": last, "error": None}))
                ended = {row.id: (status, None)}
            known = self.ledger.states([record.key for record in new])
            fresh = [record for record in new if record.key not in known]
            batch = Batch(records=fresh, heads={row.id: (new[-1].key, last)}, ended=ended, events=events)
            self.ledger.commit(self.sweep_id, self.invocation, batch)
        return self

    def end(self, status: SweepStatus = SweepStatus.FINISHED) -> "Story":
        self.ledger.end_invocation(self.sweep_id, self.invocation, status)
        return self

    def resume(self) -> "Story":
        self.invocation = self.ledger.begin_invocation(self.sweep_id)
        return self

    def _path(self, schedule: Mapping[str, Any], seed: int, last: int, diverges: bool) -> Iterator[Record]:
        decay = {"constant": math.inf, "abel": 24 + seed}.get(schedule["kind"], schedule.get("decay_epoch", 0))
        parent = IDENTITY.root(seed)
        for epoch in range(1, last + 1):
            rate = 0.1 if epoch <= decay else 0.01
            key = sha256(f"{parent} {rate} {diverges}".encode()).hexdigest()
            metrics = self._metrics(epoch, decay, seed, rate)
            if diverges and epoch == last:
                metrics |= {"train_loss": math.nan, "test_loss": math.inf}
            yield Record(
                key=key, parent=parent, epoch=epoch, metrics=metrics, finished_at_ms=START_MS + epoch * EPOCH_MS + seed
            )
            parent = key

    def _metrics(self, epoch: int, decay: float, seed: int, rate: float) -> dict[str, float]:
        turn = min(decay, 23 + seed)  # ABEL sees the turn one epoch later
        chance = random.Random(f"{seed} {min(epoch, decay)} {epoch}")
        lived, grown = min(epoch, decay), min(epoch, turn)
        norm = 124 + 153 * math.exp(-grown / 2.2) + 84 / (1 + math.exp(-(grown - 14) / 2.6)) + 3 * seed
        error = 14 + 75 * math.exp(-lived / 9) + 2 * seed / 3 + chance.gauss(0, 0.7)
        if epoch > turn:
            norm *= 1 - 0.16 * (1 - math.exp(-(epoch - turn) / 12))
        if epoch > decay:
            after = epoch - decay
            error = error - (6 + 9 * math.exp(-lived / 6)) * (1 - math.exp(-after / 1.5))
        error = 95 + error / 40 if self.hopeless else min(98.0, error)
        return {
            "train_loss": error / 22,
            "train_error": max(0.0, error - 4),
            "test_loss": error / 20,
            **({"accuracy": 100 - error} if self.accuracy else {"test_error": error}),
            "weight_norm_sq": norm,
            **{f"weight_norm_sq/conv{layer}/kernel": norm / self.layers for layer in range(1, self.layers + 1)},
            "grad_norm_sq": 4.0,
            "grad_dot_weight": 0.2,
            "learning_rate_first": rate,
            "learning_rate_last": rate,
            "batch_size": 16.0,
            "seconds": 0.6,
            "examples_per_second": 2500.0,
        }
