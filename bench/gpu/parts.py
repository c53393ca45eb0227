"""Run all parts, each in a process and within its time, and write what they found as JSON and as a page of markdown.

    python bench/gpu/parts.py --device gpu --out FOLDER --budget 780

A part that fails or takes too long is noted, and the next one runs. The files are written again after every part.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import machine
import tables

HERE = Path(__file__).parent
_LEAST_SECONDS = 10.0  # a part is not started with less left
_SLACK = {"gpu": 1, "cpu": 6}  # factor of all limits; without a GPU other work may share the processors


@dataclass(frozen=True, kw_only=True)
class Part:
    """A script of this folder, and the seconds that it gets at most."""

    name: str
    script: str
    arguments: tuple[str, ...] = ()
    seconds: float


def steps(network: str, precision: str, framework: str) -> Part:
    """Return the part that times one network on one side."""
    arguments = ("--network", network, "--precision", precision, "--framework", framework)
    return Part(name=f"steps {network} {precision} {framework}", script="steps.py", arguments=arguments, seconds=100)


def plan() -> list[Part]:
    """Return the parts, the most wanted first."""
    networks, frameworks = ("wrn-28-10", "vgg-16", "resnet-50"), ("jax", "pytorch")
    return [
        Part(name="rates", script="rates.py", seconds=60),
        *(steps(network, "bfloat16", framework) for network in networks for framework in frameworks),
        Part(name="sweep", script="sweep.py", seconds=200),
        *(steps(network, "float32", framework) for network in networks for framework in frameworks),
        steps("wrn-28-10-groups", "bfloat16", "jax"),
    ]


def outcome(part: Part, device: str, seconds: float, log: IO[str]) -> dict[str, Any]:
    """Run a part, and return the JSON that it printed last, or why it has none."""
    command = [sys.executable, str(HERE / part.script), "--device", device, *part.arguments]
    print(f"\n== {part.name}, at most {seconds:.0f} s: {' '.join(command)}", file=log, flush=True)
    # Of its own group, so that what it started also ends. JAX and PyTorch would each take most of the memory at once.
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True, env=environment
    )
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return {"failed": f"took more than {seconds:.0f} s"}
    log.write(said)
    if process.returncode:
        return {"failed": f"exit code {process.returncode}, see {Path(log.name).name}"}
    found: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
    return found


def written(results: dict[str, Any], folder: Path) -> None:
    """Write the results."""
    (folder / "gpu.json").write_text(json.dumps(results, indent=2) + "\n")
    (folder / "gpu.md").write_text(tables.page(results))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("gpu", "cpu"), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", type=float, required=True, metavar="SECONDS")
    options = parser.parse_args()
    end = time.monotonic() + options.budget
    parts: dict[str, dict[str, Any]] = {}
    results = {
        "command": " ".join(["bench/gpu/parts.py", *sys.argv[1:]]),
        "device": options.device,
        "started": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "machine": machine.described(),
        "parts": parts,
    }
    with (options.out / "gpu.log").open("w") as log:
        for part in plan():
            began, left = time.monotonic(), end - time.monotonic()
            if left < _LEAST_SECONDS:
                parts[part.name] = {"skipped": f"no time left of {options.budget:.0f} s"}
            else:
                parts[part.name] = outcome(part, options.device, min(_SLACK[options.device] * part.seconds, left), log)
            said = next(
                (f"{kind}: {parts[part.name][kind]}" for kind in ("skipped", "failed") if kind in parts[part.name]),
                "ok",
            )
            print(f"{part.name}: {said} ({time.monotonic() - began:.0f} s)", flush=True)
            written(results, options.out)
    print(f"Written: {options.out / 'gpu.md'}, gpu.json and gpu.log")
    return 1 if any("failed" in found for found in parts.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
