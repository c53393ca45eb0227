"""Reading back what the tags of a run say. Pure; anybody may have edited them in MLflow."""

import json
from collections.abc import Callable, Mapping


def epochs_of(text: str) -> tuple[int, ...]:
    """The epochs that a tag lists."""
    return tuple(int(epoch) for epoch in text.split(",") if is_whole_number(epoch))


def whole_number(tags: Mapping[str, str], name: str) -> int:
    """The whole number in a tag, 0 where there is none: anybody may edit a tag, and 0 has everything shown again."""
    text = tags.get(name, "")
    return int(text) if is_whole_number(text) else 0


def is_whole_number(text: str) -> bool:
    """Whether a tag holds a whole number as it was written there."""
    return len(text) < 20 and text.isascii() and text.isdigit()


def unreadable(tags: Mapping[str, str]) -> str | None:
    """The first tag of a trial's run that cannot be read back, with its rule and value; None where all can."""
    for name, (rule, holds) in _READ_BACK.items():
        text = tags.get(name)
        if text is None or not holds(text):
            return f"tag {name}: must be {rule}, got {text!r}"
    return None


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


_WHOLE = ("a whole number", is_whole_number)
_READ_BACK: Mapping[str, tuple[str, Callable[[str], bool]]] = {
    "abel.arm": ("an arm's name", bool),
    "abel.kind": ("a schedule's kind", bool),
    "abel.number": _WHOLE,
    "abel.seed": _WHOLE,
    "abel.epochs": _WHOLE,
    "abel.settings": ("a JSON object", _is_object),
    "abel.outcome": ("a trial's status", bool),
}
