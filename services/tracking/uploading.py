"""Uploads sweeps to the tracking store: beside a run as a separate process, or alone for the verb ``track``.

    python -m services.tracking.uploading --sweep ID --artifacts DIR [--ledger URL] [--tracking-uri URI] [--data-dir DIR]
        [--follow]

With ``--follow``, it exits once the sweep has ended and its last event is shown, or when the process that started it is
gone. Exit code 0: everything in the ledger is shown. 1: the store is unreachable or refuses, or a signal was received; run
it again to continue. 2: the arguments are wrong. 3: the store must be repaired by hand.
"""

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from services import ledgers, streams
from services.errors import OperationError
from services.schemas import Tracked
from services.settings import Settings, SettingsError
from services.tracking.damage import damage
from services.tracking.mirror import Mirror
from services.tracking.projector import BY_HAND
from services.tracking.store import FAULTS, Store, TrackingError, is_refusal
from services.upload_retries import Ending, Patience, Termination, persist, sole
from sweeps.files import private
from sweeps.ledger.database import LedgerAway, LedgerError
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepRow
from sweeps.urls import without_credentials

LOOK_SECONDS = 1.0
GIVE_UP_SECONDS = Patience().give_up_after_seconds
LOCK_SECONDS = 5.0  # a projector whose run was just killed exits within this time


def upload(
    settings: Settings, ledger: Ledger, sweep: SweepRow, *, rebuild: bool, say: Callable[[str], None]
) -> Tracked:
    """Show what the store lacks of a sweep; with ``rebuild`` everything, from the first event.

    Raises:
        OperationError: another process is uploading the sweep to this store.
    """
    until = time.monotonic() + LOCK_SECONDS
    while True:
        with sole(_lock(settings.artifacts, sweep.id, settings.tracking_uri)) as held:
            if held:
                error = _catch_up(settings, ledger, sweep, rebuild, say)
                break
        if time.monotonic() > until:
            raise OperationError(
                f"sweep {sweep.name!r}: another process is uploading it, perhaps an `abel run`; wait until it exits"
            )
        time.sleep(LOOK_SECONDS)
    return Tracked(
        id=sweep.id,
        name=sweep.name,
        target=without_credentials(settings.tracking_uri),
        lacking=ledgers.lag(settings, ledger, sweep.id),
        error=error,
    )


def _catch_up(
    settings: Settings, ledger: Ledger, sweep: SweepRow, rebuild: bool, say: Callable[[str], None]
) -> str | None:
    """Show everything once; return why that failed, if it did."""
    store = Store(settings.tracking_uri, settings.artifacts)
    mirror = Mirror(ledger, sweep.id, store, rebuild=rebuild, data_dir=settings.data_dir)
    told = [""]

    def tell(line: str) -> None:
        told.append(line)
        say(line)

    try:
        ending = persist(
            _watched(mirror, settings.tracking_uri),
            lambda: False,
            faults=FAULTS,
            refused=is_refusal,
            say=tell,
            patience=Patience(give_up_after_seconds=GIVE_UP_SECONDS),
        )
    except TrackingError as error:
        return str(error)
    return None if ending is Ending.DONE else told[-1]


def _watched(mirror: Mirror, tracking_uri: str) -> Callable[[], bool]:
    """The mirror's step; it gives up at once if the store is damaged, since waiting does not help.

    Raises:
        TrackingError: the store is damaged.
    """

    def step() -> bool:
        try:
            return mirror.step()
        except FAULTS as error:
            if broken := damage(error, tracking_uri):
                raise TrackingError(f"the store {broken}") from None
            raise

    return step


def project(argv: Sequence[str] | None = None) -> int:
    """Run the projector; returns the exit code."""
    options = _options(argv)
    stop = Termination(follow=options.follow)

    def say(line: str) -> None:
        print(f"tracking {without_credentials(options.tracking_uri or '')}: {line}", file=sys.stderr, flush=True)

    try:
        options.tracking_uri = options.tracking_uri or Settings.from_env().tracking_uri
        ledger, sweep = _sweep(options, stop)
    except (LedgerError, SettingsError) as error:
        say(str(error))
        return 2
    while not (stop.told or stop.alone):
        with sole(_lock(options.artifacts, sweep.id, options.tracking_uri)) as held:
            if held:
                return _project(options, ledger, sweep, stop, say)
        time.sleep(LOOK_SECONDS)  # another projector has this sweep, perhaps one whose command was just killed
    return 1


def _sweep(options: argparse.Namespace, stop: Termination) -> tuple[Ledger, SweepRow]:
    """The ledger and the sweep in it; a follower waits while the ledger's server is away, like the run beside it."""
    url = options.ledger or Settings.from_env().ledger_url
    while True:
        try:
            ledger = Ledger.open(url)
            return ledger, ledger.sweep(options.sweep)
        except LedgerAway:
            if not options.follow or stop.told or stop.alone:
                raise
            time.sleep(LOOK_SECONDS)


def _project(
    options: argparse.Namespace, ledger: Ledger, sweep: SweepRow, stop: Termination, say: Callable[[str], None]
) -> int:
    if options.follow:
        os.nice(10)  # training comes first
    mirror = Mirror(ledger, sweep.id, Store(options.tracking_uri, options.artifacts), data_dir=options.data_dir)
    try:
        ending = persist(
            _watched(mirror, options.tracking_uri),
            lambda: options.follow and not stop.alone and mirror.running(),
            faults=FAULTS,
            refused=is_refusal,
            say=say,
            stopped=lambda: stop.told,
            patience=Patience(give_up_after_seconds=options.give_up_after),
        )
    except TrackingError as error:
        say(str(error))
        return BY_HAND
    return 0 if ending is Ending.DONE else 1


def _lock(artifacts: Path, sweep_id: str, tracking_uri: str) -> Path:
    name = hashlib.sha256(f"{sweep_id} {without_credentials(tracking_uri)}".encode()).hexdigest()[:16]
    return artifacts / f".projector-{name}.lock"


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m services.tracking.uploading", description="Show a sweep in MLflow."
    )
    add = parser.add_argument
    add("--ledger", metavar="URL", help="the ledger's URL (default: ABEL_LEDGER)")
    add("--sweep", required=True, metavar="ID", help="id of the sweep, or its name, for the newest sweep of that name")
    add("--tracking-uri", metavar="URI", help="MLflow database or server (default: ABEL_TRACKING_URI)")
    add("--artifacts", required=True, metavar="DIR", type=Path, help="directory of artifacts for a database")
    add("--data-dir", metavar="DIR", type=Path, help="directory of the data, unless a library provides them")
    add("--follow", action="store_true", help="wait for more until the sweep or the parent process ends")
    add(
        "--give-up-after",
        type=float,
        default=GIVE_UP_SECONDS,
        metavar="SECONDS",
        help="how long to try an unreachable store once the sweep has ended (default: %(default).0f)",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    streams.guard()  # a log on a full disk must not stop it
    with private():
        sys.exit(project())
