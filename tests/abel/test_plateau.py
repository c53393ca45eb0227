import importlib.util
import json
import math
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from abel.plans import Event, Observation
from abel.plateau import Plateau
from abel.schedules import replay

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def oracle() -> ModuleType:
    """The script that draws the loss sequences, and that had PyTorch decay on them."""
    spec = importlib.util.spec_from_file_location("plateau_oracle", ROOT / "bench" / "plateau_oracle.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def observe(losses: Iterable[float]) -> list[Observation]:
    return [Observation(weight_norm_sq=1.0, train_loss=loss) for loss in losses]


def decays(losses: list[float], **settings: Any) -> list[int]:
    schedule = Plateau(**{"learning_rate": 0.1, "decay_factor": 0.1} | settings)
    return [state.epoch for state in replay(schedule, observe(losses)) if state.event is Event.PLATEAU]


def rates(losses: Iterable[float], **settings: Any) -> list[float]:
    schedule = Plateau(**{"learning_rate": 0.1, "decay_factor": 0.1} | settings)
    states = enumerate(replay(schedule, observe(losses)), start=1)
    return [float(schedule.plan(state, epoch, examples=1, batch_size=1).learning_rates[0]) for epoch, state in states]


def test_a_thousand_sequences_decay_where_pytorch_decays(oracle: ModuleType) -> None:
    stored = json.loads((ROOT / "tests" / "abel" / "data" / "plateau_torch.json").read_text())
    assert stored["seed"] == oracle.SEED
    cases = oracle.cases()
    assert len(stored["decays"]) == len(cases) == 1000
    for number, (case, expected) in enumerate(zip(cases, stored["decays"], strict=True)):
        found = oracle.our_decays(case)[0]
        assert found == expected, f"sequence {number}, {case.settings}"


def test_the_sequences_have_what_could_go_wrong(oracle: ModuleType) -> None:
    """The test above means as much as its sequences: ties at the threshold, NaN, infinity, plateaus, steady falls."""
    cases = oracle.cases()
    ties = sum(
        loss == before * (1.0 - case.settings["threshold"])
        for case in cases
        for before, loss in zip(case.losses, case.losses[1:], strict=False)
        if case.settings["threshold"]
    )
    losses = [loss for case in cases for loss in case.losses]
    stored = json.loads((ROOT / "tests" / "abel" / "data" / "plateau_torch.json").read_text())["decays"]
    assert ties > 100
    assert sum(map(math.isnan, losses)) > 500
    assert sum(map(math.isinf, losses)) > 500
    assert sum(not epochs for epochs in stored) > 100, "some never decay"
    assert sum(map(len, stored)) > 5000


def test_the_eleventh_bad_epoch_decays() -> None:
    assert decays([1.0] * 40) == [12, 23, 34]
    assert rates([1.0] * 12)[-2:] == [np.float32(0.1), np.float32(0.1 * 0.1)]


def test_a_decay_acts_after_its_epoch_and_is_spelt_once() -> None:
    found = rates([1.0] * 23)
    assert found == [np.float32(0.1)] * 12 + [np.float32(0.1 * 0.1)] * 11 + [np.float32(0.1 * 0.1**2)]


def test_optax_s_patience_is_one_more() -> None:
    import jax
    import jax.numpy as jnp
    import optax

    transform = optax.contrib.reduce_on_plateau(patience=11)
    update = jax.jit(transform.update)
    state, found = transform.init(jnp.ones(())), []
    for epoch in range(1, 40):
        before = float(state.scale)
        _, state = update(jnp.ones(()), state, value=1.0)
        found += [epoch] if float(state.scale) < before else []
    assert found == decays([1.0] * 39, patience=10) == [12, 23, 34]


def test_a_tie_at_the_threshold_is_no_improvement() -> None:
    just_less = math.nextafter(0.5, 0)
    assert decays([1.0, 0.5], threshold=0.5, patience=0) == [2]
    assert decays([1.0, just_less], threshold=0.5, patience=0) == []


def test_what_is_not_finite_is_bad_but_minus_infinity() -> None:
    assert decays([math.nan, math.inf, math.nan], patience=0) == [1, 2, 3]
    assert decays([1.0, -math.inf, -math.inf], patience=0) == [3]


def test_bad_epochs_must_be_consecutive() -> None:
    assert decays([1.0, 2.0, 0.9, 2.0, 2.0], patience=1) == [5]


def test_cooldown_counts_no_bad_epoch_but_keeps_the_best() -> None:
    assert decays([1.0] * 9, patience=1, cooldown=3) == [3, 8]
    assert decays([1.0, 1.0, 1.0, 0.5, 0.6, 0.6], patience=1, cooldown=1) == [3, 6]


def test_a_decay_smaller_than_eps_is_not_made_and_not_reported() -> None:
    tiny = {"learning_rate": 1e-7, "patience": 0}
    assert decays([1.0] * 6, **tiny) == [2]
    assert rates([1.0] * 6, **tiny)[-1] == np.float32(1e-7 * 0.1)
    assert decays([1.0] * 6, **tiny, eps=0.0) == [2, 3, 4, 5, 6]


def test_a_decay_that_is_not_made_starts_the_count_anew() -> None:
    schedule = Plateau(learning_rate=1e-9, decay_factor=0.1, patience=1, cooldown=2)
    state = replay(schedule, observe([1.0] * 3))[-1]
    assert (state.decays, state.event, state.bad_epochs, state.cooldown_epochs) == (0, Event.NONE, 0, 2)


def test_there_can_be_a_floor() -> None:
    floor = {"patience": 0, "min_learning_rate": 0.003}
    assert decays([1.0] * 6, **floor) == [2, 3]
    assert rates([1.0] * 6, **floor)[-1] == np.float32(0.003)


def test_single_precision_losses_are_compared_in_double() -> None:
    state = replay(Plateau(learning_rate=0.1, decay_factor=0.1), observe([np.float32(0.1)]))[-1]
    assert type(state.best) is float
