"""What the measurements were made on: card, driver, processors, versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "jax",
    "jaxlib",
    "jax-cuda13-plugin",
    "jax-cuda12-plugin",
    "flax",
    "optax",
    "torch",
    "triton",
    "numpy",
    "ray",
)


def described() -> dict[str, str]:
    """Return what is known, by name; what cannot be found out says so."""
    return {
        "card": _said("nvidia-smi", "--query-gpu=name,memory.total,clocks.max.sm", "--format=csv,noheader"),
        "driver": _said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": _said("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"),
        **{name: found for name in PACKAGES if (found := _version(name))},
    }


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return f"not known: {command[0]} does not answer"
    return "; ".join(done.stdout.strip().splitlines())


def _processor() -> str:
    lines: Sequence[str] = []
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
