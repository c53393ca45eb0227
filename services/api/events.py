"""A sweep's events as server-sent events, resumable without loss: an event's id is its id in the ledger.

What has no id in the ledger, the submission's phase, is sent as events without an id whenever it changes.
"""

import time
from collections import Counter
from collections.abc import AsyncIterator

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from services.api.feeds import Feeds
from services.api.problems import Problem
from sweeps.ledger.submissions.rows import Token

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


def stream(feeds: Feeds, actor: Token, id: str, after: int) -> StreamingResponse:
    """Answer with a submission's events after one, until it ends or the client leaves; the actor may see it."""
    return _Counted(actor.id, _events(feeds, actor, id, after))


class _Counted(StreamingResponse):
    """A stream of a token; it is refused, or counted as long as it is being answered, however that ends."""

    def __init__(self, token: str, events: AsyncIterator[str]) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        if _open[self._token] >= MOST_STREAMS:
            refusal = Problem(429, f"at most {MOST_STREAMS} streams of a token at once", headers={"Retry-After": "10"})
            await refusal.response()(scope, receive, send)
            return
        _open[self._token] += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            _open[self._token] -= 1
            if not _open[self._token]:
                del _open[self._token]


async def _events(feeds: Feeds, actor: Token, id: str, after: int) -> AsyncIterator[str]:
    shown, beat, standing = "", time.monotonic() + BEAT_SECONDS, None
    with feeds.followed(id) as feed:
        while True:
            changed = feed.changed  # before anything is read, so no change is missed
            if time.monotonic() >= beat:
                beat = time.monotonic() + BEAT_SECONDS
                yield ": still here\n\n"
                if standing is None:
                    standing = feed.standing(actor)
            if standing is not None and standing.done():
                if not standing.result():
                    return  # revoked or expired; the client's next request is refused
                standing = None
            if page := feed.page(after):
                after = page.last
                yield page.text
            elif feed.now is not None and after >= feed.now.mark.last_event and feed.now.message != shown:
                shown, ended = feed.now.message, feed.now.ended
                yield shown
                if ended:
                    return
            else:
                await feed.wait(changed, beat)
