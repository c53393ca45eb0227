"""What the handlers of routes have in common: the parts of the service that they use, who asks, and how they answer."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Path, Request, Response

from services.api.document import refusals
from services.api.feeds import Feeds
from services.api.guard import Guard, Turns
from services.api.problems import Problem
from services.encoding import to_json
from services.errors import OperationError
from services.server.desk import Desk, NotThere
from services.server.jobs import JobPlace, JobsAway
from services.server.links import LinkFinder
from services.server.reports import Busy, Reports
from services.settings import Settings
from sweeps.ledger.database import LedgerAway, LedgerError
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.submissions.entering import OtherRequest, TooManyOpen
from sweeps.ledger.submissions.queue import Submissions
from sweeps.ledger.submissions.rows import Token
from sweeps.ledger.submissions.tokens import Tokens
from sweeps.results.values import BaselineError

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
UNKNOWN = refusals(404, 422)  # of a submission
MOST_SUBMITTING = 8  # threads: they parse in parallel; one thread writes for all that wait


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of one service; its application holds them as ``state.parts``."""

    desk: Desk
    feeds: Feeds
    submitting: Turns
    guard: Guard
    reports: Reports
    finder: LinkFinder
    queue: Submissions

    @classmethod
    def over(cls, settings: Settings, ledger: Ledger, jobs: JobPlace) -> "Parts":
        """Return the parts over an open ledger."""
        return cls(
            desk=(desk := Desk(settings, ledger, jobs)),
            feeds=Feeds(desk),
            submitting=Turns(MOST_SUBMITTING),
            guard=Guard(Tokens.of(ledger)),
            reports=Reports(settings, ledger),
            finder=LinkFinder(settings, ledger),
            queue=Submissions.of(ledger),
        )


# FastAPI would run a synchronous dependency in a thread.


async def _desk(request: Request) -> Desk:
    return _parts(request).desk


async def _feeds(request: Request) -> Feeds:
    return _parts(request).feeds


async def _submitting(request: Request) -> Turns:
    return _parts(request).submitting


async def _reports(request: Request) -> Reports:
    return _parts(request).reports


async def _finder(request: Request) -> LinkFinder:
    return _parts(request).finder


async def _queue(request: Request) -> Submissions:
    return _parts(request).queue


def allowed(scope: str) -> Callable[[Request], Awaitable[Token]]:
    """Return a dependency: the token of a request, which must allow ``scope``."""

    async def actor(request: Request) -> Token:
        return await _parts(request).guard.actor(request, scope)

    return actor


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


Reader = Annotated[Token, Depends(allowed("read"))]
Submitter = Annotated[Token, Depends(allowed("submit"))]
TheDesk = Annotated[Desk, Depends(_desk)]
TheFeeds = Annotated[Feeds, Depends(_feeds)]
Submitting = Annotated[Turns, Depends(_submitting)]
TheReports = Annotated[Reports, Depends(_reports)]
TheFinder = Annotated[LinkFinder, Depends(_finder)]
TheQueue = Annotated[Submissions, Depends(_queue)]
Id = Annotated[
    str, Path(pattern=NAME, max_length=128, description="Id or name of a submission.", examples=["3f9c0d2a"])
]


def answered(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in JSON; what JSON cannot represent is null."""
    return Response(to_json(value, ascii_only=True), status, headers, "application/json")


def called(verb: Callable[..., Any], *arguments: Any) -> Any:
    """Call a verb of the desk; its refusals become problems."""
    try:
        return verb(*arguments)
    except NotThere as error:
        raise Problem(404, str(error)) from None
    except TooManyOpen as error:
        raise Problem(429, str(error), headers={"Retry-After": "60"}) from None
    except Busy as error:
        raise Problem(503, str(error), headers={"Retry-After": "30"}) from None
    except OtherRequest as error:
        raise Problem(409, str(error)) from None
    except (LedgerAway, JobsAway) as error:
        raise Problem(503, str(error), headers={"Retry-After": "5"}) from None
    except (OperationError, BaselineError, LedgerError) as error:
        raise Problem(422, str(error), faults=[str(error)]) from None
