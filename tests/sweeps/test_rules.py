"""Tests for `sweeps/rules.py`."""

import pytest

from sweeps.rules import Rule, parse


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("spread <= 1.5", Rule(arm=None, measure="spread", at_most=True, bound=1.5)),
        ("abel.worst<=20", Rule(arm="abel", measure="worst", at_most=True, bound=20)),
        (" my.arm.near >= 5e-1 ", Rule(arm="my.arm", measure="near", at_most=False, bound=0.5)),
    ],
)
def test_a_rule_is_read(text, rule):
    assert parse(text) == rule
    assert rule.text.split()[0] == rule.measure


@pytest.mark.parametrize(
    "text", ["", "spread", "spread < 1", "width <= 1", "spread <= ", "spread <= 1.5 points", "<= 1"]
)
def test_what_is_no_rule_is_refused(text):
    with pytest.raises(ValueError, match='must be as "spread <= 1.5"'):
        parse(text)


@pytest.mark.parametrize("bound", ["1e999", "--1", "1.2.3", "e"])
def test_a_bound_is_a_finite_number(bound):
    with pytest.raises(ValueError, match="finite number"):
        parse(f"spread <= {bound}")
