"""Eight simulated devices of one worker against one: the same training, and what each device computes by itself."""

import os
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from workers import mesh
from workers.data.digits import DigitPairs
from workers.models.wide_resnet import WideResnet
from workers.networks import layers
from workers.optimizers.sgd import Sgd
from workers.tasks.classify import Classify, ClassifyProgram

DEVICES = 8
BATCH = 32
DATA = DigitPairs(train=64, test=20)
RATES = np.full(2, 0.05, np.float32)


def program(norm_examples: int | None = None, batch_size: int = BATCH) -> ClassifyProgram:
    model = WideResnet(depth=10, width=1, norm_examples=norm_examples)
    return ClassifyProgram(
        task=Classify(), model=model, data=DATA, optimizer=Sgd(momentum=0.9), l2=5e-4, clip=5.0, batch_size=batch_size
    )


def trained(norm_examples: int | None) -> dict[str, Any]:
    """States after one step and after two epochs, and metrics; each step starts from host memory, as after a restore."""
    training = program(norm_examples).task.build(program(norm_examples), lambda data: data.load(None))
    state, states = training.init(jax.random.key(0)), []
    for epoch in (1, 2):
        key, sums = jax.random.key(epoch), []
        for step in range(len(RATES)):
            state, part = training.advance(state, training.hyper, RATES, key, BATCH, (step, step + 1))
            assert all(
                leaf.is_fully_addressable and leaf.is_fully_replicated for leaf in jax.tree.leaves((state, part))
            )
            sums.append(part)
            states.append(jax.device_get(state))
            state = jax.tree.map(jnp.asarray, states[-1])
    return {
        "first": states[0],
        "last": states[-1],
        "sums": jax.device_get(sums),
        "metrics": training.metrics(sums, training.evaluate(state)),
    }


def reductions(examples: int | None) -> int:
    """Number of exchanges between devices when a split batch is normalised."""
    norm = layers.batch_norm(3, nnx.Rngs(0))
    norm.examples = examples
    graph, state = nnx.split(norm)
    images = jnp.ones((BATCH, 4, 4, 3))
    normalised = jax.jit(lambda state, images: mesh.split(nnx.merge(graph, state)(mesh.split(images))))
    return normalised.lower(mesh.placed(state), mesh.placed(images)).compile().as_text().count("all-reduce(")


def refusal(batch_size: int) -> str:
    try:
        program(batch_size=batch_size).task.build(program(batch_size=batch_size), lambda data: data.load(None))
    except ValueError as error:
        return str(error)
    return ""


def told() -> dict[str, Any]:
    """What a process with several devices finds."""
    return {
        "devices": jax.device_count(),
        "whole": [trained(None), trained(None)],
        "groups": trained(BATCH // DEVICES),
        "reductions": {examples: reductions(examples) for examples in (None, BATCH // DEVICES)},
        "refusals": [refusal(size) for size in (BATCH, BATCH - 4)],
    }


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `told` returns in a process with eight devices."""
    answer = tmp_path_factory.mktemp("eight") / "answer"
    flags = f"--xla_force_host_platform_device_count={DEVICES}"
    environment = os.environ | {"XLA_FLAGS": flags}
    subprocess.run([sys.executable, __file__, str(answer)], env=environment, check=True)
    found: dict[str, Any] = pickle.loads(answer.read_bytes())
    assert found["devices"] == DEVICES
    return found


def assert_close(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Equal to rounding after a step, which later steps make larger."""

    def close(name: str, rtol: float, atol: float) -> None:
        jax.tree.map(partial(np.testing.assert_allclose, rtol=rtol, atol=atol), found[name], expected[name])

    close("first", 1e-5, 1e-6)
    close("last", 1e-2, 1e-3)
    close("sums", 1e-3, 0)
    assert found["metrics"].keys() == expected["metrics"].keys()
    np.testing.assert_allclose(found["metrics"]["test_loss"], expected["metrics"]["test_loss"], rtol=1e-2)


def test_eight_devices_train_what_one_trains_with_the_same_bits_each_time(eight: dict[str, Any]) -> None:
    first, again = eight["whole"]
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert_close(first, trained(None))


def test_groups_of_a_device_s_examples_need_no_exchange(eight: dict[str, Any]) -> None:
    assert_close(eight["groups"], trained(BATCH // DEVICES))
    whole, groups = eight["whole"][0]["last"], eight["groups"]["last"]
    assert not np.allclose(whole.collections["norm"]["var"], groups.collections["norm"]["var"], rtol=1e-3)
    assert eight["reductions"][None] > 0
    assert eight["reductions"][BATCH // DEVICES] == 0


def test_a_batch_that_devices_do_not_divide_is_refused_before_training(eight: dict[str, Any]) -> None:
    rule = "batch_size = 28 must be divisible by the number of devices of a worker, got 8 devices"
    assert eight["refusals"] == ["", rule]


def test_one_device_has_no_mesh() -> None:
    array = jnp.ones(3)
    assert mesh.mesh() is None
    assert mesh.split(array) is mesh.everywhere(array) is mesh.placed(array) is array
    assert mesh.divisible(7) == 7


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(pickle.dumps(told()))
