"""A client of the service: `Client(url, token)`, with a method for each of its verbs.

    client = Client("http://127.0.0.1:8900", token)
    one, new = client.submit(spec, workers=8)
    for event in client.events(one.id):
        ...

What it returns are the service's own values. Requests are repeated for a while if the service is away: a submission's key makes
that harmless, and the other commands may be repeated as they are.
"""

import json
import math
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar
from urllib.parse import quote

import requests
from pydantic import TypeAdapter

from services.errors import OperationError
from services.schemas import Checked, SweepDetail, Validation
from services.server.values import Happening, Submitted, SubmittedDetail, SubmittedPage
from sweeps.errors import SpecError
from sweeps.urls import origin

TIMEOUT_SECONDS = (5.0, 330.0)  # to connect; to answer, as a report takes a while
PATIENCE_SECONDS = 30.0  # with a service that is away
PAUSE_SECONDS = 1.0
AWAY = (429, 502, 503, 504)

Value = TypeVar("Value")


class ServiceAway(OperationError):
    """The service does not answer."""


class Client:
    """One service, as one person sees it.

    Args:
        url: the service's address, such as ``https://abel.example.org``.
        token: a token of ``abel token create``.
    """

    def __init__(self, url: str, token: str, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._url, self._patience = url.rstrip("/"), patience_seconds
        self._session = requests.Session()
        self._session.auth = _Bearer(token)  # a header alone would be replaced by an entry of .netrc

    def submit(
        self, spec: Mapping[str, Any] | str, *, key: str | None = None, **options: Any
    ) -> tuple[Submitted, bool]:
        """Submit a spec; return the submission, and whether it is new.

        Args:
            spec: the spec, or its YAML text.
            key: the same key makes the same submission; by default every call makes another.
            options: how to run it: workers, threads, sharing, tracking, priority, hours, ...

        Raises:
            SpecError: the spec has faults.
            OperationError: the service refuses, or is away.
        """
        answer = self._ask("POST", "/v1/sweeps", {"spec": spec, **options}, key=key or str(uuid.uuid4()))
        return _read(Submitted, answer), answer.status_code == 201

    def extend(self, id: str, *, key: str | None = None, **changes: Any) -> tuple[Submitted, bool]:
        """Submit a submission's spec again with other ``seeds`` or ``epochs``, and ``workers``, ``hours`` or ``priority``."""
        answer = self._ask("POST", f"/v1/sweeps/{_quoted(id)}/extend", changes, key=key or str(uuid.uuid4()))
        return _read(Submitted, answer), answer.status_code == 201

    def validate(self, spec: Mapping[str, Any] | str) -> Validation:
        """Check a spec without submitting it."""
        return _read(Validation, self._ask("POST", "/v1/validate", {"spec": spec}))

    def sweeps(self, name: str | None = None) -> Iterator[Submitted]:
        """Yield all submissions, newest first, page by page."""
        cursor: str | None = None
        while True:
            given = {"cursor": cursor, "name": name, "limit": 100}
            page = _read(SubmittedPage, self._get("/v1/sweeps", **given))
            yield from page.items
            cursor = page.next
            if cursor is None:
                return

    def show(self, id: str) -> SubmittedDetail:
        """Return a submission with its spec and sweep."""
        return _read(SubmittedDetail, self._get(f"/v1/sweeps/{_quoted(id)}"))

    def status(self, id: str) -> SweepDetail | None:
        """Return a submission's sweep as ``abel status`` shows it; None before it is known."""
        answer = self._get(f"/v1/sweeps/{_quoted(id)}/status")
        return None if answer.text.strip() == "null" else _read(SweepDetail, answer)

    def log(self, id: str) -> str:
        """Return the end of what the submission's last process printed."""
        return str(self._get(f"/v1/sweeps/{_quoted(id)}/log").text)

    def report(self, id: str) -> str:
        """Return the sweep's report as HTML."""
        return str(self._get(f"/v1/sweeps/{_quoted(id)}/report").text)

    def check(
        self, id: str, baseline: Mapping[str, Any], margins: Sequence[str] = (), rules: Sequence[str] = ()
    ) -> Checked:
        """Compare a submission's sweep with a baseline, as ``abel check`` does."""
        body = {"baseline": baseline, "margins": list(margins), "rules": list(rules)}
        answer = self._ask("POST", f"/v1/sweeps/{_quoted(id)}/check", body)
        checked: Checked = _adapter(Checked).validate_python(_with_nan(answer.json()))
        return checked

    def pause(self, id: str) -> Submitted:
        """Let the running epochs finish; nothing more starts until it is resumed."""
        return self._command(id, "pause")

    def resume(self, id: str) -> Submitted:
        """Go on with a paused submission."""
        return self._command(id, "resume")

    def cancel(self, id: str) -> Submitted:
        """End a submission for good; recorded epochs are kept."""
        return self._command(id, "cancel")

    def events(self, id: str, after: int = 0) -> Iterator[Submitted | Happening]:
        """Follow a submission until it ends: yield it whenever it changes, and the events of its sweep, each once.

        After a lost connection it connects again and continues after the last event received.
        """
        failing: float | None = None  # since when
        while True:
            try:
                for number, value in self._stream(id, after):
                    failing, after = None, number or after
                    yield value
                    if isinstance(value, Submitted) and value.ended:
                        return
            except (requests.RequestException, ServiceAway) as error:
                failing = failing or time.monotonic()
                if time.monotonic() - failing > self._patience:
                    raise ServiceAway(f"service {origin(self._url)}: does not answer: {_short(error)}") from None
            time.sleep(PAUSE_SECONDS)

    def _stream(self, id: str, after: int) -> Iterator[tuple[int, Submitted | Happening]]:
        """Yield what one connection tells until it ends: the submission, with 0, and events with their ids."""
        path = f"/v1/sweeps/{_quoted(id)}/events"
        with self._answer("GET", path, None, {"Last-Event-ID": str(after)}) as answer:
            for kind, number, data in _messages(answer.iter_lines(decode_unicode=True)):
                yield number, _adapter(Submitted if kind == "submission" else Happening).validate_python(data)

    def _command(self, id: str, action: str) -> Submitted:
        return _read(Submitted, self._ask("POST", f"/v1/sweeps/{_quoted(id)}/{action}"))

    def _get(self, path: str, **query: Any) -> requests.Response:
        return self._ask("GET", path, query={name: value for name, value in query.items() if value is not None})

    def _ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> requests.Response:
        """Send a request that may be repeated, until the service answers or patience ends."""
        began = time.monotonic()
        while True:
            try:
                return self._answer(method, path, body, {} if key is None else {"Idempotency-Key": key}, query)
            except ServiceAway:
                if time.monotonic() - began > self._patience:
                    raise
                time.sleep(PAUSE_SECONDS)

    def _answer(
        self,
        method: str,
        path: str,
        body: Any,
        headers: Mapping[str, str],
        query: Mapping[str, Any] | None = None,
    ) -> requests.Response:
        try:
            answer = self._session.request(
                *(method, self._url + path),
                params=query,
                json=body,
                headers=dict(headers),
                timeout=TIMEOUT_SECONDS,
                stream=path.endswith("/events"),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise ServiceAway(f"service {origin(self._url)}: does not answer: {_short(error)}") from None
        if answer.status_code in AWAY:
            raise ServiceAway(f"service {origin(self._url)}: {_detail(answer)}")
        if not answer.ok or answer.is_redirect:
            _refuse(answer, origin(self._url))
        return answer


class _Bearer(requests.auth.AuthBase):  # type: ignore[misc]
    """Adds the token to a request."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _refuse(answer: requests.Response, where: str) -> None:
    """Raise what a refusal means."""
    try:
        problem = answer.json()
        errors: Sequence[Mapping[str, str]] = problem.get("errors", [])
    except (ValueError, AttributeError):
        raise OperationError(f"service {where}: must be one of abel's, got an answer {answer.status_code}") from None
    of_spec = [one for one in errors if one["pointer"].startswith("/spec")]
    if answer.status_code == 422 and of_spec:
        told = [f"{one['pointer'].removeprefix('/spec/').replace('/', '.')}: {one['detail']}" for one in of_spec]
        raise SpecError(told, "spec")
    raise OperationError(f"service {where}: {_detail(answer)}")


def _detail(answer: requests.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"answers {answer.status_code}"


def _messages(lines: Iterator[str]) -> Iterator[tuple[str, int, Any]]:
    """Yield the messages of a stream of server-sent events: kind, id (0 if it has none) and data."""
    kind, number, data = "message", 0, ""
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                kind = value
            case "id":
                number = int(value)
            case "data":
                data += value
            case "" if not line:
                if data:
                    yield kind, number, json.loads(data)
                kind, number, data = "message", 0, ""


def _with_nan(value: Any) -> Any:
    """A document whose lists are numbers and bounds, with NaN for null in them."""
    if isinstance(value, dict):
        return {name: _with_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [math.nan if item is None else _with_nan(item) for item in value]
    return value


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _read(kind: type[Value], answer: requests.Response) -> Value:
    value: Value = _adapter(kind).validate_json(answer.content)  # type: ignore[arg-type]
    return value


def _quoted(id: str) -> str:
    return quote(id, safe="")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
