"""Reads a spec's text, YAML or JSON, into plain Python values with every surprise refused.

Plain `yaml.safe_load` reads `1e-3` as text, `no` as false and `010` as 8, keeps the last of two equal keys, and lets
nine lines of aliases stand for 10^9 items. Here numbers and booleans are those of YAML 1.2, and what JSON could not say
(aliases, tags, equal keys, many documents) is a fault with its place.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sweeps.errors import Faults, SpecError, join

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_PROBLEM = 200
_MAX_DIGITS = 18  # longer integers become floats, so that no rule meets one of 5,000 digits

_CORE = "tag:yaml.org,2002:"
_INT = re.compile(r"^[-+]?[0-9]+$")
_SCALARS = {
    "null": (re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    "int": (_INT, list("-+0123456789")),
    "float": (
        re.compile(
            r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        ),
        list("-+.0123456789"),
    ),
}


def load(text: str, source: str, faults: Faults) -> Any:
    """The document in a spec's text: dicts, lists, text, numbers, booleans and None.

    JSON if `source` ends in ".json", else YAML. Of equal keys the first is kept and the others are noted in `faults`;
    text that cannot be read at all raises `SpecError`.
    """
    text = text.removeprefix("\ufeff")
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > MAX_BYTES:
        raise SpecError([f"must have at most {MAX_BYTES} bytes, got {size}"], source)
    value = _load_json(text, source) if source.endswith(".json") else _load_yaml(text, source)
    if _depth_exceeds(value, MAX_DEPTH):
        raise SpecError([f"must be nested at most {MAX_DEPTH} deep"], source)
    return _plain(value, "", faults)


class _Entry(NamedTuple):
    key: str
    value: Any
    line: int | None  # from 1; None where the reader does not tell


class _Mapping(list[_Entry]):
    """A mapping as it was written, equal keys included."""


def _plain(value: Any, path: str, faults: Faults) -> Any:
    """The value with dicts for `_Mapping`; equal keys and text that is not Unicode are noted."""
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


def _depth_exceeds(value: Any, limit: int) -> bool:
    items = [entry.value for entry in value] if isinstance(value, _Mapping) else value
    return isinstance(items, list) and (limit == 0 or any(_depth_exceeds(item, limit - 1) for item in items))


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= _MAX_DIGITS else float(text)


def _load_json(text: str, source: str) -> Any:
    def mapping(pairs: list[tuple[str, Any]]) -> _Mapping:
        return _Mapping(_Entry(key, value, None) for key, value in pairs)

    try:
        return json.loads(text, object_pairs_hook=mapping, parse_int=_integer)
    except RecursionError:
        raise SpecError([f"must be nested at most {MAX_DEPTH} deep"], source) from None
    except json.JSONDecodeError as error:
        raise SpecError([f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}"], source) from None


def _load_yaml(text: str, source: str) -> Any:
    try:
        node = _Loader(text).get_single_node()
        return None if node is None else _value(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise SpecError([place + _short(str(error.problem or error.context))], source) from None
    except yaml.YAMLError as error:
        raise SpecError([_short(" ".join(str(error).split()))], source) from None


def _short(text: str) -> str:
    """A problem of the reader's, which may quote a line of any length."""
    return text if len(text) <= MAX_PROBLEM else f"{text[:MAX_PROBLEM]}…"


class _Loader(yaml.SafeLoader):
    """A reader that stops at what a spec may not contain, before it costs anything."""

    # Not SafeLoader's table, which is YAML 1.1's.
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """Refuse aliases, anchors, tags and depth at the event, then compose as usual."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise yaml.MarkedYAMLError(problem="anchors and aliases are not allowed", problem_mark=event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(problem=f"tags are not allowed, got {event.tag}", problem_mark=event.start_mark)
        self._check_depth(self.depth, event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def fetch_flow_collection_start(self, TokenClass: type[yaml.Token]) -> None:
        """Refuse depth in the scanner too, which reads up to 1,024 brackets ahead, each slower than the last."""
        self._check_depth(self.flow_level, self.get_mark())
        super().fetch_flow_collection_start(TokenClass)

    def _check_depth(self, depth: int, mark: yaml.Mark) -> None:
        if depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"must be nested at most {MAX_DEPTH} deep", problem_mark=mark)


for _name, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(_CORE + _name, _pattern, _first)


def _value(node: Node) -> Any:
    """The value of a composed node."""
    if isinstance(node, MappingNode):
        return _Mapping(_Entry(_key(key), _value(value), key.start_mark.line + 1) for key, value in node.value)
    if isinstance(node, SequenceNode):
        return [_value(item) for item in node.value]
    assert isinstance(node, ScalarNode)
    return _scalar(node.tag.removeprefix(_CORE), node.value)


def _key(node: Node) -> str:
    if not isinstance(node, ScalarNode):
        raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=node.start_mark)
    return str(node.value)


def _scalar(tag: str, text: str) -> Any:
    if tag == "null":
        return None
    if tag == "bool":
        return text.lower() == "true"
    if tag == "int":
        return _integer(text)
    if tag == "float":
        return math.nan if "nan" in text.lower() else float(text.lower().replace(".inf", "inf"))
    return text
