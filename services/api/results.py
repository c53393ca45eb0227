"""The routes of version 1 of the API that tell how a submission's sweep goes, and what came out of it."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from services.api import bodies, events, examples
from services.api.document import READING, REFUSALS, TOKEN, gives, gives_text, header, takes
from services.api.handling import UNKNOWN, Id, Reader, TheDesk, TheFeeds, TheFinder, TheReports, answered, called
from services.schemas import Checked
from services.server.curves import Stretch, SweepCurves
from services.server.links import TrackingLinks

EVENT_ID = {"type": "string", "pattern": "^[0-9]{1,18}$"}
After = Annotated[int, Query(ge=0, le=2**53)]
Best = Annotated[int, Query(ge=1, le=200)]

router = APIRouter(prefix="/v1", responses=REFUSALS, dependencies=[TOKEN])


@router.post(
    "/sweeps/{id}/check",
    name="check",
    response_model=Checked,
    responses={**gives("The verdict.", holds=examples.CHECKED), **UNKNOWN, **READING},
    openapi_extra=takes(bodies.CheckBody, margin={"baseline": examples.BASELINE, "margins": ["spread=1.5"]}),
)
async def post_check(request: Request, id: Id, actor: Reader, desk: TheDesk) -> Response:
    """Compare a submission's sweep with a baseline, as `abel check` does; bounds of a single seed are null."""
    body = bodies.decoded(bodies.CheckBody, await bodies.read_json(request))
    given = (body.baseline, body.margins, body.rules)
    return answered(await run_in_threadpool(called, desk.check, actor, id, *given))


@router.get(
    "/sweeps/{id}/events",
    name="follow",
    response_class=Response,
    responses={**gives_text("Messages, until it ends.", "text/event-stream", examples.STREAM), **UNKNOWN},
    openapi_extra=header("Last-Event-ID", "Continue after this event.", EVENT_ID, "17"),
)
async def get_events(
    request: Request, id: Id, actor: Reader, desk: TheDesk, feeds: TheFeeds, after: After = 0
) -> Response:
    """Follow a submission by server-sent events; ids are the ledger's, so `Last-Event-ID` continues without loss."""
    one = await run_in_threadpool(called, desk.named, actor, id)
    return events.stream(feeds, actor, one.id, events.last_id(request, after))


@router.get(
    "/sweeps/{id}/curves",
    name="curves",
    response_model=SweepCurves | None,
    responses={**gives("The curves.", running=examples.CURVES, waiting=None), **UNKNOWN},
)
def get_curves(id: Id, actor: Reader, desk: TheDesk, best: Best = 20) -> Response:
    """Return the curves of the best settings, with their spread over seeds; null before the sweep is known."""
    return answered(called(desk.curves, actor, id, best))


@router.get(
    "/sweeps/{id}/tree",
    name="tree",
    response_model=tuple[Stretch, ...],
    responses={**gives("Stretches, each after the one that it follows.", running=examples.TREE), **UNKNOWN},
)
def get_tree(id: Id, actor: Reader, desk: TheDesk) -> Response:
    """Return which epochs the sweep's trials have in common."""
    return answered(called(desk.tree, actor, id))


@router.get(
    "/sweeps/{id}/links",
    name="links",
    response_model=TrackingLinks | None,
    responses={**gives("The addresses.", known=examples.LINKS, unknown=None), **UNKNOWN},
)
def get_links(id: Id, actor: Reader, desk: TheDesk, finder: TheFinder) -> Response:
    """Return where MLflow shows the sweep and its trials; null before that is known."""
    return answered(called(lambda: finder.links(desk.sweep_of(desk.named(actor, id)))))


@router.get(
    "/sweeps/{id}/report",
    name="report",
    response_class=Response,
    responses={**gives_text("The report.", "text/html", examples.REPORT), **UNKNOWN},
)
def get_report(id: Id, actor: Reader, desk: TheDesk, reports: TheReports) -> Response:
    """Return the sweep's report as one HTML page, drawn again if anything has happened since."""
    page = called(lambda: reports.page(one := desk.named(actor, id), desk.sweep_of(one)))
    return Response(page, media_type="text/html", headers={"Content-Security-Policy": "sandbox allow-scripts"})
