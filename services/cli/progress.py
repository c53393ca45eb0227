"""What ``abel run`` shows while it works: a live view on a terminal, timestamped lines in a log."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from services.wording import duration, span
from sweeps.results.wording import counted

if TYPE_CHECKING:  # imports JAX, which takes seconds
    from sweeps.processes.job import Progress

BAR_CELLS = 16
LINE_SECONDS = 5.0
NEWS_SHOWN = 6


@contextmanager
def progress_view(console: Console, title: str) -> Iterator["LineView | LiveView"]:
    """Choose the view for the console: live on a terminal that can move its cursor, otherwise lines."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield LineView(console)
        return
    live_view = LiveView(console, title)
    with Live(live_view, console=console, refresh_per_second=4):
        yield live_view


class LineView:
    """Lines with the time of day; progress at most every few seconds, and only if it changed."""

    def __init__(
        self, console: Console, *, every_seconds: float = LINE_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._every_seconds = every_seconds
        self._clock = clock
        self._shown_at = float("-inf")
        self._shown = ""
        self._covered_before: int | None = None

    def note(self, text: str) -> None:
        """Print the text."""
        self._line(text)

    def news(self, trial: str, text: str) -> None:
        """Print what happened."""
        self._line(f"{trial}: {text}")

    def show(self, progress: "Progress") -> None:
        """Print a line of figures if one is due and something changed."""
        self._covered_before = progress.covered if self._covered_before is None else self._covered_before
        line = summary_line(progress, self._covered_before)
        now = self._clock()
        if now - self._shown_at < self._every_seconds or line == self._shown:
            return
        self._shown_at, self._shown = now, line
        eta = "" if progress.eta_seconds is None else f", about {duration(progress.eta_seconds)} left"
        self._line(line + eta)

    def _line(self, text: str) -> None:
        self._console.print(f"{datetime.now():%H:%M:%S} {text}", markup=False, highlight=False, soft_wrap=True)


class LiveView:
    """Figures redrawn in place, with the latest news below and notes above."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._progress: Progress | None = None
        self._covered_before = 0
        self._news: dict[str, str] = {}

    def note(self, text: str) -> None:
        """Print the text above the figures, where it stays."""
        self._console.print(text, markup=False, highlight=False)

    def news(self, trial: str, text: str) -> None:
        """Move the trial's text to the end of the news."""
        self._news.pop(trial, None)
        self._news[trial] = text
        while len(self._news) > NEWS_SHOWN:
            del self._news[next(iter(self._news))]

    def show(self, progress: "Progress") -> None:
        """Store the figures for the next redraw."""
        if self._progress is None:
            self._covered_before = progress.covered
        self._progress = progress

    def __rich__(self) -> RenderableType:
        """Draw the view."""
        parts: list[RenderableType] = [Text(self._title, style="bold")]
        if self._progress is not None:
            parts.append(figures(self._progress, self._covered_before))
        parts += [Text.assemble((trial, "cyan"), f": {text}") for trial, text in self._news.items()]
        return Group(*parts)


def figures(progress: "Progress", covered_before: int) -> RenderableType:
    """The progress as a small table. ``covered_before``: trial-epochs recorded by earlier runs."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", overflow="fold")
    grid.add_column(width=BAR_CELLS)
    grid.add_column(overflow="fold")
    grid.add_row("trials", _bar(progress.ended, progress.trials), _trials(progress))
    grid.add_row(
        "epochs", _bar(progress.covered, progress.total), _epochs(progress, covered_before, "{} of {} trained")
    )
    grid.add_row("cohorts", "", f"{progress.running} running, {progress.waiting} ready")
    grid.add_row("time", "", _time(progress))
    return grid


def summary_line(progress: "Progress", covered_before: int) -> str:
    """The progress as one log line, without times."""
    cohorts = f"{counted(progress.running, 'cohort')} running, {progress.waiting} ready"
    return f"{_trials(progress)}; {cohorts}; {_epochs(progress, covered_before, '{} epochs trained of {}')}"


def _bar(done: int, total: int) -> ProgressBar:
    return ProgressBar(total=max(total, 1), completed=done, width=BAR_CELLS)


def _trials(progress: "Progress") -> str:
    troubles = [
        f"{count} {name}"
        for name in ("diverged", "failed", "cancelled", "stopped")
        if (count := getattr(progress, name))
    ]
    suffix = f" ({', '.join(troubles)})" if troubles else ""
    return f"{progress.ended} of {progress.trials} trials done{suffix}"


def _epochs(progress: "Progress", covered_before: int, form: str) -> str:
    # Epochs trained already are certain; once every trial has ended, no more will follow.
    open_ended = progress.ended < progress.trials
    low = max(progress.forecast_low, progress.trained) if open_ended else progress.trained
    forecast = span(low, max(progress.forecast_high, low) if open_ended else low)
    replayed = f" + {progress.replayed} replayed" if progress.replayed else ""
    saved = max(0, progress.covered - covered_before - progress.trained)
    return f"{form.format(progress.trained, forecast)}{replayed}, {saved} saved by sharing"


def _time(progress: "Progress") -> str:
    left = "" if progress.eta_seconds is None else f", about {duration(progress.eta_seconds)} left"
    return f"{duration(progress.elapsed_seconds)}{left}"
