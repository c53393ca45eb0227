"""The room that checkpoints take: what of it can be given back, and how much a sweep must find to start."""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping

from services import ledgers
from services.settings import Settings
from services.upkeep import Collected, Pruned
from sweeps.ledger import leases, retention
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.retention import Fate
from workers.checkpoints import Checkpoints

DRAFT = "draft of a process that died"


def collect(settings: Settings, *, dry_run: bool) -> Collected:
    """Remove every checkpoint that no sweep of this home needs any more (:mod:`sweeps.ledger.retention`).

    The ledger lets go of a checkpoint before its files go: killed in between, this leaves files that nothing claims, which
    the next collection finds, and never a claim without files.
    """
    checkpoints = Checkpoints(settings.checkpoints)
    with ledgers.opened_if_any(settings) as ledger:
        if ledger is None:
            return Collected(dry_run=dry_run, groups=(), freed=0)
        # In this order: what is on the disk now was claimed by a row, or by a sweep that is running or has ended, when
        # these are read.
        claimed = ledger.checkpoints()
        sizes, drafts = checkpoints.sizes(), checkpoints.drafts()
        fates = _fates(ledger, checkpoints, sizes)
        gone = [key for key, fate in fates.items() if not fate.kept]
        if not dry_run:
            ledger.prune_checkpoints([*gone, *(claimed - sizes.keys())])
            for key in gone:
                checkpoints.discard(key)
            for draft in drafts:
                shutil.rmtree(draft, ignore_errors=True)
    groups = [*_groups(fates, sizes)]
    if drafts:
        groups.append(Pruned(what=DRAFT, kept=False, count=len(drafts), bytes=sum(drafts.values())))
    return Collected(
        dry_run=dry_run, groups=tuple(groups), freed=sum(group.bytes for group in groups if not group.kept)
    )


def largest(settings: Settings, ledger: Ledger | None, sweep_id: str) -> int | None:
    """The bytes of the sweep's largest checkpoint, else of the largest of any sweep here; None before the first."""
    sizes = Checkpoints(settings.checkpoints).sizes()
    paths = ledger.paths(sweep_id).values() if ledger else ()
    ours = {key: sizes[key] for path in paths for key in path if key in sizes}
    return max((ours or sizes).values(), default=None)


def _fates(ledger: Ledger, checkpoints: Checkpoints, sizes: Mapping[str, int]) -> dict[str, Fate]:
    while True:
        running = _running(ledger)
        paths = [
            retention.Path(keys=trials[trial.id], status=trial.status, running=sweep.id in running)
            for sweep in ledger.sweeps()
            for trials in [ledger.paths(sweep.id)]
            for trial in ledger.trials(sweep.id)
        ]
        fates = retention.fates(sizes, paths, checkpoints.intact)
        if _running(ledger) <= running:  # verifying takes time, in which a sweep may begin
            return fates


def _running(ledger: Ledger) -> set[str]:
    return {sweep.id for sweep in ledger.sweeps() if leases.is_held(sweep)}


def _groups(fates: Mapping[str, Fate], sizes: Mapping[str, int]) -> Iterator[Pruned]:
    counts, weights = Counter(fates.values()), Counter[Fate]()
    for key, fate in fates.items():
        weights[fate] += sizes[key]
    for fate in Fate:
        if counts[fate]:
            yield Pruned(what=str(fate), kept=fate.kept, count=counts[fate], bytes=weights[fate])
