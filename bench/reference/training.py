"""One evaluation and one training step of a network in PyTorch, in double precision, from given weights.

Arrays come and go by Flax's paths and in its layouts: its kernels have their output channels last, PyTorch's have them first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from reference import networks
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_NAMES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


class Outcome(NamedTuple):
    evaluated: np.ndarray  # [B, K]: logits with the running statistics, before the step
    trained: np.ndarray  # [B, K]: logits with those of the batch
    loss: float  # without the penalty
    measured: tuple[float, float]  # |g|^2 and g.w of that loss
    params: dict[str, np.ndarray]  # after the step
    statistics: dict[str, np.ndarray]
    kink: float  # see `Kinks`


def build(model: Mapping[str, Any], shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return the network with the fields of one of our models."""
    match model["kind"]:
        case "vgg5":
            return networks.vgg5(shape, classes, model["width"], model["pools"])
        case "vgg16":
            return networks.vgg16(shape, classes, model["width"])
        case "wide_resnet":
            return networks.WideResnet(shape[2], classes, model["depth"], model["width"], model["norm_examples"])
        case "pyramid_net":
            return networks.PyramidNet(shape[2], classes, model["depth"], model["alpha"])
        case "resnet50":
            return networks.Resnet50(shape[2], classes, model["width"], model["blocks"], model["stem"])
    raise ValueError(f"model must be one with a reference, got {model['kind']!r}")


def outcome(
    network: nn.Module,
    params: Mapping[str, np.ndarray],
    statistics: Mapping[str, np.ndarray],
    momentum: Mapping[str, np.ndarray],
    images_BHWC: np.ndarray,
    labels_B: np.ndarray,
    draws: np.ndarray,  # [blocks, 3, B] of ShakeDrop
    *,
    learning_rate: float,
    decay: float,  # of the momentum
    l2: float,
    l2_on: str,
    clip: float,
    smoothing: float,
) -> Outcome:
    """Evaluate, then train a step of SGD with Nesterov's momentum on cross-entropy + 0.5 * l2 * sum(w**2), clipped."""
    names = {path: _name(path) for path in [*params, *statistics]}
    network.double().load_state_dict({names[path]: _inward(array) for path, array in (params | statistics).items()})
    weights = {path: network.get_parameter(names[path]) for path in params}
    for number, drawn in enumerate(torch.from_numpy(draws).double()):
        network.blocks[number].draws = drawn
    images_BCHW = torch.from_numpy(images_BHWC).double().permute(0, 3, 1, 2)

    with torch.no_grad():
        evaluated = network.eval()(images_BCHW)
    with Kinks() as kinks:
        trained = network.train()(images_BCHW)
    loss = functional.cross_entropy(trained, torch.from_numpy(labels_B).long(), label_smoothing=smoothing)
    gradient = torch.autograd.grad(loss, list(weights.values()), retain_graph=True)
    flat, before = (torch.cat([leaf.detach().flatten() for leaf in leaves]) for leaves in (gradient, weights.values()))
    measured = (flat @ flat).item(), (flat @ before).item()

    optimizer = torch.optim.SGD(weights.values(), lr=learning_rate, momentum=decay, nesterov=True)
    for path, weight in weights.items():
        optimizer.state[weight]["momentum_buffer"] = _inward(momentum[path])
    penalty = sum(weight.square().sum() for weight in weights.values() if l2_on == "all" or weight.ndim > 1)
    (loss + 0.5 * l2 * penalty).backward()
    nn.utils.clip_grad_norm_(weights.values(), clip)
    optimizer.step()
    return Outcome(
        evaluated.numpy(),
        trained.detach().numpy(),
        loss.item(),
        measured,
        {path: _outward(weight) for path, weight in weights.items()},
        {path: _outward(network.get_buffer(names[path])) for path in statistics},
        kinks.nearest,
    )


class Kinks(TorchFunctionMode):
    """Finds how near inputs of ReLU and max-pooling come to where the derivative jumps, over the inputs' root mean square."""

    nearest = math.inf

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function.__name__ == "relu":
            self._see(args[0].abs(), args[0])
        elif function.__name__ == "max_pool2d":
            side, stride = (*args[1:3], kwargs.get("stride"))[:2]
            windows = functional.unfold(args[0].clamp(min=0).flatten(0, 1)[:, None], side, stride=stride)
            first, second = windows.topk(2, dim=1).values.unbind(1)
            self._see((first - second)[first > 0], windows)  # elsewhere the derivative of the ReLU before is 0
        return function(*args, **kwargs)

    def _see(self, distances: Tensor, values: Tensor) -> None:
        self.nearest = min(self.nearest, (distances.min() / values.square().mean().sqrt()).item())


def _name(path: str) -> str:
    *parents, last = path.split("/")
    return ".".join([*parents, _NAMES[last]])


def _inward(array: np.ndarray) -> Tensor:
    """Return a copy in PyTorch's layout: [h, w, in, out] becomes [out, in, h, w], and [in, out] becomes [out, in]."""
    order = (3, 2, 0, 1) if array.ndim == 4 else tuple(reversed(range(array.ndim)))
    return torch.from_numpy(array).double().permute(order).contiguous()


def _outward(tensor: Tensor) -> np.ndarray:
    order = (2, 3, 1, 0) if tensor.ndim == 4 else tuple(reversed(range(tensor.ndim)))
    return tensor.detach().permute(order).numpy()
