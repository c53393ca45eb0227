"""What the commands share: options, settings, and how a result is shown."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer
from rich.console import RenderableType

from services import signals, streams
from services.cli import completion, rendering_sweeps
from services.cli.group import INTERRUPTED
from services.schemas import Request, RunResult

if TYPE_CHECKING:
    from services.settings import Settings  # imports SQLAlchemy, for the URLs

Result = TypeVar("Result")
# Of a run, by how it ended.
EXIT_CODES = {
    "finished": 0,
    "nothing to do": 0,
    "cancelled": 0,
    "failed": 1,
    "no_space": 1,
    "interrupted": INTERRUPTED,
    "paused": INTERRUPTED,
}


def _web_address(text: str) -> str:
    """Validate the base URL of a page's links: http or https, with a host."""
    from sweeps import urls

    try:
        known = urls.backend(text) in urls.WEB and bool(urls.parse(text).host)
    except ValueError:  # a port that is not a number, an unbalanced bracket in the host
        known = False
    if not known:
        raise typer.BadParameter(f"must be an http:// or https:// URL with a host, got {text!r}")
    return text


Spec = Annotated[
    str,
    typer.Argument(
        metavar="SPEC", help="A YAML file, or a name from 'abel catalog'.", autocompletion=completion.spec_names
    ),
]
DataName = Annotated[str, typer.Argument(metavar="NAME", help="A TFDS data set, or a source from 'abel data list'.")]
Sweep = Annotated[
    str,
    typer.Argument(
        metavar="SWEEP", help="Name or id of a sweep that was run here.", autocompletion=completion.sweep_names
    ),
]
SweepsOfOneProgram = Annotated[
    list[str],
    typer.Argument(
        metavar="SWEEP...", help="Names or ids of sweeps of the same program.", autocompletion=completion.sweep_names
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Prepared TFDS data sets, files of texts, pre-trained weights (default: ABEL_DATA_DIR)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print only JSON on standard output.")]
Workers = Annotated[
    int | None, typer.Option(min=1, max=10_000, help="Number of concurrent workers (default: cores / threads).")
]
Threads = Annotated[int, typer.Option(min=1, max=1024, help="Threads per worker; CPU results depend on it.")]
NoSharing = Annotated[bool, typer.Option("--no-sharing", help="Train every trial separately from its first epoch.")]
AllowNondeterminism = Annotated[
    bool,
    typer.Option(
        "--allow-nondeterminism", help="Continue if a replayed epoch differs from its record, as on some GPUs."
    ),
]
NoTracking = Annotated[bool, typer.Option("--no-tracking", help="Do not upload to the tracking store.")]
SaveEvery = Annotated[
    float,
    typer.Option(min=0.0, metavar="SECONDS", help="Time between a worker's checkpoints; forks are always saved."),
]
SAVE_EVERY_SECONDS = 120.0
Arm = Annotated[str | None, typer.Option(help="Only the trials of this arm.", autocompletion=completion.arm_names)]
OneTrial = Annotated[
    str | None, typer.Option("--trial", help="Only this trial; `abel status SWEEP --trials` lists their names.")
]
UiUrl = Annotated[
    str | None,
    typer.Option(
        "--ui-url",
        metavar="URL",
        parser=_web_address,
        help="Base URL of the page's links to MLflow (default: the tracking server, else `abel ui`).",
    ),
]
AnySweep = Annotated[
    str | None,
    typer.Argument(
        metavar="[SWEEP]",
        help="Name or id of a sweep that was run here.",
        autocompletion=completion.sweep_names,
    ),
]
Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        envvar="ABEL_SERVER",
        show_envvar=False,
        parser=_web_address,
        help="Ask the service at this address (default: ABEL_SERVER) instead of working here.",
    ),
]
# For local-only commands, which ignore ABEL_SERVER.
NotServed = Annotated[str | None, typer.Option("--server", metavar="URL", hidden=True)]
Seeds = Annotated[str | None, typer.Option(metavar="0,1", help="Run these seeds instead of the spec's.")]


def refuse_server(server: str | None, why: str) -> None:
    """Refuse the address of a service, for a command that works on this machine alone."""
    if server is not None:
        raise typer.BadParameter(f"works on this machine only: {why}", param_hint="--server")


def settings_of(data_dir: Path | None = None) -> "Settings":
    """The settings from the environment; ``data_dir`` overrides the data directory."""
    from services.settings import Settings

    settings = Settings.from_env(data_dir=data_dir)
    settings.lend_home()
    return settings


def seeds_of(text: str | None) -> tuple[int, ...] | None:
    """Parse the value of --seeds."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"must be comma-separated whole numbers, e.g. 0,1,2, got {text!r}") from None


def show(
    result: Result, render: Callable[[Result], RenderableType], as_json: bool = False, *, done: bool = False
) -> None:
    """Print a result as text or JSON; with ``done``, the command has acted, and losing its output is not a failure."""
    if as_json:
        streams.write_json(result)
    else:
        streams.console().print(render(result), crop=False)
    if done:
        streams.forgive()


def carry_out(
    settings: "Settings", request: Request, *, quiet: bool, verb: Callable[..., RunResult] | None = None
) -> RunResult:
    """Run a sweep and show its progress; with ``quiet`` on standard error, which leaves standard output to the result.

    ``verb`` replaces :func:`services.verbs.run.run`.
    """
    from services.cli import progress
    from services.verbs import notify
    from services.verbs import run as runs

    def run() -> RunResult:
        with (
            progress.progress_view(streams.console(error=quiet), request.spec) as view,
            signals.on_signals(view.note) as stop,
        ):
            return (verb or runs.run)(settings, request, view=view, stop=stop)

    return notify.told(settings, request, run, complain)


def run_ended(result: RunResult, *, as_json: bool) -> NoReturn:
    """Print how a run ended, and exit with its code."""
    command = shlex.join(["abel", *sys.argv[1:]])
    show(result, lambda shown: rendering_sweeps.run_result(shown, command), as_json, done=True)
    raise typer.Exit(EXIT_CODES[result.outcome])


def complain(line: str) -> None:
    """Print a warning on standard error."""
    streams.console(error=True).print(line, markup=False, highlight=False, soft_wrap=True)
