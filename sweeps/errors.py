"""Faults of a spec, collected in one pass, each with its path, and reported together."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from itertools import accumulate

_TOLD = 50  # faults printed; a grid may have thousands
_SHOWN = 60  # characters of an offending value
_LINE = 600  # characters of a fault


class SpecError(ValueError):
    """An invalid spec; `faults` lists each fault as "path: rule, got value"."""

    def __init__(self, faults: Iterable[str], source: str = "spec") -> None:
        self.faults = [_line(fault) for fault in faults]
        self.source = source
        super().__init__(self._message())

    @property
    def told(self) -> list[str]:
        """The first faults, and the number of further ones."""
        more = len(self.faults) - _TOLD
        return [*self.faults[:_TOLD], *([f"… and {more} more"] if more > 0 else [])]

    def _message(self) -> str:
        if len(self.faults) == 1:
            return f"{self.source}: {self.faults[0]}"
        return "\n  ".join([f"{self.source}: {len(self.faults)} faults", *self.told])

    def __reduce__(self) -> tuple[type[SpecError], tuple[list[str], str]]:
        return type(self), (self.faults, self.source)


class ConfigError(ValueError):
    """A dictionary that is no program or schedule; `faults` lists every fault as "path: rule, got value"."""

    def __init__(self, faults: dict[str, str]) -> None:
        self.faults = [f"{path}: {rule}" if path else rule for path, rule in faults.items()]
        super().__init__("; ".join(self.faults))


class Faults:
    """Faults in the order they were found, without duplicates."""

    def __init__(self) -> None:
        self._found: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, path: str, rule: str) -> None:
        """Add a fault; an empty path means the whole spec."""
        self._found[f"{path}: {rule}" if path else rule] = None

    def must(self, path: str, rule: str, value: object) -> None:
        """Add the fault that a value breaks a rule: "epochs: must be an integer, got 'ten'"."""
        self.add(path, f"must {rule}, got {shown(value)}")

    def raise_if_any(self, source: str) -> None:
        """Raise `SpecError` with all faults."""
        if self._found:
            raise SpecError(self._found, source)


def join(path: str, name: object) -> str:
    """Return the path of a field or list item: `join("arms", "abel")` is "arms.abel", `join("seeds", 0)` is "seeds[0]"."""
    if isinstance(name, int):
        return f"{path}[{name}]"
    return f"{path}.{name}" if path else str(name)


def leads(field: str, path: str) -> bool:
    """Whether a path leads to a field, whose name may itself have dots, or to something within it."""
    return path == field or path.startswith((f"{field}.", f"{field}["))


def shown(value: object) -> str:
    """Return a value as a spec would write it, on one line and truncated."""
    try:
        text = json.dumps(value, ensure_ascii=True) if not isinstance(value, str) else ascii(value)
    except (TypeError, ValueError):
        text = ascii(value)
    return short(text)


def short(text: str) -> str:
    """Return a value's text, truncated."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def on_one_line(text: str) -> str:
    """Return a text as a fault has it: on one line, without control characters."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return the rule that an unknown name breaks: "unknown key, did you mean 'seeds'? (known: …)"."""
    names = list(known)
    by_letters = {known.lower(): known for known in names}
    near = difflib.get_close_matches(name[:_LINE].lower(), by_letters, n=1)
    guess = f", did you mean {by_letters[near[0]]!r}?" if near else ""
    return f"unknown {what}{guess} (known: {_listed(names) or 'none'})"


def _listed(names: Sequence[str]) -> str:
    """Return the names, or as many of the first ones as leave room in a fault."""
    kept = sum(length < _LINE // 2 for length in accumulate(len(name) + 2 for name in names))
    return ", ".join([*names[:kept], *([f"… {len(names) - kept} more"] if kept < len(names) else [])])


def _line(fault: str) -> str:
    """Return a printable fault; a long one is shortened in the middle."""
    text = on_one_line(fault)
    return text if len(text) <= _LINE else f"{text[: _LINE * 2 // 3]} … {text[-_LINE // 3 :]}"
