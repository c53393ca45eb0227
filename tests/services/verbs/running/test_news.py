"""Tests for `services/verbs/running/news.py`."""

from typing import Any

from abel.schedules import Event
from services.verbs.running.news import Item, News
from sweeps.ledger.records import EventRow


class Log:
    """A ledger's events, as a list."""

    def __init__(self) -> None:
        self.rows: list[EventRow] = []

    def add(self, kind: str, **payload: Any) -> None:
        self.rows.append(EventRow(id=len(self.rows) + 1, sweep_id="s", kind=kind, payload=payload, at_ms=0))

    def events(self, sweep_id: str, after: int = 0, limit: int = 1000) -> list[EventRow]:
        return [row for row in self.rows if row.id > after][:limit]


def opened(log: Log, **names: str) -> News:
    """News of a sweep that has opened: what it covered then was told."""
    news = News(ledger=log, sweep_id="s", names=names)
    assert list(news.poll()) == []
    return news


def test_what_an_extended_sweep_covers_when_it_opens_is_no_news() -> None:
    log = Log()
    news = News(ledger=log, sweep_id="s", names={"t": "abel seed=0"})
    news.skip()
    log.add("schedule", trial="t", epoch=9, event=int(Event.DECAY))  # of states that an earlier sweep recorded
    assert list(news.poll()) == []
    log.add("schedule", trial="t", epoch=24, event=int(Event.DECAY))
    assert list(news.poll()) == [Item(trial="abel seed=0", text="decay at 9, decay at 24")]


def test_a_trials_events_gather_in_one_text() -> None:
    log = Log()
    news = opened(log, t="abel seed=0")
    log.add("schedule", trial="t", epoch=9, event=int(Event.MINIMUM))
    log.add("progress", trials=["t"], keys=["k"])
    assert list(news.poll()) == [Item(trial="abel seed=0", text="minimum at 9")]
    log.add("schedule", trial="t", epoch=24, event=int(Event.DECAY | Event.LAST_DECAY))
    assert list(news.poll()) == [Item(trial="abel seed=0", text="minimum at 9, decay at 24, last decay at 24")]
    assert list(news.poll()) == []


def test_a_decay_on_a_plateau_is_news() -> None:
    log = Log()
    news = opened(log, t="plateau seed=0")
    log.add("schedule", trial="t", epoch=12, event=int(Event.PLATEAU))
    assert list(news.poll()) == [Item(trial="plateau seed=0", text="decay on a plateau at 12")]


def test_earlier_events_are_taken_in_silently_page_by_page() -> None:
    log = Log()
    log.add("schedule", trial="t", epoch=9, event=int(Event.MINIMUM))
    for _ in range(2500):
        log.add("progress", trials=["t"], keys=["k"])
    news = opened(log, t="abel seed=0")
    log.add("schedule", trial="t", epoch=24, event=int(Event.DECAY))
    assert list(news.poll()) == [Item(trial="abel seed=0", text="minimum at 9, decay at 24")]


def test_expected_events_are_no_news_and_errors_show_one_line() -> None:
    log = Log()
    news = opened(log, t="a", u="b")
    log.add("trial_ended", trial="v", status="finished", epoch=9, error=None)
    log.add("schedule", trial="v", epoch=4, event=int(Event.MILESTONE))
    log.add("trial_ended", trial="t", status="failed", epoch=3, error="ValueError: no\nTraceback …")
    log.add("trial_ended", trial="u", status="diverged", epoch=5, error=None)
    log.add("note", text="a worker was lost")
    assert list(news.poll()) == [
        Item(trial="a", text="failed at epoch 3: ValueError: no"),
        Item(trial="b", text="diverged at epoch 5"),
        Item(trial=None, text="a worker was lost"),
    ]


def test_an_incident_says_how_its_cohort_goes_on() -> None:
    log = Log()
    news = News(ledger=log, sweep_id="s", names={})
    assert list(news.poll()) == []
    for kind, again in (("infrastructure", True), ("out_of_memory", True), ("out_of_memory", False)):
        log.add("incident", text="gone", again=again, trials=["t"], epoch=3, attempt=1, **{"class": kind})
    assert [item.text for item in news.poll()] == [
        "gone (epoch 3, 1 trial): resuming from the last checkpoint",
        "gone (epoch 3, 1 trial): resuming from the last checkpoint, alone",
        "gone (epoch 3, 1 trial): given up",
    ]
