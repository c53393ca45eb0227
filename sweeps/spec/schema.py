"""The JSON schema of a spec, generated from its models, for completion and checks in editors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from abel.schedules import SCHEDULES
from sweeps.spec import sections
from sweeps.spec.grid import FORMS
from sweeps.spec.programs import KINDS
from sweeps.spec.shapes import shape_of


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
        required = [name for name in found.get("required", []) if kind or name not in KINDS]
        if cls in SCHEDULES.values():
            required = []  # a grid or the length of training may supply the other fields
        found["required"] = [*(["kind"] if kind and kind not in KINDS.values() else []), *required]
        found["description"] = (cls.__doc__ or "").partition("\n\n")[0]
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
