"""The weight-norm equation as a compiled epoch records it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

from workers.data.digits import DigitPairs
from workers.models.small_cnn import SmallCnn
from workers.models.vgg import Vgg5
from workers.optimizers.sgd import Sgd
from workers.tasks.classify import Classify, ClassifyProgram

DATA = DigitPairs(train=320, test=30)
DATASET = DATA.load(None)
PLAIN = ClassifyProgram(
    task=Classify(dynamics=True),
    model=Vgg5(width=4, pools=(False, True, True, True)),
    data=DATA,
    optimizer=Sgd(),
    l2=0.05,
    batch_size=16,
)
RATES = np.linspace(0.05, 0.2, 20, dtype=np.float32)
TERMS = ("growth", "decay", "alignment")


def metrics(program: ClassifyProgram, rates: np.ndarray = RATES) -> Mapping[str, float]:
    training = program.task.build(program, lambda data: DATASET)
    state = training.init(jax.random.key(0))
    state, sums = training.advance(state, training.hyper, rates, jax.random.key(1), program.batch_size, (0, len(rates)))
    return training.metrics([sums], training.evaluate(state))


def part(found: Any, name: str) -> float:
    return found[f"dynamics/{name}"]


def size(found: Any) -> float:
    return sum(abs(part(found, name)) for name in TERMS)


@pytest.mark.parametrize("l2", [0.05, 0.0])
def test_the_identity_of_plain_sgd_holds_to_rounding_over_an_epoch(l2: float) -> None:
    found = metrics(replace(PLAIN, l2=l2))
    assert part(found, "change_sgd") == pytest.approx(part(found, "change_steps"), abs=1e-5 * size(found))
    assert part(found, "change") == pytest.approx(part(found, "change_steps"), abs=1e-6 * found["weight_norm_sq"])
    left = part(found, "change_steps") - sum(part(found, name) for name in TERMS)
    assert part(found, "residual") == pytest.approx(left, rel=1e-9)
    assert abs(left) < 0.02 * size(found)
    if l2:
        assert abs(left) > 1e-4 * size(found)
        assert part(found, "ratio") == pytest.approx(-part(found, "growth") / part(found, "decay"))
        risen = part(found, "growth") + part(found, "alignment")
        assert part(found, "balance") == pytest.approx(-risen / part(found, "decay"))
    else:
        assert part(found, "decay") == 0 and abs(left) < 1e-5 * size(found)
        assert not {"dynamics/ratio", "dynamics/balance"} & found.keys()


@pytest.mark.parametrize(
    "change", [{"optimizer": Sgd(momentum=0.9)}, {"clip": 0.5}, {"optimizer": Sgd(momentum=0.5, nesterov=True)}]
)
def test_with_momentum_or_a_clip_only_the_steps_themselves_tell(change: dict[str, Any]) -> None:
    found = metrics(replace(PLAIN, **change))
    assert part(found, "change") == pytest.approx(part(found, "change_steps"), abs=1e-5 * found["weight_norm_sq"])
    assert abs(part(found, "change_sgd") - part(found, "change_steps")) > 0.1 * abs(part(found, "change"))


def test_parameters_add_up_to_the_whole() -> None:
    found = metrics(PLAIN)
    for name in TERMS:
        own = [value for key, value in found.items() if key.startswith(f"dynamics/{name}/")]
        assert len(own) == 10
        assert sum(own) == pytest.approx(part(found, name), rel=1e-9)


def test_a_convolution_before_a_batch_norm_has_no_alignment() -> None:
    found = metrics(replace(PLAIN, model=SmallCnn(width=4, dropout=0.0)))
    for layer in ("conv1", "conv2"):
        aligned, grown = (part(found, f"{name}/{layer}/kernel") for name in ("alignment", "growth"))
        assert abs(aligned) < 0.02 * grown
    assert abs(part(found, "alignment/dense/kernel")) > 0.1 * part(found, "growth/dense/kernel")


def test_what_does_not_ask_for_it_keeps_its_metrics() -> None:
    plain, more = metrics(replace(PLAIN, task=Classify())), metrics(PLAIN)
    assert plain.keys() == {name for name in more if not name.startswith("dynamics/")}
    assert [more[name] for name in plain] == pytest.approx(list(plain.values()), rel=1e-3)
    assert all(type(value) is float for value in more.values())


def test_divergence_is_recorded_here_too() -> None:
    found = metrics(PLAIN, rates=np.full(20, 1e38, np.float32))
    assert not np.isfinite(part(found, "change_steps"))
