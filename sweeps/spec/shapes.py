"""Types that pydantic decodes documents to: models, frozen dataclasses, and unions of dataclasses tagged by `kind`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, core_schema

from sweeps.errors import Faults
from sweeps.spec.refusals import rules_of

_Built = TypeVar("_Built")
_Model = TypeVar("_Model", bound=BaseModel)
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Part(BaseModel):
    """A part of a spec: frozen, no unknown keys, no type conversions."""

    model_config = ConfigDict(frozen=True, **STRICT)


@dataclass(frozen=True)
class Tagged:
    """An annotation: one of several dataclasses, tagged by a kind.

    Args:
        variants: the dataclasses by kind.
        tag: the path of the field that holds the kind.
        default: the kind if none is given.
        is_bare: whether a bare kind is accepted, meaning all its defaults.
    """

    variants: Mapping[str, type[Any]]
    tag: tuple[str, ...] = ("kind",)
    default: str | None = None
    is_bare: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {kind: handler.generate_schema(cls) for kind, cls in self.variants.items()}
        path: list[str | int] = [*self.tag]
        return core_schema.tagged_union_schema(choices, [path])

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        found = handler(schema) | {"description": f"One of {', '.join(self.variants)}."}
        if self.is_bare:
            found["oneOf"].insert(0, {"enum": list(self.variants), "description": "A kind with all its defaults."})
        return found | ({"default": self.default} if self.default else {})


@dataclass(frozen=True)
class Must:
    """An annotation: the rule to report for any fault of a value or inside it."""

    rule: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.custom_error_schema(handler(source), "must", custom_error_message=self.rule)


@dataclass(frozen=True)
class SchemaAs:
    """An annotation: an open dictionary that has a shape in the JSON schema, looked up when the schema is generated."""

    shape: Callable[[], Shape[Any]]

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(self.shape().adapter.core_schema)


class Shape(Generic[_Built]):
    """A type that pydantic can decode documents to."""

    def __init__(self, kind: Any, config: ConfigDict | None = STRICT) -> None:
        self.kind = kind
        self.adapter: TypeAdapter[_Built] = TypeAdapter(kind, config=config)

    def decode(self, document: Any) -> tuple[_Built | None, dict[str, str]]:
        """Return the decoded document, or None, and its faults: broken rules by path."""
        try:
            # Through JSON: strict validation of Python values would reject a list for a tuple.
            return self.adapter.validate_json(json.dumps(document)), {}
        except ValidationError as error:
            return None, rules_of(error, self.kind, document)


@cache
def shape_of(model: Any) -> Shape[Any]:
    """Return the shape of a pydantic model, or of a dataclass with its own configuration."""
    return Shape(model, config=None)


def read_shape(model: type[_Model], document: Mapping[str, Any], faults: Faults) -> _Model | None:
    """Return the decoded document, or None after adding to `faults`."""
    found: _Model | None
    found, broken = shape_of(model).decode(document)
    for path, rule in broken.items():
        faults.add(path, rule)
    return found
