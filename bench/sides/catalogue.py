"""What training steps are timed of: the programs of catalogue entries, and small networks of the kinds that no mini has.

    WORKLOADS["table-1-mini"]().program

No data set is read, as only the shape of its images counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from sides.workloads import Workload

from sweeps.spec.sweep import load_spec
from workers.data.digits import DigitPairs
from workers.data.tfds import Tfds
from workers.models.pyramid_net import PyramidNet
from workers.models.resnet50 import Resnet50
from workers.models.vgg16 import Vgg16

_CLASSES = {"cifar10": 10, "cifar100": 100}
_SIDE = 32  # pixels of an image of these sets


def entry(name: str, *, arm: str | None = None, steps: int = 24, side: int | None = None, **fields: Any) -> Workload:
    """Return the workload of a catalogue entry, or of one of its arms, with other values of some fields of the program."""
    program: Any = next(trial.program for trial in load_spec(name).expand() if arm in (None, trial.arm))
    program = replace(program, **fields)
    shape, classes, examples = _images(program.data)
    shape = shape if side is None else (side, side, shape[2])
    return Workload(program=program, shape=shape, classes=classes, steps=min(steps, examples // program.batch_size))


def _images(data: Any) -> tuple[tuple[int, int, int], int, int]:
    """Return shape, classes and number of training images, without reading them where they are not in a package."""
    if isinstance(data, Tfds):
        side = _SIDE // data.shrink
        return (side, side, 3), _CLASSES[data.name], data.subset or 50_000
    assert isinstance(data, DigitPairs)
    pairs = data.load(None)
    return pairs.shape, pairs.classes, pairs.examples


# Each of the minis has one of the first four programs, up to numbers that are arguments of the compiled step.
WORKLOADS: dict[str, Callable[[], Workload]] = {
    "table-1-mini": partial(entry, "table-1-mini", arm="wrn-abel"),
    "table-1-mini VGG-5": partial(entry, "table-1-mini", arm="vgg-abel"),
    "fig-s2-mini": partial(entry, "fig-s2-mini"),
    "table-s2-mini": partial(entry, "table-s2-mini"),
    "fig-s6a-digits": partial(entry, "fig-s6a-digits"),
    "fig-s6a": partial(entry, "fig-s6a", steps=3),
    "VGG-16": partial(entry, "table-s2", model=Vgg16(width=8), batch_size=32, steps=20),
    "PyramidNet": partial(entry, "table-s2", model=PyramidNet(depth=20, alpha=24), batch_size=32, steps=8),
    "ResNet-14": partial(
        entry, "table-s2", model=Resnet50(width=16, blocks=(1, 1, 1, 1)), side=64, batch_size=32, steps=8
    ),
}
