"""Does the gate catch faults? Runs it on planted faults in ABEL, and on unchanged code with other seeds.

    python bench/planted.py [--workers 2]

Runs `gate-digits` and saves its baseline. Then runs `abel check --run` on copies of the package: one without the forced last
decay, one whose flag is never cleared after a bounce, and the unchanged package with five other sets of seeds. Every run has
its own home. Prints exit code (0 holds, 1 regressed, 3 cannot tell) and minutes of each.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("abel", "workers", "sweeps", "services")
FAULTS = {
    "no forced last decay": (
        "abel/schedules.py",
        "state = state._replace(event=state.event | Event.LAST_DECAY)",
        "pass",
    ),
    "the flag is never cleared": (
        "abel/bounce.py",
        "reached_minimum=state.reached_minimum ^ counted,",
        "reached_minimum=state.reached_minimum | counted,",
    ),
}


def copied(root: Path, fault: str) -> Path:
    """Copy the packages and plant a fault."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    name, sound, faulty = FAULTS[fault]
    text = (root / name).read_text()
    if text.count(sound) != 1:
        raise ValueError(
            f"{name}: must contain the line to change exactly once, got {text.count(sound)} times: {sound}"
        )
    (root / name).write_text(text.replace(sound, faulty))
    return root


def abel(code: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command of the given code in the given home."""
    environment = os.environ | {"ABEL_HOME": str(home), "PYTHONPATH": str(code)}
    command = [sys.executable, "-P", "-m", "services.cli", *arguments]
    return subprocess.run(command, env=environment, cwd=home.parent, stdout=subprocess.PIPE, text=True, check=False)


def main() -> None:
    """Run all cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="2")
    workers = ("--workers", parser.parse_args().workers)
    with tempfile.TemporaryDirectory(prefix="abel-planted-") as name:
        root = Path(name)
        ran = abel(ROOT, root / "home", "run", "gate-digits", "--no-tracking", *workers)
        if ran.returncode:
            raise RuntimeError(f"the sweep must end with 0, got {ran.returncode}: {ran.stdout}")
        baseline = root / "baseline.json"
        baseline.write_text(abel(ROOT, root / "home", "baseline", "save", "gate-digits").stdout)
        cases: list[tuple[str, Path, tuple[str, ...]]] = [
            (fault, copied(root / f"copy{number}", fault), ()) for number, fault in enumerate(FAULTS)
        ]
        for first in (8, 16, 24, 32, 40):
            seeds = ",".join(map(str, range(first, first + 8)))
            cases.append((f"unchanged, seeds {seeds}", ROOT, ("--seeds", seeds)))
        for number, (what, code, seeds) in enumerate(cases):
            began = time.monotonic()
            arguments = ("check", "gate-digits", "--baseline", str(baseline), "--run", *workers, *seeds)
            done = abel(code, root / f"home{number}", *arguments)
            print(
                f"{what}: exit code {done.returncode} after {(time.monotonic() - began) / 60:.1f} min\n{done.stdout}",
                flush=True,
            )


if __name__ == "__main__":
    main()
