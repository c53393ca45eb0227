"""Sweeps in which any process is killed, in random order, until the plan is used up: ``run.py --mixed KILLS``."""

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
from oracle import Curves, Verdict, compare, compare_tracking
from rounds import HERE, LOOK_SECONDS, Round, undisturbed
from run import SAVE_EVERY, lines, percentiles, verdicts
from victims import VITAL, Victim, described, end_marked, find, kill_tree, marked

from sweeps.urls import of_sqlite

MARK = "ABEL_CHAOS_MARK"
GRACE_SECONDS = 20.0  # for what the last command left to end
SHARED_MEMORY = Path("/dev/shm")
RECOVERING = VITAL | {Victim.COMMAND, Victim.TREE, Victim.IDENTITY}
ENDING = frozenset((Victim.COMMAND, Victim.TREE, Victim.IDENTITY))  # the command has to be typed again
SEEDS = 12  # a sweep of so many lasts for about eight losses


@dataclass
class Seen:
    """What was done and seen."""

    kills: Counter[str] = field(default_factory=Counter)
    sweeps: int = 0
    typed: int = 0
    trained: int = 0
    replayed: int = 0
    recoveries: dict[Victim, list[float]] = field(default_factory=dict)
    ledger: Verdict = field(default_factory=Verdict)
    tracking: Verdict = field(default_factory=Verdict)


class Sweep:
    """The sweep under fire, and its command, which is typed again after its own death alone."""

    def __init__(self, round_: Round, draw: random.Random, commands: ExitStack, seen: Seen) -> None:
        self._round, self._draw, self._commands, self._seen = round_, draw, commands, seen
        self._type()

    def suffer(self, kill: Kill) -> bool:
        """One loss; False where the sweep ends before it."""
        if not self._round.wait_for_progress(self.command, self._round.going_heads()):
            return False
        time.sleep(kill.delay)
        if self.command.poll() is not None:
            return False
        began = time.monotonic()
        if kill.victim in ENDING and not kill.stop:
            struck, seconds = True, self._end_the_command(kill.victim, began)
        else:
            struck, seconds = self._round.strike(self.command, kill, self._draw)
        if struck:
            self._seen.kills[str(kill)] += 1
            print(f"  {kill}: {'the sweep ended' if seconds is None else f'{seconds:.1f} s'}", flush=True)
        if seconds is not None and kill.victim in RECOVERING and not kill.stop:
            self._seen.recoveries.setdefault(kill.victim, []).append(seconds)
        return struck

    def goes_on(self) -> bool:
        """Whether its command still runs.

        Raises:
            RuntimeError: it ended with an error.
        """
        code = self.command.poll()
        if code not in (None, 0):
            raise RuntimeError(f"the command must end with 0, got {code} (log: {self._round.log})")
        return code is None

    def finish(self) -> None:
        """Wait for its end."""
        self._round.wait_for_end(self.command)
        self.goes_on()

    def _end_the_command(self, victim: Victim, began: float) -> float | None:
        if victim is Victim.TREE:
            kill_tree(self.command.pid)
        else:
            self.command.kill()
        self.command.wait()
        self._type()
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
        self._seen.typed += 1
        self.command: subprocess.Popen[bytes] = self._commands.enter_context(self._round.command())


def main(kills: int, seed: int, victims: Sequence[Victim]) -> int:
    """Run; returns the exit code."""
    losses, before = plan(seed, kills, victims), _shared_memory()
    print(f"{kills} losses in random order, --seed {seed}")
    with tempfile.TemporaryDirectory(prefix="ac-", dir="/tmp") as root, ExitStack() as commands:
        spec, temporary, mark = Path(root, "mixed.yaml"), Path(root, "t"), uuid.uuid4().hex
        spec.write_text(_spec())
        for name in ("t", "alone"):
            Path(root, name).mkdir()
        commands.callback(end_marked, MARK, mark)  # should this fail, a projector would go on for minutes
        environment = {"TMPDIR": str(temporary), MARK: mark}
        expected, seen, draw = (
            undisturbed(Path(root, "alone"), spec, SAVE_EVERY, **environment),
            Seen(),
            random.Random(seed + 1),
        )
        while losses:
            seen.sweeps += 1
            home = Path(root, f"home-{seen.sweeps}")
            home.mkdir()
            round_ = Round(home, spec, SAVE_EVERY, crowded=True, **environment)
            sweep = Sweep(round_, draw, commands, seen)
            while losses and sweep.goes_on():
                if sweep.suffer(losses[0]):
                    del losses[0]
            sweep.finish()
            _compare(expected, round_, seen)
        left = _left(mark, temporary, before)
    print(table(seen, left))
    return 0 if seen.ledger.is_clean and seen.tracking.is_clean and not left else 1


def _compare(expected: Curves, round_: Round, seen: Seen) -> None:
    """Every record of a sweep that has ended, with the undisturbed run's."""
    sweep_id = str(round_.sweep_id)
    work = round_.ledger.work(sweep_id)
    seen.trained, seen.replayed = seen.trained + work.trained, seen.replayed + work.replayed
    found = compare(expected, round_.ledger, sweep_id)
    shown = compare_tracking(expected, of_sqlite(round_.home / "mlflow.db"), sweep_id)
    seen.ledger += found
    seen.tracking += shown
    print(f"sweep {seen.sweeps}: {seen.kills.total()} losses so far, {found}, MLflow {shown}", flush=True)


def table(seen: Seen, left: Sequence[str]) -> str:
    """What was done and seen, a line each."""
    rows = {kind: f"{count}" for kind, count in sorted(seen.kills.items())}
    rows |= {"losses": f"{seen.kills.total()}", "sweeps": f"{seen.sweeps}", "commands typed": f"{seen.typed}"}
    for victim, seconds in sorted(seen.recoveries.items()):
        rows[f"recovery of a {victim}, p50 and p95"] = percentiles(seconds)
    rows |= {
        "epochs trained, and trained again": f"{seen.trained}, {seen.replayed}",
        "left behind": f"{list(left) or 'nothing'}",
    }
    return lines(rows | verdicts(seen.ledger, seen.tracking))


def _spec() -> str:
    """The sweep of ``sweep.yaml`` with more seeds."""
    spec = yaml.safe_load((HERE / "sweep.yaml").read_text())
    return yaml.safe_dump(spec | {"seeds": list(range(SEEDS))})


def _left(mark: str, temporary: Path, before: set[str]) -> list[str]:
    """Processes, folders and shared memory that are still there some seconds after the end."""
    until = time.monotonic() + GRACE_SECONDS
    while found := [
        *map(described, marked(MARK, mark)),
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
