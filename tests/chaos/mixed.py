"""One sweep in which any process is killed, in random order, until the plan is used up: ``run.py --mixed KILLS``."""

import random
import subprocess
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from faults import Kill
from faults import mixed as plan
from oracle import compare, compare_tracking
from rounds import HERE, LOOK_SECONDS, Round, undisturbed
from run import SAVE_EVERY, lines, percentiles, verdicts
from victims import VITAL, Victim, find, kill_tree, marked

from sweeps.urls import of_sqlite

MARK = "ABEL_CHAOS_MARK"
GRACE_SECONDS = 20.0  # for what the last command left to end
SHARED_MEMORY = Path("/dev/shm")
RECOVERING = VITAL | {Victim.WORKER, Victim.COMMAND, Victim.TREE, Victim.IDENTITY}
ENDING = frozenset((Victim.COMMAND, Victim.TREE, Victim.IDENTITY))  # the command has to be typed again
KILLS_PER_SEED = 1


@dataclass
class Seen:
    """What was done and seen."""

    kills: Counter[str] = field(default_factory=Counter)
    typed: int = 1
    recoveries: dict[Victim, list[float]] = field(default_factory=dict)


class Sweep:
    """The sweep under fire, and its command, which is typed again after its own death alone."""

    def __init__(self, round_: Round, draw: random.Random, commands: ExitStack) -> None:
        self._round, self._draw, self._commands = round_, draw, commands
        self.seen = Seen()
        self._type()

    def suffer(self, kill: Kill) -> bool:
        """One loss; False where the sweep has ended before it."""
        if not self._round.wait_for_progress(self.command, self._round.going_heads()):
            return self._goes_on()
        time.sleep(kill.delay)
        if self.command.poll() is not None:
            return self._goes_on()
        began = time.monotonic()
        if kill.victim in ENDING and not kill.stop:
            struck, seconds = True, self._end_the_command(kill.victim, began)
        else:
            struck, seconds = self._round.strike(self.command, kill, self._draw)
        self.seen.kills[str(kill)] += struck
        if seconds is not None and kill.victim in RECOVERING and not kill.stop:
            self.seen.recoveries.setdefault(kill.victim, []).append(seconds)
        print(
            f"  {kill}: {'none there' if not struck else 'ended' if seconds is None else f'{seconds:.1f} s'}",
            flush=True,
        )
        return self._goes_on()

    def finish(self) -> None:
        """Wait for its end."""
        self._round.wait_for_end(self.command)
        self._goes_on()

    def _end_the_command(self, victim: Victim, began: float) -> float | None:
        if victim is Victim.TREE:
            kill_tree(self.command.pid)
        else:
            self.command.kill()
        self.command.wait()
        self._type()
        self.seen.typed += 1
        if victim is Victim.IDENTITY:
            while not (found := find(self.command.pid, victim)):
                if self.command.poll() is not None:
                    return None
                time.sleep(LOOK_SECONDS)
            found[0].kill()
        heads = self._round.going_heads()
        recovered = self._round.wait_for_progress(self.command, heads) if heads else False
        return time.monotonic() - began if recovered else None

    def _type(self) -> None:
        self.command: subprocess.Popen[bytes] = self._commands.enter_context(self._round.command())

    def _goes_on(self) -> bool:
        code = self.command.poll()
        if code not in (None, 0):
            raise RuntimeError(f"the command must end with 0, got {code} (log: {self._round.log})")
        return code is None


def main(kills: int, seed: int, victims: Sequence[Victim]) -> int:
    """Run; returns the exit code."""
    losses, before = plan(seed, kills, victims), _shared_memory()
    print(f"{kills} losses in random order, --seed {seed}")
    with tempfile.TemporaryDirectory(prefix="ac-", dir="/tmp") as root, ExitStack() as commands:
        spec, temporary, mark = Path(root, "mixed.yaml"), Path(root, "t"), uuid.uuid4().hex
        spec.write_text(_spec(kills))
        for name in ("t", "alone", "home"):
            Path(root, name).mkdir()
        environment = {"TMPDIR": str(temporary), MARK: mark}
        expected = undisturbed(Path(root, "alone"), spec, SAVE_EVERY, **environment)
        round_ = Round(Path(root, "home"), spec, SAVE_EVERY, **environment)
        sweep = Sweep(round_, random.Random(seed + 1), commands)
        used = sum(1 for loss in losses if sweep.suffer(loss))
        sweep.finish()
        sweep_id = str(round_.sweep_id)
        ledger = compare(expected, round_.ledger, sweep_id)
        tracking = compare_tracking(expected, of_sqlite(round_.home / "mlflow.db"), sweep_id)
        left = _left(mark, temporary, before)
        work = round_.ledger.work(sweep_id)
    rows = {kind: f"{count}" for kind, count in sorted(sweep.seen.kills.items())}
    rows |= {"losses of the plan before the sweep's end": f"{used} of {kills}", "command typed": f"{sweep.seen.typed}"}
    for victim, seconds in sorted(sweep.seen.recoveries.items()):
        rows[f"recovery of a {victim}, p50 and p95"] = percentiles(seconds)
    rows |= {
        "epochs trained, and trained again": f"{work.trained}, {work.replayed}",
        "left behind": f"{left or 'nothing'}",
    }
    print(lines(rows | verdicts(ledger, tracking)))
    return 0 if ledger.is_clean and tracking.is_clean and not left else 1


def _spec(kills: int) -> str:
    """The sweep of ``sweep.yaml`` with as many seeds as the losses take time."""
    spec = yaml.safe_load((HERE / "sweep.yaml").read_text())
    return yaml.safe_dump(spec | {"seeds": list(range(max(2, kills // KILLS_PER_SEED)))})


def _left(mark: str, temporary: Path, before: set[str]) -> list[str]:
    """Processes, folders and shared memory that are still there some seconds after the end."""
    until = time.monotonic() + GRACE_SECONDS
    while found := [
        *marked(MARK, mark),
        *(str(path) for path in temporary.glob("abel-*")),
        *sorted(_shared_memory() - before),
    ]:
        if time.monotonic() > until:
            break
        time.sleep(1.0)
    return found


def _shared_memory() -> set[str]:
    """Ray's files in shared memory; others of this machine come and go."""
    names = {path.name for path in SHARED_MEMORY.iterdir()} if SHARED_MEMORY.is_dir() else set()
    return {name for name in names if name.startswith(("plasma", "ray", "sem.", "psm_"))}
