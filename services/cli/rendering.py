"""Results as people read them on a terminal. Each function turns one result into something Rich can print."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from services.cli.tables import Fitted, facts
from services.schemas import (
    CatalogEntry,
    Collected,
    Command,
    DataReport,
    DataSources,
    Incident,
    Plan,
    ReportFiles,
    RunResult,
    SweepDetail,
    SweepOverview,
    Tracked,
    UiServer,
    Validation,
)
from services.wording import duration, size, span
from sweeps.results.values import ArmSummary, TrialResult
from sweeps.results.wording import decays, setting

STATUS_STYLES = {
    "finished": "green",
    "running": "cyan",
    "interrupted": "yellow",
    "stopped": "yellow",
    "no_space": "red",
    "cancelled": "yellow",
    "diverged": "magenta",
    "failed": "red",
}
TROUBLES_SHOWN = 8
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
    """An error of the input: what is wrong, and that nothing was started."""
    return Text.assemble(("error: ", "bold red"), str(fault))


def catalog(entries: Sequence[CatalogEntry]) -> RenderableType:
    """The catalogue, one block an entry."""
    blocks: list[RenderableType] = []
    for entry in entries:
        rows = [("claim", " ".join(entry.claim.split())), ("cost", " ".join(entry.cost.split()))]
        blocks += [Text.assemble((entry.name, "bold cyan"), "  ", entry.title), Padding(facts(rows), (0, 0, 1, 0))]
    return Group(*blocks, next_steps("abel catalog NAME", "abel plan NAME", "abel run NAME"))


def validation(result: Validation) -> RenderableType:
    """A spec that holds."""
    arms = ", ".join(f"{arm} {count}" for arm, count in result.arms.items())
    seeds = ", ".join(map(str, result.seeds))
    return Group(
        Text.assemble(("valid  ", "bold green"), (result.name, "bold"), f"  {result.title}"),
        _facts(
            {
                "trials": f"{result.trials} ({arms})",
                "seeds": seeds,
                "epochs": f"{_lengths(result)}, {result.epochs_naive} in all before sharing",
            }
        ),
        *map(Text, result.notes),
    )


def plan(result: Plan) -> RenderableType:
    """What a sweep will cost."""
    table = Fitted(("arm", "trials", "epochs, not shared", "epochs, shared"), free=FREE_TEXT)
    for arm in result.arms:
        table.add_row(escape(arm.arm), f"{arm.trials}", f"{arm.epochs_naive:,}", span(*arm.epochs_shared))
    saved = _saved(result.epochs_shared, result.epochs_naive)
    shared = f"{span(*result.epochs_shared)}{saved}"
    table.add_row("[bold]all arms[/]", f"{result.trials}", f"{result.epochs_naive:,}", shared)
    reason = f": {result.reason}" if result.reason else ""
    figures = {
        "recorded already": f"{result.epochs_known:,} of {result.epochs_naive:,}{reason}",
        "left to train": f"{span(*result.epochs_remaining)} epochs",
        "time": _forecast(result),
    }
    return Group(
        Text.assemble((result.name, "bold"), f"  {result.title}"), table, _facts(figures), *map(Text, result.notes)
    )


def overview(sweeps: Sequence[SweepOverview]) -> RenderableType:
    """Every sweep of this home, newest first."""
    if not sweeps:
        return Group(Text("No sweep was run here yet."), next_steps("abel catalog", "abel run NAME"))
    table = Fitted(("sweep", "id", "status", "trials", "epochs", "trained", "started"), free=FREE_TEXT)
    for sweep in sweeps:
        table.add_row(
            escape(sweep.name) + ("" if sweep.sharing else " [dim](no sharing)[/]"),
            sweep.id,
            status(sweep.status),
            _ended(sweep),
            f"{sweep.covered}/{sweep.total}",
            f"{sweep.trained}",
            f"{datetime.fromtimestamp(sweep.created_ms / 1e3):%b %d %H:%M}",
        )
    return table


def detail(result: SweepDetail) -> RenderableType:
    """A sweep: its figures, its arms, and the trials that need a look."""
    sweep = result.sweep
    figures: dict[str, str | Text] = {
        "id": sweep.id,
        "trials": Text.from_markup(f"{sweep.ended} of {sweep.trials} ended{_ill(sweep)}"),
        "epochs": f"{sweep.covered} of {sweep.total} covered by {sweep.trained} trained" + _replayed(sweep.replayed),
        "MLflow": _tracked(result.lacking, sweep.name),
    }
    parts = [
        Text.assemble((sweep.name, "bold"), "  ", Text.from_markup(status(sweep.status))),
        _facts(figures),
        arms(result.arms),
        troubles(result.trials),
    ]
    if result.incidents:
        parts.append(incidents(result.incidents))
    if sweep.status in ("interrupted", "stopped", "failed", "no_space"):
        parts.append(Text("\nThe command that started it goes on with it."))
    return Group(*parts)


def _tracked(lacking: int, name: str) -> str:
    if not lacking:
        return "shows all of it"
    more = "a thousand events or more" if lacking >= 1000 else f"{lacking} event{'s' * (lacking != 1)}"
    return f"lacks {more}; a run sends them, and so does abel track {name}"


def run_result(result: RunResult, command: str) -> RenderableType:
    """How a run ended: the table of its arms and what to type next; ``command`` is what was typed to run it."""
    sweep = result.detail.sweep
    parts: list[RenderableType] = [Text(_headline(result), style="bold")]
    parts += [arms(result.detail.arms), troubles(result.detail.trials)]
    if result.error:
        parts.append(Text(result.error, style="red"))
    if result.tracking:
        parts.append(Text(result.tracking, style="yellow"))
    if result.outcome == "interrupted" or result.error:  # the same command goes on
        parts.append(next_steps(command, f"abel status {sweep.name}"))
    else:
        parts.append(next_steps(f"abel report {sweep.name}", "abel ui", f"abel status {sweep.name}"))
    return Group(*parts)


def tracked(results: Sequence[Tracked]) -> RenderableType:
    """For each sweep, whether the tracking store shows all of it."""
    lines = [
        Text(f"{result.name} ({result.id}): not everything is in {result.target}: {result.error}", style="yellow")
        if result.error
        else Text(f"{result.name} ({result.id}): all of it is in {result.target}")
        for result in results
    ]
    if any(result.error for result in results):
        lines.append(Text("The same command goes on from there."))
    return Group(*lines)


def arms(summaries: Sequence[ArmSummary]) -> RenderableType:
    """One line per arm at the best setting of its grid."""
    caption = "Test error in %, mean over seeds (± standard deviation)."
    columns = ("arm", "trials", "best at", "min error", "final error", "decays after")
    table = Fitted(columns, free=FREE_TEXT, caption=caption)
    for arm in summaries:
        table.add_row(
            escape(arm.arm),
            _ended(arm),
            "—" if arm.settings is None else escape(setting(arm.settings)),
            _percent(arm.minimum_error),
            _percent(arm.final_error) + ("" if arm.final_sd is None else f" ± {arm.final_sd:.2f}"),
            decays(arm.decays),
        )
    return table


def trials(result: SweepDetail) -> RenderableType:
    """Every trial of a sweep by name, with its result."""
    table = Fitted(("trial", "status", "epoch", "min error", "final error", "decays after"), free=FREE_TEXT)
    for trial in result.trials:
        table.add_row(
            escape(trial.name),
            status(trial.status),
            f"{trial.epoch}/{trial.epochs}",
            _percent(trial.minimum_test_error),
            _percent(trial.final_test_error),
            ", ".join(map(str, trial.decays)) or "none",
        )
    return table


def troubles(trials: Sequence[TrialResult]) -> RenderableType:
    """The trials that diverged or failed, with the epoch and the first line of the reason."""
    ill = [trial for trial in trials if trial.status in ("diverged", "failed", "cancelled")]
    lines = []
    for trial in ill[:TROUBLES_SHOWN]:
        reason = (trial.error or "").strip().splitlines()
        lines.append(
            Text.assemble(
                (trial.status, STATUS_STYLES[trial.status]),
                f" at epoch {trial.epoch}: {trial.name}" + (f": {reason[0]}" if reason else ""),
            )
        )
    if len(ill) > TROUBLES_SHOWN:
        lines.append(Text(f"… and {len(ill) - TROUBLES_SHOWN} more", style="dim"))
    return Group(*lines)


def incidents(found: Sequence[Incident]) -> RenderableType:
    """What befell the sweep's cohorts, how often, and how often they were taken up again."""
    lines = []
    for incident in found:
        more = f" and {incident.trials - 1} more" if incident.trials > 1 else ""
        times = f" {incident.times}×, taken up again {incident.retried}×: {incident.text}"
        last = f" (last: {incident.last_trial}{more}, epoch {incident.last_epoch})" if incident.last_trial else ""
        lines.append(Text.assemble((incident.kind.replace("_", " "), "yellow"), times, (last, "dim")))
    return Group(*lines)


def cancelled(result: Command) -> RenderableType:
    """How many trials a cancellation ends, and when."""
    when = "they end with their next report" if result.running else "they have ended"
    return _whole(f"{result.sweep}: {result.trials} trials cancelled; {when}. What is recorded of them stays.")


def retried(result: Command) -> RenderableType:
    """How many trials wait again."""
    return _whole(f"{result.sweep}: {result.trials} trials wait again; the command that started the sweep trains them.")


def started(file: Path) -> RenderableType:
    """A fresh spec."""
    return Group(Text(f"Wrote {file}."), next_steps(f"abel validate {file}", f"abel plan {file}", f"abel run {file}"))


def report(result: ReportFiles) -> RenderableType:
    """Where a report lies."""
    lines = [_whole("Wrote ", str(file)) for file in result.files]
    findings = [Text(finding) for finding in result.findings]
    return Group(*findings, *lines, *([Text(result.note, style="yellow")] if result.note else []))


def ui(server: UiServer) -> RenderableType:
    """Where to point the browser."""
    if server.command is None:
        return Group(Text("The tracking server is at"), _whole("  ", (server.url, "bold")))
    return Group(Text("Starting; in a few seconds open"), _whole("  ", (server.url, "bold")), Text("Ctrl-C ends it."))


def collected(result: Collected) -> RenderableType:
    """Which checkpoints stay and which go."""
    if not result.groups:
        return Text("There is no checkpoint here.")
    pruned = "would go" if result.dry_run else "gone"
    table = Fitted(("checkpoints", "", "count", "size"), free=("",))
    for group in result.groups:
        verdict = "[green]kept[/]" if group.kept else f"[yellow]{pruned}[/]"
        table.add_row(verdict, group.what, f"{group.count:,}", size(group.bytes))
    freed = f"{'Would free' if result.dry_run else 'Freed'} {size(result.freed)}."
    return Group(
        table, Text(freed, style="bold"), *([next_steps("abel gc")] if result.dry_run and result.freed else [])
    )


def data_sources(result: DataSources) -> RenderableType:
    """Kinds of data source, and prepared sets."""
    where = f"in {result.data_dir}" if result.data_dir else "no data directory is set: --data-dir, ABEL_DATA_DIR"
    prepared = ", ".join(result.prepared) or "none"
    return Group(
        Text("Sources, for program.data in a spec:", style="dim"),
        _facts(result.kinds),
        Text.assemble(("Prepared TFDS sets: ", "dim"), prepared, (f" ({where})", "dim")),
    )


def data_report(report: DataReport) -> RenderableType:
    """A data set as a sweep would read it."""
    figures = {
        "training images": f"{report.train_examples}",
        "test images": f"{report.test_examples}",
        "shape": "×".join(map(str, report.shape)),
        "classes": f"{report.classes}",
        "digest": report.digest[:16],
    }
    return Group(Text.assemble(("ready  ", "bold green"), (report.name, "bold")), _facts(figures))


def next_steps(*commands: str) -> RenderableType:
    """The commands that one would type next."""
    return Group(Text("\nNext:", style="dim"), *(_whole("  ", (command, "bold")) for command in commands))


def _whole(*parts: str | tuple[str, str]) -> Text:
    """A line that is copied as a whole, so never broken, however narrow the terminal."""
    return Text.assemble(*parts, no_wrap=True, overflow="ignore")


def status(name: str) -> str:
    """A status in its colour."""
    return f"[{STATUS_STYLES.get(name, 'dim')}]{name}[/]"


def _lengths(result: Validation) -> str:
    alike = result.epochs_naive == result.trials * result.epochs
    return f"{result.epochs} per trial" if alike else f"{result.epochs} in the longest trial"


def _headline(result: RunResult) -> str:
    sweep = result.detail.sweep
    if result.outcome == "nothing to do":
        return f"{sweep.name}: nothing to do, all {sweep.trials} trials had ended; no epoch was trained."
    took = f" in {duration(result.seconds['wall'])}" if "wall" in result.seconds else ""
    return f"{sweep.name}: {result.outcome}; {result.trained} epochs trained{_replayed(result.replayed)}{took}."


def _replayed(count: int) -> str:
    return f" and {count} replayed" if count else ""


def _ended(counts: ArmSummary | SweepOverview) -> str:
    """How many trials came to a result, of how many, and how many to what other end."""
    return f"{counts.ended - counts.failed - counts.cancelled}/{counts.trials}{_ill(counts)}"


def _ill(ended: ArmSummary | SweepOverview) -> str:
    counts = {
        "diverged": ended.diverged,
        "failed": ended.failed,
        "cancelled": ended.cancelled,
        "stopped": ended.stopped,
    }
    return "".join(f" [{STATUS_STYLES[name]}]{count} {name}[/]" for name, count in counts.items() if count)


def _forecast(result: Plan) -> str:
    if result.seconds is None:
        return result.basis
    if result.epochs_remaining[1] == 0:
        return "nothing is left to train"
    low, high = (duration(seconds) for seconds in result.seconds)
    takes = low if low == high else f"{low} to {high}"
    return f"{takes} on {result.workers} workers  ({result.basis}; {duration(result.start_seconds)} to start)"


def _saved(shared: tuple[int, int], naive: int) -> str:
    most, least = (f"{1 - epochs / naive:.0%}" for epochs in shared)
    return f" ({most} saved)" if most == least else f" ({least} to {most} saved)"


def _percent(value: float | None) -> str:
    return "—" if value is None else f"{value:.2f}"


def _facts(values: Mapping[str, str | Text]) -> RenderableType:
    return facts(list(values.items()))
