"""Lookup of tasks, models, data sources and optimisers by name, through entry points.

Built-in variants use the same groups. A user's package adds a variant by declaring, for example:

    [project.entry-points."abel.models"]
    my_net = "my_package.nets:MyNet"

`MyNet` is a frozen dataclass whose field `kind` equals the entry point's name.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

TASKS = "abel.tasks"
MODELS = "abel.models"
DATA = "abel.data"
OPTIMIZERS = "abel.optimizers"


class PluginError(ValueError):
    """An entry point that is unknown, registered twice, not importable or not a variant."""


@cache
def variants(group: str) -> dict[str, type[Any]]:
    """Import and return every variant of a group, sorted by kind."""
    return {kind: find(group, kind) for kind in sorted(_registered(group))}


@cache
def find(group: str, kind: str) -> type[Any]:
    """Return the variant of a group with this kind; imports no other."""
    registered = _registered(group)
    if kind not in registered:
        known = ", ".join(sorted(registered)) or "none"
        raise PluginError(f"{kind!r} is not one of {group} (known: {known})")
    entry = registered[kind]
    try:
        variant = entry.load()
    except Exception as error:
        raise PluginError(f"{group} {kind!r} ({entry.value}) cannot be imported: {error}") from error
    return _checked(group, entry, variant)


def _registered(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name; one name for two different classes is an error."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise PluginError(f"{group} {entry.name!r} is registered twice: {other.value} and {entry.value}")
    return found


def _checked(group: str, entry: EntryPoint, variant: Any) -> type[Any]:
    """Return the loaded object if it is a frozen dataclass whose `kind` equals its name, else raise."""
    frozen = isinstance(variant, type) and is_dataclass(variant) and variant.__dataclass_params__.frozen  # type: ignore[attr-defined]
    if not frozen:
        raise PluginError(f"{group} {entry.name!r} ({entry.value}) must be a frozen dataclass, got {variant!r}")
    kind = next((field.default for field in fields(variant) if field.name == "kind"), None)
    if kind != entry.name:
        raise PluginError(f"{group} {entry.name!r} ({entry.value}) must have kind {entry.name!r}, got {kind!r}")
    return variant  # type: ignore[no-any-return]
