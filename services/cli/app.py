"""The ``abel`` command: thin wrappers around :mod:`services.verbs`.

The verbs import JAX, Ray and MLflow, which takes seconds. Each command imports only the verb it needs, so ``abel --help``
and a mistyped command answer at once.
"""

import signal
from enum import StrEnum
from gc import set_threshold
from pathlib import Path
from typing import Annotated

import typer

from services import streams
from services.cli import completion, data, gate, rendering, rendering_sweeps, specs, upkeep
from services.cli.group import Commands
from services.cli.options import (
    SAVE_EVERY_SECONDS,
    AllowNondeterminism,
    AnySweep,
    Arm,
    AsJson,
    DataDir,
    NoSharing,
    NoTracking,
    NotServed,
    OneTrial,
    SaveEvery,
    Seeds,
    Server,
    Spec,
    Sweep,
    SweepsOfOneProgram,
    Threads,
    UiUrl,
    Workers,
    carry_out,
    complain,
    refuse_server,
    run_ended,
    seeds_of,
    settings_of,
    show,
)
from services.cli.service import going_on, remote, serve
from services.cli.studies import study
from services.schemas import UI_PORT, Request
from sweeps.processes import OBJECTS_PER_COLLECTION


def _version(wanted: bool) -> None:
    if wanted:
        import importlib.metadata  # slow to import

        streams.write(f"abel {importlib.metadata.version('abel-sweeps')}\n")
        raise typer.Exit


EXAMPLES = """
First steps:

  abel catalog                    list the sweeps that ship with this package

  abel plan fig-s6a-digits        forecast what one costs

  abel run fig-s6a-digits         run it, or resume it after a stop

  abel report fig-s6a-digits      write its figures and its page

SPEC is a YAML file or a name from the catalogue. Runs keep all their files in ABEL_HOME (default: .abel).
"""

app = typer.Typer(
    cls=Commands,
    help="How robust is a learning-rate schedule to its own hyperparameters?\n" + EXAMPLES,
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.add_typer(data.data_app, name="data")
app.add_typer(gate.baseline_app, name="baseline")
app.add_typer(serve.token_app, name="token")

Version = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")]


@app.callback()
def before_command(version: Version = False) -> None:
    """Handle the options before the command."""


for verb in (specs.catalog, specs.init, specs.validate, specs.plan):
    app.command()(verb)


@app.command()
def run(
    spec: Spec,
    data_dir: DataDir = None,
    no_sharing: NoSharing = False,
    workers: Workers = None,
    threads: Threads = 1,
    seeds: Seeds = None,
    no_tracking: NoTracking = False,
    allow_nondeterminism: AllowNondeterminism = False,
    save_every: SaveEvery = SAVE_EVERY_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Run a sweep, or resume an interrupted one. A finished sweep is not trained again.

    Ctrl-C finishes the current epochs, saves, and says how to resume; a second Ctrl-C stops at once. SIGTERM and a closed
    terminal do the same; under nohup, the run survives a closed terminal.

    Exit code: 0 finished or cancelled, 1 a trial failed, the disk stayed full or drivers were lost repeatedly, 2 bad
    input, nothing was started, 130 interrupted or paused.

    Example: abel run fig-s6a-digits --seeds 0,1
    """
    request = Request(
        spec=spec,
        sharing=not no_sharing,
        workers=workers,
        threads=threads,
        seeds=seeds_of(seeds),
        tracking=not no_tracking,
        allow_nondeterminism=allow_nondeterminism,
        save_every_seconds=save_every,
    )
    run_ended(carry_out(settings_of(data_dir), request, quiet=as_json), as_json=as_json)


@app.command()
def status(
    sweep: AnySweep = None,
    trials: Annotated[bool, typer.Option("--trials", help="List the sweep's trials by name.")] = False,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Show the sweeps of this ABEL_HOME, or one sweep with its arms or trials.

    With --json, a sweep always includes its trials.

    Example: abel status fig-s6a-digits
    """
    from services.verbs import status as verb

    if sweep is None and trials:
        raise typer.BadParameter("needs a SWEEP", param_hint="--trials")
    if server is not None:
        remote.remote_status(server, sweep, trials, as_json)
        return
    if sweep is None:
        show(verb.sweeps(settings_of()), rendering_sweeps.overview_table, as_json)
    else:
        table = rendering_sweeps.trials_table if trials else rendering_sweeps.sweep_detail
        show(verb.status(settings_of(), sweep), table, as_json)


@app.command()
def cancel(
    sweep: Sweep, arm: Arm = None, trial: OneTrial = None, server: Server = None, as_json: AsJson = False
) -> None:
    """Cancel a sweep, an arm or a trial; recorded epochs are kept. Works from any terminal while the sweep runs.

    Example: abel cancel fig-s6a-digits --arm constant
    """
    if server is not None:
        if (arm, trial) != (None, None):
            raise typer.BadParameter("do not go with --server, which cancels whole sweeps", param_hint="--arm, --trial")
        remote.remote_cancel(server, sweep, as_json)
        return
    from services.verbs import control

    show(control.cancel(settings_of(), sweep, arm, trial), rendering.cancelled, as_json, done=True)


@app.command()
def retry(
    sweep: Sweep, arm: Arm = None, trial: OneTrial = None, server: NotServed = None, as_json: AsJson = False
) -> None:
    """Queue failed or cancelled trials for the sweep's next run.

    Example: abel retry fig-s6a-digits --arm constant
    """
    refuse_server(server, "submit the spec again, and its failed and cancelled trials are trained once more")
    from services.verbs import control

    show(control.retry(settings_of(), sweep, arm, trial), rendering.retried, as_json, done=True)


class Export(StrEnum):
    """File formats of exported tables."""

    CSV = "csv"
    PARQUET = "parquet"


@app.command()
def report(
    sweeps: SweepsOfOneProgram,
    out: Annotated[Path | None, typer.Option(help="Folder to write to (default: ABEL_HOME/reports/SWEEP).")] = None,
    export: Annotated[Export | None, typer.Option(help="Also write trials, curves and measures as tables.")] = None,
    ui_url: UiUrl = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Write an HTML report of one sweep, or of several compared, and its figures as PNG.

    Example: abel report fig-s6a-digits --out figures --export csv
    """
    if server is not None:
        if len(sweeps) > 1 or export is not None or ui_url is not None:
            hint = "SWEEP..., --export, --ui-url"
            raise typer.BadParameter("with --server there is one SWEEP, and only --out", param_hint=hint)
        remote.remote_report(server, sweeps[0], out, as_json)
        return
    from services.verbs import report as verb

    show(verb.report(settings_of(), sweeps, out, export, ui_url), rendering.report_files, as_json, done=True)


app.command()(study.study)
for command in (remote.submit, remote.watch, remote.logs, remote.pause, going_on.resume, going_on.extend):
    app.command()(command)
app.command("list")(remote.list_submissions)
app.command("serve")(serve.start_service)
app.command()(gate.check)
app.command()(upkeep.weights)
app.command()(upkeep.backup)
app.command()(upkeep.repair)
app.command()(upkeep.adopt)
app.command()(upkeep.gc)
app.command()(upkeep.track)


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = UI_PORT,
    sweep: Annotated[
        str | None, typer.Option(help="Open the page of this sweep.", autocompletion=completion.sweep_names)
    ] = None,
) -> None:
    """Serve the tracking store to a browser on this machine until Ctrl-C.

    Example: abel ui --port 5001
    """
    from services.verbs import ui as verb

    server = verb.ui(settings_of(), port, sweep)
    show(server, rendering.ui_address, done=True)
    if server.command is not None:
        from services import serving

        raise typer.Exit(serving.serve(server.command, server.environment))


app.command()(specs.schema)
app.command()(specs.plugins)


def main() -> None:
    """Run the command line; output that cannot be written does not stop it."""
    set_threshold(OBJECTS_PER_COLLECTION)
    streams.guard()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # some callers leave it ignored, which hides exit codes
    try:
        app(prog_name="abel")
    except SystemExit as end:
        raise SystemExit(streams.exit_code(_code(end.code))) from None


def _code(ended_with: str | int | None) -> int:
    """The exit code for the value of a SystemExit; a text is printed first."""
    if isinstance(ended_with, str):
        complain(ended_with)
        return 1
    return ended_with or 0
