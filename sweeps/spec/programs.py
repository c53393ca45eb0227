"""Programs as specs word them: kinds that need not be named, and sizes that no machine could hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from workers.config import ConfigError, Program, from_dict

KINDS: Mapping[str, str] = {"task": "classify", "optimizer": "sgd"}  # where a spec names none
MOST_EXAMPLES = 10_000_000  # digit pairs, 512 bytes each
MOST_WIDTH = 4096  # of a first layer, whose square is in the number of parameters
MOST_PIXELS = 1_000_000
MOST = 2**31 - 1  # what an index on a device can count

_SIZES: Mapping[str, Mapping[str, int]] = {
    "digit_pairs": {"train": MOST_EXAMPLES, "test": MOST_EXAMPLES},
    "vgg5": {"width": MOST_WIDTH},
    "small_cnn": {"width": MOST_WIDTH},
}
_NO_SIZE = ("kind", "seed")


def with_kinds(values: Any) -> Any:
    """A program's dictionary with the kinds that it leaves out."""
    if not isinstance(values, Mapping):
        return values
    given = {name: values.get(name, kind) for name, kind in KINDS.items()}
    return {**values, **{name: _with_kind(part, KINDS[name]) for name, part in given.items()}}


def program_from_dict(values: Any) -> Program:
    """The program of a dictionary; `ConfigError` lists its faults, sizes out of bounds among them."""
    program = from_dict(with_kinds(values))
    if faults := list(_too_large(program)):
        raise ConfigError(faults)
    return program


def _with_kind(part: Any, kind: str) -> Any:
    return {"kind": kind, **part} if isinstance(part, Mapping) and "kind" not in part else part


def _too_large(program: Program) -> Iterator[str]:
    """Whole numbers above their bound, as "model.width: must be at most 4,096, got 10000"."""
    parts: dict[str, Any] = {name: getattr(program, name) for name in ("model", "data", "optimizer", "augment")}
    named = [(f"{name}.{item.name}", part, item.name) for name, part in parts.items() for item in fields(part)]
    for path, owner, name in [("batch_size", program, "batch_size"), *named]:
        value = getattr(owner, name)
        if name in _NO_SIZE or not isinstance(value, int):
            continue
        bounds = _SIZES.get(getattr(owner, "kind", ""), {})
        most = bounds.get(name, MOST_PIXELS if path.startswith("augment.") else MOST)
        if value > most:
            yield f"{path}: must be at most {most:,}, got {value}"
