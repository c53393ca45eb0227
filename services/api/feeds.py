"""What becomes of a submission, read and encoded once for everybody who follows it: a feed, as long as somebody does.

A feed looks at the ledger every second. Whoever follows it asks for the events after the last one they have; all who have got
equally far are given the same text. Nobody who follows waits for the ledger itself: what they ask for is read by the feed, which
wakes them, so a ledger that hangs does not keep them from their heartbeat, nor from leaving.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from fastapi.concurrency import run_in_threadpool

from services.encoding import to_json
from services.server.desk import Desk, Mark
from services.server.values import Happening
from sweeps.ledger.database import LedgerAway
from sweeps.ledger.submissions.rows import Token

LOOK_SECONDS = 1.0
FEED_READERS = 8  # threads of all feeds together, of the 40 of all requests
PAGES_KEPT = FEED_READERS  # no fewer, or a page could be dropped before those who wait for it have it

Read = TypeVar("Read")
_Place = tuple[str | None, int]  # where somebody has got to: a sweep, and the id of its last event that they have


@dataclass(frozen=True, kw_only=True)
class Now:
    """A submission at the last look, as a message; ``ended`` if it is the last one."""

    message: str
    ended: bool
    mark: Mark


@dataclass(frozen=True, kw_only=True)
class EventPage:
    """Messages of events in order, up to the one with the id ``last``."""

    text: str
    last: int


class Feed:
    """One submission, for those who follow it.

    Attributes:
        now: the submission at the last look; None before the first, and while the ledger is away.
        changed: set once there is something new; another event takes its place.
        followers: how many follow it.
    """

    def __init__(self, desk: Desk, id: str, reading: asyncio.Semaphore) -> None:
        self._desk, self._id, self._reading = desk, id, reading
        self._pages: dict[_Place, EventPage] = {}
        self._coming: dict[_Place, asyncio.Task[None]] = {}  # pages that are being read
        self._fault: Exception | None = None
        self.now: Now | None = None
        self.changed = asyncio.Event()
        self.followers = 0
        self._closed = asyncio.Event()
        self._looking = asyncio.ensure_future(self._look_on())

    def page(self, after: int) -> EventPage | None:
        """Return the next events after one; None if there are none, or not yet: ``changed`` is set once they are read.

        Raises:
            LedgerError: they cannot be read, nor what comes later.
        """
        if self._fault is not None:
            raise self._fault
        if self.now is None or after >= self.now.mark.last_event:
            return None
        place = (self.now.mark.sweep_id, after)
        if place not in self._pages and place not in self._coming:
            self._coming[place] = asyncio.ensure_future(self._fetch(place, self.now.mark))
        return self._pages.get(place)

    def standing(self, actor: Token) -> "asyncio.Task[bool]":
        """Begin to ask whether somebody may still follow: yes while the ledger is away. ``changed`` is set if not."""
        asked = asyncio.ensure_future(self._stands(actor))
        asked.add_done_callback(self._asked)
        return asked

    @staticmethod
    async def wait(event: asyncio.Event, until: float) -> None:
        """Wait for an event, at most until a time of the monotonic clock."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - time.monotonic())):  # wait_for may swallow a cancellation
                await event.wait()

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    @property
    def is_broken(self) -> bool:
        """Whether a read failed for another reason than that the ledger is away."""
        return self._fault is not None

    async def _read(self, verb: Callable[..., Read], *arguments: object) -> Read:
        """Call a verb in one of the few threads in which feeds read the ledger."""
        async with self._reading:
            return await run_in_threadpool(verb, *arguments)

    async def _look_on(self) -> None:
        try:
            while not self._closed.is_set():  # a look is never cut short: its thread would go on without its place
                await self._look()
                await self.wait(self._closed, time.monotonic() + LOOK_SECONDS)
        except Exception as error:  # all who follow raise it
            self._fault = error
            self._tell()

    async def _look(self) -> None:
        before = None if self.now is None else self.now.mark
        try:
            now = await self._read(self._read_now, before)
        except LedgerAway:
            return
        if now is not None:
            self.now = now
            self._tell()

    def _tell(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    async def _fetch(self, place: _Place, mark: Mark) -> None:
        try:
            self._pages[place] = await self._read(self._read_page, mark, place[1])
            if len(self._pages) > PAGES_KEPT:
                del self._pages[next(iter(self._pages))]
        except LedgerAway:
            self.now = None  # until the next look; nothing is lost, as events are read by their ids
        except Exception as error:  # all who follow raise it
            self._fault = error
        finally:
            del self._coming[place]
            self._tell()

    async def _stands(self, actor: Token) -> bool:
        try:
            return await self._read(self._desk.stands, actor)
        except LedgerAway:
            return True

    def _asked(self, standing: "asyncio.Task[bool]") -> None:
        if not standing.cancelled() and (standing.exception() is not None or not standing.result()):
            self._tell()

    def _read_now(self, before: Mark | None) -> Now | None:
        if (found := self._desk.progress(self._id, before)) is None:
            return None
        mark, shown = found
        return Now(message=f"event: submission\ndata: {_line(shown)}\n\n", ended=shown.ended, mark=mark)

    def _read_page(self, mark: Mark, after: int) -> EventPage:
        events = self._desk.events(mark, after)
        return EventPage(text="".join(map(sent, events)), last=events[-1].id)


class Feeds:
    """The feeds of a service, by submission."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._reading = asyncio.Semaphore(FEED_READERS)
        self._feeds: dict[str, Feed] = {}

    @contextmanager
    def followed(self, id: str) -> Iterator[Feed]:
        """The feed of a submission, which ends with the last who follows it. Needs a running loop."""
        feed = self._feeds.get(id)
        if feed is None or feed.is_broken:
            feed = self._feeds[id] = Feed(self._desk, id, self._reading)
        feed.followers += 1
        try:
            yield feed
        finally:
            feed.followers -= 1
            if not feed.followers:
                feed.close()
                if self._feeds.get(id) is feed:
                    del self._feeds[id]


def sent(event: Happening) -> str:
    """An event as a message of the stream."""
    return f"id: {event.id}\nevent: {event.kind}\ndata: {_line(event)}\n\n"


def _line(value: object) -> str:
    return to_json(value, ascii_only=True).replace("\n", " ")
