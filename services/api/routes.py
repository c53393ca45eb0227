"""The routes of version 1 of the API: submissions and what may be asked of them."""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from services.api import bodies, events, examples
from services.api.document import KEY, READING, REFUSALS, TOKEN, gives, gives_text, header, refusals, takes
from services.api.guard import Guard
from services.api.problems import Problem
from services.encoding import to_json
from services.errors import OperationError
from services.schemas import Checked, SweepDetail, Validation
from services.server.curves import Stretch, SweepCurves
from services.server.desk import Desk, NotThere
from services.server.jobs import JobsAway
from services.server.links import LinkFinder, TrackingLinks
from services.server.reports import Busy, Reports
from services.server.values import Submitted, SubmittedDetail, SubmittedPage
from sweeps.errors import shown as quoted
from sweeps.ledger.database import LedgerAway, LedgerError
from sweeps.ledger.submissions.queue import OtherRequest, TooManyOpen
from sweeps.ledger.submissions.rows import Token
from sweeps.results.values import BaselineError

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"

Id = Annotated[
    str, Path(pattern=NAME, max_length=128, description="Id or name of a submission.", examples=["3f9c0d2a"])
]
# In the document alone: the desk's refusal says where a cursor comes from.
PAGED = {"pattern": "^[0-9]{1,15}-[0-9a-z]+$"}
Cursor = Annotated[str | None, Query(max_length=64, description="`next` of the page before.", json_schema_extra=PAGED)]
Limit = Annotated[int, Query(ge=1, le=200, description="Submissions on a page.")]
OfName = Annotated[str | None, Query(pattern=NAME, max_length=128, description="Only those of this name.")]
SUBMIT = {"spec": examples.SPEC, "workers": 2, "priority": 1}
EVENT_ID = {"type": "string", "pattern": "^[0-9]{1,18}$"}

UNKNOWN = refusals(404, 422)
_AGAIN = gives("Entered before, under the same key.", again=examples.SUBMITTED)
ENTERED = {200: {"model": Submitted, **_AGAIN[200]}, **gives("Entered.", 201, entered=examples.QUEUED)}


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


def sweeps_router(desk: Desk, guard: Guard, reports: Reports, finder: LinkFinder) -> APIRouter:
    """The routes of submissions."""
    router = APIRouter(prefix="/v1", responses=REFUSALS, dependencies=[TOKEN])

    def allowed(scope: str) -> Callable[[Request], Token]:
        def check(request: Request) -> Token:
            return guard.actor(request, scope)

        return check

    Reader = Annotated[Token, Depends(allowed("read"))]
    Submitter = Annotated[Token, Depends(allowed("submit"))]

    @router.post(
        "/sweeps",
        status_code=201,
        response_model=Submitted,
        responses={**ENTERED, **READING, **refusals(409)},
        openapi_extra=takes(bodies.SubmitBody, key=True, spec=SUBMIT, yaml={"spec": examples.YAML}),
    )
    async def submit(request: Request, actor: Submitter) -> Response:
        """Submit a sweep. With an `Idempotency-Key`, the same request again returns the same submission."""
        key = _key(request)
        asked = await run_in_threadpool(bodies.asked_of, await bodies.read_json(request))
        shown, new = await run_in_threadpool(called, desk.submit, actor, asked, key)
        return answered(shown, 201 if new else 200, {"Location": f"/v1/sweeps/{shown.id}"})

    @router.post(
        "/validate",
        response_model=Validation,
        responses={**gives("The spec is valid.", valid=examples.VALIDATION), **READING},
        openapi_extra=takes(bodies.SubmitBody, spec={"spec": examples.SPEC}, yaml={"spec": examples.YAML}),
    )
    async def validate(request: Request, actor: Reader) -> Response:
        """Check a spec without submitting it."""
        from services.verbs import specs

        _, spec = await run_in_threadpool(bodies.spec_of, await bodies.read_json(request))
        return answered(await run_in_threadpool(specs.validation, spec))

    @router.get(
        "/sweeps",
        response_model=SubmittedPage,
        responses={**gives("A page of submissions.", page=examples.PAGE), **refusals(422)},
    )
    def sweeps(actor: Reader, cursor: Cursor = None, limit: Limit = 50, name: OfName = None) -> Response:
        """List submissions, newest first: your own, or everybody's with the scope `admin`."""
        return answered(called(lambda: desk.listed(actor, cursor=cursor, limit=limit, name=name)))

    @router.get(
        "/sweeps/{id}",
        response_model=SubmittedDetail,
        responses={**gives("The submission.", running=examples.SHOWN), **UNKNOWN},
    )
    def sweep(id: Id, actor: Reader) -> Response:
        """Show a submission with its spec and, once it runs, the sweep's arms and trials."""
        return answered(called(desk.detail, actor, id))

    @router.get(
        "/sweeps/{id}/status",
        response_model=SweepDetail | None,
        responses={**gives("The sweep.", running=examples.DETAIL, waiting=None), **UNKNOWN},
    )
    def status(id: Id, actor: Reader) -> Response:
        """Show a submission's sweep as `abel status --json` does; null before it is known."""
        return answered(called(lambda: desk.sweep_detail(desk.named(actor, id))))

    @router.get(
        "/sweeps/{id}/log",
        response_class=Response,
        responses={**gives_text("The end of the output.", "text/plain", examples.LOG), **UNKNOWN},
    )
    def log(id: Id, actor: Reader) -> Response:
        """Return the end of what the last process of a submission printed."""
        return Response(called(desk.output, actor, id), media_type="text/plain; charset=utf-8")

    for action in ("pause", "resume", "cancel"):
        verb = getattr(desk, action)
        router.post(
            f"/sweeps/{{id}}/{action}",
            response_model=Submitted,
            responses={**gives("The submission as it is now.", running=examples.SUBMITTED), **UNKNOWN},
            name=action,
        )(_commanding(verb, Submitter))

    @router.post(
        "/sweeps/{id}/extend",
        status_code=201,
        response_model=Submitted,
        responses={**ENTERED, **UNKNOWN, **READING, **refusals(409)},
        openapi_extra=takes(bodies.ExtendBody, key=True, seeds={"seeds": [0, 1, 2]}, epochs={"epochs": 12}),
    )
    async def extend(request: Request, id: Id, actor: Submitter) -> Response:
        """Submit a submission's spec again with other seeds or epochs; nothing recorded is trained again.

        `workers`, `hours` and `priority` stay as they were, unless given.
        """
        given = bodies.decoded(bodies.ExtendBody, await bodies.read_json(request)).model_dump(exclude_none=True)
        changes = {name: given.pop(name) for name in ("seeds", "epochs") if name in given}
        one = await run_in_threadpool(called, desk.named, actor, id)
        checked = await run_in_threadpool(bodies.extended, one.spec, changes)
        shown, new = await run_in_threadpool(called, desk.extend, actor, one, checked.spec, given, _key(request))
        return answered(shown, 201 if new else 200, {"Location": f"/v1/sweeps/{shown.id}"})

    @router.post(
        "/sweeps/{id}/check",
        response_model=Checked,
        responses={**gives("The verdict.", holds=examples.CHECKED), **UNKNOWN, **READING},
        openapi_extra=takes(bodies.CheckBody, margin={"baseline": examples.BASELINE, "margins": ["spread=1.5"]}),
    )
    async def check(request: Request, id: Id, actor: Reader) -> Response:
        """Compare a submission's sweep with a baseline, as `abel check` does; bounds of a single seed are null."""
        body = bodies.decoded(bodies.CheckBody, await bodies.read_json(request))
        given = (body.baseline, body.margins, body.rules)
        return answered(await run_in_threadpool(called, desk.check, actor, id, *given))

    @router.get(
        "/sweeps/{id}/events",
        response_class=Response,
        responses={**gives_text("Messages, until it ends.", "text/event-stream", examples.STREAM), **UNKNOWN},
        openapi_extra=header("Last-Event-ID", "Continue after this event.", EVENT_ID, "17"),
    )
    async def follow(
        request: Request, id: Id, actor: Reader, after: Annotated[int, Query(ge=0, le=2**53)] = 0
    ) -> Response:
        """Follow a submission by server-sent events; ids are the ledger's, so `Last-Event-ID` continues without loss."""
        one = await run_in_threadpool(called, desk.named, actor, id)
        return events.stream(request, desk, actor, one.id, events.last_id(request, after))

    @router.get(
        "/sweeps/{id}/curves",
        response_model=SweepCurves | None,
        responses={**gives("The curves.", running=examples.CURVES, waiting=None), **UNKNOWN},
    )
    def curves(id: Id, actor: Reader, best: Annotated[int, Query(ge=1, le=200)] = 20) -> Response:
        """Return the curves of the best settings, with their spread over seeds; null before the sweep is known."""
        return answered(called(desk.curves, actor, id, best))

    @router.get(
        "/sweeps/{id}/tree",
        response_model=tuple[Stretch, ...],
        responses={**gives("Stretches, each after the one that it follows.", running=examples.TREE), **UNKNOWN},
    )
    def tree(id: Id, actor: Reader) -> Response:
        """Return which epochs the sweep's trials have in common."""
        return answered(called(desk.tree, actor, id))

    @router.get(
        "/sweeps/{id}/links",
        response_model=TrackingLinks | None,
        responses={**gives("The addresses.", known=examples.LINKS, unknown=None), **UNKNOWN},
    )
    def links(id: Id, actor: Reader) -> Response:
        """Return where MLflow shows the sweep and its trials; null before that is known."""
        return answered(called(lambda: finder.links(desk.sweep_of(desk.named(actor, id)))))

    @router.get(
        "/sweeps/{id}/report",
        response_class=Response,
        responses={**gives_text("The report.", "text/html", examples.REPORT), **UNKNOWN},
    )
    def report(id: Id, actor: Reader) -> Response:
        """Return the sweep's report as one HTML page, drawn again if anything has happened since."""
        page = called(lambda: reports.page(one := desk.named(actor, id), desk.sweep_of(one)))
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": "sandbox allow-scripts"})

    return router


def _commanding(verb: Callable[[Token, str], Submitted], Submitter: Any) -> Callable[..., Response]:
    def command(id: Id, actor: Submitter) -> Response:
        return answered(called(verb, actor, id))

    command.__doc__ = verb.__doc__
    return command


def _key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not re.fullmatch(KEY, key):
        rule = f"must be 1 to 128 printable ASCII characters, got {quoted(key)}"
        raise Problem(422, f"Idempotency-Key: {rule}", faults=[f"Idempotency-Key: {rule}"])
    return key
