"""The results as markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Outcome = Mapping[str, Any]  # what a part printed, or {"skipped": why} or {"failed": why}
RATE_OF = {"bfloat16": "bfloat16", "float32": "tf32"}  # the matrix product whose rate a network's precision can reach


def page(results: Mapping[str, Any]) -> str:
    """Return the whole page; `results` is what `parts.py` writes as JSON."""
    machine = [f"- {name}: {value}" for name, value in results["machine"].items()]
    parts = results["parts"]
    blocks = [
        "# Measurements on one GPU"
        if results["device"] == "gpu"
        else "# A trial on the CPU: its figures say only that the parts run",
        "\n".join([f"- command: `{results['command']}`", f"- started: {results['started']}", *machine]),
        _rates(parts.get("rates", {})),
        _steps(parts),
        _sweep(parts.get("sweep", {})),
        _left_out(parts),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _rates(rates: Outcome) -> str:
    if "tera_flops" not in rates:
        return ""
    head = f"## Products of {rates['side']} x {rates['side']} matrices, TFLOP/s\n\n| precision | JAX | PyTorch |\n|---|---|---|"
    rows = [f"| {name} | {found['jax']:.3g} | {found['pytorch']:.3g} |" for name, found in rates["tera_flops"].items()]
    return "\n".join([head, *rows])


def _steps(parts: Mapping[str, Outcome]) -> str:
    head = (
        "## Training steps\n\nThe share is that of the faster measured matrix product of the same precision, "
        "TF32 for float32.\n\n| network | precision | framework | images/s | share | ours / PyTorch | first round, s | how |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    rows = []
    for name, found in parts.items():
        if not name.startswith("steps ") or "images_per_second" not in found:
            continue
        _, network, precision, framework = name.split()
        other = parts.get(f"steps {network} {precision} pytorch", {}).get("images_per_second")
        ratio = f"{found['images_per_second'] / other:.2f}" if framework == "jax" and other else "-"
        cells = [f"{network}: {found['label']}", precision, framework, f"{found['images_per_second']:.0f}"]
        cells += [_share(found, parts.get("rates", {}), precision), ratio, f"{found['first_round_seconds']:.0f}"]
        rows.append(f"| {' | '.join([*cells, found['how']])} |")
    return "\n".join([head, *rows]) if rows else ""


def _share(found: Outcome, rates: Outcome, precision: str) -> str:
    measured = rates.get("tera_flops", {})
    rate = measured.get(RATE_OF[precision]) or measured.get(precision)
    if not rate or not found["operations_per_image"]:
        return "-"
    return f"{100 * found['images_per_second'] * found['operations_per_image'] / 1e12 / max(rate.values()):.1f} %"


def _sweep(sweep: Outcome) -> str:
    if "trials" not in sweep:
        return ""
    rows = [f"| {name} | {error:.1f} |" for name, error in sweep["trials"].items()]
    head = f"## A part of fig-s6a on CIFAR-10, {sweep['epochs_per_trial']} epochs: {sweep['wall_seconds']:.0f} s by `abel run`"
    return "\n".join([head, "", "| trial | final test error, % |", "|---|---|", *rows])


def _left_out(parts: Mapping[str, Outcome]) -> str:
    kinds = ("skipped", "failed")
    lines = [f"- {name}: {kind}: {found[kind]}" for name, found in parts.items() for kind in kinds if kind in found]
    return "\n".join(["## Not measured", "", *lines]) if lines else ""
