"""What `abel watch` prints of a submission, or of a sweep that another process of this home runs, until it ends."""

from typing import TYPE_CHECKING, NoReturn

import typer

from services.cli import rendering_sweeps
from services.cli.group import INTERRUPTED
from services.cli.options import complain, show
from services.cli.service.rendering_submissions import phase_line

if TYPE_CHECKING:
    from services.client.client import Client
    from services.server.home import Home
    from services.server.values import Happening
    from sweeps.ledger.records import EventRow

# The last three end only sweeps that no service starts again.
FOLLOWED_CODES = {
    "finished": 0,
    "cancelled": 0,
    "failed": 1,
    "refused": 2,
    "interrupted": INTERRUPTED,
    "no_space": 1,
    "stopped": 1,
}


def follow(client: "Client | Home", id: str, as_json: bool) -> NoReturn:
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
    detail = client.status(last.id)
    if detail is None:
        show(last, phase_line, as_json, done=True)
    else:
        show(detail, rendering_sweeps.sweep_detail, as_json, done=True)
    raise typer.Exit(FOLLOWED_CODES[last.phase])


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
