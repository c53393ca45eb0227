"""Operations of a training step in matrix products and convolutions, counted by PyTorch on arrays without memory."""

from __future__ import annotations

from dataclasses import asdict

import torch
from reference import training
from sides.pytorch import native
from sides.workloads import Workload
from torch.utils.flop_counter import FlopCounterMode


def per_image(workload: Workload) -> float:
    """Return operations per image, two for a multiplication with an addition, forwards and backwards."""
    height, width, channels = workload.shape
    with torch.device("meta"):
        network = native(training.build(asdict(workload.program.model), workload.shape, workload.classes)).train()
        images_BCHW = torch.empty(2, channels, height, width)
    with FlopCounterMode(display=False) as counter:
        network(images_BCHW).sum().backward()
    return counter.get_total_flops() / len(images_BCHW)
