"""Small data sets in the on-disk format of TensorFlow Datasets, written without TensorFlow."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from array_record.python import array_record_module

Example = Mapping[str, "np.ndarray | bytes | int"]  # an image, or one that is already compressed
FEATURES = "tensorflow_datasets.core.features."


@dataclass(frozen=True)
class TfdsWriter:
    """Leaves sets in `directory` as `download_and_prepare` would."""

    directory: Path

    @staticmethod
    def image(*shape: int | None, encoding: str = "png") -> dict[str, object]:
        dimensions = ["-1" if side is None else str(side) for side in shape]
        image = {"dtype": "uint8", "encodingFormat": encoding, "shape": {"dimensions": dimensions}}
        return {"pythonClassName": f"{FEATURES}image_feature.Image", "image": image}

    @staticmethod
    def label(classes: int) -> dict[str, object]:
        name = f"{FEATURES}class_label_feature.ClassLabel"
        return {"pythonClassName": name, "classLabel": {"numClasses": str(classes)}}

    def write(
        self,
        name: str,
        splits: Mapping[str, Sequence[Example]],
        features: Mapping[str, object],
        file_format: str = "array_record",
        shards: int = 1,
        languages: Sequence[str] = (),
    ) -> None:
        folder = self.directory / name / "1.0.0"
        folder.mkdir(parents=True)
        name, _, config = name.partition("/")
        described = []
        for split, examples in splits.items():
            parts = [examples[len(examples) * n // shards : len(examples) * (n + 1) // shards] for n in range(shards)]
            for number, part in enumerate(parts):
                file = folder / f"{name}-{split}.{file_format}-{number:05}-of-{shards:05}"
                writer = array_record_module.ArrayRecordWriter(str(file), "group_size:1")
                for example in part:
                    writer.write(_record(example))
                writer.close()
            template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
            sizes = {"numBytes": "1", "shardLengths": [str(len(part)) for part in parts]}
            described.append({"filepathTemplate": template, "name": split} | sizes)
        info = {"fileFormat": file_format, "name": name, "splits": described, "version": "1.0.0"}
        info |= {"configName": config} if config else {}
        (folder / "dataset_info.json").write_text(json.dumps(info))
        tree = {
            "pythonClassName": f"{FEATURES}features_dict.FeaturesDict",
            "featuresDict": {"features": features},
        }
        if languages:  # of a set of translations
            name = f"{FEATURES}translation_feature.Translation"
            tree = {"pythonClassName": name, "translation": {"languages": list(languages)}}
        (folder / "features.json").write_text(json.dumps(tree))


def _record(example: Example) -> bytes:
    """A serialised tf.train.Example: a map of named lists of bytes (field 1) or integers (field 3)."""
    entries = b""
    for name, value in example.items():
        if isinstance(value, np.ndarray):
            ok, png = cv2.imencode(".png", value[..., ::-1])  # OpenCV's channels are blue, green, red
            assert ok
            feature = _field(1, _field(1, png.tobytes()))
        elif isinstance(value, bytes):
            feature = _field(1, _field(1, value))
        else:
            feature = _field(3, _field(1, _varint(value)))
        entries += _field(1, _field(1, name.encode()) + _field(2, feature))
    return _field(1, entries)


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited protocol buffer field."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    value &= 2**64 - 1  # negative integers are stored as two's complement
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def jpegs(count: int, classes: int = 10, sides: tuple[int, int] = (40, 90)) -> list[Example]:
    """Labelled JPEGs of random sizes: a bright bar per class on noise, so that a network can learn them."""
    random, examples = np.random.default_rng(count), []
    for index in range(count):
        height, width = random.integers(*sides, size=2)
        pixels = random.integers(120, size=(height, width, 3), dtype=np.uint8)
        label = index % classes
        pixels[:, label * width // classes : (label + 1) * width // classes, label % 3] = 255
        ok, jpeg = cv2.imencode(".jpg", pixels)
        assert ok
        examples.append({"image": jpeg.tobytes(), "label": label})
    return examples
