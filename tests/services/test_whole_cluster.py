"""The whole service on one machine: two users submit three sweeps at once, and its parts are killed one after the other.

What is recorded equals a local run, and each sweep goes on within a minute of the part's return.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cluster
import psutil
import pytest
import requests
from losses import Watched
from oracle import Curves, compare, compare_tracking, curves
from sites import NODES, Site, interpreter_with_jobs, site

from services.client.client import Client
from services.server.ray_jobs import RayJobs
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.submissions.queue import Submissions
from sweeps.ledger.submissions.tokens import Tokens
from sweeps.urls import of_sqlite
from workers.config import to_dict

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.chaos]

PARTS = ("a node", "a driver", "the service", "PostgreSQL", "the head")
EPOCHS = 200  # no sweep may end before the last part is back
# At most, from the return of a part to the next new epoch of every sweep. A machine with other work needs longer.
RESUMED_SECONDS = float(os.environ.get("CHAOS_RESUMED_SECONDS", "60"))
SWEEPS = {"ada": ("first", "second"), "bob": ("third",)}
NAMES = tuple(name for names in SWEEPS.values() for name in names)
SESSION = "ABEL_TEST_SESSION"  # marks the processes of a test run

# A task whose epochs last a second longer as long as a file is there, and take nobody's processor.
PACED = """
import os, time
from dataclasses import dataclass
from typing import Literal
from workers.tasks.classify import Classify

class Paced:
    def __init__(self, training):
        self._training = training

    def __getattr__(self, name):
        return getattr(self._training, name)

    def advance(self, *given):
        if os.path.exists(os.environ.get("PACE_FILE", "")):
            time.sleep(1)
        return self._training.advance(*given)

@dataclass(frozen=True, kw_only=True)
class PacedClassify(Classify):
    kind: Literal["paced"] = "paced"

    def build(self, program, load):
        return Paced(super().build(program, load))
"""


def document(program: Any, name: str, *seeds: int) -> dict[str, Any]:
    rate = {"learning_rate": 0.05, "decay_factor": 0.1}
    arms = {
        "abel": {"schedule": {"kind": "abel", "last_decay_epoch": 80} | rate},
        "at": {"schedule": {"kind": "decay_at"} | rate, "grid": {"schedule.decay_epoch": [20, 50]}},
    }
    program = to_dict(program) | {"task": "paced"}
    return {"name": name, "program": program, "epochs": EPOCHS, "seeds": list(seeds), "arms": arms}


@dataclass(frozen=True)
class Trained:
    """The records of a sweep's trials, and the keys of the states that they share."""

    curves: Curves
    keys: Set[str]


def trained(ledger: Ledger, name: str, seed: int) -> Trained:
    """What a ledger has of one seed of a sweep."""
    sweep = ledger.sweep(name)
    rows = [row for row in ledger.trials(sweep.id) if row.seed == seed]
    names = {row.name for row in rows}
    return Trained(
        curves={at: metrics for at, metrics in curves(ledger, sweep.id).items() if at[0] in names},
        keys={state.key for row in rows for state in ledger.curve(row.head)},
    )


@pytest.fixture
def place(own_directories: Path) -> Path:
    """A directory with the plug-in, which all processes find."""
    (own_directories / "paced.py").write_text(PACED)
    info = own_directories / "paced-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: paced\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[abel.tasks]\npaced = paced:PacedClassify\n")
    return own_directories


@pytest.fixture
def pace(place: Path) -> Path:
    """The file that slows the cluster's epochs down."""
    file = place / "pace"
    file.touch()
    return file


@pytest.fixture
def local(place: Path, tiny_program: Any, start: Callable[..., Any]) -> Callable[[], Mapping[str, Trained]]:
    """Start the same trials as one sweep of this machine, with SQLite; what is returned waits for the end."""
    spec = place / "local.json"
    spec.write_text(json.dumps(document(tiny_program, "local", *range(len(NAMES)))))
    command = [sys.executable, "-m", "services.cli", "run", str(spec), "--no-tracking", "--workers", "1"]
    cache = str(place / "cache")
    running = start(command, PYTHONPATH=str(place), ABEL_HOME=str(place / "local"), ABEL_CACHE_DIR=cache)

    def wait() -> Mapping[str, Trained]:
        running.wait_for_end()
        with closing(Ledger.open(of_sqlite(place / "local" / "ledger.db"))) as ledger:
            return {name: trained(ledger, "local", seed) for seed, name in enumerate(NAMES)}

    return wait


@pytest.fixture
def parts(place: Path, pace: Path, empty_store: Path, start: Callable[..., Any]) -> Iterator[Site]:
    """The site, without its service."""
    if reason := cluster.no_namespaces(lambda: cluster.star(NODES)):
        pytest.skip(reason)
    if interpreter_with_jobs() is None:
        pytest.skip("needs ray[default], which `make chaos` installs into .venv-jobs")
    store = shutil.copy(empty_store, place / "mlflow.db")
    with site(place, Path(store), start, PYTHONPATH=str(place), PACE_FILE=str(pace)) as made:
        yield made


def test_what_two_users_submit_equals_a_local_run_whatever_is_killed(
    local: Callable[[], Mapping[str, Trained]],
    parts: Site,
    pace: Path,
    tiny_program: Any,
    record_property: Callable[[str, object], None],
) -> None:
    with closing(Ledger.open(parts.ledger_url)) as ledger:
        tokens = {owner: Tokens.of(ledger).make(owner, ["read", "submit"])[1] for owner in SWEEPS}
        parts.serve()
        clients = {owner: Client(parts.service_url, token, patience_seconds=60) for owner, token in tokens.items()}
        ids = {
            name: clients[owner]
            .submit(document(tiny_program, name, NAMES.index(name)), key=name, workers=1, save_every_seconds=2)[0]
            .id
            for owner, names in SWEEPS.items()
            for name in names
        }
        jobs = RayJobs(parts.dashboard_url, parts.ray_token)
        watched = Watched(parts, ledger, Submissions.of(ledger), jobs, ids)
        watched.wait_for_progress(dict.fromkeys(NAMES, 0))
        for owner, client in clients.items():
            assert {one.name for one in client.sweeps()} == set(SWEEPS[owner])
        assert_no_secret_is_told(parts, [token.split("_", 2)[2] for token in tokens.values()])

        losses = {
            "a node": watched.lose_node,
            "a driver": watched.lose_driver,
            "the service": watched.lose_service,
            "PostgreSQL": watched.lose_postgres,
            "the head": watched.lose_head,
        }
        for part in PARTS:
            back_at, since = losses[part]()
            watched.wait_for_progress(since)
            seconds = time.monotonic() - back_at
            print(f"{part}: resumed {seconds:.1f} s after its return")
            record_property(f"seconds from the return of {part} to the next new epochs", round(seconds, 1))
            assert seconds <= RESUMED_SECONDS, watched.told()
            watched.wait_for_progress(watched.covered())
        pace.unlink()
        watched.wait_until("the end", lambda: all(watched.queue.submission(id).outcome for id in ids.values()))
        assert {name: watched.queue.submission(id).outcome for name, id in ids.items()} == dict.fromkeys(
            NAMES, "finished"
        ), watched.told()
        for name, expected in local().items():
            sweep_id = ledger.sweep(name).id
            found = compare(expected.curves, ledger, sweep_id)
            shown = compare_tracking(expected.curves, of_sqlite(parts.tracking_store), sweep_id)
            assert found.is_clean and found.records == 3 * EPOCHS, (name, found)
            assert shown.is_clean and shown.records == 3 * EPOCHS, (name, shown)
            assert trained(ledger, name, NAMES.index(name)).keys == expected.keys, name
            assert ledger.work(sweep_id).trained == len(expected.keys), name


def assert_no_secret_is_told(parts: Site, tokens: list[str]) -> None:
    """Neither what Ray tells of the jobs nor a command line has a token or a password."""
    headers = {"Authorization": f"Bearer {parts.ray_token.read_text()}"}
    told = requests.get(f"{parts.dashboard_url}/api/jobs/", headers=headers, timeout=60)
    assert told.status_code == 200 and told.text.count("services.server.job") == len(NAMES)
    lines = [told.text]
    for process in psutil.process_iter():
        try:
            if process.environ().get(SESSION) == os.environ[SESSION]:
                lines.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue  # gone meanwhile, or another user's
    assert any("services.server.job" in line for line in lines[1:])
    for secret in (*parts.secrets, *tokens):
        assert not [line for line in lines if secret in line]
