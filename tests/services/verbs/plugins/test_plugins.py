"""A package of a user's own: written by the command, installed by pip, tested, listed and swept."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shops import Shop
from typer.testing import CliRunner

from services.cli.app import app
from services.cli.specs import PluginPart
from sweeps.spec import programs
from sweeps.spec.sweep import load_spec, parse_document
from workers.plugins import GROUPS

PARTS = tuple(GROUPS)


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def command(*arguments: object, site: Path) -> subprocess.CompletedProcess[str]:
    """What a command of its own process prints, with the packages in a folder installed."""
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(words, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False)


def install(name: str, entry_points: str, site: Path) -> None:
    """Let a package with these entry points be installed in a folder."""
    info = site / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(entry_points)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a package for each part of a program, and `site`, where they are installed."""
    folder = tmp_path_factory.mktemp("packages")
    for part in PARTS:
        done = invoke("init", folder / f"my_{part}", "--plugin", part)
        assert done.exit_code == 0, done.output
    options = ("--no-build-isolation", "--no-deps", "--no-index", "--quiet", "--target", folder / "site")
    done = command("pip", "install", *options, *(folder / f"my_{part}" for part in PARTS), site=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def installed_here(packages: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the test's own process have the packages."""
    modules = set(sys.modules)
    monkeypatch.syspath_prepend(packages / "site")
    programs.forget()
    yield
    for name in sys.modules.keys() - modules:
        if name.startswith("my_"):
            del sys.modules[name]
    monkeypatch.undo()
    programs.forget()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path, f"sqlite:///{tmp_path}/ledger.db")
    yield shop
    shop.ledger.close()


@pytest.mark.slow
def test_their_own_tests_pass_and_the_list_has_them(packages: Path) -> None:
    tests = [packages / f"my_{part}" / "tests" for part in PARTS]
    done = command("pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", *tests, site=packages / "site")
    assert done.returncode == 0, done.stdout
    done = command("services.cli", "plugins", "--json", site=packages / "site")
    assert done.returncode == 0, done.stderr
    found = {(one["part"], one["kind"]): one for one in json.loads(done.stdout)}
    for part in PARTS:
        mine = found[part, f"my_{part}"]
        assert (mine["source"], mine["fault"]) == (f"my-{part} 0.1.0", None)
        assert mine["about"]
    assert found["task", "classify"]["source"].startswith("abel-sweeps ")


def test_their_specs_are_valid(packages: Path, installed_here: None) -> None:
    for part in PARTS:
        done = invoke("validate", packages / f"my_{part}" / "sweep.yaml")
        assert done.exit_code == 0, done.stderr
        assert done.stdout.startswith(f"valid  my-{part}")


def test_a_model_data_and_an_optimizer_of_their_own_are_swept_together(
    packages: Path, installed_here: None, shop: Shop
) -> None:
    parts = ("model", "data", "optimizer")
    written = {part: load_spec(packages / f"my_{part}" / "sweep.yaml").to_dict() for part in parts}
    program = written["data"]["program"] | {part: written[part]["program"][part] for part in parts}
    swept, _ = shop.run(parse_document(written["data"] | {"program": program, "epochs": 2, "seeds": [0]}))
    trials, guessing = shop.ledger.trials(swept), shop.ledger.sweep(swept).metric.worst
    assert guessing == 75  # there are four classes
    for trial in trials:
        assert [trial.program[part]["kind"] for part in parts] == ["my_model", "my_data", "my_optimizer"]
        assert trial.result is not None
        assert trial.result.minimum is not None
        assert trial.result.minimum < guessing / 2
    assert [trial.arm for trial in trials] == ["constant", "simple"]


@pytest.mark.ray
@pytest.mark.slow
def test_a_task_of_its_own_is_swept_by_its_own_metric(packages: Path, tmp_path: Path) -> None:
    home = {"ABEL_HOME": str(tmp_path / "home")}
    os.environ |= home
    site = packages / "site"
    done = command("services.cli", "run", packages / "my_task" / "sweep.yaml", "--workers", 1, site=site)
    assert done.returncode == 0, done.stderr
    assert "100 - explained variance in %" in " ".join(done.stdout.split())
    told = json.loads(command("services.cli", "status", "my-task", "--json", site=site).stdout)
    assert all(arm["minimum_error"] < 5 for arm in told["arms"])
    assert told["lacking"] == 0
    # Without the package its results are still read, by what the ledger has of its metric.
    done = command("services.cli", "report", "my-task", "--export", "csv", site=tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "home" / "reports" / "my-task" / "index.html").read_text(encoding="utf-8")
    assert "Explained variance" in page
    assert "100 - explained variance" in page


def test_the_command_writes_every_part_of_a_program() -> None:
    assert tuple(PluginPart) == PARTS


def test_what_exists_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    done = invoke("init", tmp_path / "mine", "--plugin", "model")
    assert done.exit_code == 2
    assert "must not exist yet; it was not changed" in done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]


@pytest.mark.parametrize("name", ["my-net", "My", "1st", "class", "net.py", "none", "dataset", "vgg5", "numpy"])
def test_a_name_that_python_cannot_import_is_refused(tmp_path: Path, name: str) -> None:
    done = invoke("init", tmp_path / name, "--plugin", "model")
    assert done.exit_code == 2
    assert f"got {name!r}" in " ".join(done.stderr.split())
    assert not list(tmp_path.iterdir())


def test_a_folder_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke("init", "--plugin", "model")
    assert done.exit_code == 2
    assert "name a folder, as in `abel init my_model" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_kind_that_two_packages_have_harms_only_itself(tmp_path: Path) -> None:
    install("twice", "[abel.models]\nvgg5 = workers.models.small_cnn:SmallCnn\n", tmp_path)
    done = command("services.cli", "plugins", "--json", site=tmp_path)
    assert done.returncode == 1
    faulty = [(one["kind"], one["fault"]) for one in json.loads(done.stdout) if one["fault"]]
    assert {kind for kind, _ in faulty} == {"vgg5"}
    assert all("registered twice: " in fault for _, fault in faulty)


def test_one_that_cannot_be_used_is_named_and_the_command_fails(tmp_path: Path) -> None:
    install("broken", "[abel.models]\nbroken = no_such_package:Net\n", tmp_path)
    done = command("services.cli", "plugins", site=tmp_path)
    assert done.returncode == 1
    assert "model broken: abel.models 'broken' (no_such_package:Net) cannot be imported" in " ".join(
        done.stdout.split()
    )


def test_one_without_a_method_is_named_with_what_it_lacks(tmp_path: Path) -> None:
    variant = "@dataclass(frozen=True)\nclass {0}:\n    kind: str = '{1}'\n"
    classes = variant.format("Net", "bare") + variant.format("Rule", "slow") + "    def static(self): ...\n"
    (tmp_path / "bare.py").write_text(f"from dataclasses import dataclass\n{classes}")
    install("bare", "[abel.models]\nbare = bare:Net\n[abel.optimizers]\nslow = bare:Rule\n", tmp_path)
    done = command("services.cli", "plugins", "--json", site=tmp_path)
    assert done.returncode == 1
    assert {one["kind"]: one["fault"] for one in json.loads(done.stdout) if one["fault"]} == {
        "bare": "abel.models 'bare' (bare:Net) must have build",
        "slow": "abel.optimizers 'slow' (bare:Rule) must have hyper and transform",
    }
