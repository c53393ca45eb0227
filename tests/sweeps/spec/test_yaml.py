import math
import time
from typing import Any

import pytest

from sweeps.errors import Faults, SpecError
from sweeps.spec.yaml import MAX_BYTES, MAX_DEPTH, load_yaml


def read(text: str, source: str = "spec.yaml") -> Any:
    faults = Faults()
    value = load_yaml(text, source, faults)
    faults.raise_if_any(source)
    return value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("12", 12),
        ("010", 10),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("0o17", "0o17"),
        ("y", "y"),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("'1e-3'", "1e-3"),
        ("<<", "<<"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: float | int | bool | str | None) -> None:
    found = read(f"x: {text}")["x"]
    assert found == value
    assert type(found) is type(value)


def test_nan_is_a_number() -> None:
    assert math.isnan(read("x: .nan")["x"])
    assert math.isnan(read('{"x": NaN}', "spec.json")["x"])


def test_a_number_of_five_thousand_digits_is_a_float() -> None:
    assert read("x: " + "9" * 5001) == {"x": math.inf}
    assert read('{"x": %s}' % ("9" * 5001), "spec.json") == {"x": math.inf}
    assert read("x: 123456789012345678") == {"x": 123456789012345678}


def test_yaml_and_json_agree() -> None:
    text = '{"a": [1, 2.5, true, null, {"b": "c"}]}'
    assert read(text) == read(text, "spec.json") == {"a": [1, 2.5, True, None, {"b": "c"}]}


def test_keys_are_text() -> None:
    assert read("1: a\ntrue: b\nnull: c") == {"1": "a", "true": "b", "null": "c"}


@pytest.mark.parametrize(
    ("text", "source", "fault"),
    [
        ("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n", "spec.yaml", "b.c: duplicate key in line 5"),
        ("a: {b: 1, b: 2}", "spec.yaml", "a.b: duplicate key in line 1"),
        ('{"a": [{"b": 1, "b": 2}]}', "spec.json", "a[0].b: duplicate key"),
    ],
)
def test_equal_keys(text: str, source: str, fault: str) -> None:
    with pytest.raises(SpecError) as raised:
        read(text, source)
    assert raised.value.faults == [fault]


def test_every_pair_of_equal_keys_is_told() -> None:
    faults = Faults()
    value = load_yaml("a: 1\na: 2\nb: {c: 1, c: 2}\n", "spec.yaml", faults)
    assert value == {"a": 1, "b": {"c": 1}}
    assert len(faults) == 2


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: &x 1\nb: *x\n", "line 1, column 4: anchors and aliases are not allowed"),
        ("a: *x\n", "line 1, column 4: anchors and aliases are not allowed"),
        ("a: !!python/object/apply:os.system [ls]\n", "line 1, column 4: tags are not allowed"),
        ("a: !!str 1\n", "tags are not allowed"),
        ("a: !x 1\n", "tags are not allowed"),
        ("? [a]\n: 1\n", "line 1, column 3: a key must be text"),
        ("a: [1, 2\nb: 3\n", "line 2"),
        ("a: 1\n---\nb: 1\n", "line 2, column 1: must be a single document, but another one starts here"),
        ("*x : 1\n", "line 1, column 1: anchors and aliases are not allowed"),
        ("!!str a: 1\n", "line 1, column 1: tags are not allowed"),
        ('a: "\\U00110000"\n', "chr() arg not in range"),
        ("a: \x00\n", "special characters are not allowed"),
        ("a: 'b", "line 1"),
        ('a: "\\ud800"\n', "a: must be Unicode text, got '\\ud800'"),
        ("a: " + "x" * MAX_BYTES, f"must have at most {MAX_BYTES} bytes"),
    ],
)
def test_what_a_spec_may_not_contain(text: str, fault: str) -> None:
    with pytest.raises(SpecError, match="spec.yaml: ") as raised:
        read(text)
    assert len(raised.value.faults) == 1
    assert fault in raised.value.faults[0]


def test_what_is_not_json() -> None:
    with pytest.raises(SpecError, match="line 2, column 1: not JSON"):
        read('{"a": 1,\n}', "spec.json")
    with pytest.raises(SpecError, match=r"a: must be Unicode text"):
        read('{"a": "\\ud800"}', "spec.json")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 2000 + "]" * 2000,
        "a: " + "{a: " * 2000 + "1" + "}" * 2000,
        "- " * 2000 + "1",
        "\n".join(" " * depth + "a:" for depth in range(300)),
    ],
)
def test_deep_nesting_is_refused_at_once(text: str) -> None:
    before = time.process_time()
    with pytest.raises(SpecError, match=f"must be nested at most {MAX_DEPTH} deep"):
        read(text)
    assert time.process_time() - before < 1


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 100_000])
def test_deep_json_is_refused(depth: int) -> None:
    with pytest.raises(SpecError, match=f"must be nested at most {MAX_DEPTH} deep"):
        read("[" * depth + "]" * depth, "spec.json")


@pytest.mark.parametrize("source", ["spec.yaml", "spec.json"])
def test_the_deepest_that_is_allowed(source: str) -> None:
    read("[" * MAX_DEPTH + "]" * MAX_DEPTH, source)
