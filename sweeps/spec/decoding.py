"""Builds programs and schedules from a spec's dictionaries and tells everything that is wrong with them.

A constructor raises at its first fault. To find the others, what was faulty is replaced by something harmless and the
construction tried again, until nothing new comes up.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from abel.schedules import SCHEDULES, Schedule
from sweeps.errors import join, short, shown, unknown
from workers.config import ConfigError

_Built = TypeVar("_Built")

_GONE = object()
_STAND_INS = (_GONE, 1_000_000, 0.5, [1])  # absent, so that a default serves; else something for each type of field
_MESSAGE = re.compile(r"(?:(?P<path>[\w.-]+): )?(?:(?P<field>\w+)(?P<index>\[\d+\])? )?(?P<rule>must .*)", re.DOTALL)
_KNOWN = re.compile(r"(?P<before>.*) \(known: (?P<known>.*)\)", re.DOTALL)


def build(make: Callable[[Any], _Built], document: Any) -> tuple[_Built | None, dict[str, str]]:
    """What `make` builds from a document, and every fault by its path in the document, rule and value told."""
    built, found = _attempt(make, document)
    new, document = found, copy.deepcopy(document)
    while new:
        for path, rule in new.items():
            document = _repaired(make, document, path, rule)
        _, now = _attempt(make, document)
        new = {path: rule for path, rule in now.items() if path not in found}
        found = found | new
    return built, found


def not_whole(given: Any, canonical: Any, path: str = "") -> dict[str, str]:
    """Where a document spells a whole number as 64.0, with the rule that schedules, epochs and seeds have too.

    Args:
        canonical: what was built from it, as JSON types.
    """
    if isinstance(given, Mapping) and isinstance(canonical, Mapping):
        pairs = [(join(path, name), value, canonical[name]) for name, value in given.items() if name in canonical]
    elif isinstance(given, list) and isinstance(canonical, list):
        pairs = [(f"{path}[{index}]", *both) for index, both in enumerate(zip(given, canonical, strict=True))]
    else:
        is_whole = isinstance(canonical, int) and not isinstance(canonical, bool)
        return {path: f"must be a whole number, got {shown(given)}"} if is_whole and isinstance(given, float) else {}
    return {place: rule for name, value, built in pairs for place, rule in not_whole(value, built, name).items()}


def schedule_from_dict(values: Any) -> Schedule:
    """The schedule of a dictionary, found by its kind; `ConfigError` lists its faults."""
    if not isinstance(values, Mapping):
        raise ConfigError([f"must be a mapping with a kind, got {shown(values)}"])
    kind = values.get("kind")
    if not isinstance(kind, str):
        raise ConfigError([f"kind: must be one of {', '.join(SCHEDULES)}, got {shown(kind)}"])
    if kind not in SCHEDULES:
        raise ConfigError([f"kind: {unknown('schedule', kind, SCHEDULES)}"])
    variant = SCHEDULES[kind]
    known = {item.name: item for item in fields(variant)}
    faults = [f"{name}: {unknown('key', name, known)}" for name in values if name not in known]
    required = [name for name, item in known.items() if item.default is MISSING]
    faults += [f"{name}: is missing" for name in required if name not in values]
    if faults:
        raise ConfigError(faults)
    try:
        return variant(**values)
    except ValueError as error:
        raise ConfigError([str(error)]) from None


def _attempt(make: Callable[[Any], _Built], document: Any) -> tuple[_Built | None, dict[str, str]]:
    try:
        return make(document), {}
    except ConfigError as error:
        return None, dict(map(_located, error.faults))


def _located(fault: str) -> tuple[str, str]:
    """Path and rule of a fault: "model: width must be at least 1, got 0" is at "model.width"."""
    if match := _MESSAGE.fullmatch(fault):
        path = ".".join(part for part in (match["path"], match["field"]) if part)
        rule, got, value = match["rule"].partition(", got ")
        return path + (match["index"] or ""), rule + got + short(value)
    path, _, rule = fault.partition(": ")
    return path, _with_guess(path.rpartition(".")[2], rule)


def _with_guess(name: str, rule: str) -> str:
    """The rule for an unknown name, with the known one that was perhaps meant."""
    match = _KNOWN.fullmatch(rule)
    if match is None or "did you mean" in rule:
        return rule
    known = match["known"].split(", ")
    quoted = re.match(r"'(.*)' is not one of", match["before"])
    if quoted:
        return unknown("kind", quoted[1], known)
    return unknown("key", name, known) if match["before"] == "unknown key" else rule


def _repaired(make: Callable[[Any], object], document: Any, path: str, rule: str) -> Any:
    """The document with something harmless at a faulty path, or as it was where nothing helps."""
    field = path.partition("[")[0]
    candidates = [(field, stand_in) for stand_in in _STAND_INS]
    if field.endswith(".kind") and (known := _KNOWN.fullmatch(rule)):
        # The fields of an unknown variant cannot be judged: another one takes its place as a whole.
        candidates.append((field.removesuffix(".kind"), known["known"].split(", ")[0]))
    for place, stand_in in candidates:
        changed = replaced(document, place, stand_in)
        left = (other.partition("[")[0] for other in _attempt(make, changed)[1])
        if not any(field == other or field.startswith(f"{other}.") for other in left):
            return changed
    return document


def replaced(document: Any, path: str, value: Any) -> Any:
    """A copy of nested dictionaries with another value at a dotted path; a bare kind on the way becomes a mapping."""
    if isinstance(document, str):
        document = {"kind": document}
    if not isinstance(document, Mapping):
        return document
    name, _, rest = path.partition(".")
    changed = dict(document)
    if rest:
        changed[name] = replaced(changed.get(name, {}), rest, value)
    elif value is _GONE:
        changed.pop(name, None)
    else:
        changed[name] = value
    return changed
