"""Translation on the contract: it learns, and neither sharing, nor leaving and resuming, nor another worker changes a bit."""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu
from bitwise import bits_of
from parallel_texts import texts_in

from abel.plans import Schedule
from abel.schedules import Constant, DecayAt, GrowBatch, InverseSqrt, Linear
from sweeps.spec.programs import decode_program, program_from_dict
from workers.cohort import train
from workers.config import Program, to_dict
from workers.fold import Member
from workers.reports import Cohort, Ended, Forked, Partway, Record
from workers.tasks.translate import Translate
from workers.trajectory import identify
from workers.workshop import Workshop

EPOCHS, STEPS = 4, 4
RATE = 0.01


def given(directory: Path) -> dict[str, Any]:
    return {
        "task": {"kind": "translate", "segment_steps": STEPS, "bleu_every": 2, "beams": 2, "save_every_steps": 2},
        "model": {"layers": 1, "width": 16, "heads": 2, "mlp": 16},
        "data": texts_in(directory) | {"buckets": [20], "test_subset": 4},
        "optimizer": {"kind": "adam", "b2": 0.98, "eps": 1e-9},
        "batch_size": 160,
    }


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("texts")


@pytest.fixture(scope="module")
def program(texts: Path) -> Program:
    return program_from_dict(given(texts))


def at(folder: Path, texts: Path) -> Workshop:
    return Workshop(checkpoints=folder, data_dir=texts)


def cohort_of(program: Program, workshop: Workshop, **schedules: Schedule) -> Cohort:
    members = tuple(Member(trial=name, schedule=schedule) for name, schedule in schedules.items())
    return Cohort(program=program, identity=workshop.identity(program), seed=3, epochs=EPOCHS, members=members)


@pytest.fixture(scope="module")
def alone(program: Program, texts: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The reports of an undisturbed trial."""
    workshop = at(tmp_path_factory.mktemp("alone"), texts)
    return list(train(cohort_of(program, workshop, one=Constant(learning_rate=RATE)), workshop))


def records(reports: Iterable[object]) -> list[Record]:
    return [report for report in reports if isinstance(report, Record)]


def test_every_record_has_what_schedules_and_comparisons_need(alone: list[Any]) -> None:
    found = [record.metrics for record in records(alone)]
    assert len(found) == EPOCHS
    for metrics in found:
        assert all(np.isfinite(value) for value in metrics.values())
        layers = [value for name, value in metrics.items() if name.startswith("weight_norm_sq/")]
        assert metrics["weight_norm_sq"] == pytest.approx(sum(layers)) and len(layers) == 35
        assert 0 <= metrics["test_error"] <= 100 and 0 <= metrics["bleu"] <= 100
        assert metrics["batch_size"] == 160
    assert found[-1]["train_loss"] < 0.8 * found[0]["train_loss"]
    assert found[-1]["test_error"] < found[0]["test_error"]


def test_bleu_is_taken_at_its_cadence_and_kept_between(program: Program, texts: Path, tmp_path: Path) -> None:
    workshop = at(tmp_path, texts)
    training = workshop.training(program)
    scored = iter([(["a b c d"] * 4), ["rot katze"] * 4])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(training), "translations", lambda self, state: next(scored))
        found = records(train(cohort_of(program, workshop, one=Constant(learning_rate=RATE)), workshop))
    expected = [
        sacrebleu.corpus_bleu(texts, [list(training.corpus.references)]).score
        for texts in (["a b c d"] * 4, ["rot katze"] * 4)
    ]
    assert [record.metrics["bleu"] for record in found] == pytest.approx([0.0, *[expected[0]] * 2, expected[1]])
    metric = identify(program, training).metric
    assert [metric.is_measured(epoch) for epoch in range(1, EPOCHS + 1)] == [False, True, False, True]


def test_translations_come_in_the_order_of_the_test(program: Program, texts: Path, tmp_path: Path) -> None:
    training = at(tmp_path, texts).training(program)
    pairs, seen = training.corpus.test, []
    with pytest.MonkeyPatch.context() as patch:  # a translator that copies its source
        patch.setattr(
            "workers.translation.compiled.translated_batch",
            lambda recipe, params, slots, sources, **settings: seen.append(settings) or sources,  # type: ignore[func-returns-value]
        )
        import jax

        found = training.translations(training.init(jax.random.key(0)))
    (settings,) = seen
    assert (settings["beams"], settings["alpha"], settings["length"]) == (2, 0.6, 20)
    sides = [pairs.tokens[pairs.starts[2 * number] : pairs.starts[2 * number + 1]].tolist() for number in range(4)]
    assert found == training.corpus.subwords.decode(sides)


def test_trials_that_share_have_the_bits_of_trials_alone(
    program: Program, texts: Path, tmp_path: Path, alone: list[Any]
) -> None:
    workshop = at(tmp_path, texts)
    late = DecayAt(learning_rate=RATE, decay_factor=0.1, decay_epoch=2)
    cohort = cohort_of(program, workshop, one=Constant(learning_rate=RATE), late=late)
    shared = list(train(cohort, workshop))
    assert [report.epoch for report in shared if isinstance(report, Forked)] == [2]
    (stays,) = next(report.trials for report in shared if isinstance(report, Ended))
    expected = alone
    if stays == "late":
        other = at(tmp_path / "other", texts)
        expected = list(train(replace(cohort, members=cohort.members[1:]), other))
    assert bits_of(shared) == bits_of(expected)


@pytest.mark.parametrize(("epoch", "step"), [(1, 2), (3, 2)])
def test_a_worker_that_leaves_inside_a_segment_goes_on_at_the_next_batch(
    program: Program, texts: Path, tmp_path: Path, alone: list[Any], epoch: int, step: int
) -> None:
    workshop, left = at(tmp_path, texts), []
    cohort = cohort_of(program, workshop, one=Constant(learning_rate=RATE))
    for report in train(cohort, workshop):
        left.append(report)
        if isinstance(report, Partway) and (report.epoch, report.step) == (epoch, step):
            workshop.leaving.set()
    assert len(records(left)) == epoch - 1
    seen = tuple(record.observation for record in records(left))
    rest = list(train(replace(cohort, observations=seen), at(tmp_path, texts)))
    assert not any(record.replay for record in records(rest))
    assert bits_of([*left, *rest]) == bits_of(alone)


def test_a_batch_that_grows_takes_fewer_steps(program: Program, texts: Path, tmp_path: Path) -> None:
    workshop = at(tmp_path, texts)
    grows = GrowBatch(learning_rate=RATE, decay_factor=0.5, decay_epochs=(1,))
    training = workshop.training(program)
    plans = [
        grows.plan(grows.init()._replace(epoch=epoch, decays=epoch), epoch + 1, training.segment.examples, 160)
        for epoch in (0, 1)
    ]
    assert [(plan.batch_size, len(plan.learning_rates)) for plan in plans] == [(160, 4), (320, 2)]


def test_the_warm_up_is_counted_in_segments() -> None:
    """100 segments of 1,000 steps, ten of them a warm-up, are the paper's 100k steps and 10k."""
    segment = 1000 * 65_536
    for kind in (InverseSqrt, Linear):
        schedule = kind(learning_rate=1.98e-3, warmup_epochs=10, epochs=100)
        first, tenth = (
            schedule.plan(schedule.init()._replace(epoch=epoch), epoch + 1, segment, 65_536) for epoch in (0, 9)
        )
        assert len(first.learning_rates) == 1000
        assert tenth.learning_rates[-1] == pytest.approx(1.98e-3, rel=2e-4)
        assert first.learning_rates[500] == pytest.approx(1.98e-3 * 0.05, rel=0.01)
    rsqrt = InverseSqrt(learning_rate=1.98e-3, warmup_epochs=10, epochs=100)
    last = rsqrt.plan(rsqrt.init()._replace(epoch=99), 100, segment, 65_536).learning_rates[-1]
    assert last == pytest.approx(0.0625 / np.sqrt(1000) * np.sqrt(10_000 / 100_000), rel=0.01)  # Flax's, at 100k steps


def test_what_a_program_is_trained_on_names_its_states(program: Program, texts: Path, tmp_path: Path) -> None:
    workshop = at(tmp_path, texts)
    other = replace(program, data=replace(program.data, vocabulary_size=38))
    ours, theirs = (workshop.identity(each) for each in (program, other))
    assert ours.data != theirs.data
    assert (ours.examples, ours.metric.name, ours.metric.worst) == (640, "bleu", 0.0)
    assert (ours.metric.error(30.0), ours.metric.worst_error) == (70.0, 100.0)


def test_a_spec_names_the_same_program(program: Program) -> None:
    assert program_from_dict(to_dict(program)) == program
    assert program.label_smoothing == 0.1


@pytest.mark.parametrize(
    ("changed", "path", "rule"),
    [
        ({"data": {"kind": "digits"}}, "data.kind", "must be 'text_pairs', got 'digits'"),
        ({"model": {"kind": "vgg5"}}, "model.kind", "must be 'encoder_decoder'"),
        ({"model": {"heads": 7}}, "model.heads", "must be at least 1 and divide width, 512, got 7"),
        ({"model": {"width": 10**6}}, "model.width", "must be at most 16,384"),
        ({"task": {"kind": "translate", "beams": 0}}, "task.beams", "must be at least 1, got 0"),
        ({"task": {"kind": "translate", "alpha": -1.0}}, "task.alpha", "must be finite and at least 0, got -1.0"),
        ({"task": {"kind": "translate", "bleu_every": 0}}, "task.bleu_every", "must be at least 1, got 0"),
        ({"label_smoothing": 1.0}, "label_smoothing", r"must lie in \[0, 1\), got 1.0"),
        ({"augment": {"flip": True}}, "augment", ""),
    ],
)
def test_a_spec_that_breaks_a_rule(texts: Path, changed: dict[str, Any], path: str, rule: str) -> None:
    program, faults = decode_program(given(texts) | changed)
    assert program is None and list(faults)[0] == path
    assert re.search(rule, faults[path])


def test_a_batch_smaller_than_the_longest_bucket(program: Program, texts: Path, tmp_path: Path) -> None:
    small = replace(program, batch_size=19)
    with pytest.raises(
        ValueError, match=r"batch_size must be at least 20 tokens, the longest of data\.buckets, got 19"
    ):
        at(tmp_path, texts).training(small)
    with pytest.raises(ValueError, match="times 16 devices, got 160"):
        program.check_batch(160, 16)


def test_a_long_segment_is_left_every_thousand_steps(program: Program, texts: Path, tmp_path: Path) -> None:
    training = at(tmp_path, texts).training(replace(program, task=Translate(segment_steps=2500)))
    assert training.stretches(2500) == [(0, 1000), (1000, 2000), (2000, 2500)]
