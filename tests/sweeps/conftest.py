from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import postgres_server
import pytest
from postgres_server import Cluster, Server

from abel.schedules import Observation, replay
from sweeps.ledger.ledger import Ledger
from sweeps.run.frontier import Frontier
from sweeps.spec.schedules import schedule_from_dict
from sweeps.spec.sweep import SweepSpec, parse_document
from workers.cohort import train
from workers.config import to_dict
from workers.workshop import Workshop

MOVING = ("seconds", "examples_per_second")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("databases"):
        metafunc.parametrize("database", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """An empty PostgreSQL; making one takes a second."""
    with postgres_server.empty() as made:
        yield made


@pytest.fixture(scope="module")
def postgres(cluster: Cluster) -> Iterator[Server]:
    """Runs for a module, since no process may outlive one."""
    with cluster.running() as server:
        yield server


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database: SQLite, or, where the test is marked so, either kind in turn."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    url: str = request.getfixturevalue("postgres").create()
    return url


@pytest.fixture(scope="session")
def spec_of(tiny_program) -> Callable[..., SweepSpec]:
    """A spec over the tiny program with one arm of every schedule; keywords replace its parts."""

    def build(**parts):
        rate = {"learning_rate": 0.1}
        factor = rate | {"decay_factor": 0.1}
        arms = {
            "constant": {"schedule": {"kind": "constant"} | rate},
            "at": {
                "schedule": {"kind": "decay_at", "decay_epoch": 1} | factor,
                "grid": {"schedule.decay_epoch": [1, 3]},
            },
            "simple": {"schedule": {"kind": "simple", "last_decay_epoch": 3} | factor},
            "step": {"schedule": {"kind": "step", "decay_epochs": [2, 4]} | factor},
            "cosine": {"schedule": {"kind": "cosine", "warmup_epochs": 1} | rate},
            "abel": {"schedule": {"kind": "abel", "last_decay_epoch": 3} | factor},
            "linear": {"schedule": {"kind": "linear", "warmup_epochs": 1} | rate},
            # No loss falls by 99 % in an epoch, so it decays after every epoch but the first.
            "plateau": {"schedule": {"kind": "plateau", "patience": 0, "threshold": 0.99} | factor},
            "grow": {"schedule": {"kind": "grow_batch", "decay_epochs": [2, 4]} | rate | {"decay_factor": 0.5}},
        }
        document = {"name": "tiny", "program": to_dict(tiny_program), "epochs": 5, "seeds": [0, 1], "arms": arms}
        return parse_document(document | parts)

    return build


@pytest.fixture
def bouncing_spec(tiny_program) -> SweepSpec:
    """A spec whose forks come out of the data: under this L2 the norm bounces, in each seed at another epoch."""
    rate = {"learning_rate": 0.1}
    abel = {"schedule": {"kind": "abel", "decay_factor": 0.1, "last_decay_epoch": None} | rate}
    arms = {
        "constant": {"schedule": {"kind": "constant"} | rate},
        "abel": abel | {"grid": {"schedule.decay_factor": [0.1, 0.5]}},
        "late": {"schedule": {"kind": "abel", "decay_factor": 0.1, "last_decay_epoch": 10} | rate},
    }
    program = to_dict(tiny_program) | {"l2": 0.1}
    return parse_document({"name": "bounce", "program": program, "epochs": 15, "seeds": [0, 1], "arms": arms})


@dataclass
class Shop:
    """A ledger and a workshop in one process: runs sweeps as the driver does, without Ray."""

    directory: Path
    url: str
    ledger: Ledger = field(init=False)
    workshop: Workshop = field(init=False)

    def __post_init__(self):
        self.ledger = Ledger.open(self.url)
        self.workshop = Workshop(checkpoints=self.directory / "checkpoints", data_dir=None)

    def enter(self, spec, *, sharing=True):
        trials = spec.expand()
        identities = {trial.program: self.workshop.identity(trial.program) for trial in trials}
        return (
            trials,
            identities,
            self.ledger.create_sweep(spec.name, spec.to_dict(), trials, identities, sharing=sharing),
        )

    def frontier(self, spec, *, sharing=True, **options):
        trials, identities, sweep_id = self.enter(spec, sharing=sharing)
        invocation = self.ledger.begin_invocation(sweep_id)
        frontier = Frontier(self.ledger, sweep_id, invocation, sharing=sharing, **options)
        frontier.open(trials, identities)
        return sweep_id, frontier

    def run(self, spec, *, sharing=True, most=10**6):
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

    def curves(self, sweep_id):
        """Every trial's records bit for bit, but for measured times."""
        return {
            row.name: [
                {name: value.hex() for name, value in state.metrics.items() if name not in MOVING}
                for state in self.ledger.curve(row.head)
            ]
            for row in self.ledger.trials(sweep_id)
        }

    def decisions(self, sweep_id):
        """What every schedule did when, whatever order cohorts came in: (trial, epoch, event)."""
        names = {row.id: row.name for row in self.ledger.trials(sweep_id)}
        events = [event.payload for event in self.ledger.events(sweep_id, limit=10**6) if event.kind == "schedule"]
        return sorted((names[event["trial"]], event["epoch"], event["event"]) for event in events)

    def by_algorithm_1(self, sweep_id):
        """The decisions of ABEL's trials, from Algorithm 1 over the norms that are recorded of each."""
        found = []
        for row in self.ledger.trials(sweep_id):
            if row.schedule["kind"] == "abel":
                metrics = [state.metrics for state in self.ledger.curve(row.head)]
                seen = [Observation(values["weight_norm_sq"], values["train_loss"]) for values in metrics]
                states = replay(schedule_from_dict(row.schedule), seen)
                found += [(row.name, state.epoch, int(state.event)) for state in states if state.event]
        return sorted(found)


@pytest.fixture
def shop(tmp_path: Path, database: str) -> Iterator[Shop]:
    shop = Shop(tmp_path, database)
    yield shop
    shop.ledger.close()


@pytest.fixture(scope="module")
def shared_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """For what several tests of a module compare with."""
    directory = tmp_path_factory.mktemp("shared")
    shop = Shop(directory, f"sqlite:///{directory}/ledger.db")
    yield shop
    shop.ledger.close()


@pytest.fixture
def another_shop(tmp_path: Path) -> Iterator[Shop]:
    """For comparison; always on SQLite."""
    shop = Shop(tmp_path / "another", f"sqlite:///{tmp_path}/another/ledger.db")
    yield shop
    shop.ledger.close()
