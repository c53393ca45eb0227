"""The ``abel`` command: thin skins over :mod:`services.verbs`.

The verbs bring JAX, Ray and MLflow with them, which takes seconds. They are therefore imported by the command that
needs them and not with this module, so that ``abel --help`` and a mistyped command answer at once.
"""

import importlib.metadata
import shlex
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from services import streams
from services.cli import completion, data, gate, ledger, rendering, rendering_sweeps, specs
from services.cli.group import INTERRUPTED, Commands
from services.cli.options import (
    AllowNondeterminism,
    AnySweep,
    Arm,
    AsJson,
    DataDir,
    NoSharing,
    OneTrial,
    Seeds,
    Spec,
    Sweep,
    SweepsOfOneProgram,
    Threads,
    UiUrl,
    Workers,
    carry_out,
    complain,
    seeds_of,
    settings_of,
    show,
)
from services.schemas import UI_PORT, Request

EXIT_CODES = {
    "finished": 0,
    "nothing to do": 0,
    "cancelled": 0,
    "failed": 1,
    "no_space": 1,
    "interrupted": INTERRUPTED,
}


def _version(wanted: bool) -> None:
    if wanted:
        streams.write(f"abel {importlib.metadata.version('abel-sweeps')}\n")
        raise typer.Exit


EXAMPLES = """
First steps:

  abel catalog                    what there is to run

  abel plan fig-s6a-digits        what it would cost

  abel run fig-s6a-digits         run it; again, to go on after a stop

  abel report fig-s6a-digits      write its figure and its page

SPEC is a YAML file or a name from the catalogue. Everything a run leaves behind lies in ABEL_HOME (default: .abel).
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

Version = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")]


@app.callback()
def options(version: Version = False) -> None:
    """Options before the command."""


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
    no_tracking: Annotated[bool, typer.Option("--no-tracking", help="Do not upload to the tracking store.")] = False,
    allow_nondeterminism: AllowNondeterminism = False,
    save_every: Annotated[
        float,
        typer.Option(min=0.0, metavar="SECONDS", help="Between a worker's checkpoints; it saves at every fork too."),
    ] = 120.0,
    as_json: AsJson = False,
) -> None:
    """Run a sweep, or go on with one that was interrupted. A finished sweep trains nothing again.

    Ctrl-C finishes the epochs under way, saves, and says how to go on; a second Ctrl-C stops at once. SIGTERM and a closed
    terminal do the same; with nohup the run goes on.

    Exit code: 0 finished or cancelled, 1 some trial failed, the disk stayed full or the driver kept being lost, 2 bad
    input and nothing was started, 130 interrupted.

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
    result = carry_out(settings_of(data_dir), request, quiet=as_json)
    show(
        result,
        lambda shown: rendering_sweeps.run_result(shown, shlex.join(["abel", *sys.argv[1:]])),
        as_json,
        done=True,
    )
    raise typer.Exit(EXIT_CODES[result.outcome])


@app.command()
def status(
    sweep: AnySweep = None,
    trials: Annotated[bool, typer.Option("--trials", help="List the sweep's trials by name.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the sweeps of this ABEL_HOME, or one of them with its arms or its trials.

    With --json a sweep always comes with its trials.

    Example: abel status fig-s6a-digits
    """
    from services.verbs import status as verb

    if sweep is None and trials:
        raise typer.BadParameter("must come with a SWEEP", param_hint="--trials")
    if sweep is None:
        show(verb.sweeps(settings_of()), rendering_sweeps.overview_table, as_json)
    else:
        table = rendering_sweeps.trials_table if trials else rendering_sweeps.sweep_detail
        show(verb.status(settings_of(), sweep), table, as_json)


@app.command()
def cancel(sweep: Sweep, arm: Arm = None, trial: OneTrial = None, as_json: AsJson = False) -> None:
    """End a sweep, an arm or a trial for good; what is recorded stays. Works while the sweep runs, from any terminal.

    Example: abel cancel fig-s6a-digits --arm constant
    """
    from services.verbs import control

    show(control.cancel(settings_of(), sweep, arm, trial), rendering.cancelled, as_json, done=True)


@app.command()
def retry(sweep: Sweep, arm: Arm = None, trial: OneTrial = None, as_json: AsJson = False) -> None:
    """Have trials that failed or were cancelled trained by the next run of the sweep.

    Example: abel retry fig-s6a-digits --arm constant
    """
    from services.verbs import control

    show(control.retry(settings_of(), sweep, arm, trial), rendering.retried, as_json, done=True)


class Export(StrEnum):
    """What tables are written as."""

    CSV = "csv"
    PARQUET = "parquet"


@app.command()
def report(
    sweeps: SweepsOfOneProgram,
    out: Annotated[Path | None, typer.Option(help="Folder to write to (default: ABEL_HOME/reports/SWEEP).")] = None,
    export: Annotated[Export | None, typer.Option(help="Write trials, curves and measures as tables too.")] = None,
    ui_url: UiUrl = None,
    as_json: AsJson = False,
) -> None:
    """Write everything about one sweep, or several compared, as one HTML page, and its figures as PNG.

    Example: abel report fig-s6a-digits --out figures --export csv
    """
    from services.verbs import report as verb

    show(verb.report(settings_of(), sweeps, out, export, ui_url), rendering.report_files, as_json, done=True)


app.command()(gate.check)
app.command()(ledger.backup)
app.command()(ledger.repair)


@app.command()
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False, as_json: AsJson = False
) -> None:
    """Remove checkpoints that no sweep needs any more. Every sweep can still be resumed and extended.

    It keeps every trial's last checkpoint, the forks that unfinished trials come from, and everything of running sweeps.

    Example: abel gc --dry-run
    """
    from services.verbs import gc as verb

    show(verb.collect(settings_of(), dry_run=dry_run), rendering.collected, as_json, done=True)


@app.command()
def track(
    sweep: AnySweep = None,
    every: Annotated[bool, typer.Option("--all", help="Every sweep of this ABEL_HOME.")] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Show everything again from the ledger, whatever the store says it has.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring a sweep into the tracking store, as after an outage; nothing is trained.

    A run does this by itself. --rebuild uploads everything from the ledger again, into an empty store or one that lost
    runs; what the store still has stays as it is and is not duplicated.

    Exit code: 0 the store shows everything, 1 it is out of reach or refuses, 2 bad input.

    Example: abel track fig-s6a-digits
    """
    from services.verbs import track as verb

    if (sweep is None) != every:
        raise typer.BadParameter("name a SWEEP or give --all, one of them", param_hint="SWEEP")
    done = verb.track(settings_of(), sweep, rebuild=rebuild, say=complain)
    show(done, rendering_sweeps.tracked, as_json, done=True)
    raise typer.Exit(int(any(result.error for result in done)))


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = UI_PORT,
    sweep: Annotated[
        str | None, typer.Option(help="Open at this sweep.", autocompletion=completion.sweep_names)
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


def main() -> None:
    """Run the command line, whatever becomes of its output."""
    streams.guard()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as some callers pass it on, it hides how processes end
    try:
        app(prog_name="abel")
    except SystemExit as end:
        raise SystemExit(streams.exit_code(_code(end.code))) from None


def _code(ended_with: str | int | None) -> int:
    """The exit code of an end, as Python has it; a text is printed first."""
    if isinstance(ended_with, str):
        complain(ended_with)
        return 1
    return ended_with or 0
