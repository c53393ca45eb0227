"""The service's application: routes, who may use them, and what it tells machines about its health."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api import health, pages, results, submissions
from services.api.document import DescribedApp
from services.api.handling import Parts
from services.api.problems import TITLES, Problem, answer_problem
from services.server.jobs import JobPlace
from services.settings import Settings
from sweeps.ledger.database import LedgerError
from sweeps.ledger.ledger import Ledger

if TYPE_CHECKING:
    from services.traces import TracerProvider

ABOUT = """Submit sweeps, watch them, and stop them. Every request needs `Authorization: Bearer <token>`; `abel token` makes
tokens. Refusals are problem documents (RFC 9457), with a pointer at each faulty field."""
# No page of this service is framed, and none loads anything from elsewhere.
SAFE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def build(
    settings: Settings,
    ledger: Ledger,
    jobs: JobPlace,
    *,
    hosts: Sequence[str] = ("*",),
    tracers: "TracerProvider | None" = None,
) -> FastAPI:
    """Return the application over an open ledger.

    Args:
        hosts: names by which browsers and clients may call the service.
        tracers: where spans of requests go; see :func:`services.traces.traced`.
    """
    app = DescribedApp(
        title="abel",
        version="1",
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        telemetry=_telemetry(tracers),
    )
    app.state.parts = Parts.over(settings, ledger, jobs)
    for module in (submissions, results, health, pages):
        app.include_router(module.router)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    for kind, answer in ANSWERS.items():
        app.add_exception_handler(kind, answer)
    app.add_middleware(SafeHeaders)
    return app


class SafeHeaders:
    """Adds the headers of :data:`SAFE` to every answer that does not have them; what is streamed passes as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SAFE.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers)


def _telemetry(tracers: "TracerProvider | None") -> TelemetryConfig:
    """FastAPI's own traces: a span for each request, without its headers and its body."""
    only: TelemetryConfig = {"metrics": False, "logs": False, "operation_spans": False, "auto_configure": False}
    given: TelemetryConfig = {"tracing": False} if tracers is None else {"tracer_provider": tracers}
    return {**only, **given}


async def _invalid(_: Request, error: Exception) -> Response:
    """Faults of a path or a query; what was given is not repeated, as it may be anything."""
    assert isinstance(error, RequestValidationError)
    told = [f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors()]
    return Problem(422, told[0] if told else "invalid", faults=told).response()


async def _away(_: Request, error: Exception) -> Response:
    return Problem(503, str(error), headers={"Retry-After": "5"}).response()


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = TITLES.get(error.status_code, str(error.detail))
    return Problem(error.status_code, detail, headers=error.headers).response()


async def _broken(_: Request, error: Exception) -> Response:
    return Problem(500, f"{type(error).__name__}; the service's log has more").response()


ANSWERS: Mapping[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    Problem: answer_problem,
    RequestValidationError: _invalid,
    LedgerError: _away,
    HTTPException: _refused,
    Exception: _broken,
}
