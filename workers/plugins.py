"""Lookup of tasks, models, data sources and optimisers by name, through entry points.

Built-in variants use the same groups. A user's package adds a variant by declaring, for example:

    [project.entry-points."abel.models"]
    my_net = "my_package.nets:MyNet"

`MyNet` is a frozen dataclass whose field `kind` equals the entry point's name.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

TASKS = "abel.tasks"
MODELS = "abel.models"
DATA = "abel.data"
OPTIMIZERS = "abel.optimizers"
GROUPS = {"task": TASKS, "model": MODELS, "data": DATA, "optimizer": OPTIMIZERS}  # by the part of a program


class PluginError(ValueError):
    """An entry point that is unknown, registered twice, not importable or not a variant."""


class VariantError(ValueError):
    """A variant of a user's package raised an error; the message names both."""


@cache
def variants(group: str) -> dict[str, type[Any]]:
    """Import and return every variant of a group, sorted by kind."""
    return {kind: find(group, kind) for kind in kinds(group)}


def kinds(group: str) -> list[str]:
    """Return the kind of every variant of a group, sorted; imports none."""
    return sorted(_registered()[group])


@cache
def find(group: str, kind: str) -> type[Any]:
    """Return the variant of a group with this kind; imports no other."""
    registered = _registered()[group]
    if kind not in registered:
        known = ", ".join(sorted(registered)) or "none"
        raise PluginError(f"{kind!r} is not one of {group} (known: {known})")
    entry, *others = registered[kind]
    if others:
        raise PluginError(f"{group} {kind!r} is registered twice: {entry.value} and {others[0].value}")
    try:
        variant = entry.load()
    except Exception as error:
        raise PluginError(f"{group} {kind!r} ({entry.value}) cannot be imported: {error}") from error
    return _checked(group, entry, variant)


def look_again() -> None:
    """Look for installed variants anew, after a package was installed."""
    for function in (find, variants, _registered):
        function.cache_clear()


@cache
def _registered() -> dict[str, dict[str, list[EntryPoint]]]:
    """Return our groups' entry points by group and name, one for each class; two for one name are a fault of that name."""
    found: dict[str, dict[str, dict[str, EntryPoint]]] = {}
    installed = entry_points()  # once: each call reads the files of all packages
    for group in GROUPS.values():
        names = found.setdefault(group, {})
        for entry in installed.select(group=group):
            names.setdefault(entry.name, {}).setdefault(entry.value, entry)
    return {group: {name: list(classes.values()) for name, classes in names.items()} for group, names in found.items()}


def _checked(group: str, entry: EntryPoint, variant: Any) -> type[Any]:
    """Return the loaded object if it is a frozen dataclass whose `kind` equals its name, else raise."""
    frozen = isinstance(variant, type) and is_dataclass(variant) and variant.__dataclass_params__.frozen  # type: ignore[attr-defined]
    if not frozen:
        raise PluginError(f"{group} {entry.name!r} ({entry.value}) must be a frozen dataclass, got {variant!r}")
    kind = next((field.default for field in fields(variant) if field.name == "kind"), None)
    if kind != entry.name:
        raise PluginError(f"{group} {entry.name!r} ({entry.value}) must have kind {entry.name!r}, got {kind!r}")
    if group == TASKS and not is_dataclass(getattr(variant, "program", None)):
        raise PluginError(f"{group} {entry.name!r} ({entry.value}) must have a class attribute program, a dataclass")
    return variant  # type: ignore[no-any-return]


@contextmanager
def blamed(*variants: Any) -> Iterator[None]:
    """Add the name of the failing variant to an error, unless a built-in variant's own message says what is wrong.

    Raises:
        DataError, ValueError: instead of any other error.
    """
    from workers.data import DataError  # NumPy, which looking a variant up does not need

    try:
        yield
    except (DataError, VariantError):
        raise
    except (Exception, SystemExit) as error:
        files = [frame.filename for frame in reversed(traceback.extract_tb(error.__traceback__))]
        by_file = {sys.modules[type(variant).__module__].__file__: type(variant) for variant in variants}
        kind = next((by_file[file] for file in files if file in by_file), type(variants[0]))
        if isinstance(error, ValueError) and kind.__module__.startswith("workers."):
            raise
        text = " ".join(str(error).split())
        raise VariantError(f"{kind.__module__}:{kind.__name__} raised {type(error).__name__}: {text}") from error
