"""Decoding of programs: from specs, with bare and default kinds and bounds on sizes, and from the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import Field, field, fields, is_dataclass, make_dataclass
from functools import cache
from typing import Annotated, Any, get_type_hints

from sweeps.errors import ConfigError, shown
from sweeps.spec.shapes import STRICT, Shape, Tagged
from workers import plugins
from workers.config import Program

KINDS: Mapping[str, str] = {"task": "classify", "optimizer": "sgd"}  # defaults
MOST_EXAMPLES = 10_000_000  # digit pairs, 512 bytes each
MOST_WIDTH = 4096  # of a first layer; the number of parameters grows with its square
MOST_DEPTH = 2000  # layers; a network is built and compiled layer by layer
MOST_FEATURES = 16_384  # of a token
MOST_TOKENS = 1_000_000  # of a vocabulary
MOST_PIXELS = 1_000_000
MOST_SIDE = 4096  # of streamed images, in pixels
MOST = 2**31 - 1  # largest index on a device

_SIZES: Mapping[str, Mapping[str, int]] = {
    "digit_pairs": {"train": MOST_EXAMPLES, "test": MOST_EXAMPLES},
    "vgg5": {"width": MOST_WIDTH},
    "vgg16": {"width": MOST_WIDTH},
    "wide_resnet": {"width": MOST_WIDTH, "depth": MOST_DEPTH},
    "pyramid_net": {"depth": MOST_DEPTH},
    "resnet50": {"width": MOST_WIDTH},
    "small_cnn": {"width": MOST_WIDTH},
    "mlp": {"width": MOST_WIDTH, "layers": MOST_DEPTH},
    "nature_cnn": {"width": MOST_WIDTH},
    "tfds": {"side": MOST_SIDE},
    "encoder_decoder": {"layers": MOST_DEPTH, "width": MOST_FEATURES, "mlp": MOST_FEATURES},
    "text_pairs": {"vocabulary_size": MOST_TOKENS},
}
_NO_SIZE = ("kind", "seed")
_OF_PIXELS = "workers.data.augment"  # not imported here: it needs JAX, which takes a second


def decode_program(given: Any, epochs: int | None = None) -> tuple[Program | None, dict[str, str]]:
    """Return the program of a dictionary, or None, and its faults: broken rules by path.

    With the number of epochs of a spec, fields that follow from it may be missing.
    """
    if not isinstance(given, Mapping):
        return None, {"": f"must be a mapping, got {shown(given)}"}
    no_task = "task" in given and not isinstance(given["task"], str | Mapping)
    faulty = {"task": f"must be a mapping with a kind, got {shown(given['task'])}"} if no_task else {}
    given = with_kinds({name: part for name, part in given.items() if name not in faulty})
    if epochs is not None:
        given = _class_of(given).with_length(given, epochs)
    parts, found = program_shape().decode(given)
    found |= faulty
    for name, group in _groups(given).items():
        part = given.get(name)
        kind = part.get("kind") if isinstance(part, Mapping) else None
        if isinstance(kind, str) and kind in (broken := installed(group)[1]):
            found[f"{name}.kind"] = broken[kind]
    program = type(parts.task).program(**vars(parts)) if parts is not None else None
    found |= dict(_too_large(program)) if program is not None else {}
    return (None, found) if found else (program, found)


def program_from_dict(values: Mapping[str, Any]) -> Program:
    """Return the program of a canonical dictionary, also one of an earlier version, which lacks later fields.

    Raises:
        ConfigError: with all faults of the dictionary.
    """
    program, faults = decode_program(values)
    if program is None:
        raise ConfigError(faults)
    return program


def with_kinds(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a program's dictionary with default kinds filled in and bare kinds expanded to mappings."""
    named, groups = {**KINDS, **given}, _groups(given)
    return {name: _with_kind(part, KINDS.get(name)) if name in groups else part for name, part in named.items()}


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
    """Return any program as a pydantic shape: the union of the programs of the installed tasks."""
    programs = {kind: _program_type(kind, task) for kind, task in installed(plugins.TASKS)[0].items()}
    tagged = Tagged(programs or {"none": Program}, tag=("task", "kind"))
    return Shape(Annotated[Any, tagged])


def _program_type(kind: str, task: type[Any]) -> type[Any]:
    """Return the dataclass of a task's programs, in which each group is the union of the installed variants."""
    cls = task.program
    if not issubclass(cls, Program):
        raise TypeError(f"its program must be a subclass of workers.config.Program, got {cls.__name__}")
    hints = get_type_hints(cls)
    unions = {
        name: Annotated[Any, Tagged(installed(group)[0], default=KINDS.get(name), is_bare=True)]
        for name, group in _groups_of(cls).items()
        if name != "task"
    }
    default = kind if kind == KINDS["task"] else None
    unions["task"] = Annotated[Any, Tagged({kind: task}, default=default, is_bare=True)]
    members = [(item.name, unions.get(item.name, hints[item.name]), _default(item)) for item in fields(cls)]
    namespace = {"__doc__": cls.__doc__, "__pydantic_config__": STRICT}
    return make_dataclass(cls.__name__, members, bases=(cls,), namespace=namespace, frozen=True, kw_only=True)


def _default(item: Field[Any]) -> Any:
    return field(default=item.default, default_factory=item.default_factory)


def _groups(given: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the plug-in group of each tagged part that a program of the given task has."""
    return _groups_of(_class_of(given))


def _class_of(given: Mapping[str, Any]) -> Any:
    """Return the class of the given task's programs."""
    task = given.get("task", KINDS["task"])
    kind = task.get("kind", KINDS["task"]) if isinstance(task, Mapping) else task
    found = installed(plugins.TASKS)[0].get(kind) if isinstance(kind, str) else None
    return Program if found is None else found.program


@cache
def _groups_of(cls: type[Program]) -> Mapping[str, str]:
    return {item.name: item.metadata["group"] for item in fields(cls) if "group" in item.metadata}


@cache
def installed(group: str) -> tuple[dict[str, type[Any]], dict[str, str]]:
    """Return the variants of a group by kind, and the faults of those that cannot be used."""
    found: dict[str, type[Any]] = {}
    broken: dict[str, str] = {}
    for kind in plugins.kinds(group):
        try:
            variant = plugins.find(group, kind)
            Shape(Annotated[Any, Tagged({kind: _program_type(kind, variant) if group == plugins.TASKS else variant})])
        except plugins.PluginError as error:
            broken[kind] = str(error)
        except Exception as error:  # a plug-in's annotations may contain unknown names
            broken[kind] = f"{group} {kind!r} has a field that a spec cannot express: {' '.join(str(error).split())}"
        else:
            found[kind] = variant
    return found, broken


def forget() -> None:
    """Clear the caches of installed kinds, which otherwise last for the life of the process."""
    for function in (program_shape, installed):
        function.cache_clear()
    plugins.look_again()


def most_allowed(part: type[Any], name: str) -> int:
    """Return the largest integer that a spec may give to a field of a program or of one of its parts."""
    most = MOST_PIXELS if part.__module__ == _OF_PIXELS else MOST
    return _SIZES.get(getattr(part, "kind", ""), {}).get(name, most)


def _too_large(program: Program) -> Iterator[tuple[str, str]]:
    """Yield the path of each integer above its bound, with the broken rule."""
    parts = {item.name: getattr(program, item.name) for item in fields(program)}
    named = [
        (f"{name}.{item.name}", part, item.name)
        for name, part in parts.items()
        if is_dataclass(part)
        for item in fields(part)
    ]
    for path, owner, name in [*((name, program, name) for name in parts), *named]:
        value = getattr(owner, name)
        if name in _NO_SIZE or not isinstance(value, int):
            continue
        most = most_allowed(type(owner), name)
        if value > most:
            yield path, f"must be at most {most:,}, got {value}"
