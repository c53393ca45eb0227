"""Strict reader of a spec's text, YAML or JSON, into plain Python values.

ruamel.yaml turns the text into events with positions; this module builds the values. A general YAML loader reads `1_000` as
a number, `2026-01-01` as a date, and nine lines of aliases as 10^9 items. This one reads plain scalars by YAML 1.2's JSON
schema, and rejects what JSON cannot express (aliases, tags, several documents, duplicate keys) with its position.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from sweeps.errors import Faults, SpecError, join

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_PROBLEM = 200
_MAX_DIGITS = 18  # longer integers become floats, so no later check has to handle 5,000 digits

_WORDS: dict[str, Any] = {"": None, "~": None} | {
    spelling: value
    for word, value in (("null", None), ("true", True), ("false", False))
    for spelling in (word, word.capitalize(), word.upper())
}
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


def load_yaml(text: str, source: str, faults: Faults) -> Any:
    """Return the document in a spec's text: dicts, lists, strings, numbers, booleans and None.

    The text is JSON if `source` ends in ".json", else YAML. The first of several equal keys is kept; the others are added
    to `faults`.

    Raises:
        SpecError: the text cannot be parsed.
    """
    text = text.removeprefix("\ufeff")
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise SpecError([f"must have at most {MAX_BYTES} bytes, got {size}"], source)
    value = _load_json(text, source) if source.endswith(".json") else _load_yaml(text, source)
    return _plain(value, "", faults)


def load_lined(text: str, source: str, faults: Faults) -> tuple[Any, dict[tuple[str, ...], int]]:
    """Return the document in a YAML text as :func:`load_yaml` does, and the line (from 1) of every key by its path.

    Raises:
        SpecError: the text cannot be parsed.
    """
    found: dict[tuple[str, ...], int] = {}

    def note(value: Any, path: tuple[str, ...]) -> None:
        if isinstance(value, _Mapping):
            for key, item, line in value:
                if line is not None:
                    found.setdefault((*path, key), line)
                note(item, (*path, key))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                note(item, (*path, str(index)))

    note(value := _load_yaml(text.removeprefix("\ufeff"), source), ())
    return _plain(value, "", faults), found


def first_entries(text: str, names: Collection[str]) -> dict[str, Any]:
    """Return the entries of a YAML mapping up to the last of `names`; what follows is not read.

    Raises:
        MarkedYAMLError: an entry read on the way cannot be parsed.
    """
    events = YAML(typ="safe", pure=True).parse(text)
    missing, found = set(names), {}
    while missing and not isinstance(event := next(events), MappingEndEvent | StreamEndEvent):
        if isinstance(event, ScalarEvent):
            key, value, _ = _entry(event, events, 1)
            found[key] = _plain(value, key, Faults())
            missing.discard(key)
    return found


class _Entry(NamedTuple):
    key: str
    value: Any
    line: int | None  # from 1; None if unknown


class _Mapping(list[_Entry]):
    """A mapping as written, including duplicate keys."""


def _plain(value: Any, path: str, faults: Faults) -> Any:
    """Replace `_Mapping` by dict; add duplicate keys and text that is not Unicode to `faults`."""
    if isinstance(value, _Mapping):
        mapping: dict[str, Any] = {}
        for key, item, line in value:
            if key in mapping:
                faults.add(join(path, key), "duplicate key" + (f" in line {line}" if line else ""))
            else:
                mapping[_plain(key, path, faults)] = _plain(item, join(path, key), faults)
        return mapping
    if isinstance(value, list):
        return [_plain(item, join(path, index), faults) for index, item in enumerate(value)]
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        faults.must(path, "be Unicode text", value)
    return value


def _load_json(text: str, source: str) -> Any:
    def mapping(pairs: list[tuple[str, Any]]) -> _Mapping:
        return _Mapping(_Entry(key, value, None) for key, value in pairs)

    too_deep = SpecError([f"must be nested at most {MAX_DEPTH} deep"], source)
    try:
        value = json.loads(text, object_pairs_hook=mapping, parse_int=_integer)
    except RecursionError:
        raise too_deep from None
    except json.JSONDecodeError as error:
        raise SpecError([f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}"], source) from None
    if _depth_exceeds(value, MAX_DEPTH):
        raise too_deep
    return value


def _depth_exceeds(value: Any, limit: int) -> bool:
    items = [entry.value for entry in value] if isinstance(value, _Mapping) else value
    return isinstance(items, list) and (limit == 0 or any(_depth_exceeds(item, limit - 1) for item in items))


def _load_yaml(text: str, source: str) -> Any:
    try:
        return _document(YAML(typ="safe", pure=True).parse(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise SpecError([place + _short(str(error.problem or error.context))], source) from None
    except (YAMLError, ValueError) as error:  # a ValueError is an escape such as "\\U00110000"
        raise SpecError([_short(" ".join(str(error).split()))], source) from None


def _short(text: str) -> str:
    """Truncate a message of the YAML reader, which may quote a line of any length."""
    return text if len(text) <= MAX_PROBLEM else f"{text[:MAX_PROBLEM]}…"


def _document(events: Iterator[Any]) -> Any:
    """Return the value of the text's only document, or None."""
    value, is_first = None, True
    for event in events:
        if isinstance(event, DocumentStartEvent):
            if not is_first:
                _refuse(event, "must be a single document, but another one starts here")
            value, is_first = _value(next(events), events, 0), False
    return value


def _value(event: Any, events: Iterator[Any], depth: int) -> Any:
    """Return the value that an event starts; anything that a spec may not contain is rejected before it is built."""
    _check(event)
    if isinstance(event, ScalarEvent):
        is_plain, _ = event.implicit
        return _scalar(event.value) if is_plain else event.value
    if depth == MAX_DEPTH:
        _refuse(event, f"must be nested at most {MAX_DEPTH} deep")
    if isinstance(event, SequenceStartEvent):
        return [_value(item, events, depth + 1) for item in _until(SequenceEndEvent, events)]
    return _Mapping(_entry(key, events, depth + 1) for key in _until(MappingEndEvent, events))


def _entry(key: Any, events: Iterator[Any], depth: int) -> _Entry:
    _check(key)
    if not isinstance(key, ScalarEvent):
        _refuse(key, "a key must be text")
    return _Entry(str(key.value), _value(next(events), events, depth), key.start_mark.line + 1)


def _check(event: Any) -> None:
    """Reject anchors, aliases and tags: a value must depend only on its own text."""
    if isinstance(event, AliasEvent) or event.anchor is not None:
        _refuse(event, "anchors and aliases are not allowed")
    if event.tag is not None:
        _refuse(event, f"tags are not allowed, got {event.tag}")


def _until(end: type, events: Iterator[Any]) -> Iterator[Any]:
    """Yield the events up to the one that ends a collection."""
    while not isinstance(event := next(events), end):
        yield event


def _scalar(text: str) -> Any:
    """Return the value of an unquoted scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return _integer(text)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan")) if _FLOAT.fullmatch(text) else text


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= _MAX_DIGITS else float(text)


def _refuse(event: Any, problem: str) -> NoReturn:
    raise MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
