"""Sweeps on a terminal: their state, how a run ended, and the results of their trials."""

from collections.abc import Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from services.cli.rendering import FREE_TEXT, next_steps
from services.cli.tables import Fitted, facts_table
from services.schemas import (
    Incident,
    RunResult,
    SweepDetail,
    SweepOverview,
    Tracked,
)
from services.wording import duration
from sweeps.results.values import ArmSummary, TrialResult
from sweeps.results.wording import counted, decay_words, setting

STATUS_STYLES = {
    "finished": "green",
    "running": "cyan",
    "interrupted": "yellow",
    "paused": "yellow",
    "stopped": "yellow",
    "no_space": "red",
    "cancelled": "yellow",
    "diverged": "magenta",
    "failed": "red",
}
TROUBLES_SHOWN = 8


def overview_table(sweeps: Sequence[SweepOverview]) -> RenderableType:
    """Every sweep of this home, newest first."""
    if not sweeps:
        return Group(Text("No sweeps were run here yet."), next_steps("abel catalog", "abel run NAME"))
    table = Fitted(("sweep", "id", "status", "trials", "epochs", "trained", "started"), free=FREE_TEXT)
    for sweep in sweeps:
        table.add_row(
            escape(sweep.name) + ("" if sweep.sharing else " [dim](no sharing)[/]"),
            sweep.id,
            coloured_status(sweep.status),
            _ended(sweep),
            f"{sweep.covered}/{sweep.total}",
            f"{sweep.trained}",
            f"{datetime.fromtimestamp(sweep.created_ms / 1e3):%b %d %H:%M}",
        )
    return table


def sweep_detail(result: SweepDetail) -> RenderableType:
    """A sweep: its figures, its arms, and the trials that need attention."""
    sweep = result.sweep
    figures: dict[str, str | Text] = {
        "id": sweep.id,
        "trials": Text.from_markup(f"{sweep.ended} of {sweep.trials} done{_ill(sweep)}"),
        "epochs": f"{sweep.covered} of {sweep.total} recorded, {sweep.trained} trained" + _replayed(sweep.replayed),
        "MLflow": _tracked(result.lacking, sweep.name),
    }
    if result.adopted:
        epochs, replayed = (sum(getattr(one, name) for one in result.adopted) for name in ("epochs", "replayed"))
        sources = ", ".join(one.sweep_id for one in result.adopted)
        compared = f"{counted(replayed, 'epoch')} trained again had the recorded bits"
        figures["adopted"] = f"{counted(epochs, 'epoch')} that other code recorded in sweep {sources}; {compared}"
    parts = [
        Text.assemble((sweep.name, "bold"), "  ", Text.from_markup(coloured_status(sweep.status))),
        facts_table(list(figures.items())),
        arms_table(result.arms, result.error),
        troubles(result.trials),
    ]
    if result.incidents:
        parts.append(incidents_table(result.incidents))
    if sweep.status in ("interrupted", "stopped", "failed", "no_space"):
        parts.append(Text("\nRun the same command again to resume it."))
    elif sweep.status == "paused":
        parts.append(next_steps(f"abel resume {sweep.name}"))
    if sweep.failed:
        parts.append(Text("The next run trains failed trials again; --json shows their tracebacks."))
    return Group(*parts)


def _tracked(lacking: int, name: str) -> str:
    if not lacking:
        return "up to date"
    more = "a thousand events or more" if lacking >= 1000 else counted(lacking, "event")
    return f"lacks {more}; the next run or `abel track {name}` sends them"


def run_result(result: RunResult, command: str) -> RenderableType:
    """How a run ended: the table of its arms and the next commands; ``command`` is the command line of the run."""
    sweep = result.detail.sweep
    parts: list[RenderableType] = [Text(_headline(result), style="bold")]
    parts += [arms_table(result.detail.arms, result.detail.error), troubles(result.detail.trials)]
    if result.error:
        parts.append(Text(result.error, style="red"))
    if result.tracking:
        parts.append(Text(result.tracking, style="yellow"))
    if result.outcome == "interrupted" or result.error:  # the same command resumes it
        parts.append(next_steps(command, f"abel status {sweep.name}"))
    elif result.outcome == "paused":
        parts.append(next_steps(f"abel resume {sweep.name}", f"abel status {sweep.name}"))
    elif sweep.failed:
        parts.append(next_steps(f"abel status {sweep.name} --json", command))
    else:
        parts.append(next_steps(f"abel report {sweep.name}", "abel ui", f"abel status {sweep.name}"))
    return Group(*parts)


def tracked(results: Sequence[Tracked]) -> RenderableType:
    """For each sweep, whether the tracking store has all of it."""
    lines = [
        Text(f"{result.name} ({result.id}): incomplete in {result.target}: {result.error}", style="yellow")
        if result.error
        else Text(f"{result.name} ({result.id}): complete in {result.target}")
        for result in results
    ]
    if any(result.error for result in results):
        lines.append(Text("Run the same command again to continue."))
    return Group(*lines)


def arms_table(summaries: Sequence[ArmSummary], error: str) -> RenderableType:
    """One line per arm, at the best setting of its grid; ``error`` is what the errors are, in words."""
    caption = f"{error[:1].upper()}{error[1:]} in %, mean over seeds (± standard deviation)."
    columns = ("arm", "trials", "best at", "min error", "final error", "decays after")
    table = Fitted(columns, free=FREE_TEXT, caption=caption)
    for arm in summaries:
        table.add_row(
            escape(arm.arm),
            _ended(arm),
            "—" if arm.settings is None else escape(setting(arm.settings)),
            _percent(arm.minimum_error),
            _percent(arm.final_error) + ("" if arm.final_sd is None else f" ± {arm.final_sd:.2f}"),
            decay_words(arm.decays),
        )
    return table


def trials_table(result: SweepDetail) -> RenderableType:
    """Every trial of a sweep by name, with its result."""
    table = Fitted(("trial", "status", "epoch", "min error", "final error", "decays after"), free=FREE_TEXT)
    for trial in result.trials:
        table.add_row(
            escape(trial.name),
            coloured_status(trial.status),
            f"{trial.epoch}/{trial.epochs}",
            _percent(trial.minimum_error),
            _percent(trial.final_error),
            ", ".join(map(str, trial.decays)) or "none",
        )
    return table


def troubles(trials: Sequence[TrialResult]) -> RenderableType:
    """The trials that diverged, failed or were cancelled, with the epoch and the first line of the reason."""
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


def incidents_table(found: Sequence[Incident]) -> RenderableType:
    """The sweep's incidents: how often each happened, and how often it was retried."""
    lines = []
    for incident in found:
        more = f" and {incident.trials - 1} more" if incident.trials > 1 else ""
        times = f" {incident.times}×, retried {incident.retried}×: {incident.text}"
        last = f" (last: {incident.last_trial}{more}, epoch {incident.last_epoch})" if incident.last_trial else ""
        lines.append(Text.assemble((incident.kind.replace("_", " "), "yellow"), times, (last, "dim")))
    return Group(*lines)


def _headline(result: RunResult) -> str:
    sweep = result.detail.sweep
    if result.outcome == "nothing to do":
        return f"{sweep.name}: nothing to do, all {sweep.trials} trials are done; no epoch was trained."
    took = f" in {duration(result.seconds['wall'])}" if "wall" in result.seconds else ""
    return f"{sweep.name}: {result.outcome}; {result.trained} epochs trained{_replayed(result.replayed)}{took}."


def _replayed(count: int) -> str:
    return f" and {count} replayed" if count else ""


def _ended(counts: ArmSummary | SweepOverview) -> str:
    """Trials with a result, out of all, and the counts of the other outcomes."""
    return f"{counts.ended - counts.failed - counts.cancelled}/{counts.trials}{_ill(counts)}"


def _ill(ended: ArmSummary | SweepOverview) -> str:
    counts = {
        "diverged": ended.diverged,
        "failed": ended.failed,
        "cancelled": ended.cancelled,
        "stopped": ended.stopped,
    }
    return "".join(f" [{STATUS_STYLES[name]}]{count} {name}[/]" for name, count in counts.items() if count)


def _percent(value: float | None) -> str:
    return "—" if value is None else f"{value:.2f}"


def coloured_status(name: str) -> str:
    """A status in its colour."""
    return f"[{STATUS_STYLES.get(name, 'dim')}]{name}[/]"
