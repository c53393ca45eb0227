import doctest
import importlib
import inspect
import os
import subprocess
import sys
from typing import Any

import pytest

import abel

# Names no platform, so that any use of a device would fail.
NO_BACKEND = {**os.environ, "JAX_PLATFORMS": "none_such"}
FRAMEWORKS = {"flax", "ray", "mlflow", "optax", "pydantic", "tensorflow_datasets", "workers", "sweeps", "services"}


def run(code: str, env: dict[str, str]) -> str:
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(code: str) -> set[str]:
    return set(run(f"{code}; import sys; print(*sys.modules)", dict(os.environ)).split())


@pytest.mark.parametrize(
    "name",
    [
        "baselines",
        "bounce",
        "curves",
        "double_float",
        "dynamics",
        "norms",
        "optimizers",
        "plans",
        "plateau",
        "rates",
        "schedules",
        "transform",
    ],
)
def test_examples_in_docstrings(name: str) -> None:
    outcome = doctest.testmod(importlib.import_module(f"abel.{name}"))
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_every_public_name_exists_and_is_documented() -> None:
    for name in abel.__all__:
        assert getattr(abel, name).__doc__ or name in ("DECAYS", "SCHEDULES")


NOT_TO_BE_SHOWN = {"SCHEDULES", "Schedule", "ScheduleState"}  # a table and two protocols


@pytest.mark.parametrize("name", sorted(set(abel.__all__) - NOT_TO_BE_SHOWN))
def test_every_public_name_is_shown_at_work(name: Any) -> None:
    """In a doctest of its own, or as a module in that of its functions."""
    public = getattr(abel, name)
    shown = [public, *vars(public).values()] if inspect.ismodule(public) or name == "EpochPlan" else [public]
    assert any(">>>" in (each.__doc__ or "") for each in shown)


def test_import_brings_in_no_framework() -> None:
    assert not FRAMEWORKS & loaded_by("import abel")


def test_the_transform_brings_in_optax_alone() -> None:
    assert FRAMEWORKS & loaded_by("import abel.transform") == {"optax"}


def test_schedules_need_no_device() -> None:
    code = """
from abel.schedules import Abel, Observation
schedule = Abel(learning_rate=0.1, decay_factor=0.2, last_decay_epoch=3, warmup_epochs=1)
state = schedule.init()
for epoch in range(1, 6):
    plan = schedule.plan(state, epoch, examples=100, batch_size=10)
    state = schedule.update(state, Observation(10.0 - epoch, 0.5))
print(state.decays)
"""
    assert run(code, NO_BACKEND) == "1\n"
