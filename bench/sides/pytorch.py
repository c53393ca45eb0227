"""A round of the same steps in PyTorch, of batches that are ready in memory: standardised, shuffled and augmented.

The networks are those of `reference/`, with PyTorch's own padding and batch norm, which are faster than the exact ones there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from reference import networks, training
from sides.workloads import Workload, noise
from torch import Tensor, nn
from torch.nn import functional


def native(network: nn.Module) -> nn.Module:
    """Return a network with PyTorch's padding and its batch norm, over whole batches, in place of those that follow Flax."""
    for name, child in network.named_children():
        if isinstance(child, networks.Conv):
            side, stride = child.kernel_size[0], child.stride[0]
            plain = nn.Conv2d(child.in_channels, child.out_channels, side, stride, padding=side // 2, bias=False)
            network.register_module(name, plain)
        elif isinstance(child, networks.Norm):
            network.register_module(name, nn.BatchNorm2d(child.num_features))
        else:
            native(child)
    if hasattr(network, "blocks"):
        network.blocks = [child for name, child in network.named_children() if name.startswith("block")]
    return network


def training_round(
    workload: Workload,
    *,
    channels_last: bool,
    device: str = "cpu",
    precision: torch.dtype = torch.float32,
    compiled: bool = False,
) -> Callable[[], None]:
    """Return a function that trains the steps of a round, and waits for them."""
    program: Any = workload.program
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = native(training.build(asdict(program.model), workload.shape, workload.classes))
    network = network.to(device=device, memory_format=layout).train()
    # On the CPU without code generation, which takes minutes of a C++ compiler.
    backend = "inductor" if device == "cuda" else "aot_eager"
    called = torch.compile(network, backend=backend) if compiled else network
    batches = _batches(workload, device, layout)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=1e-3, momentum=program.optimizer.momentum, nesterov=program.optimizer.nesterov
    )

    def run() -> None:
        for images_BCHW, labels_B in batches:
            _shake(network, len(labels_B), device)
            optimizer.zero_grad()
            with torch.autocast(device, dtype=precision, enabled=precision != torch.float32):
                logits_BK = called(images_BCHW)
            functional.cross_entropy(logits_BK.float(), labels_B, label_smoothing=program.label_smoothing).backward()
            _penalise(network, program)
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def _batches(workload: Workload, device: str, layout: torch.memory_format) -> list[tuple[Tensor, Tensor]]:
    data, size = noise(workload), workload.program.batch_size
    pixels = torch.from_numpy(data.train_images).permute(0, 3, 1, 2).to(device)
    labels = torch.from_numpy(data.train_labels).long().to(device)
    images = (pixels.float() / 255 - data.mean[0]) / data.std[0]
    parts = zip(images.split(size), labels.split(size), strict=True)
    return [(images_BCHW.contiguous(memory_format=layout), labels_B) for images_BCHW, labels_B in parts]


def _penalise(network: nn.Module, program: Any) -> None:
    """Add the penalty's part to the gradients, then clip them by their norm."""
    weights = [weight for weight in network.parameters() if program.l2_on == "all" or weight.ndim > 1]
    with torch.no_grad():
        torch._foreach_add_([weight.grad for weight in weights], weights, alpha=program.l2)
    if program.clip is not None:
        nn.utils.clip_grad_norm_(network.parameters(), program.clip)


def _shake(network: nn.Module, examples: int, device: str) -> None:
    """Draw the factors of every ShakeDrop: b (0 or 1), alpha and beta of each image."""
    for block in getattr(network, "blocks", []):
        if isinstance(block, networks.PyramidBlock):
            kept, alpha, beta = torch.rand(3, examples, device=device).unbind()
            block.draws = torch.stack([(kept < block.keep).float(), 2 * alpha - 1, beta])
