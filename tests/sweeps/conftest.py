from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import postgres_server
import pytest
from postgres_server import Cluster, Server
from shops import Shop

from sweeps.spec.sweep import SweepSpec, parse_document
from workers.config import Program, to_dict


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
def spec_of(tiny_program: Program) -> Callable[..., SweepSpec]:
    """A spec over the tiny program with one arm of every schedule; keywords replace its parts."""

    def build(**parts: Any) -> SweepSpec:
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
def bouncing_spec(tiny_program: Program) -> SweepSpec:
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
