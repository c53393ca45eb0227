import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from shops import Shop

from abel.schedules import Abel, Event
from sweeps.ledger.entries import Batch
from sweeps.ledger.records import SweepStatus, TrialStatus
from sweeps.run.failures import FailureClass, RetryPolicy
from sweeps.run.report_handler import Nondeterministic
from sweeps.spec.sweep import SweepSpec
from sweeps.spec.trial import Trial
from workers.cohort import train
from workers.reports import Record, Saved
from workers.workshop import Workshop

pytestmark = pytest.mark.slow


@dataclass(frozen=True, kw_only=True)
class Stopping(Abel):
    """ABEL as after a last decay that gained too little: its rate stays, and it ends training after an epoch."""

    stop_epoch: int

    def init(self) -> Any:
        return super().init()._replace(stop_epoch=self.stop_epoch)


def stopping(epoch: int) -> Stopping:
    return Stopping(learning_rate=0.1, decay_factor=0.1, last_decay_epoch=None, stop_epoch=epoch)


def events(shop: Shop, sweep_id: str, kind: str) -> list[Any]:
    return [event.payload for event in shop.ledger.events(sweep_id) if event.kind == kind]


@pytest.mark.databases
def test_sharing_is_invisible_in_every_record(
    shop: Shop, another_shop: Shop, spec_of: Callable[..., SweepSpec]
) -> None:
    shared, frontier = shop.run(spec_of())
    alone, lone_frontier = another_shop.run(spec_of(), sharing=False)
    assert shop.curves(shared) == another_shop.curves(alone)
    assert lone_frontier.trained == 2 * 10 * 5
    # Per seed: constant 5; at 1: 4; at 3 = simple = abel: 2; step parts after 2: 3; cosine with warm-up: 5; linear goes
    # with it in the warm-up: 4; plateau decays after 2 as step does, and by itself after 3: 2; grow parts after 2: 3.
    assert frontier.trained == 2 * (5 + 4 + 2 + 3 + 5 + 4 + 2 + 3)
    assert frontier.replayed == 0


def test_cohorts_that_are_taken_back_go_on_where_their_workers_saved(
    shop: Shop, another_shop: Shop, spec_of: Callable[..., SweepSpec]
) -> None:
    sweep_id, frontier = shop.frontier(spec_of(seeds=[0]))
    turns = 0
    while taken := frontier.take():
        number, cohort = taken
        reports = train(cohort, shop.workshop)
        for report in reports:
            frontier.hear(number, [report])
            if not isinstance(report, Saved):  # which comes before a fork, and is no step ahead by itself
                break
        reports.close()  # as a worker does that is stopped: it saves
        frontier.settle_saved(shop.workshop.checkpoints.__contains__)
        frontier.take_back()
        turns += 1
    assert (frontier.running, frontier.waiting, frontier.replayed) == (0, 0, 0)
    assert turns >= frontier.trained == 28
    whole, _ = another_shop.run(spec_of(seeds=[0]))
    assert shop.curves(sweep_id) == another_shop.curves(whole)
    assert events(shop, sweep_id, "incident") == []


def test_sharing_is_invisible_where_abel_bounces(shop: Shop, another_shop: Shop, bouncing_spec: SweepSpec) -> None:
    shared, frontier = shop.run(bouncing_spec)
    alone, _ = another_shop.run(bouncing_spec, sharing=False)
    assert shop.curves(shared) == another_shop.curves(alone)
    assert shop.decisions(shared) == shop.by_algorithm_1(shared) == another_shop.decisions(alone)
    bounced = {name: epoch for name, epoch, event in shop.decisions(shared) if event & Event.DECAY}
    assert {f"abel decay_factor={factor} seed={seed}" for factor in (0.1, 0.5) for seed in (0, 1)} <= bounced.keys()
    assert max(bounced.values()) < bouncing_spec.epochs  # so that an epoch was trained behind every fork
    distinct = {state.key for row in shop.ledger.trials(shared) for state in shop.ledger.curve(row.head)}
    assert frontier.trained == len(distinct) < 2 * 4 * 15


def test_without_sharing_nothing_is_reused_either(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    shop.run(spec_of())
    _, frontier = shop.run(spec_of(), sharing=False)
    assert frontier.trained == 2 * 10 * 5


@pytest.mark.databases
def test_every_trial_ends_with_its_full_curve(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    sweep_id, frontier = shop.run(spec_of())
    rows = shop.ledger.trials(sweep_id)
    assert {row.status for row in rows} == {TrialStatus.FINISHED}
    assert {len(shop.ledger.curve(row.head)) for row in rows} == {5}
    assert frontier.covered == len(rows) * 5
    assert shop.ledger.work(sweep_id).trained == frontier.trained


@pytest.mark.databases
def test_a_finished_sweep_has_nothing_to_do_and_no_news(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    sweep_id, _ = shop.run(spec_of())
    before = len(shop.ledger.events(sweep_id))
    again, frontier = shop.run(spec_of())
    assert again == sweep_id
    assert (frontier.trained, frontier.replayed, frontier.waiting) == (0, 0, 0)
    assert len(shop.ledger.events(sweep_id)) == before


def test_a_longer_grid_trains_only_from_the_nearest_checkpoint_on(
    shop: Shop, another_shop: Shop, spec_of: Callable[..., SweepSpec]
) -> None:
    def at(*epochs: Any) -> dict[str, Any]:
        schedule = {"kind": "decay_at", "learning_rate": 0.1, "decay_factor": 0.1, "decay_epoch": 1}
        return {"at": {"schedule": schedule, "grid": {"schedule.decay_epoch": list(epochs)}}}

    shop.run(spec_of(arms=at(2, 4)))
    sweep_id, frontier = shop.run(spec_of(arms=at(2, 3, 4)))
    # The fork after 2 is the nearest checkpoint: epoch 3 is a replay, 4 and 5 are new.
    assert (frontier.trained, frontier.replayed) == (2 * 2, 2 * 1)
    fresh, _ = another_shop.run(spec_of(arms=at(2, 3, 4)))
    assert shop.curves(sweep_id) == another_shop.curves(fresh)


def test_a_longer_sweep_goes_on_from_the_end_of_a_shorter_one(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    arms = {"constant": {"schedule": {"kind": "constant", "learning_rate": 0.1}}}
    shop.run(spec_of(arms=arms, epochs=3))
    _, frontier = shop.run(spec_of(arms=arms, epochs=5))
    assert (frontier.trained, frontier.replayed) == (2 * 2, 0)


@pytest.mark.databases
@pytest.mark.parametrize("most", [1, 4, 7, 12, 23])
def test_a_sweep_broken_off_anywhere_goes_on_to_the_same_records(
    shop: Shop, another_shop: Shop, spec_of: Callable[..., SweepSpec], most: int
) -> None:
    shop.run(spec_of(), most=most)
    sweep_id, frontier = shop.run(spec_of())
    whole, undisturbed = another_shop.run(spec_of())
    assert shop.curves(sweep_id) == another_shop.curves(whole)
    assert shop.ledger.work(sweep_id).trained == undisturbed.trained
    keys = [key for event in events(shop, sweep_id, "progress") for key in event["keys"] for _ in event["trials"]]
    assert len(keys) == frontier.covered  # every trial hears of every epoch once


@pytest.mark.databases
def test_a_lost_worker_costs_at_most_the_epochs_since_the_checkpoint(
    shop: Shop, spec_of: Callable[..., SweepSpec]
) -> None:
    sweep_id, frontier = shop.frontier(spec_of(seeds=[0]))
    number, cohort = frontier.take()
    reports = iter(list(train(cohort, shop.workshop))[:3])
    frontier.hear(number, list(reports))
    frontier.fail(number, FailureClass.INFRASTRUCTURE, "SIGKILL")
    while taken := frontier.take():
        frontier.hear(taken[0], list(train(taken[1], shop.workshop)))
    assert {row.status for row in shop.ledger.trials(sweep_id)} == {TrialStatus.FINISHED}
    (incident,) = events(shop, sweep_id, "incident")
    assert (incident["text"], incident["class"], incident["again"]) == ("SIGKILL", "infrastructure", True)
    hit = {row.id for row in shop.ledger.trials(sweep_id) if row.attempts == 1}
    assert hit == set(incident["trials"])


def test_a_worker_lost_again_and_again_fails_its_trials_only(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    at_once = RetryPolicy(infrastructure=3, first_pause_seconds=0.0)
    sweep_id, frontier = shop.frontier(spec_of(), retry=at_once)
    seed = None
    for _ in range(4):
        number, cohort = frontier.take()
        while seed is not None and cohort.seed != seed:
            frontier.hear(number, list(train(cohort, shop.workshop)))
            number, cohort = frontier.take()
        seed = cohort.seed
        frontier.fail(number, FailureClass.INFRASTRUCTURE, "it died")
    while taken := frontier.take():
        frontier.hear(taken[0], list(train(taken[1], shop.workshop)))
    by_seed = {row.seed: row for row in shop.ledger.trials(sweep_id)}
    assert by_seed[seed].status is TrialStatus.FAILED
    assert by_seed[seed].error == "it died"
    assert (by_seed[seed].failure, by_seed[seed].attempts) == ("infrastructure", 3)
    assert by_seed[1 - seed].status is TrialStatus.FINISHED


ALONE = {"arms": {"constant": {"schedule": {"kind": "constant", "learning_rate": 0.1}}}, "seeds": [0]}


def test_out_of_memory_is_tried_once_more_and_a_fault_of_the_program_never(
    shop: Shop, spec_of: Callable[..., SweepSpec]
) -> None:
    for failure, tries in ((FailureClass.OUT_OF_MEMORY, 2), (FailureClass.USER, 1)):
        sweep_id, frontier = shop.frontier(spec_of(**ALONE))
        taken = 0
        while next_one := frontier.take():
            taken += 1
            frontier.fail(next_one[0], failure, "no\nTraceback")
        assert taken == tries
        (row,) = shop.ledger.trials(sweep_id)
        assert (row.status, row.failure, row.attempts) == (TrialStatus.FAILED, str(failure), tries - 1)
        assert [event["again"] for event in events(shop, sweep_id, "incident")][-tries:] == [True] * (tries - 1) + [
            False
        ]


def test_what_ran_out_of_memory_is_tried_again_alone(
    shop: Shop, another_shop: Shop, spec_of: Callable[..., SweepSpec]
) -> None:
    spec = spec_of(seeds=[0, 1, 2, 3], arms=ALONE["arms"], epochs=2)
    sweep_id, frontier = shop.frontier(spec)
    (hungry, cohort), (other, others), (gone, _) = frontier.take(), frontier.take(), frontier.take()
    frontier.fail(hungry, FailureClass.OUT_OF_MEMORY, "out of memory")
    assert frontier.take() is None  # what runs comes to its end first
    frontier.hear(other, list(train(others, shop.workshop)))
    assert frontier.take() is None
    frontier.fail(gone, FailureClass.INFRASTRUCTURE, "lost")
    again, lone = frontier.take()
    assert (lone.seed, frontier.is_alone(again), frontier.waiting) == (cohort.seed, True, 2)
    assert frontier.take() is None
    frontier.hear(again, list(train(lone, shop.workshop)))
    while taken := frontier.take():
        assert not frontier.is_alone(taken[0])
        frontier.hear(taken[0], list(train(taken[1], shop.workshop)))
    whole, _ = another_shop.run(spec)
    assert shop.curves(sweep_id) == another_shop.curves(whole)


def test_out_of_memory_when_alone_fails_unless_it_came_further(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    sweep_id, frontier = shop.frontier(spec_of(**ALONE))
    number, cohort = frontier.take()
    reports = list(train(cohort, shop.workshop))
    for done in range(3):
        frontier.fail(number, FailureClass.OUT_OF_MEMORY, "out of memory: 5 GiB")
        number, _ = frontier.take()
        frontier.hear(number, [reports[done]])
    frontier.fail(number, FailureClass.OUT_OF_MEMORY, "out of memory: 5 GiB")
    number, _ = frontier.take()
    frontier.fail(number, FailureClass.OUT_OF_MEMORY, "out of memory: 5 GiB")
    (row,) = shop.ledger.trials(sweep_id)
    assert (row.status, row.failure, row.epoch) == (TrialStatus.FAILED, "out_of_memory", 3)
    assert row.error == "with nothing else running, out of memory: 5 GiB"
    assert (frontier.take(), frontier.waiting, frontier.running) == (None, 0, 0)


def test_an_infrastructure_failure_does_not_use_up_the_try_alone(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    sweep_id, frontier = shop.frontier(spec_of(**ALONE))
    for failure in (FailureClass.INFRASTRUCTURE, FailureClass.OUT_OF_MEMORY):
        frontier.fail(frontier.take()[0], failure, "gone")
    assert frontier.is_alone(frontier.take()[0])
    assert [row.status for row in shop.ledger.trials(sweep_id)] == [TrialStatus.WAITING]


def test_an_error_whose_text_is_no_text_fails_its_trial_and_no_more(
    shop: Shop, spec_of: Callable[..., SweepSpec]
) -> None:
    sweep_id, frontier = shop.frontier(spec_of(**ALONE))
    number, _ = frontier.take()
    frontier.fail(number, FailureClass.USER, "bad file \udcff.txt\0")
    (row,) = shop.ledger.trials(sweep_id)
    assert (row.status, row.error) == (TrialStatus.FAILED, r"bad file \udcff.txt")
    assert shop.ledger.events_of(sweep_id, "incident")[0].payload["text"] == row.error


def test_a_preemption_is_no_failure_however_often(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    sweep_id, frontier = shop.frontier(spec_of(**ALONE))
    for _ in range(30):
        number, _ = frontier.take()
        frontier.fail(number, FailureClass.PREEMPTED, "its machine was taken away")
    (row,) = shop.ledger.trials(sweep_id)
    assert (row.status, row.failure, row.attempts) == (TrialStatus.WAITING, None, 0)


def test_a_cohort_rests_after_losses_and_progress_renews_its_tries(
    shop: Shop, spec_of: Callable[..., SweepSpec]
) -> None:
    now = [0.0]
    _, frontier = shop.frontier(spec_of(**ALONE), clock=lambda: now[0], retry=RetryPolicy(infrastructure=2))
    reports = list(train(frontier.take()[1], shop.workshop))
    number = 0
    for round_ in range(3):
        frontier.fail(number, FailureClass.INFRASTRUCTURE, "lost")
        number, _ = frontier.take()  # at once the first time
        frontier.fail(number, FailureClass.INFRASTRUCTURE, "lost")
        assert frontier.take() is None
        assert frontier.waiting == 1
        now[0] += 0.5
        number, _ = frontier.take()
        frontier.hear(number, [reports[round_]])
    assert frontier.running == 1


@pytest.mark.databases
def test_a_record_is_told_of_only_when_a_checkpoint_covers_it(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    sweep_id, frontier = shop.frontier(spec_of(**ALONE))
    number, cohort = frontier.take()
    reports = list(train(cohort, shop.workshop))
    records = [report for report in reports if isinstance(report, Record)]
    frontier.hear(number, records[:2])
    (row,) = shop.ledger.trials(sweep_id)
    assert (row.epoch, row.final_epoch) == (2, 0)
    assert events(shop, sweep_id, "progress") == []
    frontier.hear(number, [Saved(key=records[1].key, epoch=2, seconds=0.1), records[2]])
    (row,) = shop.ledger.trials(sweep_id)
    assert (row.epoch, row.final_epoch) == (3, 2)
    assert [event["keys"] for event in events(shop, sweep_id, "progress")] == [[record.key for record in records[:2]]]
    # A crash: what was provisional is trained again, and told of once a checkpoint covers it.
    _, frontier = shop.frontier(spec_of(**ALONE))
    while taken := frontier.take():
        frontier.hear(taken[0], list(train(taken[1], shop.workshop)))
    told = [key for event in events(shop, sweep_id, "progress") for key in event["keys"]]
    assert told == [record.key for record in records]


def test_what_another_sweep_saved_settles_no_more_than_it_covers(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    sweep_id, frontier = shop.frontier(spec_of(**ALONE))
    number, cohort = frontier.take()
    records = [report for report in train(cohort, shop.workshop) if isinstance(report, Record)]
    frontier.hear(number, records[:4])
    shop.ledger.commit(sweep_id, frontier.invocation, Batch(checkpoints=[(records[1].key, 2)]))
    _, frontier = shop.frontier(spec_of(**ALONE))
    assert [row.final_epoch for row in shop.ledger.trials(sweep_id)] == [2]
    while taken := frontier.take():
        frontier.hear(taken[0], list(train(taken[1], shop.workshop)))
    told = [key for event in events(shop, sweep_id, "progress") for key in event["keys"]]
    assert told == [record.key for record in records]
    assert [row.final_epoch for row in shop.ledger.trials(sweep_id)] == [5]


def test_what_workers_saved_on_their_way_out_is_told_of(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    sweep_id, frontier = shop.frontier(spec_of(**ALONE))
    number, cohort = frontier.take()
    reports = train(cohort, shop.workshop)
    frontier.hear(number, [next(reports), next(reports)])
    reports.close()
    frontier.settle_saved(shop.workshop.checkpoints.__contains__)
    assert [row.final_epoch for row in shop.ledger.trials(sweep_id)] == [2]
    assert len(events(shop, sweep_id, "progress")) == 1


@pytest.mark.databases
def test_cancelled_trials_end_and_the_others_are_as_if_they_had_been_alone(
    shop: Shop, another_shop: Shop, spec_of: Callable[..., SweepSpec]
) -> None:
    sweep_id, frontier = shop.frontier(spec_of(seeds=[0]))
    doomed = [row.id for row in shop.ledger.trials(sweep_id) if row.arm in ("abel", "simple", "constant")]
    while taken := frontier.take():
        for report in train(taken[1], shop.workshop):
            frontier.hear(taken[0], [report])
            if isinstance(report, Record) and report.epoch == 2 and doomed:
                shop.ledger.cancel_trials(sweep_id, doomed)
                frontier.cancel(shop.ledger.cancellations(sweep_id))
                doomed = []
            if not frontier.is_wanted(taken[0]):
                break
    rows = {row.arm: row for row in shop.ledger.trials(sweep_id)}
    gone = {arm for arm, row in rows.items() if row.status is TrialStatus.CANCELLED}
    assert gone == {"abel", "simple", "constant"}
    assert {row.status for arm, row in rows.items() if arm not in gone} == {TrialStatus.FINISHED}
    whole, _ = another_shop.run(spec_of(seeds=[0]))
    alone = another_shop.curves(whole)
    for name, curve in shop.curves(sweep_id).items():
        assert curve == alone[name][: len(curve)]
    assert len(events(shop, sweep_id, "trial_ended")) == len(shop.ledger.trials(sweep_id))


@pytest.mark.databases
def test_a_cancelled_trial_stays_so_until_it_is_retried(
    shop: Shop, another_shop: Shop, spec_of: Callable[..., SweepSpec]
) -> None:
    _, _, sweep_id = shop.enter(spec_of(seeds=[0]))
    rows = shop.ledger.trials(sweep_id)
    assert shop.ledger.cancel_trials(sweep_id, [rows[0].id]) == 1
    assert shop.ledger.trials(sweep_id)[0].status is TrialStatus.CANCELLED  # nobody runs the sweep: at once
    shop.run(spec_of(seeds=[0]))
    assert shop.ledger.cancel_trials(sweep_id, [rows[1].id]) == 0  # it has finished
    assert [row.status for row in shop.ledger.trials(sweep_id)][:2] == [TrialStatus.CANCELLED, TrialStatus.FINISHED]


@pytest.mark.databases
def test_a_retried_trial_is_trained_as_any_other(
    shop: Shop, another_shop: Shop, spec_of: Callable[..., SweepSpec]
) -> None:
    _, _, sweep_id = shop.enter(spec_of(seeds=[0]))
    shop.ledger.cancel_trials(sweep_id, [row.id for row in shop.ledger.trials(sweep_id)])
    assert shop.run(spec_of(seeds=[0]))[1].trained == 0
    shop.ledger.end_invocation(sweep_id, shop.ledger.begin_invocation(sweep_id), SweepStatus.CANCELLED)
    count = len(shop.ledger.trials(sweep_id))
    assert shop.ledger.retry_trials(sweep_id, [row.id for row in shop.ledger.trials(sweep_id)]) == count
    shop.run(spec_of(seeds=[0]))
    whole, _ = another_shop.run(spec_of(seeds=[0]))
    assert shop.curves(sweep_id) == another_shop.curves(whole)


def test_what_failed_gets_another_chance_when_the_sweep_is_run_again(
    shop: Shop, spec_of: Callable[..., SweepSpec]
) -> None:
    sweep_id, frontier = shop.frontier(spec_of(seeds=[0]))
    number, _ = frontier.take()
    frontier.fail(number, FailureClass.USER, "ValueError: no")
    assert {row.status for row in shop.ledger.trials(sweep_id)} == {TrialStatus.FAILED}
    shop.run(spec_of(seeds=[0]))
    assert {row.status for row in shop.ledger.trials(sweep_id)} == {TrialStatus.FINISHED}


def test_a_replay_that_differs_stops_with_the_metric(
    shop: Shop, spec_of: Callable[..., SweepSpec], tmp_path: Path
) -> None:
    arms = {"constant": {"schedule": {"kind": "constant", "learning_rate": 0.1}}}
    shop.run(spec_of(arms=arms, epochs=3, seeds=[0]))
    sweep_id, frontier = shop.frontier(spec_of(arms=arms, epochs=5, seeds=[0]))
    number, cohort = frontier.take()
    empty = Workshop(checkpoints=tmp_path / "empty", data_dir=None)
    first, *_ = train(cohort, empty)
    assert isinstance(first, Record)
    assert first.replay
    frontier.hear(number, [first])
    wrong = replace(first, metrics={**first.metrics, "test_loss": first.metrics["test_loss"] + 1e-12})
    with pytest.raises(Nondeterministic, match="test_loss"):
        frontier.hear(number, [wrong])
    assert events(shop, sweep_id, "nondeterministic")[0]["metric"] == "test_loss"


def test_a_replay_may_differ_where_that_is_allowed(
    shop: Shop, spec_of: Callable[..., SweepSpec], tmp_path: Path
) -> None:
    arms = {"constant": {"schedule": {"kind": "constant", "learning_rate": 0.1}}}
    shop.run(spec_of(arms=arms, epochs=3, seeds=[0]))
    sweep_id, frontier = shop.frontier(spec_of(arms=arms, epochs=5, seeds=[0]), allow_nondeterminism=True)
    number, cohort = frontier.take()
    observed = cohort.observations[0]
    other = replace(cohort, observations=(observed._replace(train_loss=9.0), *cohort.observations[1:]))
    strict = Workshop(checkpoints=tmp_path / "strict", data_dir=None)
    assert len(list(train(other, strict))) == 1
    lenient = Workshop(checkpoints=tmp_path / "lenient", data_dir=None, allow_nondeterminism=True)
    first, *rest = train(other, lenient)
    wrong = replace(first, metrics={**first.metrics, "train_loss": 9.0})
    before = shop.ledger.states([first.key])
    frontier.hear(number, [wrong, *rest])
    assert events(shop, sweep_id, "nondeterministic")[0]["metric"] == "train_loss"
    assert (frontier.trained, frontier.replayed) == (2, 3)
    assert shop.ledger.states([first.key]) == before
    assert shop.ledger.trials(sweep_id)[0].status is TrialStatus.FINISHED


def test_nothing_that_follows_from_a_contradiction_is_kept(
    shop: Shop, spec_of: Callable[..., SweepSpec], tmp_path: Path
) -> None:
    arms = {"constant": {"schedule": {"kind": "constant", "learning_rate": 0.1}}}
    shop.run(spec_of(arms=arms, epochs=3, seeds=[0]))
    sweep_id, frontier = shop.frontier(spec_of(arms=arms, epochs=5, seeds=[0]))
    number, cohort = frontier.take()
    first, *rest = train(cohort, Workshop(checkpoints=tmp_path / "empty", data_dir=None))
    wrong = replace(first, metrics={**first.metrics, "train_loss": 9.0})
    with pytest.raises(Nondeterministic, match="train_loss"):
        frontier.hear(number, [wrong, *rest])
    frontier.hear(number, rest)
    assert [row.epoch for row in shop.ledger.trials(sweep_id)] == [3]
    assert frontier.trained == 0


@dataclass(frozen=True)
class Fixed:
    """A sweep of the given trials, whatever schedules they have."""

    name: str
    trials: Sequence[Trial]

    def expand(self) -> list[Trial]:
        return list(self.trials)

    def to_dict(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def stopping_early(spec_of: Callable[..., SweepSpec]) -> Fixed:
    """One seed of a constant rate for five epochs, and of two schedules that plan the same and end after 2 and 4."""
    (trial,) = spec_of(arms={"constant": {"schedule": {"kind": "constant", "learning_rate": 0.1}}}, seeds=[0]).expand()
    early = [replace(trial, number=i, name=f"stop {i}", schedule=stopping(2 * i)) for i in (1, 2)]
    return Fixed("early", (trial, *early))


def test_a_schedule_ends_its_trial_and_leaves_the_others(shop: Shop, another_shop: Shop, stopping_early: Fixed) -> None:
    sweep_id, frontier = shop.run(stopping_early)
    rows = shop.ledger.trials(sweep_id)
    assert [(row.status, row.epoch) for row in rows] == [(TrialStatus.FINISHED, epoch) for epoch in (5, 2, 4)]
    assert (frontier.trained, frontier.covered, frontier.running) == (5, 5 + 2 + 4, 0)
    ended = events(shop, sweep_id, "trial_ended")
    assert sorted(event["epoch"] for event in ended) == [2, 4, 5], "each once"
    alone, lone_frontier = another_shop.run(stopping_early, sharing=False)
    assert lone_frontier.trained == 5 + 2 + 4
    assert shop.curves(sweep_id) == another_shop.curves(alone)


def test_what_the_ledger_covers_ends_where_the_schedule_says(shop: Shop, stopping_early: Fixed) -> None:
    shop.run(replace(stopping_early, name="whole", trials=stopping_early.trials[:1]))
    sweep_id, frontier = shop.run(stopping_early)
    assert [row.epoch for row in shop.ledger.trials(sweep_id)] == [5, 2, 4]
    assert (frontier.trained, frontier.waiting) == (0, 0)


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5, 6])
def test_a_sweep_with_early_ends_broken_off_anywhere_goes_on(shop: Shop, stopping_early: Fixed, most: int) -> None:
    shop.run(stopping_early, most=most)
    sweep_id, _ = shop.run(stopping_early)
    assert [(row.status, row.epoch) for row in shop.ledger.trials(sweep_id)] == [
        (TrialStatus.FINISHED, epoch) for epoch in (5, 2, 4)
    ]
    assert shop.ledger.work(sweep_id).trained == 5
    assert sorted(event["epoch"] for event in events(shop, sweep_id, "trial_ended")) == [2, 4, 5]


def test_the_ledger_records_the_batch_size(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    sweep_id, _ = shop.run(spec_of(seeds=[0]))
    sizes = {
        row.name: [state.metrics["batch_size"] for state in shop.ledger.curve(row.head)]
        for row in shop.ledger.trials(sweep_id)
    }
    assert sizes.pop("grow seed=0") == [16.0, 16.0, 32.0, 32.0, 64.0]
    assert {tuple(size) for size in sizes.values()} == {(16.0,) * 5}


@pytest.mark.databases
def test_divergence_ends_a_trial_and_leaves_the_others(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    schedule = {"kind": "constant", "learning_rate": 0.1}
    arms = {"rate": {"schedule": schedule, "grid": {"schedule.learning_rate": [0.1, 1e9]}}}
    sweep_id, _ = shop.run(spec_of(arms=arms, seeds=[0]))
    fine, wild = shop.ledger.trials(sweep_id)
    assert (fine.status, wild.status) == (TrialStatus.FINISHED, TrialStatus.DIVERGED)
    last = shop.ledger.curve(wild.head)[-1]
    assert last.epoch == wild.epoch < 5
    assert not math.isfinite(last.metrics["train_loss"])
    _, again = shop.run(spec_of(arms=arms, seeds=[0]))
    assert again.trained == 0


def test_a_diverged_record_covers_other_sweeps_as_diverged(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    wild = {"schedule": {"kind": "constant", "learning_rate": 1e9}}
    shop.run(spec_of(arms={"wild": wild}, seeds=[0]))
    sweep_id, frontier = shop.run(spec_of(arms={"other": wild}, seeds=[0], name="other"))
    assert frontier.trained == 0
    assert shop.ledger.trials(sweep_id)[0].status is TrialStatus.DIVERGED


def test_schedules_tell_what_they_did_and_the_rates_around_it(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    sweep_id, _ = shop.run(spec_of(seeds=[0]))
    names = {row.id: row.name for row in shop.ledger.trials(sweep_id)}
    told = {(names[event["trial"]].split()[0], event["epoch"]): event for event in events(shop, sweep_id, "schedule")}
    assert told["step", 2]["rate_before"] == pytest.approx(0.1)
    assert told["step", 2]["rate_after"] == pytest.approx(0.01)
    assert told["step", 4]["rate_after"] == pytest.approx(0.001)
    assert [told["plateau", epoch]["event"] for epoch in (2, 3, 4)] == [Event.PLATEAU] * 3
    assert told["plateau", 3]["rate_after"] == pytest.approx(0.001)
    assert told["grow", 2]["rate_before"] == told["grow", 2]["rate_after"] == pytest.approx(0.1)
    assert ("abel", 3) in told
    assert not any(name in ("constant", "cosine", "linear") for name, _ in told)


@pytest.mark.databases
def test_two_sweeps_share_their_states(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    shop.run(spec_of())
    _, frontier = shop.run(spec_of(name="namesake"))
    assert frontier.trained == 0
