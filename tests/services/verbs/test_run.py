"""Tests for `services/verbs/`: the verb `run` and those around it, with a driver that records without training, or is lost."""

import io
import itertools
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType
from sentences import absent

from services import refusals
from services.cli import rendering_sweeps
from services.encoding import to_json
from services.errors import OperationError
from services.schemas import Plan, Request, RunResult
from services.settings import Settings
from services.signals import Stop
from services.verbs import plan as plans
from services.verbs import run as runs
from services.verbs import specs
from services.verbs import status as standing
from services.verbs.running import attempts, driver_restarts, placing
from services.verbs.ui import ui
from sweeps.ledger.database import LedgerAway, LedgerError
from sweeps.ledger.entries import Batch
from sweeps.ledger.leases import SweepPaused
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus, TrialStatus
from sweeps.processes import supervisor
from sweeps.processes.identity import WorkerEnvironment
from sweeps.processes.job import Begun, ClusterAway, DriverLost, Job, Options, Outcome, Progress
from sweeps.spec.trial import Trial
from workers.config import Program, to_dict
from workers.reports import Record
from workers.trajectory import Identity, child

SPEC = """
name: tiny
program:
  task: classify
  model: {kind: vgg5, width: 2, pools: [true, false, false, false]}
  data: {kind: digits, test: 1600}
  optimizer: sgd
  batch_size: 64
epochs: 4
seeds: [0, 1]
arms:
  constant:
    schedule: {kind: constant, learning_rate: 0.1}
  decay-at:
    schedule: {kind: decay_at, learning_rate: 0.1, decay_factor: 0.1}
    grid: {schedule.decay_epoch: [1, 2]}
"""


class Notes:
    """A view that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.told: list[tuple[str, str]] = []
        self.shown: list[Progress] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def news(self, trial: str, text: str) -> None:
        self.told.append((trial, text))

    def show(self, progress: Progress) -> None:
        self.shown.append(progress)


PROGRESS = Progress(
    **dict.fromkeys(("trials", "ended", "diverged", "failed", "cancelled", "stopped", "running", "waiting"), 0),
    **dict.fromkeys(("trained", "replayed", "covered", "total", "forecast_low", "forecast_high"), 0),
    elapsed_seconds=0.0,
    eta_seconds=None,
)


class Recorder:
    """Stands for the driver: walks every trial to its end and records made-up epochs."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[int, int], Options]] = []
        self.interrupt = False
        self.losses = 0
        self.loss = DriverLost("somebody pulled the plug")
        self.joined = False

    def drive(self, job: Job, *, stop: threading.Event, log: Path) -> Generator[Begun | Progress | Outcome, None, None]:
        with closing(Ledger.open(job.ledger_url)) as ledger:
            invocation = ledger.begin_invocation(job.sweep_id)
            self.calls.append((job.forecast, job.options))
            yield Begun(invocation)
            yield replace(PROGRESS, joined=self.joined)
            if self.interrupt:
                raise KeyboardInterrupt
            if self.losses:
                self.losses -= 1
                raise copy(self.loss)
            yield self._record(job, ledger, invocation)

    def _record(self, job: Job, ledger: Ledger, invocation: int) -> Outcome:
        rows = {row.number: row for row in ledger.trials(job.sweep_id)}
        done: set[str] = set()
        for trial in job.trials:
            row = rows[trial.number]
            walked = _walk(trial, job.identities[trial.program], "" if job.options.sharing else row.id)
            records = [record for record in walked if record.key not in done]
            done |= {record.key for record in records}
            head = walked[-1]
            ledger.commit(
                job.sweep_id,
                invocation,
                Batch(
                    records=records,
                    heads={row.id: (head.key, head.epoch)},
                    ended={row.id: (TrialStatus.FINISHED, None)},
                ),
            )
        ledger.end_invocation(job.sweep_id, invocation, SweepStatus.FINISHED)
        return Outcome(status=SweepStatus.FINISHED, trained=len(done), replayed=0, seconds={"wall": 1.0})


def _walk(trial: Trial, identity: Identity, salt: str) -> list[Record]:
    state, key, records = trial.schedule.init(), identity.root(trial.seed, salt), []
    for epoch in range(1, trial.epochs + 1):
        plan = trial.schedule.plan(state, epoch, identity.examples, trial.program.batch_size)
        parent, key = key, child(key, plan)
        metrics: dict[str, Any] = {
            "test_error": 50.0 - 5 * epoch + 100 * float(plan.learning_rates[0]) + trial.seed,
            "train_loss": 1.0,
            "weight_norm_sq": 1.0,
            "seconds": 0.5,
        }
        records.append(Record(key=key, parent=parent, epoch=epoch, metrics=metrics, finished_at_ms=epoch))
        state = trial.schedule.update(state, records[-1].observation)
    return records


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(supervisor, "drive", recorder.drive)
    return recorder


def identify(
    programs: Sequence[Program], environment: WorkerEnvironment, data_dir: Path | None
) -> Mapping[Program, Identity]:
    """As `sweeps.processes.identity.identify`, which asks a process that takes seconds to start."""
    numerics = {"threads": str(environment.threads)}
    return {
        program: Identity(program=to_dict(program), data="d", examples=197, numerics=numerics, code="c")
        for program in programs
    }


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(placing, "identities_here", identify)
    (tmp_path / "spec.yaml").write_text(SPEC)
    return Settings.from_env({"ABEL_HOME": str(tmp_path / "home")})


def _rendered(shown: RenderableType) -> str:
    console = Console(width=200, file=io.StringIO())
    console.print(shown)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def run(settings: Settings, view: Notes | None = None, stop: Stop | None = None, **changes: Any) -> RunResult:
    request = Request(spec="spec.yaml", tracking=False, **changes)
    return runs.run(settings, request, view=view or Notes(), stop=stop or Stop())


def test_a_run_ends_with_its_arms_and_a_second_one_does_nothing(settings: Settings, recorder: Recorder) -> None:
    first = run(settings)
    assert (first.outcome, first.trained) == ("finished", 18)
    assert recorder.calls[0][0] == (18, 18)
    constant, decay = first.detail.arms
    assert constant.minimum_error == pytest.approx(40.5)
    assert decay.settings == {"schedule.decay_epoch": 1}
    assert decay.minimum_error == pytest.approx(31.5)
    assert decay.decays == ((1,), (1,))
    again = run(settings)
    assert (again.outcome, again.trained) == ("nothing to do", 0)
    assert again.detail == first.detail
    assert len(recorder.calls) == 1
    assert '"outcome": "nothing to do"' in to_json(again)


def after_the_start(plan: Plan) -> tuple[float, ...]:
    """The seconds of a plan that are for epochs."""
    assert plan.seconds is not None
    assert plan.start_seconds >= plans.START_SECONDS
    return tuple(seconds - plan.start_seconds for seconds in plan.seconds)


def test_a_finished_sweep_takes_no_time(settings: Settings, recorder: Recorder) -> None:
    run(settings)
    plan = plans.plan(settings, Request(spec="spec.yaml"))
    assert (plan.seconds, plan.start_seconds, plan.epochs_remaining) == ((0.0, 0.0), 0.0, (0, 0))


def test_what_earlier_sweeps_recorded_is_not_planned_again(settings: Settings, recorder: Recorder) -> None:
    run(settings)
    Path("spec.yaml").write_text(SPEC.replace("[1, 2]", "[1, 2, 3]"))
    plan = plans.plan(settings, Request(spec="spec.yaml"))
    assert plan.epochs_known == 30
    assert plan.epochs_remaining == (2, 2)
    assert after_the_start(plan) == pytest.approx((0.5, 0.75))
    assert plan.reason is None
    fresh = plans.plan(settings, Request(spec="spec.yaml", seeds=(7,)))
    assert fresh.reason == "its seeds and first learning rates are new"
    slower = plans.plan(settings, Request(spec="spec.yaml", threads=2))
    assert slower.reason is not None
    assert "threads: 2, 1" in slower.reason


def test_a_run_says_that_epochs_of_other_code_could_be_kept(
    settings: Settings, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_code(code: str, **changes: Any) -> list[str]:
        def found(*given: Any) -> Mapping[Program, Identity]:
            return {program: replace(one, code=code) for program, one in identify(*given).items()}

        monkeypatch.setattr(placing, "identities_here", found)
        run(settings, view := Notes(), **changes)
        return [note for note in view.notes if "anew" in note]

    assert with_code("old") == []
    assert with_code("new", seeds=(7,)) == []  # which the other code did not train
    told = "tiny: trains every epoch anew: recorded states differ in code: new, old; `abel adopt` keeps them if they are the same"
    assert with_code("new") == [told]
    assert recorder.calls[-1][0] == (18, 18)
    assert with_code("newer", sharing=False) == []  # its epochs would be its own
    assert "abel adopt" not in str(plans.plan(settings, Request(spec="spec.yaml", sharing=False)).reason)
    with closing(sqlite3.connect(settings.home / "ledger.db")) as connection, connection:
        connection.execute("UPDATE states SET epoch = epoch + 1")
    assert with_code("newest") == []  # there is nothing to keep, and nothing of it is needed


def on_devices(monkeypatch: pytest.MonkeyPatch, devices: int) -> None:
    """Let this machine have so many devices."""

    def found(*given: Any) -> Mapping[Program, Identity]:
        parts = {"devices": str(devices), "xla_flags": f"--count={devices}"}
        return {one: replace(kept, numerics=parts | kept.numerics) for one, kept in identify(*given).items()}

    monkeypatch.setattr(placing, "identities_here", found)


def test_an_unfinished_sweep_is_not_continued_on_another_number_of_devices(
    settings: Settings, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_devices(monkeypatch, 1)
    recorder.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        run(settings)
    recorder.interrupt = False
    on_devices(monkeypatch, 8)
    rule = "^tiny: must continue on the number of devices it began with, .* differ in devices: 8, 1; xla_flags: "
    with pytest.raises(OperationError, match=rule):
        run(settings)
    assert len(recorder.calls) == 1
    on_devices(monkeypatch, 1)
    assert run(settings).outcome == "finished"
    # A finished sweep is not continued: on other devices it is another one, and shares nothing with the first.
    on_devices(monkeypatch, 8)
    assert (run(settings).outcome, recorder.calls[-1][0]) == ("finished", (18, 18))


def test_a_batch_that_grows_too_large_is_refused_before_training(settings: Settings, recorder: Recorder) -> None:
    growing = SPEC.replace("kind: decay_at", "kind: grow_batch").replace(
        "{schedule.decay_epoch: [1, 2]}", "{schedule.decay_epochs: [[1]], schedule.decay_factor: [0.75]}"
    )
    growing = growing.replace("decay_factor: 0.1}", "decay_epochs: [1]}")
    Path("spec.yaml").write_text(growing.replace("batch_size: 64", "batch_size: 64\n  micro_batches: 4"))
    with pytest.raises(
        OperationError, match="^tiny: arm 'decay-at': its batch grows to 85 .* must divide batch_size = 85"
    ):
        run(settings)
    assert recorder.calls == []


def test_before_any_measurement_the_spec_gives_the_time_of_an_epoch(settings: Settings) -> None:
    request = Request(spec="spec.yaml", workers=2)
    unknown = plans.plan(settings, request)
    assert (unknown.seconds, unknown.basis) == (None, "no epoch was measured here yet")
    Path("spec.yaml").write_text(f"{SPEC}epoch_seconds: 3\n")
    stated = plans.plan(settings, request)
    assert after_the_start(stated) == pytest.approx((3 * 18 / 2, 3 * (18 / 2 + 4 / 2)))
    assert stated.basis == "3 s per epoch, according to the spec; not measured here yet"
    Path("spec.yaml").write_text(f"{SPEC}epoch_seconds: 120\n")
    assert plans.plan(settings, request).basis.startswith("2 min 00 s per epoch")


def test_what_was_measured_here_counts_more_than_what_the_spec_says(settings: Settings, recorder: Recorder) -> None:
    Path("spec.yaml").write_text(f"{SPEC}epoch_seconds: 3\n")
    run(settings)
    assert plans.plan(settings, Request(spec="spec.yaml")).basis == "0.5 s per epoch, measured here"


def test_without_sharing_every_epoch_is_planned(settings: Settings) -> None:
    plan = plans.plan(settings, Request(spec="spec.yaml", sharing=False))
    assert plan.epochs_remaining == plan.epochs_shared == (24, 24)
    assert all(arm.epochs_shared == (arm.epochs_naive, arm.epochs_naive) for arm in plan.arms)


def test_a_sweep_that_another_process_runs_is_left_alone(
    settings: Settings, recorder: Recorder, another_process: Callable[[str, str], Any]
) -> None:
    recorder.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        run(settings)
    ledger = Ledger.open(settings.ledger_url)
    another_process(settings.ledger_url, ledger.sweep("tiny").id)
    with pytest.raises(
        LedgerError, match=r"sweep 'tiny': is being run by process \d+ on .*its lease runs out 30 s after"
    ):
        run(settings)
    assert len(recorder.calls) == 1
    assert [sweep.status for sweep in standing.sweeps(settings)] == ["running"]


def test_stopping_at_once_leaves_the_sweep_as_interrupted(settings: Settings, recorder: Recorder) -> None:
    recorder.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        run(settings)
    assert standing.status(settings, "tiny").sweep.status == "interrupted"
    recorder.interrupt = False
    assert run(settings).outcome == "finished"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between two drivers."""
    monkeypatch.setattr(driver_restarts, "POLICY", replace(driver_restarts.POLICY, first_pause_seconds=0.0))


@pytest.mark.usefixtures("impatient")
def test_a_lost_driver_is_replaced_and_its_loss_is_an_incident(settings: Settings, recorder: Recorder) -> None:
    recorder.losses, view = 2, Notes()
    done = run(settings, view)
    assert (done.outcome, done.trained, len(recorder.calls)) == ("finished", 18, 3)
    said = "the driver was lost: somebody pulled the plug; starting another from the last checkpoints"
    assert view.notes.count(said) == 2
    (incident,) = standing.status(settings, "tiny").incidents
    assert (incident.kind, incident.times, incident.retried, incident.last_trial) == ("infrastructure", 2, 2, None)
    assert "the driver was lost: somebody pulled the plug" in _rendered(rendering_sweeps.sweep_detail(done.detail))


@pytest.mark.usefixtures("impatient")
def test_a_driver_lost_again_and_again_without_a_record_ends_the_run(settings: Settings, recorder: Recorder) -> None:
    recorder.losses = 100
    done = run(settings)
    assert (done.outcome, len(recorder.calls)) == ("failed", 6)
    assert done.error is not None
    assert "The driver was lost 6 times in a row without a new record" in done.error
    assert "somebody pulled the plug" in done.error and "The same command resumes" in done.error
    assert "abel run mine.yaml" in _rendered(rendering_sweeps.run_result(done, "abel run mine.yaml"))
    (incident,) = standing.status(settings, "tiny").incidents
    assert (incident.times, incident.retried) == (6, 5)
    recorder.losses = 0
    assert run(settings).outcome == "finished"


class StopsAt(Notes):
    """A view behind which somebody stops the run at a note."""

    def __init__(self, stop: Stop, part: str) -> None:
        super().__init__()
        self._stop, self._part = stop, part

    def note(self, text: str) -> None:
        super().note(text)
        if self._part in text:
            self._stop.set()


@pytest.mark.parametrize(("part", "announced"), [("reading its data", 0), ("starting another", 1)])
def test_no_driver_follows_a_lost_one_where_the_run_is_to_stop(
    settings: Settings, recorder: Recorder, part: str, announced: int
) -> None:
    recorder.losses, stop = 1, Stop()
    view = StopsAt(stop, part)
    done = run(settings, view, stop)
    assert (done.outcome, len(recorder.calls)) == ("interrupted", 1)
    assert sum("starting another" in note for note in view.notes) == announced
    detail = standing.status(settings, "tiny")
    assert (detail.sweep.status, [incident.times for incident in detail.incidents]) == ("interrupted", [1])
    assert run(settings).outcome == "finished"


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int, LedgerError], None]:
    """Have a method of the ledger fail at one of its calls."""

    def fail(method: str, at: int, error: LedgerError) -> None:
        usual, calls = getattr(Ledger, method), itertools.count(1)

        def failing(*arguments: Any, **named: Any) -> Any:
            if next(calls) == at:
                raise error
            return usual(*arguments, **named)

        monkeypatch.setattr(Ledger, method, failing)

    return fail


@pytest.mark.usefixtures("impatient")
def test_a_bound_on_losses_holds_though_the_ledger_goes_away_at_it(
    settings: Settings, recorder: Recorder, unreadable: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "LOOK_SECONDS", 0.0)
    recorder.losses = 100
    unreadable("end_invocation", 1, LedgerAway("the server is away"))
    done = run(settings)
    assert (done.outcome, len(recorder.calls)) == ("failed", 6)
    assert done.error is not None and "The driver was lost 6 times in a row" in done.error


@pytest.mark.usefixtures("impatient")
def test_only_a_cluster_that_was_joined_once_is_tried_again(settings: Settings, recorder: Recorder) -> None:
    recorder.losses, recorder.loss = 2, ClusterAway("the Ray cluster at head:1 cannot be joined: nobody answers")
    with pytest.raises(refusals.MACHINE_ERRORS, match="cannot be joined"):
        run(settings)
    detail = standing.status(settings, "tiny")
    assert (detail.sweep.status, detail.incidents, len(recorder.calls)) == ("interrupted", (), 1)
    recorder.joined = True
    assert (run(settings).outcome, len(recorder.calls)) == ("finished", 3)


# At which of its calls: the first after a loss, and the first while a driver works.
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("method", "at"), [("work", 4), ("events", 2)])
def test_a_read_that_fails_for_a_moment_stops_no_run(
    settings: Settings, recorder: Recorder, unreadable: Any, method: str, at: int
) -> None:
    recorder.losses = 1
    unreadable(method, at, LedgerError("database is locked"))
    assert run(settings).outcome == "finished"


def test_a_sweep_whose_process_is_gone_is_shown_as_stopped(settings: Settings, recorder: Recorder) -> None:
    run(settings)
    ledger = Ledger.open(settings.ledger_url)
    begin = (
        "import sys; from sweeps.ledger.ledger import Ledger; Ledger.open(sys.argv[1]).begin_invocation(sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", begin, settings.ledger_url, ledger.sweep("tiny").id], check=True)
    ledger.close()
    assert [sweep.status for sweep in standing.sweeps(settings)] == ["stopped"]


def test_options_reach_the_driver(settings: Settings, recorder: Recorder) -> None:
    run(settings, workers=3, seeds=(5,), sharing=False)
    forecast, options = recorder.calls[0]
    assert forecast == (12, 12)
    assert (options.workers, options.threads, options.sharing) == (3, 1, False)


def test_ui_serves_this_machine_only_and_runs_no_jobs(settings: Settings, recorder: Recorder) -> None:
    run(settings)
    server = ui(settings, 5001, None)
    assert server.command is not None
    assert server.url == "http://127.0.0.1:5001"  # the recorder uploads nothing, so there is no page of the sweep yet
    assert server.command[server.command.index("--host") + 1] == "127.0.0.1"
    assert server.environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert server.environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"


def test_ui_of_a_server_is_only_its_address(settings: Settings) -> None:
    remote = Settings.from_env({"ABEL_HOME": str(settings.home), "ABEL_TRACKING_URI": "http://user:word@host:5000"})
    server = ui(remote, 5000, None)
    assert server.command is None
    assert server.url == "http://host:5000"
    with pytest.raises(OperationError, match="sweep 'tiny': must be one that was run here"):
        ui(remote, 5000, "tiny")


def test_values_that_training_cannot_tell_apart_are_named(settings: Settings, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    close = specs.catalog_text("fig-s6a-digits").replace(
        "schedule.decay_epoch: [1, 4, 10, 20, 30]", "schedule.learning_rate: [0.3, 0.30000000000000004]"
    )
    spec.write_text(close.replace("{kind: decay_at,", "{kind: decay_at, decay_epoch: 4,"))
    (note,) = specs.validate(str(spec)).notes
    assert absent(note, "arms.decay-at.grid.schedule.learning_rate", "0.3 and 0.30000000000000004", "float32") == []
    assert plans.plan(settings, Request(spec=str(spec))).notes == (note,)
    assert specs.validate("fig-s6a-digits").notes == ()


@pytest.mark.usefixtures("impatient")
def test_a_pause_between_two_drivers_holds(settings: Settings, recorder: Recorder) -> None:
    class Pausing(Notes):
        def note(self, text: str) -> None:
            super().note(text)
            if "the driver was lost" in text:
                with closing(Ledger.open(settings.ledger_url)) as ledger:
                    ledger.pause_sweep(ledger.sweep("tiny").id)

    recorder.losses = 1
    assert (run(settings, Pausing()).outcome, len(recorder.calls)) == ("paused", 1)
    with pytest.raises(SweepPaused):
        run(settings)
