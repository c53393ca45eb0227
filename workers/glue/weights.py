"""Pre-trained weights of ALBERT by the names of our parameters, from Hugging Face's safetensors or TensorFlow's checkpoints.

found = PretrainedWeights(path="albert_base_v2/model.safetensors").load(data_dir)
found.arrays["layer/query/kernel"]
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workers.data import DataError, DataMissing
from workers.data.libraries import import_failure
from workers.glue.pieces import Vocabulary
from workers.glue.tf_checkpoint import tf_variables

HEAD = "head/"  # the parameters of the task, which no checkpoint has
_POOLER = "pooler/"  # which masked language models lack
# What our files say of themselves beyond Hugging Face's "format"; files of others lack it.
_WITHOUT, _VOCABULARY, _LOWER_CASE = "without", "vocabulary_sha256", "lower_case"
_TRUTHS = {"true": True, "false": False}
_GROUP = "encoder.albert_layer_groups.0.albert_layers.0."
_TF_GROUP = "encoder/transformer/group_0/inner_group_0/"
# Our part of the network, its name in a safetensors file after "albert.", and in a checkpoint of TensorFlow after "bert/".
_EMBEDDINGS = {
    "word": ("embeddings.word_embeddings", "embeddings/word_embeddings"),
    "position": ("embeddings.position_embeddings", "embeddings/position_embeddings"),
    "sentence": ("embeddings.token_type_embeddings", "embeddings/token_type_embeddings"),
}
_NORMS = {
    "embeddings/norm": ("embeddings.LayerNorm", "embeddings/LayerNorm"),
    "layer/attention_norm": (f"{_GROUP}attention.LayerNorm", f"{_TF_GROUP}LayerNorm"),
    "layer/norm": (f"{_GROUP}full_layer_layer_norm", f"{_TF_GROUP}LayerNorm_1"),
}
_DENSE = {
    "widen": ("encoder.embedding_hidden_mapping_in", "encoder/embedding_hidden_mapping_in"),
    "layer/query": (f"{_GROUP}attention.query", f"{_TF_GROUP}attention_1/self/query"),
    "layer/key": (f"{_GROUP}attention.key", f"{_TF_GROUP}attention_1/self/key"),
    "layer/value": (f"{_GROUP}attention.value", f"{_TF_GROUP}attention_1/self/value"),
    "layer/output": (f"{_GROUP}attention.dense", f"{_TF_GROUP}attention_1/output/dense"),
    "layer/up": (f"{_GROUP}ffn", f"{_TF_GROUP}ffn_1/intermediate/dense"),
    "layer/down": (f"{_GROUP}ffn_output", f"{_TF_GROUP}ffn_1/intermediate/output/dense"),
    "pooler": ("pooler", "pooler/dense"),
}


@dataclass(frozen=True)
class _Name:
    """How a parameter is called in files, and whether a matrix is stored with its outputs first."""

    safetensors: str
    tensorflow: str
    transposed: bool = False


def _names() -> Mapping[str, _Name]:
    found = {
        f"embeddings/{ours}/embedding": _Name(f"{theirs}.weight", tf) for ours, (theirs, tf) in _EMBEDDINGS.items()
    }
    for ours, (theirs, tf) in _NORMS.items():
        found[f"{ours}/scale"] = _Name(f"{theirs}.weight", f"{tf}/gamma")
        found[f"{ours}/bias"] = _Name(f"{theirs}.bias", f"{tf}/beta")
    for ours, (theirs, tf) in _DENSE.items():
        found[f"{ours}/kernel"] = _Name(f"{theirs}.weight", f"{tf}/kernel", transposed=True)
        found[f"{ours}/bias"] = _Name(f"{theirs}.bias", f"{tf}/bias")
    return found


_NAMES = _names()


@dataclass(frozen=True, kw_only=True)
class PretrainedWeights:
    """A file below the data directory: "NAME.safetensors", or a checkpoint's prefix such as "albert_base/model.ckpt-best"."""

    path: str

    def load(self, data_dir: Path | None) -> LoadedWeights:
        """Read the file.

        Raises:
            DataMissing: it is not there.
            DataError: it is damaged, or lacks a parameter of ALBERT.
        """
        if data_dir is None:
            raise DataMissing(f"weights {self.path}: a data directory must be given (--data-dir)")
        file = Path(data_dir) / self.path
        is_safetensors = file.suffix == ".safetensors"
        if not (file if is_safetensors else file.with_name(f"{file.name}.index")).is_file():
            rule = "must be a .safetensors file or the prefix of a TensorFlow checkpoint, below the data directory"
            raise DataMissing(f"weights {rule}, got {self.path!r}, and {file} does not exist")
        stored, said = _safetensors(file) if is_safetensors else (_tensorflow(file), {})
        arrays, names = {}, {}
        for ours, name in _NAMES.items():
            theirs = name.safetensors if is_safetensors else name.tensorflow
            if theirs not in stored:
                if ours.startswith(_POOLER) and said.get(_WITHOUT) == "pooler":
                    continue
                raise DataError(f"weights {self.path}: must have ALBERT's parameter {theirs}, which the file lacks")
            array = stored[theirs].astype(np.float32)
            arrays[ours] = array.T if name.transposed and is_safetensors and array.ndim == 2 else array
            names[ours] = theirs
        vocabulary, lower_case = said.get(_VOCABULARY), _TRUTHS.get(said.get(_LOWER_CASE, ""))
        return LoadedWeights(
            path=self.path, arrays=arrays, names=names, vocabulary_digest=vocabulary, lower_case=lower_case
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedWeights:
    """Arrays by the path of our parameter, and the names that they have in their file; without a pooler if the file says so."""

    path: str
    arrays: Mapping[str, np.ndarray]  # f32
    names: Mapping[str, str]
    vocabulary_digest: str | None = None  # sha256 (hex) of the SentencePiece model; None if the file does not say
    lower_case: bool | None = None  # whether texts were written in lower case first; None if the file does not say

    @property
    def digest(self) -> str:
        """sha256 (hex) over paths, shapes and bytes."""
        hashed = hashlib.sha256()
        for path, array in sorted(self.arrays.items()):
            hashed.update(f"{path}{array.shape}".encode())
            hashed.update(np.ascontiguousarray(array).tobytes())
        return hashed.hexdigest()

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Raise ValueError unless the network's parameters, but for its head and a lacking pooler, have these shapes."""
        for path, shape in shapes.items():
            if path.startswith(HEAD) or (path.startswith(_POOLER) and path not in self.arrays):
                continue
            found = self.arrays[path].shape
            if found != shape:
                stored, wanted = (tuple(reversed(one)) if self._is_turned(path) else one for one in (found, shape))
                rule = (
                    f"weights {self.path}: {self.names[path]} must have the shape {wanted} that program.model asks for"
                )
                raise ValueError(f"{rule}, got {stored}")

    def check_vocabulary(self, digest: str, lower_case: bool) -> None:
        """Raise ValueError unless texts are encoded as in pre-training, as far as the file says how.

        Args:
            digest: sha256 (hex) of the SentencePiece model.
            lower_case: whether texts are written in lower case first.
        """
        if self.vocabulary_digest not in (None, digest):
            rule = f"data.vocabulary must be the one of weights {self.path}, sha256 {str(self.vocabulary_digest)[:12]}"
            raise ValueError(f"{rule}, got {digest[:12]}")
        if self.lower_case not in (None, lower_case):
            rule = f"data.lower_case must be {self.lower_case} as for weights {self.path}"
            raise ValueError(f"{rule}, got {lower_case}")

    def _is_turned(self, path: str) -> bool:
        return _NAMES[path].transposed and self.names[path] == _NAMES[path].safetensors


def write_safetensors(file: Path, params: Mapping[str, np.ndarray], vocabulary: Vocabulary) -> None:
    """Write the parameters of a network, but for its head, under Hugging Face's names for `AlbertModel`.

    Args:
        params: by our path, such as "layer/query/kernel"; the pooler may be missing, which the file then says.
        vocabulary: of the texts that the network was trained on; the file has its digest.

    Raises:
        OSError: the file cannot be written.
    """
    arrays = {}
    said = {"format": "pt", _VOCABULARY: vocabulary.digest, _LOWER_CASE: str(vocabulary.lower_case).lower()}
    for path, name in _NAMES.items():
        if path.startswith(_POOLER) and path not in params:
            said[_WITHOUT] = "pooler"
            continue
        array = np.asarray(params[path], np.float32)
        arrays[name.safetensors] = np.ascontiguousarray(array.T if name.transposed else array)
    file.write_bytes(_library().numpy.save(arrays, metadata=said))


def _safetensors(file: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return arrays by name, and what the file says of itself."""
    library = _library()
    try:
        with library.safe_open(file, framework="np") as opened:
            stored = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118, not a mapping
            said = dict(opened.metadata() or {})
    except (library.SafetensorError, ValueError) as error:
        raise DataError(f"{file}: must be a safetensors file, and is damaged or of another kind: {error}") from None
    return {name.removeprefix("albert."): array for name, array in stored.items()}, said


def _library() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise import_failure("weights in .safetensors", "safetensors", error, "safetensors") from error
    return safetensors


def _tensorflow(prefix: Path) -> dict[str, np.ndarray]:
    return {name.removeprefix("module/").removeprefix("bert/"): array for name, array in tf_variables(prefix).items()}
