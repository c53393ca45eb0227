"""Tests for `services/cli/progress.py`."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from services.cli.progress import LineView, LiveView, progress_view
from sweeps.processes.job import Progress

START = Progress(
    trials=12,
    ended=0,
    diverged=0,
    failed=0,
    cancelled=0,
    stopped=0,
    running=0,
    waiting=3,
    trained=0,
    replayed=0,
    covered=0,
    total=480,
    forecast_low=200,
    forecast_high=220,
    elapsed_seconds=0.0,
    eta_seconds=None,
)
LATER = replace(
    START,
    ended=5,
    diverged=1,
    running=2,
    waiting=1,
    trained=120,
    replayed=4,
    covered=300,
    elapsed_seconds=61,
    eta_seconds=55,
)


def console(terminal: bool = False) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=terminal, width=110, color_system=None), text


def lines(text: io.StringIO) -> list[str]:
    """What was printed, without the times of day."""
    return [line.partition(" ")[2] for line in text.getvalue().splitlines()]


def test_a_log_has_a_line_every_few_seconds_and_only_when_something_moved() -> None:
    now = [0.0]
    out, text = console()
    log = LineView(out, every_seconds=5, clock=lambda: now[0])
    log.show(START)
    now[0] = 1
    log.show(LATER)
    now[0] = 6
    log.show(LATER)
    now[0] = 12
    log.show(replace(LATER, elapsed_seconds=67))
    assert lines(text) == [
        "0 of 12 trials done; 0 cohorts running, 3 ready; 0 epochs trained of 200 to 220, 0 saved by sharing",
        "5 of 12 trials done (1 diverged); 2 cohorts running, 1 ready; "
        "120 epochs trained of 200 to 220 + 4 replayed, 180 saved by sharing, about 55 s left",
    ]


def test_what_earlier_runs_recorded_is_not_called_saved_by_sharing() -> None:
    out, text = console()
    log = LineView(out, every_seconds=0)
    log.show(replace(START, covered=250))
    log.show(replace(LATER, covered=400, trained=120))
    assert "30 saved by sharing" in lines(text)[1]


def test_the_forecast_is_never_below_what_is_trained() -> None:
    out, text = console()
    log = LineView(out, every_seconds=0)
    log.show(replace(LATER, trained=210))
    log.show(replace(LATER, trained=230))
    log.show(replace(LATER, trained=205, ended=12, cancelled=2))
    assert [line.split("; ")[2].partition(" +")[0] for line in lines(text)] == [
        "210 epochs trained of 210 to 220",
        "230 epochs trained of 230",
        "205 epochs trained of 205",
    ]
    assert "12 of 12 trials done (1 diverged, 2 cancelled)" in lines(text)[2]


def test_news_and_notes_are_lines_at_once() -> None:
    out, text = console()
    log = LineView(out)
    log.note("tracking http://x: out of reach")
    log.news("abel seed=0", "minimum at 9, decay at 24")
    assert lines(text) == ["tracking http://x: out of reach", "abel seed=0: minimum at 9, decay at 24"]


def test_the_live_view_shows_figures_and_the_latest_news() -> None:
    out, text = console(terminal=True)
    live = LiveView(out, "fig-s6a-digits")
    for number in range(9):
        live.news(f"abel seed={number}", "minimum at 9")
    live.news("abel seed=4", "minimum at 9, decay at 24")
    live.show(START)
    live.show(LATER)
    out.print(live)
    drawn = " ".join(text.getvalue().split())
    assert "5 of 12 trials done (1 diverged)" in drawn
    assert "120 of 200 to 220 trained + 4 replayed, 180 saved by sharing" in drawn
    assert "2 running, 1 ready" in drawn
    assert "1 min 01 s, about 55 s left" in drawn
    assert drawn.rstrip().endswith("abel seed=4: minimum at 9, decay at 24")
    assert "abel seed=2" not in drawn


def test_the_console_decides_which_view() -> None:
    with progress_view(console()[0], "x") as plain:
        assert isinstance(plain, LineView)
    with progress_view(console(terminal=True)[0], "x") as live:
        assert isinstance(live, LiveView)


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with progress_view(console(terminal=True)[0], "x") as plain:
        assert isinstance(plain, LineView)


@pytest.mark.parametrize("width", [1, 20, 60, 80])
def test_the_live_view_cuts_nothing_at_any_width(width: int) -> None:
    text = io.StringIO()
    out = Console(file=text, force_terminal=True, width=width, color_system=None)
    live = LiveView(out, "mine")
    live.show(LATER)
    live.news("abel decay_factor=0.30000000000000004 seed=4", "minimum at 9, decay at 24")
    out.print(live)
    if width > 1:
        assert "…" not in text.getvalue()
        assert "abeldecay_factor=0.30000000000000004seed=4:minimumat9,decayat24" in "".join(text.getvalue().split())


def test_text_from_outside_is_not_markup() -> None:
    out, text = console()
    LineView(out).note("[red]weights[0][/red]")
    assert lines(text) == ["[red]weights[0][/red]"]
