"""Refusals as problem documents (RFC 9457): what, why, and for a request's body a pointer at each fault."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import Request, Response

from services.encoding import to_json
from sweeps.errors import leads, on_one_line

MEDIA = "application/problem+json"
TITLES = {
    400: "The request cannot be read",
    401: "A token is needed",
    403: "The token does not allow this",
    404: "There is no such thing",
    405: "Not with this method",
    408: "The request did not arrive in time",
    409: "The key was used for another request",
    413: "The request is too large",
    415: "The request must be JSON",
    422: "The request has faults",
    429: "Too many requests",
    500: "The service has a bug",
    503: "Something that the service needs is away",
}
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


class Problem(Exception):
    """A refusal, with the faults of the request's body as "path: rule" below the pointer ``at``."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        faults: Iterable[str] = (),
        body: Any = None,
        at: str = "",
        lines: Mapping[tuple[str, ...], int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers
        self.errors = [_error(fault, body, at, lines or {}) for fault in faults]

    @property
    def document(self) -> dict[str, Any]:
        """The refusal as a problem document; a fault of a spec given as text has its line."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": TITLES.get(self.status, "Refused"),
            "status": self.status,
            "detail": self.detail,
        }
        return document | ({"errors": self.errors} if self.errors else {})

    def response(self) -> Response:
        """The refusal as an answer."""
        return Response(to_json(self.document, ascii_only=True), self.status, self.headers, MEDIA)


async def answer_problem(_: Request, error: Exception) -> Response:
    """The answer to a refusal."""
    assert isinstance(error, Problem)
    return error.response()


def _error(fault: str, body: Any, at: str, lines: Mapping[tuple[str, ...], int]) -> dict[str, Any]:
    path, colon, rule = fault.partition(": ")
    if not colon or " " in path:
        return {"pointer": at, "detail": fault}
    below = pointer(path, body)
    line = _line(below, lines)
    return {"pointer": at + below, "detail": rule} | ({} if line is None else {"line": line})


def _line(below: str, lines: Mapping[tuple[str, ...], int]) -> int | None:
    """The line of a pointer's field, or of the nearest field around it that is there."""
    parts = tuple(part.replace("~1", "/").replace("~0", "~") for part in below.split("/")[1:])
    return next((lines[parts[:end]] for end in range(len(parts), 0, -1) if parts[:end] in lines), None)


def pointer(path: str, document: Any) -> str:
    """Return the JSON pointer of a path such as ``arms.abel.grid.schedule.decay_epoch[2]`` into a document.

    A key may itself contain dots, as those of a grid do: the longest key that is there is taken. The rest of a path that
    leads nowhere, as of a missing field, is split at its dots.
    """
    left, found = path, ""
    while left:
        key = _longest(left, document)
        if key is None:
            match = _STEP.match(left)
            if match is None:
                break
            key, left = match[1] or match[2], left[match.end() :].removeprefix(".")
        else:
            left = left[len(on_one_line(key)) :].removeprefix(".")
        found += "/" + key.replace("~", "~0").replace("/", "~1")
        document = _below(document, key)
    return found


def _longest(path: str, document: Any) -> str | None:
    if not isinstance(document, Mapping):
        return None
    return max((key for key in document if leads(on_one_line(key), path)), key=len, default=None)


def _below(document: Any, key: str) -> Any:
    if isinstance(document, Mapping):
        return document.get(key)
    if isinstance(document, list) and key.isdigit() and int(key) < len(document):
        return document[int(key)]
    return None
