"""Which waiting submissions may start now: priorities, a fair share between owners, and the limits of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sweeps.ledger.submissions.rows import Submission


@dataclass(frozen=True, kw_only=True)
class ServiceLimits:
    """What may run at once, and what an owner may use. None is no limit.

    Args:
        sweeps: sweeps at once, as each has a driver on the head of the cluster.
        owner_sweeps: sweeps of one owner at once.
        owner_workers: workers, that is cohorts at once, of all sweeps of one owner.
        owner_hours: accelerator-hours that all sweeps of one owner may use.
    """

    sweeps: int = 4
    owner_sweeps: int | None = None
    owner_workers: int | None = None
    owner_hours: float | None = None


@dataclass(frozen=True)
class Load:
    """What an owner's sweeps hold now."""

    sweeps: int = 0
    workers: int = 0


def to_launch(
    waiting: Sequence[Submission], running: Sequence[Submission], limits: ServiceLimits
) -> Iterator[tuple[Submission, int | None]]:
    """Yield the submissions to start now, each with the workers granted to it (None: as many as the cluster has).

    The highest priority goes first; among equals the owner with the fewest workers, then with the fewest sweeps; then the
    oldest. So an owner with a hundred submissions delays another's first one by no more than a running sweep.
    """
    loads: dict[str, Load] = {}
    for one in running:
        loads[one.owner] = _with(loads.get(one.owner, Load()), one.workers)
    left, free = list(waiting), limits.sweeps - len(running)
    while free > 0 and (allowed := [one for one in left if _fits(loads.get(one.owner, Load()), limits)]):
        chosen = min(allowed, key=lambda one: _turn(one, loads.get(one.owner, Load())))
        load = loads.get(chosen.owner, Load())
        workers = _granted(chosen, load, limits)
        yield chosen, workers
        loads[chosen.owner] = _with(load, workers)
        left.remove(chosen)
        free -= 1


def _turn(one: Submission, load: Load) -> tuple[int, int, int, int, str]:
    return -one.priority, load.workers, load.sweeps, one.created_ms, one.id


def _fits(load: Load, limits: ServiceLimits) -> bool:
    sweeps = limits.owner_sweeps is None or load.sweeps < limits.owner_sweeps
    return sweeps and (limits.owner_workers is None or load.workers < limits.owner_workers)


def _granted(one: Submission, load: Load, limits: ServiceLimits) -> int | None:
    asked: int | None = one.options.get("workers")
    if limits.owner_workers is None:
        return asked
    left = limits.owner_workers - load.workers
    return left if asked is None else min(asked, left)


def _with(load: Load, workers: int | None) -> Load:
    return replace(load, sweeps=load.sweeps + 1, workers=load.workers + (workers or 1))
