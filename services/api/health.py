"""What machines ask: is the service alive, can it work, and how much does it do. The first two need no token."""

from fastapi import APIRouter, Depends, Response
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from services.api.document import REFUSALS, TOKEN, gives_text, refusals
from services.api.handling import TheQueue, allowed
from services.api.problems import Problem
from services.server.reconciling import phase_of
from sweeps.ledger.database import LedgerError
from sweeps.ledger.submissions.rows import Phase

TEXT = "text/plain"
COUNTS = 'abel_submissions{phase="queued"} 3.0\nabel_submissions_failing 0.0\n'

router = APIRouter(default_response_class=Response)


@router.get("/healthz", name="healthz", responses=gives_text("It answers.", TEXT, "ok\n"))
async def get_health() -> Response:
    """Whether the process answers, however many of its threads are busy."""
    return Response("ok\n", media_type=TEXT)


@router.get("/readyz", name="readyz", responses={**gives_text("The ledger answers.", TEXT, "ready\n"), **refusals(503)})
def get_readiness(queue: TheQueue) -> Response:
    """Whether the ledger answers."""
    try:
        queue.count_open("")
    except LedgerError:
        raise Problem(503, "the ledger is away", headers={"Retry-After": "5"}) from None
    return Response("ready\n", media_type=TEXT)


@router.get(
    "/metrics",
    name="metrics",
    responses={**gives_text("The counts.", TEXT, COUNTS), **REFUSALS},
    dependencies=[TOKEN, Depends(allowed("admin"))],
)
def get_metrics(queue: TheQueue) -> Response:
    """Counts of open submissions by phase, for Prometheus; needs the scope `admin`."""
    registry = CollectorRegistry()
    shown = Gauge("abel_submissions", "Submissions without an outcome", ["phase"], registry=registry)
    failing = Gauge("abel_submissions_failing", "Submissions with two lost starts in a row", registry=registry)
    ones = queue.open_ones()
    phases = [phase_of(one) for one in ones]
    for phase in (phase for phase in Phase if not phase.final):
        shown.labels(phase).set(phases.count(phase))
    failing.set(sum(one.failures > 1 for one in ones))
    return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")
