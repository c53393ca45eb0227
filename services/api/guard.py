"""Who is asking: tokens, what they allow, and how often; and turns, in which their requests are carried out."""

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from services.api.problems import Problem
from sweeps.ledger.submissions.rows import Token
from sweeps.ledger.submissions.tokens import SCOPES, Tokens

RATE, BURST = 50.0, 200.0  # requests a second of one token, and at once
WRONG_RATE, WRONG_BURST = 1.0, 20.0  # of one address without a valid token
MOST_KNOWN = 10_000  # tokens and addresses that are counted
TOKEN_READERS = 4  # threads

Given = ParamSpec("Given")
Result = TypeVar("Result")


class Turns:
    """A few threads that carry out calls in the order in which they are asked for.

    As many threads as requests would compete for the one interpreter, and whoever loses waits several times as long.
    """

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads)

    async def call(self, verb: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Result:
        """Carry out a call once it has its turn; one whose caller leaves before that is dropped."""
        context = copy_context()  # of the request's span, if there are traces
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: context.run(verb, *given, **named)
        )


class Allowance:
    """A bucket for each name that holds up to ``burst`` requests and fills by ``rate`` a second."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._taking = threading.Lock()

    def take(self, name: str) -> bool:
        """Take one request out of a name's bucket; False if it is empty."""
        with self._taking:
            now = self._clock()
            left, since = self._left.pop(name, (self._burst, now))
            left = min(self._burst, left + (now - since) * self._rate)
            self._left[name] = (left - 1 if left >= 1 else left, now)
            while len(self._left) > MOST_KNOWN:
                self._left.popitem(last=False)
            return left >= 1


class Guard:
    """Checks the token of every request."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens, self._reading = tokens, Turns(TOKEN_READERS)
        self._calls, self._misses = Allowance(RATE, BURST), Allowance(WRONG_RATE, WRONG_BURST)

    async def actor(self, request: Request, scope: str) -> Token:
        """Return the token of a request that allows ``scope``.

        Raises:
            Problem: 401 none, unknown, expired or revoked; 403 it does not allow this; 429 too often.
        """
        token = await self._token(request)
        if not self._calls.take(token.id):
            raise Problem(429, f"at most {RATE:g} requests a second", headers={"Retry-After": "1"})
        if max(SCOPES.index(one) for one in token.scopes) < SCOPES.index(scope):
            await self._note(request, token, f"lacks {scope}")
            raise Problem(403, f"scope: must be {scope}, got {' '.join(token.scopes)}")
        return token

    async def _token(self, request: Request) -> Token:
        kind, _, text = request.headers.get("authorization", "").partition(" ")
        found = await self._reading.call(self._tokens.known, text.strip()) if kind.lower() == "bearer" else None
        if found is not None and found.is_valid:
            return found
        address = request.client.host if request.client else ""
        if not self._misses.take(address):
            raise Problem(429, "too many requests without a valid token", headers={"Retry-After": "10"})
        if found is not None:
            await self._note(request, found, "expired or revoked")
        raise Problem(401, _why(found, bool(text)), headers={"WWW-Authenticate": 'Bearer realm="abel"'})

    async def _note(self, request: Request, token: Token, why: str) -> None:
        """Enter a refusal in the audit log. That may wait for other writers, which no reader of tokens does."""
        told = (token.owner, "refused", request.url.path[:200], f"token {token.id} {why}")
        await run_in_threadpool(self._tokens.note, *told)


def _why(found: Token | None, given: bool) -> str:
    """Why a token is refused: whoever holds its secret may know that it expired; nobody else learns that it exists."""
    if found is None:
        return "Authorization: must be `Bearer <token>` with a valid token, got " + ("another" if given else "none")
    return f"token {found.id}: {'was revoked' if found.revoked_ms is not None else 'has expired'}"
