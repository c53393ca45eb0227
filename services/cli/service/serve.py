"""`abel serve` and `abel token`: run the service, and say who may use it."""

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from services import streams
from services.cli.options import AsJson, complain, settings_of, show
from services.cli.tables import Fitted

if TYPE_CHECKING:
    from services.server.jobs import JobPlace
    from sweeps.ledger.submissions.rows import AuditRow, Token

DAY_MS = 86_400_000

token_app = typer.Typer(help="Make, list and revoke the tokens of the service.", no_args_is_help=True)


class Scope(StrEnum):
    """What a token allows; each includes those before it."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"


Host = Annotated[
    str, typer.Option(envvar="ABEL_SERVE_HOST", help="Address to listen on; another than loopback needs tokens.")
]
Port = Annotated[int, typer.Option(min=0, max=65535, envvar="ABEL_SERVE_PORT", help="Port; 0 takes a free one.")]
Names = Annotated[
    list[str] | None,
    typer.Option("--name", envvar="ABEL_SERVE_NAMES", help="Host name by which it may be called; repeatable."),
]
Sweeps = Annotated[
    int, typer.Option(min=1, max=1000, envvar="ABEL_SERVE_SWEEPS", help="Sweeps at once; each has a driver.")
]
OwnerSweeps = Annotated[
    int | None, typer.Option(min=1, envvar="ABEL_SERVE_OWNER_SWEEPS", help="Sweeps of one owner at once.")
]
OwnerWorkers = Annotated[
    int | None,
    typer.Option(min=1, envvar="ABEL_SERVE_OWNER_WORKERS", help="Workers of all sweeps of one owner at once."),
]
OwnerHours = Annotated[
    float | None,
    typer.Option(min=0.0, envvar="ABEL_SERVE_OWNER_HOURS", help="Accelerator-hours that one owner may use."),
]
MakeToken = Annotated[
    bool,
    typer.Option(
        "--make-token",
        envvar="ABEL_SERVE_MAKE_TOKEN",
        help="Write a token into this ABEL_HOME, as on loopback, also on another address.",
    ),
]
RayDashboard = Annotated[
    str | None,
    typer.Option(envvar="ABEL_SERVE_RAY_JOBS", help="Dashboard of a Ray cluster that runs the sweeps' drivers."),
]
RayTokenFile = Annotated[
    Path | None, typer.Option(envvar="RAY_AUTH_TOKEN_PATH", help="File with the token of that cluster.")
]
KubeNamespace = Annotated[
    str | None,
    typer.Option(
        metavar="NAMESPACE",
        envvar="ABEL_SERVE_KUBE_RAYJOBS",
        help="Run each sweep's driver as a RayJob of KubeRay in this namespace.",
    ),
]
RayJobManifest = Annotated[
    Path | None,
    typer.Option(envvar="ABEL_SERVE_RAYJOB", help="RayJob manifest with what all of these have in common."),
]
KubeServer = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="ABEL_SERVE_KUBE_API",
        help="Kubernetes API server (default: that of the pod); http:// only for a `kubectl proxy` on this machine.",
    ),
]


def start_service(
    host: Host = "127.0.0.1",
    port: Port = 8900,
    name: Names = None,
    sweeps: Sweeps = 4,
    owner_sweeps: OwnerSweeps = None,
    owner_workers: OwnerWorkers = None,
    owner_hours: OwnerHours = None,
    make_token: MakeToken = False,
    ray_jobs: RayDashboard = None,
    ray_token_file: RayTokenFile = None,
    kube_rayjobs: KubeNamespace = None,
    rayjob: RayJobManifest = None,
    kube_api: KubeServer = None,
) -> None:
    """Serve this ABEL_HOME over HTTP: submit sweeps, watch them, and stop them.

    Submitted sweeps run in processes of their own. They go on while the service is stopped or replaced, and the service
    starts them again when they, their machine or their Ray cluster were lost. With --ray-jobs the processes are jobs of
    a Ray cluster, whose head needs this service's settings; the ledger is then on PostgreSQL. With --kube-rayjobs they are
    RayJobs, whose cluster --rayjob names or describes.

    Example: abel serve --port 8901
    """
    from services.api import serve as verb
    from services.server.shares import ServiceLimits

    limits = ServiceLimits(
        sweeps=sweeps, owner_sweeps=owner_sweeps, owner_workers=owner_workers, owner_hours=owner_hours
    )
    serving = verb.Serving(host=host, port=port, hosts=tuple(name or ["*"]), limits=limits, makes_token=make_token)
    jobs = _place(ray_jobs, ray_token_file, kube_rayjobs, rayjob, kube_api)
    verb.run_service(settings_of(), serving, complain, jobs)


def _place(
    ray_jobs: str | None, token_file: Path | None, kube_rayjobs: str | None, rayjob: Path | None, kube_api: str | None
) -> "JobPlace | None":
    """Where jobs run; None for this machine."""
    from services.server.kube.api import INSIDE, KubeApi
    from services.server.kube.jobs import KubeRayJobs
    from services.server.kube.manifests import read_manifest
    from services.server.ray_jobs import RayJobs

    if ray_jobs is not None and kube_rayjobs is not None:
        raise typer.BadParameter("do not go together", param_hint="--ray-jobs, --kube-rayjobs")
    if (kube_rayjobs is None) != (rayjob is None):
        raise typer.BadParameter("go together", param_hint="--kube-rayjobs, --rayjob")
    if kube_rayjobs is not None and rayjob is not None:
        return KubeRayJobs(KubeApi(kube_api or INSIDE), kube_rayjobs, read_manifest(rayjob))
    return None if ray_jobs is None else RayJobs(ray_jobs, token_file)


@token_app.command("create")
def create_token(
    owner: Annotated[str, typer.Argument(help="Whose token it is; an owner sees only their own sweeps.")],
    scope: Annotated[Scope, typer.Option(help="What it allows; each includes those before it.")] = Scope.SUBMIT,
    days: Annotated[int, typer.Option(min=1, max=36_500, help="Days until it expires.")] = 90,
) -> None:
    """Print a new token. It is not kept and cannot be shown again.

    Example: abel token create ada --scope read --days 30
    """
    from services import ledgers
    from sweeps.ledger.holding import now_ms
    from sweeps.ledger.submissions.tokens import SCOPES, Tokens

    with ledgers.opened(settings_of().prepare()) as ledger:
        scopes = SCOPES[: SCOPES.index(scope) + 1]
        made, text = Tokens.of(ledger).make(owner, scopes, now_ms() + days * DAY_MS)
        Tokens.of(ledger).note("console", "token created", made.id, f"{owner}: {' '.join(scopes)}")
    streams.write(text + "\n")


@token_app.command("list")
def list_tokens(as_json: AsJson = False) -> None:
    """List the tokens, without their secrets.

    Example: abel token list
    """
    from services import ledgers
    from sweeps.ledger.submissions.tokens import Tokens

    with ledgers.opened(settings_of().prepare()) as ledger:
        show(Tokens.of(ledger).all(), _tokens_table, as_json)


@token_app.command("revoke")
def revoke_token(token: Annotated[str, typer.Argument(help="Its id, as `abel token list` shows it.")]) -> None:
    """Revoke a token at once.

    Example: abel token revoke 3f9c0d2a11be
    """
    from services import ledgers
    from sweeps.ledger.submissions.tokens import Tokens

    with ledgers.opened(settings_of().prepare()) as ledger:
        Tokens.of(ledger).revoke(token)
        Tokens.of(ledger).note("console", "token revoked", token)
    show(token, lambda id: Text(f"Revoked {id}."), done=True)


@token_app.command("audit")
def audit_log(
    last: Annotated[int, typer.Option(min=1, max=10_000, help="Entries to show.")] = 50, as_json: AsJson = False
) -> None:
    """Show who did what, newest first.

    Example: abel token audit --last 20
    """
    from services import ledgers
    from sweeps.ledger.submissions.tokens import Tokens

    with ledgers.opened(settings_of().prepare()) as ledger:
        show(Tokens.of(ledger).audit(last), _audit_table, as_json)


def _tokens_table(tokens: "list[Token]") -> RenderableType:
    table = Fitted(("id", "owner", "scopes", "created", "expires"))
    for one in tokens:
        expires = "never" if one.expires_ms is None else _day(one.expires_ms)
        expires = f"[red]revoked {_day(one.revoked_ms)}[/]" if one.revoked_ms is not None else expires
        table.add_row(one.id, Text(one.owner), " ".join(one.scopes), _day(one.created_ms), expires)
    return table if tokens else Text("No tokens yet; `abel token create OWNER` makes one.")


def _audit_table(entries: "list[AuditRow]") -> RenderableType:
    table = Fitted(("when (UTC)", "who", "did", "to", "detail"), free=("detail", "to"))
    for one in entries:
        when = datetime.fromtimestamp(one.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(when, Text(one.actor), one.action, Text(one.target), Text(one.detail))
    return table if entries else Text("Nobody did anything yet.")


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")
