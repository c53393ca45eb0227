"""The commands of the gate: `abel check` and `abel baseline`."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from services import streams
from services.cli.group import INTERRUPTED, STOPPED, broke_down, fail, give_up, on_purpose
from services.cli.options import (
    AsJson,
    DataDir,
    NotServed,
    Seeds,
    Server,
    Sweep,
    Workers,
    carry_out,
    complain,
    refuse_server,
    seeds_of,
    settings_of,
    show,
)
from services.cli.service import remote
from services.schemas import Failure, Request
from sweeps.files import PathFault, named, resolve
from sweeps.results.values import Verdict

EXIT_CODES = {Verdict.HOLDS: 0, Verdict.REGRESSED: 1, Verdict.CANNOT_TELL: 3}
OF_BASELINES = "use it where the service runs, with its ABEL_HOME, or where the sweep was run before"
BROKE_DOWN = 70  # EX_SOFTWARE of sysexits.h; Python's own exit code 1 means regressed here

baseline_app = typer.Typer(help="Save a sweep's results as a baseline for `abel check`.", no_args_is_help=True)

Baseline = Annotated[Path, typer.Option("--baseline", metavar="FILE", help="The output of `abel baseline save`.")]
Margins = Annotated[
    list[str],
    typer.Option(
        "--margin",
        metavar="MEASURE=AMOUNT",
        help="Allowed regression of a measure, e.g. spread=1.5; for one arm only, e.g. abel.spread=1.5.",
    ),
]
Rules = Annotated[list[str], typer.Option("--rule", metavar="RULE", help='Bound on a measure, e.g. "spread <= 1.5".')]


@baseline_app.command("power")
def power(
    sweep: Sweep,
    margin: Margins = [],  # noqa: B006 (Typer reads the default)
    data_dir: DataDir = None,
    server: NotServed = None,
    as_json: AsJson = False,
) -> None:
    """Estimate how many seeds a margin needs: how often `abel check` would be right at the noise level of a sweep.

    Without --margin, it uses the margins of the sweep's spec. The spec's other margins and rules count as further
    comparisons of the same check.

    Example: abel baseline power fig-s6a-digits --margin mean=1
    """
    refuse_server(server, OF_BASELINES)
    from services.cli import verdicts
    from services.verbs import gate

    show(gate.power(settings_of(data_dir), sweep, gate.margins(margin)), verdicts.powers, as_json)


@baseline_app.command("save")
def save(sweep: Sweep, data_dir: DataDir = None, server: NotServed = None) -> None:
    """Print a finished sweep's results as a baseline: JSON to commit with the code.

    Example: abel baseline save fig-s6a-digits > fig-s6a-digits.baseline.json
    """
    refuse_server(server, OF_BASELINES)
    from services.verbs import gate

    streams.write(gate.save(settings_of(data_dir), sweep) + "\n")


def check(
    sweep: Sweep,
    baseline: Baseline,
    margin: Margins = [],  # noqa: B006 (Typer reads the default)
    rule: Rules = [],  # noqa: B006
    run: Annotated[bool, typer.Option("--run", help="Run the sweep first; SWEEP is then a SPEC.")] = False,
    seeds: Seeds = None,
    workers: Workers = None,
    markdown: Annotated[Path | None, typer.Option(help="Append the verdict to this Markdown file.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write the findings to this file as JUnit XML.")] = None,
    data_dir: DataDir = None,
    server: Server = None,
    as_json: AsJson = False,
) -> None:
    """Compare a sweep with a baseline: did a robustness measure regress beyond its margin?

    Margins and rules come from `check:` in the sweep's spec and from these options.

    Exit code: 0 everything holds, 1 something regressed, 2 bad input, 3 cannot tell (too few seeds, trials without a
    result, another spec), 70 internal error.

    Example: abel check fig-s6a-digits --baseline fig-s6a-digits.baseline.json --margin spread=1.5
    """
    with _breakdown_is_no_verdict(as_json):
        from services.cli import verdicts
        from services.verbs import gate, notify
        from sweeps.results import baseline as baselines

        settings = settings_of(data_dir)
        settings.check("notify_url")
        given = baselines.read_baseline(baseline), gate.margins(margin), [gate.rule(text) for text in rule]
        for wanted in filter(None, (markdown, junit)):
            _must_be_writable(wanted)
        if server is not None:
            if run:
                raise typer.BadParameter("does not go with --server; submit the sweep first", param_hint="--run")
            result = remote.remote_check(server, sweep, baseline, margin, rule)
        elif run:
            request = Request(spec=sweep, seeds=seeds_of(seeds), workers=workers)
            ended = gate.run_then_check(settings, request, *given, partial(carry_out, settings, quiet=True))
            result = ended or _stopped(as_json)
        else:
            result = gate.check(settings, sweep, *given)
        notify.tell(settings, partial(notify.of_check, result), complain)
        for file, text, mode in ((markdown, verdicts.markdown, "a"), (junit, verdicts.junit, "w")):
            if file is not None and (fault := _write(file, text(result), mode)):
                complain(f"warning: {fault}; the verdict is not affected")
        show(result, verdicts.terminal, as_json, done=True)
    raise typer.Exit(EXIT_CODES[result.verdict])


def _stopped(as_json: bool) -> NoReturn:
    fail(Failure(kind="interrupted", message=STOPPED, exit_code=INTERRUPTED), as_json)
    raise typer.Exit(INTERRUPTED)


@contextmanager
def _breakdown_is_no_verdict(as_json: bool) -> Iterator[None]:
    from services.refusals import INPUT_ERRORS

    try:
        yield
    except (typer.Exit, typer.BadParameter, *INPUT_ERRORS):
        raise
    except Exception as error:
        if (failure := on_purpose(error)) is not None:  # a machine error, whose usual exit code means regressed here
            give_up(error, replace(failure, exit_code=BROKE_DOWN), as_json)
        traceback.print_exc()
        complain(f"abel check crashed, which is a bug and not a verdict: {type(error).__name__}: {error}")
        fail(broke_down(error, BROKE_DOWN), as_json)
        raise typer.Exit(BROKE_DOWN) from None


def _must_be_writable(file: Path) -> None:
    """Check before anything is trained; leave no new file behind."""
    there = _resolved(file).exists()
    if fault := _write(file, "", "a"):
        raise typer.BadParameter(fault)
    if not there:
        _resolved(file).unlink()


def _resolved(file: Path) -> Path:
    try:
        return resolve(file)
    except PathFault as error:
        raise typer.BadParameter(f"{named(file)}: {error}") from None


def _write(file: Path, text: str, mode: str) -> str | None:
    """Write a file; return why that failed."""
    try:
        with _resolved(file).open(mode, encoding="utf-8") as target:
            target.write(text)
    except OSError as error:
        return f"{file}: cannot be written: {error.strerror}"
    return None
