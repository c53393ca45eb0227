"""Download a TensorFlow Datasets set once, as array_record files that training reads without TensorFlow."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from workers.data import DataError
from workers.data.tfds import classification_features, open_prepared
from workers.data.translations import is_translation


def prepare(name: str, data_dir: Path) -> Path:
    """Download the set to `data_dir` unless it is already there, and return its folder."""
    data_dir.mkdir(parents=True, exist_ok=True)
    try:
        return Path(open_prepared(name, data_dir).data_path)
    except DataError:
        pass  # not there yet, or stored in another format
    if find_spec("tensorflow") is None:
        raise DataError(
            f"{name} is not in {data_dir}, and preparing it needs TensorFlow, which is not installed: "
            "pip install 'abel-sweeps[prepare]'"
        )
    return _download(name, data_dir)


def _download(name: str, data_dir: Path) -> Path:
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=str(data_dir), file_format="array_record", try_gcs=False)
    except tfds.core.DatasetNotFoundError:
        raise DataError(
            f"TensorFlow Datasets has no set named {name!r}; see https://www.tensorflow.org/datasets"
        ) from None
    if not is_translation(builder.info.features):
        classification_features(name, builder.info.features)
    try:
        builder.download_and_prepare()
    # TFDS, requests and TensorFlow each raise their own errors here; report them all as one.
    except Exception as error:
        raise DataError(
            f"{name} could not be downloaded and prepared in {data_dir} ({type(error).__name__}: {error}); "
            "this needs a network, once"
        ) from error
    return Path(builder.data_path)
