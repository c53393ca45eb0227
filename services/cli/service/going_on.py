"""`abel resume` and `abel extend`: at a service, or else here in the foreground, as `abel run` does."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from services.cli.options import (
    SAVE_EVERY_SECONDS,
    AllowNondeterminism,
    AsJson,
    DataDir,
    NoTracking,
    SaveEvery,
    Seeds,
    Server,
    Workers,
    carry_out,
    complain,
    run_ended,
    seeds_of,
    settings_of,
    show,
)
from services.cli.service.clients import client_of
from services.cli.service.following import follow
from services.cli.service.remote import AnySubmission, Follow
from services.cli.service.rendering_submissions import phase_line, submitted
from services.schemas import Request

Epochs = Annotated[int | None, typer.Option(min=1, help="Length of every trial.")]
OtherPriority = Annotated[
    int | None, typer.Option(min=-100, max=100, help="With --server: higher ones start first (default: as before).")
]
OtherHours = Annotated[
    float | None,
    typer.Option(min=0.0, help="With --server: accelerator-hours that the sweep may use (default: as before)."),
]


def resume(
    sweep: AnySubmission,
    server: Server = None,
    workers: Workers = None,
    data_dir: DataDir = None,
    no_tracking: NoTracking = False,
    allow_nondeterminism: AllowNondeterminism = False,
    save_every: SaveEvery = SAVE_EVERY_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Go on with a paused or interrupted sweep, as `abel run` does, from its entry in the ledger: no spec is read.

    With --server, or if it was submitted to a service over this ABEL_HOME, the service goes on with it, and the other options
    have no effect.

    Exit code: that of `abel run`.

    Example: abel resume fig-s6a-digits
    """
    if server is not None:
        _refuse_here_only(workers=workers, data_dir=data_dir)
        show(client_of(server).resume(sweep), phase_line, as_json, done=True)
        return
    from services.server.home import Home
    from services.verbs.running import again

    settings = settings_of(data_dir)
    if (one := Home(settings).resume(sweep)) is not None:
        show(one, phase_line, as_json, done=True)
        complain(
            "It was submitted to a service over this ABEL_HOME, which goes on with it; `abel serve` must be running."
        )
        return
    request = _request(sweep, workers, no_tracking, allow_nondeterminism, save_every)
    run_ended(carry_out(settings, request, quiet=as_json, verb=again.resume_run), as_json=as_json)


def extend(
    sweep: AnySubmission,
    server: Server = None,
    seeds: Seeds = None,
    epochs: Epochs = None,
    workers: Workers = None,
    priority: OtherPriority = None,
    hours: OtherHours = None,
    data_dir: DataDir = None,
    no_tracking: NoTracking = False,
    allow_nondeterminism: AllowNondeterminism = False,
    save_every: SaveEvery = SAVE_EVERY_SECONDS,
    watch: Follow = False,
    as_json: AsJson = False,
) -> None:
    """Run a sweep again with other seeds or more epochs; what is recorded is not trained again.

    With --server it is submitted again, and its other options stay as they were, unless given. Else it is run here, with the
    threads and sharing that it had.

    Exit code: 0 submitted; else that of `abel run`, and with --watch that of `abel watch`.

    Example: abel extend fig-s6a-digits --seeds 0,1,2,3
    """
    changes = _given(seeds=list(seeds_of(seeds) or ()) or None, epochs=epochs)
    if not changes:
        raise typer.BadParameter("give --seeds or --epochs", param_hint="--seeds")
    if server is None:
        if (priority, hours, watch) != (None, None, False):
            raise typer.BadParameter("need --server", param_hint="--priority, --hours, --watch")
        request = _request(sweep, workers, no_tracking, allow_nondeterminism, save_every)
        _extend_here(request, changes, data_dir, as_json)
    _refuse_here_only(data_dir=data_dir)
    client = client_of(server)
    one, new = client.extend(sweep, **changes, **_given(workers=workers, priority=priority, hours=hours))
    if watch:
        follow(client, one.id, as_json)
    show(one, lambda shown: submitted(shown, new), as_json, done=True)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _extend_here(request: Request, changes: Mapping[str, Any], data_dir: Path | None, as_json: bool) -> NoReturn:
    from services.verbs.running import again

    verb = partial(again.extend_run, changes=changes)
    run_ended(carry_out(settings_of(data_dir), request, quiet=as_json, verb=verb), as_json=as_json)


def _request(
    sweep: str, workers: int | None, no_tracking: bool, allow_nondeterminism: bool, save_every: float
) -> Request:
    return Request(
        spec=sweep,
        workers=workers,
        tracking=not no_tracking,
        allow_nondeterminism=allow_nondeterminism,
        save_every_seconds=save_every,
    )


def _refuse_here_only(**given: Any) -> None:
    """Refuse options that a service does not take."""
    names = [f"--{name.replace('_', '-')}" for name in _given(**given)]
    if names:
        raise typer.BadParameter("does not go with --server", param_hint=", ".join(names))
