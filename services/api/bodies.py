"""Bodies of requests: JSON of limited size and depth, read before anything in it is believed, then checked field by field."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from pydantic.json_schema import models_json_schema

from services.api.problems import Problem
from services.server.values import Asked
from sweeps.errors import Faults, SpecError, shown
from sweeps.spec import yaml

if TYPE_CHECKING:
    from sweeps.spec.sweep import SweepSpec

READ_SECONDS = 10.0  # a body that takes longer is given up
MAX_BYTES = yaml.MAX_BYTES
MAX_TEXT = 32 * 1024  # of a spec as YAML, whose reader takes half a second for it


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SubmitBody(_Body):
    """A sweep to run: a spec, as JSON or as YAML text, and how to run it."""

    spec: dict[str, JsonValue] | str = Field(
        description=f"The spec: an object, or YAML text of at most {MAX_TEXT:,} characters."
    )
    sharing: bool = Field(default=True, description="Train shared prefixes once.")
    workers: int | None = Field(default=None, ge=1, le=10_000, description="Workers at once, at most.")
    threads: int = Field(default=1, ge=1, le=1024, description="Threads of a worker; results on CPU depend on it.")
    tracking: bool = Field(default=True, description="Upload to the tracking store.")
    allow_nondeterminism: bool = Field(default=False, description="Go on if a replayed epoch differs from its record.")
    save_every_seconds: float = Field(default=120.0, ge=0, le=86_400, allow_inf_nan=False)
    hours: float | None = Field(
        default=None, gt=0, le=10**6, allow_inf_nan=False, description="Accelerator-hours that the sweep may use."
    )
    priority: int = Field(default=0, ge=-100, le=100, description="Higher ones start first.")


class ExtendBody(_Body):
    """What to change of a submission's spec, and of how it is run; the rest stays as it was."""

    seeds: list[int] | None = Field(default=None, min_length=1, max_length=10_000)
    epochs: int | None = Field(default=None, ge=1, le=1_000_000)
    workers: int | None = Field(default=None, ge=1, le=10_000, description="Workers at once, at most.")
    hours: float | None = Field(
        default=None, gt=0, le=10**6, allow_inf_nan=False, description="Accelerator-hours that the sweep may use."
    )
    priority: int | None = Field(default=None, ge=-100, le=100, description="Higher ones start first.")

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["seeds"]}, {"required": ["epochs"]}]})

    @model_validator(mode="after")
    def _some(self) -> "ExtendBody":
        if self.seeds is None and self.epochs is None:
            raise ValueError("must have seeds or epochs")
        return self


class CheckBody(_Body):
    """A baseline to compare with, and what is allowed."""

    baseline: dict[str, JsonValue] = Field(description="The output of `abel baseline save`.")
    margins: list[str] = Field(default=[], max_length=100, description="Such as `spread=1.5`.")
    rules: list[str] = Field(default=[], max_length=100, description="Such as `spread <= 1.5`.")


def body_schemas(place: str) -> dict[str, Any]:
    """Return the JSON schema of each body, and of what they refer to at ``place``, by name."""
    bodies = (SubmitBody, ExtendBody, CheckBody)
    schemas: dict[str, Any] = models_json_schema([(one, "validation") for one in bodies], ref_template=place)[1][
        "$defs"
    ]
    return schemas


async def read_json(request: Request) -> Any:
    """Read the body of a request as JSON.

    Raises:
        Problem: it is no JSON, too large, too deep, compressed, or does not arrive.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise Problem(415, f"content-type: must be application/json, got {media[:60] or 'none'!r}")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Problem(415, "content-encoding: must be none")
    try:
        async with asyncio.timeout(READ_SECONDS):
            raw = await _received(request)
    except TimeoutError:
        raise Problem(408, f"the body must arrive within {READ_SECONDS:g} s") from None
    faults, document = Faults(), None
    try:
        document = yaml.load_yaml(raw.decode(), "request.json", faults)
        faults.raise_if_any("request")
    except UnicodeDecodeError as error:
        raise Problem(400, f"the body must be UTF-8, the byte at {error.start} is not") from None
    except SpecError as error:
        raise Problem(400, str(error), faults=error.told, body=document) from None
    return document


async def _received(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BYTES:
            raise Problem(413, f"the body must have at most {MAX_BYTES:,} bytes", headers={"Connection": "close"})
        parts.append(part)
    return b"".join(parts)


def decoded(model: type[_Body], document: Any) -> Any:
    """Return a body as its model.

    Raises:
        Problem: it has faults; each has its pointer.
    """
    if not isinstance(document, Mapping):
        raise Problem(422, f"the body must be an object, got {shown(document)}")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        told = [f"{_path(detail['loc'])}: {detail['msg']}" for detail in error.errors(include_url=False)]
        raise Problem(422, f"the request has {len(told)} fault(s)", faults=told, body=document) from None


def asked_of(document: Any) -> Asked:
    """Return a request to submit a sweep, with its spec read and checked.

    Raises:
        Problem: it or its spec has faults; each has its pointer.
    """
    body, spec = spec_of(document)
    return Asked(spec=spec.to_dict(), **{name: value for name, value in body if name != "spec"})


def extended(spec: Mapping[str, Any], changes: Mapping[str, Any]) -> Asked:
    """Check a submission's spec with other seeds or epochs.

    Raises:
        Problem: the changed spec has faults; each has the pointer of the change that led to it.
    """
    try:
        return asked_of({"spec": {**spec, **changes}})
    except Problem as problem:
        problem.errors = [_of_change(error, changes) for error in problem.errors]
        raise


def _of_change(error: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    place = str(error["pointer"]).removeprefix("/spec/")
    if place.partition("/")[0] in changes:
        return {**error, "pointer": f"/{place}"}
    change = "epochs" if "epochs" in changes else "seeds"
    return {**error, "pointer": f"/{change}", "detail": f"{place.replace('/', '.')}: {error['detail']}"}


def spec_of(document: Any) -> "tuple[SubmitBody, SweepSpec]":
    """Return a request to submit a sweep, and its spec.

    Raises:
        Problem: it or its spec has faults; each has its pointer.
    """
    from sweeps.spec.sweep import parse_document

    body: SubmitBody = decoded(SubmitBody, document)
    faults, lines = Faults(), dict[tuple[str, ...], int]()
    inner: Any = None if isinstance(body.spec, str) else body.spec
    try:
        if isinstance(body.spec, str):
            inner, lines = yaml.load_lined(_short_enough(body.spec), "spec", faults)
        return body, parse_document(inner, "spec", faults)
    except SpecError as error:
        raise Problem(422, error.told[0], faults=error.told, body=inner, at="/spec", lines=lines) from None


def _short_enough(text: str) -> str:
    if len(text) > MAX_TEXT:
        rule = f"must have at most {MAX_TEXT:,} characters as text, got {len(text):,}; an object may have more"
        raise Problem(422, f"spec: {rule}", faults=[f"spec: {rule}"])
    return text


def _path(location: tuple[int | str, ...]) -> str:
    """A path as specs write it; of a choice between types, pydantic adds the type's name, which is no field."""
    named = [part for part in location if not (isinstance(part, str) and ("[" in part or part == "str"))]
    return ".".join(map(str, named)) or "body"
