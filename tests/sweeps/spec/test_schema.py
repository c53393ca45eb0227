"""The JSON schema for editors: what it says of each field, and the bounds that it takes from the rules."""

from typing import Any

import pytest

from sweeps.spec.sweep import json_schema


@pytest.fixture(scope="module")
def parts() -> dict[str, dict[str, Any]]:
    """The fields of each part of a spec, by the part's class."""
    schema = json_schema()
    named = {name: one["properties"] for name, one in schema["$defs"].items() if "properties" in one}
    return named | {"Document": schema["properties"]}


@pytest.mark.parametrize(
    ("part", "field", "bounds"),
    [
        ("Abel", "learning_rate", {"exclusiveMinimum": 0}),
        ("Abel", "decay_factor", {"exclusiveMinimum": 0, "exclusiveMaximum": 1}),
        ("Abel", "norm_window_epochs", {"minimum": 1}),
        ("Abel", "gain_threshold", {"minimum": 0, "exclusiveMaximum": 1}),
        ("Plateau", "patience", {"minimum": 0}),
        ("ClassifyProgram", "l2", {"minimum": 0}),
        ("ClassifyProgram", "batch_size", {"minimum": 1, "maximum": 2**31 - 1}),
        ("ClassifyProgram", "label_smoothing", {"minimum": 0, "exclusiveMaximum": 1}),
        ("Augment", "crop", {"minimum": 0, "maximum": 1_000_000}),
        ("Tfds", "side", {"minimum": 1, "maximum": 4096}),
        ("Sgd", "momentum", {"minimum": 0, "exclusiveMaximum": 1}),
        ("ClassifyProgram", "precision", {}),
    ],
)
def test_bounds_are_those_of_the_rules(
    parts: dict[str, dict[str, Any]], part: str, field: str, bounds: dict[str, float]
) -> None:
    keywords = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
    assert {name: value for name, value in parts[part][field].items() if name in keywords} == bounds


def test_fields_say_what_they_are(parts: dict[str, dict[str, Any]]) -> None:
    assert parts["Abel"]["epochs_after_last_decay"]["description"].startswith("Number of epochs between that decay and")
    assert parts["Step"]["learning_rate"]["description"] == "Base rate, reached at the end of the warm-up."
    assert parts["Tfds"]["subset"]["description"].startswith("Use only the first subset training images")
    silent = [
        f"{name}.{field}"
        for name, fields in parts.items()
        for field, shape in fields.items()
        if not shape.get("description") and "$ref" not in shape
    ]
    assert silent == []
