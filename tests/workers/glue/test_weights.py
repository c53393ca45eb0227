"""Our ALBERT computes what Hugging Face's does, from the file that it wrote and from a checkpoint that TensorFlow wrote.

`bench/glue_golden.py` writes the files in `golden/`.
"""

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

from workers.data import DataError, DataMissing
from workers.glue.albert import Albert
from workers.glue.network import AlbertNet
from workers.glue.pieces import trained_vocabulary
from workers.glue.weights import LoadedWeights, PretrainedWeights, write_safetensors

GOLDEN = Path(__file__).with_name("golden")
TINY = Albert(vocabulary=50, embedding=12, hidden=16, layers=3, heads=4, intermediate=24, positions=20)
FILES = ("albert.safetensors", "model.ckpt-best")
VOCABULARY = trained_vocabulary(["a film with some story"] * 5, 20, lower_case=False)


@cache
def network(config: Albert = TINY) -> Any:
    """The static part of a network, and the shapes of its parameters."""
    return nnx.split(nnx.eval_shape(lambda: AlbertNet(config, 2, nnx.Rngs(0))))


def shapes(config: Albert = TINY) -> dict[str, tuple[int, ...]]:
    leaves = flatten_dict(nnx.to_pure_dict(network(config)[1]), sep="/")
    return {path: leaf.shape for path, leaf in leaves.items()}


def loaded(file: str) -> LoadedWeights:
    return PretrainedWeights(path=file).load(GOLDEN)


@pytest.mark.parametrize(("activation", "theirs"), [("gelu_tanh", "gelu_new"), ("gelu", "gelu")])
def test_hidden_states_equal_hugging_face_s(activation: Any, theirs: str) -> None:
    config = Albert(**{**vars(TINY), "activation": activation})
    head = {path: np.zeros(shape, np.float32) for path, shape in shapes().items() if path.startswith("head/")}
    model = nnx.merge(network(config)[0], unflatten_dict({**head, **loaded(FILES[0]).arrays}, sep="/"))
    with np.load(GOLDEN / "albert.npz") as stored:
        given = [stored[name] for name in ("pieces", "lengths", "seconds")]
        hidden = jax.jit(lambda *arrays: model.hidden(*arrays))(*given)
        pooled = model.pooled(hidden)
        counts = np.arange(given[0].shape[1]) < given[1][:, None]
        np.testing.assert_allclose(hidden[counts], stored[f"hidden_{theirs}"][counts], rtol=1e-4, atol=2e-5)
        np.testing.assert_allclose(pooled, stored[f"pooled_{theirs}"], rtol=1e-4, atol=2e-5)


def test_both_files_have_every_parameter_but_the_head() -> None:
    safetensors, tensorflow = map(loaded, FILES)
    assert safetensors.arrays.keys() == {path for path in shapes() if not path.startswith("head/")}
    assert safetensors.digest == tensorflow.digest
    for found in (safetensors, tensorflow):
        found.check(shapes())


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            FILES[0],
            r"weights albert.safetensors: \S*attention.query.weight must have the shape \(32, 32\) .* got \(16, 16\)",
        ),
        (FILES[1], r"weights model.ckpt-best: \S*self/query/kernel must have the shape \(32, 32\) .* got \(16, 16\)"),
    ],
)
def test_weights_of_another_shape_are_refused_by_name(file: str, message: str) -> None:
    other = Albert(**{**vars(TINY), "hidden": 32})
    found = {path: shape for path, shape in shapes(other).items() if "query/kernel" in path}
    with pytest.raises(ValueError, match=message):
        loaded(file).check(found)
    wide = shapes(Albert(**{**vars(TINY), "intermediate": 40}))
    with pytest.raises(ValueError, match=r"\(40, 16\).* got \(24, 16\)" if file == FILES[0] else r"\(16, 40\).* got"):
        loaded(file).check({path: wide[path] for path in ("layer/up/kernel",)})


def test_written_weights_are_read_back(tmp_path: Path) -> None:
    found = loaded(FILES[0])
    write_safetensors(tmp_path / "own.safetensors", found.arrays, VOCABULARY)
    assert PretrainedWeights(path="own.safetensors").load(tmp_path).digest == found.digest


def test_weights_say_which_vocabulary_they_are_of(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "own.safetensors", loaded(FILES[0]).arrays, VOCABULARY)
    found = PretrainedWeights(path="own.safetensors").load(tmp_path)
    found.check_vocabulary(VOCABULARY.digest, False)
    with pytest.raises(ValueError, match=f"must be the one of weights own.safetensors, sha256 .*got {'0' * 12}"):
        found.check_vocabulary("0" * 64, False)
    with pytest.raises(ValueError, match=r"data.lower_case must be False as for weights own.safetensors, got True"):
        found.check_vocabulary(VOCABULARY.digest, True)
    for file in FILES:  # Hugging Face's and TensorFlow's files do not say
        loaded(file).check_vocabulary("0" * 64, True)


def test_a_file_may_lack_the_pooler_only_if_it_says_so(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    arrays = {path: array for path, array in loaded(FILES[0]).arrays.items() if not path.startswith("pooler/")}
    write_safetensors(tmp_path / "own.safetensors", arrays, VOCABULARY)
    found = PretrainedWeights(path="own.safetensors").load(tmp_path)
    assert found.arrays.keys() == arrays.keys()
    found.check(shapes())
    save_file(load_file(tmp_path / "own.safetensors"), tmp_path / "silent.safetensors")
    with pytest.raises(DataError, match=r"must have ALBERT's parameter pooler.weight, which the file lacks"):
        PretrainedWeights(path="silent.safetensors").load(tmp_path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match="must be given"):
        PretrainedWeights(path="a.safetensors").load(None)
    for path in ("a.safetensors", "albert/model.ckpt-best"):
        with pytest.raises(DataMissing, match=f"got '{path}', and .* does not exist"):
            PretrainedWeights(path=path).load(tmp_path)
    shutil.copy(GOLDEN / "model.ckpt-best.index", tmp_path)
    with pytest.raises(DataError, match=r"data-00000-of-00001"):
        PretrainedWeights(path="model.ckpt-best").load(tmp_path)


@pytest.mark.parametrize("cut", [0, 10, -1, -60])
def test_damaged_files_are_refused(tmp_path: Path, cut: int) -> None:
    for name in (*FILES[:1], f"{FILES[1]}.index"):
        (tmp_path / name).write_bytes((GOLDEN / name).read_bytes()[:cut])
    shutil.copy(GOLDEN / "model.ckpt-best.data-00000-of-00001", tmp_path)
    for name in FILES:
        with pytest.raises(DataError, match="damaged"):
            PretrainedWeights(path=name).load(tmp_path)


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"bert.pooler.dense.weight": np.zeros((2, 2), np.float32)}, tmp_path / "bert.safetensors")
    with pytest.raises(DataError, match=r"must have ALBERT's parameter embeddings.word_embeddings.weight"):
        PretrainedWeights(path="bert.safetensors").load(tmp_path)
