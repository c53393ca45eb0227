"""Submissions to a service, and sweeps of this home in the same form, on a terminal."""

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from services.cli import rendering_sweeps
from services.cli.rendering import next_steps
from services.cli.tables import Fitted

if TYPE_CHECKING:
    from services.server.values import Submitted

PHASE_STYLES = {
    **rendering_sweeps.STATUS_STYLES,
    "queued": "dim",
    "starting": "cyan",
    "stopping": "yellow",
    "refused": "red",
}


def submissions_table(ones: "list[Submitted]", *, here: bool = False) -> RenderableType:
    """Submissions, or the sweeps of this home, newest first, with how far each is."""
    if not ones and here:
        return rendering_sweeps.overview_table([])
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


def submitted(one: "Submitted", new: bool) -> RenderableType:
    """A submission that was just made, and what to do with it."""
    verb = "submitted" if new else "was submitted before"
    return Group(
        Text.assemble((one.name, "bold"), f"  {verb} as ", (one.id, "bold"), f", {one.phase}"),
        next_steps(f"abel watch {one.id}", f"abel status {one.name}", f"abel pause {one.id}"),
    )


def phase_line(one: "Submitted") -> RenderableType:
    """Where a submission is."""
    why = f": {one.why}" if one.why else ""
    return Text.assemble((one.name, "bold"), f"  {one.id}  ", (one.phase, PHASE_STYLES.get(one.phase, "")), why)
