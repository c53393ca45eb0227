"""Fine-tuning on GLUE: what a segment promises, resuming, sharing, and what is refused before training."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bitwise import bits_of
from flax import nnx
from scipy import stats
from sklearn import metrics

from abel.schedules import SCHEDULES
from workers.cohort import train
from workers.config import to_dict
from workers.fold import Member
from workers.glue import compiled
from workers.glue.albert import Albert
from workers.glue.benchmark import GlueName
from workers.glue.network import AlbertNet
from workers.glue.pieces import trained_vocabulary
from workers.glue.scores import glue_scores
from workers.glue.texts import GlueTexts
from workers.glue.weights import PretrainedWeights
from workers.optimizers.adam import Adam
from workers.optimizers.sgd import Sgd
from workers.reports import Cohort, Forked, Partway, Record
from workers.tasks.glue import Glue, GlueProgram
from workers.workshop import Workshop

GOLDEN = Path(__file__).with_name("golden")
TINY = Albert(vocabulary=50, embedding=12, hidden=16, layers=3, heads=4, intermediate=24, positions=20)
PROGRAM = GlueProgram(
    task=Glue(segment_examples=16),
    data=GlueTexts(name="sst2", source="tsv", vocabulary_size=30, max_length=16),
    model=TINY,
    optimizer=Adam(eps=1e-6),
    batch_size=8,
    clip=1.0,
)
OF_WEIGHTS: dict[str, Any] = {
    "data": replace(PROGRAM.data, vocabulary="spiece.model", vocabulary_size=2000),
    "weights": "albert.safetensors",
}
PRETRAINED = replace(PROGRAM, **OF_WEIGHTS)
RATES = np.full(2, 1e-2, np.float32)
WORDS = "a film with some story and its cast in one long scene"
EXAMPLES = 24  # a segment of 16 ends inside a pass, and the second one inside the next


@pytest.fixture(scope="module", autouse=True)
def lightly_optimised() -> Iterator[None]:
    """Most of the time goes to XLA, which then needs half of it."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()  # other tests run what is compiled as usual


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences of a few words, of which "good" and "bad" tell the label."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "glue" / "SST-2").mkdir(parents=True)
    (folder / "glue" / "STS-B").mkdir(parents=True)
    random, words = np.random.default_rng(0), WORDS.split()
    for file, count in (("train", EXAMPLES), ("dev", 10)):
        told = [[*random.permutation(words)[:5], ("bad", "good")[n % 2]] for n in range(count)]
        rows = [f"{' '.join(sentence)}\t{n % 2}" for n, sentence in enumerate(told)]
        (folder / "glue" / "SST-2" / f"{file}.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
        pairs = [f"g\tf\ty\t{n}\t{n % 6}\t{' '.join(one)}\tgood" for n, one in enumerate(told)]
        (folder / "glue" / "STS-B" / f"sts-{file}.tsv").write_text("\n".join(pairs) + "\n")
    for file in GOLDEN.glob("albert.safetensors"):
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "spiece.model").write_bytes(trained_vocabulary([WORDS] * 5, 30, lower_case=True).model)
    return folder


@pytest.fixture(scope="module")
def load(data_dir: Path) -> Callable[[Any], Any]:
    return lambda given: given.load(data_dir)


@pytest.fixture(scope="module")
def drawn(load: Callable[[Any], Any]) -> Any:
    """An initial state, on the host: every other one would be compiled anew."""
    return jax.device_get(PROGRAM.task.build(PROGRAM, load).init(jax.random.key(0)))


def begun(training: Any, drawn: Any, params: Any = None) -> Any:
    """A copy of an initial state, with the slots of another program's optimiser."""
    params = jax.tree.map(jnp.asarray, drawn.params if params is None else params)
    slots = training.recipe.optimizer.transform(training.hyper).init(params)
    return compiled.GlueState(params, slots, *map(jnp.asarray, drawn[2:]))


def test_a_step_is_that_of_plain_gradient_descent(load: Callable[[Any], Any], drawn: Any) -> None:
    program = replace(PROGRAM, optimizer=Sgd(), batch_size=EXAMPLES, task=Glue(segment_examples=EXAMPLES), clip=None)
    training = program.task.build(program, load)
    graph, split = nnx.split(nnx.eval_shape(lambda: AlbertNet(TINY, 2, nnx.Rngs(0))))[0], training.dataset.train
    state, before = begun(training, drawn), drawn

    def loss(params: Any) -> jax.Array:
        logits = nnx.merge(graph, params)(split.pieces, split.lengths, split.seconds)
        return -jax.nn.log_softmax(logits)[np.arange(EXAMPLES), split.labels].mean()

    value, gradient = jax.jit(jax.value_and_grad(loss))(before.params)
    after, sums = training.advance(state, training.hyper, np.float32([0.5]), jax.random.key(1), EXAMPLES, (0, 1))
    wanted = jax.tree.map(lambda w, g: w - 0.5 * g, before.params, gradient)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), after.params, wanted)
    assert sums.loss.tolist() == pytest.approx([float(value)], rel=1e-5)
    assert (int(after.passes), int(after.offset)) == (1, 0)


def test_a_pass_has_every_example_once_and_the_next_another_order() -> None:
    start = np.int32(0)
    state = compiled.GlueState({}, (), jax.random.key_data(jax.random.key(0)), start, start)
    whole = np.asarray(compiled.upcoming(state, EXAMPLES, 2 * EXAMPLES)).reshape(2, EXAMPLES)
    assert [sorted(one) for one in whole.tolist()] == [list(range(EXAMPLES))] * 2
    assert whole[0].tolist() != whole[1].tolist()
    later = state._replace(offset=np.int32(20))
    np.testing.assert_array_equal(compiled.upcoming(later, EXAMPLES, 24), whole.reshape(-1)[20:44])


def test_parts_of_a_segment_add_up_to_the_whole(load: Callable[[Any], Any], drawn: Any) -> None:
    training = PROGRAM.task.build(PROGRAM, load)
    key, hyper = jax.random.key(0), training.hyper
    whole, sums = training.advance(begun(training, drawn), hyper, RATES, key, 8, (0, 2))
    part, first = training.advance(begun(training, drawn), hyper, RATES, key, 8, (0, 1))
    part, rest = training.advance(part, hyper, RATES, key, 8, (1, 2))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), part, whole)
    tests = training.evaluate(whole)
    one, other = training.metrics([sums], tests), training.metrics([first, rest], tests)
    assert one == pytest.approx(other, rel=1e-4)
    assert {"train_loss", "weight_norm_sq", "glue_score", "accuracy", "weight_norm_sq/layer/query/kernel"} < one.keys()


def members(*kinds: str) -> tuple[Member, ...]:
    settings: dict[str, dict[str, Any]] = {
        "constant": {},
        "linear": {"epochs": 4, "warmup_epochs": 1},
        "simple": {"decay_factor": 0.1, "last_decay_epoch": 3, "warmup_epochs": 1},
    }
    return tuple(Member(trial=kind, schedule=SCHEDULES[kind](learning_rate=0.01, **settings[kind])) for kind in kinds)


def cohort(workshop: Workshop, *kinds: str, program: GlueProgram = PROGRAM) -> Cohort:
    identity = workshop.identity(program)
    return Cohort(program=program, identity=identity, seed=3, epochs=4, members=members(*kinds))


def test_a_run_that_stops_anywhere_goes_on_with_the_same_bits(tmp_path: Path, data_dir: Path) -> None:
    whole = Workshop(checkpoints=tmp_path / "whole", data_dir=data_dir)
    expected = bits_of(train(cohort(whole, "linear"), whole))
    assert len(expected) == 4
    stopped = Workshop(checkpoints=tmp_path / "stopped", data_dir=data_dir)
    seen: list[Record] = []
    for _ in range(4):
        with closing(
            train(replace(cohort(stopped, "linear"), observations=tuple(one.observation for one in seen)), stopped)
        ) as reports:
            seen += [next(report for report in reports if isinstance(report, Record) and not report.replay)]
    assert bits_of(seen) == expected


def test_a_worker_that_leaves_inside_a_segment_goes_on_with_the_same_bits(tmp_path: Path, data_dir: Path) -> None:
    program = replace(PROGRAM, task=Glue(segment_examples=16, save_every_steps=1))
    whole = Workshop(checkpoints=tmp_path / "whole", data_dir=data_dir)
    expected = bits_of(train(cohort(whole, "linear", program=program), whole))
    workshop, left = Workshop(checkpoints=tmp_path / "left", data_dir=data_dir), []
    given = cohort(workshop, "linear", program=program)
    for report in train(given, workshop):
        left.append(report)
        if isinstance(report, Partway) and (report.epoch, report.step) == (2, 1):
            workshop.leaving.set()
    seen = tuple(report.observation for report in left if isinstance(report, Record))
    assert len(seen) == 1  # it left inside the second of four
    other = Workshop(checkpoints=tmp_path / "left", data_dir=data_dir)
    rest = list(train(replace(given, observations=seen), other))
    assert not any(report.replay for report in rest if isinstance(report, Record))
    assert bits_of([*left, *rest]) == expected


def test_where_a_segment_can_be_left(load: Callable[[Any], Any]) -> None:
    task = Glue(segment_examples=40, save_every_steps=2)
    assert task.build(replace(PROGRAM, task=task), load).stretches(5) == [(0, 2), (2, 4), (4, 5)]
    assert PROGRAM.task.build(PROGRAM, load).stretches(5) == [(0, 5)]
    assert "save_every_steps" not in to_dict(PROGRAM)["task"]  # programs from before keep their keys
    with pytest.raises(ValueError, match="save_every_steps must be at least 1, or null, got 0"):
        Glue(save_every_steps=0)


def test_schedules_share_their_warm_up(tmp_path: Path, data_dir: Path) -> None:
    workshop = Workshop(checkpoints=tmp_path, data_dir=data_dir)
    with closing(train(cohort(workshop, "simple", "linear"), workshop)) as reports:
        assert next(report.epoch for report in reports if isinstance(report, Forked)) == 1


def test_pretrained_weights_are_where_training_starts(load: Callable[[Any], Any]) -> None:
    program = replace(PRETRAINED, weights=None)
    scratch = program.task.build(program, load)
    training = PRETRAINED.task.build(PRETRAINED, load)
    params = training.init(jax.random.key(0)).params
    found = PretrainedWeights(path="albert.safetensors").load(GOLDEN)
    np.testing.assert_array_equal(params["layer"]["up"]["kernel"], found.arrays["layer/up/kernel"])
    assert params["head"]["kernel"].shape == (16, 2)
    assert len({training.fingerprint, scratch.fingerprint, scratch.dataset.digest}) == 2


def of_labels(training: Any, name: GlueName, *labels: Sequence[int]) -> Any:
    """The training of another task, with test sets of these labels."""
    tests = [replace(training.dataset.tests[0], labels=np.array(own)) for own in labels]
    return replace(training, dataset=replace(training.dataset, name=name, tests=tuple(tests)))


def test_a_diverged_trial_counts_as_the_best_constant_answer(load: Callable[[Any], Any]) -> None:
    training = PROGRAM.task.build(PROGRAM, load)
    assert training.metric.worst == 50.0  # five of ten phrases are good
    seven = [1] * 7 + [0] * 3
    wanted = {"sst2": 70.0, "rte": 70.0, "mrpc": 100 * 2 * 7 / (2 * 7 + 3), "cola": 0.0, "stsb": 0.0}
    assert {name: of_labels(training, name, seven).metric.worst for name in wanted} == pytest.approx(wanted)
    assert of_labels(training, "sst2", [0, 0, 0, 1]).metric.worst == 75.0
    # One answer for both sets: the second class has 2 and 1 of four, the third 1 and 2.
    assert of_labels(training, "mnli", [0, 1, 1, 2], [0, 1, 2, 2]).metric.worst == pytest.approx(37.5)
    assert training.metric.worst_error == 50.0


def test_the_metric_is_computed_once(load: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    training, worst = PROGRAM.task.build(PROGRAM, load), iter([12.5])
    monkeypatch.setattr("workers.glue.training.constant_score", lambda name, tests: next(worst))
    assert [training.metric.worst for _ in range(2)] == [12.5, 12.5]


def test_mnli_is_the_mean_of_its_matched_and_mismatched_sets(load: Callable[[Any], Any]) -> None:
    training = of_labels(PROGRAM.task.build(PROGRAM, load), "mnli", [0, 1, 2, 2], [0, 1])
    right = [np.eye(3, dtype=np.float32)[test.labels] for test in training.dataset.tests]
    matched = np.roll(right[0], 1, axis=1)
    matched[0] = right[0][0]  # one of four
    sums = compiled.GlueSums(*np.ones((3, 2), np.float32), {"w": np.float32(1)})
    told = training.metrics([sums], tuple(compiled.GlueOutputs(np.ones(len(one)), one) for one in (matched, right[1])))
    assert (told["accuracy_matched"], told["accuracy_mismatched"]) == (25.0, 100.0)
    assert (told["glue_score"], told["accuracy"]) == (62.5, 62.5)


def test_scores_are_trained_by_their_squared_error(load: Callable[[Any], Any], drawn: Any) -> None:
    program = replace(PROGRAM, data=replace(PROGRAM.data, name="stsb"))
    training = program.task.build(program, load)
    head = jax.tree.map(lambda leaf: leaf[..., :1], drawn.params["head"])
    state = begun(training, drawn, drawn.params | {"head": head})
    state, sums = training.advance(state, training.hyper, RATES, jax.random.key(1), 8, (0, 2))
    (found,) = tests = training.evaluate(state)
    labels = training.dataset.tests[0].labels
    assert found.outputs.shape == (10, 1)
    told = training.metrics([sums], tests)
    assert told["test_loss"] == pytest.approx(np.square(np.asarray(found.outputs)[:, 0] - labels).mean(), rel=1e-5)
    pearson = 100 * np.corrcoef(np.asarray(found.outputs)[:, 0], labels)[0, 1]
    assert (told["pearson"], told["glue_score"]) == pytest.approx((pearson, max(pearson, 0)), rel=1e-3, abs=1e-3)
    assert "accuracy" not in told


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": replace(TINY, vocabulary=29)},
            "model.vocabulary must be at least 30, the number of pieces .* got 29",
        ),
        ({"model": replace(TINY, positions=8)}, r"model.positions must be at least \d+, the length .* got 8"),
        ({"batch_size": 17}, "batch_size must be at most task.segment_examples = 16, got 17"),
        (
            {**OF_WEIGHTS, "model": replace(TINY, hidden=32)},
            r"attention.LayerNorm.bias must have the shape \(32,\) that",
        ),
        (
            {**OF_WEIGHTS, "model": replace(TINY, vocabulary=60)},
            r"word_embeddings.weight .* \(60, 12\) that",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(load: Callable[[Any], Any], changes: dict[str, Any], message: str) -> None:
    program = replace(PROGRAM, **changes)
    with pytest.raises(ValueError, match=message):
        program.task.build(program, load)


@pytest.mark.parametrize("place", ["", "../albert.safetensors", "/etc/passwd", "albert/../../x"])
def test_weights_lie_inside_the_data_directory(place: str) -> None:
    with pytest.raises(ValueError, match="weights must be a path inside the data directory, or null"):
        replace(PROGRAM, weights=place)


def test_weights_need_their_vocabulary() -> None:
    with pytest.raises(ValueError, match=r"data.vocabulary must name the vocabulary of weights, .* got None"):
        replace(PROGRAM, weights="albert.safetensors")


def test_scores_are_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    outputs, labels = random.normal(size=(50, 2)).astype(np.float32), random.integers(2, size=50)
    guesses = outputs.argmax(1)
    accuracy = 100 * metrics.accuracy_score(labels, guesses)
    assert glue_scores("sst2", outputs, labels) == {"accuracy": pytest.approx(accuracy)}
    matthews, f1 = metrics.matthews_corrcoef(labels, guesses), metrics.f1_score(labels, guesses)
    assert glue_scores("cola", outputs, labels) == pytest.approx({"accuracy": accuracy, "matthews": 100 * matthews})
    assert glue_scores("mrpc", outputs, labels) == pytest.approx({"accuracy": accuracy, "f1": 100 * f1})
    values = labels + outputs[:, :1]
    found = glue_scores("stsb", values, labels.astype(np.float32))
    assert found == {"pearson": pytest.approx(100 * stats.pearsonr(values[:, 0], labels).statistic, rel=1e-5)}
    constant = np.zeros_like(outputs)
    assert glue_scores("cola", constant, labels)["matthews"] == 0
    assert glue_scores("mrpc", constant, labels)["f1"] == 0
    assert glue_scores("stsb", constant, labels) == {"pearson": 0.0}
    assert glue_scores("cola", np.full_like(outputs, np.nan), labels) == {"accuracy": 0.0, "matthews": 0.0}
