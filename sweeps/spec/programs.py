"""Decoding of programs in specs: bare and default kinds, and bounds on sizes that no machine could hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field, fields, make_dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Annotated, Any, get_type_hints

from sweeps.errors import shown
from sweeps.spec.shapes import STRICT, Shape, Tagged
from workers import plugins
from workers.config import Program

KINDS: Mapping[str, str] = {"task": "classify", "optimizer": "sgd"}  # defaults
MOST_EXAMPLES = 10_000_000  # digit pairs, 512 bytes each
MOST_WIDTH = 4096  # of a first layer; the number of parameters grows with its square
MOST_DEPTH = 2000  # layers; a network is built and compiled layer by layer
MOST_PIXELS = 1_000_000
MOST = 2**31 - 1  # largest index on a device

_GROUPS: Mapping[str, str] = {item.name: item.metadata["group"] for item in fields(Program) if item.metadata}
_SIZES: Mapping[str, Mapping[str, int]] = {
    "digit_pairs": {"train": MOST_EXAMPLES, "test": MOST_EXAMPLES},
    "vgg5": {"width": MOST_WIDTH},
    "vgg16": {"width": MOST_WIDTH},
    "wide_resnet": {"width": MOST_WIDTH, "depth": MOST_DEPTH},
    "pyramid_net": {"depth": MOST_DEPTH},
    "resnet50": {"width": MOST_WIDTH},
    "small_cnn": {"width": MOST_WIDTH},
}
_NO_SIZE = ("kind", "seed")


def decode_program(given: Any) -> tuple[Program | None, dict[str, str]]:
    """Return the program of a dictionary, or None, and its faults: broken rules by path."""
    if not isinstance(given, Mapping):
        return None, {"": f"must be a mapping, got {shown(given)}"}
    given = with_kinds(given)
    parts, found = program_shape().decode(given)
    for name, group in _GROUPS.items():
        part = given.get(name)
        kind = part.get("kind") if isinstance(part, Mapping) else None
        if isinstance(kind, str) and kind in (broken := _installed(group)[1]):
            found[f"{name}.kind"] = broken[kind]
    program = Program(**vars(parts)) if parts is not None else None
    found |= dict(_too_large(program)) if program is not None else {}
    return (None, found) if found else (program, found)


def with_kinds(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a program's dictionary with default kinds filled in and bare kinds expanded to mappings."""
    named = {**KINDS, **given}
    return {name: _with_kind(part, KINDS.get(name)) if name in _GROUPS else part for name, part in named.items()}


def replaced(document: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy of nested dictionaries with the value at a dotted path replaced."""
    name, _, rest = path.partition(".")
    below = document.get(name)
    return {**document, name: replaced(below if isinstance(below, Mapping) else {}, rest, value) if rest else value}


def _with_kind(part: Any, default: str | None) -> Any:
    if isinstance(part, str):
        return {"kind": part}
    return {"kind": default, **part} if isinstance(part, Mapping) and default else part


@cache
def program_shape() -> Shape[Any]:
    """Return `Program` as a pydantic shape: each group is the union of the installed variants."""
    hints = get_type_hints(Program)
    unions = {
        name: Annotated[Any, Tagged(_installed(group)[0], default=KINDS.get(name), is_bare=True)]
        for name, group in _GROUPS.items()
    }
    members = [
        (item.name, unions.get(item.name, hints[item.name]), field(default=item.default)) for item in fields(Program)
    ]
    namespace = {"__post_init__": Program.__post_init__, "__doc__": Program.__doc__, "__pydantic_config__": STRICT}
    cls = make_dataclass("Program", members, namespace=namespace, frozen=True, kw_only=True)
    return Shape(cls, config=None)


@cache
def _installed(group: str) -> tuple[dict[str, type[Any]], dict[str, str]]:
    """Return the variants of a group by kind, and the faults of those that cannot be used."""
    found: dict[str, type[Any]] = {}
    broken: dict[str, str] = {}
    for kind in sorted(entry_points(group=group).names):
        try:
            variant = plugins.find(group, kind)
            Shape(Annotated[Any, Tagged({kind: variant})])
        except plugins.PluginError as error:
            broken[kind] = str(error)
        except Exception as error:  # a plug-in's annotations may contain unknown names
            broken[kind] = f"{group} {kind!r} has a field that a spec cannot express: {' '.join(str(error).split())}"
        else:
            found[kind] = variant
    return found, broken


def forget() -> None:
    """Clear the caches of installed kinds, which otherwise last for the life of the process."""
    for function in (program_shape, _installed, plugins.find, plugins.variants):
        function.cache_clear()


def _too_large(program: Program) -> Iterator[tuple[str, str]]:
    """Yield the path of each integer above its bound, with the broken rule."""
    parts: dict[str, Any] = {name: getattr(program, name) for name in ("model", "data", "optimizer", "augment")}
    named = [(f"{name}.{item.name}", part, item.name) for name, part in parts.items() for item in fields(part)]
    for path, owner, name in [("batch_size", program, "batch_size"), *named]:
        value = getattr(owner, name)
        if name in _NO_SIZE or not isinstance(value, int):
            continue
        bounds = _SIZES.get(getattr(owner, "kind", ""), {})
        most = bounds.get(name, MOST_PIXELS if path.startswith("augment.") else MOST)
        if value > most:
            yield path, f"must be at most {most:,}, got {value}"
