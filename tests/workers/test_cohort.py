import json
import math
import multiprocessing
import signal
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bitwise import bits, bits_of

from abel.plans import Schedule
from abel.schedules import SCHEDULES, Abel
from workers.cohort import OtherDevice, WorkerMismatch, train
from workers.config import Program, to_dict
from workers.fold import Member
from workers.reports import Cohort, Damaged, Ended, Forked, Record, Saved
from workers.workshop import Workshop

EPOCHS = 5


def schedule(kind: str, **settings: Any) -> Schedule:
    return SCHEDULES[kind](learning_rate=0.1, **settings)


MEMBERS = (
    Member(trial="constant", schedule=schedule("constant")),
    Member(trial="at-2", schedule=schedule("decay_at", decay_factor=0.1, decay_epoch=2)),
    Member(trial="step-2", schedule=schedule("step", decay_factor=0.1, decay_epochs=(2,))),
    Member(trial="at-4", schedule=schedule("decay_at", decay_factor=0.1, decay_epoch=4)),
    Member(trial="cosine", schedule=schedule("cosine", epochs=EPOCHS)),
)


@dataclass(frozen=True, kw_only=True)
class Stopping(Abel):
    """ABEL as after a last decay that gained too little: its rate stays, and it ends training after an epoch."""

    stop_epoch: int

    def init(self) -> Any:
        return super().init()._replace(stop_epoch=self.stop_epoch)


def stopping(epoch: int) -> Stopping:
    return Stopping(learning_rate=0.1, decay_factor=0.1, last_decay_epoch=None, stop_epoch=epoch)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(checkpoints=tmp_path / "checkpoints", data_dir=None)


@pytest.fixture
def cohort(workshop: Workshop, tiny_program: Program) -> Cohort:
    return Cohort(
        program=tiny_program, identity=workshop.identity(tiny_program), seed=3, epochs=EPOCHS, members=MEMBERS
    )


def records(reports: Iterable[object], *, replay: bool = False) -> list[Any]:
    return [report for report in reports if isinstance(report, Record) and report.replay == replay]


def follow(cohort: Cohort, workshop: Workshop) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train a cohort and, like a driver, every cohort that parts from it: (epoch records by key, curve by trial)."""
    by_key, curves, pending = {}, {}, [cohort]
    while pending:
        here = pending.pop()
        members, seen = list(here.members), list(here.observations)
        for report in train(here, workshop):
            match report:
                case Record(replay=True):
                    assert bits(report.metrics) == bits(by_key[report.key].metrics)
                case Record():
                    assert report.key not in by_key
                    by_key[report.key] = report
                    seen.append(report.observation)
                case Forked(siblings=siblings):
                    for group in siblings:
                        away = tuple(member for member in members if member.trial in group)
                        members = [member for member in members if member.trial not in group]
                        pending.append(replace(here, members=away, observations=tuple(seen)))
                case Ended(trials=trials):
                    members = [member for member in members if member.trial not in trials]
                    curves |= dict.fromkeys(trials, report.epoch)
        assert members == []
    return by_key, curves


def test_a_cohort_costs_its_distinct_trajectories(cohort: Cohort, workshop: Workshop) -> None:
    by_key, curves = follow(cohort, workshop)
    assert set(curves) == {member.trial for member in MEMBERS}
    assert set(curves.values()) == {EPOCHS}
    # constant 5; at-2 and step-2 together 3 more; at-4 one more; cosine five of its own
    assert len(by_key) == 5 + 3 + 1 + 5


def test_sharing_is_invisible_in_the_records(cohort: Cohort, workshop: Workshop, tmp_path: Path) -> None:
    by_key, _ = follow(cohort, workshop)
    for member in MEMBERS:
        alone = Workshop(checkpoints=tmp_path / member.trial, data_dir=None)
        for record in records(train(replace(cohort, members=(member,)), alone)):
            assert bits(record.metrics) == bits(by_key[record.key].metrics)


def test_members_whose_schedule_is_finished_end_and_the_others_go_on(cohort: Cohort, workshop: Workshop) -> None:
    two, four = (Member(trial=f"stop-{epoch}", schedule=stopping(epoch)) for epoch in (2, 4))
    by_key, curves = follow(replace(cohort, members=(two, MEMBERS[0], four)), workshop)
    assert curves == {"stop-2": 2, "stop-4": 4, "constant": EPOCHS}
    assert len(by_key) == EPOCHS


def test_a_cohort_of_finished_schedules_trains_no_epoch_more(cohort: Cohort, workshop: Workshop) -> None:
    pair = tuple(Member(trial=trial, schedule=stopping(2)) for trial in "ab")
    *found, saved, end = train(replace(cohort, members=pair), workshop)
    assert [record.epoch for record in records(found)] == [1, 2]
    assert isinstance(saved, Saved)
    assert end == Ended(trials=("a", "b"), epoch=2, diverged=False)
    # Taken up again, as after a worker that was lost before it could say so, it says the same at once.
    told = tuple(record.observation for record in records(found))
    assert list(train(replace(cohort, members=pair, observations=told), workshop))[-1] == end


def test_a_batch_that_grows_takes_fewer_steps(workshop: Workshop, tiny_program: Program) -> None:
    grow = Member(trial="g", schedule=schedule("grow_batch", decay_factor=0.5, decay_epochs=(1, 3)))
    cohort = Cohort(program=tiny_program, identity=workshop.identity(tiny_program), seed=0, epochs=4, members=(grow,))
    training, sizes = workshop.training(tiny_program), []
    trained = type(training).advance

    def counting(
        self: Any, state: Any, hyper: Any, learning_rates: Any, key: Any, batch_size: int, stretch: tuple[int, int]
    ) -> Any:
        sizes.append((batch_size, len(learning_rates)))
        return trained(self, state, hyper, learning_rates, key, batch_size, stretch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(training), "advance", counting)
        found = records(train(cohort, workshop))
    assert sizes == [(16, 6), (32, 3), (32, 3), (64, 1)]
    assert [record.metrics["batch_size"] for record in found] == [16.0, 32.0, 32.0, 64.0]
    assert {record.metrics["learning_rate_last"] for record in found} == {float(np.float32(0.1))}
    # 64 of 96 examples in the last epoch: errors are counted over what was trained.
    assert (found[-1].metrics["train_error"] * 64 / 100).is_integer()


def test_records_count_epochs_from_one_and_chain(cohort: Cohort, workshop: Workshop) -> None:
    found = records(train(replace(cohort, members=MEMBERS[:1]), workshop))
    assert [record.epoch for record in found] == [1, 2, 3, 4, 5]
    assert [record.parent for record in found] == [cohort.root, *(record.key for record in found[:-1])]
    assert found[0].metrics["learning_rate_first"] == pytest.approx(0.1)


def test_a_salt_keeps_states_apart_but_not_the_numbers(cohort: Cohort, workshop: Workshop) -> None:
    one = replace(cohort, members=MEMBERS[:1])
    ours, salted = records(train(one, workshop)), records(train(replace(one, salt="x"), workshop))
    assert {record.key for record in ours}.isdisjoint(record.key for record in salted)
    assert bits_of(ours) == bits_of(salted)


def test_closing_saves_and_another_workshop_goes_on_without_a_replay(
    cohort: Cohort, workshop: Workshop, tmp_path: Path
) -> None:
    one = replace(cohort, members=MEMBERS[:1])
    whole = records(train(replace(one, salt=""), Workshop(checkpoints=tmp_path / "other", data_dir=None)))
    with closing(train(one, workshop)) as reports:
        begun = list(islice(reports, 3))
    rest = replace(one, observations=tuple(record.observation for record in begun))
    again = list(train(rest, workshop))
    assert records(again, replay=True) == []
    assert bits_of([*begun, *records(again)]) == bits_of(whole)


def test_a_lost_checkpoint_costs_replays_that_equal_the_records(
    cohort: Cohort, workshop: Workshop, tmp_path: Path
) -> None:
    one = replace(cohort, members=MEMBERS[:1])
    whole = records(train(one, workshop))
    late = replace(one, observations=tuple(record.observation for record in whole[:3]))
    reports = list(train(late, Workshop(checkpoints=tmp_path / "empty", data_dir=None)))
    assert bits_of(records(reports, replay=True)) == bits_of(whole[:3])
    assert bits_of(records(reports)) == bits_of(whole[3:])


def test_a_worker_that_contradicts_the_history_stops_and_saves_nothing(
    cohort: Cohort, workshop: Workshop, tmp_path: Path
) -> None:
    one = replace(cohort, members=MEMBERS[:1])
    first, second, *_ = records(train(one, workshop))
    told = (first.observation, second.observation._replace(train_loss=9.0))
    empty = Workshop(checkpoints=tmp_path / "empty", data_dir=None)
    reports = list(train(replace(one, observations=told), empty))
    assert [(report.epoch, report.replay) for report in reports] == [(1, True), (2, True)]
    assert second.key not in empty.checkpoints


def test_a_damaged_checkpoint_is_removed_and_the_one_before_it_used(
    cohort: Cohort, workshop: Workshop, tmp_path: Path
) -> None:
    by_key, _ = follow(cohort, workshop)
    trunk = records(train(replace(cohort, members=MEMBERS[:1]), Workshop(checkpoints=tmp_path / "x", data_dir=None)))
    damaged = trunk[3].key
    stray = tmp_path / "checkpoints" / damaged[:2] / damaged / "state" / "_METADATA"
    stray.write_bytes(stray.read_bytes() + b" ")
    late = replace(cohort, members=MEMBERS[:1], observations=tuple(record.observation for record in trunk[:4]))
    reports = list(train(late, workshop))
    assert [report.key for report in reports if isinstance(report, Damaged)] == [damaged]
    # The next checkpoint down the path is the fork after epoch 2.
    assert [record.epoch for record in records(reports, replay=True)] == [3, 4]
    assert not stray.exists()


def test_saves_come_by_time_at_forks_and_at_the_end(cohort: Cohort, tmp_path: Path) -> None:
    often = Workshop(checkpoints=tmp_path / "often", data_dir=None, save_every_seconds=0.0)
    saved = [report.epoch for report in train(replace(cohort, members=MEMBERS[:1]), often) if isinstance(report, Saved)]
    assert saved == [0, 1, 2, 3, 4, 5]
    seldom = Workshop(checkpoints=tmp_path / "seldom", data_dir=None)
    saved = [
        report.epoch for report in train(replace(cohort, members=MEMBERS[:2]), seldom) if isinstance(report, Saved)
    ]
    assert saved == [2, 5]


def test_saves_come_when_so_many_seconds_have_passed_and_not_before(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("workers.cohort.time.monotonic", lambda: now[0])
    workshop = Workshop(checkpoints=tmp_path / "timed", data_dir=None)
    assert workshop.save_every_seconds == 120.0
    saved, long = [], replace(cohort, epochs=12, members=MEMBERS[:1])
    for report in train(long, workshop):
        match report:
            case Record():
                now[0] += 50.0  # an epoch's
            case Saved():
                saved.append(report.epoch)
    assert saved == [3, 6, 9, 12]


def test_a_leaving_workshop_saves_and_the_next_one_goes_on_there(
    cohort: Cohort, workshop: Workshop, tmp_path: Path
) -> None:
    one = replace(cohort, members=MEMBERS[:1])
    whole = records(train(one, Workshop(checkpoints=tmp_path / "whole", data_dir=None)))
    begun = []
    for report in train(one, workshop):
        begun.append(report)
        if len(begun) == 3:
            workshop.leaving.set()
    assert [type(report) for report in begun] == [Record, Record, Record, Saved]
    assert begun[-1].key == begun[-2].key
    assert list(train(one, workshop)) == []  # nor does it begin anything

    rest = replace(one, observations=tuple(record.observation for record in records(begun)))
    again = list(train(rest, Workshop(checkpoints=tmp_path / "checkpoints", data_dir=None)))
    assert records(again, replay=True) == []
    assert bits_of([*records(begun), *records(again)]) == bits_of(whole)


def test_a_workshop_that_leaves_in_a_replay_leaves_the_rest_to_the_next(
    cohort: Cohort, workshop: Workshop, tmp_path: Path
) -> None:
    one = replace(cohort, members=MEMBERS[:1])
    whole = records(train(one, Workshop(checkpoints=tmp_path / "whole", data_dir=None)))
    late = replace(one, observations=tuple(record.observation for record in whole[:4]))
    begun = []
    for report in train(late, workshop):
        begun.append(report)
        if len(begun) == 2:
            workshop.leaving.set()
    assert [(record.epoch, record.replay) for record in begun] == [(1, True), (2, True)]
    again = list(train(late, Workshop(checkpoints=tmp_path / "checkpoints", data_dir=None)))
    assert [record.epoch for record in records(again, replay=True)] == [3, 4]
    assert bits_of(records(again)) == bits_of(whole[4:])


KILLED = """
import json, os, signal, sys
from pathlib import Path
from abel.schedules import Constant
from workers.cohort import train
from workers.fold import Member
from workers.reports import Cohort, Record
from sweeps.spec.programs import program_from_dict
from workers.config import to_dict
from workers.workshop import Workshop

directory, program = sys.argv[1], program_from_dict(json.loads(sys.argv[2]))
seconds, epochs = float(sys.argv[3]), int(sys.argv[4])
workshop = Workshop(checkpoints=Path(directory), data_dir=None, save_every_seconds=seconds)
member = Member(trial="constant", schedule=Constant(learning_rate=0.1))
cohort = Cohort(program=program, identity=workshop.identity(program), seed=3, epochs=10**6, members=(member,))
for report in train(cohort, workshop):
    print(json.dumps([type(report).__name__, report.epoch]), flush=True)
    if isinstance(report, Record) and report.epoch == epochs:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("seconds", [0.0, 0.05])
def test_after_a_kill_epochs_since_the_checkpoint_are_trained_again(
    cohort: Cohort, tiny_program: Program, tmp_path: Path, seconds: float
) -> None:
    one, died_after = replace(cohort, epochs=42, members=MEMBERS[:1]), 40
    arguments = [str(tmp_path / "killed"), json.dumps(to_dict(tiny_program)), str(seconds), str(died_after)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    told = [json.loads(line) for line in killed.stdout.splitlines()]
    last = max(epoch for kind, epoch in told if kind == "Saved")

    whole = records(train(one, Workshop(checkpoints=tmp_path / "whole", data_dir=None)))
    late = replace(one, observations=tuple(record.observation for record in whole[:died_after]))
    reports = list(train(late, Workshop(checkpoints=tmp_path / "killed", data_dir=None)))
    assert [record.epoch for record in records(reports, replay=True)] == list(range(last + 1, died_after + 1))
    assert bits_of(records(reports)) == bits_of(whole[died_after:])


def test_divergence_is_an_outcome(workshop: Workshop, tiny_program: Program) -> None:
    wild = (
        Member(trial="a", schedule=replace(schedule("constant"), learning_rate=1e9)),
        Member(trial="b", schedule=SCHEDULES["decay_at"](learning_rate=1e9, decay_factor=0.1, decay_epoch=3)),
    )
    cohort = Cohort(program=tiny_program, identity=workshop.identity(tiny_program), seed=0, epochs=EPOCHS, members=wild)
    *found, end = train(cohort, workshop)
    assert isinstance(end, Ended)
    assert end.diverged
    assert set(end.trials) == {"a", "b"}
    assert not math.isfinite(records(found)[-1].metrics["train_loss"])
    assert end.epoch == records(found)[-1].epoch < 3


def test_a_cohort_that_had_diverged_when_its_worker_was_lost_ends_so(workshop: Workshop, tiny_program: Program) -> None:
    abel = Member(trial="a", schedule=SCHEDULES["abel"](learning_rate=1e9, decay_factor=0.1, last_decay_epoch=None))
    cohort = Cohort(
        program=tiny_program, identity=workshop.identity(tiny_program), seed=0, epochs=EPOCHS, members=(abel,)
    )
    found = records(train(cohort, workshop))
    assert not math.isfinite(found[-1].observation.weight_norm_sq)
    (end,) = train(replace(cohort, observations=tuple(record.observation for record in found)), workshop)
    assert end == Ended(trials=("a",), epoch=len(found), diverged=True)


def test_a_worker_that_computes_something_else_refuses(cohort: Cohort, workshop: Workshop) -> None:
    foreign = replace(cohort.identity, numerics={**cohort.identity.numerics, "threads": "64"})
    with pytest.raises(WorkerMismatch, match="threads: 64, 1") as info:
        next(iter(train(replace(cohort, identity=foreign), workshop)))
    assert not isinstance(info.value, OtherDevice)


def test_a_worker_on_another_device_says_so(cohort: Cohort, workshop: Workshop) -> None:
    foreign = replace(cohort.identity, numerics={**cohort.identity.numerics, "device": "gpu: A100"})
    with pytest.raises(OtherDevice, match="device: gpu: A100, cpu: "):
        next(iter(train(replace(cohort, identity=foreign), workshop)))


def _train(cohort: Cohort, directory: Path) -> list[dict[str, str]]:
    return bits_of(records(train(cohort, Workshop(checkpoints=directory, data_dir=None))))


def test_a_child_trained_by_another_process_than_its_parent_is_the_same(
    cohort: Cohort, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    pair = replace(cohort, members=MEMBERS[:2])
    begun = []
    with closing(train(pair, Workshop(checkpoints=tmp_path / "shared", data_dir=None))) as reports:
        for report in reports:
            if isinstance(report, Forked):
                break
            begun.append(report)
    late = replace(pair, members=MEMBERS[1:2], observations=tuple(record.observation for record in records(begun)))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as elsewhere:
        theirs = elsewhere.submit(_train, late, tmp_path / "shared").result(timeout=120)
    assert theirs == _train(replace(pair, members=MEMBERS[1:2]), tmp_path / "alone")[2:]
