import random
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shops import Shop

from sweeps.forecast.plan import forecast
from sweeps.ledger.database import LedgerError
from sweeps.ledger.records import StateRow, TrialRow, TrialStatus
from sweeps.run.failures import FailureClass
from sweeps.run.halving import HALVED, Contest, losers, rungs
from sweeps.spec.sections import Halving
from sweeps.spec.sweep import SpecError, SweepSpec, parse_document
from workers.cohort import train
from workers.config import Program, to_dict
from workers.trajectory import TEST_ERROR

STOPPED, FINISHED, DIVERGED = TrialStatus.STOPPED, TrialStatus.FINISHED, TrialStatus.DIVERGED
RATES = [1e-5, 0.3, 0.001, 0.1, 0.01, 1e-4, 0.03, 0.003, 3e-5]


@pytest.fixture
def competing(spec_of: Callable[..., SweepSpec], tiny_program: Program) -> Callable[..., SweepSpec]:
    """A spec with an arm of nine rates that compete at epochs 1 and 3, and one that does not compete, in two seeds."""

    def build(*, rates: Sequence[float] = RATES, schedule: dict[str, Any] | None = None, **halving: Any) -> SweepSpec:
        # Enough test images that two settings are hardly ever as good as each other.
        program = to_dict(tiny_program) | {"data": {"kind": "digit_pairs", "train": 256, "test": 1000}, "clip": None}
        arms = {
            "a": {
                "schedule": {"kind": "decay_at", "decay_epoch": 2, "decay_factor": 0.5} | (schedule or {}),
                "grid": {"schedule.learning_rate": rates},
                "halving": {"grace_epochs": 1, "reduction_factor": 3} | halving,
            },
            "whole": {"schedule": {"kind": "constant", "learning_rate": 0.1}},
        }
        return parse_document({**spec_of().to_dict(), "program": program, "arms": arms})

    return build


def outcomes(shop: Shop, sweep_id: str) -> dict[str, tuple[Any, Any]]:
    return {row.name: (row.status, row.epoch) for row in shop.ledger.trials(sweep_id)}


def ends(found: dict[str, tuple[Any, Any]]) -> dict[tuple[Any, Any], int]:
    counts = {}
    for end in found.values():
        counts[end] = counts.get(end, 0) + 1
    return counts


def errors(shop: Shop, sweep_id: str, epoch: int, of: Callable[..., Any] = min) -> dict[str, Any]:
    """By rate, the mean over seeds of the error so far, of all that came to an epoch."""
    by_rate = {}
    for row in shop.ledger.trials(sweep_id):
        curve = [state.metrics["test_error"] for state in shop.ledger.curve(row.head)]
        if row.arm == "a" and len(curve) >= epoch:
            by_rate.setdefault(row.settings["schedule.learning_rate"], []).append(of(curve[:epoch]))
    return {rate: sum(found) / len(found) for rate, found in by_rate.items()}


@pytest.mark.parametrize(
    ("grace", "factor", "epochs", "found"),
    [(1, 3, 5, (1, 3)), (4, 3, 40, (4, 12, 36)), (2, 2, 8, (2, 4)), (5, 10, 6, (5,)), (1, 10, 1000, (1, 10, 100))],
)
def test_rungs(grace: int, factor: int, epochs: int, found: tuple[Any, ...]) -> None:
    assert rungs(Halving(grace_epochs=grace, reduction_factor=factor), epochs) == found
    assert rungs(None, epochs) == ()


@pytest.mark.parametrize(
    ("values", "factor", "stay"),
    [
        ([5, 1, 4], 3, [1]),
        ([9, 8, 7, 6, 5, 4, 3, 2, 1], 3, [1, 2, 3]),
        ([4, 3, 2, 1], 2, [1, 2]),
        ([2, 1], 10, [1]),
        ([7], 3, [7]),
        ([1, 1, 1], 3, [1, 1, 1]),
    ],
)
def test_who_stays(values: list[int], factor: int, stay: list[int]) -> None:
    for order in set(permutations(enumerate(values))) if len(values) < 5 else [tuple(enumerate(values))]:
        lost = losers({str(index): float(value) for index, value in order}, factor)
        assert sorted(value for index, value in enumerate(values) if str(index) not in lost) == stay


@pytest.mark.parametrize("factor", [2, 3, 4, 10, 1000])
def test_the_cut_is_that_of_ray_tune_to_the_bit(factor: int) -> None:
    random_source = random.Random(factor)
    for size in range(41):
        errors = {str(index): random_source.choice([0.1, 33.3, random_source.uniform(0, 100)]) for index in range(size)}
        # As in `_Bracket.cutoff` and `_Bracket.on_result` of Ray 2.60.
        cutoff = np.nanpercentile([-error for error in errors.values()], (1 - 1 / factor) * 100) if errors else 0
        assert losers(errors, factor) == {name for name, error in errors.items() if -error < cutoff}


@given(
    errors=st.lists(st.floats(0, 100, allow_subnormal=False), min_size=1, max_size=60, unique=True),
    factor=st.integers(2, 10),
)
def test_the_best_is_never_lost_and_about_one_in_a_factor_stays(errors: Any, factor: int) -> None:
    named = {str(index): error for index, error in enumerate(errors)}
    lost = losers(named, factor)
    stay = [error for name, error in named.items() if name not in lost]
    assert min(errors) in stay
    assert max(stay) < min((named[name] for name in lost), default=101)
    assert len(errors) / factor - 1 <= len(stay) <= len(errors) / factor + 1


@pytest.mark.slow
@pytest.mark.databases
def test_a_third_goes_on_at_each_rung_and_every_outcome_is_kept(
    shop: Shop, competing: Callable[..., SweepSpec]
) -> None:
    sweep_id, frontier = shop.run(competing())
    found = outcomes(shop, sweep_id)
    assert ends(found) == {(STOPPED, 1): 6 * 2, (STOPPED, 3): 2 * 2, (FINISHED, 5): 1 * 2 + 2}
    for epoch, best in ((1, 3), (3, 1)):
        mean = errors(shop, sweep_id, epoch)
        kept = sorted(mean, key=mean.get)[:best]
        assert sorted(kept) == sorted(errors(shop, sweep_id, epoch + 1))
    assert frontier.running == frontier.waiting == 0
    told = [event.payload for event in shop.ledger.events_of(sweep_id, "halved")]
    assert [(one["arm"], one["epoch"], len(one["stopped"]), len(one["passed"])) for one in told] == [
        ("a", 1, 12, 6),
        ("a", 3, 4, 2),
    ]
    ended = [event.payload for event in shop.ledger.events_of(sweep_id, "trial_ended")]
    assert sum(one["status"] == STOPPED for one in ended) == 16
    assert len(ended) == len(found)


@pytest.mark.slow
def test_sharing_is_invisible_in_what_is_stopped_and_recorded(
    shop: Shop, another_shop: Shop, competing: Callable[..., SweepSpec]
) -> None:
    # The decay comes after the first rung, and one arm never decays: both share states with the arm that competes.
    shared, frontier = shop.run(competing())
    alone, lone = another_shop.run(competing(), sharing=False)
    assert outcomes(shop, shared) == outcomes(another_shop, alone)
    assert shop.curves(shared) == another_shop.curves(alone)
    assert frontier.trained < lone.trained
    distinct = {state.key for row in shop.ledger.trials(shared) for state in shop.ledger.curve(row.head)}
    assert frontier.trained == len(distinct)


@pytest.mark.slow
@pytest.mark.parametrize("order", range(2))
def test_whoever_is_faster_the_same_are_stopped(
    shop: Shop, another_shop: Shop, competing: Callable[..., SweepSpec], order: int
) -> None:
    expected, _ = another_shop.run(competing())
    chance = random.Random(order)
    sweep_id, frontier = shop.frontier(competing())
    working = {}
    while True:
        while len(working) < 4 and (taken := frontier.take()):
            working[taken[0]] = train(taken[1], shop.workshop)
        if not working:
            break
        number = chance.choice(sorted(working))
        report = next(working[number], None)
        if report is None:
            del working[number]
        else:
            frontier.hear(number, [report])
    assert outcomes(shop, sweep_id) == outcomes(another_shop, expected)
    assert shop.curves(sweep_id) == another_shop.curves(expected)


@pytest.mark.slow
@pytest.mark.parametrize("sharing", [True, False])
def test_a_sweep_that_is_killed_again_and_again_ends_as_one_that_is_not(
    shop: Shop, another_shop: Shop, competing: Callable[..., SweepSpec], sharing: bool
) -> None:
    expected, undisturbed = another_shop.run(competing(), sharing=sharing)
    chance, runs = random.Random(sharing), 0
    while True:
        sweep_id, frontier = shop.run(competing(), sharing=sharing, most=chance.randint(1, 25))
        runs += 1
        if all(status.final for status in frontier.statuses.values()):
            break
        assert runs < 200
    assert runs > 3
    assert outcomes(shop, sweep_id) == outcomes(another_shop, expected)
    assert shop.curves(sweep_id) == another_shop.curves(expected)
    told, alike = (
        [event.payload["epoch"] for event in one.ledger.events_of(swept, "halved")]
        for one, swept in ((shop, sweep_id), (another_shop, expected))
    )
    assert told == alike == [1, 3]


def test_a_finished_sweep_trains_nothing_again(shop: Shop, competing: Callable[..., SweepSpec]) -> None:
    sweep_id, _ = shop.run(competing())
    before = outcomes(shop, sweep_id)
    again, frontier = shop.run(competing())
    assert (again, frontier.trained) == (sweep_id, 0)
    assert outcomes(shop, again) == before


def test_another_halving_is_another_sweep_that_shares_what_is_trained(
    shop: Shop, competing: Callable[..., SweepSpec]
) -> None:
    first, _ = shop.run(competing())
    before = {state.key for row in shop.ledger.trials(first) for state in shop.ledger.curve(row.head)}
    second, frontier = shop.run(competing(reduction_factor=2))
    assert second != first
    after = {state.key for row in shop.ledger.trials(second) for state in shop.ledger.curve(row.head)}
    assert frontier.trained == len(after - before)
    assert outcomes(shop, first) != outcomes(shop, second)


def test_what_diverges_is_the_worst_and_does_not_hold_up_the_others(
    shop: Shop, competing: Callable[..., SweepSpec]
) -> None:
    sweep_id, _ = shop.run(competing(rates=[1e9, 0.1, 0.01]))
    found = outcomes(shop, sweep_id)
    assert {found[f"a learning_rate=1000000000.0 seed={seed}"][0] for seed in (0, 1)} == {DIVERGED}
    assert ends(found)[FINISHED, 5] == 2 + 2


def test_a_trial_that_fails_or_is_cancelled_does_not_hold_up_the_others(
    shop: Shop, competing: Callable[..., SweepSpec]
) -> None:
    sweep_id, frontier = shop.frontier(competing(rates=[0.3, 0.1, 0.01]))
    rows = {row.name: row.id for row in shop.ledger.trials(sweep_id)}
    frontier.cancel([rows["a learning_rate=0.1 seed=0"]])
    failed = rows["a learning_rate=0.3 seed=1"]
    while taken := frontier.take():
        number, cohort = taken
        if failed in {member.trial for member in cohort.members}:
            frontier.fail(number, FailureClass.USER, "no")
            continue
        with closing(train(cohort, shop.workshop)) as reports:
            for report in reports:
                frontier.hear(number, [report])
    found = outcomes(shop, sweep_id)
    assert found["a learning_rate=0.1 seed=0"] == (TrialStatus.CANCELLED, 0)
    assert {end for name, end in found.items() if "seed=1" in name} == {(TrialStatus.FAILED, 0)}  # one cohort
    assert ends(found)[FINISHED, 5] == ends(found)[STOPPED, 1] + 1 == 2

    # Failed trials get another chance, and come to a rung that has been decided.
    again, frontier = shop.run(competing(rates=[0.3, 0.1, 0.01]))
    assert again == sweep_id
    late = outcomes(shop, sweep_id)
    assert {end[0] for name, end in late.items() if "seed=1" in name} == {STOPPED, FINISHED}
    assert {name: end for name, end in late.items() if "seed=0" in name} == {
        name: end for name, end in found.items() if "seed=0" in name
    }


def test_nothing_is_decided_once_the_ledger_is_behind(
    shop: Shop, another_shop: Shop, competing: Callable[..., SweepSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the worst setting one arrival at the rung is lost: those that arrive later may not be judged without it."""
    spec = competing(rates=[0.3, 0.1, 0.01])
    sweep_id, frontier = shop.frontier(spec)
    rows = {row.name: row.id for row in shop.ledger.trials(sweep_id)}
    lost, commit = rows["a learning_rate=0.3 seed=1"], shop.ledger.commit

    def commit_but_once(sweep: str, invocation: int, batch: Any) -> None:
        if lost in batch.heads:
            monkeypatch.setattr(shop.ledger, "commit", commit)
            raise LedgerError("away for a moment")
        commit(sweep, invocation, batch)

    monkeypatch.setattr(shop.ledger, "commit", commit_but_once)
    while taken := frontier.take():
        number, cohort = taken
        with closing(train(cohort, shop.workshop)) as reports, suppress(LedgerError):
            frontier.hear(number, list(reports))
    assert shop.ledger.events_of(sweep_id, HALVED) == []
    assert shop.run(spec)[0] == sweep_id
    undisturbed, _ = another_shop.run(spec)
    assert outcomes(shop, sweep_id) == outcomes(another_shop, undisturbed)
    assert shop.curves(sweep_id) == another_shop.curves(undisturbed)


def test_cancelling_what_rests_lets_the_others_go_on(shop: Shop, competing: Callable[..., SweepSpec]) -> None:
    sweep_id, frontier = shop.frontier(competing(rates=[0.3, 0.1, 0.01]))
    resting = []
    while not resting:
        number, cohort = frontier.take()
        with closing(train(cohort, shop.workshop)) as reports:
            for report in reports:
                frontier.hear(number, [report])
        resting = [row.id for row in shop.ledger.trials(sweep_id) if row.arm == "a" and row.epoch == 1]
    frontier.cancel(resting)
    while taken := frontier.take():
        number, cohort = taken
        with closing(train(cohort, shop.workshop)) as reports:
            for report in reports:
                frontier.hear(number, [report])
    found = outcomes(shop, sweep_id)
    assert all(status.final for status, _ in found.values())
    assert {row.status for row in shop.ledger.trials(sweep_id) if row.id in resting} == {TrialStatus.CANCELLED}


@pytest.mark.slow
def test_abel_decides_the_same_across_rungs(
    shop: Shop, another_shop: Shop, competing: Callable[..., SweepSpec]
) -> None:
    schedule = {"kind": "abel", "last_decay_epoch": 3, "decay_factor": 0.5}
    spec = competing(grace_epochs=3).to_dict()
    spec["arms"]["a"]["schedule"] = schedule
    whole = parse_document(
        spec | {"arms": {"a": {**spec["arms"]["a"], "halving": None}, "whole": spec["arms"]["whole"]}}
    )
    halved, _ = shop.run(parse_document(spec))
    full, _ = another_shop.run(whole)
    curves, complete = shop.curves(halved), another_shop.curves(full)
    assert {name: complete[name][: len(curve)] for name, curve in curves.items()} == curves
    survivors = {name for name, (status, _) in outcomes(shop, halved).items() if status is FINISHED}
    assert [one for one in shop.decisions(halved) if one[0] in survivors] == [
        one for one in another_shop.decisions(full) if one[0] in survivors
    ]
    # The last decay falls on the rung: the rate after it is that of the next epoch all the same.
    after = [
        {(event.payload["epoch"], event.payload["rate_after"]) for event in one.ledger.events_of(swept, "schedule")}
        for one, swept in ((shop, halved), (another_shop, full))
    ]
    assert after[0] <= after[1]
    assert after[0]


def test_the_last_error_may_count_in_place_of_the_least(shop: Shop, competing: Callable[..., SweepSpec]) -> None:
    sweep_id, _ = shop.run(competing(error="last", grace_epochs=3))
    mean = errors(shop, sweep_id, 3, of=lambda curve: curve[-1])
    assert sorted(errors(shop, sweep_id, 4)) == sorted(sorted(mean, key=mean.get)[:3])


def test_the_forecast_has_bounds_that_hold(shop: Shop, competing: Callable[..., SweepSpec]) -> None:
    spec = competing()
    cost = forecast(spec.expand())
    assert (cost.naive_epochs, cost.sure_epochs) == (10 * 2 * 5, 9 * 2 * 1 + 2 * 5)
    assert cost.shared_epochs.low < cost.shared_epochs.high
    _, frontier = shop.run(spec)
    assert cost.shared_epochs.low <= frontier.trained <= cost.shared_epochs.high


@pytest.mark.parametrize(
    ("halving", "told"),
    [
        ({"grace_epochs": 5}, "arms.a.halving.grace_epochs: must be less than epochs = 5, got 5"),
        ({"grace_epochs": 0}, "arms.a.halving.grace_epochs: must be at least 1, got 0"),
        ({"reduction_factor": 1}, "arms.a.halving.reduction_factor: must be at least 2, got 1"),
        ({"reduction_factor": 2.5}, "arms.a.halving.reduction_factor: must be an integer, got 2.5"),
        ({"error": "final"}, "arms.a.halving.error: must be 'minimum' or 'last', got 'final'"),
        ({"eror": "last"}, "arms.a.halving.eror: unknown key, did you mean 'error'?"),
    ],
)
def test_a_faulty_halving(competing: Callable[..., SweepSpec], halving: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError) as raised:
        competing(**halving)
    (found,) = raised.value.faults
    assert found.startswith(told)


def test_without_a_grid_nobody_competes(competing: Callable[..., SweepSpec]) -> None:
    spec = competing().to_dict()
    spec["arms"]["whole"]["halving"] = {"grace_epochs": 1}
    with pytest.raises(SpecError) as raised:
        parse_document(spec)
    assert raised.value.faults == ["arms.whole.halving: must have a grid whose settings compete"]


@pytest.mark.parametrize("error", ["minimum", "last"])
def test_what_diverges_counts_as_guessing_at_a_rung(error: str) -> None:
    """Of two classes guessing has 50 %, so that a setting at 60 % is worse than one that diverged."""
    row = TrialRow(
        **{"id": "a", "sweep_id": "s", "number": 0, "name": "a", "arm": "x", "seed": 0, "settings": {"r": 1}},
        **{"program": {}, "schedule": {}, "epochs": 9, "status": DIVERGED, "epoch": 1, "head": None, "error": None},
    )
    other = replace(row, id="b", settings={"r": 2}, status=TrialStatus.RUNNING)
    curve = [StateRow(key="k", parent="", epoch=1, metrics={"test_error": 60.0}, finished_at_ms=0, worker="")]
    contest = Contest(
        {"x": Halving(grace_epochs=1, reduction_factor=2, error=error)},
        {"x": [row, other]},
        {"a": replace(TEST_ERROR, worst=50.0)},
    )
    statuses = {"a": DIVERGED, "b": TrialStatus.RUNNING}
    assert contest.decide("x", 1, statuses, {"b": 1}, {"a": curve, "b": curve}).stopped == ("b",)
