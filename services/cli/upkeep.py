"""The commands that keep a home in order or copy out of it: ``backup``, ``weights``, ``repair``, ``adopt``, ``gc``, ``track``."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services import streams
from services.cli import rendering, rendering_sweeps, rendering_upkeep
from services.cli.group import INTERRUPTED
from services.cli.options import (
    AnySweep,
    AsJson,
    DataDir,
    NotServed,
    Sweep,
    carry_out,
    complain,
    refuse_server,
    settings_of,
    show,
)
from services.schemas import Request
from services.upkeep import Repaired, Retrained

if TYPE_CHECKING:
    from services.settings import Settings

BAD_END = 1
STOPPED_EARLY = "interrupted"
ADOPTED = ("adopted", "nothing to adopt")
TRAINED = ("finished", "nothing to do", "cancelled")


def backup(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the copy; created if missing.")],
    as_json: AsJson = False,
) -> None:
    """Copy the ledger to a new file in DIR and verify the copy. Works while sweeps run.

    MLflow runs and checkpoints are not copied: `abel track --all --rebuild` recreates the runs, training the
    checkpoints.

    Example: abel backup ~/backups
    """
    from services.verbs import backup as backups

    show(backups.backup(settings_of(), directory.expanduser()), rendering_upkeep.backed_up, as_json)


def weights(
    sweep: Sweep,
    trial: Annotated[str, typer.Argument(help="Its name; `abel status SWEEP --trials` lists them.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the files; created if missing.")],
    data_dir: DataDir = None,
    server: NotServed = None,
    as_json: AsJson = False,
) -> None:
    """Write the weights of a finished trial as files that other programs read, such as `program.weights` of a GLUE sweep.

    The task decides on the files: `masked_lm` writes model.safetensors, with Hugging Face's names, and spiece.model. Other tasks
    of this package export nothing. The last checkpoint is verified; the data must be those that the trial was trained on.

    Example: abel weights albert-mini "linear seed=0" --to data/albert-mini --data-dir data
    """
    refuse_server(server, "use it where the service runs, with its ABEL_HOME")
    from services.verbs import backup as backups

    done = backups.weights(settings_of(data_dir), sweep, trial, to.expanduser())
    show(done, rendering_upkeep.exported, as_json, done=True)


def repair(
    sweep: Annotated[
        str | None, typer.Argument(metavar="[SWEEP]", help="Retrain lost epochs of this sweep only (name or id).")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the damage and what would be done, and change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Repair a damaged ledger: restore what follows from the rest, retrain lost epochs, and list what is lost.

    The damaged ledger is kept beside the repaired one. Epochs are trained from the nearest checkpoint and compared with
    the records that follow them. No sweep may run meanwhile.

    Exit code: 0 everything is restored, 1 something is lost or could not be trained, 2 the ledger is unreadable,
    130 interrupted.

    Example: abel repair --dry-run
    """
    from services.verbs import repair as repairs

    settings = settings_of()
    done = repairs.repair(settings, sweep, dry_run=dry_run)
    if not as_json:
        streams.console().print(rendering_upkeep.repaired(done))
    lacking = {} if dry_run else repairs.to_train(done.mended, sweep)
    done = replace(done, trained=tuple(_trained(settings, lacking, quiet=as_json)))
    if as_json:
        show(done, rendering_upkeep.repaired, as_json)
    else:
        streams.console().print(rendering_upkeep.retrained(done))
    raise typer.Exit(_exit_code(done))


def adopt(
    sweep: AnySweep = None,
    every: Annotated[bool, typer.Option("--all", help="Adopt the epochs of every sweep of this ABEL_HOME.")] = False,
    replays: Annotated[
        int, typer.Option(min=1, max=10_000, metavar="N", help="Number of recorded epochs of a sweep to train again.")
    ] = 8,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Keep the epochs of a sweep after a change of code, e.g. a new version or an edit of your model.

    States are named by the code that computes them, so after a change a sweep would be trained anew. This command trains a
    sample of its epochs again. If all of them have the recorded bits, the sweep's epochs and checkpoints are entered under the
    new names as well, and `abel run` reuses them.

    Exit code: 0 adopted, or there was nothing to adopt, 1 something was not adopted, 2 bad input.

    Example: abel adopt fig-s6a-digits
    """
    from services.verbs import adopt as verb

    if (sweep is None) != every:
        raise typer.BadParameter("give either a SWEEP or --all", param_hint="SWEEP")
    done = []
    for one in verb.adopt(settings_of(data_dir), sweep, replays=replays):
        done.append(one)
        if not as_json:
            streams.console().print(rendering_upkeep.adopted(one))
    if as_json:
        streams.write_json(done)
    elif not done:
        streams.console().print("No sweep was run here yet.")
    streams.forgive()
    raise typer.Exit(0 if all(one.outcome in ADOPTED for one in done) else BAD_END)


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove checkpoints that no sweep needs. Every sweep can still be resumed and extended.

    It keeps the last checkpoint of every trial, the forks that unfinished trials start from, and all checkpoints of
    running sweeps. Logs of processes go after 30 days.

    Example: abel gc --dry-run
    """
    from services.verbs import gc as verb

    show(verb.collect(settings_of(), dry_run=dry_run), rendering.collected, as_json, done=True)


def track(
    sweep: AnySweep = None,
    every: Annotated[bool, typer.Option("--all", help="Upload every sweep of this ABEL_HOME.")] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Upload everything again from the ledger, whatever the store reports.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Upload a sweep to the tracking store, e.g. after an outage. Trains nothing.

    Runs upload by themselves. --rebuild recreates the MLflow runs from the ledger, in an empty store or one that lost
    runs; existing runs are kept and not duplicated.

    Exit code: 0 the store has everything, 1 it is unreachable or refuses, 2 bad input.

    Example: abel track fig-s6a-digits
    """
    from services.verbs import track as verb

    if (sweep is None) != every:
        raise typer.BadParameter("give either a SWEEP or --all", param_hint="SWEEP")
    done = verb.track(settings_of(), sweep, rebuild=rebuild, say=complain)
    show(done, rendering_sweeps.tracked, as_json, done=True)
    raise typer.Exit(int(any(result.error for result in done)))


def _trained(settings: "Settings", lacking: Mapping[str, str], *, quiet: bool) -> Iterator[Retrained]:
    """Train sweeps in turn; after a failure, continue with the next; stop at an interruption."""
    from services.refusals import INPUT_ERRORS, MACHINE_ERRORS

    for sweep_id, name in lacking.items():
        try:
            one = _train(settings, sweep_id, name, quiet=quiet)
        except (*INPUT_ERRORS, *MACHINE_ERRORS) as error:
            one = Retrained(sweep=name, outcome="failed", trained=0, replayed=0, error=str(error))
        except KeyboardInterrupt:
            one = Retrained(sweep=name, outcome=STOPPED_EARLY, trained=0, replayed=0, error=None)
        yield one
        if one.outcome == STOPPED_EARLY:
            break


def _train(settings: "Settings", sweep_id: str, name: str, *, quiet: bool) -> Retrained:
    from services.verbs import repair as repairs

    verb = partial(repairs.train_missing, sweep_id=sweep_id)
    result = carry_out(settings, Request(spec=name), quiet=quiet, verb=verb)
    return Retrained(
        sweep=name, outcome=result.outcome, trained=result.trained, replayed=result.replayed, error=result.error
    )


def _exit_code(done: Repaired) -> int:
    outcomes = {one.outcome for one in done.trained}
    if STOPPED_EARLY in outcomes:
        return INTERRUPTED
    whole = all(item.restored for item in done.mended) and outcomes <= set(TRAINED)
    return 0 if whole else BAD_END
