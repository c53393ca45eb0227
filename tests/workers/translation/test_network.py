"""The encoder-decoder, its loss and its step are those of an independent build in PyTorch, whose results are in `golden/`.

`bench/golden_translation.py` draws the inputs, computes both sides, and writes the file; here only ours is computed.
"""

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import jax.numpy as jnp
import numpy as np
import pytest

from workers.translation.compiled import token_sums
from workers.translation.encoder_decoder import EncoderDecoder

STORED = Path(__file__).with_name("golden") / "encoder_decoder.npz"


def load() -> ModuleType:
    path = Path(__file__).resolve().parents[3] / "bench" / "golden_translation.py"
    spec = importlib.util.spec_from_file_location("golden_translation", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["golden_translation"] = module
    spec.loader.exec_module(module)
    return module


def test_the_network_and_its_step_equal_pytorch() -> None:
    golden = load()
    given = golden.inputs()
    with np.load(STORED) as arrays:
        stored = dict(arrays)
    assert stored.pop("checksum") == given.checksum, f"the inputs are others: see {Path(golden.__file__).name} --write"
    found = golden.ours(given)
    assert found.keys() == stored.keys()
    assert {name: error for name, error in golden.errors(found, stored).items() if not error <= golden.TOLERANCE} == {}


def test_tokens_that_fill_up_do_not_count() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 3, 5))
    targets = jnp.array([[1, 2, 0], [4, 0, 0]])
    whole = token_sums(jnp.asarray(logits), targets, 0.1)
    logits[targets == 0] = 7.0
    again = token_sums(jnp.asarray(logits), targets, 0.1)
    assert (float(whole.loss), int(whole.wrong), int(whole.tokens)) == (float(again.loss), int(again.wrong), 3)


def test_a_token_is_wrong_unless_it_alone_is_the_most_probable() -> None:
    logits = np.array([[[0, 1, 2, 3], [0, 1, 3, 2], [0, 1, 2, np.nan], [0, 1, np.nan, 2], [0, 3, 2, 1]]])
    found = token_sums(jnp.asarray(logits), jnp.array([[3, 3, 3, 3, 0]]), 0.1)
    assert (int(found.wrong), int(found.tokens)) == (3, 4)
    tied = token_sums(jnp.array([[[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]]]), jnp.array([[2, 2]]))
    assert int(tied.wrong) == 2


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_the_best_answer_is_zero(smoothing: float) -> None:
    best = jnp.log(jnp.full(5, smoothing / 4).at[2].set(1 - smoothing) + 1e-20)
    found = token_sums(best[None, None], jnp.array([[2]]), smoothing)
    assert float(found.loss) == pytest.approx(0, abs=1e-6)
    worse = token_sums(jnp.zeros((1, 1, 5)), jnp.array([[2]]), smoothing)
    assert 0 < float(worse.loss) < math.log(5) + 1e-6


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("layers", 0, "layers must be at least 1, got 0"),
        ("width", 15, "width must be an even number, at least 4, got 15"),
        ("heads", 3, "heads must be at least 1 and divide width, 512, got 3"),
        ("mlp", 0, "mlp must be at least 1, got 0"),
    ],
)
def test_fields_that_break_a_rule(field: str, value: int, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        EncoderDecoder(**{field: value})
