"""A sweep's events as server-sent events, resumable without loss: an event's id is its id in the ledger.

What has no id in the ledger, the submission's phase, is sent as events without an id whenever it changes.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from services.api.problems import Problem
from services.encoding import to_json
from services.server.desk import PAGE, Desk
from services.server.values import Happening, Submitted
from sweeps.ledger.database import LedgerAway
from sweeps.ledger.submissions.rows import Token

LOOK_SECONDS = 1.0
BEAT_SECONDS = 15.0  # a comment, so proxies do not close a silent connection
MOST_STREAMS = 16  # of one token at once: a service has so many connections for everybody

_open: Counter[str] = Counter()  # streams by token


def last_id(request: Request, after: int) -> int:
    """Return the id of the last event that a client has: of its `Last-Event-ID`, else ``after``."""
    text = request.headers.get("last-event-id")
    if text is None:
        return after
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Problem(422, "Last-Event-ID: must be the id of an event", faults=["Last-Event-ID: must be an event's id"])
    return int(text)


def stream(request: Request, desk: Desk, actor: Token, id: str, after: int) -> StreamingResponse:
    """Answer with a submission's events after one, until it ends or the client leaves."""
    if _open[actor.id] >= MOST_STREAMS:
        raise Problem(429, f"at most {MOST_STREAMS} streams of a token at once", headers={"Retry-After": "10"})
    return StreamingResponse(
        _counted(actor.id, _events(request, desk, actor, id, after)),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def _counted(token: str, events: AsyncIterator[str]) -> AsyncIterator[str]:
    _open[token] += 1
    try:
        async for event in events:
            yield event
    finally:
        _open[token] -= 1


async def _events(request: Request, desk: Desk, actor: Token, id: str, after: int) -> AsyncIterator[str]:
    shown: Submitted | None = None
    mark: tuple[object, ...] = ()
    beat = time.monotonic()
    while not await request.is_disconnected():
        try:
            if time.monotonic() - beat > BEAT_SECONDS:
                beat = time.monotonic()
                yield ": still here\n\n"
                if not await run_in_threadpool(desk.stands, actor):
                    return  # revoked or expired; the client's next request is refused
            before, mark = mark, await run_in_threadpool(desk.mark, id)
            now, new = (shown, []) if mark == before else await run_in_threadpool(desk.progress, actor, id, after)
        except LedgerAway:
            mark, now, new = (), shown, []  # nothing is lost, as events are read by their ids
        for event in new:
            after = event.id
            yield sent(event)
        if len(new) == PAGE:
            mark = ()  # there may be more of them
            continue
        if now is not None and now != shown:
            yield f"event: submission\ndata: {_line(now)}\n\n"
            shown = now
            if now.ended:
                return
        await asyncio.sleep(LOOK_SECONDS)


def sent(event: Happening) -> str:
    """An event as a message of the stream."""
    return f"id: {event.id}\nevent: {event.kind}\ndata: {_line(event)}\n\n"


def _line(value: object) -> str:
    return to_json(value, ascii_only=True).replace("\n", " ")
