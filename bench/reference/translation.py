"""The encoder-decoder of `workers.translation` in PyTorch, from its own attention, norms, loss and Adam."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Attention(nn.Module):
    """PyTorch's attention, which has the three projections in one matrix."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(width, heads, bias=False, batch_first=True)

    def forward(self, queries: Any, others: Any, **masks: Any) -> Any:
        return self.inner(queries, others, others, need_weights=False, **masks)[0]


class Block(nn.Module):
    """A block of the encoder, or with `source` of the decoder."""

    def __init__(self, width: int, heads: int, mlp: int, source: bool) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(width, eps=1e-6), Attention(width, heads)
        if source:
            self.source_norm, self.source_attention = nn.LayerNorm(width, eps=1e-6), Attention(width, heads)
        self.mlp_norm = nn.LayerNorm(width, eps=1e-6)
        self.inner, self.outer = nn.Linear(width, mlp), nn.Linear(mlp, width)

    def forward(self, x: Any, own: dict[str, Any], source: tuple[Any, Any] | None = None) -> Any:
        normed = self.norm(x)
        x = x + self.attention(normed, normed, **own)
        if source is not None:
            x = x + self.source_attention(self.source_norm(x), source[0], key_padding_mask=source[1])
        return x + self.outer(functional.relu(self.inner(self.mlp_norm(x))))


class Translator(nn.Module):
    """Norms before the blocks, one embedding, sinusoidal positions, logits over the root of the width."""

    def __init__(self, layers: int, width: int, heads: int, mlp: int, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(vocabulary, width))
        for layer in range(layers):
            setattr(self, f"encoder_{layer}", Block(width, heads, mlp, source=False))
            setattr(self, f"decoder_{layer}", Block(width, heads, mlp, source=True))
        self.encoder_norm, self.decoder_norm = (nn.LayerNorm(width, eps=1e-6) for _ in range(2))
        self.layers, self.width = layers, width

    def forward(self, sources: Any, targets: Any) -> Any:
        hidden = sources == 0
        x = self._embedded(sources)
        for layer in range(self.layers):
            x = getattr(self, f"encoder_{layer}")(x, {"key_padding_mask": hidden})
        encoded = self.encoder_norm(x)
        x = self._embedded(functional.pad(targets, (1, 0))[:, :-1])
        later = torch.triu(torch.ones(targets.shape[1], targets.shape[1], dtype=torch.bool), 1)
        for layer in range(self.layers):
            x = getattr(self, f"decoder_{layer}")(x, {"attn_mask": later}, (encoded, hidden))
        return self.decoder_norm(x) @ self.embedding.T / math.sqrt(self.width)

    def _embedded(self, tokens: Any) -> Any:
        half = self.width // 2
        waves = torch.arange(tokens.shape[1])[:, None] * 10_000.0 ** (-torch.arange(half).double() / (half - 1))
        places = torch.cat([waves.sin(), waves.cos()], dim=1).to(self.embedding.dtype)
        return functional.embedding(tokens, self.embedding) + places


def outcome(
    fields: dict[str, Any],
    params: dict[str, np.ndarray],
    means: dict[str, np.ndarray],
    squares: dict[str, np.ndarray],
    sources: np.ndarray,
    targets: np.ndarray,
    *,
    smoothing: float,
    l2: float,
    clip: float,
    learning_rate: float,
    betas: tuple[float, float],
    eps: float,
) -> tuple[np.ndarray, float, list[float], dict[str, np.ndarray]]:
    """Return logits, loss, |g|^2 and g.w, and the parameters after a step of Adam in double precision, all by our paths."""
    net = Translator(
        **{name: value for name, value in fields.items() if name != "kind"}, vocabulary=len(params[_EMBEDDING])
    )
    net = net.double()
    places = {path: _place(net, path) for path in params}
    with torch.no_grad():
        for path, value in params.items():
            _part(*places[path]).copy_(_turned(path, value))
    given = torch.from_numpy(sources).long(), torch.from_numpy(targets).long()
    logits = net(*given)
    loss = smoothed_loss(logits, given[1], smoothing)
    loss.backward()
    slopes = {path: _part(places[path][0].grad, places[path][1]).clone() for path in params}
    held = {path: _part(*place).detach() for path, place in places.items()}
    measured = [sum(float((slopes[path] * other[path]).sum()) for path in params) for other in (slopes, held)]
    optimizer = torch.optim.Adam(net.parameters(), lr=learning_rate, betas=betas, eps=eps)
    for whole in net.parameters():
        whole.grad += l2 * whole.detach()
        optimizer.state[whole] = {"step": torch.tensor(0.0)} | {
            name: torch.zeros_like(whole) for name in ("exp_avg", "exp_avg_sq")
        }
    for path, (whole, rows) in places.items():
        for name, moments in (("exp_avg", means), ("exp_avg_sq", squares)):
            _part(optimizer.state[whole][name], rows).copy_(_turned(path, moments[path]))
    nn.utils.clip_grad_norm_(net.parameters(), clip)
    optimizer.step()
    after = {path: _turned(path, _part(*place).detach().numpy()).numpy() for path, place in places.items()}
    return logits.detach().numpy(), float(loss.detach()), measured, after


_EMBEDDING = "embedding/embedding"
_PROJECTIONS = ("query", "key", "value")


def smoothed_loss(logits: Any, targets: Any, smoothing: float) -> Any:
    """Return the mean loss over target tokens; PyTorch spreads its smoothing over all tokens, the right one too."""
    others = logits.shape[-1] - 1
    least = -((1 - smoothing) * math.log(1 - smoothing) + smoothing * math.log(smoothing / others))
    spread = smoothing * (others + 1) / others
    whole = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=0, label_smoothing=spread)
    return whole - least


def _place(net: Any, path: str) -> tuple[Any, slice]:
    """Return the PyTorch parameter of a path, and which of its rows."""
    *folders, last = path.split("/")
    if path == _EMBEDDING:
        return net.embedding, slice(None)
    here, rows = getattr(net, folders[0]), slice(None)
    for folder in folders[1:]:
        if folder in _PROJECTIONS:
            width, number = here.inner.embed_dim, _PROJECTIONS.index(folder)
            return here.inner.in_proj_weight, slice(number * width, (number + 1) * width)
        here = here.inner.out_proj if folder == "out" else here if folder == "mlp" else getattr(here, folder)
    return getattr(here, {"kernel": "weight", "scale": "weight"}.get(last, last)), rows


def _part(whole: Any, rows: slice) -> Any:
    return whole[rows]


def _turned(path: str, value: np.ndarray) -> Any:
    """Our kernels are [in, out], PyTorch's [out, in]."""
    return torch.from_numpy(np.ascontiguousarray(value.T if path.endswith("kernel") else value, np.float64))
