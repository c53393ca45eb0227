"""What documents are decoded to by pydantic: models, frozen dataclasses, and unions of these that are tagged by `kind`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

from pydantic import ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, core_schema

from sweeps.spec.refusals import rules_of

_Built = TypeVar("_Built")
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Tagged:
    """An annotation: one of some dataclasses, found by `kind`.

    Args:
        variants: the dataclasses by their kinds.
        default: the kind where none is given.
        is_bare: whether a kind may stand alone, for all its defaults.
    """

    variants: Mapping[str, type[Any]]
    default: str | None = None
    is_bare: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {kind: handler.generate_schema(cls) for kind, cls in self.variants.items()}
        return core_schema.tagged_union_schema(choices, "kind")

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        found = handler(schema) | {"description": f"One of {', '.join(self.variants)}."}
        if self.is_bare:
            found["oneOf"].insert(0, {"enum": list(self.variants), "description": "A kind with every default."})
        return found | ({"default": self.default} if self.default else {})


@dataclass(frozen=True)
class Must:
    """An annotation: the rule for a value in words, whatever is wrong with it or in it."""

    rule: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.custom_error_schema(handler(source), "must", custom_error_message=self.rule)


@dataclass(frozen=True)
class SchemaAs:
    """An annotation: an open dictionary that an editor sees as a shape, found when the JSON schema is asked for."""

    shape: Callable[[], Shape[Any]]

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(self.shape().adapter.core_schema)


class Shape(Generic[_Built]):
    """What documents are decoded to: a type that pydantic knows."""

    def __init__(self, kind: Any, config: ConfigDict | None = STRICT) -> None:
        self.kind = kind
        self.adapter: TypeAdapter[_Built] = TypeAdapter(kind, config=config)

    def decode(self, document: Any) -> tuple[_Built | None, dict[str, str]]:
        """What a document of JSON types says, or None and its faults: each rule by its path."""
        try:
            # Through JSON: strict validation of Python values would refuse a list where a tuple is due.
            return self.adapter.validate_json(json.dumps(document)), {}
        except ValidationError as error:
            return None, rules_of(error, self.kind, document)


@cache
def shape_of(model: Any) -> Shape[Any]:
    """The shape of a pydantic model, or of a dataclass with a configuration of its own."""
    return Shape(model, config=None)
