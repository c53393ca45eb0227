"""Pre-training: the masks, loss and accuracy, what a segment promises, sharing, the files that GLUE reads, and refusals."""

import gzip
import math
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
from flax.traverse_util import flatten_dict

from abel.schedules import SCHEDULES
from workers.cohort import train
from workers.data import DataError, DataMissing
from workers.fold import Member
from workers.glue.albert import Albert
from workers.glue.pieces import Vocabulary, trained_vocabulary
from workers.glue.texts import GlueTexts
from workers.optimizers.adam import Adam
from workers.pretraining import plain_texts
from workers.pretraining.masking import MaskedPieces, mask_pieces
from workers.pretraining.plain_texts import EncodedSplit, PlainTexts
from workers.pretraining.training import MaskedLmTraining
from workers.reports import Cohort, Forked, Partway, Record
from workers.segments import SegmentRun
from workers.tasks.glue import Glue, GlueProgram
from workers.tasks.masked_lm import MaskedLm, MaskedLmProgram
from workers.workshop import Workshop

TINY = Albert(vocabulary=34, embedding=6, hidden=8, layers=2, heads=2, intermediate=12, positions=16)
PROGRAM = MaskedLmProgram(
    task=MaskedLm(segment_examples=32, masked=0.3, save_every_steps=2),
    data=PlainTexts(files=("lines.txt",), glue=("sst2",), source="tsv", vocabulary_size=32, max_length=14, held_out=9),
    model=TINY,
    optimizer=Adam(eps=1e-6),
    batch_size=8,
    clip=1.0,
)
STEPS = 4
WORDS = ["a", "film", "with", "some", "story", "and", "its", "cast", "in", "one", "long", "scene"]


@pytest.fixture(scope="module", autouse=True)
def lightly_optimised() -> Iterator[None]:
    """Most of the time goes to XLA, which then needs half of it."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()  # other tests run what is compiled as usual


def distinct_lines() -> list[str]:
    random = np.random.default_rng(0)
    return [" ".join(random.permutation(WORDS)[:6]) for _ in range(50)]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty lines in a packed file, each twice and with empty lines between, and twenty sentences of SST-2."""
    folder, lines = tmp_path_factory.mktemp("data"), distinct_lines()
    text = "\n\n".join([*lines[:30], *(line.upper() for line in lines[:30])])
    (folder / "lines.txt.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "glue" / "SST-2").mkdir(parents=True)
    for name in ("train", "dev"):
        rows = [f"{line}\t{number % 2}" for number, line in enumerate(lines[30:])]
        (folder / "glue" / "SST-2" / f"{name}.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n")
    return folder


@pytest.fixture(scope="module")
def load(data_dir: Path) -> Callable[[Any], Any]:
    return lambda given: given.load(data_dir)


@pytest.fixture(scope="module")
def training(load: Callable[[Any], Any]) -> MaskedLmTraining:
    return PROGRAM.task.build(PROGRAM, load)


@pytest.fixture(scope="module")
def drawn(training: MaskedLmTraining) -> Any:
    """The initial state, on the host: training consumes a state."""
    return jax.device_get(training.init(jax.random.key(0)))


def begun(drawn: Any) -> Any:
    return jax.tree.map(jnp.asarray, drawn)


def test_equal_and_empty_lines_do_not_count(training: MaskedLmTraining) -> None:
    lines = training.lines
    assert (lines.examples, len(lines.test.lengths)) == (41, 9)
    assert lines.mask == 4  # as in ALBERT's own models
    assert lines.width <= 14


def rows_of(split: EncodedSplit) -> list[list[int]]:
    return [row[:length].tolist() for row, length in zip(split.pieces, split.lengths, strict=True)]


def test_held_out_lines_are_evenly_spaced_and_not_trained(training: MaskedLmTraining) -> None:
    lines, vocabulary = distinct_lines(), training.lines.vocabulary
    begins, ends = map(vocabulary.number, ("[CLS]", "[SEP]"))
    encoded = [[begins, *vocabulary.encoded(line)[:12], ends] for line in lines]
    held_out = [number * 50 // 9 for number in range(9)]
    assert rows_of(training.lines.test) == [encoded[number] for number in held_out]
    assert rows_of(training.lines.train) == [row for number, row in enumerate(encoded) if number not in held_out]


def test_guessing_is_the_share_of_the_most_frequent_piece(training: MaskedLmTraining) -> None:
    inner = [piece for row in rows_of(training.lines.test) for piece in row[1:-1]]  # neither ends nor filling
    assert training.metric.worst == pytest.approx(100 * max(map(inner.count, inner)) / len(inner))


def test_lines_are_compared_as_the_vocabulary_reads_them(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("a caf\u00e9\nA  cafe\na cafe\u0301\na film\ntwo films\n")
    vocabulary = trained_vocabulary(["a cafe", "two films"] * 5, 18, lower_case=True)
    (tmp_path / "spiece.model").write_bytes(vocabulary.model)
    texts = PlainTexts(files=("lines.txt",), vocabulary="spiece.model", held_out=1)
    assert texts.load(tmp_path).examples == 2
    assert replace(texts, lower_case=False).load(tmp_path).examples == 3


def test_a_vocabulary_is_trained_once_on_a_bounded_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lines.txt").write_text("\n".join(distinct_lines()))
    seen: list[list[str]] = []

    def trained(texts: Sequence[str], size: int, *, lower_case: bool) -> Vocabulary:
        seen.append(list(texts))
        return trained_vocabulary(texts, size, lower_case=lower_case)

    monkeypatch.setattr(plain_texts, "trained_vocabulary", trained)
    texts = PlainTexts(files=("lines.txt",), vocabulary_size=32, held_out=1)
    assert texts.load(tmp_path).digest == texts.load(tmp_path).digest
    assert seen == [distinct_lines()[1:]]
    monkeypatch.setattr(plain_texts, "_CHARACTERS", -(-sum(map(len, seen[0])) // 2))
    texts.load(tmp_path)
    assert seen[1:] == [seen[0][::2]]


def masked(key: int, **changes: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, MaskedPieces]:
    """Masks of 4,000 lines of 4 to 19 pieces from 100 of 200."""
    random = np.random.default_rng(1)
    lengths = random.integers(4, 20, 4000).astype(np.int32)
    pieces = np.where(np.arange(20) < lengths[:, None], random.integers(100, 200, (4000, 20)), 0).astype(np.uint16)
    chosen = np.maximum(1, np.floor(0.15 * (lengths - 2) + 0.5)).astype(np.int32)
    found = mask_pieces(jax.random.key(key), pieces, lengths, chosen, most=3, mask=4, vocabulary=200)
    return pieces, lengths, chosen, jax.device_get(found)


def test_of_the_masked_pieces_four_fifths_are_masks_and_a_tenth_drawn() -> None:
    pieces, lengths, chosen, found = masked(0)
    np.testing.assert_array_equal(found.is_masked.sum(1), chosen)
    assert 0.14 < chosen.sum() / (lengths - 2).sum() < 0.17
    rows, places = np.nonzero(found.is_masked)
    positions = found.positions[rows, places]
    assert len({*zip(rows.tolist(), positions.tolist(), strict=True)}) == len(rows)
    assert np.all((positions > 0) & (positions < lengths[rows] - 1))  # never [CLS], [SEP] or what fills up
    np.testing.assert_array_equal(found.targets[rows, places], pieces[rows, positions])
    shown, targets = found.pieces[rows, positions], pieces[rows, positions]
    shares = [np.mean(shown == 4), np.mean((shown != 4) & (shown != targets)), np.mean(shown == targets)]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.015)
    drawn = shown[(shown != 4) & (shown != targets)]
    assert (drawn.min(), drawn.max()) < (10, 200) and drawn.max() > 190  # of the whole vocabulary
    others = np.ones(pieces.shape, bool)
    others[rows, positions] = False
    np.testing.assert_array_equal(found.pieces[others], pieces[others])
    spread = np.bincount(positions[lengths[rows] == 19], minlength=18)[1:18]
    assert spread.min() > 0.6 * spread.mean()  # every place is as likely


def test_the_masks_follow_from_the_key() -> None:
    jax.tree.map(np.testing.assert_array_equal, masked(0)[3], masked(0)[3])
    assert np.mean(masked(0)[3].positions == masked(1)[3].positions) < 0.4


def layer_norm(x: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return scale * centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + 1e-12) + bias


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def logits_of(w: Any, pieces: np.ndarray) -> np.ndarray:
    """ALBERT and its head on one line without filling, in NumPy: logits at every position."""

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return layer_norm(x, w[f"{name}/scale"], w[f"{name}/bias"])

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}/kernel"] + w[f"{name}/bias"]

    word = w["embeddings/word/embedding"]
    summed = word[pieces] + w["embeddings/position/embedding"][: len(pieces)] + w["embeddings/sentence/embedding"][0]
    x = dense(norm(summed, "embeddings/norm"), "widen")
    for _ in range(TINY.layers):
        query, key, value = (
            dense(x, f"layer/{name}").reshape(len(pieces), TINY.heads, -1).transpose(1, 0, 2)
            for name in ("query", "key", "value")
        )
        weights = np.exp(query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1]))
        mixed = (weights / weights.sum(-1, keepdims=True)) @ value
        x = norm(x + dense(mixed.transpose(1, 0, 2).reshape(x.shape), "layer/output"), "layer/attention_norm")
        x = norm(x + dense(gelu(dense(x, "layer/up")), "layer/down"), "layer/norm")
    return norm(gelu(dense(x, "head")), "head_norm") @ word.T + w["head_bias"]


def test_loss_and_accuracy_are_those_of_a_transcription(training: MaskedLmTraining, drawn: Any) -> None:
    random = np.random.default_rng(2)
    params = jax.tree.map(lambda leaf: leaf + random.normal(0, 0.3, leaf.shape).astype(np.float32), drawn.params)
    params["head_bias"] += 6.0 * (np.arange(TINY.vocabulary) == 7)  # so that some guesses are right
    tests = jax.device_get(training.evaluate(drawn._replace(params=params)))
    flat = {name: leaf.astype(np.float64) for name, leaf in flatten_dict(params, sep="/").items()}
    split, recipe = training.lines.test, training.recipe
    chosen = split.to_mask(0.3)
    sizes = {"most": recipe.most, "mask": recipe.mask, "vocabulary": recipe.vocabulary}
    found = jax.device_get(mask_pieces(jax.random.key(0), split.pieces, split.lengths, chosen, **sizes))
    losses, right = [], []
    for row, length in enumerate(split.lengths):
        positions, targets = (each[row, : chosen[row]] for each in (found.positions, found.targets))
        logits = logits_of(flat, found.pieces[row, :length])[positions]
        told = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        losses.append(-told[np.arange(len(targets)), targets].sum())
        right.append(int((logits.argmax(-1) == targets).sum()))
    np.testing.assert_allclose(tests.loss, losses, rtol=1e-4)
    assert tests.right.tolist() == right
    assert 0 < sum(right) < chosen.sum()
    sums = jax.device_get(training.advance(begun(drawn), training.hyper, rates(0.0), jax.random.key(1), 8, (0, 2))[1])
    metrics = training.metrics([sums], tests)
    assert metrics["test_loss"] == pytest.approx(sum(losses) / chosen.sum(), rel=1e-4)
    assert metrics["masked_accuracy"] == pytest.approx(100 * sum(right) / chosen.sum())
    assert {"train_loss", "train_masked_accuracy", "grad_norm_sq", "weight_norm_sq/head_bias"} < metrics.keys()


def rates(rate: float, steps: int = STEPS) -> np.ndarray:
    return np.full(steps, rate, np.float32)


def test_the_loss_falls(training: MaskedLmTraining, drawn: Any) -> None:
    state, loss = begun(drawn), []
    for epoch in range(40):
        state, sums = training.advance(state, training.hyper, rates(0.02, 2), jax.random.key(epoch), 8, (0, 2))
        loss += (np.asarray(sums.loss) / np.asarray(sums.masked)).tolist()
    assert np.mean(loss[-10:]) < 0.9 * np.mean(loss[:4])
    assert int(state.passes) == 40 * 16 // 41


def test_only_what_has_a_gradient_counts_among_the_weights(training: MaskedLmTraining, drawn: Any) -> None:
    """L2 and weight decay would shrink a pooler, and the norm that ABEL observes with it."""
    state, sums = training.advance(begun(drawn), training.hyper, rates(0.0), jax.random.key(0), 8, (0, 1))
    assert {name for name in sums.weight_norm_sq if "pooler" in name} == set()
    moved, _ = training.advance(state, training.hyper, rates(0.02), jax.random.key(0), 8, (0, 1))
    before, after = (flatten_dict(one, sep="/") for one in (drawn.params, jax.device_get(moved).params))
    assert [name for name in before if np.array_equal(before[name], after[name])] == []


def members(*kinds: str) -> tuple[Member, ...]:
    settings: dict[str, dict[str, Any]] = {
        "linear": {"epochs": 3, "warmup_epochs": 1},
        "simple": {"decay_factor": 0.1, "last_decay_epoch": 2, "warmup_epochs": 1},
    }
    return tuple(Member(trial=kind, schedule=SCHEDULES[kind](learning_rate=0.01, **settings[kind])) for kind in kinds)


def cohort(workshop: Workshop, *kinds: str) -> Cohort:
    identity = workshop.identity(PROGRAM)
    return Cohort(program=PROGRAM, identity=identity, seed=3, epochs=3, members=members(*kinds))


def test_a_run_that_is_left_midway_goes_on_with_the_same_bits(tmp_path: Path, data_dir: Path) -> None:
    whole = Workshop(checkpoints=tmp_path / "whole", data_dir=data_dir)
    expected = bits_of(train(cohort(whole, "linear"), whole))
    assert len(expected) == 3
    seen: list[Record] = []
    left: list[int] = []
    while len(seen) < 3:
        stopped = Workshop(checkpoints=tmp_path / "stopped", data_dir=data_dir)
        given = replace(cohort(stopped, "linear"), observations=tuple(one.observation for one in seen))
        with closing(train(given, stopped)) as reports:
            for report in reports:
                if isinstance(report, Partway) and len(left) == len(seen):
                    left.append(report.step)
                    break  # closing it saves the segment
                if isinstance(report, Record) and not report.replay:
                    seen.append(report)
                    break
    assert left == [2, 2, 2]  # of four steps
    assert bits_of(seen) == expected


def test_sharing_changes_no_bit(tmp_path: Path, data_dir: Path) -> None:
    shared = Workshop(checkpoints=tmp_path / "shared", data_dir=data_dir)
    together = list(train(cohort(shared, "simple", "linear"), shared))
    assert [report.epoch for report in together if isinstance(report, Forked)] == [1]  # the warm-up is shared
    by_key = {report.key: report for report in together if isinstance(report, Record)}
    for kind in ("simple", "linear"):
        alone = Workshop(checkpoints=tmp_path / kind, data_dir=data_dir)
        records = [report for report in train(cohort(alone, kind), alone) if isinstance(report, Record)]
        common = [record for record in records if record.key in by_key]
        assert len(common) in (1, 3)
        assert bits_of(common) == bits_of([by_key[record.key] for record in common])


def test_a_saved_segment_has_the_shapes_that_a_trace_tells(training: MaskedLmTraining, drawn: Any) -> None:
    plan = type("Plan", (), {"learning_rates": rates(0.01), "batch_size": 8})()
    run = SegmentRun(training, plan, 0, 1, begun(drawn))
    _, (traced,), _ = run._like(1)
    next(run.advance())
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), traced) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), run.sums[0]
    )


def test_glue_starts_from_the_exported_weights_bit_by_bit(
    training: MaskedLmTraining, drawn: Any, data_dir: Path, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file

    training.export(drawn, tmp_path)
    names = load_file(tmp_path / "model.safetensors").keys()
    assert {"embeddings.word_embeddings.weight", "embeddings.LayerNorm.bias"} < names
    assert not [name for name in names if "head" in name or "predictions" in name or "pooler" in name]
    (tmp_path / "glue").symlink_to(data_dir / "glue")
    program = GlueProgram(
        task=Glue(segment_examples=16),
        data=GlueTexts(name="sst2", source="tsv", vocabulary="spiece.model", max_length=14),
        model=TINY,
        optimizer=Adam(),
        batch_size=8,
        weights="model.safetensors",
    )
    fine_tuned = program.task.build(program, lambda given: given.load(tmp_path))
    assert fine_tuned.dataset.vocabulary_digest == training.lines.vocabulary.digest
    params, other = (
        flatten_dict(jax.device_get(fine_tuned.init(jax.random.key(key)).params), sep="/") for key in (5, 6)
    )
    ours = flatten_dict(drawn.params, sep="/")
    of_glue = {"head/kernel", "head/bias", "pooler/kernel", "pooler/bias"}
    for name in params.keys() - of_glue:
        np.testing.assert_array_equal(params[name], ours[name])
    assert not np.array_equal(params["pooler/kernel"], other["pooler/kernel"])  # each seed draws its own


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"vocabulary": "other.model"},
            r"data.vocabulary must be the one of weights model.safetensors, sha256 \w+, got",
        ),
        ({"lower_case": False}, r"data.lower_case must be True as for weights model.safetensors, got False"),
    ],
)
def test_glue_refuses_weights_of_other_pieces(
    training: MaskedLmTraining, drawn: Any, data_dir: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    training.export(drawn, tmp_path)
    (tmp_path / "other.model").write_bytes(trained_vocabulary([" ".join(WORDS)] * 5, 30, lower_case=True).model)
    (tmp_path / "glue").symlink_to(data_dir / "glue")
    data = {"name": "sst2", "source": "tsv", "vocabulary": "spiece.model", "max_length": 14} | changes
    program = GlueProgram(
        data=GlueTexts(**data), task=Glue(), model=TINY, optimizer=Adam(), batch_size=8, weights="model.safetensors"
    )
    with pytest.raises(ValueError, match=message):
        program.task.build(program, lambda given: given.load(tmp_path))


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"files": ("none.txt",)}, DataMissing, r"must name text files below the data directory, .* has no 'none.txt'"),
        ({"files": ("empty.txt",)}, DataError, r"empty.txt: must have at least one line that is not empty, got none"),
        ({"files": ("latin.txt",)}, DataError, r"latin.txt:1: must be UTF-8 text, got 0xe9 as byte 4 of the line"),
        ({"files": ("cut.gz",)}, DataError, r"cut.gz: cannot be read: "),
        ({"files": ("few.txt",)}, DataError, r"data.held_out must be below 3, the number of distinct lines, got 3"),
        ({"vocabulary": "none.model"}, DataMissing, r"data.vocabulary must be the SentencePiece file .* 'none.model'"),
        ({"vocabulary": "no_mask.model"}, DataError, r"data.vocabulary no_mask.model: must have the piece \[MASK\]"),
        ({"vocabulary_size": 5000}, DataError, r"vocabulary_size must fit the training texts, got 5000"),
    ],
)
def test_texts_that_cannot_be_used_are_refused(
    tmp_path: Path, changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    (tmp_path / "few.txt").write_text("one film\n\ntwo films\nOne  Film\nthree films")
    (tmp_path / "empty.txt").write_text("\n \n\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"one line\n" * 50)[:-12])
    model = trained_vocabulary([" ".join(WORDS)] * 5, 24, lower_case=True).model
    (tmp_path / "no_mask.model").write_bytes(model.replace(b"[MASK]", b"[MESK]"))
    held_out = 3 if changes.get("files") == ("few.txt",) else 2
    program = {"files": ("few.txt",), "held_out": held_out} | changes
    with pytest.raises(kind, match=message):
        PlainTexts(**program).load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": replace(TINY, vocabulary=20)},
            "model.vocabulary must be at least 32, the number of pieces .* got 20",
        ),
        ({"model": replace(TINY, positions=8)}, r"model.positions must be at least \d+, the length .* got 8"),
        ({"batch_size": 33}, "batch_size must be at most task.segment_examples = 32, got 33"),
    ],
)
def test_parts_that_do_not_fit_are_refused(load: Callable[[Any], Any], changes: dict[str, Any], message: str) -> None:
    program = replace(PROGRAM, **changes)
    with pytest.raises(ValueError, match=message):
        program.task.build(program, load)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PlainTexts(), "files must have at least one text file, unless glue names a task"),
        (lambda: PlainTexts(files=("../lines",)), "files must be paths inside the data directory"),
        (lambda: PlainTexts(glue=("wnli",)), "glue must be some of mnli, qqp"),  # type: ignore[arg-type]
        (lambda: PlainTexts(files=("a",), held_out=0), "held_out must be at least 1, got 0"),
        (lambda: MaskedLm(masked=1.0), r"masked must lie in \(0, 1\), got 1.0"),
        (lambda: MaskedLm(save_every_steps=0), "save_every_steps must be at least 1, or null, got 0"),
    ],
)
def test_fields_out_of_range_are_refused(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
