"""Images per second of one network in training, of one side: prints one line of JSON.

    python bench/gpu/steps.py --device gpu --network wrn-28-10 --framework jax --precision bfloat16

Ours is a compiled epoch, as it is used. PyTorch has channels-last, `torch.compile` and autocast, or TF32 in float32.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from sides.workloads import Workload

from workers.contracts import Model
from workers.data.augment import Augment
from workers.data.tfds import Tfds
from workers.models.resnet50 import Resnet50
from workers.models.vgg16 import Vgg16
from workers.models.wide_resnet import WideResnet
from workers.optimizers.sgd import Sgd
from workers.tasks.classify import Classify, ClassifyProgram

SECONDS = 5.0  # of timed rounds, at least three
NETWORKS = ("wrn-28-10", "vgg-16", "resnet-50", "wrn-28-10-groups")


def workload(network: str, device: str, precision: str) -> Workload:
    """Return a network of the paper with the numbers of its table 1, or on the CPU a small one of the same kind."""
    large = device == "gpu"
    models: dict[str, tuple[Model, int, int]] = {  # with the images' side, and the batch
        "wrn-28-10": (WideResnet() if large else WideResnet(depth=10, width=1), 32, 128),
        # Batch statistics of 16 images, as in the paper; the other rows have those of the batch, as PyTorch has.
        "wrn-28-10-groups": (
            WideResnet(norm_examples=16) if large else WideResnet(depth=10, width=1, norm_examples=4),
            32,
            128,
        ),
        "vgg-16": (Vgg16(width=64 if large else 4), 32, 128),
        "resnet-50": (Resnet50() if large else Resnet50(width=4, blocks=(1, 1, 1, 1)), 224 if large else 64, 256),
    }
    model, side, batch_size = models[network]
    of_imagenet = network == "resnet-50"
    program: Any = ClassifyProgram(
        task=Classify(),
        model=model,
        data=Tfds(),
        optimizer=Sgd(momentum=0.9, nesterov=True),
        augment=Augment() if of_imagenet else Augment(flip=True, crop=4),
        l2=1e-4 if of_imagenet else 5e-4,
        l2_on="kernels" if of_imagenet else "all",
        label_smoothing=0.1 if of_imagenet else 0.0,
        clip=None if of_imagenet else 5.0,
        batch_size=batch_size if large else 8,
        precision=precision,
    )
    steps = (8 if of_imagenet else 40) if large else 2
    return Workload(program=program, shape=(side, side, 3), classes=1000 if of_imagenet else 10, steps=steps)


def pytorch_round(work: Workload, device: str, precision: str) -> tuple[Callable[[], None], str]:
    """Return a round that has run, and how: compiled, or why not."""
    import torch
    from sides import pytorch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    options: Any = {
        "channels_last": True,
        "device": "cuda" if device == "gpu" else "cpu",
        "precision": getattr(torch, precision),
    }
    try:
        run = pytorch.training_round(work, compiled=True, **options)
        run()
        return run, "torch.compile, channels-last"
    except Exception as error:  # a missing compiler has no one class
        run = pytorch.training_round(work, **options)
        run()
        return run, f"channels-last without torch.compile, which failed: {str(error).strip().splitlines()[0][:120]}"


def operations(work: Workload) -> float | None:
    """Return operations per image of matrix products and convolutions, forwards and backwards; None without PyTorch."""
    try:
        from sides import operations
    except ModuleNotFoundError:
        return None
    return operations.per_image(work)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("gpu", "cpu"), required=True)
    parser.add_argument("--network", choices=NETWORKS, required=True)
    parser.add_argument("--framework", choices=("jax", "pytorch"), required=True)
    parser.add_argument("--precision", choices=("bfloat16", "float32"), required=True)
    options = parser.parse_args()
    work = workload(options.network, options.device, options.precision)
    began = time.perf_counter()
    if options.framework == "jax":
        from sides import ours

        run, how = ours.training_round(work), "one compiled epoch"
        run()
    else:
        run, how = pytorch_round(work, options.device, options.precision)
    first = time.perf_counter() - began
    seconds: list[float] = []
    while len(seconds) < 3 or (sum(seconds) < SECONDS and options.device == "gpu"):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    images = work.program.batch_size * work.steps / statistics.median(seconds)
    found = {"label": work.label, "how": how, "images_per_second": images, "first_round_seconds": first}
    print(json.dumps(found | {"rounds": len(seconds), "operations_per_image": operations(work)}))


if __name__ == "__main__":
    main()
