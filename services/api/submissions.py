"""The routes of version 1 of the API that make, show and command submissions."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from services.api import bodies, examples
from services.api.document import KEY, READING, REFUSALS, TOKEN, gives, gives_text, refusals, takes
from services.api.handling import NAME, UNKNOWN, Id, Reader, Submitter, Submitting, TheDesk, answered, called
from services.api.problems import Problem
from services.schemas import SweepDetail, Validation
from services.server.desk import Desk
from services.server.values import Submitted, SubmittedDetail, SubmittedPage
from sweeps.errors import shown as quoted
from sweeps.ledger.submissions.rows import Token

# In the document alone: the desk's refusal says where a cursor comes from.
PAGED = {"pattern": "^[0-9]{1,15}-[0-9a-z]+$"}
Cursor = Annotated[str | None, Query(max_length=64, description="`next` of the page before.", json_schema_extra=PAGED)]
Limit = Annotated[int, Query(ge=1, le=200, description="Submissions on a page.")]
OfName = Annotated[str | None, Query(pattern=NAME, max_length=128, description="Only those of this name.")]
SUBMIT = {"spec": examples.SPEC, "workers": 2, "priority": 1}

_AGAIN = gives("Entered before, under the same key.", again=examples.SUBMITTED)
ENTERED = {200: {"model": Submitted, **_AGAIN[200]}, **gives("Entered.", 201, entered=examples.QUEUED)}
COMMANDED: dict[int | str, dict[str, Any]] = {
    **gives("The submission as it is now.", running=examples.SUBMITTED),
    **UNKNOWN,
}

router = APIRouter(prefix="/v1", responses=REFUSALS, dependencies=[TOKEN])


@router.post(
    "/sweeps",
    name="submit",
    status_code=201,
    response_model=Submitted,
    responses={**ENTERED, **READING, **refusals(409)},
    openapi_extra=takes(bodies.SubmitBody, key=True, spec=SUBMIT, yaml={"spec": examples.YAML}),
)
async def post_sweep(request: Request, actor: Submitter, desk: TheDesk, submitting: Submitting) -> Response:
    """Submit a sweep. With an `Idempotency-Key`, the same request again returns the same submission."""
    key = _key(request)
    document = await bodies.read_json(request)
    return await submitting.call(_submitted, desk, actor, document, key)


@router.post(
    "/validate",
    name="validate",
    response_model=Validation,
    responses={**gives("The spec is valid.", valid=examples.VALIDATION), **READING},
    openapi_extra=takes(bodies.SubmitBody, spec={"spec": examples.SPEC}, yaml={"spec": examples.YAML}),
)
async def post_spec(request: Request, actor: Reader) -> Response:
    """Check a spec without submitting it."""
    from services.verbs import specs

    _, spec = await run_in_threadpool(bodies.spec_of, await bodies.read_json(request))
    return answered(await run_in_threadpool(specs.validation, spec))


@router.get(
    "/sweeps",
    name="sweeps",
    response_model=SubmittedPage,
    responses={**gives("A page of submissions.", page=examples.PAGE), **refusals(422)},
)
def get_sweeps(actor: Reader, desk: TheDesk, cursor: Cursor = None, limit: Limit = 50, name: OfName = None) -> Response:
    """List submissions, newest first: your own, or everybody's with the scope `admin`."""
    return answered(called(lambda: desk.listed(actor, cursor=cursor, limit=limit, name=name)))


@router.get(
    "/sweeps/{id}",
    name="sweep",
    response_model=SubmittedDetail,
    responses={**gives("The submission.", running=examples.SHOWN), **UNKNOWN},
)
def get_sweep(id: Id, actor: Reader, desk: TheDesk) -> Response:
    """Show a submission with its spec and, once it runs, the sweep's arms and trials."""
    return answered(called(desk.detail, actor, id))


@router.get(
    "/sweeps/{id}/status",
    name="status",
    response_model=SweepDetail | None,
    responses={**gives("The sweep.", running=examples.DETAIL, waiting=None), **UNKNOWN},
)
def get_status(id: Id, actor: Reader, desk: TheDesk) -> Response:
    """Show a submission's sweep as `abel status --json` does; null before it is known."""
    return answered(called(lambda: desk.sweep_detail(desk.named(actor, id))))


@router.get(
    "/sweeps/{id}/log",
    name="log",
    response_class=Response,
    responses={**gives_text("The end of the output.", "text/plain", examples.LOG), **UNKNOWN},
)
def get_log(id: Id, actor: Reader, desk: TheDesk) -> Response:
    """Return the end of what the last process of a submission printed."""
    return Response(called(desk.output, actor, id), media_type="text/plain; charset=utf-8")


@router.post("/sweeps/{id}/pause", name="pause", response_model=Submitted, responses=COMMANDED)
def post_pause(id: Id, actor: Submitter, desk: TheDesk) -> Response:
    """Let the running epochs finish and save them; nothing is started until it is resumed."""
    return answered(called(desk.pause, actor, id))


@router.post("/sweeps/{id}/resume", name="resume", response_model=Submitted, responses=COMMANDED)
def post_resume(id: Id, actor: Submitter, desk: TheDesk) -> Response:
    """Go on with a paused submission, and with its sweep if that was paused where the service runs."""
    return answered(called(desk.resume, actor, id))


@router.post("/sweeps/{id}/cancel", name="cancel", response_model=Submitted, responses=COMMANDED)
def post_cancel(id: Id, actor: Submitter, desk: TheDesk) -> Response:
    """End a submission for good; recorded epochs are kept."""
    return answered(called(desk.cancel, actor, id))


@router.post(
    "/sweeps/{id}/extend",
    name="extend",
    status_code=201,
    response_model=Submitted,
    responses={**ENTERED, **UNKNOWN, **READING, **refusals(409)},
    openapi_extra=takes(bodies.ExtendBody, key=True, seeds={"seeds": [0, 1, 2]}, epochs={"epochs": 12}),
)
async def post_extension(request: Request, id: Id, actor: Submitter, desk: TheDesk, submitting: Submitting) -> Response:
    """Submit a submission's spec again with other seeds or epochs; nothing recorded is trained again.

    `workers`, `hours` and `priority` stay as they were, unless given.
    """
    given = bodies.decoded(bodies.ExtendBody, await bodies.read_json(request)).model_dump(exclude_none=True)
    changes = {name: given.pop(name) for name in ("seeds", "epochs") if name in given}
    key = _key(request)
    return await submitting.call(_extended, desk, actor, id, changes, given, key)


def _submitted(desk: Desk, actor: Token, document: Any, key: str | None) -> Response:
    return _entered(*called(desk.submit, actor, bodies.asked_of(document), key))


def _extended(
    desk: Desk, actor: Token, id: str, changes: Mapping[str, Any], options: Mapping[str, Any], key: str | None
) -> Response:
    one = called(desk.named, actor, id)
    checked = bodies.extended(one.spec, changes)
    return _entered(*called(desk.extend, actor, one, checked.spec, options, key))


def _entered(shown: Submitted, new: bool) -> Response:
    return answered(shown, 201 if new else 200, {"Location": f"/v1/sweeps/{shown.id}"})


def _key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not re.fullmatch(KEY, key):
        rule = f"must be 1 to 128 printable ASCII characters, got {quoted(key)}"
        raise Problem(422, f"Idempotency-Key: {rule}", faults=[f"Idempotency-Key: {rule}"])
    return key
