"""The wheel in an environment that has JAX, optax, NumPy and what these need, and nothing else."""

import shutil
import subprocess
import sys
import tomllib
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PRESENT = ("jax", "numpy", "optax")
ABSENT = ("flax", "mlflow", "orbax", "pydantic", "ray", "tensorflow_datasets")

USE = f"""
import sys
import abel

schedule = abel.Abel(learning_rate=0.5, decay_factor=0.25, last_decay_epoch=6.5)
state = schedule.init()
for epoch, norm_sq in enumerate([9.0, 8.0, 7.0, 8.0, 9.0, 8.5, 8.4, 8.3], start=1):
    plan = schedule.plan(state, epoch, examples=4, batch_size=2)
    state = schedule.update(state, abel.Observation(norm_sq, train_loss=0.1))
assert plan.learning_rates.tolist() == [0.5 / 16] * 2, plan
assert "optax" not in sys.modules

import jax
import jax.numpy as jnp
import optax
from abel.transform import as_optax, scale_by_abel

rule = scale_by_abel(0.5, decay_factor=0.25, last_decay_epoch=6.5, steps_per_epoch=2)
optimizer = optax.chain(optax.trace(decay=0.9), rule)
params = dict(w=jnp.ones(3))

@jax.jit
def step(params, state):
    updates, state = optimizer.update(params, state, params)
    return optax.apply_updates(params, updates), state

state = optimizer.init(params)
for _ in range(16):
    params, state = step(params, state)
assert int(state[-1].epoch) == 7 and int(state[-1].decays) >= 1, state
clock = as_optax(abel.DecayAt(learning_rate=0.5, decay_factor=0.5, decay_epoch=2), steps_per_epoch=3)
assert float(clock(6)) == 0.25

print(abel.__file__)
print(*sorted(set({ABSENT}) & set(sys.modules)))
"""


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def closure(names: tuple[str, ...]) -> dict[str, metadata.Distribution]:
    """The distributions of these names, installed here, with all that they require."""
    found: dict[str, metadata.Distribution] = {}
    todo = list(names)
    while todo:
        distribution = metadata.distribution(todo.pop())
        if distribution.name not in found:
            found[distribution.name] = distribution
            requirements = map(Requirement, distribution.requires or ())
            todo += [each.name for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]
    return found


def link(distribution: metadata.Distribution, site_packages: Path) -> None:
    """Show a distribution that is installed here to another environment."""
    for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
        if not (site_packages / top).exists():
            (site_packages / top).symlink_to(Path(str(distribution.locate_file(top))))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what setuptools is to see, as it leaves its own files beside the sources."""
    tree, place = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for package in {name.split(".")[0] for name in project["tool"]["setuptools"]["packages"]}:
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / file, tree)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", place, tree, cwd=place)
    (built,) = place.iterdir()
    return built


@pytest.fixture(scope="module")
def empty_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with `PRESENT` and what these need."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=False, symlinks=True)
    (site_packages,) = place.glob("lib/python*/site-packages")
    for distribution in closure(PRESENT).values():
        link(distribution, site_packages)
    return place / "bin" / "python"


@pytest.mark.slow
def test_the_library_runs_with_jax_optax_and_numpy_alone(wheel: Path, empty_python: Path, tmp_path: Path) -> None:
    found = f"import importlib.util as u; print(*[name for name in {(*PRESENT, *ABSENT)} if u.find_spec(name)])"
    assert run(empty_python, "-I", "-c", found, cwd=tmp_path).split() == list(PRESENT)
    pip = (sys.executable, "-m", "pip", "--python", empty_python, "--disable-pip-version-check")
    run(*pip, "install", "-q", "--no-deps", "--no-index", wheel, cwd=tmp_path)
    place, loaded = run(empty_python, "-I", "-W", "error", "-c", USE, cwd=tmp_path).split("\n")[:2]
    assert Path(place).is_relative_to(empty_python.parents[1])
    assert loaded == ""
    assert (Path(place).parent / "py.typed").exists()


@pytest.mark.slow
def test_a_missing_dependency_would_be_seen(empty_python: Path, tmp_path: Path) -> None:
    done = subprocess.run([empty_python, "-I", "-c", "import flax"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and "No module named 'flax'" in done.stderr
