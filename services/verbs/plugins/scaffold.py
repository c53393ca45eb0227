"""The verb `init --plugin`: a working package with one variant, a test of it and a sweep that uses it."""

import importlib.util
import keyword
import re
import shutil
import tempfile
from importlib.metadata import entry_points
from pathlib import Path
from string import Template

from services.errors import OperationError
from sweeps.files import PathFault, named, resolve
from workers.plugins import GROUPS

TEMPLATES = Path(__file__).resolve().parents[2] / "templates" / "plugin"
# Classes that a template imports or Python has: one of the same name would hide it.
TAKEN = frozenset(
    [
        "Any",
        "ClassVar",
        "Dataset",
        "False",
        "Literal",
        "Load",
        "Mapping",
        "Metric",
        "NamedTuple",
        "None",
        "OptimizerRule",
        "Path",
        "Program",
        "Segment",
    ]
) | {
    "Sequence",
    "True",
}
PROGRAMS = {
    "task": "  task: $kind\n  batch_size: 16",
    "model": "  model: {kind: $kind, width: 16}\n  data: digits\n  batch_size: 64\n  l2: 0.001",
    "data": "  model: {kind: small_cnn, width: 4}\n  data: {kind: $kind, train: 256}\n  batch_size: 16\n  l2: 0.001",
    "optimizer": "  model: {kind: small_cnn, width: 4}\n  data: digits\n  optimizer: $kind\n  batch_size: 64\n  l2: 0.001",
}
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def write_plugin(part: str, folder: Path) -> tuple[Path, ...]:
    """Write a package into a new folder, whose name is the variant's kind; return its files.

    Raises:
        OperationError: the name is no Python name, the folder exists, or it cannot be written.
    """
    kind = folder.name
    if not _NAME.fullmatch(kind) or keyword.iskeyword(kind) or _class(kind) in TAKEN:
        rule = "its name must be of a-z 0-9 _, start with a letter, and be no word of Python or of the template"
        raise OperationError(f"{named(folder)}: {rule}, got {kind!r}")
    if importlib.util.find_spec(kind) or kind in entry_points(group=GROUPS[part]).names:
        raise OperationError(
            f"{named(folder)}: must end in a name that no installed package or {part} has, got {kind!r}"
        )
    try:
        place = resolve(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".abel-", dir=place.parent) as draft:
            files = _filled(part, kind, Path(draft) / kind)
            if place.exists():
                raise OperationError(f"{folder}: must not exist yet; it was not changed")
            shutil.move(Path(draft) / kind, place)
    except PathFault as error:
        raise OperationError(f"{named(folder)}: {error}") from None
    except OSError as error:
        raise OperationError(f"{folder}: cannot be written: {error.strerror or error}") from None
    return tuple(folder / file for file in files)


def _class(kind: str) -> str:
    return "".join(word.capitalize() for word in kind.split("_"))


def _filled(part: str, kind: str, place: Path) -> tuple[Path, ...]:
    """Write the files of a package; return their paths in it."""
    names = {"kind": kind, "name": _class(kind), "part": part}
    names |= {"group": GROUPS[part], "dist": kind.replace("_", "-")}
    names["program"] = Template(PROGRAMS[part]).substitute(names)
    written = {
        Path("pyproject.toml"): "pyproject.toml",
        Path(kind) / "__init__.py": "init.py",
        Path(kind) / f"{part}.py": f"{part}.py",
        Path("tests") / f"test_{kind}.py": f"test_{part}.py",
        Path("sweep.yaml"): "sweep.yaml",
    }
    for path, template in written.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        text = (TEMPLATES / f"{template}.template").read_text(encoding="utf-8")
        (place / path).write_text(Template(text).substitute(names), encoding="utf-8")
    return tuple(written)
