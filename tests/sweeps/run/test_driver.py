import os
import signal
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import ray
from shops import Curves, Shop

from sweeps.ledger.records import SweepStatus, TrialStatus
from sweeps.processes.identity import IdentityError, WorkerEnvironment
from sweeps.processes.job import ClusterAway, Options
from sweeps.run import announcing, driver, losses
from sweeps.run.driver import run_sweep
from sweeps.run.failures import FailureClass
from sweeps.run.frontier import Frontier
from sweeps.spec.sweep import SweepSpec

# Ray starts its helpers by fork and exec; in the product no JAX backend runs beside the driver, here the oracle's does.
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")]

CONSTANT = {"schedule": {"kind": "constant", "learning_rate": 0.1}}
LONG = {"epochs": 800, "arms": {"c": {"schedule": {"kind": "constant", "learning_rate": 0.01}}}}
# The first report of a long sweep then leaves most of it to be trained, however fast the machine.
OFTEN = {"report_every_seconds": 0.1}


def drive(
    shop: Shop,
    spec: SweepSpec,
    *,
    sharing: bool = True,
    on_progress: Callable[[Any], None] = lambda progress: None,
    stop: Any = None,
    cache: Path | None = None,
    workers: int = 1,
    **options: Any,
) -> tuple[str, Any]:
    """Run a sweep through Ray with the numerics of this process; on one actor and with its compiled programs unless told."""
    trials, identities, sweep_id = shop.enter(spec, sharing=sharing)
    settings = Options(
        checkpoints=shop.directory / "checkpoints",
        cache=cache or Path(os.environ["ABEL_CACHE_DIR"]),
        sharing=sharing,
        workers=workers,
        **options,
    )
    outcome = run_sweep(
        shop.ledger,
        sweep_id,
        shop.ledger.begin_invocation(sweep_id),
        trials,
        identities,
        settings,
        forecast=(1, 1),
        on_progress=on_progress,
        stop=stop or threading.Event(),
    )
    return sweep_id, outcome


@pytest.fixture(scope="module")
def long_curves(shared_shop: Shop, spec_of: Callable[..., SweepSpec]) -> Curves:
    """The curves of a long sweep that runs undisturbed."""
    sweep_id, _ = shared_shop.run(spec_of(seeds=[0, 1], **LONG))
    return shared_shop.curves(sweep_id)


def workers_of(shop: Shop, sweep_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The process that trained each state, by key, and each state's parent."""
    states = [state for row in shop.ledger.trials(sweep_id) for state in shop.ledger.curve(row.head)]
    return {state.key: state.worker for state in states}, {state.key: state.parent for state in states}


def training(shop: Shop) -> int:
    """A process that trains one of the trials under way."""
    (sweep,) = shop.ledger.sweeps()
    heads = [row.head for row in shop.ledger.trials(sweep.id) if row.head and not row.status.final]
    (last, *_) = shop.ledger.states(heads).values()
    return int(last.worker.rpartition(":")[2])


def test_sharing_through_ray_costs_the_distinct_trajectories(
    shop: Shop, another_shop: Shop, spec_of: Callable[..., SweepSpec]
) -> None:
    seen = []
    sweep_id, outcome = drive(shop, spec_of(), on_progress=seen.append, workers=2)
    assert [row.error for row in shop.ledger.trials(sweep_id) if row.error] == []
    alone, _ = another_shop.run(spec_of(), sharing=False)
    assert shop.curves(sweep_id) == another_shop.curves(alone)
    # 28 states a seed, as counted in test_frontier.py.
    assert (outcome.status, outcome.trained, outcome.replayed) == (SweepStatus.FINISHED, 2 * 28, 0)
    assert seen[-1].covered == seen[-1].total == 2 * 10 * 5
    assert (seen[-1].ended, seen[-1].running, seen[-1].waiting) == (20, 0, 0)

    again, outcome = drive(shop, spec_of())
    assert again == sweep_id
    assert (outcome.status, outcome.trained, outcome.replayed) == (SweepStatus.FINISHED, 0, 0)


def test_a_tuner_hands_on_its_cohorts_and_trains_nothing_twice(
    shop: Shop, another_shop: Shop, spec_of: Callable[..., SweepSpec]
) -> None:
    tuners, usual = [], driver._tuner

    def counted(*given: Any) -> Any:
        tuners.append(given)
        return usual(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "_tuner", counted)
        sweep_id, outcome = drive(shop, spec_of(seeds=[0]), cohorts_per_tuner=5)
    assert len(tuners) > 1
    assert (outcome.status, outcome.trained, outcome.replayed) == (SweepStatus.FINISHED, 28, 0)
    one, _ = another_shop.run(spec_of(seeds=[0]))
    assert shop.curves(sweep_id) == another_shop.curves(one)
    assert shop.decisions(sweep_id) == another_shop.decisions(one)
    assert shop.ledger.events_of(sweep_id, "incident") == []


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_ledger_on_postgresql_gets_the_same_records_through_ray(
    shop: Shop, another_shop: Shop, spec_of: Callable[..., SweepSpec]
) -> None:
    spec = spec_of(seeds=[0])
    sweep_id, outcome = drive(shop, spec)
    whole, frontier = another_shop.run(spec)
    assert (outcome.status, outcome.trained, outcome.replayed) == (SweepStatus.FINISHED, frontier.trained, 0)
    assert shop.curves(sweep_id) == another_shop.curves(whole)
    assert shop.decisions(sweep_id) == another_shop.decisions(whole)


def test_forks_that_come_out_of_the_data_are_invisible_through_ray(
    shop: Shop, another_shop: Shop, bouncing_spec: SweepSpec
) -> None:
    sweep_id, outcome = drive(shop, bouncing_spec, workers=2)
    alone, _ = another_shop.run(bouncing_spec, sharing=False)
    assert shop.curves(sweep_id) == another_shop.curves(alone)
    assert shop.decisions(sweep_id) == shop.by_algorithm_1(sweep_id) == another_shop.decisions(alone)
    distinct = {state.key for row in shop.ledger.trials(sweep_id) for state in shop.ledger.curve(row.head)}
    assert outcome.trained == len(distinct)


def test_a_child_trained_by_another_process_than_its_parent_is_the_same(
    shop: Shop, another_shop: Shop, spec_of: Callable[..., SweepSpec]
) -> None:
    parts = {"seeds": [0], "arms": {"constant": CONSTANT}}
    drive(shop, spec_of(epochs=3, **parts), cache=shop.directory / "compiled")
    sweep_id, outcome = drive(shop, spec_of(**parts), cache=shop.directory / "compiled again")
    assert (outcome.trained, outcome.replayed) == (2, 0)
    workers, parents = workers_of(shop, sweep_id)
    assert any(parent in workers and workers[parent] != workers[key] for key, parent in parents.items())
    alone, _ = another_shop.run(spec_of(**parts), sharing=False)
    assert shop.curves(sweep_id) == another_shop.curves(alone)


def test_no_sharing_through_ray_gives_the_same_records(
    shop: Shop, another_shop: Shop, spec_of: Callable[..., SweepSpec]
) -> None:
    sweep_id, outcome = drive(shop, spec_of(seeds=[0]), sharing=False)
    shared, _ = another_shop.run(spec_of(seeds=[0]))
    assert outcome.trained == 10 * 5
    assert shop.curves(sweep_id) == another_shop.curves(shared)


def test_stopping_drains_and_saves_and_running_again_goes_on(
    shop: Shop, long_curves: Curves, spec_of: Callable[..., SweepSpec]
) -> None:
    stop = threading.Event()

    def stop_soon(progress: Any) -> None:
        if progress.trained:
            stop.set()

    spec = spec_of(seeds=[0], **LONG)
    sweep_id, outcome = drive(shop, spec, stop=stop, on_progress=stop_soon, **OFTEN)
    assert outcome.status is SweepStatus.INTERRUPTED
    assert 1 <= outcome.trained < LONG["epochs"]
    assert shop.ledger.trials(sweep_id)[0].epoch == outcome.trained
    _, rest = drive(shop, spec)
    assert (rest.status, rest.replayed) == (SweepStatus.FINISHED, 0)
    assert outcome.trained + rest.trained == LONG["epochs"]
    assert shop.curves(sweep_id) == {"c seed=0": long_curves["c seed=0"]}


def test_a_killed_worker_is_replaced_and_the_records_are_the_same(
    shop: Shop, long_curves: Curves, spec_of: Callable[..., SweepSpec]
) -> None:
    killed = []

    def kill_one(progress: Any) -> None:
        if progress.trained and not killed:
            killed.append(training(shop))
            os.kill(killed[0], signal.SIGKILL)

    sweep_id, outcome = drive(shop, spec_of(seeds=[0, 1], **LONG), on_progress=kill_one, workers=2, **OFTEN)
    assert killed
    assert outcome.status is SweepStatus.FINISHED
    (lost,) = (event.payload["text"] for event in shop.ledger.events(sweep_id, limit=10**6) if event.kind == "incident")
    assert "a worker was lost" in lost
    assert shop.curves(sweep_id) == long_curves


def test_a_worker_that_leaves_in_a_sweep_costs_nothing_but_its_process(
    shop: Shop, long_curves: Curves, spec_of: Callable[..., SweepSpec]
) -> None:
    """Its cohort goes on elsewhere, without a retry spent, and no other cohort is handed to a process that ends."""
    told = []

    def tell_one(progress: Any) -> None:
        if progress.trained and not told:
            told.append(training(shop))
            os.kill(told[0], signal.SIGTERM)

    sweep_id, outcome = drive(shop, spec_of(seeds=[0, 1], **LONG), on_progress=tell_one, workers=2, **OFTEN)
    assert told
    assert (outcome.status, outcome.replayed) == (SweepStatus.FINISHED, 0)
    events = shop.ledger.events(sweep_id, limit=10**6)
    incidents = [event.payload for event in events if event.kind == "incident"]
    assert [(incident["class"], incident["again"]) for incident in incidents] == [(FailureClass.PREEMPTED, True)]
    assert {(row.attempts, row.failure) for row in shop.ledger.trials(sweep_id)} == {(0, None)}
    assert shop.curves(sweep_id) == long_curves


def test_a_killed_worker_is_replaced_if_cohorts_are_shorter_than_starts(
    shop: Shop, spec_of: Callable[..., SweepSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Beside other tests a start may take longer than three times the first one, for which the last worker waits by default.
    for name in ("LEAST_START_SECONDS", "MOST_START_SECONDS"):
        monkeypatch.setattr(losses, name, 150.0)
    killed = []

    def kill_one(progress: Any) -> None:
        if progress.trained >= 20 and not killed:
            sweep = shop.ledger.sweeps()[-1]
            heads = [row.head for row in shop.ledger.trials(sweep.id) if row.head]
            killed.extend(state.worker for state in shop.ledger.states(heads).values())
            os.kill(int(killed[0].rpartition(":")[2]), signal.SIGKILL)

    many = {"epochs": 2, "seeds": list(range(200)), "arms": {"c": CONSTANT}}
    sweep_id, outcome = drive(shop, spec_of(**many), on_progress=kill_one, workers=2, **OFTEN)
    assert outcome.status is SweepStatus.FINISHED
    workers = Counter(workers_of(shop, sweep_id)[0].values())
    del workers[killed[0]]
    assert len(workers) == 2  # the other one, and the one that took the place of the killed one


def test_cancelling_running_trials_leaves_the_others_unchanged(
    shop: Shop, long_curves: Curves, spec_of: Callable[..., SweepSpec]
) -> None:
    asked = []

    def cancel_one(progress: Any) -> None:
        if progress.trained and not asked:
            sweep = shop.ledger.sweeps()[-1]
            asked.extend(row.id for row in shop.ledger.trials(sweep.id) if row.seed == 0)
            assert shop.ledger.cancel_trials(sweep.id, asked) == len(asked)

    sweep_id, outcome = drive(shop, spec_of(seeds=[0, 1], **LONG), on_progress=cancel_one, workers=2, **OFTEN)
    assert outcome.status is SweepStatus.CANCELLED
    cancelled, finished = shop.ledger.trials(sweep_id)
    assert (cancelled.status, finished.status) == (TrialStatus.CANCELLED, TrialStatus.FINISHED)
    assert cancelled.epoch < finished.epoch == LONG["epochs"]
    found = shop.curves(sweep_id)
    assert found == {name: long_curves[name][: len(curve)] for name, curve in found.items()}


def test_a_worker_that_raises_fails_its_trials_with_the_reason(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    sweep_id, outcome = drive(shop, spec_of(seeds=[0]), threads=2)
    assert outcome.status is SweepStatus.FAILED
    rows = shop.ledger.trials(sweep_id)
    assert {row.status for row in rows} == {TrialStatus.FAILED}
    assert "WorkerMismatch" in rows[0].error
    assert "threads: 1, 2" in rows[0].error


def test_a_ledger_that_fails_drains_the_sweep_and_leaves_no_hole(
    shop: Shop, another_shop: Shop, spec_of: Callable[..., SweepSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = type(shop.ledger).commit
    failed = []

    def full(self: Any, sweep_id: str, invocation: int, batch: Any) -> None:
        if any(record.epoch == 3 for record in batch.records) and not failed:  # ABEL's forced decay falls here
            failed.append(batch)
            raise OSError(28, "No space left on device")
        return commit(self, sweep_id, invocation, batch)

    monkeypatch.setattr(type(shop.ledger), "commit", full)
    sweep_id, outcome = drive(shop, spec_of(epochs=20), workers=2)
    assert outcome.status is SweepStatus.NO_SPACE
    assert "No space left" in outcome.error
    monkeypatch.undo()
    _, rest = drive(shop, spec_of(epochs=20))
    assert rest.status is SweepStatus.FINISHED
    whole, undisturbed = another_shop.run(spec_of(epochs=20))
    assert shop.curves(sweep_id) == another_shop.curves(whole)
    assert outcome.trained + rest.trained == undisturbed.trained
    assert shop.decisions(sweep_id) == another_shop.decisions(whole)


def test_what_is_around_it_is_none_of_its_business(
    shop: Shop, spec_of: Callable[..., SweepSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packages where one stands, a cluster of the environment, and temporary files that go too deep for a socket."""
    for package in ("abel", "workers", "sweeps"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise ImportError('a package of the user, not ours')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    deep = tmp_path / ("deep" * 20)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    sweep_id, outcome = drive(shop, spec_of(seeds=[0], arms={"constant": CONSTANT}))
    assert [row.error for row in shop.ledger.trials(sweep_id) if row.error] == []
    assert outcome.status is SweepStatus.FINISHED


def test_a_driver_says_how_far_it_is_while_it_covers_what_is_recorded(
    shop: Shop, spec_of: Callable[..., SweepSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announcing, "ANNOUNCE_SECONDS", 0.0)
    parts = {"seeds": [0], "epochs": 6, "arms": {"constant": CONSTANT}}
    shop.run(spec_of(**parts))
    stop, seen = threading.Event(), []
    stop.set()  # no Ray then
    drive(shop, spec_of(name="another", **parts), stop=stop, on_progress=seen.append)
    assert {progress.covered for progress in seen} == set(range(7))


def test_an_address_that_is_none_is_refused(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    with pytest.raises(IdentityError, match=r"Ray cluster: must have an address HOST:PORT, got 'nonsense' \(Invalid"):
        drive(shop, spec_of(), address="nonsense")


def test_a_head_that_does_not_answer_is_no_lost_driver(
    shop: Shop, spec_of: Callable[..., SweepSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(**_: object) -> NoReturn:  # Ray takes 80 s to come to this
        raise ConnectionError("Failed to connect to Ray cluster")

    monkeypatch.setattr(ray, "init", silent)
    with pytest.raises(ClusterAway, match="the Ray cluster at 127.0.0.1:1 cannot be joined: ConnectionError: Failed"):
        drive(shop, spec_of(), address="127.0.0.1:1")


@pytest.mark.parametrize(("owner", "method"), [(WorkerEnvironment, "variables"), (Frontier, "is_wanted")])
def test_a_bug_of_ours_is_no_lost_driver(
    shop: Shop,
    spec_of: Callable[..., SweepSpec],
    monkeypatch: pytest.MonkeyPatch,
    owner: type[WorkerEnvironment] | type[Frontier],
    method: str,
) -> None:
    def broken(*_: object) -> NoReturn:
        raise KeyError("a bug")

    monkeypatch.setattr(owner, method, broken)
    with pytest.raises(KeyError, match="a bug"):
        drive(shop, spec_of(seeds=[0], arms={"constant": CONSTANT}))


def test_resources_that_are_not_there_are_refused(shop: Shop, spec_of: Callable[..., SweepSpec]) -> None:
    with pytest.raises(IdentityError, match=r"resources.tpu: must be at most the 0 that Ray offers here, got 4"):
        drive(shop, spec_of(), tpu=4)
