"""Small data sets in the on-disk format of TensorFlow Datasets."""

from pathlib import Path

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
