"""Real data beside the project or at `ABEL_SHARED_DATA`; where there are none, tests that need them are skipped."""

import os
from pathlib import Path

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data" / "tfds"
TFDS = Path(os.environ.get("ABEL_SHARED_DATA") or BESIDE)  # data sets as TensorFlow Datasets prepares them
PHOTOS = TFDS.parent / "images" / "imagenet-sample"  # JPEGs of many sizes
