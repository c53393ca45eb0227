"""One who follows a submission costs the service no reads of the ledger beyond those for all, and misses nothing."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from desks import Api, desk_over
from fastapi.responses import StreamingResponse
from stories import Story
from waiting import wait_for

from services.api.events import stream
from services.api.feeds import Feed, Feeds
from services.server.desk import Desk, Mark
from services.settings import Settings
from sweeps.ledger.database import LedgerAway, LedgerDamaged

FOLLOWERS = 12


@dataclass
class Reads:
    """How often feeds read the ledger, and what they meet there."""

    looks: int = 0
    pages: list[int] = field(default_factory=list)  # the ids of the events before them
    faults: list[Exception] = field(default_factory=list)  # of the next pages


@pytest.fixture
def api(story: Story, tmp_path: Path) -> Iterator[Api]:
    with desk_over(story.ledger, tmp_path) as made:
        yield made


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """Of a service that looks twenty times a second."""
    noted, progress, events = Reads(), Desk.progress, Desk.events

    def look(*given: Any) -> Any:
        noted.looks += 1
        return progress(*given)

    def page(desk: Desk, mark: Mark, after: int) -> Any:
        noted.pages.append(after)
        if noted.faults:
            raise noted.faults.pop()
        return events(desk, mark, after)

    monkeypatch.setattr("services.api.feeds.LOOK_SECONDS", 0.05)
    monkeypatch.setattr(Desk, "progress", look)
    monkeypatch.setattr(Desk, "events", page)
    return noted


@pytest.fixture
def carried_out(api: Api, story: Story) -> str:
    """The id of a submission of ada's whose sweep has begun."""
    id = api.submit()
    story.seeds = 1
    story.begin()
    number = api.queue.count_launch(api.queue.submission(id), None)
    assert number is not None
    api.queue.take(id, number)
    api.queue.renew(id, number, sweep_id=story.sweep_id)
    return id


@pytest.fixture
def follow(api: Api, carried_out: str) -> Iterator[Any]:
    """Follow the submission to its end in a thread; give its messages, with an id or without, once they are all there."""
    with ThreadPoolExecutor(FOLLOWERS) as threads:

        def start(of: str = "ada", **headers: str) -> Future[list[tuple[int | None, str]]]:
            known = {"Authorization": f"Bearer {api.token(of)}", **headers}
            url = f"{api.url}/v1/sweeps/{carried_out}/events"
            return threads.submit(lambda: messages(requests.get(url, headers=known, timeout=60).text))

        yield start


def messages(text: str) -> list[tuple[int | None, str]]:
    """The messages of a whole stream with their ids; comments are None of them."""
    parts = [part for part in text.split("\n\n") if part and not part.startswith(":")]
    return [(int(part.split("\n")[0][4:]) if part.startswith("id: ") else None, part) for part in parts]


def ids(followed: Future[list[tuple[int | None, str]]]) -> list[int]:
    return [id for id, _ in followed.result(60) if id is not None]


def test_all_who_follow_share_what_is_read(
    api: Api, story: Story, carried_out: str, reads: Reads, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.server.desk.PAGE", 8)
    following = [follow() for _ in range(FOLLOWERS)]
    wait_for(lambda: reads.pages)
    story.tell(upto=5)
    late = follow()
    story.tell().end()
    api.queue.release(carried_out, 1, outcome="finished")
    events = [row.id for row in api.ledger.events(story.sweep_id)]
    assert [ids(one) for one in (*following, late)] == [events] * (FOLLOWERS + 1)
    assert len({text for one in following for id, text in one.result() if id == events[-1]}) == 1
    assert len(events) > 8 and len(reads.pages) < 2 * len(
        events
    )  # alone, each would read a page at least every 8 events
    assert '"phase": "finished"' in following[0].result()[-1][1]


def test_who_comes_again_continues_after_the_last_event_received(
    api: Api, story: Story, carried_out: str, reads: Reads, follow: Any
) -> None:
    events = [row.id for row in api.ledger.events(story.tell().end().sweep_id)]
    whole, rest, nothing = (follow(**{"Last-Event-ID": str(after)}) for after in (0, events[3], events[-1]))
    wait_for(lambda: reads.looks > 3)
    api.queue.release(carried_out, 1, outcome="finished")
    assert (ids(whole), ids(rest), ids(nothing)) == (events, events[4:], [])


def test_nobody_looks_when_nobody_follows(api: Api, carried_out: str, reads: Reads) -> None:
    headers = {"Authorization": f"Bearer {api.token('ada')}"}
    for looks in (3, 6):
        with requests.get(f"{api.url}/v1/sweeps/{carried_out}/events", headers=headers, timeout=30, stream=True):
            wait_for(lambda looks=looks: reads.looks > looks)  # type: ignore[misc]
        wait_for(lambda: has_stopped(reads))


def has_stopped(reads: Reads) -> bool:
    before = reads.looks
    time.sleep(0.5)
    return reads.looks == before


def test_events_wait_for_a_ledger_that_is_away(
    api: Api, story: Story, carried_out: str, reads: Reads, follow: Any
) -> None:
    reads.faults = [LedgerAway("ledger postgresql://db: cannot be read: connection refused")] * 2
    events = [row.id for row in api.ledger.events(story.tell().end().sweep_id)]
    api.queue.release(carried_out, 1, outcome="finished")
    following = [follow(), follow()]
    assert [ids(one) for one in following] == [events] * 2 and not reads.faults


def test_a_damaged_ledger_ends_the_stream_and_not_the_next_one(
    api: Api, story: Story, carried_out: str, reads: Reads, follow: Any
) -> None:
    reads.faults = [LedgerDamaged("ledger: is damaged")]
    events = [row.id for row in api.ledger.events(story.tell().end().sweep_id)]
    api.queue.release(carried_out, 1, outcome="finished")
    with pytest.raises(requests.RequestException):
        follow().result(60)
    assert ids(follow()) == events


def test_a_stream_ends_with_its_token_and_others_go_on(
    api: Api, story: Story, carried_out: str, reads: Reads, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.api.events.BEAT_SECONDS", 0.2)
    revoked, good = follow("ada"), follow("ada")
    wait_for(lambda: reads.looks > 3)
    api.tokens.revoke(next(one.id for one in reversed(api.tokens.all()) if one.owner == "ada"))
    wait_for(lambda: revoked.done() or good.done())
    events = [row.id for row in api.ledger.events(story.tell().end().sweep_id)]
    api.queue.release(carried_out, 1, outcome="finished")
    assert sorted(ids(one) == events for one in (revoked, good)) == [False, True]


def test_a_stranger_may_not_follow_what_others_follow(api: Api, carried_out: str, reads: Reads) -> None:
    headers = {"Authorization": f"Bearer {api.token('ada')}"}
    with requests.get(f"{api.url}/v1/sweeps/{carried_out}/events", headers=headers, timeout=30, stream=True) as one:
        assert one.status_code == 200
        refused = api.ask("GET", f"/v1/sweeps/{carried_out}/events", of="stranger")
        assert (refused.status_code, refused.json()["status"]) == (404, 404)


def test_a_token_follows_at_most_so_many_at_once(
    api: Api, carried_out: str, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.api.events.MOST_STREAMS", 1)
    headers = {"Authorization": f"Bearer {api.token('ada')}"}
    url = f"{api.url}/v1/sweeps/{carried_out}/events"
    with requests.get(url, headers=headers, timeout=30, stream=True):
        wait_for(lambda: reads.looks)
        assert requests.get(url, headers=headers, timeout=30).status_code == 429
        with requests.get(url, headers={"Authorization": f"Bearer {api.token('ada')}"}, timeout=30, stream=True) as own:
            assert own.status_code == 200
    wait_for(lambda: requests.get(url, headers=headers, timeout=30, stream=True).status_code == 200)


def test_of_streams_begun_at_once_only_so_many_pass(
    api: Api, carried_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.api.events.MOST_STREAMS", 2)
    token = api.tokens.known(api.token("ada"))
    assert token is not None

    async def race() -> tuple[list[int], list[int]]:
        feeds = Feeds(Desk(Settings.from_env({}), api.ledger, api.jobs))
        made = [stream(feeds, token, carried_out, 0) for _ in range(7)]  # all of them before one begins
        return await begun(made[:4]), await begun(made[4:5])

    assert asyncio.run(race()) == ([200, 200, 429, 429], [200])


async def begun(streams: Sequence[StreamingResponse]) -> list[int]:
    """The status of each stream when all have begun; then their clients leave."""
    statuses: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    answering = [asyncio.ensure_future(one({"type": "http"}, asyncio.Event().wait, send)) for one in streams]
    while len(statuses) < len(streams):
        await asyncio.sleep(0.01)
    for one in answering:
        one.cancel()
    await asyncio.gather(*answering, return_exceptions=True)
    return sorted(statuses)


def test_whoever_leaves_as_news_arrives_does_not_wait_on() -> None:
    async def leave() -> bool:
        news = asyncio.Event()
        waiting = asyncio.ensure_future(Feed.wait(news, time.monotonic() + 60))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        news.set()
        waiting.cancel()
        await asyncio.wait([waiting])
        return waiting.cancelled()

    assert asyncio.run(leave())


@pytest.mark.parametrize("hanging", ["events", "stands"])
def test_hearts_beat_while_the_ledger_hangs(
    api: Api, story: Story, carried_out: str, monkeypatch: pytest.MonkeyPatch, hanging: str
) -> None:
    monkeypatch.setattr("services.api.events.BEAT_SECONDS", 0.1)
    monkeypatch.setattr("services.api.events.MOST_STREAMS", 1)
    answers, verb = threading.Event(), getattr(Desk, hanging)
    monkeypatch.setattr(Desk, hanging, lambda *given: (answers.wait(60), verb(*given))[1])
    events = [row.id for row in api.ledger.events(story.tell(upto=2).end().sweep_id)]
    api.queue.release(carried_out, 1, outcome="finished" if hanging != "stands" else None)
    headers, url = {"Authorization": f"Bearer {api.token('ada')}"}, f"{api.url}/v1/sweeps/{carried_out}/events"
    with requests.get(url, headers=headers, timeout=30, stream=True) as one:
        beats = (line for line in one.iter_lines() if line.startswith(b":"))
        for _ in range(4):
            next(beats)
    wait_for(lambda: requests.get(url, headers=headers, timeout=30, stream=True).status_code == 200)
    if hanging == "stands":
        api.queue.settle(carried_out, "finished")
    answers.set()
    again = {"Authorization": f"Bearer {api.token('ada')}"}
    assert [id for id, _ in messages(requests.get(url, headers=again, timeout=30).text) if id is not None] == events
