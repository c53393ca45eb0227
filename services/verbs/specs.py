"""The verbs on specs: the catalogue, a template, the JSON schema, and validation. They start nothing.

Reading a spec needs pydantic's models, schedules and NumPy, which only the verbs that do so import.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.errors import OperationError
from services.schemas import CatalogEntry, Request, Validation
from sweeps import catalog as shipped
from sweeps.files import PathFault, named, resolve
from sweeps.spec import yaml

if TYPE_CHECKING:
    from sweeps.spec.sweep import SweepSpec


_FIELDS = ("name", "title", "claim", "cost")
_TASKS = {  # in the order of the catalogue
    "classify": "Images",
    "translate": "Translation",
    "masked_lm": "Pre-training",
    "glue": "GLUE",
    "ppo": "Games",
}
_MOST_SECONDS = 60  # per epoch of a worker of one core, in what two cores train


def catalog() -> list[CatalogEntry]:
    """The sweeps that ship with the package."""
    return [_entry(yaml.first_entries(shipped.entry(name), _FIELDS)) for name in shipped.names()]


def catalog_groups() -> dict[str, list[CatalogEntry]]:
    """The sweeps that ship with the package by task and size, under headings; those that two cores train come first."""
    found: dict[tuple[int, bool], list[CatalogEntry]] = {}
    for text in map(shipped.entry, shipped.names()):
        first = yaml.first_entries(text, (*_FIELDS, "epoch_seconds", "program"))
        entry, task = _entry(first), first["program"]["task"]["kind"]
        is_larger = first.get("epoch_seconds", math.inf) > _MOST_SECONDS
        found.setdefault((list(_TASKS).index(task), is_larger), []).append(entry)
    headings = [f"{name}, {size}" for name in _TASKS.values() for size in ("sized for two cores", "larger")]
    return {headings[2 * task + is_larger]: found[task, is_larger] for task, is_larger in sorted(found)}


def _entry(first: Mapping[str, Any]) -> CatalogEntry:
    """Describe a catalogue entry by its first entries: reading all of every entry takes most of a second."""
    return CatalogEntry(**{name: first.get(name) or "" for name in _FIELDS})


def catalog_text(name: str) -> str:
    """The YAML of a catalogue entry."""
    if name not in shipped.names():
        raise OperationError(f"{name}: must be a catalogue entry ({', '.join(shipped.names())})")
    return shipped.entry(name)


def catalog_document(name: str) -> dict[str, Any]:
    """A catalogue entry as a document of JSON types, valid as a `.json` spec."""
    from sweeps.spec.sweep import parse_spec

    return parse_spec(catalog_text(name), f"{name}.yaml").to_dict()


def write_template(file: Path) -> None:
    """Write a commented spec to start from; never overwrite a file.

    Raises:
        OperationError: the file exists, or cannot be written.
    """
    try:
        with resolve(file).open("x", encoding="utf-8") as target:
            target.write(shipped.template())
    except PathFault as error:
        raise OperationError(f"{named(file)}: {error}") from None
    except FileExistsError:
        raise OperationError(f"{file}: must not exist yet; it was not changed") from None
    except OSError as error:
        raise OperationError(f"{file}: cannot be written: {error.strerror}") from None


def schema() -> dict[str, Any]:
    """The JSON schema of a spec."""
    from sweeps.spec.sweep import json_schema

    return json_schema()


def validate(spec_name: str) -> Validation:
    """Check a spec."""
    from sweeps.spec.sweep import load_spec

    return validation(load_spec(spec_name))


def validation(spec: "SweepSpec") -> Validation:
    """A valid spec, in numbers."""
    from sweeps.spec.expansion import alike

    trials = spec.expand()
    return Validation(
        name=spec.name,
        title=spec.title,
        trials=len(trials),
        arms={arm: sum(trial.arm == arm for trial in trials) for arm in spec.arms},
        seeds=tuple(spec.seeds),
        epochs=max(trial.epochs for trial in trials),
        epochs_naive=sum(trial.epochs for trial in trials),
        notes=alike(trials),
    )


def requested(request: Request) -> "SweepSpec":
    """The spec that a request names, with the request's seeds if it has any."""
    from sweeps.spec.sweep import load_spec, parse_document

    spec = load_spec(request.spec)
    if request.seeds is None:
        return spec
    return parse_document({**spec.to_dict(), "seeds": list(request.seeds)}, f"{request.spec} --seeds")
