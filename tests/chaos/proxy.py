"""An HTTP proxy between a client and a server that loses, delays and refuses what it is told to."""

import http.client
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

PATIENCE_SECONDS = 120


class Fault(Enum):
    """What happens to a request."""

    REPLY_LOST = "the server does it, and the connection breaks before the answer"
    KILLED_AFTER = "the server does it and is killed before the answer"
    KILLED_BEFORE = "the server is killed first"
    UNAVAILABLE = "the answer is 503, and the server hears nothing"
    REFUSED_AFTER = "the server does it, and the answer is 503"
    HANGS = "nobody answers, and the server hears nothing"
    LATE = "the connection breaks, and the server does it once it is released"


@dataclass(frozen=True)
class Request:
    """What the client asked; ``path`` ends like ``runs/create``."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


Plan = Callable[[Request], Fault | None]


@dataclass
class Draw:
    """A plan by chance, the same for the same seed; of each fault so many, on requests whose path ends so."""

    seed: int
    left: dict[tuple[Fault, str], int]
    chance: float
    dealt: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def __call__(self, request: Request) -> Fault | None:
        """The fault for this request."""
        open_ = [key for key, count in self.left.items() if count and request.path.endswith(key[1])]
        if not open_ or self._random.random() > self.chance:
            return None
        key = self._random.choice(open_)
        self.left[key] -= 1
        self.dealt[key[0].name, request.path.rpartition("mlflow/")[2]] += 1
        return key[0]

    @property
    def spent(self) -> bool:
        """Whether every fault was dealt."""
        return not any(self.left.values())


class Proxy:
    """Listens on a port of its own and passes on to the server; ``plan`` decides for every request."""

    def __init__(self, port: int, on_kill: Callable[[], None]) -> None:
        self.plan: Plan = lambda request: None
        self.held: list[Request] = []
        self.on_kill = on_kill
        self._port = port
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def release(self) -> list[int]:
        """Let the late requests reach the server now; returns the statuses of its answers."""
        held, self.held = self.held, []
        return [self.forward(request)[0] for request in held]

    def forward(self, request: Request) -> tuple[int, Iterable[tuple[str, str]], bytes]:
        """Pass a request on; returns the answer's status, headers and body."""
        upstream = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)
        try:
            upstream.request(request.method, request.path, request.body, dict(request.headers))
            answer = upstream.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            upstream.close()

    def deal(self, request: Request) -> tuple[int, Iterable[tuple[str, str]], bytes] | None:
        """What the client gets for a request; None: its connection breaks."""
        with self._lock:
            fault = self.plan(request)
        match fault:
            case Fault.UNAVAILABLE:
                return 503, (), b"try again later"
            case Fault.HANGS:
                self._closing.wait(PATIENCE_SECONDS)
                return None
            case Fault.LATE:
                self.held.append(request)
                return None
            case Fault.KILLED_BEFORE:
                self.on_kill()
                return None
        try:
            answer = self.forward(request)
        except (OSError, http.client.HTTPException):  # the server is down, as a client without a proxy would find it
            return None
        match fault:
            case Fault.REPLY_LOST:
                return None
            case Fault.KILLED_AFTER:
                self.on_kill()
                return None
            case Fault.REFUSED_AFTER:
                return 503, (), b"try again later"
        return answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:  # the client did not wait
                    self.close_connection = True

            def log_message(self, format: str, *arguments: object) -> None:
                """Say nothing."""

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                own = ("host", "connection", "accept-encoding")
                headers = {name: text for name, text in self.headers.items() if name.lower() not in own}
                answer = proxy.deal(Request(self.command, self.path, headers, body))
                if answer is None:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, sent, content = answer
                self.send_response(status)
                for name, text in sent:
                    if name.lower() in ("content-type", "content-disposition"):
                        self.send_header(name, text)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

        return Handler
