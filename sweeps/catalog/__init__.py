"""The catalogue: the paper's experiments as specs, each with its claim and its cost."""

from __future__ import annotations

from importlib import resources

_TEMPLATE = "template"


def names() -> list[str]:
    """Return the names of the entries, sorted."""
    files = (file.name for file in resources.files(__name__).iterdir() if file.name.endswith(".yaml"))
    return sorted({name.removesuffix(".yaml") for name in files} - {_TEMPLATE})


def entry(name: str) -> str:
    """Return the YAML of an entry.

    Raises:
        KeyError: there is no such entry.
    """
    if name not in names():
        raise KeyError(name)
    return resources.files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")


def template() -> str:
    """Return a commented spec to start from."""
    return resources.files(__name__).joinpath(f"{_TEMPLATE}.yaml").read_text(encoding="utf-8")
