"""Drives a sweep through Ray Tune: hands ready cohorts to reused actors and writes what they report to the ledger.

Tune executes and nothing more. Its own experiment state is neither read nor kept: after any loss a new Tuner starts from
the ledger.
"""

import logging
import math
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import chdir, contextmanager
from pathlib import Path
from traceback import walk_tb
from typing import Any

import ray
from ray import tune
from ray._private import ray_constants
from ray.tune.error import TuneError

from sweeps.ledger import leases
from sweeps.ledger.database import LedgerDamaged, LedgerError
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus, TrialStatus
from sweeps.processes import cluster
from sweeps.processes.identity import IdentityError
from sweeps.processes.janitor import cleaned
from sweeps.processes.job import ClusterAway, DriverLost, Options, Outcome, Progress
from sweeps.run.failures import FailureClass, classify
from sweeps.run.frontier import Frontier
from sweeps.run.searcher import CohortSearcher, DrainStopper, LedgerCallback, Shared
from sweeps.run.trainable import CohortTrainable, WorkerSettings
from sweeps.spec.sweep import Trial
from workers.checkpoints import Checkpoints
from workers.config import Program
from workers.trajectory import Identity

TUNE_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # no tables of Tune's own
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # signals are handled by the command
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # what befalls a worker is an incident in the ledger
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",
    "TUNE_RESULT_BUFFER_LENGTH": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}

# Of a local cluster alone: its processes find each other on the loopback interface, and nobody looks at its metrics.
LOCAL_ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's own word for it: where it is set, no other machine can join
    "AUTOSCALER_METRIC_PORT": "65536",  # no port: Ray's monitor logs that it cannot serve them, and works on
}

OURS = ("abel", "sweeps", "workers")

ANNOUNCE_SECONDS = 1.0  # while what is recorded is covered

# A socket's path has 107 bytes at most (on macOS 103), and Ray's own part of it some 80.
LONGEST_PLACE = 18

# Of the local clusters of this process. Ray reads a token once a process; left alone it makes one in a file that others can read.
LOCAL_TOKEN = secrets.token_hex(32)


def run(
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
    """Run a sweep to its end, or until ``stop`` is set; going on after any interruption is calling this again.

    What the ledger covers already is not trained; where it covers all, Ray is not even started. ``invocation`` is that of
    :meth:`~sweeps.ledger.ledger.Ledger.begin_invocation` and ends here. Where another process took the sweep over, nothing
    more is written, and the outcome says so. ``lost`` is called from another thread when the local Ray cluster has broken down,
    which this function may then not notice for long.

    Raises:
        DriverLost: an exception came out of Ray.
        ClusterAway: the cluster at the address cannot be joined.
        IdentityError: the address is malformed, or the cluster lacks the resources.
        LedgerAway: the ledger's server went away. The sweep was drained, and its invocation still has it; once the ledger
            is back, another one goes on.
    """
    began = time.monotonic()
    frontier = Frontier(
        *(ledger, sweep_id, invocation),
        sharing=options.sharing,
        allow_nondeterminism=options.allow_nondeterminism,
    )
    settings = WorkerSettings(
        checkpoints=options.checkpoints.absolute(),
        data_dir=options.data_dir and options.data_dir.absolute(),
        save_every_seconds=options.save_every_seconds,
        report_every_seconds=options.report_every_seconds,
        allow_nondeterminism=options.allow_nondeterminism,
    )
    staged: set[int] = set()
    announce = _announcer(frontier, trials, options, staged, forecast, on_progress, began)

    def look() -> None:
        try:
            asked = ledger.cancellations(sweep_id)
        except LedgerDamaged:
            raise
        except LedgerError:
            return  # a reader's trouble of a moment; a writer's is told by the next record
        frontier.cancel(asked)

    sweep = Shared(frontier, settings, stop, announce, look, staged=staged)
    seconds = {"ray": 0.0, "first_report": 0.0}
    with leases.kept(lambda: ledger.renew_lease(sweep_id, invocation), sweep.end):
        try:
            frontier.open(trials, identities, _seldom(announce))
            look()
            announce()
            if frontier.waiting and not stop.is_set():
                with cluster.watched(lost) as leave, _out_of_ray(), _ray(options, leave) as directory:
                    announce()  # whoever listens takes the signals back, for which Ray has put handlers of its own
                    seconds["ray"] = time.monotonic() - began
                    _tune(sweep, options, sweep_id, directory)
            if sweep.failure is not FailureClass.NO_SPACE:
                frontier.settle_saved(Checkpoints(settings.checkpoints).__contains__)
        except LedgerError as error:
            sweep.end(error)
    if sweep.first_report_at is not None:
        seconds["first_report"] = sweep.first_report_at - began
    seconds |= {"ledger": sweep.committing_seconds, "wall": time.monotonic() - began}
    if sweep.away is None:
        _end(ledger, sweep_id, invocation, sweep, seconds)
    announce()
    if sweep.away is not None:
        raise sweep.away
    return Outcome(
        status=_status(sweep),
        trained=frontier.trained,
        replayed=frontier.replayed,
        seconds=seconds,
        error=sweep.error,
    )


def _end(ledger: Ledger, sweep_id: str, invocation: int, sweep: Shared, seconds: Mapping[str, float]) -> None:
    try:
        ledger.end_invocation(
            *(sweep_id, invocation, _status(sweep)),
            seconds_committing=seconds["ledger"],
            seconds_starting=seconds["ray"],
        )
    except LedgerError as error:  # the disk is full: what is recorded stays, and the next run goes on from it
        sweep.end(error)


def _tune(sweep: Shared, options: Options, name: str, directory: Path) -> None:
    resources = {"CPU": options.cpu, "GPU": options.gpu} | ({"TPU": options.tpu} if options.tpu else {})

    def bundle(config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
        # Of one bundle both are the same, but Tune reuses a process only for equal ones: who is alone gets a fresh one.
        return tune.PlacementGroupFactory([resources], strategy="STRICT_PACK" if config["alone"] else "PACK")

    tuner = tune.Tuner(
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
    with sweep.losses.heard():
        tuner.fit()


@contextmanager
def _out_of_ray() -> Iterator[None]:
    """What comes out of Ray and Tune is the loss of the driver, whatever its type; a bug of ours comes out as itself."""
    try:
        yield
    except (LedgerError, IdentityError, ClusterAway):
        raise
    except Exception as error:
        raised = _raised(error)
        if _is_bug(raised):
            raise raised from raised.__cause__
        raise DriverLost(_line(error)) from error


def _raised(error: Exception) -> Exception:
    """What was raised first: Tune has an error of its own with the text of what came out of a stopper or a callback."""
    return error.__context__ if isinstance(error, TuneError) and isinstance(error.__context__, Exception) else error


def _is_bug(error: Exception) -> bool:
    """Whether our code, and not Ray's under it, raised something that is no trouble of the machine."""
    packages = [frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in walk_tb(error.__traceback__)]
    whose = next((package for package in reversed(packages) if package in ("ray", *OURS)), "ray")
    return whose in OURS and classify(error) is FailureClass.USER


def _line(error: BaseException) -> str:
    line, _, _ = str(error).strip().partition("\n")
    return f"{type(error).__name__}: {line}"


@contextmanager
def _ray(options: Options, leave: Callable[[], None]) -> Iterator[Path]:
    """A Ray cluster: the one at the address, else a local one that lives as long as this block. Yields a directory to use.

    ``leave`` is called before the cluster is left.
    Only this user may enter the directory. Ray gets one inside it, because it opens its own to everybody.
    """
    os.environ.update(TUNE_ENVIRONMENT | os.environ)
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # "Trials did not complete": ours were taken up again
    directory = Path(tempfile.mkdtemp(prefix="abel-ray-", dir=_short_place()))
    with cleaned(directory):
        try:
            # Workers import from the directory that Ray is started in: a user's own `workers/` must not take ours' place.
            with chdir(directory):
                _start(options, directory / "r")
            _refuse_missing_resources(options)
            yield directory
        finally:
            leave()
            ray.shutdown()


def _short_place() -> str:
    """Where temporary files go, but for one that is so deep that the path of a socket of Ray's in it would be too long."""
    place = tempfile.gettempdir()
    return place if len(place) <= LONGEST_PLACE else "/tmp"


def _start(options: Options, directory: Path) -> None:
    worker = {"env_vars": options.environment.variables()}
    quiet = {"runtime_env": worker, "log_to_driver": False, "logging_level": logging.ERROR}
    if options.address is not None:
        # How often to try to reach the head, each time for some 40 s; by default it takes a quarter of an hour to give up.
        os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "2")
        _join(options.address, quiet)
        return
    with _on_loopback():
        ray.init(
            address="local",  # else RAY_ADDRESS would be joined
            num_cpus=math.ceil(options.slots * options.cpu),
            include_dashboard=False,
            _temp_dir=str(directory),
            # Else Ray starts workers before it answers the driver, and never answers if one of them dies (ray#40131).
            _system_config={"prestart_worker_first_driver": False, "enable_metrics_collection": False},
            **quiet,
        )


def _join(address: str, settings: Mapping[str, Any]) -> None:
    try:
        ray.init(address=address, **settings)
    except ValueError as error:
        line, _, _ = str(error).strip().partition("\n")
        raise IdentityError(f"Ray cluster: must have an address HOST:PORT, got {address!r} ({line})") from error
    except Exception as error:  # Ray has no type for a head that does not answer, or is of another version
        raise ClusterAway(f"the Ray cluster at {address} cannot be joined: {_line(error)}") from error


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Have Ray's processes that are started in this block listen on the loopback interface only.

    ``_node_ip_address`` is no way to it: Ray takes the address of the network for "127.0.0.1".
    """
    os.environ.setdefault("RAY_AUTH_TOKEN", LOCAL_TOKEN)
    os.environ.update(LOCAL_ENVIRONMENT)
    usual, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = usual
        for name in LOCAL_ENVIRONMENT:
            del os.environ[name]


def _refuse_missing_resources(options: Options) -> None:
    """A cohort that no node can hold would wait for ever."""
    nodes = _nodes()
    for name, wanted in options.resources.items():
        if wanted > (most := max((node.get(name.upper(), 0) for node in nodes), default=0)):
            raise IdentityError(f"resources.{name}: must be at most the {most:g} that Ray offers here, got {wanted:g}")


def _has_room(options: Options) -> bool:
    """Whether a node is large enough for a worker, be it busy; the last that was may be lost, and another one may join."""
    return not ray.is_initialized() or any(
        all(node.get(name.upper(), 0) >= wanted for name, wanted in options.resources.items()) for node in _nodes()
    )


def _nodes() -> list[Mapping[str, float]]:
    """What each node that Ray holds for alive has in all."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _seldom(act: Callable[[], None]) -> Callable[[], None]:
    """The act, at most once in ``ANNOUNCE_SECONDS`` however often it is called."""
    acted_at = -math.inf

    def maybe() -> None:
        nonlocal acted_at
        if time.monotonic() - acted_at >= ANNOUNCE_SECONDS:
            act()
            acted_at = time.monotonic()

    return maybe


def _announcer(
    frontier: Frontier,
    trials: Sequence[Trial],
    options: Options,
    staged: Set[int],
    forecast: tuple[int, int],
    on_progress: Callable[[Progress], None],
    began: float,
) -> Callable[[], None]:
    """A function that tells how far the sweep is; the forecast is of the epochs still to be trained at the start."""
    total = sum(trial.epochs for trial in trials)
    first: list[tuple[int, float]] = []  # epochs and seconds at the first report: start-up says nothing of the pace

    def announce() -> None:
        elapsed = time.monotonic() - began
        statuses = list(frontier.statuses.values())
        running, waiting = frontier.running - len(staged), frontier.waiting + len(staged)
        if frontier.trained and not first:
            first.append((frontier.trained, elapsed))
        on_progress(
            Progress(
                trials=len(statuses),
                ended=sum(status.final for status in statuses),
                diverged=statuses.count(TrialStatus.DIVERGED),
                failed=statuses.count(TrialStatus.FAILED),
                cancelled=statuses.count(TrialStatus.CANCELLED),
                stopped=statuses.count(TrialStatus.STOPPED),
                running=running,
                waiting=waiting,
                room=running > 0 or waiting == 0 or _has_room(options),
                joined=ray.is_initialized(),
                trained=frontier.trained,
                replayed=frontier.replayed,
                covered=frontier.covered,
                total=total,
                forecast_low=forecast[0],
                forecast_high=forecast[1],
                elapsed_seconds=elapsed,
                eta_seconds=_eta(frontier.trained, sum(forecast) / 2, elapsed, *first),
            )
        )

    return announce


def _eta(trained: int, expected: float, elapsed: float, *first: tuple[int, float]) -> float | None:
    """Seconds to the expected number of epochs at the pace since the first report; None before there is a pace."""
    if not first or trained <= first[0][0]:
        return None
    trained_then, elapsed_then = first[0]
    return max(0.0, expected - trained) * (elapsed - elapsed_then) / (trained - trained_then)


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
