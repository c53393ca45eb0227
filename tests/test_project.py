"""The files around the code: the lock, the changelog, the image, the citation, and what documents have people type."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer.main
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pages import PAGES, commands, words

from services.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
README = (ROOT / "README.md").read_text()
TYPED = sorted({command for page in PAGES for command in commands(page.read_text())})
LOCK = (ROOT / "requirements.lock").read_text()
PIN = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>[0-9][0-9a-z.]*)(?: ; [^/@]+)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _pins() -> dict[str, list[str]]:
    """Locked versions by name: several where Python versions need different ones."""
    pins: dict[str, list[str]] = {}
    for match in filter(None, map(PIN.match, LOCK.splitlines())):
        pins.setdefault(match["name"], []).append(match["version"])
    return pins


def _parse(arguments: list[str]) -> None:
    """Parse as the command would, subcommand by subcommand, and run nothing."""
    command, context = typer.main.get_command(app), None
    name, rest = "abel", arguments
    while True:
        context = command.make_context(name, list(rest), parent=context)
        if not hasattr(command, "resolve_command"):
            return
        _, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        name = command.name


def test_the_lock_holds_pins_and_hashes_and_nothing_else() -> None:
    lines = [line for line in LOCK.splitlines() if not line.startswith("# This file was") and line != "#    make lock"]
    assert [line for line in lines if not PIN.match(line) and not HASH.match(line)] == []
    assert len(_pins()) > 100


def test_the_lock_serves_every_dependency() -> None:
    wanted = [*PROJECT["build-system"]["requires"], *PROJECT["project"]["dependencies"]]
    wanted += PROJECT["project"]["optional-dependencies"]["dev"]
    pins = _pins()
    for requirement in map(Requirement, wanted):
        versions = pins.get(canonicalize_name(requirement.name), [])
        assert versions and all(map(requirement.specifier.contains, versions)), f"{requirement}: locked is {versions}"


def test_the_lock_brings_no_accelerator_packages() -> None:
    """They weigh gigabytes; who has an accelerator adds its JAX plug-in."""
    heavy = re.compile(r"nvidia-|triton|torch$|tensorflow$|jax-cuda|jax-rocm|libtpu")
    assert [name for name in _pins() if heavy.match(name)] == []


def test_the_changelog_knows_the_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings[1] == PROJECT["project"]["version"]


def test_every_package_is_installed_and_in_the_image() -> None:
    layers = ("abel", "workers", "sweeps", "services")
    found = {file.parent.relative_to(ROOT) for layer in layers for file in (ROOT / layer).rglob("*.py")}
    assert {".".join(folder.parts) for folder in found} == set(PROJECT["tool"]["setuptools"]["packages"])
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    assert all(f"COPY {layer} {layer}\n" in dockerfile for layer in layers)


def test_every_plugin_of_ours_is_where_its_entry_point_says() -> None:
    for group, points in PROJECT["project"]["entry-points"].items():
        for kind, target in points.items():
            module, _, name = target.partition(":")
            source = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text()
            assert re.search(rf"^class {name}\b", source, re.MULTILINE), f"{group}: {kind} = {target}"


def test_no_file_has_the_marks_of_an_unfinished_merge() -> None:
    folders = ("abel", "bench", "docker", "docs", "services", "sweeps", "tests", "workers")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")] + list(ROOT.iterdir())
    texts = [path for path in files if path.suffix in (".md", ".py", ".yaml", ".yml", ".sh", ".toml", ".html")]
    marks = ("<" * 7 + " ", ">" * 7 + " ")
    assert len(texts) > 500
    assert [path for path in texts if any(line.startswith(marks) for line in path.read_text().splitlines())] == []


def test_the_readme_starts_with_the_demo_and_a_run() -> None:
    typed = [words(command) for command in commands(README)]
    assert ["make", "demo"] in typed
    assert any(words[:2] == ["abel", "run"] for words in typed)


def test_the_readme_is_finished_and_its_files_are_there() -> None:
    assert re.findall(r"@[A-Z_]+@", README) == []
    linked = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert [path for path in linked if not (ROOT / path).exists()] == []


def test_the_readme_counts_the_verdicts_of_the_page_on_the_paper() -> None:
    page = (ROOT / "docs" / "explanation" / "paper.md").read_text()
    verdicts = re.findall(r"^\|[^|]+\| *(held|\*\*did not hold|cannot tell)", page, re.MULTILINE)
    broken = verdicts.count("**did not hold")
    known = verdicts.count("held") + broken
    assert (
        f"{known} of {len(verdicts)} comparisons with the paper are conclusive; {broken} of the {known} did not hold"
        in README
    )


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 120


@pytest.mark.parametrize("command", [command for command in TYPED if words(command)[:1] == ["make"]])
def test_a_make_command_of_the_documents_exists(command: str) -> None:
    targets = [word for word in words(command)[1:] if "=" not in word and not word.startswith("-")]
    assert set(targets) <= TARGETS


@pytest.mark.parametrize("command", [command for command in TYPED if words(command)[:1] == ["abel"]])
def test_an_abel_command_of_the_documents_parses(command: str) -> None:
    _parse(words(command)[1:])


def test_the_citation_names_the_version_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["title"] == PROJECT["project"]["name"]
    assert citation["version"] == PROJECT["project"]["version"]
    assert f"[{citation['version']}] - {citation['date-released']}" in (ROOT / "CHANGELOG.md").read_text()
    assert citation["references"][0]["title"] == "How to decay your learning rate"


def test_every_layer_ships_its_types() -> None:
    for layer in ("abel", "workers", "sweeps", "services"):
        assert (ROOT / layer / "py.typed").exists()
        assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"][layer]


def test_the_workflow_for_ci_calls_a_check_that_exists() -> None:
    workflow = yaml.safe_load((ROOT / "services" / "templates" / "check.yml").read_text())
    steps = workflow["jobs"]["check"]["steps"]
    commands = [
        words for step in steps for words in step.get("run", "").split("&&") if words.strip().startswith("abel ")
    ]
    for command in commands:
        _parse(shlex.split(command.partition(" > ")[0])[1:])
    assert [shlex.split(command)[1] for command in commands] == ["run", "baseline", "check"]
    assert "services/templates/check.yml" in (ROOT / "docs" / "how-to" / "gate.md").read_text()


@pytest.mark.parametrize("arguments", [["rnu"], ["run", "--no-such-option", "fig-s6a-digits"], ["report"]])
def test_a_command_that_does_not_exist_does_not_parse(arguments: list[str]) -> None:
    with pytest.raises(Exception, match=r"No such|Missing"):
        _parse(arguments)


def test_commands_are_read_out_of_blocks() -> None:
    text = r"""
```console
$ A=1 abel run x \
  --seeds 2 | tee log
output
```
```bash
# why
make test ARGS='-k x'
```
```yaml
a: b
```
"""
    assert [words(command) for command in commands(text)] == [
        ["abel", "run", "x", "--seeds", "2"],
        ["make", "test", "ARGS=-k x"],
    ]
