"""The paper's vision networks in plain PyTorch, written from the papers and the settings of the paper's code.

Parts have the names of ours, so weights are copied by name. Two conventions are Flax's, where PyTorch's differ: at stride 2,
"SAME" pads an even side at its end only, and the running variance of batch norm is the biased one. Axes: B batch, C channels,
H height, W width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def same(x_BCHW: Tensor, side: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad an image such that a window of the given side and stride returns ceil(size / stride) pixels."""
    pads = []
    for size in (x_BCHW.shape[3], x_BCHW.shape[2]):  # `pad` counts axes from the last
        total = max((-(-size // stride) - 1) * stride + side - size, 0)
        pads += [total // 2, total - total // 2]
    return functional.pad(x_BCHW, pads, value=value)


class Conv(nn.Conv2d):
    """A square convolution without bias, padded as "SAME"."""

    def __init__(self, channels: int, features: int, side: int, stride: int = 1) -> None:
        super().__init__(channels, features, side, stride, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return super().forward(same(x_BCHW, self.kernel_size[0], self.stride[0]))


class Norm(nn.BatchNorm2d):
    """Batch norm whose statistics are those of groups of `examples` images; the running ones follow their means."""

    def __init__(self, features: int, examples: int | None = None) -> None:
        super().__init__(features, eps=1e-5, momentum=0.1)  # PyTorch's momentum is the weight of the new value
        self.examples = examples

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x_BCHW)
        groups = x_BCHW.split(self.examples or len(x_BCHW))
        with torch.no_grad():
            statistics = [torch.var_mean(group, (0, 2, 3), correction=0) for group in groups]
            variances, means = map(torch.stack, zip(*statistics, strict=True))
            self.running_mean.lerp_(means.mean(0), self.momentum)
            self.running_var.lerp_(variances.mean(0), self.momentum)
        affine = self.weight, self.bias
        return torch.cat([functional.batch_norm(group, None, None, *affine, True, eps=self.eps) for group in groups])


class ChannelsLast(nn.Module):
    """Moves channels last, as ours are when the dense layer flattens them."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW.permute(0, 2, 3, 1)


def vgg(
    shape: tuple[int, int, int], classes: int, stages: Sequence[Sequence[tuple[str, int]]], pools: Sequence[bool]
) -> nn.Sequential:
    """Return convolutions by name and width, a 2x2 pool after the wanted stages where both sides are even, and a dense layer."""
    height, width, channels = shape
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (stage, wanted) in enumerate(zip(stages, pools, strict=True)):
        for name, features in stage:
            parts[name] = nn.Conv2d(channels, features, 3, padding=1)
            parts[f"{name}_relu"] = nn.ReLU()
            channels = features
        if wanted and height % 2 == width % 2 == 0:
            parts[f"pool{number}"] = nn.MaxPool2d(2)
            height, width = height // 2, width // 2
    parts |= {"last": ChannelsLast(), "flat": nn.Flatten(), "dense": nn.Linear(height * width * channels, classes)}
    return nn.Sequential(parts)


def vgg5(shape: tuple[int, int, int], classes: int, width: int, pools: Sequence[bool]) -> nn.Sequential:
    stages = [[(f"conv{number}", width * factor)] for number, factor in enumerate((1, 2, 2, 2), start=1)]
    return vgg(shape, classes, stages, pools)


def vgg16(shape: tuple[int, int, int], classes: int, width: int) -> nn.Sequential:
    """Configuration D: 2, 2, 3, 3 and 3 convolutions."""
    sizes = enumerate(((2, 1), (2, 2), (3, 4), (3, 8), (3, 8)), start=1)
    stages = [[(f"conv{stage}_{n}", width * factor) for n in range(1, count + 1)] for stage, (count, factor) in sizes]
    return vgg(shape, classes, stages, [True] * 5)


def shortcut(x_BCHW: Tensor, like_BCHW: Tensor) -> Tensor:
    """Return a residual of the other's shape, without parameters: average-pooled, then channels of zeros."""
    stride, more = x_BCHW.shape[2] // like_BCHW.shape[2], like_BCHW.shape[1] - x_BCHW.shape[1]
    return functional.pad(functional.avg_pool2d(x_BCHW, stride), (0, 0, 0, 0, 0, more))


class WideBlock(nn.Module):
    """Pre-activation; the first block of the network also activates its shortcut."""

    def __init__(self, channels: int, features: int, stride: int, first: bool, examples: int | None) -> None:
        super().__init__()
        self.norm1, self.conv1 = Norm(channels, examples), Conv(channels, features, 3, stride)
        self.norm2, self.conv2 = Norm(features, examples), Conv(features, features, 3)
        self.first = first

    def forward(self, x_BCHW: Tensor) -> Tensor:
        active = self.norm1(x_BCHW).relu()
        out = self.conv2(self.norm2(self.conv1(active)).relu())
        return out + shortcut(active if self.first else x_BCHW, out)


class WideResnet(nn.Module):
    def __init__(self, channels: int, classes: int, depth: int, width: int, examples: int | None) -> None:
        super().__init__()
        self.first = Conv(channels, 16, 3)
        self.blocks, before = [], 16
        for group, (features, stride) in enumerate([(16 * width, 1), (32 * width, 2), (64 * width, 2)], start=1):
            for number in range(1, (depth - 4) // 6 + 1):
                block = WideBlock(before, features, stride if number == 1 else 1, not self.blocks, examples)
                self.add_module(f"block{group}_{number}", block)
                self.blocks.append(block)
                before = features
        self.norm, self.dense = Norm(before, examples), nn.Linear(before, classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.first(x_BCHW)
        for block in self.blocks:
            x_BCHW = block(x_BCHW)
        return self.dense(self.norm(x_BCHW).relu().mean((2, 3)))


class Shake(torch.autograd.Function):
    """Multiplies by one factor forwards and by another backwards."""

    @staticmethod
    def forward(context, x_BCHW: Tensor, forwards: Tensor, backwards: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        context.save_for_backward(backwards)
        return forwards * x_BCHW

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]
        (backwards,) = context.saved_tensors
        return backwards * gradient, None, None


class PyramidBlock(nn.Module):
    """Batch norm, then 1x1, 3x3 and 1x1 convolutions with batch norms, and ShakeDrop with given draws."""

    draws: Tensor  # [3, B]: b (0 or 1), alpha and beta of each image

    def __init__(self, channels: int, inner: int, stride: int, keep: float) -> None:
        super().__init__()
        self.norm0, self.conv1 = Norm(channels), Conv(channels, inner, 1)
        self.norm1, self.conv2 = Norm(inner), Conv(inner, inner, 3, stride)
        self.norm2, self.conv3 = Norm(inner), Conv(inner, 4 * inner, 1)
        self.norm3, self.keep = Norm(4 * inner), keep

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out = self.norm1(self.conv1(self.norm0(x_BCHW))).relu()
        out = self.norm3(self.conv3(self.norm2(self.conv2(out)).relu()))
        if self.training:
            kept, alpha, beta = (draw.view(-1, 1, 1, 1) for draw in self.draws)
            out = Shake.apply(out, kept + alpha - kept * alpha, kept + beta - kept * beta)
        else:
            out = self.keep * out  # the mean of b + alpha - b * alpha
        return out + shortcut(x_BCHW, out)


class PyramidNet(nn.Module):
    def __init__(self, channels: int, classes: int, depth: int, alpha: float) -> None:
        super().__init__()
        self.first, self.first_norm = Conv(channels, 16, 3), Norm(16)
        self.blocks, before, total = [], 16, (depth - 2) // 3
        for number in range(total):
            inner = round(16 + alpha * (number + 1) / total)
            stride = 2 if number in (total // 3, 2 * total // 3) else 1
            block = PyramidBlock(before, inner, stride, keep=1 - 0.5 * (number + 1) / total)
            self.add_module(f"block{number + 1}", block)
            self.blocks.append(block)
            before = 4 * inner
        self.norm, self.dense = Norm(before), nn.Linear(before, classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.first_norm(self.first(x_BCHW))
        for block in self.blocks:
            x_BCHW = block(x_BCHW)
        return self.dense(self.norm(x_BCHW).relu().mean((2, 3)))


class Bottleneck(nn.Module):
    """Version 1, with the stride at the 3x3 convolution."""

    def __init__(self, channels: int, inner: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = Conv(channels, inner, 1), Norm(inner)
        self.conv2, self.norm2 = Conv(inner, inner, 3, stride), Norm(inner)
        self.conv3, self.norm3 = Conv(inner, 4 * inner, 1), Norm(4 * inner)
        self.projects = stride != 1 or channels != 4 * inner
        if self.projects:
            self.projection, self.projection_norm = Conv(channels, 4 * inner, 1, stride), Norm(4 * inner)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out = self.norm1(self.conv1(x_BCHW)).relu()
        out = self.norm3(self.conv3(self.norm2(self.conv2(out)).relu()))
        return (out + (self.projection_norm(self.projection(x_BCHW)) if self.projects else x_BCHW)).relu()


class Resnet50(nn.Module):
    def __init__(self, channels: int, classes: int, width: int, blocks: Sequence[int], stem: bool) -> None:
        super().__init__()
        self.stem, self.blocks, before = stem, [], width
        self.first = nn.Conv2d(channels, width, 7, 2, padding=3, bias=False) if stem else Conv(channels, width, 3)
        self.first_norm = Norm(width)
        for stage, count in enumerate(blocks):
            for number in range(count):
                block = Bottleneck(before, width << stage, 2 if stage and not number else 1)
                self.add_module(f"block{stage + 1}_{number + 1}", block)
                self.blocks.append(block)
                before = 4 * width << stage
        self.dense = nn.Linear(before, classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.first_norm(self.first(x_BCHW)).relu()
        if self.stem:
            x_BCHW = functional.max_pool2d(same(x_BCHW, 3, 2, value=-torch.inf), 3, 2)
        for block in self.blocks:
            x_BCHW = block(x_BCHW)
        return self.dense(x_BCHW.mean((2, 3)))
