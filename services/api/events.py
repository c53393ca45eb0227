"""A sweep's events as server-sent events, resumable without loss: an event's id is its id in the ledger.

What has no id in the ledger, the submission's phase, is sent as events without an id whenever it changes.
"""

import asyncio
import time
from collections.abc import AsyncIterator

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from services.api.problems import Problem
from services.encoding import to_json
from services.server.desk import Desk
from services.server.values import Happening, Submitted
from sweeps.ledger.database import LedgerError
from sweeps.ledger.submissions.rows import Token

LOOK_SECONDS = 1.0
BEAT_SECONDS = 15.0  # a comment, so proxies do not close a silent connection
MOST_SECONDS = 3600.0  # then the client connects again, with a token that is still valid
ENDED = ("finished", "failed", "cancelled", "refused")


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
    return StreamingResponse(
        _events(request, desk, actor, id, after),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def _events(request: Request, desk: Desk, actor: Token, id: str, after: int) -> AsyncIterator[str]:
    shown: Submitted | None = None
    mark: tuple[object, ...] = ()
    began = beat = time.monotonic()
    while not await request.is_disconnected() and time.monotonic() - began < MOST_SECONDS:
        try:
            before, mark = mark, await run_in_threadpool(desk.mark, id)
            if mark == before:
                if time.monotonic() - beat > BEAT_SECONDS:
                    beat = time.monotonic()
                    yield ": still here\n\n"
                await asyncio.sleep(LOOK_SECONDS)
                continue
            now, new = await run_in_threadpool(desk.progress, actor, id, after)
        except LedgerError:
            mark = ()
            await asyncio.sleep(LOOK_SECONDS)  # it is away; nothing is lost, as events are read by their ids
            continue
        for event in new:
            after = event.id
            yield _event(event)
        if now != shown and not new:
            yield f"event: submission\ndata: {_line(now)}\n\n"
            shown = now
            if now.phase in ENDED:
                return
        if new:
            mark = ()  # there may be more of them


def _event(event: Happening) -> str:
    return f"id: {event.id}\nevent: {event.kind}\ndata: {_line(event)}\n\n"


def _line(value: object) -> str:
    return to_json(value, ascii_only=True).replace("\n", " ")
