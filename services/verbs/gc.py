"""The disk space of checkpoints and logs: what `abel gc` can free, and the largest checkpoint of a sweep."""

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from services import ledgers
from services.settings import Settings
from services.upkeep import Collected, Pruned
from sweeps.ledger import leases, retention
from sweeps.ledger.ledger import ADOPTED, Ledger
from sweeps.ledger.retention import Fate
from sweeps.ledger.submissions.queue import Submissions
from workers.checkpoints import Checkpoints, open_checkpoints

DRAFT = "draft of a process that died"
LOG = "log of a process, a month old"
LOG_SECONDS = 30 * 86_400.0  # since something was written to it


def collect(settings: Settings, *, dry_run: bool) -> Collected:
    """Remove every checkpoint that no sweep of this home needs (:mod:`sweeps.ledger.retention`), and old logs of processes.

    The ledger releases a checkpoint before its files are deleted. If the process is killed in between, it leaves unclaimed
    files, which the next collection finds, but never a claim without files.
    """
    checkpoints = open_checkpoints(settings.checkpoints, settings.store)
    with ledgers.opened_if_any(settings) as ledger:
        if ledger is None:
            return Collected(dry_run=dry_run, groups=(), freed=0)
        # Claims are read before files, so a new checkpoint is not a claim without files; sweeps are read last, so every
        # file's sweep is known.
        claimed = ledger.checkpoints()
        sizes, drafts = checkpoints.sizes(split=True), checkpoints.drafts()
        fates = _fates(ledger, checkpoints, sizes)
        if settings.store_place is not None:
            fates = {key: Fate.FOREIGN if fate is Fate.STRANGE else fate for key, fate in fates.items()}
        logs = _old_logs(settings, ledger)
        gone = [key for key, fate in fates.items() if not fate.kept]
        if not dry_run:
            ledger.prune_checkpoints([*gone, *(claimed - sizes.keys())])
            for key in gone:
                checkpoints.discard(key)
            for draft in drafts:
                shutil.rmtree(draft, ignore_errors=True)
            for log in logs:
                log.unlink(missing_ok=True)
    groups = [*_groups(fates, sizes)]
    if drafts:
        groups.append(Pruned(what=DRAFT, kept=False, count=len(drafts), bytes=sum(drafts.values())))
    if logs:
        groups.append(Pruned(what=LOG, kept=False, count=len(logs), bytes=sum(logs.values())))
    return Collected(
        dry_run=dry_run, groups=tuple(groups), freed=sum(group.bytes for group in groups if not group.kept)
    )


def largest(settings: Settings, ledger: Ledger | None, sweep_id: str) -> int | None:
    """The size in bytes of the sweep's largest checkpoint, else of the largest one here; None before the first."""
    sizes = open_checkpoints(settings.checkpoints, settings.store).sizes()
    paths = ledger.paths(sweep_id).values() if ledger else ()
    ours = {key: sizes[key] for path in paths for key in path if key in sizes}
    return max((ours or sizes).values(), default=None)


def _old_logs(settings: Settings, ledger: Ledger) -> dict[Path, int]:
    """The sizes in bytes of logs to which nothing was written for long, unless what they are of goes on."""
    open_ids = {one.id for one in Submissions.of(ledger).open_ones()} | _running(ledger)
    found = dict[Path, os.stat_result]()
    for log in settings.logs.glob("*.log"):
        with suppress(FileNotFoundError):
            found[log] = log.stat()
    return {
        log: stat.st_size
        for log, stat in found.items()
        if time.time() - stat.st_mtime > LOG_SECONDS and not any(id in log.name for id in open_ids)
    }


def _fates(ledger: Ledger, checkpoints: Checkpoints, sizes: Mapping[str, int]) -> dict[str, Fate]:
    while True:
        running = _running(ledger)
        paths = [
            retention.Path(keys=trials[trial.id], status=trial.status, running=sweep.id in running)
            for sweep in ledger.sweeps()
            for trials in [ledger.paths(sweep.id)]
            for trial in ledger.trials(sweep.id)
        ]
        adoptions = (event for sweep in ledger.sweeps() for event in ledger.events_of(sweep.id, ADOPTED))
        adopted = {key for event in adoptions for key in event.payload["checkpoints"]}
        fates = retention.fates(sizes, paths, checkpoints.intact, adopted)
        if _running(ledger) <= running:  # a sweep may start while checkpoints are verified
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
