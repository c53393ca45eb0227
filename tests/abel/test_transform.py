"""ABEL inside a jitted step against `Abel` outside it, and the wrappers of optax and JAX that people put around it."""

import dataclasses
import math
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from abel import bounce, norms
from abel.baselines import Timed
from abel.plans import EpochPlan, Event, Observation
from abel.schedules import (
    SCHEDULES,
    Abel,
    Constant,
    Cosine,
    DecayAt,
    GrowBatch,
    InverseSqrt,
    OneCycle,
    Simple,
    Step,
    WarmupStableDecay,
)
from abel.transform import as_optax, scale_by_abel

TINY = float(np.finfo(np.float32).tiny)  # XLA on CPU takes what is smaller for 0
FALLS_RISES_FALLS = (10, 8, 6, 5, 6, 7, 8, 7.9, 7.5, 7, 6)
PAPER = {"learning_rate": 0.5, "decay_factor": 0.3, "last_decay_epoch": None}


def planned(norms_E: np.ndarray | Sequence[float], steps: int, **fields: Any) -> tuple[np.ndarray, list[Any]]:
    """Rates of every step and events of every epoch, of the epoch-level schedule; one epoch more than there are norms."""
    schedule = Abel(**fields)
    state, rates, events = schedule.init(), [], []
    for epoch, norm in enumerate(norms_E, start=1):
        rates.append(schedule.plan(state, epoch, examples=steps, batch_size=1).learning_rates)
        state = schedule.update(state, Observation(weight_norm_sq=float(norm), train_loss=math.nan))
        events.append(int(state.event))
    rates.append(schedule.plan(state, len(norms_E) + 1, examples=steps, batch_size=1).learning_rates)
    return np.concatenate(rates), events


def scanned(
    norms_E: Sequence[float] | jax.Array | np.ndarray,
    steps_per_epoch: int,
    **fields: Any,
) -> tuple[Any, Any, Any]:
    """The same of the transform, which is told the norms, in one scan over steps."""
    abel = scale_by_abel(steps_per_epoch=steps_per_epoch, **fields)

    def step(state: Any, weight_norm_sq: jax.Array) -> tuple[Any, tuple[Any, Any, Any]]:
        updates, state = abel.update(jnp.float32(1), state, weight_norm_sq=weight_norm_sq)
        return state, (-updates, state.learning_rate, state.event)

    # What is handed in inside an epoch must not be looked at.
    norms_ES = jnp.full((len(norms_E) + 1, steps_per_epoch), -7.0).at[1:, 0].set(jnp.asarray(norms_E, jnp.float32))
    _, (scales, rates, events) = jax.lax.scan(step, abel.init(jnp.zeros(1)), norms_ES.ravel())
    return scales, rates, events[steps_per_epoch::steps_per_epoch]


def ulps(ours: Any, theirs: Any) -> int:
    """Units in the last place between float32 rates, of which the smallest count as 0."""
    bits = [np.where(np.asarray(rates) < TINY, 0, rates).astype(np.float32).view(np.int32) for rates in (ours, theirs)]
    return int(np.max(np.abs(bits[0] - bits[1])))


def random_norms(seed: int) -> np.ndarray:
    """Walks of 200 epochs: rough, smooth, with ties."""
    random = np.random.default_rng(seed)
    walk = np.cumsum(random.normal(size=200)) + 0.01 * np.arange(200) ** 1.5
    walk = [walk, np.convolve(walk, np.ones(9) / 9, "same"), np.round(walk)][seed % 3]
    return np.float32(walk + 50)


@pytest.mark.parametrize("seed", range(12))
def test_rates_in_a_jitted_scan_are_those_of_the_schedule(seed: int) -> None:
    random = np.random.default_rng(100 + seed)
    fields = {
        "learning_rate": 10.0 ** random.uniform(-4, 1),
        "decay_factor": random.uniform(0.05, 0.95),
        "last_decay_epoch": random.uniform(1, 200) if seed % 3 else None,
        "warmup_epochs": int(random.integers(6)),
        "ignore_until_falling": bool(seed % 2),
    }
    norms_E = random_norms(seed)
    expected, expected_events = planned(norms_E, 7, **fields)
    scales, rates, events = jax.jit(partial(scanned, steps_per_epoch=7, **fields))(norms_E)
    assert ulps(rates, expected) <= 1
    assert events.tolist() == expected_events and any(expected_events)
    np.testing.assert_array_equal(scales, rates)


def test_events_of_thousands_of_adversarial_norms_at_once() -> None:
    random = np.random.default_rng(0)
    levels = random.integers(0, 4, (2000, 40)).astype(np.float32)  # ties and turns
    rough = random.normal(size=(2000, 40)).astype(np.float32) ** 2
    rough[random.uniform(size=rough.shape) < 0.1] = np.nan
    norms_TE = np.concatenate([levels, rough])
    train = partial(scanned, steps_per_epoch=2, **PAPER)
    _, _, events_TE = jax.jit(jax.vmap(train))(norms_TE)
    for norms_E, events_E in zip(norms_TE.tolist(), events_TE.tolist(), strict=True):
        state, expected = bounce.init(), []
        for norm in norms_E:
            state, event = bounce.update(state, norm)
            expected.append(event)
        assert events_E == expected


@pytest.mark.parametrize("learning_rate", [1e20, 0.1, 1e-22])  # the last ends near the smallest normal float32
def test_a_hundred_decays_do_not_drift(learning_rate: float) -> None:
    sawtooth = [2 + epoch % 2 for epoch in range(200)]
    fields = {"learning_rate": learning_rate, "decay_factor": 0.7, "last_decay_epoch": None}
    _, rates, _ = jax.jit(partial(scanned, steps_per_epoch=1, **fields))(sawtooth)
    assert ulps(rates, planned(sawtooth, 1, **fields)[0]) <= 1
    drifting = np.cumprod([np.float32(0.1)] + [np.float32(0.7)] * 99, dtype=np.float32)
    assert ulps(drifting, [0.1 * 0.7**decays for decays in range(100)]) > 10, "else there is nothing to show"


def test_golden_trace(trace: Any) -> None:
    _, _, events = scanned(trace.norms, steps_per_epoch=2, **PAPER)
    expected = dict.fromkeys(trace.minima, Event.MINIMUM) | dict.fromkeys(trace.decays, Event.DECAY)
    assert {epoch: event for epoch, event in enumerate(events.tolist(), start=1) if event} == expected


@pytest.mark.parametrize(("last", "expected"), [(6, {5: 1, 6: 4, 8: 2}), (8, {5: 1, 8: 6}), (7.5, {5: 1, 8: 6})])
def test_last_decay(last: float, expected: dict[int, int]) -> None:
    _, rates, events = scanned(FALLS_RISES_FALLS, steps_per_epoch=1, **PAPER | {"last_decay_epoch": last})
    assert {epoch: event for epoch, event in enumerate(events.tolist(), start=1) if event} == expected
    assert float(rates[-1]) == np.float32(0.5 * 0.3**2)


# A network whose norm falls, rises and falls: the second leaf is so small that float32 cannot see it beside the first.
SIZES_E = np.sqrt([9, 7, 5, 4, 5, 6, 5.5, 5, 4.5])


def params_at(epoch: int) -> dict[str, jax.Array]:
    return {"big": jnp.full(4, 5e3), "small": jnp.full(1, 0.5 * SIZES_E[epoch], jnp.float32)}


def test_the_norm_is_that_of_the_weights_after_the_last_step_of_the_epoch() -> None:
    epochs, steps, schedule = len(SIZES_E), 3, Abel(**PAPER)
    abel = scale_by_abel(steps_per_epoch=steps, **PAPER)
    update = jax.jit(abel.update)
    state, epoch_state = abel.init(params_at(0)), schedule.init()
    for epoch in range(epochs):
        plan = schedule.plan(epoch_state, epoch + 1, examples=steps, batch_size=1)
        for step in range(steps):
            # What the first step is given is what the last step of the epoch before has made.
            weights = params_at(epoch - 1) if epoch and step == 0 else {"big": jnp.zeros(4), "small": jnp.ones(1)}
            updates, state = update(params_at(0), state, weights)
            assert float(state.learning_rate) == plan.learning_rates[step]
            np.testing.assert_array_equal(updates["big"], -state.learning_rate * 5e3)
        observation = Observation(norms.total(norms.per_leaf(params_at(epoch))), train_loss=math.nan)
        epoch_state = schedule.update(epoch_state, observation)
    assert (int(state.decays), int(state.epoch), float(state.weight_norm_sq)) == (1, epochs - 1, 1e8)
    assert len({np.float32(norms.total(norms.per_leaf(params_at(epoch)))) for epoch in range(epochs)}) == 1


def test_python_floats_keep_double_precision() -> None:
    abel = scale_by_abel(steps_per_epoch=1, **PAPER)
    state, events = abel.init(jnp.zeros(1)), []
    for norm in [0.0] + [1e8 + offset for offset in (3, 2, 1, 2, 3)]:
        _, state = abel.update(jnp.zeros(1), state, weight_norm_sq=norm)
        events.append(int(state.event))
    assert events == [0, 0, 0, 0, Event.MINIMUM, 0]


def test_x64_keeps_the_rates_and_sees_double_norms() -> None:
    with jax.enable_x64(True):
        weights = [jnp.full(1, value, jnp.float64) for value in np.sqrt(1e8 + np.array([0, 3, 2, 1, 2, 3, 2, 2]))]
        abel = scale_by_abel(steps_per_epoch=1, **PAPER)
        state = abel.init(weights[0])
        dtypes = [leaf.dtype for leaf in state]
        update = jax.jit(abel.update)
        for weight in weights:
            updates, state = update(weight, state, weight)
        assert int(state.decays) == 1 and state.learning_rate == np.float32(0.5 * 0.3)
        assert [leaf.dtype for leaf in state] == dtypes == [jnp.float32, jnp.int32, jnp.float32]
        assert updates.dtype == jnp.float64


def test_vmap_over_hyperparameters() -> None:
    cases = [
        {"learning_rate": 0.5, "decay_factor": 0.25, "last_decay_epoch": 76.5, "warmup_epochs": 0},
        {"learning_rate": 0.1, "decay_factor": 0.5, "last_decay_epoch": None, "warmup_epochs": 3},
        {"learning_rate": 2.0, "decay_factor": 0.75, "last_decay_epoch": 0.55 * 100, "warmup_epochs": 1},
    ]
    last = jnp.array([math.inf if case["last_decay_epoch"] is None else case["last_decay_epoch"] for case in cases])
    columns = {name: jnp.array([case[name] for case in cases]) for name in cases[0] if name != "last_decay_epoch"}
    safe, norms_E = jnp.array([False, True, False]), random_norms(0)

    def train(ignore_until_falling: Any, last_decay_epoch: Any, fields: Any) -> tuple[Any, Any, Any]:
        fields |= {"ignore_until_falling": ignore_until_falling, "last_decay_epoch": last_decay_epoch}
        return scanned(norms_E, 4, **fields)

    _, rates, events = jax.jit(jax.vmap(train))(safe, last, columns)
    for index, case in enumerate(cases):
        fields = case | {"learning_rate": float(np.float32(case["learning_rate"]))}
        expected, expected_events = planned(norms_E, 4, ignore_until_falling=bool(safe[index]), **fields)
        assert ulps(rates[index], expected) <= 1
        assert events[index].tolist() == expected_events


def test_a_traced_share_of_100_epochs_is_the_epoch_it_names() -> None:
    shares = jnp.asarray(np.arange(1, 101) / 100, jnp.float32)
    assert np.any(shares * 100 > np.arange(1, 101)), "float32 alone must not do"
    train = lambda last: scanned(jnp.ones(100), 1, **PAPER | {"last_decay_epoch": last})[2]  # noqa: E731
    events_TE = jax.jit(jax.vmap(train))(shares * 100)
    np.testing.assert_array_equal(events_TE, int(Event.LAST_DECAY) * np.eye(100, dtype=np.int32))


def test_vmap_over_steps_per_epoch_gives_states_that_read_alike() -> None:
    def train(steps_per_epoch: Any) -> Any:
        abel = scale_by_abel(steps_per_epoch=steps_per_epoch, **PAPER)
        step = lambda state, norm: (abel.update(norm, state, weight_norm_sq=norm)[1], None)  # noqa: E731
        return jax.lax.scan(step, abel.init(jnp.zeros(1)), jnp.arange(13.0))[0]

    state = jax.vmap(train)(jnp.array([1, 3, 4]))
    assert state.epoch.tolist() == [12, 4, 3]
    assert state.weight_norm_sq.tolist() == [12, 12, 12]
    assert state.decays.shape == state.event.shape == state.learning_rate.shape == (3,)


def loss(params: Any, batch: Any) -> jax.Array:
    images_BN, targets_B = batch
    hidden_BH = jnp.tanh(images_BN @ params["in"]["kernel"] + params["in"]["bias"])
    l2 = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
    return jnp.mean((hidden_BH @ params["out"] - targets_B) ** 2) + 0.02 * l2


def network(seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    draw = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)  # noqa: E731
    return {"in": {"kernel": draw(4, 8), "bias": draw(8)}, "out": draw(8)}


def batches(count: int) -> tuple[jax.Array, jax.Array]:
    random = np.random.default_rng(1)
    images_SBN = random.normal(size=(count, 8, 4)).astype(np.float32)
    return jnp.asarray(images_SBN), jnp.asarray(
        np.sin(images_SBN.sum(-1)) + random.normal(size=(count, 8)), jnp.float32
    )


def run(
    optimizer: optax.GradientTransformationExtraArgs, params: dict[str, Any], data: Any, state: Any = None
) -> tuple[Any, Any, Any]:
    """Train one step a batch, in a jitted scan; the parameters, the optimiser's state and the states of every step."""
    optimizer = optax.with_extra_args_support(optimizer)

    def step(carry: Any, batch: Any) -> tuple[tuple[Any, Any], Any]:
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, batch), state, params)
        return (optax.apply_updates(params, updates), state), state

    (params, state), states = jax.jit(partial(jax.lax.scan, step))((params, state or optimizer.init(params)), data)
    return params, state, states


NOISY = {"learning_rate": 0.2, "decay_factor": 0.7, "last_decay_epoch": 35.5, "warmup_epochs": 2}


def test_in_a_chain_it_is_the_epoch_level_loop() -> None:
    steps, epochs, schedule, rule = 5, 40, Abel(**NOISY), optax.trace(decay=0.9, nesterov=True)
    data = batches(steps * epochs)
    ours, state, _ = run(optax.chain(rule, scale_by_abel(steps_per_epoch=steps, **NOISY)), network(), data)

    @jax.jit
    def step(params: Any, state: Any, batch: Any, rate: Any) -> tuple[Any, Any]:
        updates, state = rule.update(jax.grad(loss)(params, batch), state)
        return jax.tree.map(lambda weight, update: weight - rate * update, params, updates), state

    params, momentum, epoch_state, decays = network(), rule.init(network()), schedule.init(), []
    for epoch in range(epochs):
        decays.append(epoch_state.decays)
        for index, rate in enumerate(schedule.plan(epoch_state, epoch + 1, steps, 1).learning_rates):
            batch = jax.tree.map(lambda leaf: leaf[steps * epoch + index], data)  # noqa: B023
            params, momentum = step(params, momentum, batch, rate)
        epoch_state = schedule.update(epoch_state, Observation(norms.total(norms.per_leaf(params)), math.nan))
    assert int(state[-1].decays) == decays[-1] > 3
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), ours, params)
    assert float(optax.tree_utils.tree_get(state, "learning_rate")) == pytest.approx(0.2 * 0.7 ** decays[-1])


def test_multi_steps_counts_steps_of_the_optimizer() -> None:
    data, abel = batches(240), partial(scale_by_abel, **NOISY | {"last_decay_epoch": 7.5})
    every = optax.MultiSteps(optax.chain(optax.identity(), abel(steps_per_epoch=4)), every_k_schedule=3)
    params, state, states = run(every.gradient_transformation(), network(), data)
    pooled = jax.tree.map(lambda leaf: leaf.reshape(80, 24, *leaf.shape[2:]), data)
    expected, expected_state, expected_states = run(abel(steps_per_epoch=4), network(), pooled)
    inner = states.inner_opt_state[-1]
    assert inner.epoch[2::3].tolist() == expected_states.epoch.tolist()
    assert inner.event[2::3].tolist() == expected_states.event.tolist()
    assert int(state.inner_opt_state[-1].decays) == int(expected_state.decays) > 0
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), params, expected)


def test_inject_hyperparams_lets_a_rate_be_changed() -> None:
    injected = optax.inject_hyperparams(scale_by_abel)(steps_per_epoch=5, **NOISY)
    params, state, states = run(injected, network(), batches(100))
    fields = NOISY | {name: float(np.float32(NOISY[name])) for name in ("learning_rate", "decay_factor")}
    expected, _, expected_states = run(scale_by_abel(steps_per_epoch=5, **fields), network(), batches(100))
    rates = states.inner_state.learning_rate
    assert ulps(rates, expected_states.learning_rate) <= 1
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4), params, expected)
    state.hyperparams["learning_rate"] = jnp.float32(0.02)
    _, changed = injected.update(params, state, params)
    assert float(changed.inner_state.learning_rate) == pytest.approx(0.1 * float(rates[-1]))


def test_scan_loop_and_restored_loop_give_the_same_bits(tmp_path: Path) -> None:
    data, steps = batches(60), 3
    optimizer = optax.chain(optax.trace(decay=0.9), scale_by_abel(steps_per_epoch=steps, **NOISY))
    straight = run(optimizer, network(), data)[:2]
    first, second = (jax.tree.map(lambda leaf, part=part: leaf[part], data) for part in (slice(31), slice(31, 60)))
    saved = run(optimizer, network(), first)[:2]
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", saved)
        checkpointer.wait_until_finished()
        template = jax.tree.map(jnp.zeros_like, saved)
        params, state = checkpointer.restore(tmp_path / "state", template)
    assert jax.tree.structure(state) == jax.tree.structure(saved[1])
    went_on = run(optimizer, params, second, state)[:2]
    jax.tree.map(np.testing.assert_array_equal, straight, went_on)
    assert int(straight[1][-1].decays) > 0


def test_a_filter_keeps_parameters_in_the_norm() -> None:
    params = {"kernel": jnp.full(2, 3.0), "bias": jnp.full(2, 5.0), "count": jnp.arange(2)}
    abel = scale_by_abel(steps_per_epoch=1, where=lambda path: path == "kernel", **PAPER)
    state = abel.init(params)
    assert math.isnan(state.weight_norm_sq)
    for _ in range(2):
        _, state = abel.update(params, state, params)
    assert float(state.weight_norm_sq) == 18


def test_a_partition_can_be_given_the_norm_of_all() -> None:
    params = network()
    transforms = {"abel": scale_by_abel(steps_per_epoch=1, **PAPER), "frozen": optax.set_to_zero()}
    optimizer = optax.partition(transforms, {"in": "abel", "out": "frozen"})
    state = optimizer.init(params)
    for _ in range(2):
        updates, state = optimizer.update(params, state, params)
    part = float(norms.total(norms.per_leaf(params["in"])))
    assert float(optax.tree_utils.tree_get(state, "memory")[0, 0]) == pytest.approx(part)
    _, state = optimizer.update(params, state, params, weight_norm_sq=jnp.float32(123))
    assert float(optax.tree_utils.tree_get(state, "memory")[0, 0]) == 123
    assert not np.any(updates["out"])


def test_updates_keep_their_dtype_and_their_holes() -> None:
    abel = scale_by_abel(steps_per_epoch=1, **PAPER)
    tree = {"half": jnp.ones(2, jnp.bfloat16), "none": None, "single": jnp.ones(2)}
    updates, _ = jax.jit(abel.update)(tree, abel.init(tree), tree)
    assert (updates["half"].dtype, updates["single"].dtype, updates["none"]) == (jnp.bfloat16, jnp.float32, None)
    assert updates["half"].tolist() == [-0.5, -0.5]


def test_the_carry_keeps_its_types() -> None:
    abel = scale_by_abel(steps_per_epoch=1, **NOISY)
    before = jax.eval_shape(abel.init, network())
    after = jax.eval_shape(lambda state, params: abel.update(params, state, params)[1], before, network())
    assert [(leaf.shape, leaf.dtype, leaf.weak_type) for leaf in before] == [
        (leaf.shape, leaf.dtype, leaf.weak_type) for leaf in after
    ]


SHARDED = """
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from abel.transform import scale_by_abel

devices = np.array(jax.devices())
assert len(devices) == 4
mesh = Mesh(devices, ("x",))
params = {"kernel": jnp.arange(32.0).reshape(8, 4) / 8, "bias": jnp.ones(4), "odd": jnp.full(3, 2.0)}
specs = {"kernel": P("x"), "bias": P("x"), "odd": P()}
sharded = jax.tree.map(lambda leaf, spec: jax.device_put(leaf, NamedSharding(mesh, spec)), params, specs)
abel = scale_by_abel(0.25, decay_factor=0.5, last_decay_epoch=None, steps_per_epoch=2)

@jax.jit
def step(params, state, target):
    updates, state = abel.update(jax.tree.map(lambda weight: (1 - target) * weight, params), state, params)
    return optax.apply_updates(params, updates), state

def train(params):
    state, seen = abel.init(params), []
    for target in [0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 0, 0, 0, 0]:
        params, state = step(params, state, target)
        seen.append((float(state.weight_norm_sq), int(state.event), float(state.learning_rate)))
    return params, seen

alone, seen = train(params)
together, seen_sharded = train(sharded)
assert together["kernel"].sharding.spec == P("x") and len(together["kernel"].sharding.device_set) == 4
np.testing.assert_allclose(seen_sharded, seen, rtol=1e-6)
assert seen[-1][2] == 0.125, seen

def local(params, state):
    weight_norm_sq = jax.lax.psum(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params)), "x")
    return abel.update(params, state, params, weight_norm_sq=weight_norm_sq)[1]

halves = {name: sharded[name] for name in ("kernel", "bias")}
mapped = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=(P("x"), P()), out_specs=P()))
state = abel.init(halves)
for _ in range(3):
    state = mapped(halves, state)
np.testing.assert_allclose(state.weight_norm_sq, sum(np.sum(np.square(leaf)) for leaf in halves.values()), rtol=1e-6)
print("as one")
"""


def test_sharded_parameters_have_one_norm() -> None:
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SHARDED], env=environment, capture_output=True, text=True, timeout=300
    )
    assert (done.stdout, done.returncode) == ("as one\n", 0), done.stderr


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be finite and > 0, got 0.0"),
        ({"learning_rate": np.array(math.nan)}, "learning_rate must be finite and > 0, got nan"),
        ({"learning_rate": jnp.float32(-1)}, "learning_rate must be finite and > 0, got -1.0"),
        ({"learning_rate": jnp.ones(3)}, "learning_rate must be a scalar (vmap over several), got shape (3,)"),
        ({"learning_rate": 1e30}, "learning_rate must be < 2**80, got 1e+30"),
        ({"decay_factor": 1.5}, "decay_factor must lie in (0, 1), got 1.5"),
        ({"decay_factor": "0.1"}, "decay_factor must lie in (0, 1), got '0.1'"),
        ({"last_decay_epoch": 0}, "last_decay_epoch must be finite and >= 1, got 0"),
        ({"last_decay_epoch": math.inf}, "last_decay_epoch must be finite and >= 1, got inf"),
        ({"steps_per_epoch": 0}, "steps_per_epoch must be an integer >= 1, got 0"),
        ({"steps_per_epoch": 2.5}, "steps_per_epoch must be an integer >= 1, got 2.5"),
        ({"warmup_epochs": -1}, "warmup_epochs must be an integer >= 0, got -1"),
        ({"ignore_until_falling": 1}, "ignore_until_falling must be true or false, got 1"),
        ({"where": "zz"}, "where must be a function, got 'zz'"),
    ],
)
def test_bad_numbers(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        scale_by_abel(**PAPER | {"steps_per_epoch": 3} | fields)


def test_arrays_of_the_right_numbers_are_numbers() -> None:
    fields = {"learning_rate": np.float32(0.5), "decay_factor": jnp.float32(0.25), "last_decay_epoch": np.array(3)}
    abel = scale_by_abel(steps_per_epoch=jnp.int32(2), ignore_until_falling=np.bool_(True), **fields)
    assert float(abel.init(jnp.zeros(1)).learning_rate) == 0.5


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "the weight norm must have at least one parameter, got none that counts"),
        ({"a": jnp.arange(3)}, "parameters must be floating-point arrays, got int32 at 'a'"),
        (None, "the weight norm must have at least one parameter, got none that counts"),
    ],
)
def test_a_tree_without_a_norm_is_refused_at_the_start(params: dict[str, Any] | None, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        scale_by_abel(steps_per_epoch=3, **PAPER).init(params)


@pytest.mark.parametrize(
    ("params", "extra", "message"),
    [
        (None, {}, "params (or weight_norm_sq) must be passed to update, as ABEL observes their norm, got None"),
        ({"a": jnp.ones(3)}, {}, "params must have leaves of the same shapes as the updates, [(2,)], got [(3,)]"),
        (
            {"b": jnp.ones(2)},
            {},
            "params must be a pytree like the updates, PyTreeDef({'a': *}), got PyTreeDef({'b': *})",
        ),
        ([jnp.ones(2)], {}, "params must be a pytree like the updates, PyTreeDef({'a': *}), got PyTreeDef([*])"),
        ({}, {}, "params must be a pytree like the updates, PyTreeDef({'a': *}), got PyTreeDef({})"),
        (None, {"weight_norm_sq": jnp.ones(2)}, "weight_norm_sq must be a scalar, got shape (2,)"),
        (None, {"weight_norm_sq": -1.0}, "weight_norm_sq must be >= 0, got -1.0"),
    ],
)
def test_bad_updates(params: Any, extra: dict[str, Any], message: str) -> None:
    abel = scale_by_abel(steps_per_epoch=3, **PAPER)
    tree = {"a": jnp.ones(2)}
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        abel.update(tree, abel.init(tree), params, **extra)


FIELDS = {
    "learning_rate": 0.3,
    "decay_factor": 0.2,
    "decay_epoch": 4,
    "decay_epochs": (3, 6),
    "last_decay_epoch": 7.5,
    "epochs": 9,
    "cooldown_epochs": 3,
}
WARMUPS: dict[type, tuple[int, ...]] = {InverseSqrt: (1, 2), OneCycle: (0,)}


def clocks() -> list[Timed]:
    """Every schedule that looks at the clock alone, with and without a warm-up where it can."""
    found = []
    for schedule in SCHEDULES.values():
        given = {field.name: FIELDS[field.name] for field in dataclasses.fields(schedule) if field.name in FIELDS}
        if issubclass(schedule, Timed):
            found += [schedule(**given, warmup_epochs=warmup) for warmup in WARMUPS.get(schedule, (0, 2))]
    return found


CLOCKS = [
    *(clock for clock in clocks() if not isinstance(clock, GrowBatch)),
    DecayAt(learning_rate=0.3, decay_factor=0.2, decay_epoch=4, warmup_epochs=6),
]


def test_the_baselines_are_clocks() -> None:
    assert {Constant, Cosine, DecayAt, InverseSqrt, OneCycle, Simple, Step, WarmupStableDecay} <= {
        type(schedule) for schedule in CLOCKS
    }


def rates_of_plans(schedule: DecayAt, steps: int, epochs: int) -> np.ndarray:
    state, rates = schedule.init(), []
    for epoch in range(1, epochs + 1):
        rates.append(schedule.plan(state, epoch, examples=steps, batch_size=1).learning_rates)
        state = schedule.update(state, Observation(math.nan, math.nan))
    return np.concatenate(rates)


@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize("schedule", CLOCKS, ids=lambda schedule: f"{schedule.kind}-{schedule.warmup_epochs}")
def test_a_clock_for_optax_has_the_rates_of_the_plans(schedule: DecayAt, steps: int) -> None:
    rates = jax.jit(jax.vmap(as_optax(schedule, steps)))(jnp.arange(12 * steps))
    assert rates.dtype == jnp.float32
    np.testing.assert_array_equal(rates, rates_of_plans(schedule, steps, epochs=12))


def test_a_clock_runs_inside_optax() -> None:
    schedule = Step(learning_rate=0.5, decay_factor=0.5, decay_epochs=(1, 2))
    optimizer = optax.sgd(as_optax(schedule, steps_per_epoch=2))
    step = lambda state, update: optimizer.update(update, state)[::-1]  # noqa: E731
    _, updates = jax.lax.scan(step, optimizer.init(jnp.float32(0)), jnp.ones(8))
    assert updates.tolist() == [-0.5, -0.5, -0.25, -0.25, -0.125, -0.125, -0.125, -0.125]


def test_a_schedule_that_looks_at_the_norm_is_no_clock() -> None:
    message = f"schedule must depend only on the epoch, got {Abel(**PAPER)!r}; for ABEL, use scale_by_"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        as_optax(Abel(**PAPER), steps_per_epoch=3)


@pytest.mark.parametrize("steps", [1, 4])
def test_a_batch_that_grows_is_no_rate(steps: int) -> None:
    growing = GrowBatch(learning_rate=0.1, decay_factor=0.7, decay_epochs=(1,))
    with pytest.raises(ValueError, match="schedule must not change the batch size, got GrowBatch"):
        as_optax(growing, steps)


def test_a_schedule_that_changes_the_batch_size_is_no_rate() -> None:
    class Growing(Constant):
        def plan(self, state: Any, epoch: int, examples: int, batch_size: int) -> EpochPlan:
            return EpochPlan(super().plan(state, epoch, examples, batch_size).learning_rates, 2 * batch_size)

    assert issubclass(Growing, Timed)
    with pytest.raises(ValueError, match="schedule must not change the batch size, got .*Growing"):
        as_optax(Growing(learning_rate=0.1), steps_per_epoch=4)


@pytest.mark.parametrize("steps", [0, 2.5, True])
def test_an_epoch_of_a_clock_has_a_step(steps: int | float | bool) -> None:
    with pytest.raises(ValueError, match=f"^steps_per_epoch must be an integer >= 1, got {steps}$"):
        as_optax(CLOCKS[0], steps)
