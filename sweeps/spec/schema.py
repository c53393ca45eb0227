"""The JSON schema of a spec: what an editor needs to complete and to check one while it is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints

from pydantic import BaseModel, TypeAdapter

from abel.schedules import SCHEDULES
from sweeps.spec.programs import KINDS
from workers import plugins
from workers.config import Program

_NUMBERS = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}


def _axis(*, sampled: bool) -> dict[str, Any]:
    """An axis; one to sample from needs neither a step nor a count."""
    forms = {
        "range": ("step", {"type": "number", "exclusiveMinimum": 0}, "From the first to the second, by step."),
        "log": ("count", {"type": "integer", "minimum": 2}, "From the first to the second, even in the logarithm."),
    }
    listed = {"type": "array", "minItems": 1, "description": "Listed one by one."}
    ranges = [
        {
            "type": "object",
            "description": description,
            "properties": {ends: _NUMBERS, how: schema},
            "required": [ends] if sampled else [ends, how],
            "additionalProperties": False,
        }
        for ends, (how, schema, description) in forms.items()
    ]
    return {"description": "The values of one field.", "oneOf": [listed, *ranges]}


def _grid(description: str, *, sampled: bool) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "patternProperties": {r"^(schedule|program)\.": _axis(sampled=sampled)},
        "additionalProperties": False,
        "minProperties": 1,
    }


def for_editors(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of the spec model, with its open dictionaries replaced by the installed programs and schedules."""
    document = model.model_json_schema()
    document["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    document["title"] = "A sweep of abel-sweeps"
    document["properties"]["program"] = _program()
    arm = document["$defs"]["Arm"]["properties"]
    # A field that the grid varies need not be in the schedule, so only the kind is required.
    schedules = (_dataclass(variant, required=["kind"]) for variant in SCHEDULES.values())
    arm["schedule"] = _one_of(schedules, f"One of {', '.join(SCHEDULES)}.")
    description = arm["grid"]["description"]
    arm["grid"] = _grid(description, sampled=True)
    document["$defs"]["Arm"] |= {
        "if": {"required": ["search"]},
        "else": {"properties": {"grid": _grid(description, sampled=False)}},
    }
    return document


def _program() -> dict[str, Any]:
    hints: dict[str, Any] = get_type_hints(Program)
    properties: dict[str, Any] = {}
    for item in fields(Program):
        hint: Any = hints[item.name]
        if group := item.metadata.get("group"):
            properties[item.name] = _variants(group, KINDS.get(item.name))
        else:
            grouped = is_dataclass(hint)
            properties[item.name] = _dataclass(hints[item.name]) if grouped else _schema(hint)
            if item.default is not MISSING and not grouped:
                properties[item.name]["default"] = item.default
    required = [item.name for item in fields(Program) if item.default is MISSING and item.name not in KINDS]
    return _object(Program, properties, required)


def _variants(group: str, default: str | None) -> dict[str, Any]:
    """Any variant of a group; its kind alone stands for it with every default, and the default kind need not be named."""
    variants = plugins.variants(group)
    kinds = {"enum": list(variants), "description": "A kind with every default."}
    objects = (
        _dataclass(variant, required=[*(["kind"] if kind != default else []), *_required(variant)])
        for kind, variant in variants.items()
    )
    return _one_of([kinds, *objects], f"One of {', '.join(variants)}.") | ({"default": default} if default else {})


def _dataclass(cls: type[Any], required: list[str] | None = None) -> dict[str, Any]:
    properties = _schema(cls)["properties"]
    return _object(cls, properties, _required(cls) if required is None else required)


def _object(cls: type[Any], properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "title": cls.__name__,
        "description": (cls.__doc__ or "").partition("\n\n")[0],
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _required(cls: type[Any]) -> list[str]:
    return [item.name for item in fields(cls) if item.default is MISSING and item.default_factory is MISSING]


def _schema(hint: Any) -> dict[str, Any]:
    return TypeAdapter(hint).json_schema()


def _one_of(schemas: Iterable[dict[str, Any]], description: str) -> dict[str, Any]:
    return {"description": description, "oneOf": list(schemas)}
