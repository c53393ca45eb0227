"""Made-up trials as evidence for the paper's claims."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from sweeps.results.claims.evidence import RATE, Evidence
from sweeps.results.frames import CURVE_COLUMNS, LAYER, Frames

BOUNCE, FALL, COLLAPSE = (10.0, 6.0, 8.0, 9.0), (10.0, 8.0, 7.0, 7.0), (10.0, 0.05, 0.01, 0.04)


def trial(arm: str, seed: int, errors: Sequence[float], settings: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A finished trial, by default of a norm that bounces; its arm is named after its kind of schedule."""
    name = f"{arm} {settings} seed={seed}"
    plain = {"trial_id": name, "name": name, "arm": arm, "kind": arm, "seed": seed, "settings": dict(settings)}
    ended = {"outcome": "finished", "epoch": len(errors), "epochs": len(errors), "error": "", "decay_epochs": ()}
    reached = {"minimum_error": min(errors), "final_error": errors[-1]}
    unknown = dict.fromkeys(("losses", "train_errors", "rates"))
    events = {"bounce_epochs": (), "forced_epochs": ()}
    return plain | ended | reached | events | {"norm": BOUNCE, "errors": errors, **unknown, "layers": {}} | more


def _selected(row: Mapping[str, Any]) -> float:
    pairs = zip(row["losses"] or row["errors"], row["errors"], strict=True)
    return min(pair for pair in pairs if math.isfinite(pair[0]))[1]


def evidence(
    rows: Sequence[Mapping[str, Any]], guessing: float | None = None, spec: Mapping[str, Any] | None = None
) -> Evidence:
    """A sweep of such trials."""
    points = [
        (row["trial_id"], row["arm"], row["seed"], epoch, metric, value)
        for row in rows
        for metric, curve in (
            ("weight_norm_sq", row["norm"]),
            ("test_error", row["errors"]),
            ("train_loss", row["losses"] or row["errors"]),
            *((f"{LAYER}{name}", norms) for name, norms in row["layers"].items()),
            ("train_error", row["train_errors"] or ()),
            ("learning_rate_first", row["rates"] or [row["settings"].get(RATE, 0.1)] * len(row["errors"])),
        )
        for epoch, value in enumerate(curve, start=1)
    ]
    trials = pd.DataFrame(
        [
            {name: value for name, value in row.items() if name not in ("norm", "layers")}
            | {"selected_error": _selected(row)}
            for row in rows
        ]
    )
    curves = pd.DataFrame(points, columns=list(CURVE_COLUMNS))
    return Evidence(frames=Frames(trials=trials, curves=curves, spec=spec or {}), guessing=guessing)
