"""A part of `fig-s6a` at paper size on CIFAR-10 through `abel run`: prints one line of JSON, or why it is skipped.

One seed, fewer epochs, and a few of the decay times; small on the CPU. Real images are read from a prepared data set.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

VARIABLES = ("ABEL_DATA_DIR", "TFDS_DATA_DIR")  # name a folder of prepared data sets
ABEL = [sys.executable, "-c", "from services.cli.app import main; main()"]


def document(device: str) -> dict[str, Any]:
    """Return the spec, as JSON types."""
    from sweeps.spec.sweep import load_spec

    spec = load_spec("fig-s6a").to_dict()
    large = device == "gpu"
    data = {"kind": "tfds", "name": "cifar10"} | ({} if large else {"subset": 256, "test_subset": 250, "shrink": 2})
    model = spec["program"]["model"] | ({} if large else {"width": 4})
    arms = spec["arms"]
    arms["decay-at"]["grid"] = {"schedule.decay_epoch": [5, 10, 20, 30] if large else [1, 2]}
    return {
        "name": "fig-s6a-part",
        "program": spec["program"] | {"data": data, "model": model},
        "epochs": 40 if large else 3,
        "seeds": [0],
        "arms": arms,
        **({"resources": {"gpu": 1}} if large else {}),
    }


def trained(spec: dict[str, Any], data_dir: Path, home: Path) -> dict[str, Any]:
    """Run the sweep, and return seconds, epochs and the final errors of its trials."""
    path = home / "spec.json"
    path.write_text(json.dumps(spec))
    environment = os.environ | {"ABEL_HOME": str(home / "abel")}
    started = time.perf_counter()
    command = [*ABEL, "run", str(path), "--data-dir", str(data_dir), "--workers", "1", "--no-tracking", "--json"]
    # Kernels of cuDNN may differ in the last bits between runs; a replayed epoch then does not stop the sweep.
    subprocess.run([*command, "--allow-nondeterminism"], env=environment, check=True, stdout=sys.stderr)
    seconds = time.perf_counter() - started
    status = subprocess.run(
        [*ABEL, "status", spec["name"], "--json"], env=environment, check=True, stdout=subprocess.PIPE
    )
    trials = json.loads(status.stdout)["trials"]
    return {"wall_seconds": seconds, "trials": {trial["name"]: trial["final_error"] for trial in trials}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("gpu", "cpu"), required=True)
    device = parser.parse_args().device
    named = [Path(os.environ[name]) for name in VARIABLES if os.environ.get(name)]
    data_dir = next((place for place in named if (place / "cifar10").is_dir()), None)
    if data_dir is None:
        print(json.dumps({"skipped": f"{VARIABLES[0]} must name a folder with a prepared cifar10"}))
        return
    try:
        spec = document(device)
    except ModuleNotFoundError as error:
        print(json.dumps({"skipped": f"{error.name} is not installed"}))
        return
    with tempfile.TemporaryDirectory(prefix="abel-gpu-") as home:
        print(json.dumps(trained(spec, data_dir, Path(home)) | {"epochs_per_trial": spec["epochs"]}))


if __name__ == "__main__":
    main()
