"""The JSON schema of a spec, generated from its models, for completion and checks in editors."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from abel.schedules import SCHEDULES
from sweeps.spec import sections
from sweeps.spec.grid import FORMS
from sweeps.spec.programs import KINDS, most_allowed
from sweeps.spec.shapes import shape_of
from workers import plugins
from workers.config import Program


def for_editors() -> dict[str, Any]:
    """Return the JSON schema of a spec, including the installed programs and schedules."""
    found = sections.Document.model_json_schema(schema_generator=_ForEditors)
    return found | {"$schema": _ForEditors.schema_dialect, "title": "A sweep of abel-sweeps"}


class _ForEditors(GenerateJsonSchema):
    """Requires only fields that no other part of a spec can supply."""

    def dataclass_schema(self, schema: core_schema.DataclassSchema) -> JsonSchemaValue:
        """Describe a dataclass by the first paragraph of its docstring and require the kind that tags it in a union."""
        found, cls = super().dataclass_schema(schema), schema["cls"]
        kind = getattr(cls, "kind", None)
        other = issubclass(cls, Program) and not issubclass(cls, _default_program())
        supplied = KINDS.keys() - {"task"} if other else KINDS.keys()
        required = [name for name in found.get("required", []) if kind or name not in supplied]
        if cls in SCHEDULES.values():
            required = []  # a grid or the length of training may supply the other fields
        found["required"] = [*(["kind"] if kind and kind not in KINDS.values() else []), *required]
        found["description"] = (cls.__doc__ or "").partition("\n\n")[0]
        told, sample = _told(cls), _sample(cls)
        for name, shape in found["properties"].items():
            if text := "Its name." if name == "kind" else told.get(name):
                shape.setdefault("description", text)
            if numeric := {"integer", "number"} & _types(shape):
                shape |= _bounds(cls, name, sample)
                if "integer" in numeric and cls not in SCHEDULES.values():
                    shape.setdefault("maximum", most_allowed(cls, name))
        return found

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        """Omit OpenAPI's discriminator from a union, as it is not part of JSON Schema."""
        found = super().tagged_union_schema(schema)
        found.pop("discriminator", None)
        return found

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Require a step or a count of an arm's axes, unless the arm has a search."""
        found = super().model_schema(schema)
        if schema["cls"] is sections.Arm:
            whole, drawn = [form.whole for form in FORMS.values()], [form.drawn for form in FORMS.values()]
            grid = found["properties"]["grid"]
            found |= {"if": {"required": ["search"]}, "else": {"properties": {"grid": grid | self._grid(whole)}}}
            found["properties"] |= {"grid": grid | self._grid([*whole, *drawn])}
        return found

    def _grid(self, axes: Iterable[Any]) -> JsonSchemaValue:
        """Return the schema of a grid: fields of schedules and programs, each with one of the given kinds of axis."""
        listed = {"type": "array", "minItems": 1, "description": "A list of values."}
        one = [listed, *(self.generate_inner(shape_of(axis).adapter.core_schema) for axis in axes)]
        axis = {"description": "The values of one field.", "oneOf": one}
        fields = {"patternProperties": {r"^(schedule|program)\.": axis}, "additionalProperties": False}
        return {"type": "object", "minProperties": 1, **fields}


_NUMBER = r"-?\d[\d.,e+-]*"
_BOUNDS = {  # how rules are worded, and the keywords of JSON Schema that say it
    rf"(?:at least|>=) ({_NUMBER})": ("minimum",),
    rf"(?:above|>) ({_NUMBER})": ("exclusiveMinimum",),
    rf"at most ({_NUMBER})": ("maximum",),
    rf"in \[({_NUMBER}), ({_NUMBER})\]": ("minimum", "maximum"),
    rf"in \[({_NUMBER}), ({_NUMBER})\)": ("minimum", "exclusiveMaximum"),
    rf"in \(({_NUMBER}), ({_NUMBER})\)": ("exclusiveMinimum", "exclusiveMaximum"),
}
_EXTREMES = (-(10**9), 10**9)


def _default_program() -> type[Program]:
    """Return the programs of a spec that names no task."""
    program: type[Program] = plugins.find(plugins.TASKS, KINDS["task"]).program
    return program


# Of a schedule's required fields, by name or by the start of their annotation.
_STAND_INS = {"last_decay_epoch": 10.0, "int": 10, "float": 0.5, "tuple": (1,)}


def _told(cls: type[Any]) -> dict[str, str]:
    """Return what is said of each field of a dataclass: in the `Args:` of its docstring, or in the comment behind it."""
    found: dict[str, str] = {}
    for owner in filter(is_dataclass, cls.__mro__):
        found = {**_comments(owner), **_arguments(owner), **found}
    return found


def _arguments(cls: type[Any]) -> dict[str, str]:
    block = re.search(r"^Args:\n((?:    .*(?:\n|$))+)", inspect.cleandoc(cls.__doc__ or ""), re.MULTILINE)
    items = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", block[1] if block else "", re.MULTILINE)
    return {name: _sentence(text) for name, text in items}


def _comments(cls: type[Any]) -> dict[str, str]:
    try:
        source = inspect.cleandoc(inspect.getsource(cls))
        (tree,) = ast.parse(source).body
    except (OSError, TypeError, SyntaxError, ValueError):  # a class that was made, or whose file is gone
        return {}
    lines, body = source.splitlines(), getattr(tree, "body", [])
    behind = {
        item.target.id: lines[(item.end_lineno or 1) - 1].partition("  # ")[2]
        for item in body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }
    return {name: _sentence(text) for name, text in behind.items() if text and not text.startswith("type: ignore")}


def _sentence(text: str) -> str:
    words = " ".join(text.split()).replace("`", "")
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."


def _types(shape: Mapping[str, Any]) -> set[str]:
    """Return the JSON types that a field may have."""
    return {str(one["type"]) for one in (shape, *shape.get("anyOf", ())) if isinstance(one.get("type"), str)}


def _sample(cls: type[Any]) -> dict[str, Any]:
    """Return values for the fields of a dataclass that have no default."""
    needed = [item for item in fields(cls) if item.default is MISSING and item.default_factory is MISSING]
    kinds = {item.name: getattr(item.type, "__name__", str(item.type)) for item in needed}
    return {name: _STAND_INS.get(name, _STAND_INS.get(re.split(r"\W", kind)[0])) for name, kind in kinds.items()}


def _bounds(cls: type[Any], name: str, sample: Mapping[str, Any]) -> dict[str, float]:
    """Return the bounds of a number, by what its class answers to values that are far too small and too large."""
    found: dict[str, float] = {}
    for extreme in _EXTREMES:
        try:
            cls(**{**sample, name: extreme})
        except ValueError as error:
            rule = str(error).partition(", got ")[0]
        except Exception:  # a plug-in's class may do anything with a stand-in
            continue
        else:
            continue
        if rule.startswith(f"{name} "):
            for wording, keywords in _BOUNDS.items():
                if said := re.search(wording, rule):
                    numbers = [float(one.rstrip(",")) for one in said.groups()]
                    whole = [int(one) if one.is_integer() else one for one in numbers]
                    found |= dict(zip(keywords, whole, strict=True))
    return found
