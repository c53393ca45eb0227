"""`SweepSpec`: a sweep as a user writes it in YAML or JSON.

    spec = load_spec("fig-s6a-digits")          # a catalogue entry, or a path
    trials = spec.expand()

Reading a spec reports all faults at once, each with its path, before anything starts:

    my-sweep.yaml: 2 faults
      arms.decay-at.grid.schedule.decay_epoch: must be less than epochs = 40, as a decay acts after its epoch, got 75
      arms.abel.schedule.decay_factor: must lie in (0, 1), got 1.5
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import PrivateAttr

from sweeps import catalog
from sweeps.errors import Faults, SpecError, shown, unknown
from sweeps.files import PathFault, decode_text, named, read_file
from sweeps.spec import measures, schema, sections, shapes, yaml
from sweeps.spec.expansion import ExpansionRequest, check_cadence, expand, trial_count
from sweeps.spec.sections import Arm, Limits, Resources
from sweeps.spec.trial import Trial

__all__ = [
    "Arm",
    "Limits",
    "Resources",
    "SpecError",
    "SweepSpec",
    "Trial",
    "json_schema",
    "load_spec",
    "parse_document",
    "parse_spec",
]


class SweepSpec(sections.Document):
    """A sweep: one program, trained with the schedules of every arm and with every seed."""

    _trials: tuple[Trial, ...] | None = PrivateAttr(default=None)

    def count(self) -> int:
        """Return the number of trials, without building them."""
        return trial_count(_request(self.to_dict()))

    def expand(self) -> list[Trial]:
        """Return the trials, in the spec's order.

        Raises:
            SpecError: the trials have faults.
        """
        if self._trials is None:
            faults = Faults()
            trials = expand(_request(self.to_dict()), faults)
            faults.raise_if_any(self.name)
            self._trials = tuple(trials)
        return list(self._trials)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that were given, as JSON types; `parse_document` reads them back."""
        return self.model_dump(mode="json", exclude_unset=True)


def load_spec(path_or_name: str | Path) -> SweepSpec:
    """Load the spec in a file, or the catalogue entry of that name."""
    name, path = str(path_or_name), Path(path_or_name)
    source = named(name)
    if name in catalog.names() and not path.is_file():
        return parse_spec(catalog.entry(name), f"{name}.yaml")
    try:
        return parse_spec(decode_text(read_file(path, yaml.MAX_BYTES)), source)
    except PathFault as error:
        raise SpecError([str(error)], source) from None
    except FileNotFoundError:
        raise SpecError([f"no such file, and {unknown('catalogue entry', name, catalog.names())}"], source) from None
    except OSError as error:
        raise SpecError([f"cannot be read: {error.strerror}"], source) from None
    except UnicodeDecodeError as error:
        raise SpecError([f"must be {error.encoding.upper()} text, the byte at {error.start} is not"], source) from None


def parse_spec(text: str, source: str = "spec") -> SweepSpec:
    """Parse a spec: JSON if `source` ends in ".json", else YAML."""
    faults = Faults()
    return _parse(yaml.load_yaml(text, source, faults), source, faults)


def parse_document(document: Any, source: str = "spec", faults: Faults | None = None) -> SweepSpec:
    """Parse a spec from a dictionary of JSON types, such as the body of a request; ``faults`` were found while it was read."""
    return _parse(document, source, Faults() if faults is None else faults)


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a spec for editors, including the installed programs and schedules."""
    return schema.for_editors()


def _parse(document: Any, source: str, faults: Faults) -> SweepSpec:
    if not isinstance(document, Mapping):
        raise SpecError(
            [f"must be a mapping, with a name, program, epochs, seeds and arms, got {shown(document)}"], source
        )
    spec = shapes.read_shape(SweepSpec, document, faults)
    trials = expand(_request(document), faults)
    if spec is not None:
        check_cadence(trials, spec, faults)
        if spec.check is not None:
            _check_arms(spec.check, spec.arms, faults)
    faults.raise_if_any(source)
    assert spec is not None
    spec._trials = tuple(trials)
    return spec


def _check_arms(check: sections.Check, arms: Mapping[str, Arm], faults: Faults) -> None:
    """Add a fault for each margin or rule that names an unknown arm."""
    named = [(f"check.margins.{name}", name.rpartition(".")[0]) for name in check.margins]
    named += [(f"check.rules[{index}]", measures.read_rule(text).arm or "") for index, text in enumerate(check.rules)]
    for path, arm in named:
        if arm and arm not in arms:
            faults.add(path, unknown("arm", arm, arms))


def _request(document: Mapping[str, Any]) -> ExpansionRequest:
    """Return the valid parts of a document for expansion; faults of its shape are reported elsewhere."""
    seeds, arms, limits = document.get("seeds"), document.get("arms"), document.get("limits")
    limits = limits if isinstance(limits, Mapping) else {}
    return ExpansionRequest(
        program=document.get("program"),
        arms=arms if isinstance(arms, Mapping) else {},
        seeds=[seed for seed in seeds if _whole(seed, sections.MAX_SEED, 0) is not None]
        if isinstance(seeds, list)
        else [],
        epochs=_whole(document.get("epochs"), sections.MAX_EPOCHS),
        most_trials=_whole(limits.get("trials"), sections.MAX_TRIALS) or Limits().trials,
        most_epochs=_whole(limits.get("epochs"), 10**9) or Limits().epochs,
    )


def _whole(value: Any, most: int, least: int = 1) -> int | None:
    """Return the value if it is an integer between `least` and `most`, else None."""
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    return None
