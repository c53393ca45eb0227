"""Parsing of a run's tags. Pure; anybody may have edited them in MLflow."""

from collections.abc import Mapping


def epochs_of(text: str) -> tuple[int, ...]:
    """The epochs that a tag lists."""
    return tuple(int(epoch) for epoch in text.split(",") if is_whole_number(epoch))


def whole_number(tags: Mapping[str, str], name: str) -> int:
    """The whole number in a tag, or 0 if it is not a number: anybody may edit a tag, and 0 means to show everything again."""
    text = tags.get(name, "")
    return int(text) if is_whole_number(text) else 0


def is_whole_number(text: str) -> bool:
    """Whether a text is a whole number, in the form this program writes."""
    return len(text) < 20 and text.isascii() and text.isdigit()
