"""Whether a program can be trained here, before anything is computed: its images and labels, and the memory of its state."""

from typing import Any

from sweeps.processes.memory import GIB, memory
from workers.contracts import Training
from workers.data import DataError, Dataset
from workers.mesh import device_memory, state_bytes


def check_state(training: Training) -> None:
    """Raise ValueError if a training's state takes more memory than a device has, or the machine for processors."""
    needed, most = state_bytes(training.init), device_memory() or memory()[1]
    if needed > most:
        rule = f"must have a training state that fits into the {most / GIB:.1f} GiB of memory here"
        raise ValueError(f"program: {rule}, got {needed / GIB:,.1f} GiB of weights and optimiser state")


def check_dataset(data: Any) -> None:
    """Raise `DataError` if decoded images cannot be trained on: our sources refuse such sets, but a plug-in's may not."""
    if not isinstance(data, Dataset):
        return  # streamed, or of another kind of training
    shape = data.train_images.shape[1:]
    splits = {"training": (data.train_images, data.train_labels), "test": (data.test_images, data.test_labels)}
    for split, (images, labels) in splits.items():
        if not len(images) == len(labels) > 0:
            rule = f"must have one label for each of at least one image, got {len(labels)} for {len(images)}"
        elif images.shape[1:] != shape:
            rule = f"must have the shape of training images, {shape}, got {images.shape[1:]}"
        elif labels.min() < 0 or labels.max() >= data.classes:
            rule = f"must have labels in 0..{data.classes - 1}, got {labels.min()}..{labels.max()}"
        elif split == "training" and labels.min() == labels.max():
            rule = f"must be of several classes, all {len(labels)} are of one"
        else:
            continue
        raise DataError(f"{data.name}: {split} images {rule}")
