"""Tests for `sweeps/spec/measures.py`."""

import pytest

from sweeps.spec.measures import Rule, margin_fault, read_rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("spread <= 1.5", Rule(arm=None, measure="spread", at_most=True, bound=1.5)),
        ("abel.worst<=20", Rule(arm="abel", measure="worst", at_most=True, bound=20)),
        (" my.arm.near >= 5e-1 ", Rule(arm="my.arm", measure="near", at_most=False, bound=0.5)),
    ],
)
def test_a_rule_is_read(text: str, rule: Rule) -> None:
    assert read_rule(text) == rule
    assert rule.text.split()[0] == rule.measure


@pytest.mark.parametrize(
    "text", ["", "spread", "spread < 1", "width <= 1", "spread <= ", "spread <= 1.5 points", "<= 1"]
)
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match='must look like "spread <= 1.5"'):
        read_rule(text)


@pytest.mark.parametrize("bound", ["1e999", "--1", "1.2.3", "e"])
def test_a_bound_is_a_finite_number(bound: str) -> None:
    with pytest.raises(ValueError, match="finite number"):
        read_rule(f"spread <= {bound}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("near >= 1.1", "between 0 and 1, as it is a fraction"),
        ("abel.diverged <= -0.1", "between 0 and 1, as it is a fraction"),
        ("spread >= -1", "at least 0"),
    ],
)
def test_a_bound_that_no_measure_can_break_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_rule(text)


def test_shares_may_be_all_or_nothing() -> None:
    assert [read_rule(f"diverged <= {bound}").bound for bound in (0, 1)] == [0, 1]


@pytest.mark.parametrize(
    ("name", "amount", "said"),
    [
        ("mean", 20, ""),
        ("near", 0.99, ""),
        ("abel.near", 1, "below 1 for abel.near, which is a fraction"),
        ("diverged", 5, "below 1 for diverged, which is a fraction"),
        ("mean", 0, "above 0"),
    ],
)
def test_a_margin_is_one_that_can_be_broken(name: str, amount: float, said: str) -> None:
    fault = margin_fault(name, amount)
    assert said in fault
    assert bool(fault) == bool(said)
