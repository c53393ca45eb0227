"""The commands of a service, which without one work on the sweeps of this home; and other commands with --server."""

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services import streams
from services.cli import completion, rendering_sweeps
from services.cli.options import AsJson, NoSharing, Seeds, Server, Spec, Threads, Workers, complain, seeds_of, show
from services.cli.service.clients import client_of, sweeps_of
from services.cli.service.following import follow
from services.cli.service.rendering_submissions import phase_line, submissions_table, submitted
from services.errors import OperationError

if TYPE_CHECKING:
    from services.schemas import Checked

AnySubmission = Annotated[
    str,
    typer.Argument(
        metavar="SWEEP",
        help="Name or id of a sweep that was run here; with --server, of a submission of yours.",
        autocompletion=completion.sweep_names,
    ),
]
Follow = Annotated[bool, typer.Option("--watch", help="Then follow it until it ends, as `abel watch` does.")]

Priority = Annotated[int, typer.Option(min=-100, max=100, help="Higher ones start first.")]
Hours = Annotated[float | None, typer.Option(min=0.0, help="Accelerator-hours that the sweep may use.")]
Key = Annotated[str | None, typer.Option(help="The same key submits once, however often the command is repeated.")]


def submit(
    spec: Spec,
    server: Server = None,
    seeds: Seeds = None,
    workers: Workers = None,
    threads: Threads = 1,
    no_sharing: NoSharing = False,
    priority: Priority = 0,
    hours: Hours = None,
    key: Key = None,
    watch: Follow = False,
    as_json: AsJson = False,
) -> None:
    """Submit a sweep to a service, which runs it on its machine or Ray cluster. Prints its id.

    Exit code: 0 submitted, 2 bad input; with --watch as `abel watch`.

    Example: abel submit fig-s6a-digits --server http://127.0.0.1:8900
    """
    from services.schemas import Request
    from services.verbs import specs

    document = specs.requested(Request(spec=spec, seeds=seeds_of(seeds))).to_dict()
    options = {
        "sharing": not no_sharing,
        "workers": workers,
        "threads": threads,
        "priority": priority,
        "hours": hours,
    }
    client = client_of(server)
    one, new = client.submit(document, key=key or str(uuid.uuid4()), **options)
    if watch:
        complain(f"{one.name}: submitted as {one.id}")
        follow(client, one.id, as_json)
    show(one, lambda shown: submitted(shown, new), as_json, done=True)


def list_submissions(
    server: Server = None,
    name: Annotated[str | None, typer.Option(help="Only sweeps of this name.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the sweeps of this ABEL_HOME, or with --server your submissions, newest first, with how far each is.

    Example: abel list
    """
    found = list(sweeps_of(server).sweeps(name))
    show(found, lambda shown: submissions_table(shown, here=server is None), as_json)


def watch(sweep: AnySubmission, server: Server = None, as_json: AsJson = False) -> None:
    """Follow a sweep until it ends: what its schedules decide, how its trials end, how it ends.

    Without a server it follows a sweep that another process runs in this ABEL_HOME, also over a pause.

    Exit code: 0 finished or cancelled, 1 a trial failed or the process was lost, 2 it was refused, 130 interrupted.

    Example: abel watch fig-s6a-digits
    """
    follow(sweeps_of(server), sweep, as_json)


def logs(sweep: AnySubmission, server: Server = None) -> None:
    """Print the end of what a sweep's last process printed: its driver here, or its job of a service.

    Example: abel logs fig-s6a-digits
    """
    streams.write(sweeps_of(server).log(sweep))


def pause(sweep: AnySubmission, server: Server = None, as_json: AsJson = False) -> None:
    """Let a sweep's running epochs finish and save them; nothing more starts until it is resumed.

    Works from any terminal. The `abel run` that it stops exits with 130, and another one is refused.

    Example: abel pause fig-s6a-digits
    """
    show(sweeps_of(server).pause(sweep), phase_line, as_json, done=True)


def remote_status(server: str, sweep: str | None, trials: bool, as_json: bool) -> None:
    """Show the submissions of a service, or the sweep of one, as `abel status` does."""
    client = client_of(server)
    if sweep is None:
        show(list(client.sweeps()), submissions_table, as_json)
        return
    detail = client.status(sweep)
    if detail is None:
        show(client.show(sweep).submission, phase_line, as_json)
    else:
        show(detail, rendering_sweeps.trials_table if trials else rendering_sweeps.sweep_detail, as_json)


def remote_cancel(server: str, sweep: str, as_json: bool) -> None:
    """End a submission for good."""
    show(client_of(server).cancel(sweep), phase_line, as_json, done=True)


def remote_check(server: str, sweep: str, baseline: Path, margins: list[str], rules: list[str]) -> "Checked":
    """Compare a submission's sweep with the baseline in a file, which was read before."""
    return client_of(server).check(sweep, json.loads(baseline.read_bytes()), margins, rules)


def remote_report(server: str, sweep: str, out: Path | None, as_json: bool) -> None:
    """Write the report that a service draws."""
    from services.cli import rendering
    from services.schemas import ReportFiles

    page = client_of(server).report(sweep)
    folder = (out or Path(f"{sweep}-report")).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (file := folder / "index.html").write_text(page, encoding="utf-8")
    except OSError as error:
        raise OperationError(f"--out: {folder} cannot be written: {error.strerror}") from None
    show(ReportFiles(files=(file,), findings=(), note=None), rendering.report_files, as_json, done=True)
