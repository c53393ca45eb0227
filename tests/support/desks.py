"""A service in this process, on a port of the operating system's, whose jobs are only noted."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import uvicorn

from services.api.app import build
from services.server.jobs import JobState
from services.settings import Settings
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.submissions.queue import Submissions
from sweeps.ledger.submissions.tokens import Tokens

SPEC = {
    "name": "tiny",
    "program": {
        "task": "classify",
        "model": {"kind": "vgg5", "width": 2, "pools": [True, False, False, False]},
        "data": {"kind": "digits", "test": 1600},
        "optimizer": "sgd",
        "batch_size": 64,
    },
    "epochs": 6,
    "seeds": [0, 1],
    "arms": {
        "constant": {"schedule": {"kind": "constant", "learning_rate": 0.05}},
        "late": {
            "schedule": {"kind": "decay_at", "learning_rate": 0.05, "decay_factor": 0.1, "decay_epoch": 2},
            "grid": {"schedule.decay_epoch": [2, 3]},
        },
    },
}


@dataclass
class NoJobs:
    """A place without jobs, whose output is what a test puts there."""

    said: dict[tuple[str, int], str] = field(default_factory=dict)
    state: JobState = JobState.UNKNOWN

    def launch(self, id: str, number: int) -> None:
        """Start nothing."""

    def observe(self, id: str, number: int) -> JobState:
        """Say what a test says; by default nothing is known."""
        return self.state

    def stop(self, id: str, number: int) -> None:
        """Stop nothing."""

    def output(self, id: str, number: int) -> str:
        """Return what a test put there."""
        return self.said.get((id, number), "")


@dataclass
class Api:
    """The service, and what is behind it."""

    url: str
    ledger: Ledger
    tokens: Tokens
    queue: Submissions
    jobs: NoJobs
    known: dict[str, str] = field(default_factory=dict)

    def token(self, owner: str, *scopes: str, expires_ms: int | None = None) -> str:
        """A new token's text."""
        return self.tokens.make(owner, scopes or ["submit"], expires_ms)[1]

    def ask(
        self, method: str, path: str, body: Any = None, *, of: str | None = "ada", **headers: str
    ) -> requests.Response:
        """Ask with a token of an owner, or without one."""
        if of is not None:
            self.known.setdefault(of, self.token(of))
            headers = {"Authorization": f"Bearer {self.known[of]}"} | headers
        data = {"data": body} if isinstance(body, bytes) else {"json": body}
        if isinstance(body, bytes):
            headers = {"Content-Type": "application/json"} | headers
        return requests.request(method, self.url + path, headers=headers, timeout=30, **data)

    def submit(self, of: str = "ada", **changes: Any) -> str:
        """Submit the spec; return the submission's id."""
        answer = self.ask("POST", "/v1/sweeps", {"spec": SPEC | changes}, of=of)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


class serving:  # noqa: N801 (used as a function)
    """Serve an application in a thread; the block gets its URL."""

    def __init__(self, app: Any) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        until = time.monotonic() + 30
        while not self._server.started and time.monotonic() < until:
            time.sleep(0.02)
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()


@contextmanager
def desk_over(ledger: Ledger, home: Path, **variables: str) -> Iterator[Api]:
    """Serve a ledger; its jobs are only noted."""
    settings, jobs = Settings.from_env({"ABEL_HOME": str(home), **variables}), NoJobs()
    with serving(build(settings, ledger, jobs, hosts=("127.0.0.1",))) as url:
        yield Api(url, ledger, Tokens.of(ledger), Submissions.of(ledger), jobs)
