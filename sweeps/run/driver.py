"""The driver, which runs a sweep through Ray Tune: gives ready cohorts to reused actors and writes their reports to the ledger.

Tune only executes. Its experiment state is neither read nor kept: after any loss a new Tuner starts from the ledger.
"""

import gc
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from traceback import walk_tb
from typing import Any

from ray import tune
from ray.tune.error import TuneError

from sweeps.ledger import leases
from sweeps.ledger.database import LedgerDamaged, LedgerError
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus, TrialStatus
from sweeps.processes import cluster
from sweeps.processes.identity import IdentityError
from sweeps.processes.job import ClusterAway, DriverLost, Options, Outcome, Progress
from sweeps.run.announcing import Announcer, seldom
from sweeps.run.failures import FailureClass, classify
from sweeps.run.frontier import Frontier
from sweeps.run.placement.pinning import WorkerNodes
from sweeps.run.ray_cluster import first_line, ray_cluster
from sweeps.run.searcher import CohortSearcher, DrainStopper, LedgerCallback, Shared
from sweeps.run.trainable import CohortTrainable, WorkerSettings
from sweeps.spec.trial import Trial
from workers.checkpoints import StoreError, open_checkpoints
from workers.config import Program
from workers.trajectory import Identity

OURS = ("abel", "sweeps", "workers")


def run_sweep(
    ledger: Ledger,
    sweep_id: str,
    invocation: int,
    trials: Sequence[Trial],
    identities: Mapping[Program, Identity],
    options: Options,
    *,
    forecast: tuple[int, int],
    on_progress: Callable[[Progress], None],
    stop: threading.Event,
    lost: Callable[[str], None] = lambda why: None,
) -> Outcome:
    """Run a sweep to its end, or until ``stop`` is set; call it again to continue after an interruption.

    Recorded epochs are not trained again; if all are recorded, Ray is not even started. ``invocation`` comes from
    :meth:`~sweeps.ledger.ledger.Ledger.begin_invocation` and ends here. If another process has taken the sweep over, nothing
    more is written, and the outcome says so. ``lost`` is called from another thread when the local Ray cluster has failed,
    which this function may not notice for a long time.

    Raises:
        DriverLost: Ray raised an exception.
        ClusterAway: the cluster at the address cannot be joined.
        IdentityError: the address is malformed, or this machine lacks the resources.
        LedgerAway: the ledger's server became unreachable. The sweep was drained and its invocation still holds it; once the
            ledger is back, another invocation continues.
    """
    began = time.monotonic()
    frontier = Frontier(
        *(ledger, sweep_id, invocation),
        sharing=options.sharing,
        allow_nondeterminism=options.allow_nondeterminism,
    )
    nodes = WorkerNodes(options)
    sweep = Shared(
        frontier=frontier,
        settings=WorkerSettings.of(options),
        told=stop,
        announcer=Announcer(frontier, nodes, trials, forecast, on_progress, began),
        look=partial(_heed_commands, ledger, sweep_id, frontier, stop),
        nodes=nodes,
        most_workers=options.workers if options.address else None,
    )
    with leases.kept(lambda: ledger.renew_lease(sweep_id, invocation), sweep.end):
        try:
            frontier.open(trials, identities, seldom(sweep.announce))
            _work(sweep, options, sweep_id, lost, began)
        except LedgerError as error:
            sweep.end(error)
    seconds = _seconds(sweep, began)
    status = None if sweep.away is not None else _end(ledger, sweep_id, invocation, sweep, seconds)
    sweep.announce()
    if sweep.away is not None:
        raise sweep.away
    return _outcome(sweep, status or _status(sweep), seconds)


def _work(sweep: Shared, options: Options, sweep_id: str, lost: Callable[[str], None], began: float) -> None:
    """Train what is not recorded, unless the sweep was asked to stop meanwhile."""
    sweep.look()
    sweep.announce()
    if sweep.frontier.waiting and not sweep.told.is_set():
        _train(sweep, options, sweep_id, lost, began)
    if sweep.failure is not FailureClass.NO_SPACE:
        _settle_saved(sweep.frontier, options)


def _seconds(sweep: Shared, began: float) -> Mapping[str, float]:
    """Where the time went."""
    return {
        "ray": sweep.starting_seconds,
        "first_report": 0.0 if sweep.first_report_at is None else sweep.first_report_at - began,
        "ledger": sweep.committing_seconds,
        "wall": time.monotonic() - began,
    }


def _settle_saved(frontier: Frontier, options: Options) -> None:
    """Record checkpoints whose workers could not tell of them. If their store is away, the next run finds them."""
    with suppress(StoreError):
        frontier.settle_saved(open_checkpoints(options.checkpoints, options.store).__contains__)


def _heed_commands(ledger: Ledger, sweep_id: str, frontier: Frontier, stop: threading.Event) -> None:
    """Cancel the trials and drain the sweep as other processes ask by the ledger."""
    try:
        asked = ledger.cancellations(sweep_id)
        if not stop.is_set() and ledger.is_paused(sweep_id):
            stop.set()
    except LedgerDamaged:
        raise
    except LedgerError:
        return  # a single failed read is harmless; if writes fail too, the sweep stops at its next record
    frontier.cancel(asked)


def _train(sweep: Shared, options: Options, sweep_id: str, lost: Callable[[str], None], began: float) -> None:
    """Train the waiting cohorts on Ray."""
    with cluster.watched(lost) as leave, _out_of_ray(), ray_cluster(options, leave) as directory:
        sweep.announce()  # the listener also reinstalls the signal handlers, which Ray has replaced
        sweep.starting_seconds = time.monotonic() - began
        _tune(sweep, options, sweep_id, directory)


def _end(
    ledger: Ledger, sweep_id: str, invocation: int, sweep: Shared, seconds: Mapping[str, float]
) -> SweepStatus | None:
    """Record the end; return the status recorded, None if there is no room to record it."""
    try:
        return ledger.end_invocation(
            *(sweep_id, invocation, _status(sweep)),
            seconds_committing=seconds["ledger"],
            seconds_starting=seconds["ray"],
        )
    except LedgerError as error:  # the disk is full: records are kept, and the next run continues from them
        sweep.end(error)
        return None


def _outcome(sweep: Shared, status: SweepStatus, seconds: Mapping[str, float]) -> Outcome:
    done = sweep.frontier
    return Outcome(status=status, trained=done.trained, replayed=done.replayed, seconds=seconds, error=sweep.error)


def _tune(sweep: Shared, options: Options, name: str, directory: Path) -> None:
    """Train the waiting cohorts with one tuner after another; each hands on the cohorts in training to the next."""
    with sweep.losses.heard():
        while sweep.frontier.waiting and not sweep.stopping:
            sweep.begin_tuner(options.cohorts_per_tuner)
            _tuner(sweep, options, name, directory).fit()
            if sweep.is_handing_on and not sweep.stopping:
                _settle_saved(sweep.frontier, options)
                sweep.frontier.take_back()
                shutil.rmtree(directory / "tune", ignore_errors=True)
                gc.collect()  # the old tuner, whose parts refer to each other


def _tuner(sweep: Shared, options: Options, name: str, directory: Path) -> tune.Tuner:
    def bundle(config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
        # With one bundle both strategies are equivalent, but Tune reuses a process only for an equal one. So a cohort that
        # runs alone gets a fresh process.
        # A gang ends with any failure of its cohort, whose next processes are fresh anyway.
        strategy = "STRICT_SPREAD" if options.hosts > 1 else "STRICT_PACK" if config["alone"] else "PACK"
        where = {"bundle_label_selector": [config["nodes"]] * options.hosts} if config["nodes"] else {}
        return tune.PlacementGroupFactory([options.demand] * options.hosts, strategy=strategy, **where)

    return tune.Tuner(
        tune.with_resources(CohortTrainable, bundle),
        tune_config=tune.TuneConfig(search_alg=CohortSearcher(sweep), num_samples=-1, reuse_actors=True),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(directory / "tune"),
            callbacks=[LedgerCallback(sweep)],
            stop=DrainStopper(sweep),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=0),
            verbose=0,
        ),
    )


@contextmanager
def _out_of_ray() -> Iterator[None]:
    """Raise any exception of Ray and Tune as `DriverLost`; let exceptions due to our own bugs pass."""
    try:
        yield
    except (LedgerError, IdentityError, ClusterAway):
        raise
    except Exception as error:
        raised = _raised(error)
        if _is_bug(raised):
            raise raised from raised.__cause__
        raise DriverLost(first_line(error)) from error


def _raised(error: Exception) -> Exception:
    """Return the original exception: Tune replaces an exception of a stopper or callback by its own with the same text."""
    return error.__context__ if isinstance(error, TuneError) and isinstance(error.__context__, Exception) else error


def _is_bug(error: Exception) -> bool:
    """Whether our code, not Ray's below it, raised an error that is not due to the machine."""
    packages = [frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in walk_tb(error.__traceback__)]
    whose = next((package for package in reversed(packages) if package in ("ray", *OURS)), "ray")
    return whose in OURS and classify(error) is FailureClass.USER


def _status(sweep: Shared) -> SweepStatus:
    statuses = sweep.frontier.statuses.values()
    if sweep.failure is FailureClass.NO_SPACE:
        return SweepStatus.NO_SPACE
    if sweep.error is not None:
        return SweepStatus.FAILED
    if not all(status.final for status in statuses):
        return SweepStatus.INTERRUPTED
    if TrialStatus.FAILED in statuses:
        return SweepStatus.FAILED
    return SweepStatus.CANCELLED if TrialStatus.CANCELLED in statuses else SweepStatus.FINISHED
