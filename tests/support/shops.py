"""A ledger and a workshop in one process."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bitwise import bits

from abel.schedules import Observation, replay
from sweeps.errors import ConfigError
from sweeps.ledger.ledger import Ledger
from sweeps.results.summary import results_at_hand, trial_result
from sweeps.run.frontier import Frontier
from sweeps.spec.schedules import schedule_from_dict
from sweeps.spec.sweep import SweepSpec
from sweeps.spec.trial import Trial
from workers.cohort import train
from workers.config import Program
from workers.trajectory import Identity
from workers.workshop import Workshop

Curves = Mapping[str, Sequence[Mapping[str, str]]]  # by trial, an epoch's metrics bit for bit
Decision = tuple[str, int, int]  # trial, epoch, event


@dataclass
class Shop:
    """Runs sweeps as the driver does, without Ray."""

    directory: Path
    url: str
    ledger: Ledger = field(init=False)
    workshop: Workshop = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger.open(self.url)
        self.workshop = Workshop(checkpoints=self.directory / "checkpoints", data_dir=None)

    def enter(self, spec: SweepSpec, *, sharing: bool = True) -> tuple[Sequence[Trial], dict[Program, Identity], str]:
        trials = spec.expand()
        identities = {trial.program: self.workshop.identity(trial.program) for trial in trials}
        return (
            trials,
            identities,
            self.ledger.create_sweep(spec.name, spec.to_dict(), trials, identities, sharing=sharing),
        )

    def frontier(self, spec: SweepSpec, *, sharing: bool = True, **options: Any) -> tuple[str, Frontier]:
        trials, identities, sweep_id = self.enter(spec, sharing=sharing)
        invocation = self.ledger.begin_invocation(sweep_id)
        frontier = Frontier(self.ledger, sweep_id, invocation, sharing=sharing, **options)
        frontier.open(trials, identities)
        return sweep_id, frontier

    def run(self, spec: SweepSpec, *, sharing: bool = True, most: int = 10**6) -> tuple[str, Frontier]:
        """Run a sweep, at most so many reports of it; returns its id and the frontier."""
        sweep_id, frontier = self.frontier(spec, sharing=sharing)
        while most > 0 and (taken := frontier.take()):
            number, cohort = taken
            with closing(train(cohort, self.workshop)) as reports:
                for report in reports:
                    frontier.hear(number, [report])
                    most -= 1
                    if most <= 0:
                        break
        return sweep_id, frontier

    def curves(self, sweep_id: str) -> Curves:
        """Every trial's records bit for bit, but for measured times; what the trials' rows say of them must be right."""
        sweep, rows = self.ledger.sweep(sweep_id), self.ledger.trials(sweep_id)
        assert all((row.result is None) == (row.epoch == 0) for row in rows)
        told = [row for row in rows if is_readable(row.schedule)]
        assert results_at_hand(self.ledger, sweep, told) == [
            trial_result(row, epochs, sweep.metric)
            for row, epochs in zip(told, self.ledger.curves(sweep, told), strict=True)
        ]
        return {row.name: [bits(state.metrics) for state in self.ledger.curve(row.head)] for row in rows}

    def decisions(self, sweep_id: str) -> list[Decision]:
        """What every schedule did when, whatever order cohorts came in."""
        names = {row.id: row.name for row in self.ledger.trials(sweep_id)}
        events = [event.payload for event in self.ledger.events(sweep_id, limit=10**6) if event.kind == "schedule"]
        return sorted((names[event["trial"]], event["epoch"], event["event"]) for event in events)

    def by_algorithm_1(self, sweep_id: str) -> list[Decision]:
        """The decisions of ABEL's trials, from Algorithm 1 over the norms that are recorded of each."""
        found: list[Decision] = []
        for row in self.ledger.trials(sweep_id):
            if row.schedule["kind"] == "abel":
                metrics = [state.metrics for state in self.ledger.curve(row.head)]
                seen = [Observation(values["weight_norm_sq"], values["train_loss"]) for values in metrics]
                states = replay(schedule_from_dict(row.schedule), seen)
                found += [(row.name, state.epoch, int(state.event)) for state in states if state.event]
        return sorted(found)


def is_readable(schedule: Mapping[str, Any]) -> bool:
    """Whether a schedule is one of a spec, and not a test's own."""
    try:
        schedule_from_dict(schedule)
    except ConfigError:
        return False
    return True
