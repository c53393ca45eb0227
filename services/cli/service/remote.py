"""The commands that use a service: `submit`, `list`, `watch`, `logs`, `pause`, `resume`, `extend`, and others with --server."""

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from services import streams
from services.cli import rendering_sweeps
from services.cli.options import AsJson, NoSharing, Seeds, Server, Spec, Threads, Workers, complain, seeds_of, show
from services.cli.rendering import next_steps
from services.cli.tables import Fitted
from services.errors import OperationError

if TYPE_CHECKING:
    from services.client.client import Client
    from services.schemas import Checked
    from services.server.values import Happening, Submitted
    from sweeps.ledger.records import EventRow

BAD_ENDS = {"failed": 1, "refused": 2}  # exit codes; of every other end it is 0
PHASE_STYLES = {
    **rendering_sweeps.STATUS_STYLES,
    "queued": "dim",
    "starting": "cyan",
    "stopping": "yellow",
    "paused": "yellow",
    "refused": "red",
}

Submission = Annotated[str, typer.Argument(metavar="SWEEP", help="Id of a submission, or name of your newest.")]
Follow = Annotated[bool, typer.Option("--watch", help="Then follow it until it ends, as `abel watch` does.")]


def client_of(server: str | None) -> "Client":
    """The client of a service, with the token of ABEL_TOKEN, else of this ABEL_HOME's own service.

    Raises:
        OperationError: there is no server or no token.
    """
    from services.cli.options import settings_of
    from services.client.client import Client

    if not server:
        rule = "must be the address of a service (`abel serve` starts one), got none"
        raise OperationError(f"--server or ABEL_SERVER: {rule}; `abel run` needs none")
    settings = settings_of()
    token = settings.token
    if token is None:
        from services.api.loopback import is_loopback
        from sweeps import urls

        try:  # the home's own token may do everything there, so no other machine gets to see it
            token = (
                (settings.home / "token").read_text().strip() if is_loopback(urls.parse(server).host or "") else None
            )
        except OSError:
            token = None
        if token is None:
            rule = f"must be a token of {server} (`abel token create OWNER` makes one there), got none"
            raise OperationError(f"ABEL_TOKEN: {rule}")
    return Client(server, token)


def submit(
    spec: Spec,
    server: Server = None,
    seeds: Seeds = None,
    workers: Workers = None,
    threads: Threads = 1,
    no_sharing: NoSharing = False,
    priority: Annotated[int, typer.Option(min=-100, max=100, help="Higher ones start first.")] = 0,
    hours: Annotated[float | None, typer.Option(min=0.0, help="Accelerator-hours that the sweep may use.")] = None,
    key: Annotated[
        str | None, typer.Option(help="The same key submits once, however often the command is repeated.")
    ] = None,
    watch: Follow = False,
    as_json: AsJson = False,
) -> None:
    """Submit a sweep to a service, which runs it on its machine or Ray cluster. Prints its id.

    Exit code: 0 submitted, 2 bad input; with --watch as `abel watch`.

    Example: abel submit fig-s6a-digits --server http://127.0.0.1:8900
    """
    from services.schemas import Request
    from services.verbs import specs

    document = specs.requested(Request(spec=spec, seeds=seeds_of(seeds))).to_dict()
    options = {
        "sharing": not no_sharing,
        "workers": workers,
        "threads": threads,
        "priority": priority,
        "hours": hours,
    }
    client = client_of(server)
    one, new = client.submit(document, key=key or str(uuid.uuid4()), **options)
    if watch:
        complain(f"{one.name}: submitted as {one.id}")
        _follow(client, one.id, as_json)
    show(one, lambda shown: _submitted(shown, new), as_json, done=True)


def list_submissions(
    server: Server = None,
    name: Annotated[str | None, typer.Option(help="Only sweeps of this name.")] = None,
    as_json: AsJson = False,
) -> None:
    """List your submissions to a service, newest first.

    Example: abel list --server http://127.0.0.1:8900
    """
    show(list(client_of(server).sweeps(name)), submissions_table, as_json)


def watch(sweep: Submission, server: Server = None, as_json: AsJson = False) -> None:
    """Follow a submission until it ends: what its schedules decide, how its trials end, how it ends.

    Exit code: 0 finished or cancelled, 1 a trial failed, 2 it was refused.

    Example: abel watch fig-s6a-digits --server http://127.0.0.1:8900
    """
    _follow(client_of(server), sweep, as_json)


def logs(sweep: Submission, server: Server = None) -> None:
    """Print the end of what a submission's last process printed.

    Example: abel logs fig-s6a-digits --server http://127.0.0.1:8900
    """
    streams.write(client_of(server).log(sweep))


def pause(sweep: Submission, server: Server = None, as_json: AsJson = False) -> None:
    """Let a submission's running epochs finish and save them; nothing more starts until it is resumed.

    Example: abel pause fig-s6a-digits --server http://127.0.0.1:8900
    """
    show(client_of(server).pause(sweep), _phase_line, as_json, done=True)


def resume(sweep: Submission, server: Server = None, as_json: AsJson = False) -> None:
    """Go on with a paused submission.

    Example: abel resume fig-s6a-digits --server http://127.0.0.1:8900
    """
    show(client_of(server).resume(sweep), _phase_line, as_json, done=True)


def extend(
    sweep: Submission,
    server: Server = None,
    seeds: Seeds = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Length of every trial.")] = None,
    watch: Follow = False,
    as_json: AsJson = False,
) -> None:
    """Submit a sweep again with other seeds or more epochs; what is recorded is not trained again.

    Example: abel extend fig-s6a-digits --seeds 0,1,2,3 --server http://127.0.0.1:8900
    """
    given = {"seeds": list(seeds_of(seeds) or ()) or None, "epochs": epochs}
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if not changes:
        raise typer.BadParameter("give --seeds or --epochs", param_hint="--seeds")
    client = client_of(server)
    one, new = client.extend(sweep, **changes)
    if watch:
        _follow(client, one.id, as_json)
    show(one, lambda shown: _submitted(shown, new), as_json, done=True)


def remote_status(server: str, sweep: str | None, trials: bool, as_json: bool) -> None:
    """Show the submissions of a service, or the sweep of one, as `abel status` does."""
    client = client_of(server)
    if sweep is None:
        show(list(client.sweeps()), submissions_table, as_json)
        return
    detail = client.status(sweep)
    if detail is None:
        show(client.show(sweep).submission, _phase_line, as_json)
    else:
        show(detail, rendering_sweeps.trials_table if trials else rendering_sweeps.sweep_detail, as_json)


def remote_cancel(server: str, sweep: str, as_json: bool) -> None:
    """End a submission for good."""
    show(client_of(server).cancel(sweep), _phase_line, as_json, done=True)


def remote_check(server: str, sweep: str, baseline: Path, margins: list[str], rules: list[str]) -> "Checked":
    """Compare a submission's sweep with the baseline in a file, which was read before."""
    return client_of(server).check(sweep, json.loads(baseline.read_bytes()), margins, rules)


def remote_report(server: str, sweep: str, out: Path | None, as_json: bool) -> None:
    """Write the report that a service draws."""
    from services.cli import rendering
    from services.schemas import ReportFiles

    page = client_of(server).report(sweep)
    folder = (out or Path(f"{sweep}-report")).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (file := folder / "index.html").write_text(page, encoding="utf-8")
    except OSError as error:
        raise OperationError(f"--out: {folder} cannot be written: {error.strerror}") from None
    show(ReportFiles(files=(file,), findings=(), note=None), rendering.report_files, as_json, done=True)


def _follow(client: "Client", id: str, as_json: bool) -> None:
    """Print what happens to a submission until it ends, and exit with its code."""
    from services.server.values import Submitted

    last: Submitted | None = None
    teller = _Teller()
    for one in client.events(id):
        if isinstance(one, Submitted):
            if not as_json and (last is None or (one.phase, one.why) != (last.phase, last.why)):
                complain(f"{one.name}: {one.phase}" + (f" ({one.why})" if one.why else ""))
            last = one
        elif not as_json:
            teller.tell(one)
    assert last is not None
    detail = client.status(id)
    if detail is None:
        show(last, _phase_line, as_json, done=True)
    else:
        show(detail, rendering_sweeps.sweep_detail, as_json, done=True)
    raise typer.Exit(BAD_ENDS.get(last.phase, 0))


class _Teller:
    """Prints events of trials in the words of a run's log."""

    def __init__(self) -> None:
        from services.verbs.running.news import News

        self._names: dict[str, str] = {}
        self._news = News(ledger=_NoEvents(), sweep_id="", names=self._names)

    def tell(self, event: "Happening") -> None:
        """Print an event, unless it is no news."""
        self._names[event.payload.get("trial", "")] = event.trial or ""
        for item in self._news.tell(event.kind, event.payload):
            complain(item.text if item.trial is None else f"{item.trial}: {item.text}")


class _NoEvents:
    """What there is to read for news that come from elsewhere."""

    def events(self, sweep_id: str, after: int = 0, limit: int = 1000) -> "list[EventRow]":
        """Nothing."""
        return []


def submissions_table(ones: "list[Submitted]") -> RenderableType:
    """Submissions, newest first, with how far each is."""
    if not ones:
        return Group(Text("Nothing was submitted yet."), next_steps("abel submit NAME"))
    several = len({one.owner for one in ones}) > 1
    table = Fitted(
        ("sweep", "id", *(("owner",) if several else ()), "status", "best", "trials", "epochs", "why"), free=("why",)
    )
    for one in ones:
        sweep = one.sweep
        table.add_row(
            Text(one.name),
            one.id,
            *((Text(one.owner),) if several else ()),
            Text(one.phase, style=PHASE_STYLES.get(one.phase, "")),
            "" if one.best is None else f"{one.best:.2f} {one.unit}",
            f"{sweep.ended}/{sweep.trials}" if sweep else "",
            f"{sweep.covered}/{sweep.total}" if sweep else "",
            Text(one.why or ""),
        )
    return table


def _submitted(one: "Submitted", new: bool) -> RenderableType:
    verb = "submitted" if new else "was submitted before"
    return Group(
        Text.assemble((one.name, "bold"), f"  {verb} as ", (one.id, "bold"), f", {one.phase}"),
        next_steps(f"abel watch {one.id}", f"abel status {one.name}", f"abel pause {one.id}"),
    )


def _phase_line(one: "Submitted") -> RenderableType:
    why = f": {one.why}" if one.why else ""
    return Text.assemble((one.name, "bold"), f"  {one.id}  ", (one.phase, PHASE_STYLES.get(one.phase, "")), why)
