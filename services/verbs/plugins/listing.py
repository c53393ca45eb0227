"""The verb `plugins`: every installed variant, ours and a user's, and whether a spec can use it."""

from importlib.metadata import EntryPoint, entry_points

from services.schemas import Plugin
from sweeps.spec.programs import installed
from workers.plugins import GROUPS

METHODS = {"task": ("build",), "model": ("build",), "data": ("load",), "optimizer": ("hyper", "static", "transform")}


def installed_plugins() -> tuple[Plugin, ...]:
    """Import every installed variant, and say where it comes from and what is wrong with it."""
    return tuple(
        _plugin(part, entry)
        for part, group in GROUPS.items()
        for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value))
    )


def _plugin(part: str, entry: EntryPoint) -> Plugin:
    found, broken = installed(GROUPS[part])
    fault = broken.get(entry.name)
    if fault is None and (lacking := [name for name in METHODS[part] if not hasattr(found[entry.name], name)]):
        fault = f"{GROUPS[part]} {entry.name!r} ({entry.value}) must have {' and '.join(lacking)}"
    about = "" if fault else (found[entry.name].__doc__ or "").strip().partition("\n")[0]
    source = "" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
    return Plugin(part=part, kind=entry.name, source=source, where=entry.value, about=about, fault=fault)
