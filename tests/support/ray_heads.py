"""A Ray head that answers as the Jobs API of Ray's dashboard does, token and all; its jobs are only noted."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from http_stubs import in_thread

TOKEN = "a-token-of-the-cluster"


@dataclass
class Head:
    """What a Ray head knows of its jobs, and what it was asked."""

    url: str = ""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    printed: str = ""
    broken: int | None = None
    text: str = "Traceback (most recent call last):\nRuntimeError: no agent"

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        self.asked.append((method, path))
        if self.broken is not None:
            return self.broken, self.text
        parts = path.removeprefix("/api/jobs/").split("/")
        match method, parts:
            case "POST", [""]:
                return self._submit(body)
            case "GET", [name] if name in self.jobs:
                return 200, self.jobs[name]
            case "GET", [name, "logs"] if name in self.jobs:
                return 200, {"logs": self.printed}
            case "POST", [name, "stop"] if name in self.jobs:
                self.jobs[name]["status"] = "STOPPED"
                return 200, {"stopped": True}
        return 404, f"Job {parts[0]} does not exist"

    def _submit(self, body: Any) -> tuple[int, Any]:
        name = body["submission_id"]
        if name in self.jobs:
            return 500, f"Traceback (most recent call last):\nValueError: Job with submission_id {name} already exists"
        self.jobs[name] = {"type": "SUBMISSION", "status": "PENDING"} | body
        return 200, {"job_id": name, "submission_id": name}


@contextmanager
def ray_head() -> Iterator[Head]:
    """A head that answers until the block ends."""
    made = Head()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

        def _answer(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
            match self.headers.get("Authorization"):
                case None:
                    status, answer = 401, "Unauthorized: Missing authentication token"
                case given if given != f"Bearer {TOKEN}":
                    status, answer = 403, "Forbidden: Invalid authentication token"
                case _:
                    status, answer = made.answer(self.command, self.path, body)
            content = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with in_thread(server) as port:
        made.url = f"http://127.0.0.1:{port}"
        yield made
