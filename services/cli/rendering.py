"""Results on a terminal. Each function turns one result into a Rich renderable."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from services.cli.tables import Fitted, facts_table
from services.schemas import (
    CatalogEntry,
    Command,
    DataReport,
    DataSources,
    Plan,
    Plugin,
    ReportFiles,
    UiServer,
    Validation,
)
from services.upkeep import Collected
from services.wording import duration, size, span
from sweeps.results.wording import counted

FREE_TEXT = (
    "best at",
    "checkpoints",
    "decays after",
    "epochs, shared",
    "started",
    "status",
    "sweep",
    "trial",
    "trials",
)


def error(fault: Exception) -> Text:
    """An input or machine error."""
    return Text.assemble(("error: ", "bold red"), str(fault))


def catalog_table(groups: Mapping[str, Sequence[CatalogEntry]]) -> RenderableType:
    """The catalogue by headings, a name and a title per entry; claim and cost are in the entry itself."""
    width = max(len(entry.name) for entries in groups.values() for entry in entries)
    parts: list[RenderableType] = []
    for heading, entries in groups.items():
        parts += [Text()] if parts else []
        parts += [
            Text(heading, style="bold"),
            facts_table([(entry.name.ljust(width), entry.title) for entry in entries]),
        ]
    return Group(*parts, next_steps("abel catalog NAME", "abel plan NAME", "abel run NAME"))


def valid_spec(result: Validation) -> RenderableType:
    """A valid spec."""
    arms = ", ".join(f"{arm} {count}" for arm, count in result.arms.items())
    seeds = ", ".join(map(str, result.seeds))
    return Group(
        Text.assemble(("valid  ", "bold green"), (result.name, "bold"), f"  {result.title}"),
        facts_table(
            [
                ("trials", f"{result.trials} ({arms})"),
                ("seeds", seeds),
                ("epochs", f"{_lengths(result)}, {result.epochs_naive} in total before sharing"),
            ]
        ),
        *map(Text, result.notes),
    )


def plan_facts(result: Plan) -> RenderableType:
    """The forecast cost of a sweep."""
    table = Fitted(("arm", "trials", "epochs, not shared", "epochs, shared"), free=FREE_TEXT)
    for arm in result.arms:
        table.add_row(escape(arm.arm), f"{arm.trials}", f"{arm.epochs_naive:,}", span(*arm.epochs_shared))
    if between := _between_arms(result):
        table.add_row("between arms", "", "", between)
    saved = _saved(result.epochs_shared, result.epochs_naive)
    shared = f"{span(*result.epochs_shared)}{saved}"
    table.add_row("[bold]all arms[/]", f"{result.trials}", f"{result.epochs_naive:,}", shared)
    reason = f": {result.reason}" if result.reason else ""
    known = "unknown without the data" if result.data else f"{result.epochs_known:,} of {result.epochs_naive:,}{reason}"
    figures = {
        **({"data": f"missing: {result.data}"} if result.data else {}),
        "recorded already": known,
        "left to train": f"{span(*result.epochs_remaining)} epochs",
        "time": _forecast(result),
    }
    return Group(
        Text.assemble((result.name, "bold"), f"  {result.title}"),
        table,
        facts_table(list(figures.items())),
        *map(Text, result.notes),
    )


def cancelled(result: Command) -> RenderableType:
    """How many trials a cancellation stops, and when."""
    when = "training stops at the next report" if result.running else "training has stopped"
    return _whole(
        f"{result.sweep}: {counted(result.trials, 'trial')} cancelled; {when}. Their recorded epochs are kept."
    )


def retried(result: Command) -> RenderableType:
    """How many trials are queued again."""
    return _whole(
        f"{result.sweep}: {counted(result.trials, 'trial')} queued; run the sweep's command again to train them."
    )


def started(file: Path) -> RenderableType:
    """A new spec."""
    return Group(Text(f"Wrote {file}."), next_steps(f"abel validate {file}", f"abel plan {file}", f"abel run {file}"))


def report_files(result: ReportFiles) -> RenderableType:
    """The findings of a report, and its files."""
    lines = [_whole("Wrote ", str(file)) for file in result.files]
    findings = [Text(finding) for finding in result.findings]
    return Group(*findings, *lines, *([Text(result.note, style="yellow")] if result.note else []))


def ui_address(server: UiServer) -> RenderableType:
    """Where to point the browser."""
    if server.command is None:
        return Group(Text("The tracking server is at"), _whole("  ", (server.url, "bold")))
    return Group(Text("Starting; in a few seconds open"), _whole("  ", (server.url, "bold")), Text("Ctrl-C stops it."))


def collected(result: Collected) -> RenderableType:
    """Which checkpoints are kept and which are removed."""
    if not result.groups:
        return Text("There are no checkpoints here.")
    pruned = "would be removed" if result.dry_run else "removed"
    table = Fitted(("checkpoints", "", "count", "size"), free=("",))
    for group in result.groups:
        verdict = "[green]kept[/]" if group.kept else f"[yellow]{pruned}[/]"
        table.add_row(verdict, group.what, f"{group.count:,}", size(group.bytes))
    freed = f"{'Would free' if result.dry_run else 'Freed'} {size(result.freed)}."
    return Group(
        table, Text(freed, style="bold"), *([next_steps("abel gc")] if result.dry_run and result.freed else [])
    )


def data_sources(result: DataSources) -> RenderableType:
    """Kinds of data source, and prepared data sets."""
    where = f"in {result.data_dir}" if result.data_dir else "no data directory; set --data-dir or ABEL_DATA_DIR"
    prepared = ", ".join(result.prepared) or "none"
    return Group(
        Text("Sources for program.data in a spec:", style="dim"),
        facts_table(list(result.kinds.items())),
        Text.assemble(("Prepared TFDS data sets: ", "dim"), prepared, (f" ({where})", "dim")),
    )


def data_report(report: DataReport) -> RenderableType:
    """A data set as a sweep would read it."""
    what = "pairs" if report.languages else "images"
    figures = {f"training {what}": f"{report.train_examples}", f"test {what}": f"{report.test_examples}"}
    if report.languages:
        figures["languages"] = ", ".join(report.languages)
    else:
        shape = "×".join(map(str, report.shape))
        figures |= {"shape": shape, "classes": f"{report.classes}", "digest": report.digest[:16]}
    return Group(Text.assemble(("ready  ", "bold green"), (report.name, "bold")), facts_table(list(figures.items())))


def plugins_table(found: Sequence[Plugin]) -> RenderableType:
    """Every installed variant; those that a spec cannot use are explained below."""
    table = Fitted(("part", "kind", "from", "what"), free=("what",))
    for one in found:
        what = escape(one.about) if one.fault is None else "[bold red]cannot be used[/]"
        table.add_row(one.part, escape(one.kind), escape(one.source), what)
    return Group(table, *(Text(f"{one.part} {one.kind}: {one.fault}", style="red") for one in found if one.fault))


def package_written(files: Sequence[Path]) -> RenderableType:
    """The files of a new package, and what to do with it."""
    folder, _, module, test, spec = files[0].parent, *files[1:]
    steps = (f"pip install --editable {folder}", "abel plugins", f"python -m pytest {test}", f"abel run {spec}")
    return Group(Text.assemble("Wrote ", (str(module), "bold"), f" and its package in {folder}"), next_steps(*steps))


def next_steps(*commands: str) -> RenderableType:
    """Commands to run next."""
    return Group(Text("\nNext:", style="dim"), *(_whole("  ", (command, "bold")) for command in commands))


def _whole(*parts: str | tuple[str, str]) -> Text:
    """A line that never wraps, so it can be copied from a narrow terminal."""
    return Text.assemble(*parts, no_wrap=True, overflow="ignore")


def _lengths(result: Validation) -> str:
    alike = result.epochs_naive == result.trials * result.epochs
    return f"{result.epochs} per trial" if alike else f"{result.epochs} in the longest trial"


def _forecast(result: Plan) -> str:
    if result.seconds is None:
        return result.basis
    if result.epochs_remaining[1] == 0:
        return "nothing left to train"
    low, high = (duration(seconds) for seconds in result.seconds)
    takes = low if low == high else f"{low} to {high}"
    workers = counted(result.workers, "worker")
    return f"{takes} on {workers} ({result.basis}; {duration(result.start_seconds)} to start)"


def _between_arms(result: Plan) -> str:
    """Return the epochs that arms share with each other, as the negative number that makes the column add up; may be empty."""
    low, high = (
        whole - sum(arm.epochs_shared[end] for arm in result.arms) for end, whole in enumerate(result.epochs_shared)
    )
    return span(low, high) if low or high else ""


def _saved(shared: tuple[int, int], naive: int) -> str:
    most, least = (f"{1 - epochs / naive:.0%}" for epochs in shared)
    return f" ({most} saved)" if most == least else f" ({least} to {most} saved)"
