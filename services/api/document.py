"""What the OpenAPI document says beyond the types of the routes: refusals, bodies and their examples."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer

from services.api.bodies import body_schemas
from services.api.problems import MEDIA, Problem
from services.encoding import to_json

# FastAPI's own check of the header would answer without a problem document: this only documents it.
TOKEN = Depends(HTTPBearer(auto_error=False, scheme_name="token", description="A token of `abel token create`."))
KEY = r"^[\x21-\x7e]{1,128}$"  # an idempotency key
EVENTS = "text/event-stream"
PLACE = "#/components/schemas/{model}"

_FAULT = {
    "type": "object",
    "description": "A fault of the request.",
    "properties": {
        "pointer": {"type": "string", "description": "JSON pointer into the body; empty for the request as a whole."},
        "detail": {"type": "string"},
        "line": {"type": "integer", "description": "Its line, of a spec given as text."},
    },
    "required": ["pointer", "detail"],
    "additionalProperties": False,
}
_PROBLEM = {
    "type": "object",
    "description": "A refusal (RFC 9457).",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {"type": "array", "items": {"$ref": PLACE.format(model="Fault")}},
    },
    "required": ["type", "title", "status", "detail"],
    "additionalProperties": False,
}
_MESSAGE = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "event": {"type": "string"},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["event", "data"],
}
_NUMBER_OR_NULL = {"anyOf": [{"type": "number"}, {"type": "null"}]}

_WHY = {
    400: ("The body is not JSON.", Problem(400, "request.json: is empty")),
    401: ("No valid token.", Problem(401, "Authorization: must be `Bearer <token>` with a valid token, got none")),
    403: ("The token does not allow this.", Problem(403, "scope: must be submit, got read")),
    404: ("No such submission.", Problem(404, "submission 'x': must be the id or name of one of ada's")),
    408: ("The body did not arrive in time.", Problem(408, "the body must arrive within 10 s")),
    409: (
        "The idempotency key was used for another request.",
        Problem(409, "idempotency key 'nightly': was used for another request (submission 3f9c0d2a11be4c70)"),
    ),
    413: ("The body is too large.", Problem(413, "the body must have at most 262,144 bytes")),
    415: ("The body is not JSON.", Problem(415, "content-type: must be application/json, got 'text/plain'")),
    422: (
        "Faults, each with a pointer to its field.",
        Problem(422, "epochs: must be at least 1, got 0", faults=["epochs: must be at least 1, got 0"], at="/spec"),
    ),
    429: ("Too many requests.", Problem(429, "at most 50 requests a second")),
    503: ("The ledger or the place for jobs is away.", Problem(503, "the ledger is away")),
}


class DescribedApp(FastAPI):
    """An application whose document also has the schemas of the bodies, which are read by hand, and of refusals."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        if self.openapi_schema is None:
            document = super().openapi()
            schemas = document["components"]["schemas"]
            schemas |= body_schemas(PLACE) | {"Fault": _FAULT, "Problem": _PROBLEM}
            schemas["Interval"]["prefixItems"] = [_NUMBER_OR_NULL] * 3  # bounds of a single seed are null
            for example in _examples(document):
                example["value"] = json.loads(example["value"])
        assert self.openapi_schema is not None
        return self.openapi_schema


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Refusals as a route's responses."""
    schema = {"$ref": PLACE.format(model="Problem")}
    return {
        status: {
            "description": _WHY[status][0],
            "content": {MEDIA: {"schema": schema, "example": _WHY[status][1].document}},
        }
        for status in statuses
    }


REFUSALS = refusals(401, 403, 429, 503)
READING = refusals(400, 408, 413, 415, 422)  # of a body


def gives(text: str, status: int = 200, **examples: Any) -> dict[int | str, dict[str, Any]]:
    """An answer in JSON as a route's response, with examples by name."""
    return {status: {"description": text, "content": {"application/json": {"examples": _named(examples)}}}}


def gives_text(text: str, media: str, example: str) -> dict[int | str, dict[str, Any]]:
    """An answer that is no JSON, as a route's response."""
    schema = {"itemSchema": _MESSAGE} if media == EVENTS else {"schema": {"type": "string"}}
    return {200: {"description": text, "content": {media: {**schema, "example": example}}}}


def takes(model: type[Any], *, key: bool = False, **examples: Any) -> dict[str, Any]:
    """A body with examples by name, and the header of an idempotency key, as a route's extra entries."""
    schema = {"$ref": PLACE.format(model=model.__name__)}
    content = {"application/json": {"schema": schema, "examples": _named(examples)}}
    text = "The same key makes the same submission."
    keyed = header("Idempotency-Key", text, {"type": "string", "pattern": KEY}, "nightly-2026-11-30")
    return {"requestBody": {"required": True, "content": content}} | (keyed if key else {})


def header(name: str, text: str, schema: Mapping[str, Any], example: str) -> dict[str, Any]:
    """A header that a route reads by hand, as an extra entry."""
    entry = {"name": name, "in": "header", "required": False, "description": text}
    return {"parameters": [{**entry, "schema": schema, "example": example}]}


def _named(examples: Mapping[str, Any]) -> dict[str, Any]:
    """Examples as text, until the document is made: FastAPI drops the nulls of what routes are described by."""
    return {name: {"value": to_json(value)} for name, value in examples.items()}


def _examples(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for operations in document["paths"].values():
        for operation in operations.values():
            for described in (operation.get("requestBody", {}), *operation["responses"].values()):
                yield from described.get("content", {}).get("application/json", {}).get("examples", {}).values()
