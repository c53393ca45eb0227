import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.spec.grid import EvenInterval, LogInterval, Range, Values
from sweeps.spec.sampling import sampled
from sweeps.spec.sections import Search
from sweeps.spec.sweep import SpecError, SweepSpec, parse_document

if TYPE_CHECKING:  # another process draws with this module alone
    from shops import Shop

AXES = {
    "schedule.learning_rate": LogInterval(log=(0.01, 1.0)),
    "program.l2": EvenInterval(range=(0, 0.01)),
    "schedule.decay_epoch": Range(range=(1, 39), step=1),
    "program.clip": Values((None, 1.0, 5.0)),
}
KINDS = pytest.mark.parametrize("kind", ["random", "sobol"])


def draw(kind: str, samples: int, seed: int = 0, axes: dict[str, Any] = AXES) -> list[Any]:
    return list(sampled(axes, Search(kind=kind, samples=samples, seed=seed)))


# Pinned: other draws would be another sweep, under the same spec.
@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("random", (0.187899, 0.00269787, 13, None), (0.0107908, 0.0081327, 26, 5.0)),
        ("sobol", (0.066054, 0.0096412, 34, 1.0), (0.205459, 0.00263797, 19, 1.0)),
    ],
)
def test_the_same_on_every_machine(kind: str, first: tuple[Any, ...], second: tuple[float, float, int, float]) -> None:
    assert [tuple(point.values()) for point in draw(kind, 2)] == [first, second]


def test_another_process_draws_the_same() -> None:
    program = "from test_sampling import draw; print(draw('random', 5), draw('sobol', 5))"
    place = __file__.rpartition("/")[0]
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {place!r}); {program}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{draw('random', 5)} {draw('sobol', 5)}\n"


@settings(max_examples=40)
@given(
    kind=st.sampled_from(["random", "sobol"]), few=st.integers(1, 40), more=st.integers(0, 60), seed=st.integers(0, 9)
)
def test_more_samples_keep_the_earlier_ones(kind: str, few: int, more: int, seed: int) -> None:
    assert draw(kind, few + more, seed)[:few] == draw(kind, few, seed)


@KINDS
def test_another_seed_draws_others(kind: str) -> None:
    assert draw(kind, 8, seed=1) != draw(kind, 8, seed=2)


@KINDS
def test_every_value_lies_on_its_axis_and_all_of_it_is_reached(kind: str) -> None:
    points = draw(kind, 512)
    assert len({repr(point) for point in points}) == 512
    rates = np.array([point["schedule.learning_rate"] for point in points])
    assert rates.min() >= 0.01
    assert rates.max() <= 1
    assert 0.45 < np.mean(rates < 0.1) < 0.55  # the middle by the logarithm
    strengths = np.array([point["program.l2"] for point in points])
    assert strengths.min() >= 0
    assert strengths.max() <= 0.01
    assert 0.45 < np.mean(strengths < 0.005) < 0.55
    assert {point["schedule.decay_epoch"] for point in points} == set(range(1, 40))
    assert {point["program.clip"] for point in points} == {None, 1.0, 5.0}
    assert all(float(f"{rate:.6g}") == rate for rate in rates)


def test_sobol_points_lie_evenly() -> None:
    points = draw("sobol", 64, axes={"a": EvenInterval(range=(0, 1)), "b": EvenInterval(range=(0, 1))})
    cells = {(int(point["a"] * 8), int(point["b"] * 8)) for point in points}
    assert len(cells) == 64  # one in each


@KINDS
def test_all_of_a_few_settings_are_found_and_no_more(kind: str) -> None:
    axes = {"a": Values((1, 2, 3)), "b": Range(range=(1, 5), step=1)}
    assert len(draw(kind, 15, axes=axes)) == 15
    assert len(draw(kind, 16, axes=axes)) == 15


@pytest.fixture
def document(spec_of: Callable[..., SweepSpec]) -> Callable[..., dict[str, Any]]:
    """A spec whose one arm samples a decay epoch and a rate."""

    def build(**arm: Any) -> dict[str, Any]:
        schedule = {"kind": "decay_at", "decay_factor": 0.1}
        grid = {"schedule.learning_rate": {"log": [0.01, 0.1]}, "schedule.decay_epoch": {"range": [1, 4], "step": 1}}
        search = {"kind": "sobol", "samples": 3}
        arms = {"a": {"schedule": schedule, "grid": grid, "search": search} | arm}
        return {**spec_of().to_dict(), "arms": arms}

    return build


def test_every_setting_is_run_with_every_seed(document: Callable[..., dict[str, Any]]) -> None:
    spec = parse_document(document())
    trials = spec.expand()
    assert spec.count() == len(trials) == 6
    assert [trial.seed for trial in trials] == [0, 1] * 3
    assert [trial.settings for trial in trials[::2]] == [trial.settings for trial in trials[1::2]]
    assert len({trial.id for trial in trials}) == 6
    assert parse_document(spec.to_dict()).expand() == trials


@pytest.mark.parametrize(
    ("arm", "told"),
    [
        ({"search": {"kind": "grid", "samples": 3}}, ["arms.a.search.kind: must be 'random' or 'sobol', got 'grid'"]),
        ({"search": {"kind": "random"}}, ["arms.a.search.samples: is missing"]),
        ({"search": {"kind": "random", "samples": 0}}, ["arms.a.search.samples: must be at least 1, got 0"]),
        ({"search": {"kind": "random", "samples": 2.5}}, ["arms.a.search.samples: must be an integer, got 2.5"]),
        (
            {"search": {"kind": "random", "samples": 2, "sede": 1}},
            ["arms.a.search.sede: unknown key, did you mean 'seed'? (known: kind, samples, seed)"],
        ),
        ({"search": {"kind": "sobol", "samples": 2, "seed": -1}}, ["arms.a.search.seed: must be at least 0, got -1"]),
        ({"search": []}, ["arms.a.search: must be a mapping, got []"]),
        (
            {"search": {"kind": "sobol", "samples": 10**5}},
            ["arms: must make at most limits.trials = 10,000 trials, got 200,000"],
        ),
        (
            {"schedule": {"kind": "constant", "learning_rate": 0.1}, "grid": None},
            ["arms.a.grid: must be a mapping, got null"],
        ),
    ],
)
def test_a_faulty_search(document: Callable[..., dict[str, Any]], arm: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(SpecError) as raised:
        parse_document(document(**arm))
    assert raised.value.faults == told


@pytest.mark.parametrize(
    ("field", "axis", "told"),
    [
        ("schedule.learning_rate", {"log": [0, 1]}, ".log: must be positive and increasing, got [0, 1]"),
        ("schedule.learning_rate", {"log": [0.2, 0.1]}, ".log: must be increasing, got [0.2, 0.1]"),
        ("program.l2", {"range": [1, 1]}, ".range: must be increasing, got [1, 1]"),
        ("program.l2", {"range": [0, 1], "step": 1e-12}, ": must have at most 2^31 values to draw from"),
    ],
)
def test_a_faulty_axis(document: Callable[..., dict[str, Any]], field: str, axis: dict[str, Any], told: str) -> None:
    wanted = document()
    wanted["arms"]["a"]["grid"][field] = axis
    with pytest.raises(SpecError) as raised:
        parse_document(wanted)
    assert raised.value.faults[0].startswith(f"arms.a.grid.{field}{told}")


@pytest.mark.parametrize(
    ("field", "axis", "step"),
    [
        ("schedule.decay_epoch", {"range": [1, 4]}, "{range: [1, 4], step: 1}"),
        ("schedule.decay_epoch", {"log": [1.5, 4]}, "{range: [2, 4], step: 1}"),
        ("program.batch_size", {"range": [16, 64]}, "{range: [16, 64], step: 1}"),
    ],
)
def test_a_whole_number_needs_a_step_and_is_told_so_once(
    document: Callable[..., dict[str, Any]], field: str, axis: dict[str, Any], step: str
) -> None:
    wanted = document()
    wanted["arms"]["a"]["grid"][field] = axis
    with pytest.raises(SpecError) as raised:
        parse_document(wanted)
    rule = f"must be a whole number: give it a step, as in {step}"
    assert raised.value.faults == [f"arms.a.grid.{field}: {rule}"]


def test_more_samples_than_settings(document: Callable[..., dict[str, Any]]) -> None:
    grid = {"schedule.decay_epoch": {"range": [1, 4], "step": 1}}
    schedule = {"kind": "decay_at", "decay_factor": 0.1, "learning_rate": 0.1}
    with pytest.raises(SpecError) as raised:
        parse_document(document(schedule=schedule, grid=grid, search={"kind": "random", "samples": 5}))
    rule = "must be at most the number of different settings, apparently 4, got 5"
    assert raised.value.faults == [f"arms.a.search.samples: {rule}"]


def test_without_a_search_an_axis_needs_its_step(document: Callable[..., dict[str, Any]]) -> None:
    wanted = document()
    del wanted["arms"]["a"]["search"]
    with pytest.raises(SpecError) as raised:
        parse_document(wanted)
    rule = "must have a count next to its log, or a search in its arm"
    assert raised.value.faults == [f"arms.a.grid.schedule.learning_rate: {rule}"]


def test_more_samples_train_only_the_new_ones(shop: "Shop", document: Callable[..., dict[str, Any]]) -> None:
    first, frontier = shop.run(parse_document(document()))
    assert frontier.trained > 0
    curves = shop.curves(first)
    second, frontier = shop.run(parse_document(document(search={"kind": "sobol", "samples": 4})))
    assert second != first
    again = shop.curves(second)
    assert {name: again[name] for name in curves} == curves
    assert len(again) == len(curves) + 2
    fresh = {state.key for row in shop.ledger.trials(second) for state in shop.ledger.curve(row.head)}
    old = {state.key for row in shop.ledger.trials(first) for state in shop.ledger.curve(row.head)}
    assert old < fresh
    assert frontier.trained == len(fresh - old) <= 2 * 5
