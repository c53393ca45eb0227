"""Tests for `sweeps/results/load.py` and `frames.py` on a real ledger."""

import math
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import stories
from stories import Story

from sweeps.ledger.entries import Batch
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import CurveResult, SweepStatus, TrialStatus
from sweeps.results.claims.layers import layer_norms
from sweeps.results.frames import CURVES, Frames, joined
from sweeps.results.load import load
from sweeps.results.robustness_tables import robustness
from sweeps.results.summary import results_at_hand, trial_result
from sweeps.results.values import Chance
from sweeps.spec.programs import program_from_dict
from workers.config import to_dict
from workers.trajectory import TEST_ERROR


@pytest.fixture
def told(story: Story) -> Story:
    story.seeds, story.epochs, story.decays = 2, 36, (2, 10)
    return story.begin().tell().end()


def frames(story: Story, *metrics: str) -> Frames:
    return load(story.ledger, story.ledger.sweep(story.sweep_id), metrics or CURVES)


def test_a_row_per_trial_and_one_per_trial_epoch_and_metric(told: Story) -> None:
    found, rows = frames(told, "test_error", "weight_norm_sq"), told.ledger.trials(told.sweep_id)
    assert list(found.trials["trial_id"]) == [row.id for row in rows]
    assert list(found.trials["name"]) == [row.name for row in rows]
    assert list(found.trials["settings"]) == [row.settings for row in rows]
    assert len(found.curves) == len(rows) * 36 * 2
    assert found.spec["figure"] == "decay_time"
    errors = found.curve("test_error")
    for (_, trial), row in zip(found.trials.iterrows(), rows, strict=True):
        curve = [state.metrics["test_error"] for state in told.ledger.curve(row.head)]
        assert list(errors[row.id]) == curve
        assert trial["minimum_error"] == min(curve) == curve[trial["minimum_epoch"] - 1]
        assert trial["final_error"] == curve[-1]


def test_each_trial_has_its_program_and_the_error_of_guessing_on_its_data(story: Story) -> None:
    worst = {0.01: 90.0, 0.02: 90.0, 0.0: None, 0.5: 60.0}
    programs = {l2: replace(program_from_dict(stories.PROGRAM), l2=l2) for l2 in worst}
    varied = {
        "grid-a": (0.01, {"program.l2": 0.01}),
        "grid-b": (0.02, {"program.l2": 0.02}),
        "old": (0.0, {}),
        "own": (0.5, {}),
    }
    trials = [
        replace(story.trials()[-1], number=number, name=name, program=programs[l2], settings=settings)
        for number, (name, (l2, settings)) in enumerate(varied.items())
    ]
    identities = {
        program: replace(
            stories.IDENTITY, program=to_dict(program), metric=replace(stories.IDENTITY.metric, worst=worst[l2])
        )
        for l2, program in programs.items()
    }
    story.sweep_id = story.ledger.create_sweep("varied", {"name": "varied"}, trials, identities)
    found = frames(story)
    assert found.chance == Chance(guesses={"grid-a": 90.0, "grid-b": 90.0, "own": 60.0})
    assert found.programs["grid-a"] == found.programs["grid-b"], "the grid is not part of the program"
    assert len(set(found.programs.values())) == 3
    assert set(joined({"a": found, "b": found}).chance.guesses) >= {"a: own", "b: own"}


@pytest.mark.parametrize("asks", [{"figure": "layers"}, {"claims": {"tested": ["layers"]}}])
def test_norms_of_layers_are_there_for_a_sweep_about_layers(story: Story, asks: Mapping[str, Any]) -> None:
    story.seeds, story.epochs, story.decays, story.layers = 2, 36, (2,), 3
    story.spec = asks
    story.begin().tell().end()
    found = frames(story)
    numbers = layer_norms(found)
    assert numbers is not None
    assert (set(numbers.norms), numbers.layers) == ({"conv1", "conv2", "conv3"}, 3)
    assert numbers.share.to_numpy() == pytest.approx(100)


def test_only_the_arms_that_are_asked_for_are_read(told: Story) -> None:
    found = load(told.ledger, told.ledger.sweep(told.sweep_id), (), ("abel",))
    names = [row.name for row in told.ledger.trials(told.sweep_id) if row.arm == "abel"]
    assert list(found.trials["name"]) == names
    assert set(found.curves["arm"]) == set(found.events["arm"]) == {"abel"}


def test_norms_of_layers_are_not_read_for_nothing(told: Story) -> None:
    assert layer_norms(frames(told)) is None


def test_a_trial_has_one_result_wherever_it_is_asked_for(told: Story) -> None:
    rows, sweep = told.ledger.trials(told.sweep_id), told.ledger.sweep(told.sweep_id)
    found = frames(told).results
    assert list(found) == results_at_hand(told.ledger, sweep, rows)  # read from the curves, as no row has its result
    assert list(found) == [trial_result(row, told.ledger.curve(row.head), TEST_ERROR) for row in rows]


def test_a_row_with_a_result_is_taken_at_its_word_and_the_others_from_their_curves(told: Story) -> None:
    rows, sweep = told.ledger.trials(told.sweep_id), told.ledger.sweep(told.sweep_id)
    known = CurveResult(minimum=1.0, final=math.inf, selected=2.0, lowest_loss=0.5, decays=(3, 7))
    told.ledger.commit(
        sweep.id,
        told.resume().invocation,
        Batch(heads={rows[1].id: (str(rows[1].head), rows[1].epoch)}, results={rows[1].id: known}),
    )
    again = told.ledger.trials(told.sweep_id)
    assert [row.result for row in again[:3]] == [None, known, None]
    first, second, third = results_at_hand(told.ledger, sweep, again[:3])
    assert (second.minimum_error, second.final_error, second.selected_error) == (1.0, math.inf, 2.0)
    assert second.decays == (3, 7)
    assert (first, third) == frames(told).results[0:3:2]


def test_a_value_that_is_not_finite_leaves_minimum_and_selection() -> None:
    found = CurveResult().after(1, 5.0, 0.3, decayed=False).after(2, math.inf, math.nan, decayed=True)
    assert found == CurveResult(minimum=5.0, final=math.inf, selected=5.0, lowest_loss=0.3, decays=(2,))
    assert CurveResult.read(found.to_text()) == found
    assert CurveResult().after(1, math.nan, math.inf, decayed=False).minimum is None


def test_an_epoch_without_a_measurement_leaves_minimum_and_final_error() -> None:
    before = CurveResult().after(1, None, 0.3, decayed=False)
    assert before == CurveResult(lowest_loss=0.3)
    measured = before.after(2, 5.0, 0.2, decayed=False)
    after = measured.after(3, None, 0.1, decayed=True)
    assert after == CurveResult(minimum=5.0, final=5.0, selected=None, lowest_loss=0.1, decays=(3,))


def test_decays_have_their_reasons(told: Story) -> None:
    found = frames(told)
    trials = found.trials.set_index("name")
    abel, once = trials.loc["abel seed=1"], trials.loc["decay-at decay_epoch=10 seed=0"]
    assert (abel["minimum_epochs"], abel["bounce_epochs"], abel["forced_epochs"]) == ((9,), (25,), (34,))
    assert (abel["decay_epochs"], once["decay_epochs"], once["bounce_epochs"]) == ((25, 34), (10,), ())
    events = found.events[found.events["trial_id"] == abel["trial_id"]]
    assert list(zip(events["epoch"], events["kind"], strict=True)) == [
        (9, "minimum"),
        (25, "decay"),
        (34, "last_decay"),
    ]


def test_decays_are_those_of_the_recorded_epochs_even_if_the_log_has_lost_them(told: Story, tmp_path: Path) -> None:
    before = frames(told)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection, connection:
        assert connection.execute("DELETE FROM events WHERE kind = 'schedule'").rowcount > 0
    after = frames(told)
    assert before.trials.equals(after.trials) and before.events.equals(after.events)


def test_what_is_not_finished_is_there_as_far_as_it_came(story: Story) -> None:
    story.seeds, story.epochs, story.decays = 2, 6, ()
    story.begin().tell(upto=2, only=lambda name: name == "constant seed=0")
    lost = {
        row.id: (TrialStatus.FAILED, "Boom: no") for row in story.ledger.trials(story.sweep_id) if row.arm == "abel"
    }
    story.ledger.commit(story.sweep_id, story.invocation, Batch(ended=lost))
    story.end(SweepStatus.INTERRUPTED)
    found = frames(story)
    trials = found.trials.set_index("name")
    assert dict(zip(trials.index, trials["epoch"], strict=True))["constant seed=0"] == 2
    assert trials.loc["abel seed=0", "error"] == "Boom: no" and trials.loc["constant seed=1", "error"] == ""
    assert math.isnan(trials.loc["constant seed=1", "minimum_error"])
    assert trials.loc["constant seed=1", "minimum_epoch"] == 0
    assert found.finished.empty and len(found.curve("test_error")) == 2


def test_a_value_that_is_not_finite_is_missing_in_its_curve(story: Story) -> None:
    story.seeds, story.epochs, story.decays, story.diverging = 1, 4, (), True
    story.begin().tell().end()
    found = frames(story)
    (diverged,) = found.trials.loc[found.trials["outcome"] == "diverged", "trial_id"]
    assert found.curve("train_loss")[diverged].isna().any()
    assert found.counted(None).set_index("trial_id").loc[diverged, "final_error"] == 99.0, "as the ledger says"
    old = replace(found, chance=Chance())
    assert old.counted(90.0).set_index("trial_id").loc[diverged, "final_error"] == 90.0
    assert diverged not in set(old.counted(None)["trial_id"])


def test_a_metric_is_missing_in_its_curve_where_its_record_repeats_it(told: Story) -> None:
    sweep = told.ledger.sweep(told.sweep_id)
    metric = replace(sweep.metric, cadence=5)
    rare = replace(sweep, identities=tuple(replace(one, metric=metric) for one in sweep.identities))
    found, whole = load(told.ledger, rare), load(told.ledger, sweep)
    curve, trial = found.curve(metric.name), found.trials["trial_id"][0]
    assert list(curve[trial].dropna().index) == [5, 10, 15, 20, 25, 30, 35]
    assert curve[trial][10] == whole.curve(metric.name)[trial][10]
    assert found.trials["minimum_epoch"].isin([0, 5, 10, 15, 20, 25, 30, 35]).all()
    assert found.curve("weight_norm_sq").equals(whole.curve("weight_norm_sq")), "others are measured in every epoch"


def test_a_sweep_whose_plug_in_is_gone_can_be_read(told: Story, uninstall: Callable[[], None]) -> None:
    before = frames(told)
    uninstall()
    after = frames(told)
    assert before.trials.equals(after.trials) and before.curves.equals(after.curves)


def test_several_sweeps_as_one(told: Story) -> None:
    one = frames(told, "test_error")
    both: Mapping[str, Frames] = {"one": one, "other": one}
    found = joined(both)
    assert list(found.trials["arm"].unique()) == [
        f"{name}: {arm}" for name in both for arm in one.trials["arm"].unique()
    ]
    assert (len(found.trials), len(found.curves), len(found.events)) == tuple(
        2 * len(table) for table in (one.trials, one.curves, one.events)
    )
    assert found.curve("test_error").shape == (36, 2 * len(one.trials))


def test_a_task_whose_metric_is_better_the_higher_has_the_same_errors(tmp_path: Path) -> None:
    found = []
    for accuracy in (False, True):
        with closing(Ledger.open(f"sqlite:///{tmp_path / f'{accuracy}.db'}")) as ledger:
            told = (
                Story(ledger, seeds=2, epochs=36, decays=(2, 10), diverging=True, accuracy=accuracy)
                .begin()
                .tell()
                .end()
            )
            found.append(frames(told))
    errors, accuracies = found
    for name in ("minimum_error", "final_error", "selected_error"):
        assert list(accuracies.trials[name]) == pytest.approx(list(errors.trials[name]))
    assert list(accuracies.trials["minimum_epoch"]) == list(errors.trials["minimum_epoch"])
    assert (errors.metric.name, accuracies.metric.name) == ("test_error", "accuracy")
    assert accuracies.curve("accuracy").notna().any(axis=None)
    (one, *_), (other, *_) = (robustness(shown, 99.0)[0] for shown in (errors, accuracies))
    assert {name: pytest.approx(value) for name, value in one.measures.items()} == other.measures
