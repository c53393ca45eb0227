"""What ``abel backup``, ``abel weights``, ``abel repair`` and ``abel adopt`` print."""

from rich.console import Group, RenderableType
from rich.text import Text

from services.upkeep import Adopted, BackedUp, Exported, Repaired
from services.wording import size
from sweeps.results.wording import counted

MOST_REASONS = 5


def backed_up(result: BackedUp) -> RenderableType:
    """Where the verified copy is."""
    return Text(f"{result.file}: {size(result.bytes)}, {counted(result.sweeps, 'sweep')}, verified.", overflow="fold")


def exported(result: Exported) -> RenderableType:
    """Where the weights are."""
    first = Text(f"{result.sweep}, {result.trial}: weights after epoch {result.epoch}, verified.")
    return Group(first, *(Text(f"  {file}", overflow="fold") for file in result.files))


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


def adopted(one: Adopted) -> RenderableType:
    """What became of a sweep's epochs."""
    name, replayed = f"{one.sweep} ({one.sweep_id}): ", counted(one.replayed, "epoch")
    match one.outcome:
        case "adopted":
            kept = f"{counted(one.epochs, 'epoch')} and {counted(one.checkpoints, 'checkpoint')}"
            first = Text(f"{name}adopted {kept}; {replayed} trained again had the recorded bits.")
        case "nothing to adopt":
            first = Text(f"{name}nothing to adopt.")
        case "differs":
            first = Text.assemble(name, ("not adopted", "red"), "; with this code, epochs are not as recorded:")
        case _:
            first = Text.assemble(name, ("not adopted", "red"), ":")
    rest = len(one.why) - MOST_REASONS
    more = [Text(f"  and {rest} more")] if rest > 0 else []
    return Group(first, *(Text(f"  {why}") for why in one.why[:MOST_REASONS]), *more)
