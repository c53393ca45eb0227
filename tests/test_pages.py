"""The commands and the code of every page work.

Where a page runs a sweep, its test runs a small one of the same name, trained once for all pages, without Ray.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from pages import PAGES, ROOT, SHELLS, Block, blocks, commands, typed, words
from typer.testing import CliRunner

from services import serving
from services.cli.app import app
from services.settings import Settings
from services.verbs import run as runs
from services.verbs import specs, ui
from services.verbs.running import placing
from sweeps.ledger.ledger import Ledger
from sweeps.ledger.records import SweepStatus
from sweeps.run.frontier import Frontier
from sweeps.spec.programs import forget, program_from_dict
from sweeps.spec.sweep import SweepSpec, load_spec, parse_document
from workers.cohort import train
from workers.config import Program, to_dict
from workers.trajectory import Identity
from workers.workshop import Workshop

SWEEPS = ("fig-s6a-digits", "gate-digits")  # that the pages run out of the catalogue
OWN = "my-sweep"  # what they write with `abel init`

# It learns in two epochs: `abel check` does not judge an arm near chance.
PROGRAM = program_from_dict(
    {
        "task": "classify",
        "model": {"kind": "small_cnn", "width": 4},
        "data": {"kind": "digits", "test": 1397},
        "optimizer": "sgd",
        "batch_size": 20,
    }
)


def small(spec: SweepSpec) -> SweepSpec:
    """The sweep with a tiny program, three epochs and two seeds."""
    document = spec.to_dict()
    arms = document["arms"]
    for arm in arms.values():
        arm.pop("epochs", None)
        arm["grid"] = {
            axis: [1, 2] if axis.endswith("epoch") else values for axis, values in arm.get("grid", {}).items()
        }
        if not arm["grid"]:
            del arm["grid"]
    return parse_document(document | {"program": to_dict(PROGRAM), "epochs": 3, "seeds": [0, 1]})


Trained = tuple[Path, Mapping[str, SweepSpec], Mapping[Program, Identity]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A home in which the small sweeps have finished."""
    home, template = tmp_path_factory.mktemp("home") / "abel", tmp_path_factory.mktemp("spec") / f"{OWN}.yaml"
    specs.write_template(template)
    sweeps = {name: small(load_spec(name)) for name in SWEEPS} | {OWN: small(load_spec(template))}
    settings = Settings.from_env({"ABEL_HOME": str(home)}).prepare()
    workshop = Workshop(checkpoints=settings.checkpoints, data_dir=None)
    identities = {PROGRAM: workshop.identity(PROGRAM)}
    with closing(Ledger.open(settings.ledger_url)) as ledger:
        for spec in sweeps.values():
            sweep_id = ledger.create_sweep(spec.name, spec.to_dict(), spec.expand(), identities)
            invocation = ledger.begin_invocation(sweep_id)
            frontier = Frontier(ledger, sweep_id, invocation, sharing=True)
            frontier.open(spec.expand(), identities)
            while taken := frontier.take():
                number, cohort = taken
                with closing(train(cohort, workshop)) as reports:
                    for report in reports:
                        frontier.hear(number, [report])
            ledger.end_invocation(sweep_id, invocation, SweepStatus.FINISHED)
    return home, sweeps, identities


class Reader:
    """Follows a page: writes its files and types its commands, in a folder of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def follow(self, block: Block) -> None:
        if block.needs:
            return
        if block.kind in SHELLS:
            for command in typed(block):
                self.type(command)
        elif block.title:
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.text)

    def type(self, command: str) -> None:
        match words(command):
            case ["abel", *arguments]:
                done = CliRunner().invoke(app, [os.path.expanduser(argument) for argument in arguments])
                assert done.exit_code == 0, f"{command}\n{done.output}\n{done.exception!r}"
                if written := re.search(r" > (\S+)", command):
                    Path(written[1]).write_text(done.stdout)
            case ["pip", "install", "--editable", "."]:
                self._install()
            case ["make", *_] | ["source", ".venv/bin/activate"] | ["pre-commit", *_]:
                pass  # test_project.py: the target exists; `make test` and .ci/run have made it
            case _:
                subprocess.run(["bash", "-euc", command], check=True, timeout=60)

    def _install(self) -> None:
        """What pip would leave of a package: its entry points, and its folder on the path."""
        project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
        info = Path(f"{project['name'].replace('-', '_')}-{project['version']}.dist-info")
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        points = [
            f"[{group}]\n{name} = {place}\n"
            for group, each in project["entry-points"].items()
            for name, place in each.items()
        ]
        (info / "entry_points.txt").write_text("".join(points))
        self._monkeypatch.syspath_prepend(str(Path.cwd()))
        self._monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))  # for the process that looks at the data
        forget()


@pytest.fixture
def reader(trained: Trained, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    home, sweeps, identities = trained
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ABEL_HOME")
    shutil.copytree(home, ".abel")
    shutil.copy(empty_store, ".abel/mlflow.db")
    run, look, requested = runs.run, placing.place, specs.requested

    def small_run(settings: Settings, request: Any, **how: Any) -> Any:
        spec = sweeps[Path(request.spec).stem]
        assert requested(request).name == spec.name  # the spec that was asked for can be read
        with monkeypatch.context() as patch:
            patch.setattr(specs, "requested", lambda _: spec)
            return run(settings, request, **how)

    def known(settings: Settings, request: Any, spec: SweepSpec, **how: Any) -> Any:
        programs = {trial.program for trial in spec.expand()}
        if not programs <= identities.keys():
            return look(settings, request, spec, **how)
        return placing.Placement(identities=identities, options=placing.options(settings, request, spec))

    monkeypatch.setattr(runs, "run", small_run)
    monkeypatch.setattr(placing, "place", known)
    monkeypatch.setattr(serving, "serve", lambda *_: 0)  # until Ctrl-C
    monkeypatch.setattr(ui, "_ensure_free", lambda _: None)
    yield Reader(monkeypatch)
    forget()
    for name in [name for name in sys.modules if name.startswith(("my_package", "my_data"))]:
        del sys.modules[name]


README = ROOT / "README.md"
FOLLOWED = [page for page in PAGES if page != README and any(b.kind in SHELLS for b in blocks(page.read_text()))]


@pytest.mark.slow
@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.stem)
def test_the_commands_of_a_page_work(page: Path, reader: Reader) -> None:
    for block in blocks(page.read_text()):
        reader.follow(block)


def test_the_commands_of_the_readme_are_those_of_other_pages() -> None:
    ran = [block for page in FOLLOWED for block in blocks(page.read_text()) if block.kind in SHELLS and not block.needs]
    known = [words(command) for block in ran for command in typed(block)]
    asked = [words(command) for command in commands(README.read_text())]
    assert [command for command in asked if command[0] == "abel" and command not in known] == []


def test_blocks_that_are_not_run_say_what_they_need() -> None:
    needs = {block.needs for page in PAGES for block in blocks(page.read_text()) if block.needs}
    elsewhere = {"a network", "a cluster", "a bucket", "a running sweep", "a service", "a Kubernetes cluster"}
    assert needs == elsewhere | {"Docker", "Docker and a registry", "a sweep with faults", "the texts of GLUE"}
    fences = sum(page.read_text().count("\n```") for page in PAGES)
    assert fences == 2 * sum(len(blocks(page.read_text())) for page in PAGES)


PIECES = [
    (page.stem, block.text)
    for page in PAGES
    for block in blocks(page.read_text())
    if (block.kind, block.title) == ("yaml", "")
]


@pytest.mark.parametrize(
    "piece", [text for _, text in PIECES], ids=[f"{page}-{text.split()[0]}" for page, text in PIECES]
)
def test_a_piece_of_a_spec_fits_into_one(piece: str) -> None:
    part = yaml.safe_load(piece)
    given = part.pop("program", {})
    task = given.get("task", "classify")
    ours = (task if isinstance(task, str) else task["kind"]) == "classify"
    program = (to_dict(PROGRAM) if ours else {"optimizer": "adam", "batch_size": 8192}) | given
    whole = {"name": "piece", "program": program, "epochs": 40, "seeds": [0]}
    arms = {"abel": {"schedule": {"kind": "abel", "learning_rate": 0.1, "decay_factor": 0.1}}}
    assert parse_document({"arms": arms} | whole | part).expand()


def test_the_fault_that_the_tutorial_shows_is_what_the_command_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    text = specs.catalog_text("fig-s6a-digits").replace(
        "kind: abel, learning_rate: 0.1, decay_factor: 0.1", "kind: abel, learning_rate: 0.1, decay_factor: 1.5"
    )
    Path("my-sweep.yaml").write_text(text)
    (shown,) = [b.text for b in blocks((ROOT / "docs" / "tutorial.md").read_text()) if b.text.startswith("error:")]
    assert CliRunner().invoke(app, ["validate", "my-sweep.yaml"]).stderr.strip() == shown.strip()


def test_numbers_of_sharing_are_those_of_the_measurements() -> None:
    results = (ROOT / "bench" / "RESULTS.md").read_text()
    rows = re.findall(
        r"^\| `(\S+)` \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", (ROOT / "docs/explanation/sharing.md").read_text(), re.M
    )
    assert len(rows) == 4
    for _, *numbers in rows:
        assert all(re.search(rf"\b{number}\b", results) for number in numbers)
