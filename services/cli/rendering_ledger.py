"""What ``abel backup`` and ``abel repair`` print."""

from rich.console import Group, RenderableType
from rich.text import Text

from services.upkeep import BackedUp, Repaired
from services.wording import size


def backed_up(result: BackedUp) -> RenderableType:
    """Where the verified copy is."""
    sweeps = f"{result.sweeps} sweep{'s' * (result.sweeps != 1)}"
    return Text(f"{result.file}: {size(result.bytes)}, {sweeps}, verified.", overflow="fold")


def repaired(result: Repaired) -> RenderableType:
    """What was damaged, and how it was repaired."""
    if not result.mended:
        return Text("The ledger is intact.")
    lines = []
    for item in result.mended:
        mark = ("restored  ", "green") if item.restored else ("lost      ", "red")
        where = f"{item.sweep}: " if item.sweep else ""
        lines.append(Text.assemble(mark, f"{where}{item.what}: {item.how}"))
    if result.kept is not None:
        lines.append(Text(f"The damaged ledger is kept as {result.kept}", style="dim", overflow="fold"))
    if result.dry_run:
        lines.append(Text("Nothing was changed. Run `abel repair` to do this."))
    return Group(*lines)


def retrained(result: Repaired) -> RenderableType:
    """The results of retraining."""
    lines = []
    for one in result.trained:
        why = f": {one.error}" if one.error else ""
        compared = f"{one.replayed} compared with their records"
        lines.append(Text(f"{one.sweep}: {one.outcome}; {one.trained} epochs trained, {compared}{why}"))
    return Group(*lines)
