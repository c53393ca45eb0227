"""Errors of pydantic and of dataclasses reworded for users: all faults at once, as broken rules by path.

pydantic reports the faults of all fields, but a dataclass's own checks in `__post_init__` raise at the first fault. To find
the others, each rejected value is replaced by a harmless one and the checks run again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError

from sweeps.errors import join, shown, unknown

_OWN = re.compile(r"(?P<field>\w+)(?:\[(?P<index>\d+)\])? (?P<rule>must .*)", re.DOTALL)
_ABSENT = object()
_STAND_INS = (_ABSENT, 1_000_000, 0.5, (1,))  # the default if there is one, else a value for each type of field
_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument")
_RULES = {
    "int_type": "be an integer",
    "int_from_float": "be an integer",
    "float_type": "be a number",
    "finite_number": "be finite",
    "string_type": "be text",
    "bool_type": "be true or false",
    "dict_type": "be a mapping",
    "model_type": "be a mapping",
    "dataclass_type": "be a mapping",
    "list_type": "be a list",
    "tuple_type": "be a list",
    "too_short": "not be empty",
    "greater_than": "be above {gt:g}",
    "greater_than_equal": "be at least {ge:g}",
    "less_than_equal": "be at most {le:.10g}",
    "string_too_long": "have at most {max_length} characters",
    "literal_error": "be {expected}",
}


class _Place(NamedTuple):
    """Where a fault is: its path, the expected type (for a union, classes by tag), and the given value."""

    path: str
    due: Any
    given: Any

    def below(self, part: int | str) -> _Place:
        """Return the place one part of pydantic's location further down; tags and "[key]" are not part of a path."""
        if isinstance(self.due, Mapping):
            return self._replace(due=self.due[str(part)])
        if part == "[key]":
            return self
        within = isinstance(part, str) and isinstance(self.given, Mapping) and part in self.given
        within |= isinstance(part, int) and isinstance(self.given, list) and part < len(self.given)
        return _Place(join(self.path, part), _due(self.due, part), self.given[part] if within else None)


def rules_of(error: ValidationError, due: Any, document: Any) -> dict[str, str]:
    """Return the broken rule of each fault, with the value, by the fault's path in the document."""
    found: dict[str, str] = {}
    dataclasses: dict[str, _Place] = {}
    for detail in error.errors(include_url=False):
        parts = detail["loc"][:-1] if detail["type"] in _UNKNOWN_KEY else detail["loc"]
        place = _Place("", _bare(due), document)
        for passed in (place, *(place := place.below(part) for part in parts)):
            if is_dataclass(passed.due) and isinstance(passed.given, Mapping):
                dataclasses[passed.path] = passed
        path, rule = _told(dict(detail), place)
        found.setdefault(path, rule)
    for passed in dataclasses.values():
        _ask(passed, found)
    return found


def _told(detail: dict[str, Any], place: _Place) -> tuple[str, str]:
    """Return the path and the broken rule of one pydantic error."""
    match detail["type"]:
        case "missing":
            return place.path, "is missing"
        case "json_invalid":  # in JSON written by Python, only lone surrogates are invalid
            return place.path, "must be Unicode text"
        case "extra_forbidden" | "unexpected_keyword_argument":
            name = str(detail["loc"][-1])
            return join(place.path, name), unknown("key", name, _names(place.due))
        case "must":
            return place.path, _with_value(detail["msg"], detail["input"])
        case "union_tag_invalid" | "union_tag_not_found":
            tag = detail["ctx"]["discriminator"].replace("'", "")
            return join(place.path, tag), _kind_rule(place, tag)
        case "value_error":
            text = str(detail["ctx"]["error"])
            own = _OWN.fullmatch(text) if is_dataclass(place.due) else None
            if own:
                return join(place.path, own["field"]) + _item(own), own["rule"]
            return place.path, text if is_dataclass(place.due) else _with_value(text, detail["input"])
    rule = _RULES.get(detail["type"], f"be valid ({detail['msg']})").format(**detail.get("ctx", {}))
    return place.path, _with_value(rule + " with a kind" * isinstance(place.due, Mapping), detail["input"])


def _kind_rule(place: _Place, tag: str) -> str:
    kind, kinds = place.given, list(place.due)
    for part in tag.split("."):
        if not isinstance(kind, Mapping) or part not in kind:
            return "is missing"
        kind = kind[part]
    return unknown("kind", kind, kinds) if isinstance(kind, str) else _with_value(f"be one of {', '.join(kinds)}", kind)


def _with_value(rule: str, value: Any) -> str:
    return f"must {rule.removeprefix('must ')}, got {shown(value)}"


def _item(own: re.Match[str]) -> str:
    return f"[{own['index']}]" if own["index"] else ""


def _ask(place: _Place, found: dict[str, str]) -> None:
    """Add the faults that a dataclass's own checks find; they replace type errors, which say less."""
    below = {
        name: [path for path in found if re.match(re.escape(join(place.path, name)) + r"(?![\w-])", path)]
        for name in _names(place.due)
    }
    refused = _refused(place.due, place.given, {name for name, paths in below.items() if paths})
    for name, own in ((name, refused[name]) for name in place.given if name in refused):
        for path in below[name]:
            del found[path]
        found[join(place.path, name) + _item(own)] = _own_rule(own, place.given[name])


def _own_rule(own: re.Match[str], value: Any) -> str:
    rule, got, _ = own["rule"].partition(", got ")
    if own["index"] and isinstance(value, list) and int(own["index"]) < len(value):
        value = value[int(own["index"])]
    return _with_value(rule, value)


def _refused(cls: type[Any], given: Mapping[str, Any], faulty: Collection[str]) -> dict[str, re.Match[str]]:
    """Return the values that a dataclass's own checks reject, by field, as matches of their messages."""
    items = {item.name: item for item in fields(cls)}
    required = {name for name, item in items.items() if item.default is item.default_factory is MISSING}
    values = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items() if name in items
    }
    held = {name: value for name, value in values.items() if name not in faulty}
    untried = {name: iter(_STAND_INS[1:] if name in required else _STAND_INS) for name in items}
    held |= {name: next(untried[name]) for name in required - held.keys()}
    found: dict[str, re.Match[str]] = {}
    while (own := _refusal(cls, held)) and own["field"] in items:
        name = own["field"]
        if name in values and name not in faulty:
            found.setdefault(name, own)
        stand_in = next(untried[name], None)
        if stand_in is None:
            break
        held[name] = stand_in
        held = {name: value for name, value in held.items() if value is not _ABSENT}
    for name in faulty & values.keys():
        own = _refusal(cls, held | {name: values[name]})
        if own and own["field"] == name:
            found[name] = own
    return found


def _refusal(cls: type[Any], values: Mapping[str, Any]) -> re.Match[str] | None:
    """Return the match of the error that a dataclass raises for one of its fields at construction, or None."""
    try:
        cls(**values)
    except ValueError as error:
        return _OWN.fullmatch(str(error))
    except Exception:
        return None  # a check failed on a value of another type
    return None


def _bare(due: Any) -> Any:
    """Return a type without annotations and None; for a tagged union, its classes by tag."""
    while get_origin(due) in (Annotated, Union, UnionType):
        for note in getattr(due, "__metadata__", ()):
            if hasattr(note, "variants"):
                return note.variants
        due = next(kind for kind in get_args(due) if kind is not NoneType)
    return due


def _due(due: Any, part: int | str) -> Any:
    """Return the expected type of a field, a key or an item."""
    if _names(due):
        return _bare(_hints(due).get(str(part), Any))
    return _bare(get_args(due)[get_origin(due) is dict]) if get_args(due) else Any


def _names(due: Any) -> list[str]:
    if is_dataclass(due):
        return [item.name for item in fields(due)]
    return list(due.model_fields) if isinstance(due, type) and issubclass(due, BaseModel) else []


@cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)
