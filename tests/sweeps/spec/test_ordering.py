"""The order of arms and axes, from what is left of a sweep's trials."""

from typing import Any

from sweeps.spec.ordering import in_order

SORTED = {"name": "x", "arms": {"a": {"grid": {"program.data.seed": [1], "schedule.rate": [2]}}, "b": {}, "c": {}}}


def orders(trials: dict[Any, Any]) -> list[list[Any]]:
    return [list(document["arms"]) for document in in_order(SORTED, trials)]


def axes(name: str) -> list[Any]:
    *_, last = in_order(SORTED, {0: ("a", name)})
    return list(last["arms"]["a"]["grid"])


def test_a_spec_is_tried_as_it_is_first() -> None:
    assert next(in_order(SORTED, {0: ("c", "c seed=0")})) == SORTED


def test_arms_are_in_the_order_of_their_trials() -> None:
    assert orders({4: ("a", ""), 2: ("b", ""), 0: ("c", ""), 9: ("b", "")})[1:] == [["c", "b", "a"]]


def test_an_arm_of_which_no_trial_is_left_may_be_anywhere() -> None:
    assert orders({4: ("a", ""), 2: ("b", "")})[1:] == [["b", "a", "c"], ["b", "c", "a"], ["c", "b", "a"]]
    assert len(orders({})) == 1 + 6


def test_axes_are_in_the_order_of_a_name() -> None:
    assert axes("a rate=2 program.data.seed=1 seed=0") == ["schedule.rate", "program.data.seed"]
    assert axes("a program.data.seed=1 rate=2 seed=0") == ["program.data.seed", "schedule.rate"]


def test_what_is_no_arm_is_left_to_the_reader_of_specs() -> None:
    document = {"arms": {"a": "text", "b": {"grid": 3}}}
    assert list(in_order(document, {}))[-1]["arms"] == {"b": {"grid": 3}, "a": "text"}
