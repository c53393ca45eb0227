"""Adam (Kingma and Ba, arXiv 1412.6980)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from workers.optimizers import rules

if TYPE_CHECKING:
    import optax


@dataclass(frozen=True, kw_only=True)
class Adam(rules.Moments):
    """Adam. L2 is part of the loss, so it enters both moments."""

    kind: Literal["adam"] = "adam"

    def transform(self, hyper: Mapping[str, Any]) -> optax.GradientTransformation:
        """Return the update rule without the learning rate."""
        return rules.adam(hyper)
