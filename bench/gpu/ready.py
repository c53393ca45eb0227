"""Say what this Python lacks for the measurements, one line for each thing; exit code 1 if it lacks anything."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec

STEPS = ("jax", "flax", "optax", "numpy", "torch")
SWEEP = (
    *("orbax", "pydantic", "ray", "mlflow", "sqlalchemy", "alembic", "typer", "rich", "ruamel.yaml", "requests"),
    *("array_record", "tensorflow_datasets", "cv2", "grain", "psutil", "scipy", "pandas", "matplotlib", "sklearn"),
)


def missing(names: tuple[str, ...]) -> list[str]:
    """Return the packages that cannot be imported."""
    found = set()
    for name in names:
        try:
            if find_spec(name) is not None:
                found.add(name)
        except ModuleNotFoundError:  # of the package around it
            pass
    return [name for name in names if name not in found]


def without_gpu() -> list[str]:
    """Return what keeps the frameworks from the GPU."""
    import jax
    import torch

    lines = []
    try:
        if jax.default_backend() != "gpu":
            lines.append(
                f"jax {jax.__version__} sees no GPU: its CUDA plugin is missing or older than the driver allows"
            )
    except RuntimeError as error:
        lines.append(f"jax {jax.__version__} does not start: {str(error).splitlines()[0]}")
    if not torch.cuda.is_available():
        lines.append(f"torch {torch.__version__} sees no GPU: it is a build for the CPU or for another CUDA")
    return lines


def lines(device: str, level: str) -> list[str]:
    """Return what is missing for all parts (level "sweep"), or for all but the sweep (level "steps")."""
    needed = STEPS + SWEEP if level == "sweep" else STEPS
    found = [f"{name} is not installed" for name in missing(needed)]
    if level == "sweep" and not entry_points(group="abel.models"):
        found.append("this project is not installed, so its models are not found by name")
    if device == "gpu" and not missing(("jax", "torch")):
        found += without_gpu()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("gpu", "cpu"), required=True)
    parser.add_argument("--level", choices=("sweep", "steps"), required=True)
    options = parser.parse_args()
    found = lines(options.device, options.level)
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
