"""A long epoch is trained in stretches: left between two of them, saved, and taken up again at the very next step."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bitwise import bits_of

from abel.schedules import Constant, GrowBatch
from workers.cohort import train
from workers.config import Program
from workers.fold import Member
from workers.reports import Cohort, Damaged, Ended, Partway, Record, Saved
from workers.tasks.classification import Classification
from workers.workshop import Workshop

EPOCHS, STEPS = 2, 6  # 96 examples in batches of 16


@pytest.fixture
def long(tiny_program: Program) -> Program:
    """A program whose epochs of 6 steps can be left after steps 2 and 4."""
    return replace(tiny_program, task=replace(tiny_program.task, save_every_steps=2))


def at(folder: Path, **settings: Any) -> Workshop:
    return Workshop(checkpoints=folder, data_dir=None, **settings)


def cohort_of(program: Program, workshop: Workshop, schedule: GrowBatch | None = None) -> Cohort:
    member = Member(trial="one", schedule=schedule or Constant(learning_rate=0.1))
    identity = workshop.identity(program)
    return Cohort(program=program, identity=identity, seed=3, epochs=EPOCHS, members=(member,))


def kinds(reports: list[Any]) -> list[Any]:
    return [type(report) for report in reports]


@pytest.fixture
def stretches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The stretches that are trained, in order."""
    seen: list[tuple[int, int]] = []
    advance = Classification.advance

    def counted(
        self: Any, state: Any, hyper: Any, learning_rates: Any, key: Any, batch_size: int, stretch: tuple[int, int]
    ) -> Any:
        if isinstance(stretch[0], int) and not _is_abstract(state):
            seen.append(stretch)
        return advance(self, state, hyper, learning_rates, key, batch_size, stretch)

    monkeypatch.setattr(Classification, "advance", counted)
    return seen


def _is_abstract(state: Any) -> bool:
    return "Tracer" in type(next(iter(state.params.values()))["kernel"]).__name__


def test_an_epoch_in_stretches_says_how_far_it_is(
    long: Program, tmp_path: Path, stretches: list[tuple[int, int]]
) -> None:
    workshop = at(tmp_path)
    reports = list(train(cohort_of(long, workshop), workshop))
    assert kinds(reports) == [Partway, Partway, Record] * EPOCHS + [Saved, Ended]
    assert [(report.epoch, report.step, report.steps) for report in reports if isinstance(report, Partway)] == [
        (epoch, step, STEPS) for epoch in (1, 2) for step in (2, 4)
    ]
    assert stretches == [(0, 2), (2, 4), (4, 6)] * EPOCHS


def test_its_records_are_those_of_the_epoch_in_one(long: Program, tiny_program: Program, tmp_path: Path) -> None:
    parted, whole = (
        [report for report in train(cohort_of(program, workshop), workshop) if isinstance(report, Record)]
        for program, workshop in [(long, at(tmp_path / "parted")), (tiny_program, at(tmp_path / "whole"))]
    )
    for one, other in zip(parted, whole, strict=True):
        assert one.key != other.key  # where an epoch is cut may affect rounding
        assert one.metrics.keys() == other.metrics.keys()
        assert one.metrics["train_loss"] == pytest.approx(other.metrics["train_loss"], rel=1e-4)
        assert one.metrics["weight_norm_sq"] == pytest.approx(other.metrics["weight_norm_sq"], rel=1e-5)


def test_the_terms_of_the_norm_s_equation_are_summed_over_the_stretches(
    long: Program, tiny_program: Program, tmp_path: Path
) -> None:
    found = []
    for name, program in (("parted", long), ("whole", tiny_program)):
        workshop = at(tmp_path / name)
        told = replace(program, task=replace(program.task, dynamics=True))
        records = [report for report in train(cohort_of(told, workshop), workshop) if isinstance(report, Record)]
        found.append({key: value for key, value in records[0].metrics.items() if key.startswith("dynamics/")})
    assert found[0].keys() == found[1].keys()
    assert found[0] == pytest.approx(found[1], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(("epoch", "step"), [(1, 2), (1, 4), (2, 2)])
def test_a_worker_that_leaves_goes_on_at_the_very_next_step(
    long: Program, tmp_path: Path, stretches: list[tuple[int, int]], epoch: int, step: int
) -> None:
    undisturbed = at(tmp_path / "undisturbed")
    expected = bits_of(train(cohort_of(long, undisturbed), undisturbed))
    workshop, left = at(tmp_path / "left"), []
    for report in train(cohort_of(long, workshop), workshop):
        left.append(report)
        if isinstance(report, Partway) and (report.epoch, report.step) == (epoch, step):
            workshop.leaving.set()
    assert len(bits_of(left)) == epoch - 1
    stretches.clear()
    again = at(tmp_path / "left")
    seen = tuple(report.observation for report in left if isinstance(report, Record))
    reports = list(train(replace(cohort_of(long, again), observations=seen), again))
    assert bits_of(reports) == expected[epoch - 1 :]
    assert stretches[0] == (step, step + 2)


def test_a_training_that_is_closed_saves_where_it_is(
    long: Program, tmp_path: Path, stretches: list[tuple[int, int]]
) -> None:
    workshop = at(tmp_path)
    with closing(train(cohort_of(long, workshop), workshop)) as reports:
        assert isinstance(next(reports), Partway)
    stretches.clear()
    again = at(tmp_path)
    list(train(cohort_of(long, again), again))
    assert stretches[0] == (2, 4)


def test_only_the_last_part_of_an_epoch_is_kept(long: Program, tmp_path: Path) -> None:
    workshop = at(tmp_path, save_every_seconds=0.0)
    names = []
    for report in train(cohort_of(long, workshop), workshop):
        if isinstance(report, Partway):
            (name,) = (name for name in workshop.checkpoints.sizes() if "-" in name)
            names.append(name.rpartition("-")[2])
    assert names == ["2", "4"] * EPOCHS
    assert not [name for name in workshop.checkpoints.sizes() if "-" in name]


def test_a_part_is_removed_once_the_state_after_the_epoch_is_saved(long: Program, tmp_path: Path) -> None:
    for step in (2, 4):  # closed twice in the same epoch
        workshop = at(tmp_path)
        with closing(train(cohort_of(long, workshop), workshop)) as reports:
            assert next(reports).step == step
    assert [name.rpartition("-")[2] for name in workshop.checkpoints.sizes()] == ["4"]
    workshop, kinds_seen = at(tmp_path), []
    for report in train(cohort_of(long, workshop), workshop):
        kinds_seen.append(type(report))
        if kinds_seen[-2:] == [Record, Saved]:
            break  # killed here, it would go on from the state after epoch 1
    assert kinds_seen == [Record, Saved]
    assert len(workshop.checkpoints.sizes()) == 1
    assert "-" not in next(iter(workshop.checkpoints.sizes()))


def test_damage_is_reported_and_the_epoch_starts_again(
    long: Program, tmp_path: Path, stretches: list[tuple[int, int]]
) -> None:
    workshop = at(tmp_path)
    with closing(train(cohort_of(long, workshop), workshop)) as reports:
        next(reports)
    (saved,) = tmp_path.glob("??/*-2")
    (saved / "manifest.json").write_text("{}")
    stretches.clear()
    again = at(tmp_path)
    reports = list(train(cohort_of(long, again), again))
    assert isinstance(reports[0], Damaged)
    assert saved.name == reports[0].key
    assert stretches[0] == (0, 2)


def test_a_batch_that_grows_has_fewer_steps_to_cut(
    long: Program, tmp_path: Path, stretches: list[tuple[int, int]]
) -> None:
    workshop = at(tmp_path)
    grow = GrowBatch(learning_rate=0.1, decay_factor=0.5, decay_epochs=(1,))
    list(train(cohort_of(long, workshop, grow), workshop))
    assert stretches == [(0, 2), (2, 4), (4, 6), (0, 2), (2, 3)]


def test_a_record_without_the_task_s_metric_is_refused(
    long: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Classification.metrics
    lacking = lambda self, *sums: {k: v for k, v in metrics(self, *sums).items() if k != "test_error"}  # noqa: E731
    monkeypatch.setattr(Classification, "metrics", lacking)
    workshop = at(tmp_path)
    with pytest.raises(ValueError, match="the metrics of a record must have test_error, got train_loss, "):
        list(train(cohort_of(long, workshop), workshop))
