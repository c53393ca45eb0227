"""Small data sets in the on-disk format of TensorFlow Datasets, and programs that compile quickly."""

from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from tfds_files import TfdsWriter, jpegs


@pytest.fixture
def jpeg_set(tfds_writer: TfdsWriter) -> Path:
    """The directory of the set "photos": 70 training and 23 test JPEGs of varying size, in two shards each."""
    features = {"image": tfds_writer.image(None, None, 3, encoding="jpeg"), "label": tfds_writer.label(10)}
    tfds_writer.write("photos", {"train": jpegs(70), "test": jpegs(23)}, features, shards=2)
    return tfds_writer.directory


@pytest.fixture
def tfds_writer(tmp_path: Path) -> TfdsWriter:
    return TfdsWriter(tmp_path)


@pytest.fixture(scope="module")
def lightly_optimised() -> Iterator[None]:
    """For large networks that train few steps, from the first test that asks for it to the end of its module.

    Most of their time goes to XLA, which then needs half of it. That a state is the same whoever trains it is tested as users
    compile it.
    """
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()  # other tests run what is compiled as usual
