import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from abel.schedules import (
    Abel,
    Constant,
    Cosine,
    DecayAt,
    GrowBatch,
    Linear,
    Observation,
    Plateau,
    Schedule,
    Simple,
    Step,
    WarmupStableDecay,
)
from sweeps.forecast.plan import Seconds, Span, forecast, wall_seconds
from sweeps.spec.sweep import load_spec, parse_document
from sweeps.spec.trial import Trial
from workers.config import Program

RATE = {"learning_rate": 0.1}
FACTOR = RATE | {"decay_factor": 0.1}
EXAMPLES = 160  # ten batches of the tiny program


@pytest.fixture
def trials_of(tiny_program: Program) -> Callable[..., list[Trial]]:
    """Trials of some schedules over seeds; each schedule is an arm of its own."""

    def build(schedules: Iterable[Schedule], epochs: int = 40, seeds: Sequence[int] = (0,)) -> list[Trial]:
        pairs = [(f"arm{index}", schedule, seed) for index, schedule in enumerate(schedules) for seed in seeds]
        return [
            Trial(
                number=number,
                name=f"{arm} seed={seed}",
                arm=arm,
                program=tiny_program,
                schedule=schedule,
                seed=seed,
                epochs=epochs,
            )
            for number, (arm, schedule, seed) in enumerate(pairs)
        ]

    return build


def decays(*epochs: Any) -> list[DecayAt]:
    return [DecayAt(**FACTOR, decay_epoch=epoch) for epoch in epochs]


def states(
    trials: list[Trial],
    norm: Callable[[Any], Any],
    loss: Callable[..., Any] = lambda epoch: 1.0,
) -> list[Any]:
    """The states of each trial when a state's norm is `norm(epoch)` and its loss `loss(epoch)`, drawn once for each."""
    seen = {}
    paths = []
    for trial in trials:
        state, path, own = trial.schedule.init(), (trial.program, trial.seed), []
        for epoch in range(1, trial.epochs + 1):
            path = hash((path, trial.schedule.plan(state, epoch, EXAMPLES, trial.program.batch_size).token()))
            own.append(path)
            if path not in seen:
                seen[path] = Observation(norm(epoch), loss(epoch))
            state = trial.schedule.update(state, seen[path])
            if state.finished:
                break
        paths.append(own)
    return paths


def test_clockwork_is_exact(trials_of: Callable[..., list[Trial]]) -> None:
    trials = trials_of([Constant(**RATE), *decays(1, 4, 10, 20, 30)], seeds=(0, 1, 2))
    cost = forecast(trials)
    shared = 3 * (40 + 39 + 36 + 30 + 20 + 10)
    assert (cost.trials, cost.naive_epochs, cost.shared_epochs) == (18, 720, Span(shared, shared))
    assert (cost.new_epochs, cost.known_epochs, cost.critical_epochs) == (cost.shared_epochs, 0, Span(40, 40))
    assert cost.trajectories == Span(18, 18)
    assert [row.shared_epochs.high for row in cost.arms] == [120] * 6
    assert [row.arm for row in cost.arms] == [f"arm{index}" for index in range(6)]


def test_schedules_that_decay_alike_cost_one(trials_of: Callable[..., list[Trial]]) -> None:
    schedules = [
        DecayAt(**FACTOR, decay_epoch=9),
        Simple(**FACTOR, last_decay_epoch=8.5),
        Step(**FACTOR, decay_epochs=(9,)),
    ]
    assert forecast(trials_of(schedules)).shared_epochs == Span(40, 40)


def test_warmup_and_cosine_share_as_long_as_their_rates_do(trials_of: Callable[..., list[Trial]]) -> None:
    warm = {"warmup_epochs": 3}
    assert forecast(trials_of([Constant(**RATE, **warm), Cosine(**RATE, **warm, epochs=40)])).shared_epochs.low == 77
    assert forecast(trials_of([Constant(**RATE), Constant(**RATE, **warm)])).shared_epochs.low == 80
    assert forecast(trials_of([Constant(**RATE), Cosine(**RATE, epochs=40)])).shared_epochs.low == 80


@pytest.mark.parametrize(
    ("options", "fixed"),
    [
        ({}, 4),
        ({"warmup_epochs": 3}, 7),
        ({"norm_window_epochs": 2}, 8),
        ({"norm_window_epochs": 2, "norm_window": "sliding"}, 5),
        ({"ignore_until_falling": True}, 4),
    ],
)
def test_abel_parts_between_its_first_possible_and_its_last_decay(
    trials_of: Callable[..., list[Trial]], options: dict[str, Any], fixed: int
) -> None:
    abel = Abel(**FACTOR, last_decay_epoch=34, **options)
    constant = Constant(**RATE, warmup_epochs=options.get("warmup_epochs", 0))
    cost = forecast(trials_of([constant, abel], seeds=(0, 1)))
    assert cost.shared_epochs == Span(2 * (40 + 6), 2 * (40 + 40 - fixed))

    def zigzag(epoch: int) -> float:
        if options.get("norm_window") == "sliding":
            return (10.0, 9.0, 9.0, 10.0, 8.0)[min(epoch, 5) - 1]  # means 9.5, 9, 9.5, 9
        blocks = (epoch - options.get("warmup_epochs", 0) - 1) // options.get("norm_window_epochs", 1)
        return 10.0 - blocks % 2

    parted = {*states(trials_of([constant]), zigzag)[0]}
    assert len(parted | {*states(trials_of([constant, abel]), zigzag)[1]}) == 40 + 40 - fixed


def test_a_plateau_parts_after_as_many_epochs_as_it_takes(trials_of: Callable[..., list[Trial]]) -> None:
    schedules = [Constant(**RATE), Plateau(**FACTOR, patience=3)]
    assert forecast(trials_of(schedules, seeds=(0, 1))).shared_epochs == Span(2 * 40, 2 * (40 + 40 - 5))
    # One good epoch and four bad ones, and the decay acts after the fifth.
    assert len(set().union(*states(trials_of(schedules), float))) == 40 + 40 - 5
    assert len(set().union(*states(trials_of(schedules), float, lambda epoch: 0.5**epoch))) == 40


def test_plateaus_of_other_factors_share_until_the_first_decay(trials_of: Callable[..., list[Trial]]) -> None:
    plateaus = [Plateau(**RATE, decay_factor=factor) for factor in (0.1, 0.2, 0.5)]
    assert forecast(trials_of(plateaus)).shared_epochs == Span(40, 12 + 3 * 28)
    assert len(set().union(*states(trials_of(plateaus), float))) == 12 + 3 * 28


def test_growing_batches_are_forecast_and_capped_at_the_examples(
    trials_of: Callable[..., list[Trial]],
) -> None:
    def cost(*schedules: Any, **options: Any) -> Span:
        return forecast(trials_of([Constant(**RATE), *schedules]), **options).shared_epochs

    grow = {"learning_rate": 0.1, "decay_epochs": (10,)}
    assert cost(GrowBatch(**grow, decay_factor=0.5)) == Span(70, 70)
    assert cost(GrowBatch(**grow, decay_factor=0.99)) == Span(40, 40), "16 / 0.99 is 16"
    both = [GrowBatch(**grow, decay_factor=factor) for factor in (0.01, 0.02)]
    assert cost(*both) == Span(100, 100)
    assert cost(*both, examples=lambda trial: EXAMPLES) == Span(70, 70), "all examples are one batch in either"
    assert len(set().union(*states(trials_of([Constant(**RATE), *both]), float))) == 70
    halves = [GrowBatch(**grow, decay_factor=factor) for factor in (0.5, 0.25)]
    assert cost(*halves, examples=lambda trial: 30) == Span(70, 70), "32 and 64 of 30"
    assert cost(Step(**FACTOR, decay_epochs=(10,)), GrowBatch(**grow, decay_factor=0.1)) == Span(100, 100)
    assert cost(GrowBatch(**grow, decay_factor=0.5, warmup_epochs=3)) == Span(80, 80)


def test_a_linear_decay_shares_its_warmup(trials_of: Callable[..., list[Trial]]) -> None:
    warm = {"warmup_epochs": 3}
    cost = forecast(trials_of([Constant(**RATE, **warm), Cosine(**RATE, **warm, epochs=40), Linear(**RATE, epochs=40)]))
    assert cost.shared_epochs == Span(40 + 37 + 40, 40 + 37 + 40)
    cost = forecast(trials_of([Cosine(**RATE, **warm, epochs=40), Linear(**RATE, **warm, epochs=40)]))
    assert cost.shared_epochs == Span(40 + 37, 40 + 37)


def test_cooldowns_branch_off_the_trunk_of_a_constant_rate(trials_of: Callable[..., list[Trial]]) -> None:
    cooldowns = [WarmupStableDecay(**RATE, epochs=40, cooldown_epochs=length) for length in (4, 8)]
    cost = forecast(trials_of([Constant(**RATE), *cooldowns]))
    assert cost.shared_epochs == Span(40 + 4 + 8, 40 + 4 + 8)


def test_abel_without_a_fixed_budget_may_end_early(trials_of: Callable[..., list[Trial]]) -> None:
    abel = Abel(**FACTOR, last_decay_epoch=None, gain_threshold=0.1, epochs_after_last_decay=3)
    cost = forecast(trials_of([abel]))
    # Decays at 4 and, for the last time, at 6 at the earliest; then three epochs more.
    assert (cost.naive_epochs, cost.sure_epochs, cost.shared_epochs) == (40, 9, Span(9, 40))
    assert (cost.critical_epochs, cost.trajectories) == (Span(9, 40), Span(1, 1))
    assert wall_seconds(cost, 2.0, workers=1) == Seconds(18.0, 80.0)
    assert len(states(trials_of([abel]), lambda epoch: epoch % 2)[0]) == 9
    assert len(states(trials_of([abel]), float)[0]) == 40
    assert forecast(trials_of([Constant(**RATE), abel])).shared_epochs == Span(40, 40 + 36)
    assert forecast(trials_of([abel]), known=lambda trial: 40).new_epochs == Span(0, 0)


def test_abel_without_a_bounce_is_simple_decay(trials_of: Callable[..., list[Trial]]) -> None:
    schedules = [Constant(**RATE), Simple(**FACTOR, last_decay_epoch=34), Abel(**FACTOR, last_decay_epoch=34)]
    assert forecast(trials_of(schedules)).shared_epochs.low == 46


def test_abel_could_follow_a_decay_at_a_chosen_epoch(trials_of: Callable[..., list[Trial]]) -> None:
    # No trial goes on undecayed: ABEL costs least where it bounces at 20, and leaves that trial at its last decay.
    cost = forecast(trials_of([*decays(20), Abel(**FACTOR, last_decay_epoch=34)]))
    assert cost.shared_epochs == Span(46, 40 + 36)


def test_factors_of_abel_part_at_the_first_decay(trials_of: Callable[..., list[Trial]]) -> None:
    abels = [Abel(**RATE, decay_factor=factor, last_decay_epoch=34) for factor in (0.1, 0.2, 0.5)]
    assert forecast(trials_of(abels)).shared_epochs == Span(34 + 3 * 6, 4 + 3 * 36)


def test_last_decays_of_abel_part_at_the_earlier_one(trials_of: Callable[..., list[Trial]]) -> None:
    abels = [Abel(**FACTOR, last_decay_epoch=epoch) for epoch in (20, 30, None)]
    assert forecast(trials_of(abels)).shared_epochs == Span(40 + 10 + 20, 40 + 10 + 20)


def test_what_is_recorded_is_not_new(trials_of: Callable[..., list[Trial]]) -> None:
    trials = trials_of([Constant(**RATE), *decays(10, 20)])
    cost = forecast(trials, known=lambda trial: {"arm0": 40, "arm1": 10, "arm2": 20}[trial.arm])
    assert (cost.shared_epochs.high, cost.new_epochs, cost.known_epochs) == (90, Span(50, 50), 70)
    assert cost.critical_epochs == Span(30, 30)
    assert [row.known_epochs for row in cost.arms] == [40, 10, 20]
    assert forecast(trials, known=lambda trial: 10**6).new_epochs == Span(0, 0)


def test_programs_and_seeds_share_nothing(trials_of: Callable[..., list[Trial]], tiny_program: Program) -> None:
    (trial,) = trials_of([Constant(**RATE)])
    others = [replace(trial, seed=1), replace(trial, program=replace(tiny_program, l2=0.5))]
    assert forecast([trial, *others]).shared_epochs == Span(120, 120)


def test_nothing_costs_nothing() -> None:
    assert forecast([]).shared_epochs == Span(0, 0)


def drawn_schedule(draw: random.Random, epochs: int) -> Any:
    rate = {"learning_rate": draw.choice([0.1, 0.1, 0.1, 0.5]), "warmup_epochs": draw.choice([0, 0, 0, 1, 2])}
    factor = rate | {"decay_factor": draw.choice([0.1, 0.5, 0.25])}
    kinds = ["abel"] * 4 + ["by gain", "plateau", "constant", "simple", "step", "grow_batch", "cosine", "linear", "wsd"]
    match draw.choice(kinds + ["decay_at"] * 3):
        case "abel" | "by gain" as kind:
            window = {"norm_window_epochs": draw.choice([1, 1, 1, 2]), "norm_window": draw.choice(["block", "sliding"])}
            ending = {"last_decay_epoch": draw.choice([None, 0.85 * epochs, draw.randint(1, epochs)])}
            if kind == "by gain":
                gain = draw.choice([0.0, 0.1, 0.9])
                ending = {
                    "last_decay_epoch": None,
                    "gain_threshold": gain,
                    "epochs_after_last_decay": draw.randint(1, 3),
                }
            return Abel(**factor, **window, **ending, ignore_until_falling=draw.random() < 0.2)
        case "plateau":
            return Plateau(**factor, patience=draw.choice([0, 1, 2, 10]), cooldown=draw.choice([0, 0, 2]))
        case "grow_batch":
            return GrowBatch(
                **factor, decay_epochs=tuple(sorted(draw.sample(range(1, epochs + 1), draw.randint(1, 3))))
            )
        case "linear":
            return Linear(**rate, epochs=epochs)
        case "wsd":
            return WarmupStableDecay(**rate, epochs=epochs, cooldown_epochs=draw.randint(1, epochs - 2))
        case "constant":
            return Constant(**rate)
        case "simple":
            return Simple(**factor, last_decay_epoch=draw.randint(1, epochs))
        case "step":
            return Step(**factor, decay_epochs=tuple(sorted(draw.sample(range(1, epochs + 1), draw.randint(1, 4)))))
        case "cosine":
            return Cosine(**rate, epochs=epochs)
        case _:
            return DecayAt(**factor, decay_epoch=draw.randint(1, epochs))


NORMS = {
    "falling": lambda draw: lambda epoch: 1 / epoch,
    "rising": lambda draw: float,
    "noise": lambda draw: lambda epoch: draw.random(),
    "zigzag": lambda draw: lambda epoch: 2 + (-1) ** epoch + 0.1 * draw.random(),
    "bounce": lambda draw: lambda epoch: abs(epoch - draw.choice([3, 4, 5])) + 0.01 * draw.random(),
    "ties": lambda draw: lambda epoch: [3, 2, 3, 2, 3, 2, 3][epoch % 7] if draw.random() < 0.9 else 4 * draw.random(),
}


LOSSES = [
    lambda draw: lambda epoch: 1.0,
    lambda draw: lambda epoch: 0.9**epoch,
    lambda draw: lambda epoch: draw.random(),
]


@pytest.mark.parametrize("norms", NORMS)
@pytest.mark.parametrize("seed", range(20))
def test_the_bounds_hold_whatever_the_norms(trials_of: Callable[..., list[Trial]], norms: str, seed: int) -> None:
    draw = random.Random(f"{norms} {seed}")
    for _ in range(5):
        epochs = draw.choice([5, 8, 12, 20])
        trials = trials_of([drawn_schedule(draw, epochs) for _ in range(draw.randint(1, 7))], epochs, seeds=(0, 1))
        trials = [replace(trial, arm="ab"[trial.number % 2], epochs=epochs - trial.seed) for trial in trials]
        seen = NORMS[norms](draw), draw.choice(LOSSES)(draw)
        paths = dict(zip([trial.number for trial in trials], states(trials, *seen), strict=True))
        recorded = set().union(*(path[: draw.randint(0, len(path))] for path in paths.values()))
        leading = {number: sum(state in recorded for state in path) for number, path in paths.items()}
        left = {number: len(path) - leading[number] for number, path in paths.items()}
        known = {trial.number: leading[trial.number] if left[trial.number] else trial.epochs for trial in trials}
        cost = forecast(trials, lambda trial, known=known: known[trial.number], lambda trial: EXAMPLES)
        everything = set().union(*paths.values())
        assert cost.shared_epochs.low <= len(everything) <= cost.shared_epochs.high
        assert cost.new_epochs.low <= len(everything - recorded) <= cost.new_epochs.high
        assert cost.sure_epochs <= sum(map(len, paths.values())) <= cost.naive_epochs
        assert cost.critical_epochs.low <= max(left.values()) <= cost.critical_epochs.high
        assert cost.trajectories.low <= len({path[-1] for path in paths.values()}) <= cost.trajectories.high
        for row in cost.arms:
            own = set().union(*(paths[trial.number] for trial in trials if trial.arm == row.arm))
            assert row.shared_epochs.low <= len(own) <= row.shared_epochs.high


# The earliest bounce falls together with the decay at 4, and ABEL goes that way for two epochs, with three seeds.
@pytest.mark.parametrize(("norms", "cost"), [("falling", 543), ("zigzag", 633 - 3 * 2)])
def test_the_bounds_are_near_for_the_figure(norms: str, cost: int) -> None:
    trials = load_spec("fig-s6a-digits").expand()
    assert forecast(trials).shared_epochs == Span(543, 633)
    assert len(set().union(*states(trials, NORMS[norms](random.Random(0))))) == cost


def grid(**arms: Any) -> list[Trial]:
    document = load_spec("fig-s6a-digits").to_dict() | {"arms": arms, "seeds": [0], "epochs": 200}
    return parse_document(document).expand()


def test_ten_thousand_trials_are_forecast_in_seconds() -> None:
    rates = {"schedule.decay_factor": {"range": [0.1, 0.5], "step": 0.1}}
    rates |= {"schedule.learning_rate": {"range": [0.1, 0.5], "step": 0.1}}
    epochs = {"range": [1, 199], "step": 1}
    trials = grid(
        at={"schedule": {"kind": "decay_at"}, "grid": {"schedule.decay_epoch": epochs, **rates}},
        abel={"schedule": {"kind": "abel"}, "grid": {"schedule.last_decay_epoch": epochs, **rates}},
    )
    assert len(trials) == 9950
    before = time.process_time()
    cost = forecast(trials)
    assert time.process_time() - before < 10
    assert cost.naive_epochs == 1_990_000
    # A tree for each rate: one trunk of 199 and one epoch more, and for each factor a branch from every epoch.
    assert cost.shared_epochs.low == 5 * (199 + 5 * sum(range(1, 200)))


def test_a_long_run_costs_no_time() -> None:
    (trial,) = grid(a={"schedule": {"kind": "constant", "learning_rate": 0.1}})
    before = time.process_time()
    assert forecast([replace(trial, epochs=10**6)]).shared_epochs == Span(10**6, 10**6)
    assert time.process_time() - before < 1


def test_wall_seconds_include_the_critical_path(trials_of: Callable[..., list[Trial]]) -> None:
    cost = forecast(trials_of([Constant(**RATE), *decays(10)]))  # 40 and 30 epochs
    assert wall_seconds(cost, 2.0, workers=1) == Seconds(140.0, 140.0)
    assert wall_seconds(cost, 2.0, workers=2) == Seconds(80.0, 110.0)
    low, high = wall_seconds(cost, 2.0, workers=1000)
    assert low == 80.0
    assert high == pytest.approx(80.0, abs=0.1)
