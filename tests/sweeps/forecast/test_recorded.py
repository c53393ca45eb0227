"""Tests for `sweeps/forecast/recorded.py`: what the ledger holds of trials that may end by themselves, and what is left."""

import pytest
from stories import Story

from sweeps.forecast.plan import Span
from sweeps.forecast.recorded import estimate, recorded_epochs
from sweeps.forecast.seconds import seconds_to_start
from sweeps.ledger.entries import Batch
from sweeps.spec.programs import program_from_dict
from sweeps.spec.sweep import SweepSpec, parse_document
from sweeps.spec.trial import Trial
from workers.reports import Record
from workers.trajectory import Identity, child

EARLY = {"kind": "abel", "learning_rate": 0.1, "decay_factor": 0.1, "gain_threshold": 0.1, "epochs_after_last_decay": 3}


@pytest.fixture
def identity(story: Story) -> Identity:
    return story.begin().ledger.sweep(story.sweep_id).identities[0]


@pytest.fixture
def spec(identity: Identity) -> SweepSpec:
    """ABEL without a fixed budget: on norms that go up and down it is done after 9 of 40 epochs."""
    arms = {"early": {"schedule": EARLY}}
    return parse_document({"name": "early", "program": identity.program, "epochs": 40, "seeds": [0], "arms": arms})


def record(story: Story, trial: Trial, identity: Identity, epochs: int) -> None:
    """Write so many epochs of a trial, with a norm that goes up and down and a loss that stays."""
    state, key, records = trial.schedule.init(), identity.root(trial.seed), []
    for epoch in range(1, epochs + 1):
        plan = trial.schedule.plan(state, epoch, identity.examples, trial.program.batch_size)
        metrics = {"train_loss": 1.0, "weight_norm_sq": 2.0 + epoch % 2, "seconds": 1.0}
        records.append(Record(key=child(key, plan), parent=key, epoch=epoch, metrics=metrics, finished_at_ms=epoch))
        key, state = records[-1].key, trial.schedule.update(state, records[-1].observation)
    story.ledger.commit(story.sweep_id, story.invocation, Batch(records=records))


@pytest.mark.parametrize(("epochs", "known", "left"), [(0, 0, Span(9, 40)), (8, 8, Span(1, 32)), (9, 40, Span(0, 0))])
def test_a_trial_that_ended_by_itself_is_complete(
    story: Story, spec: SweepSpec, identity: Identity, epochs: int, known: int, left: Span
) -> None:
    (trial,) = spec.expand()
    record(story, trial, identity, epochs)
    identities = {trial.program: identity}
    assert recorded_epochs([trial], identities, story.ledger) == {0: known}
    assert estimate(spec, identities, story.ledger).new_epochs == left


def test_without_sharing_it_costs_what_is_sure_to_what_may_be(spec: SweepSpec) -> None:
    cost = estimate(spec, {}, None, sharing=False)
    assert cost.shared_epochs == cost.new_epochs == cost.arms[0].shared_epochs == Span(9, 40)


def test_a_batch_grows_to_the_examples_where_these_are_known(identity: Identity) -> None:
    grow = {"learning_rate": 0.1, "decay_epochs": [10], "kind": "grow_batch"}
    arms = {"a": {"schedule": grow, "grid": {"schedule.decay_factor": [0.01, 0.005]}}}  # 1,600 and 3,200 of 1,500
    spec = parse_document({"name": "grow", "program": identity.program, "epochs": 40, "seeds": [0], "arms": arms})
    assert estimate(spec, {}, None).shared_epochs == Span(70, 70)
    assert estimate(spec, {program_from_dict(identity.program): identity}, None).shared_epochs == Span(40, 40)


def test_the_start_is_measured_from_what_the_ledger_knows(story: Story, spec: SweepSpec, identity: Identity) -> None:
    (trial,) = spec.expand()
    (began,) = story.ledger.events_of(story.sweep_id, "sweep_started")
    assert seconds_to_start(story.ledger, 1.0) is None  # nothing was trained yet
    root = identity.root(trial.seed)
    plan = trial.schedule.plan(trial.schedule.init(), 1, identity.examples, trial.program.batch_size)
    old, new = (
        Record(
            key=key,
            parent=root,
            epoch=1,
            metrics={"train_loss": 1.0, "seconds": 1.0},
            finished_at_ms=began.at_ms + after,
        )
        for key, after in ((child(root, plan), 21_000), ("ab" * 32, -5_000))
    )
    told = [("progress", {"trials": [], "keys": [old.key, new.key]})]
    story.ledger.commit(story.sweep_id, story.invocation, Batch(records=[old, new], events=told))
    assert seconds_to_start(story.ledger, 1.0) == 20.0
