"""The Ray cluster of a sweep: a local one, on loopback and only for this user, or the one at an address."""

import logging
import math
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants

from sweeps.processes.identity import IdentityError
from sweeps.processes.janitor import cleaned
from sweeps.processes.job import ClusterAway, Options
from sweeps.run.placement.nodes import living_nodes, refuse_if_none_fits

TUNE_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # disables Tune's tables
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # signals are handled by the command
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a worker's failure is an incident in the ledger
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "1000000",
    "TUNE_RESULT_BUFFER_LENGTH": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}

# Cohorts that wait for a worker at once. On a cluster so many workers start together; each waiting one costs Ray memory and
# messages all the time.
PENDING = 8

# Only for a local cluster: its processes communicate on the loopback interface, and its metrics are not used.
LOCAL_ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's setting to prevent other machines from joining
    "AUTOSCALER_METRIC_PORT": "65536",  # invalid, so Ray's monitor logs that it cannot serve metrics, and continues
}

# A socket's path has at most 107 bytes (103 on macOS), of which Ray needs about 80.
LONGEST_PLACE = 18

# For the local clusters of this process. Ray reads a token once per process; by default it creates one in a file that others
# can read.
LOCAL_TOKEN = secrets.token_hex(32)


@contextmanager
def ray_cluster(options: Options, leave: Callable[[], None]) -> Iterator[Path]:
    """Join the Ray cluster at the address, or run a local one while the block runs; yield a directory for temporary files.

    Only this user may enter the directory. Ray's own directory, which Ray opens to everybody, is inside it.

    Args:
        leave: called before the cluster is left.

    Raises:
        ClusterAway: the cluster at the address cannot be joined.
        IdentityError: the address is malformed, or this machine is too small for a worker.
    """
    pending = {"TUNE_MAX_PENDING_TRIALS_PG": str(PENDING if options.address else 1)}
    os.environ.update(TUNE_ENVIRONMENT | pending | os.environ)
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # "Trials did not complete": they were retried
    directory = Path(tempfile.mkdtemp(prefix="abel-ray-", dir=_short_place()))
    with cleaned(directory):
        try:
            # Workers import from the directory in which Ray is started: a user's own `workers/` must not shadow ours.
            with chdir(directory):
                _start(options, directory / "r")
            if options.address is None:
                refuse_if_none_fits(options, living_nodes())
            yield directory
        finally:
            leave()
            ray.shutdown()


def _short_place() -> str:
    """Return the folder for temporary files, or /tmp if the paths of Ray's sockets in it would be too long."""
    place = tempfile.gettempdir()
    return place if len(place) <= LONGEST_PLACE else "/tmp"


def _start(options: Options, directory: Path) -> None:
    worker = {"env_vars": options.environment.variables()}
    quiet = {"runtime_env": worker, "log_to_driver": False, "logging_level": logging.ERROR}
    if options.address is not None:
        # Limits the attempts to reach the head, of about 40 s each; by default Ray gives up after a quarter of an hour.
        os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "2")
        _join(options.address, quiet)
        return
    with _on_loopback():
        ray.init(
            address="local",  # else RAY_ADDRESS would be joined
            num_cpus=math.ceil(options.slots * options.cpu),
            include_dashboard=False,
            _temp_dir=str(directory),
            # Otherwise Ray starts workers before it answers the driver, and never answers if one of them dies (ray#40131).
            # Without a dashboard nobody reads the events of tasks, of which the GCS would keep 14 kB per cohort.
            _system_config={
                "prestart_worker_first_driver": False,
                "enable_metrics_collection": False,
                "task_events_report_interval_ms": 0,
            },
            **quiet,
        )


def _join(address: str, settings: Mapping[str, Any]) -> None:
    try:
        ray.init(address=address, **settings)
    except ValueError as error:
        line, _, _ = str(error).strip().partition("\n")
        raise IdentityError(f"Ray cluster: must have an address HOST:PORT, got {address!r} ({line})") from error
    except Exception as error:  # Ray has no type for a head that does not answer or has another version
        raise ClusterAway(f"the Ray cluster at {address} cannot be joined: {first_line(error)}") from error


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Make Ray's processes that are started in this block listen only on the loopback interface.

    ``_node_ip_address`` does not achieve this: Ray replaces "127.0.0.1" by the network's address.
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


def first_line(error: BaseException) -> str:
    """Return an error's class and the first line of its text."""
    line, _, _ = str(error).strip().partition("\n")
    return f"{type(error).__name__}: {line}"
