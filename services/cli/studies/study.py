"""The command `abel study`."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli import completion
from services.cli.options import AsJson, DataDir, NotServed, refuse_server, settings_of, show

Workloads = Annotated[
    list[str],
    typer.Argument(
        metavar="SWEEP...",
        help="Names or ids of sweeps that were run here, each a workload.",
        autocompletion=completion.sweep_names,
    ),
]
Curves = Annotated[
    list[str],
    typer.Option("--curve", metavar="ARM", help="Show the tuning curve of this arm only; may be given several times."),
]


def study(
    sweeps: Workloads,
    curve: Curves = [],  # noqa: B006 (Typer reads the default)
    out: Annotated[Path | None, typer.Option(help="Also write figures as PNG to this folder.")] = None,
    data_dir: DataDir = None,
    server: NotServed = None,
    as_json: AsJson = False,
) -> None:
    """Compare arms over several sweeps, each a workload: what tuning gains, and whether one setting serves all of them.

    For each arm and sweep: tunability, LR sensitivity, and the tuning curve if its settings were drawn. Over two sweeps or
    more: sensitivity, effective dimensionality, interquartile means and probabilities of improvement. The page Statistics
    of the documentation defines them.

    Example: abel study fig-s6a-digits my-sweep
    """
    refuse_server(server, "use it where the sweeps were run, with their ABEL_HOME")
    from services.cli.studies import rendering_studies
    from services.verbs.studies import study as verb

    show(verb.study(settings_of(data_dir), sweeps, curve, out), rendering_studies.study_tables, as_json)
