"""Imports run one way, each framework has one door, settings come from one place, fixtures are typed: read from syntax alone."""

import ast
import sys
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A package may import itself and those before it.
LAYERS = ("abel", "workers", "sweeps", "services")

# Inside a layer, a room may import itself and the rooms before it; a folder inside a room belongs to it.
ROOMS = {
    "sweeps": (
        *("errors", "urls", "files", "catalog"),
        *("spec", "ledger", "processes", "adoption", "run", "forecast", "results"),
    ),
    "services": (
        *(
            "variables",
            "settings",
            "errors",
            "refusals",
            "wording",
            "schemas",
            "upkeep",
            "encoding",
            "ledgers",
            "upload_retries",
            "signals",
            "streams",
            "serving",
            "traces",
        ),
        *("tracking", "report", "verbs", "server", "api", "client", "cli"),
    ),
}

# Who may import a library: patterns of paths, `*` also crosses folders. A library without a line here has no door.
DOORS = {
    "ale_py": ("workers/games/emulator.py",),
    "alembic": ("sweeps/ledger/migrations/*",),
    "array_record": ("workers/data/*",),
    "cv2": ("workers/data/*", "workers/games/emulator.py"),
    "fastapi": ("services/api/*",),
    "flax": ("workers/*",),
    "grain": ("workers/data/batches.py",),
    "gymnax": ("workers/games/minatar_games.py",),
    "jax": ("abel/*", "workers/*"),
    "matplotlib": ("services/report/*",),
    "mlflow": ("services/tracking/*",),
    "numpy": ("*",),
    "obstore": ("workers/checkpoints/stores.py",),
    "opentelemetry": ("services/traces.py",),
    "optax": ("abel/transform.py", "abel/optimizers.py", "workers/*"),
    "orbax": ("workers/checkpoints/arrays.py",),
    "pandas": ("services/*", "sweeps/results/*"),
    "psutil": ("sweeps/*", "services/*"),
    "prometheus_client": ("services/api/health.py",),
    "pydantic": (
        "sweeps/*",
        "services/settings.py",
        "services/verbs/gate.py",
        "services/api/bodies.py",
        "services/client/*",
    ),
    "pydantic_core": ("sweeps/spec/shapes.py", "sweeps/spec/schema.py"),
    "ray": ("sweeps/run/*", "sweeps/spec/sampling.py"),
    "requests": (
        "services/verbs/notify.py",
        "services/server/ray_jobs.py",
        "services/server/kube/*",
        "services/client/*",
    ),
    "rich": ("services/*",),
    "ruamel": ("sweeps/spec/yaml.py",),
    "sacrebleu": ("workers/translation/scores.py",),
    "safetensors": ("workers/glue/weights.py",),
    "sentencepiece": ("workers/text/vocabulary.py",),
    "sklearn": ("workers/glue/scores.py",),
    "starlette": ("services/api/*",),
    "scipy": ("sweeps/results/*", "sweeps/spec/sampling.py", "workers/glue/scores.py"),
    "sqlalchemy": ("sweeps/ledger/*", "sweeps/urls.py", "services/tracking/*"),
    "tensorflow": ("workers/data/*",),
    "tensorflow_datasets": ("workers/data/*",),
    "uvicorn": ("services/api/serve.py",),
    "typer": ("services/cli/*",),
}

MOST_LINES = 300
MOST_CLASS_LINES = 200
MOST_FUNCTION_LINES = 45  # with its signature, without its docstring; five to thirty are usual
MOST_NESTING = 4
MOST_MODULES = 16  # in one folder
BLOCKS = (
    *(ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match),
    *(ast.AsyncFor, ast.AsyncWith, ast.FunctionDef, ast.AsyncFunctionDef),
)
LISTINGS = "sweeps/ledger/migrations/versions/*"  # tables as they once were

# Names that more than one module has to define: the first two are called from outside, `init` is the library's word and a command
# name, and `total` is of norms and of the terms of their equation, in modules that users import by name.
ALIKE = ("main", "upgrade", "init", "total")

# Who may look at environment variables. Setting one, or handing all of them to a child process, is not looking.
ENVIRONMENT_READERS = ("services/settings.py", "workers/trajectory.py", "workers/data/batches.py")
LOOKS = ("get", "items", "keys", "pop", "values")


def faults(root: Path) -> list[str]:
    """Every breach in the packages under `root`, as `path:line: what`."""
    found = []
    for layer in LAYERS:
        for file in sorted((root / layer).rglob("*.py")):
            path = file.relative_to(root).as_posix()
            tree = ast.parse(file.read_text(), filename=path)
            found += [f"{path}:{line}: {fault}" for line, fault in _faults(path, tree)]
    return found


def sizes(root: Path) -> list[str]:
    """Every module, class and function with too many lines, nesting that is too deep, and folders with too many modules."""
    found = []
    for layer in LAYERS:
        folders: Counter[str] = Counter()
        for file in sorted((root / layer).rglob("*.py")):
            path = file.relative_to(root)
            text = file.read_text()
            lines = len(text.splitlines())
            folders[path.parent.as_posix()] += 1
            if lines > MOST_LINES:
                found.append(f"{path.as_posix()}: {lines} lines, of at most {MOST_LINES}")
            found += [
                f"{path.as_posix()}: {name}: {lines} lines, of at most {MOST_CLASS_LINES}"
                for name, lines in _classes(ast.parse(text))
                if lines > MOST_CLASS_LINES
            ]
            found += [f"{path.as_posix()}: {told}" for told in _functions(path, ast.parse(text))]
        found += [
            f"{name}: {count} modules, of at most {MOST_MODULES}"
            for name, count in folders.items()
            if count > MOST_MODULES
        ]
    return found


def _functions(path: Path, tree: ast.Module) -> Iterator[str]:
    """Yield which functions are too long or nested too deep."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0]
        docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) else 0  # type: ignore[operator]
        lines = node.end_lineno - node.lineno + 1 - docstring  # type: ignore[operator]
        if lines > MOST_FUNCTION_LINES and not fnmatch(path.as_posix(), LISTINGS):
            yield f"{node.name}: {lines} lines, of at most {MOST_FUNCTION_LINES}"
        if (depth := _nesting(node.body)) > MOST_NESTING:
            yield f"{node.name}: is nested {depth} deep, of at most {MOST_NESTING}"


def _nesting(nodes: Iterable[ast.AST]) -> int:
    """The depth of blocks in blocks; an `elif` is no deeper than its `if`."""
    deepest = 0
    for node in nodes:
        inner = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.If) and len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
            deepest = max(deepest, _nesting(node.orelse))
            inner.remove(node.orelse[0])
        deepest = max(deepest, isinstance(node, BLOCKS) + _nesting(inner))
    return deepest


def _classes(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """(name, lines) of every class, without its decorators."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.end_lineno is not None:
            yield node.name, node.end_lineno - node.lineno + 1


def repeated(root: Path) -> list[str]:
    """Every public class or function whose name has a second meaning, with where it is defined.

    A command and the verb that it stands for are one thing.
    """
    places: dict[str, list[str]] = {}
    commands: set[str] = set()
    for layer in LAYERS:
        for file in sorted((root / layer).rglob("*.py")):
            path, tree = file.relative_to(root).as_posix(), ast.parse(file.read_text())
            commands |= set(_commands(tree)) if path.startswith("services/cli/") else set()
            for node in tree.body:
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith(
                    "_"
                ):
                    places.setdefault(node.name, []).append(path)
    return [
        f"{name}: {', '.join(found)}"
        for name, found in places.items()
        if len(found) > 1 + (name in commands and _are_verb_and_command(found)) and name not in ALIKE
    ]


def untyped(tests: Path) -> list[str]:
    """Every fixture that lacks a return type or the type of a parameter."""
    return [
        f"{file.relative_to(tests).as_posix()}:{node.lineno}: {node.name}"
        for file in sorted(tests.rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef) and any(map(_is_fixture, node.decorator_list)) and not _is_typed(node)
    ]


def _is_fixture(decorator: ast.expr) -> bool:
    return ast.unparse(decorator).partition("(")[0] == "pytest.fixture"


def _is_typed(node: ast.FunctionDef) -> bool:
    parameters = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    return node.returns is not None and all(parameter.annotation for parameter in parameters)


def _commands(tree: ast.Module) -> Iterator[str]:
    """The functions that a module makes commands: its own by a decorator, those of others by a call, alone or in a loop."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name, decorator_list=decorators) if any(map(_makes_command, decorators)):
                yield name
            case ast.Call(func=func, args=[ast.Attribute(attr=name)]) if _makes_command(func):
                yield name
            case ast.For(iter=ast.Tuple(elts=ones), body=[ast.Expr(value=ast.Call(func=func))]) if _makes_command(func):
                yield from (one.attr for one in ones if isinstance(one, ast.Attribute))


def _makes_command(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "command"


def _are_verb_and_command(paths: Sequence[str]) -> bool:
    return all(any(path.startswith(room) for path in paths) for room in ("services/cli/", "services/verbs/"))


def circles(root: Path) -> list[str]:
    """Modules that import each other, by whatever detour, as the import system sees it."""
    files = {file for layer in LAYERS for file in (root / layer).rglob("*.py")}
    names = {".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file for file in files}
    imports = {name: set(_modules(ast.parse(file.read_text()), names.keys())) - {name} for name, file in names.items()}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return [" -> ".join(error.args[1])]
    return []


def _modules(tree: ast.Module, names: Container[str]) -> Iterator[str]:
    """The modules of the house that one imports when it is imported itself."""
    for node in tree.body:
        match node:
            case ast.Import(names=aliases):
                yield from (alias.name for alias in aliases if alias.name in names)
            case ast.ImportFrom(module=str(module), names=aliases):
                for alias in aliases:
                    full = f"{module}.{alias.name}"
                    yield from (name for name in (full if full in names else module,) if name in names)


def _faults(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    layer, room = _place(path.removesuffix(".py").split("/"))
    for line, parts in _imports(tree):
        name = parts[0]
        if name in LAYERS:
            other, theirs = _place(parts)
            if LAYERS.index(other) > LAYERS.index(layer):
                yield line, f"{layer} must not import {other}"
            elif other == layer and _comes_after(layer, theirs, room):
                yield line, f"{layer}.{room} must not import {layer}.{theirs}"
        elif name not in sys.stdlib_module_names and not _allowed(path, DOORS.get(name, ())):
            yield line, f"{name} comes in at {', '.join(DOORS.get(name, ())) or 'no door yet'}"
    if not _allowed(path, ENVIRONMENT_READERS):
        yield from ((line, "the environment is read in services/settings.py") for line in _environment_reads(tree))


def _place(parts: Sequence[str]) -> tuple[str, str]:
    """The layer and the room of a path or a module."""
    return parts[0], parts[1] if len(parts) > 1 else ""


def _comes_after(layer: str, room: str, other: str) -> bool:
    rooms = ROOMS.get(layer, ())
    return room in rooms and other in rooms and rooms.index(room) > rooms.index(other)


def _allowed(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


def _imports(tree: ast.Module) -> Iterator[tuple[int, list[str]]]:
    """(line, parts of the module's name) of every import, also in functions or through importlib."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name.split(".")) for alias in names)
            case ast.ImportFrom(module=str(module), names=names, level=0):
                yield from ((node.lineno, [*module.split("."), alias.name]) for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield node.lineno, module.split(".")


def _environment_reads(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module="os", names=names) if {"environ", "getenv"} & {alias.name for alias in names}:
                yield node.lineno
            case ast.Attribute(value=ast.Name(id="os"), attr="getenv"):
                yield node.lineno
            case ast.Attribute(value=value, attr=attr) if attr in LOOKS and _is_environ(value):
                yield node.lineno
            case ast.Subscript(value=value, ctx=ast.Load()) if _is_environ(value):
                yield node.lineno
            case ast.Compare(comparators=comparators) if any(map(_is_environ, comparators)):
                yield node.lineno


def _is_environ(node: ast.expr) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id="os"), attr="environ"):
            return True
    return False


def test_the_packages_keep_the_rules() -> None:
    assert faults(ROOT) == []


def test_every_room_has_its_place() -> None:
    for layer, rooms in ROOMS.items():
        here = {
            path.stem for path in (ROOT / layer).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
        }
        assert here - {"__init__"} == set(rooms)


def test_modules_classes_and_folders_stay_small() -> None:
    assert sizes(ROOT) == []


def test_a_planted_class_that_is_too_long_is_found(tmp_path: Path) -> None:
    _plant(tmp_path, "sweeps/ledger/ledger.py", "class Short: ...\nclass Long:" + "\n    x = 1" * MOST_CLASS_LINES)
    assert sizes(tmp_path) == ["sweeps/ledger/ledger.py: Long: 201 lines, of at most 200"]


def test_planted_functions_that_are_too_long_or_too_deep_are_found(tmp_path: Path) -> None:
    deep = "".join(f"\n{'  ' * depth}if x:" for depth in range(1, 6)) + f"\n{'  ' * 6}y()"
    even = "\n  if x: y()" + "\n  elif z: y()" * 6
    long = "\n  x = 1" * MOST_FUNCTION_LINES
    _plant(tmp_path, "sweeps/ledger/ledger.py", f"def deep():{deep}\ndef even():{even}\nasync def long():{long}")
    assert sizes(tmp_path) == [
        "sweeps/ledger/ledger.py: deep: is nested 5 deep, of at most 4",
        "sweeps/ledger/ledger.py: long: 46 lines, of at most 45",
    ]


def test_a_public_name_means_one_thing() -> None:
    assert repeated(ROOT) == []


def test_a_planted_second_meaning_is_found(tmp_path: Path) -> None:
    _plant(tmp_path, "sweeps/results/measures.py", "def spread(): ...\ndef _help(): ...")
    _plant(
        tmp_path, "services/verbs/status.py", "class Grid: ...\ndef spread(): ...\ndef _help(): ...\ndef plan(): ..."
    )
    assert repeated(tmp_path) == ["spread: sweeps/results/measures.py, services/verbs/status.py"]


@pytest.mark.parametrize(
    "command",
    [
        "@app.command()\ndef plan(): ...",
        "def plan(): ...\napp.command()(specs.plan)",
        "def plan(): ...\nfor verb in (specs.init, specs.plan):\n    app.command()(verb)",
    ],
)
def test_a_command_may_have_the_name_of_its_verb(tmp_path: Path, command: str) -> None:
    _plant(tmp_path, "services/verbs/specs.py", "def plan(): ...\ndef table(): ...")
    _plant(tmp_path, "services/cli/app.py", f"{command}\ndef table(): ...")
    assert repeated(tmp_path) == ["table: services/cli/app.py, services/verbs/specs.py"]


def test_every_fixture_has_its_types() -> None:
    assert untyped(ROOT / "tests") == []


def test_a_planted_fixture_without_types_is_found(tmp_path: Path) -> None:
    sources = ("def bare(): ...", "def half(request) -> int: ...", "def whole(request: Request) -> int: ...")
    _plant(tmp_path, "sweeps/test_files.py", "\n".join(f"@pytest.fixture(scope='module')\n{one}" for one in sources))
    assert untyped(tmp_path) == ["sweeps/test_files.py:2: bare", "sweeps/test_files.py:4: half"]


def test_no_module_imports_itself_by_a_detour() -> None:
    assert circles(ROOT) == []


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("abel/norms.py", "import workers.cohort", "abel must not import workers"),
        ("workers/cohort.py", "from sweeps import ledger", "workers must not import sweeps"),
        (
            "sweeps/run/driver.py",
            "def late():\n    from services.tracking.runs import load",
            "sweeps must not import services",
        ),
        (
            "workers/cohort.py",
            "import importlib\nimportlib.import_module('services.cli.app')",
            "must not import services",
        ),
        ("workers/cohort.py", "def late():\n    import ray", "ray comes in at sweeps/run/*"),
        ("services/cli/app.py", "from mlflow import MlflowClient", "mlflow comes in at services/tracking/*"),
        ("services/verbs/status.py", "import sqlalchemy.orm", "sqlalchemy comes in at sweeps/ledger/*"),
        ("sweeps/spec/grid.py", "from sweeps.ledger.ledger import Ledger", "sweeps.spec must not import sweeps.ledger"),
        ("services/report/page.py", "from services import cli", "services.report must not import services.cli"),
        ("sweeps/forecast/plan.py", "__import__('httpx')", "httpx comes in at no door yet"),
        ("workers/deep/down/model.py", "import orbax.checkpoint", "orbax comes in at workers/checkpoints/arrays.py"),
        (
            "sweeps/spec/sweep.py",
            "import os\nhome = os.environ['HOME']",
            "sweeps/spec/sweep.py:2: the environment is read in",
        ),
        ("sweeps/spec/sweep.py", "import os\nhome = os.environ.get('HOME')", "the environment is read in"),
        ("sweeps/spec/sweep.py", "import os\nif 'HOME' in os.environ: pass", "the environment is read in"),
        ("sweeps/spec/sweep.py", "import os\nhome = os.getenv('HOME')", "the environment is read in"),
        ("sweeps/spec/sweep.py", "from os import environ", "the environment is read in"),
    ],
)
def test_a_planted_breach_is_found(tmp_path: Path, path: str, source: str, fault: str) -> None:
    _plant(tmp_path, path, source)
    (found,) = faults(tmp_path)
    assert fault in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "services/report/figures.py",
            "import abel, workers, sweeps\nimport matplotlib.pyplot as plt\nfrom . import runs",
        ),
        ("sweeps/ledger/tables.py", "import json\nfrom sqlalchemy import Table\nfrom workers.config import Program"),
        ("workers/data/tfds.py", "import cv2\nimport tensorflow_datasets as tfds"),
        ("services/settings.py", "import os\nhome = os.environ['HOME']"),
        (
            "sweeps/run/driver.py",
            "import os\nos.environ['A'] = 'b'\nos.environ.update(A='b')\nchild = os.environ | {}",
        ),
    ],
)
def test_what_the_rules_allow_passes(tmp_path: Path, path: str, source: str) -> None:
    _plant(tmp_path, path, source)
    assert faults(tmp_path) == []


def _plant(root: Path, path: str, source: str) -> None:
    (root / path).parent.mkdir(parents=True)
    (root / path).write_text(source + "\n")
