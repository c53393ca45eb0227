"""Imports run one way, each framework has one door, settings come from one place: read from syntax alone."""

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A package may import itself and those before it.
LAYERS = ("abel", "workers", "sweeps", "services")

# Who may import a library: patterns of paths, `*` also crosses folders. A library without a line here has no door.
DOORS = {
    "alembic": ("sweeps/migrations/*",),
    "array_record": ("workers/data/*",),
    "cv2": ("workers/data/*",),
    "fastapi": ("services/api.py",),
    "flax": ("workers/*",),
    "jax": ("abel/*", "workers/*"),
    "matplotlib": ("services/*figures.py", "services/themes.py", "services/exhibits.py"),
    "mlflow": ("services/tracking.py", "services/runs.py", "services/histories.py"),
    "numpy": ("*",),
    "optax": ("abel/transform.py", "workers/*"),
    "orbax": ("workers/checkpoints.py",),
    "pandas": ("services/*",),
    "psutil": ("sweeps/*", "services/*"),
    "pydantic": ("sweeps/*", "services/settings.py", "services/baseline.py"),
    "ray": ("sweeps/driver.py", "sweeps/searcher.py", "sweeps/trainable.py", "sweeps/sampling.py", "sweeps/halving.py"),
    "requests": ("services/notices.py",),
    "rich": ("services/*",),
    "scipy": (
        "services/intervals.py",
        "services/measures.py",
        "services/axes.py",
        "services/comparison.py",
        "sweeps/sampling.py",
    ),
    "sklearn": ("workers/data/*",),
    "sqlalchemy": (
        "sweeps/ledger.py",
        "sweeps/tables.py",
        "sweeps/database.py",
        "sweeps/leases.py",
        "sweeps/reading.py",
        "sweeps/migrations/*",
        "services/tracking.py",
        "services/histories.py",
    ),
    "tensorflow": ("workers/data/*",),
    "tensorflow_datasets": ("workers/data/*",),
    "typer": ("services/cli*.py",),
    "yaml": ("sweeps/*",),
}

# Who may look at environment variables. Setting one, or handing all of them to a child process, is not looking.
ENVIRONMENT_READERS = ("services/settings.py", "workers/trajectory.py")
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


def _faults(path: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    layer = path.split("/")[0]
    for line, name in _imports(tree):
        if name in LAYERS:
            if LAYERS.index(name) > LAYERS.index(layer):
                yield line, f"{layer} must not import {name}"
        elif name not in sys.stdlib_module_names and not _allowed(path, DOORS.get(name, ())):
            yield line, f"{name} comes in at {', '.join(DOORS.get(name, ())) or 'no door yet'}"
    if not _allowed(path, ENVIRONMENT_READERS):
        yield from ((line, "the environment is read in services/settings.py") for line in _environment_reads(tree))


def _allowed(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, top package) of every import, also in functions or through importlib. Relative ones stay inside."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name.split(".")[0]) for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield node.lineno, module.split(".")[0]
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield node.lineno, module.split(".")[0]


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


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        ("abel/norms.py", "import workers.cohort", "abel must not import workers"),
        ("workers/cohort.py", "from sweeps import ledger", "workers must not import sweeps"),
        ("sweeps/driver.py", "def late():\n    from services.runs import load", "sweeps must not import services"),
        ("workers/cohort.py", "import importlib\nimportlib.import_module('services.cli')", "must not import services"),
        ("workers/cohort.py", "def late():\n    import ray", "ray comes in at sweeps/driver.py"),
        ("services/cli.py", "from mlflow import MlflowClient", "mlflow comes in at services/tracking.py"),
        ("services/runs.py", "import sqlalchemy.orm", "sqlalchemy comes in at sweeps/ledger.py"),
        ("sweeps/plan.py", "__import__('httpx')", "httpx comes in at no door yet"),
        ("workers/deep/down/model.py", "import orbax.checkpoint", "orbax comes in at workers/checkpoints.py"),
        ("sweeps/spec.py", "import os\nhome = os.environ['HOME']", "sweeps/spec.py:2: the environment is read in"),
        ("sweeps/spec.py", "import os\nhome = os.environ.get('HOME')", "the environment is read in"),
        ("sweeps/spec.py", "import os\nif 'HOME' in os.environ: pass", "the environment is read in"),
        ("sweeps/spec.py", "import os\nhome = os.getenv('HOME')", "the environment is read in"),
        ("sweeps/spec.py", "from os import environ", "the environment is read in"),
    ],
)
def test_a_planted_breach_is_found(tmp_path: Path, path: str, source: str, fault: str) -> None:
    _plant(tmp_path, path, source)
    (found,) = faults(tmp_path)
    assert fault in found


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("services/figures.py", "import abel, workers, sweeps\nimport matplotlib.pyplot as plt\nfrom . import runs"),
        ("sweeps/tables.py", "import json\nfrom sqlalchemy import Table\nfrom workers.config import Program"),
        ("workers/data/tfds.py", "import cv2\nimport tensorflow_datasets as tfds"),
        ("services/settings.py", "import os\nhome = os.environ['HOME']"),
        (
            "sweeps/driver.py",
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
