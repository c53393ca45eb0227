"""The data inspection process, and what is said of it when it is killed, stopped, noisy or broken."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from services.cli.app import app
from sweeps.processes import identity
from sweeps.processes.identity import IdentityError, IdentityLost, WorkerEnvironment, identities_here
from sweeps.processes.job import Options
from sweeps.spec.programs import forget, program_from_dict
from workers.config import Program, to_dict

PLUGIN = """
import os, signal, sys
from dataclasses import dataclass
from pathlib import Path
from workers.data.digits import DigitPairs

MARKS = Path(__file__).parent / "marks"

@dataclass(frozen=True, kw_only=True)
class Odd(DigitPairs):
    kind: str = "odd"
    deed: str = ""
    times: int = 0

    def load(self, data_dir):
        MARKS.mkdir(exist_ok=True)
        begun = len(list(MARKS.iterdir()))
        (MARKS / str(begun)).touch()
        print("something on standard output")
        if begun < self.times:
            exec(self.deed)
        return super().load(data_dir)
"""


@pytest.fixture
def odd(tmp_path: Path, tiny_program: Program, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Program]]:
    """A program whose data, a plug-in, do something the first so many times that they are read."""
    (tmp_path / "odd.py").write_text(PLUGIN)
    (tmp_path / "odd-1.dist-info").mkdir()
    (tmp_path / "odd-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1\n")
    (tmp_path / "odd-1.dist-info" / "entry_points.txt").write_text("[abel.data]\nodd = odd:Odd\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(tmp_path)
    forget()

    def program(deed: str, times: int = 100) -> Program:
        return program_from_dict(
            to_dict(tiny_program) | {"data": {"kind": "odd", "train": 96, "test": 40, "deed": deed, "times": times}}
        )

    yield program
    sys.modules.pop("odd", None)
    monkeypatch.undo()
    forget()


def asked(program: Program, tmp_path: Path) -> Any:
    return identities_here([program], WorkerEnvironment(threads=1, cache=tmp_path / "cache"), None)


def spec_file(program: Program, tmp_path: Path) -> Path:
    """A spec that trains the program for an epoch."""
    rate = {"schedule": {"kind": "constant", "learning_rate": 0.1}}
    document = {"name": "odd", "program": to_dict(program), "epochs": 1, "seeds": [0], "arms": {"c": rate}}
    file = tmp_path / "odd.json"
    file.write_text(json.dumps(document))
    return file


def times_begun(tmp_path: Path) -> int:
    return len(list((tmp_path / "marks").iterdir()))


def test_a_process_killed_twice_answers_the_third_time_whatever_it_prints(
    odd: Callable[..., Program], tmp_path: Path
) -> None:
    program = odd("os.kill(os.getpid(), signal.SIGKILL)", times=2)
    assert list(asked(program, tmp_path)) == [program]
    assert times_begun(tmp_path) == 3


def test_a_process_killed_every_time_is_no_fault_of_the_spec(odd: Callable[..., Program], tmp_path: Path) -> None:
    spec = spec_file(odd("os.kill(os.getpid(), signal.SIGKILL)"), tmp_path)
    done = CliRunner().invoke(app, ["run", str(spec), "--no-tracking"])
    assert done.exit_code == 1
    assert "error: the data inspection process was killed by SIGKILL (out of memory?)" in done.stderr
    assert "Traceback" not in done.stderr
    assert times_begun(tmp_path) == 3


def test_a_caller_that_ignores_the_end_of_its_children_gets_an_answer(
    odd: Callable[..., Program], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "LOOK_SECONDS", 0.0)  # looks all the time, also the moment the process ends
    usual, program = signal.signal(signal.SIGCHLD, signal.SIG_IGN), odd("")
    try:
        assert list(asked(program, tmp_path)) == [program]
    finally:
        signal.signal(signal.SIGCHLD, usual)


def test_the_command_sees_how_processes_end_though_its_caller_ignores_it(
    odd: Callable[..., Program], tmp_path: Path
) -> None:
    spec = spec_file(odd("os.kill(os.getpid(), signal.SIGKILL)"), tmp_path)
    command = [sys.executable, "-m", "services.cli", "run", str(spec), "--no-tracking"]
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    done = subprocess.run([sys.executable, "-c", ignoring, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error: the data inspection process was killed by SIGKILL (out of memory?)" in done.stderr


def test_a_stopped_process_is_not_waited_for_for_ever(
    odd: Callable[..., Program], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "LOOKS_STOPPED", 2)
    with pytest.raises(IdentityLost, match="was stopped for 1 s and not continued"):
        asked(odd("os.kill(os.getpid(), signal.SIGSTOP)"), tmp_path)


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        ("raise RuntimeError('no\\n  such layer')", "odd:Odd raised RuntimeError: no such layer"),
        ("raise ValueError('no such layer')", "odd:Odd raised ValueError: no such layer"),
        ("sys.exit(3)", "odd:Odd raised SystemExit: 3"),
        ("os._exit(3)", "a worker process must start here, but ended with code 3: "),
    ],
)
def test_a_plug_in_that_fails_is_named(odd: Callable[..., Program], tmp_path: Path, deed: str, said: str) -> None:
    with pytest.raises(IdentityError) as info:
        asked(odd(deed), tmp_path)
    assert str(info.value).startswith(said)
    assert "Traceback" not in str(info.value)
    assert times_begun(tmp_path) == 1


@pytest.mark.parametrize(
    ("gpus", "environ", "expected"),
    [
        (None, {}, {}),
        (2, {}, {"CUDA_VISIBLE_DEVICES": "0,1"}),
        (1, {"CUDA_VISIBLE_DEVICES": "3,5"}, {"CUDA_VISIBLE_DEVICES": "3"}),
        (1, {"CUDA_VISIBLE_DEVICES": ""}, {"CUDA_VISIBLE_DEVICES": ""}),
    ],
)
def test_a_process_that_is_asked_sees_as_many_gpus_as_a_worker(
    tmp_path: Path, gpus: int | None, environ: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert WorkerEnvironment(threads=1, cache=tmp_path, gpu=True, gpus=gpus).visible(environ) == expected


@pytest.mark.parametrize(
    ("tpus", "environ", "expected"),
    [
        (4, {}, {"TPU_VISIBLE_CHIPS": "0,1,2,3"}),
        (4, {"TPU_VISIBLE_CHIPS": "4,5,6,7,8"}, {"TPU_VISIBLE_CHIPS": "4,5,6,7"}),
        (2, {}, {"TPU_VISIBLE_CHIPS": "0,1", "TPU_CHIPS_PER_HOST_BOUNDS": "1,2,1", "TPU_HOST_BOUNDS": "1,1,1"}),
    ],
)
def test_a_process_that_is_asked_sees_as_many_tpu_chips_as_a_worker(
    tmp_path: Path, tpus: int, environ: dict[str, Any], expected: dict[str, str]
) -> None:
    options = Options(checkpoints=tmp_path, cache=tmp_path, tpu=tpus)
    assert options.environment.visible(environ) == expected
    assert "JAX_PLATFORMS" not in options.environment.variables()
