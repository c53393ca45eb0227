"""The task ppo on its contract: trained by cohorts, left at any moment and taken up again. Sharing is in `test_tasks`."""

import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bitwise import bits_of
from jax import lax

from abel.schedules import SCHEDULES
from workers.cohort import train
from workers.config import to_dict
from workers.data.digits import Digits
from workers.fold import Member
from workers.games.atari import Atari
from workers.games.minatar import MinAtar
from workers.models.mlp import Mlp
from workers.models.nature_cnn import NatureCnn
from workers.models.small_cnn import SmallCnn
from workers.networks import nature_cnn
from workers.optimizers.adam import Adam
from workers.reports import Cohort, Forked, Partway, Record
from workers.tasks.classify import Classify, ClassifyProgram
from workers.tasks.ppo import Ppo, PpoProgram
from workers.workshop import Workshop

SMALL = PpoProgram(
    task=Ppo(loops=2, save_every_loops=1),
    model=Mlp(width=4, layers=1),
    data=MinAtar(game="breakout"),
    optimizer=Adam(),
    batch_size=8,
    agents=4,
    actor_steps=8,
    passes=2,
)
EMULATED = replace(SMALL, data=Atari(game="pong"), agents=2, actor_steps=4, batch_size=4, passes=1)
EPOCHS = 3
UPDATES = 16  # of a segment of SMALL


def member(kind: str, **settings: Any) -> Member:
    return Member(trial=kind, schedule=SCHEDULES[kind](learning_rate=0.01, **settings))


DECAYS = member("decay_at", decay_factor=0.1, decay_epoch=2)
LINEAR = member("linear", epochs=EPOCHS)


def at(folder: Path) -> Workshop:
    return Workshop(checkpoints=folder, data_dir=None, save_every_seconds=0.0)


def cohort_of(program: PpoProgram, workshop: Workshop, *members: Member) -> Cohort:
    return Cohort(program=program, identity=workshop.identity(program), seed=3, epochs=EPOCHS, members=members)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[PpoProgram, list[Any]]:
    """The reports of a linear decay, trained without a break."""
    found = {}
    for program in (SMALL, EMULATED):
        workshop = at(tmp_path_factory.mktemp("whole"))
        found[program] = list(train(cohort_of(program, workshop, LINEAR), workshop))
    return found


def records(reports: list[Any]) -> list[Record]:
    return [report for report in reports if isinstance(report, Record) and not report.replay]


def test_a_record_has_what_schedules_and_claims_look_at(whole: dict[PpoProgram, list[Any]]) -> None:
    for program, reports in whole.items():
        assert len(records(reports)) == EPOCHS
        for record in records(reports):
            found = record.metrics
            assert found["weight_norm_sq"] == pytest.approx(
                math.fsum(value for name, value in found.items() if name.startswith("weight_norm_sq/"))
            )
            parts = found["policy_loss"] + 0.5 * found["value_loss"] - 0.01 * found["entropy"]
            assert found["train_loss"] == pytest.approx(parts, rel=1e-4)
            assert all(math.isfinite(value) for value in found.values())
        clips = [record.metrics["surrogate_clip"] for record in records(reports)]
        assert clips == sorted(clips, reverse=True) and clips[-1] < 0.1 / program.task.loops
    assert records(whole[SMALL])[-1].metrics["episodes"] > 0
    emulated = records(whole[EMULATED])[-1].metrics
    assert (emulated["episodes"], emulated["mean_return"]) == (
        0,
        -20.4,
    )  # of random actions, until an episode has ended


@pytest.mark.parametrize("program", [SMALL, EMULATED], ids=["minatar", "atari"])
def test_a_run_killed_at_any_moment_goes_on_with_the_same_bits(
    program: PpoProgram, whole: dict[PpoProgram, list[Any]], tmp_path: Path
) -> None:
    """What is on disk at a moment is all that a killed run leaves."""
    workshop, moments, seen = at(tmp_path / "run"), [], []
    for report in train(cohort_of(program, workshop, LINEAR), workshop):
        seen.append(report)
        left = tmp_path / f"left-{len(seen)}"
        shutil.copytree(tmp_path / "run", left)
        moments.append((left, len(records(seen))))
    assert any(isinstance(report, Partway) for report in seen)
    expected = bits_of(records(whole[program]))
    for number in np.random.default_rng(0).choice(len(moments) - 2, 3, replace=False):
        left, count = moments[number]
        again = at(left)
        past = tuple(record.observation for record in records(whole[program])[:count])
        late = replace(cohort_of(program, again, LINEAR), observations=past)
        assert bits_of(records(list(train(late, again)))) == expected[count:]


def clips(program: PpoProgram) -> Iterator[float]:
    """The clip after each of two segments, the second at half the rate."""
    training = program.task.build(program, lambda data: data.load(None))
    state = training.init(jax.random.key(0))
    for number, rate in enumerate((0.01, 0.005)):
        rates, key = np.full(UPDATES, rate, np.float32), jax.random.key(number)
        state, sums = training.advance(state, training.hyper, rates, key, program.batch_size, (0, UPDATES))
        yield training.metrics([sums], training.evaluate(state))["surrogate_clip"]


def test_the_clip_follows_the_rates_so_far_or_the_loops_or_stays(tmp_path: Path) -> None:
    assert list(clips(SMALL)) == pytest.approx([0.1, 0.05])
    fixed = replace(SMALL, clip_schedule="constant")
    assert list(clips(fixed)) == pytest.approx([0.1, 0.1])
    linear = replace(SMALL, clip_schedule="linear", clip_epochs=4)
    workshop = at(tmp_path)
    assert workshop.training(linear).agent.clip_loops == 4 * linear.task.loops  # `test_learning` has its clips
    others = replace(SMALL, surrogate_clip=0.2), replace(linear, clip_epochs=5)
    roots = {workshop.identity(program).root(0) for program in (SMALL, fixed, linear, *others)}
    assert len(roots) == 5


def test_schedules_with_the_same_rates_share_their_states(tmp_path: Path) -> None:
    workshop = at(tmp_path)
    same = member("step", decay_factor=0.1, decay_epochs=(2,))
    reports = list(train(cohort_of(SMALL, workshop, DECAYS, same), workshop))
    assert not any(isinstance(report, Forked) for report in reports)


def test_a_batch_that_does_not_divide_the_steps_of_a_loop_is_refused() -> None:
    rule = r"batch_size must divide agents \* actor_steps = 32, the steps of a loop, got 12"
    with pytest.raises(ValueError, match=rule):
        replace(SMALL, batch_size=12)
    with pytest.raises(ValueError, match="must have one device, got 2"):
        SMALL.check_batch(8, 2)
    with pytest.raises(ValueError, match="surrogate_clip must be finite and above 0"):
        replace(SMALL, surrogate_clip=0.0)


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"clip_schedule": "cosine"}, "clip_schedule must be 'rate', 'linear' or 'constant', got 'cosine'"),
        ({"clip_schedule": "linear"}, "clip_epochs must be at least 1 where clip_schedule is 'linear', got None"),
        ({"clip_epochs": 3}, "clip_epochs must be null unless clip_schedule is 'linear', got 3"),
    ],
)
def test_a_clip_that_breaks_a_rule(changed: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        replace(SMALL, **changed)


def test_a_game_and_images_are_not_taken_for_each_other() -> None:
    def build(program: Any) -> Any:
        return program.task.build(program, lambda data: data.load(None))

    with pytest.raises(ValueError, match="data must be a game, .* got 'digits'"):
        build(replace(SMALL, data=Digits()))
    images = ClassifyProgram(task=Classify(), model=SmallCnn(), data=MinAtar(), optimizer=Adam(), batch_size=8)
    with pytest.raises(ValueError, match="data minatar: breakout is a game, which only the task ppo trains in"):
        build(images)


def test_the_program_is_canonical() -> None:
    found = to_dict(SMALL)
    assert found["task"] == {"kind": "ppo", "loops": 2, "save_every_loops": 1}
    assert (found["data"], found["clip"], found["surrogate_clip"]) == (
        {"kind": "minatar", "game": "breakout"},
        None,
        0.1,
    )


@pytest.mark.parametrize("side", [84, 10])
def test_convolutions_are_those_of_xla(side: int) -> None:
    random = np.random.default_rng(0)
    images = jnp.asarray(random.normal(size=(2, side, side, 3)), jnp.float32)
    for taps, stride in ((8, 4), (4, 2), (3, 1)):
        kernel = jnp.asarray(random.normal(size=(taps, taps, 3, 5)), jnp.float32)
        layout = lax.conv_dimension_numbers(images.shape, kernel.shape, ("NHWC", "HWIO", "NHWC"))
        options = {"padding": "SAME", "dimension_numbers": layout}
        ours = nature_cnn._convolved(images, kernel, (stride, stride), **options)
        theirs = lax.conv_general_dilated(images, kernel, (stride, stride), **options)
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_the_paper_s_network_has_its_size() -> None:
    from flax import nnx

    network = nnx.eval_shape(lambda: NatureCnn().build((84, 84, 4), 7, nnx.Rngs(0)))
    shapes = jax.tree.map(lambda leaf: leaf.shape, nnx.to_pure_dict(nnx.state(network, nnx.Param)))
    kernels = [shapes[name]["kernel"] for name in ("conv1", "conv2", "conv3", "dense", "head")]
    assert kernels == [(8, 8, 4, 32), (4, 4, 32, 64), (3, 3, 64, 64), (11 * 11 * 64, 512), (512, 7)]


def test_returns_are_compared_within_one_game() -> None:
    games = []
    for game in ("breakout", "space_invaders"):
        program = replace(SMALL, data=MinAtar(game=game))
        games.append(program.task.build(program, lambda data: data.load(None)).metric.bounds_of)
    assert games == ["minatar: breakout", "minatar: space_invaders"]
