"""The command with a real local cluster whose memory monitor kills: who fails, who goes on, and who could have listened."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray._common.utils import get_system_memory
from ray._private.utils import get_used_memory
from typer.testing import CliRunner

from services.cli.app import app
from workers.config import Program, to_dict

pytestmark = [pytest.mark.ray, pytest.mark.slow]

GIB = 2**30
SPARE_GIB = 5  # between what is in use and the threshold: what else a machine may need meanwhile
GREED_GIB = 10

PLUGIN = f"""
import sys, time
from dataclasses import dataclass
import numpy as np
from workers.models.small_cnn import SmallCnn

@dataclass(frozen=True, kw_only=True)
class Greedy(SmallCnn):
    kind: str = "greedy"
    greed: bool = False

    def build(self, shape, classes, rngs):
        held = []
        while self.greed and "ray" in sys.modules and len(held) < {GREED_GIB} * 8:
            held.append(np.ones(2**24))  # 128 MiB
            time.sleep(0.05)
        return super().build(shape, classes, rngs)
"""


@dataclass
class Seen:
    """A finished command, and what was seen of it while it ran."""

    code: int = -1
    said: str = ""
    printed: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    listeners: dict[tuple[str, str], str] = field(default_factory=dict)  # (address, process) -> command line
    places: dict[Path, int] = field(default_factory=dict)  # modes of the folders that are in the way to Ray's


def document(program: Any) -> dict[str, Any]:
    rate = {"schedule": {"kind": "constant", "learning_rate": 0.01}}
    greedy = {"grid": {"program.model.greed": [True]}, "epochs": 2}
    arms = {"greedy": rate | greedy, "modest": rate | {"epochs": 200}}
    model = {"kind": "greedy", "width": 4}
    return {"name": "memory", "program": to_dict(program) | {"model": model}, "epochs": 2, "seeds": [0], "arms": arms}


def watch(process: "subprocess.Popen[str]", seen: Seen, place: Path) -> None:
    """Look at what listens, and at Ray's folder, until the command ends."""
    while True:
        for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
            try:
                for open_ in one.net_connections("inet"):
                    if open_.status == psutil.CONN_LISTEN:
                        seen.listeners[open_.laddr.ip, one.name()] = " ".join(one.cmdline())[:100]
            except (psutil.Error, OSError):
                continue  # gone meanwhile
        for folder in place.glob("abel-ray-*"):
            seen.places[folder] = stat.S_IMODE(folder.stat().st_mode)
        try:
            process.wait(0.5)
            return
        except subprocess.TimeoutExpired:
            continue


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, tiny_program: Program) -> Iterator[Seen]:
    """Run a sweep of a modest trial and one that takes memory until it is killed."""
    total, used = get_system_memory(), get_used_memory()
    if total - used < (SPARE_GIB + 2) * GIB:
        pytest.skip(f"needs {SPARE_GIB + 2} GiB of free memory")
    folder = tmp_path_factory.mktemp("memory")
    (folder / "greedy.py").write_text(PLUGIN)
    (folder / "greedy-1.dist-info").mkdir()
    (folder / "greedy-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: greedy\nVersion: 1\n")
    (folder / "greedy-1.dist-info" / "entry_points.txt").write_text("[abel.models]\ngreedy = greedy:Greedy\n")
    (folder / "memory.json").write_text(json.dumps(document(tiny_program)))
    place = Path("/tmp") / f"m{os.getpid()}"
    place.mkdir()
    environment = os.environ | {
        "ABEL_HOME": str(folder / "home"),
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
        "TMPDIR": str(place),
        "RAY_memory_usage_threshold": str((used + SPARE_GIB * GIB) / total),
    }
    seen, options = Seen(), ["--workers", "2", "--no-tracking", "--json"]
    command = [sys.executable, "-m", "services.cli", "run", str(folder / "memory.json"), *options]
    with (
        (folder / "stderr").open("w") as said,
        (folder / "stdout").open("w") as printed,
        subprocess.Popen(command, env=environment, stdout=printed, stderr=said, text=True) as process,
    ):
        try:
            watch(process, seen, place)
        finally:
            process.kill()
    seen.code, seen.said = process.returncode, (folder / "stderr").read_text()
    seen.printed = json.loads((folder / "stdout").read_text() or "{}")
    told = CliRunner().invoke(app, ["status", "memory", "--json"], env={"ABEL_HOME": environment["ABEL_HOME"]})
    seen.status = json.loads(told.stdout)
    yield seen
    place.rmdir()  # nothing is left in it


def test_too_much_memory_fails_with_figures_and_the_others_go_on(seen: Seen) -> None:
    assert (seen.code, seen.printed["outcome"]) == (1, "failed"), seen.said
    assert "Traceback" not in seen.said
    trials = {trial["arm"]: trial for trial in seen.status["trials"]}
    assert trials["modest"]["status"] == "finished", seen.status
    assert (trials["greedy"]["status"], trials["greedy"]["epoch"]) == ("failed", 0)
    error = trials["greedy"]["error"].splitlines()[0]
    assert error.startswith("with nothing else running, out of memory: ")
    assert "GiB were in use, and the threshold is" in error
    assert "; the worker had " in error
    of_greedy = [one for one in seen.status["incidents"] if one["last_trial"].startswith("greedy")]
    assert {incident["kind"] for incident in of_greedy} == {"out_of_memory"}
    assert (sum(one["times"] for one in of_greedy), sum(one["retried"] for one in of_greedy)) == (2, 1)


def test_a_local_run_listens_on_the_loopback_interface_only(seen: Seen) -> None:
    assert {name for _, name in seen.listeners} >= {"gcs_server", "raylet"}
    assert {address for address, _ in seen.listeners} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, seen.listeners
    assert not any("monitor.py" in command for command in seen.listeners.values()), seen.listeners


def test_nobody_else_may_enter_the_folder_that_ray_opens_to_everybody(seen: Seen) -> None:
    assert set(seen.places.values()) == {0o700}
