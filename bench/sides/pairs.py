"""Paired times of a training step: every side in a process of its own, a round of one after a round of the other.

The number of threads is fixed when a framework starts. Rounds alternate, so a busy machine slows all sides.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import IO, NamedTuple, cast

TARGET_RATIO = 1.2


class Step(NamedTuple):
    """Milliseconds of a step."""

    wall: float
    cpu: float  # of all threads of the process


Times = dict[str, list[Step]]  # by side, in the order of rounds


def serve(run: Callable[[], None], steps: int) -> None:
    """Answer every line of standard input with the milliseconds per step of one round: on the clock, and of CPU time."""
    run()
    print("ready", flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        took = time.perf_counter() - wall, time.process_time() - cpu
        print(*(1e3 * seconds / steps for seconds in took), flush=True)


def measure(command: Sequence[str], sides: Sequence[str], threads: int, rounds: int) -> Times:
    """Return the times per step of every side, round by round; the sides take turns.

    Args:
        command: what serves a side, without its name at the end.
    """
    environment = os.environ | {"NPROC": str(threads), "OMP_NUM_THREADS": str(threads), "JAX_PLATFORMS": "cpu"}
    servers = {
        side: subprocess.Popen(
            [*command, side], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        for side in sides
    }
    times: Times = {side: [] for side in sides}
    try:
        for side, server in servers.items():
            if cast(IO[str], server.stdout).readline() != "ready\n":
                raise RuntimeError(f"side {side} of {' '.join(command)} did not start: its error is above")
        for _ in range(rounds):
            for side, server in servers.items():
                print("go", file=server.stdin, flush=True)
                times[side].append(Step(*map(float, cast(IO[str], server.stdout).readline().split())))
    finally:
        for server in servers.values():
            server.kill()
            server.communicate()
    return times


def ratio(times: Times, clock: Callable[[Step], float]) -> float:
    """Return the median of the paired ratios of ours, the first side, to the other one with the lowest median."""
    ours, *others = ([clock(step) for step in steps] for steps in times.values())
    faster = min(others, key=statistics.median)
    return statistics.median(one / other for one, other in zip(ours, faster, strict=True))


def cells(times: Times, sides: Sequence[str], threads: int) -> tuple[list[str], float]:
    """Return a row's figures, and the ratio that counts: with one thread of CPU times, which a busy machine hardly changes.

    Args:
        sides: the columns; one that was not measured has a dash.
    """
    wall = [f"{statistics.median(step.wall for step in times[side]):.2f}" if side in times else "-" for side in sides]
    cpu = [f"{statistics.median(step.cpu for step in times[side]):.2f}" if side in times else "-" for side in sides]
    if len(times) == 1:
        return [*wall, "-", *cpu, "-"], 0.0
    by_wall, by_cpu = ratio(times, lambda step: step.wall), ratio(times, lambda step: step.cpu)
    return [*wall, f"{by_wall:.2f}", *cpu, f"{by_cpu:.2f}"], by_cpu if threads == 1 else by_wall
