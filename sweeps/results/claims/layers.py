"""The numbers of figure S2: the layers with the largest norms, and their share of the squared weight norm."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from sweeps.results.frames import LAYER, Frames

TOP = 10  # layers, as in the paper


@dataclass(frozen=True, kw_only=True)
class LayerNorms:
    """One arm at one setting of its grid; epochs down.

    Args:
        norms: squared norms of the layers with the largest peaks, means over seeds, largest first; one column for each.
        share: their share of the squared weight norm in percent; one column for each seed.
        layers: the number of layers of the network.
    """

    norms: pd.DataFrame
    share: pd.DataFrame
    layers: int


def layer_norms(frames: Frames) -> LayerNorms | None:
    """Return the norms of the layers of the step-wise arm, or else of the first; None if they are unknown.

    A layer is what the parameters' names have in common: "conv1" for "conv1/kernel" and "conv1/bias".
    """
    finished = frames.finished
    step = finished[finished["kind"] == "step"]
    chosen = step if len(step) else finished
    own = chosen[chosen["arm"] == chosen["arm"].iloc[0]] if len(chosen) else chosen
    parts: dict[str, list[pd.DataFrame]] = defaultdict(list)
    for metric in frames.curves["metric"].unique():
        if str(metric).startswith(LAYER) and not (table := frames.by_seed(str(metric), own)).empty:
            parts[str(metric).removeprefix(LAYER).rpartition("/")[0]].append(table)
    if not parts or own["seed"].duplicated().any():
        return None
    tables = {layer: _sum(each) for layer, each in parts.items()}
    means = pd.DataFrame({layer: table.mean(axis=1) for layer, table in tables.items()})
    top = means.max().sort_values(ascending=False).index[:TOP]
    held = _sum([tables[str(layer)] for layer in top])
    share = 100 * held / frames.by_seed("weight_norm_sq", own)
    return LayerNorms(norms=means[top], share=share, layers=len(tables))


def _sum(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    first, *others = tables
    return sum(others, start=first)
