"""Kills workers, drivers, Ray and commands of a real sweep by a seeded plan until it ends all the same; compares every record.

    python tests/chaos/run.py [--short] [--seed N]
    python tests/chaos/run.py --mixed KILLS [--seed N] [--spare VICTIM …]

Prints the plan, then a table, and exits with 1 on any loss, double, or differing bit. ``--mixed`` kills any process of a run,
in random order, stops some for longer than a lease, and types the command again only after its own death.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from faults import Death, Life, plan
from oracle import Verdict, compare, compare_tracking
from rounds import HERE, UNHARMED, Round, undisturbed
from victims import Victim

from sweeps.urls import of_sqlite

SAVE_EVERY = 2.0


@dataclass
class Tally:
    """What was done and seen."""

    kills: Counter[Victim] = field(default_factory=Counter)
    commands: Counter[Death] = field(default_factory=Counter)
    rounds: int = 0
    trained: int = 0
    replayed: int = 0
    recoveries: dict[Victim, list[float]] = field(default_factory=dict)
    ledger: Verdict = field(default_factory=Verdict)
    tracking: Verdict = field(default_factory=Verdict)


def live(life: Life, round_: Round, tally: Tally, draw: random.Random) -> tuple[bool, Life | None]:
    """Live one command's life; returns whether the sweep came to its end in it, and what of the life was left by then."""
    began, done = time.monotonic(), 0
    with round_.command(life) as command:
        if life.death is Death.EARLY:
            try:
                command.wait(life.after)
            except subprocess.TimeoutExpired:
                command.kill()
                tally.commands[Death.EARLY] += 1
            return _ended(command, round_, life)
        if round_.wait_for_progress(command, round_.heads()) and tally.commands:
            tally.recoveries.setdefault(Victim.COMMAND, []).append(time.monotonic() - began)
        for kill in life.kills:
            time.sleep(kill.delay)
            struck, seconds = round_.strike(command, kill, draw)
            done += struck
            tally.kills[kill.victim] += struck
            if seconds is not None:
                tally.recoveries.setdefault(kill.victim, []).append(seconds)
            if command.poll() is not None:
                break
        if life.death is Death.LATE and command.poll() is None:
            time.sleep(life.after)
            if command.poll() is None:
                command.kill()
                tally.commands[Death.LATE] += 1
        else:
            round_.wait_for_end(command)
            tally.commands[Death.IN_COMMIT] += command.returncode == -signal.SIGKILL
        return _ended(command, round_, replace(life, kills=life.kills[done:]))


def _ended(command: "subprocess.Popen[bytes]", round_: Round, rest: Life) -> tuple[bool, Life | None]:
    command.wait()
    if command.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the command must end with 0, got {command.returncode} (log: {round_.log})")
    died = command.returncode != 0
    spared = rest if not died and (rest.kills or rest.death is not Death.NONE) else None
    return not died, spared


def chaos(lives: list[Life], spec: Path, root: Path, seed: int) -> Tally:
    """Run sweeps under the plan until it is used up and the last sweep has ended."""
    expected, tally, draw = undisturbed(_home(root), spec, SAVE_EVERY), Tally(), random.Random(seed + 1)
    todo = list(lives)
    while todo:
        round_, tally.rounds = Round(_home(root), spec, SAVE_EVERY), tally.rounds + 1
        lived, done = 0, False
        while not done:
            done, spared = live(todo.pop(0) if todo else UNHARMED, round_, tally, draw)
            lived += 1
            if spared is not None:  # a quick machine ended the sweep first: the next sweep has what it was spared
                todo.insert(0, spared)
        sweep_id = str(round_.sweep_id)
        work = round_.ledger.work(sweep_id)
        tally.trained += work.trained
        tally.replayed += work.replayed
        found = compare(expected, round_.ledger, sweep_id)
        tally.ledger += found
        tally.tracking += compare_tracking(expected, of_sqlite(round_.home / "mlflow.db"), sweep_id)
        print(
            f"sweep {tally.rounds}: {lived} commands, {tally.kills.total()} others killed so far, {found}", flush=True
        )
    return tally


def table(tally: Tally) -> str:
    """What was done and seen, a line each."""
    deaths = ", ".join(f"{count} {death}" for death, count in sorted(tally.commands.items()) if count)
    rows = {f"{victim}s killed": f"{count}" for victim, count in sorted(tally.kills.items())}
    rows |= {
        "commands killed": f"{tally.commands.total()} ({deaths})",
        "sweeps": f"{tally.rounds}",
        "epochs trained, and trained again": f"{tally.trained}, {tally.replayed}",
    }
    for victim, seconds in sorted(tally.recoveries.items()):
        rows[f"recovery of a {victim}, p50 and p95"] = percentiles(seconds)
    return lines(rows | verdicts(tally.ledger, tally.tracking))


def verdicts(ledger: Verdict, tracking: Verdict) -> dict[str, str]:
    """What was compared, and what was wrong with it."""
    rows = {}
    for name, verdict in (("ledger", ledger), ("MLflow", tracking)):
        rows[f"{name}: records"] = f"{verdict.records}"
        rows[f"{name}: missing, duplicate, differing"] = f"{verdict.missing}, {verdict.duplicate}, {verdict.differing}"
    return rows


def lines(rows: dict[str, str]) -> str:
    """A table as text."""
    return "\n".join(f"  {name:44}{value}" for name, value in rows.items())


def percentiles(seconds: list[float]) -> str:
    """The median and the 95th percentile, as text."""
    if not seconds:
        return "none seen"
    ordered = sorted(seconds)
    return f"{ordered[len(ordered) // 2]:.1f} s, {ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]:.1f} s"


def _home(root: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix="home-", dir=root))


def main() -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--short", action="store_true", help="a few faults, in about four minutes")
    parser.add_argument("--mixed", type=int, metavar="KILLS", help="kill any process, in one sweep")
    parser.add_argument("--spare", nargs="*", type=Victim, default=[], metavar="VICTIM", help="not these, with --mixed")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    if options.mixed:
        import mixed

        return mixed.main(options.mixed, options.seed, [victim for victim in Victim if victim not in options.spare])
    lives = plan(options.seed, *((1, 3, 1) if options.short else (100, 25, 10)))
    print(f"fault plan, --seed {options.seed}:")
    for life in lives:
        print(f"  {', '.join(map(str, life.kills)) or 'nothing'}, then the command {life.death} ({life.after:.1f})")
    spec = HERE / ("short.yaml" if options.short else "sweep.yaml")
    with tempfile.TemporaryDirectory(prefix="abel-chaos-") as root:
        tally = chaos(lives, spec, Path(root), options.seed)
    print(table(tally))
    return 0 if tally.ledger.is_clean and tally.tracking.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
