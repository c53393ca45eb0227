"""Tests for `services/cli/app.py`: what a person or a script sees, and that bad input starts and creates nothing."""

import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
from collections import namedtuple
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import yaml
from tfds_files import TfdsWriter, jpegs
from typer.testing import CliRunner, Result

from services.cli.app import app
from services.verbs import specs
from services.verbs.running import preflight
from sweeps.ledger.ledger import Ledger
from sweeps.spec.sweep import parse_spec
from workers.checkpoints import Checkpoints

Usage = namedtuple("Usage", "total used free")

SPEC = """
name: tiny
program:
  task: classify
  model: {kind: vgg5, width: 2, pools: [true, false, false, false]}
  data: {kind: digits, test: 1600}
  optimizer: sgd
  batch_size: 64
epochs: 4
seeds: [0, 1]
arms:
  constant:
    schedule: {kind: constant, learning_rate: 0.1}
  decay-at:
    schedule: {kind: decay_at, learning_rate: 0.1, decay_factor: 0.1}
    grid: {schedule.decay_epoch: [1, 2]}
"""

BAD_SPECS = {
    "unknown key": ("epochs: 4", "epochs: 4\nepoch: 4", "epoch: unknown key, did you mean 'epochs'"),
    "misspelt schedule": ("kind: constant", "kind: constnat", "did you mean 'constant'"),
    "rate that is no number": (
        "{kind: constant, learning_rate: 0.1}",
        "{kind: constant, learning_rate: .nan}",
        "got NaN",
    ),
    "negative rate": ("{kind: constant, learning_rate: 0.1}", "{kind: constant, learning_rate: -0.1}", "-0.1"),
    "decay factor of 1": ("decay_factor: 0.1", "decay_factor: 1.0", "must lie in (0, 1), got 1.0"),
    "decay beyond the end": ("[1, 2]", "[1, 9]", "must be less than epochs = 4"),
    "empty grid": ("[1, 2]", "[]", "decay_epoch"),
    "empty grid of fields": ("{schedule.decay_epoch: [1, 2]}", "{}", "must name at least one field"),
    "duplicate keys": ("epochs: 4", "epochs: 4\nepochs: 5", "epochs"),
    "huge grid": ("[1, 2]", "{range: [1, 1000000000], step: 1}", "limits.trials = 10,000"),
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("ABEL_DATA_DIR", "TFDS_DATA_DIR", "ABEL_TRACKING_URI", "MLFLOW_TRACKING_URI", "ABEL_LEDGER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ABEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "spec.yaml").write_text(SPEC)
    return tmp_path / "home"


def abel(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def refused(result: Result, home: Path) -> str:
    """Check that one error was told and nothing was created; returns it."""
    assert result.exit_code == 2, result.output
    assert result.stderr.count("error: ") == 1
    assert "Traceback" not in result.output
    assert not home.exists()
    return result.stderr


@pytest.mark.parametrize("command", ["validate", "plan", "run"])
@pytest.mark.parametrize("fault", BAD_SPECS)
def test_a_bad_spec_is_refused_with_its_fault(command: str, fault: str, home: Path) -> None:
    old, new, told = BAD_SPECS[fault]
    assert old in SPEC
    Path("spec.yaml").write_text(SPEC.replace(old, new))
    assert told in refused(abel(command, "spec.yaml"), home)


def test_every_fault_of_a_spec_is_told_at_once(home: Path) -> None:
    Path("spec.yaml").write_text(SPEC.replace("epochs: 4", "epochs: -4").replace("kind: vgg5", "kind: vgg6"))
    told = refused(abel("run", "spec.yaml"), home)
    assert "epochs: must be at least 1, got -4" in told
    assert "program.model.kind: unknown kind, did you mean 'vgg16'?" in told


def test_a_rate_in_exponent_form_is_a_number(home: Path) -> None:
    Path("spec.yaml").write_text(SPEC.replace("learning_rate: 0.1", "learning_rate: 1e-3"))
    assert abel("validate", "spec.yaml").exit_code == 0


@pytest.mark.parametrize(
    ("data", "options", "told"),
    [
        ("{kind: tfds, name: cifar10}", [], "a data directory must be given"),
        ("{kind: tfds, name: cifar10}", ["--data-dir", "/nowhere"], "does not exist"),
        ("{kind: tfds, name: cifar10}", ["--data-dir", "."], "is not prepared"),
        ("{kind: digits, test: 1790}", [], "batch"),
    ],
)
def test_data_that_cannot_be_used_is_refused_before_anything_starts(
    data: str, options: list[str], told: str, home: Path
) -> None:
    Path("spec.yaml").write_text(SPEC.replace("{kind: digits, test: 1600}", data))
    assert told in refused(abel("run", "spec.yaml", *options), home)


def test_one_spec_trains_on_resident_and_on_streamed_images(home: Path) -> None:
    writer = TfdsWriter(Path.cwd() / "tfds")
    features = {"image": writer.image(48, 48, 3, encoding="jpeg"), "label": writer.label(10)}
    same = jpegs(70, sides=(48, 49))
    writer.write("photos", {"train": same, "test": same[:20]}, features)
    for batch_size, stream in [(64, "false"), (64, "true, side: 32"), (71, "true, side: 32")]:
        data = f"{{kind: tfds, name: photos, stream: {stream}}}"
        spec = SPEC.replace("{kind: digits, test: 1600}", data).replace("batch_size: 64", f"batch_size: {batch_size}")
        Path("spec.yaml").write_text(spec)
        result = abel("plan", "spec.yaml", "--data-dir", "tfds", "--json")
        if batch_size > 70:
            assert "program.batch_size: must be at most the 70 training examples, got 71" in refused(result, home)
        else:
            assert "no epoch" in (told := json.loads(result.stdout))["basis"]
            assert "cannot be read" not in str(told["reason"])
    report = json.loads(abel("data", "check", "photos", "--data-dir", "tfds", "--json").stdout)
    assert (report["train_examples"], report["test_examples"], report["shape"]) == (70, 20, [48, 48, 3])


def test_a_set_that_is_not_image_classification_is_refused(home: Path) -> None:
    folder = Path("tfds/reviews/1.0.0")
    folder.mkdir(parents=True)
    split = {"name": "train", "numBytes": "1", "shardLengths": ["1"], "filepathTemplate": "{DATASET}-{SPLIT}"}
    info = {"fileFormat": "array_record", "name": "reviews", "version": "1.0.0", "splits": [split]}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    package = "tensorflow_datasets.core.features."
    text = {"pythonClassName": f"{package}text_feature.Text", "text": {}}
    tree = {"pythonClassName": f"{package}features_dict.FeaturesDict", "featuresDict": {"features": {"review": text}}}
    (folder / "features.json").write_text(json.dumps(tree))
    Path("spec.yaml").write_text(SPEC.replace("{kind: digits, test: 1600}", "{kind: tfds, name: reviews}"))
    told = refused(abel("run", "spec.yaml", "--data-dir", "tfds"), home)
    assert "reviews is not an image classification set" in told
    assert "got review: Text" in told


def test_a_full_disk_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 2**20))
    told = refused(abel("run", "spec.yaml"), home)
    assert f"{home}/checkpoints: needs 500 MB of free disk" in told
    assert "got 1.05 MB" in told


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("ABEL_TRACKING_URI", "mlruns", "ABEL_TRACKING_URI"),
        ("ABEL_LEDGER", "mysql://host/ledger", "ABEL_LEDGER"),
    ],
)
def test_bad_settings_are_refused(
    variable: str, value: str, told: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    assert told in refused(abel("run", "spec.yaml"), home)


@pytest.mark.parametrize(
    "arguments", [("status", "tiny"), ("report", "tiny"), ("run", "no-such"), ("catalog", "no-such")]
)
def test_unknown_names_are_refused(arguments: tuple[str, ...], home: Path) -> None:
    refused(abel(*arguments), home)


@pytest.mark.parametrize("seeds", ["a", "0,", "1.5", ""])
def test_seeds_must_be_whole_numbers(seeds: str, home: Path) -> None:
    result = abel("run", "spec.yaml", "--seeds", seeds)
    assert result.exit_code == 2
    assert "whole numbers" in result.stderr
    assert not home.exists()


def test_seeds_of_the_command_line_obey_the_rules_of_the_spec(home: Path) -> None:
    assert "differ" in refused(abel("run", "spec.yaml", "--seeds", "1,1"), home)


FAILURES = {
    "spec": (["validate", "no-such", "--json"], "no such file"),
    "operation": (["status", "tiny", "--json"], "must be one that was run here"),
    "usage": (["plan", "spec.yaml", "--workers", "none", "--json"], "--workers"),
    "data": (["data", "check", "cifar10", "--json"], "a data directory must be given"),
    "settings": (["status", "--json"], "ABEL_LEDGER"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_an_error_under_json_is_json(kind: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments, told = FAILURES[kind]
    if kind == "settings":
        monkeypatch.setenv("ABEL_LEDGER", "mysql://host/ledger")
    result = abel(*arguments)
    error = json.loads(result.stdout)["error"]
    assert (result.exit_code, error["exit_code"], error["kind"]) == (2, 2, kind)
    assert told in error["message"]
    assert told in result.stderr
    assert abel(*arguments[:-1]).stdout == ""


def test_a_bug_under_json_is_json_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(specs, "validate", lambda _: 1 // 0)
    result = abel("validate", "spec.yaml", "--json")
    error = json.loads(result.stdout)["error"]
    assert (result.exit_code, error["exit_code"], error["kind"]) == (1, 1, "internal")
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize("option", ["--workers", "--threads"])
def test_no_more_workers_or_threads_than_a_cluster_has(option: str, home: Path) -> None:
    result = abel("run", "spec.yaml", option, str(10**15))
    assert (result.exit_code, option in result.stderr, home.exists()) == (2, True, False)


def test_the_faults_of_a_spec_are_listed_in_json(home: Path) -> None:
    Path("spec.yaml").write_text(SPEC.replace("epochs: 4", "epochs: -4").replace("width: 2", "width: 0"))
    error = json.loads(abel("plan", "spec.yaml", "--json").stdout)["error"]
    assert error["faults"] == ["epochs: must be at least 1, got -4", "program.model.width: must be at least 1, got 0"]


def test_a_catalogue_entry_as_json_is_a_spec(home: Path) -> None:
    Path("entry.json").write_text(abel("catalog", "fig-s6a-digits", "--json").stdout)
    assert json.loads(Path("entry.json").read_text())["name"] == "fig-s6a-digits"
    assert abel("validate", "entry.json").exit_code == 0
    assert "error" in json.loads(abel("catalog", "no-such", "--json").stdout)


@pytest.mark.parametrize("place", ["kind: vgg5", "learning_rate: 0.1", "name: tiny", "optimizer: sgd", "epochs: 4"])
def test_an_error_stays_short_whatever_the_spec_holds(place: str, home: Path) -> None:
    for much in ("x" * 200_000, "[" + "1, " * 60_000 + "1]"):
        Path("spec.yaml").write_text(SPEC.replace(place, f"{place.partition(':')[0]}: {much}"))
        assert len(refused(abel("validate", "spec.yaml"), home)) < 2000
    Path("spec.yaml").write_text(
        SPEC.replace(place, f"{'k' * 200_000}: 1\n{place}" if place == "epochs: 4" else "x: 1")
    )
    assert len(refused(abel("validate", "spec.yaml"), home)) < 2000


def test_many_faults_are_bounded(home: Path) -> None:
    Path("spec.yaml").write_text(SPEC.replace("[0, 1]", str([-1] * 5000)))
    told = refused(abel("validate", "spec.yaml", "--json"), home)
    assert "5000 faults" in told and "… and 4950 more" in told
    assert len(told.splitlines()) < 60


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "{kind: digits, test: 1600}",
            "{kind: digit_pairs, train: 1000000000000000}",
            "program.data.train: must be at most",
        ),
        ("width: 2", "width: 1000000000", "program.model.width: must be at most 4,096, got 1000000000"),
        ("batch_size: 64", "batch_size: 1000000000000", "program.batch_size: must be at most 2,147,483,647"),
        ("batch_size: 64", "batch_size: 64\n  augment: {roll: 10000000}", "program.augment.roll: must be at most"),
    ],
)
def test_a_size_that_no_machine_can_hold_is_refused(old: str, new: str, told: str, home: Path) -> None:
    Path("spec.yaml").write_text(SPEC.replace(old, new))
    assert told in refused(abel("plan", "spec.yaml"), home)


def test_task_and_optimizer_need_not_be_named(home: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    short = SPEC.replace("  task: classify\n", "").replace("  optimizer: sgd\n", "")
    assert short.count("\n") == SPEC.count("\n") - 2
    momentum = SPEC.replace("optimizer: sgd", "optimizer: {momentum: 0.9}")
    schema = json.loads(abel("schema").stdout)
    for name, text in (("short.yaml", short), ("momentum.yaml", momentum)):
        Path(name).write_text(text)
        assert abel("validate", name).exit_code == 0
        jsonschema.validate(yaml.safe_load(text), schema)
    assert [trial.id for trial in parse_spec(short).expand()] == [trial.id for trial in parse_spec(SPEC).expand()]


def test_a_grid_reaches_below_a_bare_kind(home: Path) -> None:
    grid = "{program.optimizer.momentum: [0.0, 0.9]}"
    spec = parse_spec(SPEC.replace("{schedule.decay_epoch: [1, 2]}", "{schedule.decay_epoch: [1], " + grid[1:]))
    assert {trial.program.optimizer.momentum for trial in spec.expand()} == {0.0, 0.9}


COMPLETED = {  # what is completed, and what it may import of what takes long: to find the ledger takes its URL
    "abel run fig-s6a-d": (["fig-s6a-digits"], []),
    "abel catalog gate": (["gate-digits"], []),
    "abel status t": (["tiny"], ["sqlalchemy"]),
}


def completed(line: str) -> subprocess.CompletedProcess[str]:
    asked = {"_ABEL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    script = (
        "import atexit, sys; from services.cli.app import main; heavy = {'jax', 'ray', 'mlflow', 'sqlalchemy'}; "
        "atexit.register(lambda: print(sorted(sys.modules.keys() & heavy), file=sys.stderr)); main()"
    )
    return subprocess.run(
        [sys.executable, "-c", script], env=os.environ | asked, capture_output=True, text=True, check=False
    )


def test_the_shell_completes_names_and_never_complains(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = home.with_name("a?b#c%2Fd%20e f")  # each of which means something in a URL
    monkeypatch.setenv("ABEL_HOME", str(home))
    home.mkdir()
    with closing(sqlite3.connect(home / "ledger.db")) as ledger:
        ledger.execute("create table sweeps (id text, name text)")
        ledger.execute("insert into sweeps values ('1', 'tiny'), ('2', 'tiny'), ('3', 'other')")
        ledger.commit()
    for line, (names, imported) in COMPLETED.items():
        done = completed(line)
        assert (done.stdout.split(), done.stderr.strip()) == (names, str(imported)), line
    (home / "ledger.db").write_bytes(b"no ledger" * 1000)
    done = completed("abel status t")
    assert (done.stdout.split(), done.stderr.strip(), done.returncode) == ([], "['sqlalchemy']", 0)


def test_init_writes_a_spec_that_holds_and_never_overwrites(home: Path) -> None:
    assert abel("init", "mine.yaml").exit_code == 0
    assert abel("validate", "mine.yaml").exit_code == 0
    Path("mine.yaml").write_text("mine")
    assert "must not exist yet" in refused(abel("init", "mine.yaml"), home)
    assert Path("mine.yaml").read_text() == "mine"


def test_catalog_lists_entries_and_prints_one(home: Path) -> None:
    listed = abel("catalog", "--json")
    entries = json.loads(listed.stdout)
    assert {"fig-s6a", "fig-s6a-cifar10", "fig-s6a-digits"} <= {entry["name"] for entry in entries}
    assert all(entry["claim"] and entry["cost"] for entry in entries)
    assert yaml.safe_load(abel("catalog", "fig-s6a-digits").stdout)["name"] == "fig-s6a-digits"


def test_plan_tells_the_cost_and_creates_nothing(home: Path) -> None:
    result = abel("plan", "spec.yaml", "--json")
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    assert plan["trials"] == 6
    assert plan["epochs_naive"] == 24
    assert plan["epochs_shared"] == [18, 18]  # by seed: epoch 1 is shared by three, then 3, 3 and 2 new ones
    assert plan["reason"] == "no sweep was run here yet"
    assert not home.exists()


def test_plan_without_the_data_still_counts(home: Path) -> None:
    result = abel("plan", "fig-s6a-cifar10")
    assert result.exit_code == 0
    assert "data missing: cifar10: a data directory must be given" in " ".join(result.stdout.split())
    assert "recorded already unknown without the data" in " ".join(result.stdout.split())


def test_a_plan_counts_the_start_of_a_run(home: Path) -> None:
    Path("spec.yaml").write_text(SPEC + "epoch_seconds: 0.001\n")
    plan = json.loads(abel("plan", "spec.yaml", "--json").stdout)
    assert plan["seconds"][0] > plan["start_seconds"] >= 15
    assert plan["seconds"][1] < plan["start_seconds"] + 1


def test_status_of_a_new_home_is_empty_and_creates_nothing(home: Path) -> None:
    assert "No sweeps were run here yet" in abel("status").stdout
    assert json.loads(abel("status", "--json").stdout) == []
    assert not home.exists()


def test_gc_of_a_new_home_finds_nothing_and_creates_nothing(home: Path) -> None:
    assert "There are no checkpoints here" in abel("gc").stdout
    assert json.loads(abel("gc", "--json", "--dry-run").stdout) == {"dry_run": True, "groups": [], "freed": 0}
    assert not home.exists()


def test_gc_says_what_would_go_and_then_what_is_gone(home: Path) -> None:
    with closing(Ledger.open(f"sqlite:///{home}/ledger.db")):
        pass
    Checkpoints(home / "checkpoints").save("ab" * 32, 1, {"weights": np.zeros(1000)})
    told = abel("gc", "--dry-run").stdout
    assert re.search(r"would be removed +of no sweep +1 +[0-9.]+ kB", told)
    assert "Would free" in told
    assert (home / "checkpoints" / "ab" / ("ab" * 32)).exists()
    assert re.search(r"removed +of no sweep +1 ", done := abel("gc").stdout)
    assert "Freed" in done
    assert list((home / "checkpoints" / "ab").iterdir()) == []


def test_the_schema_accepts_the_catalogue(home: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(abel("schema").stdout)
    jsonschema.validate(yaml.safe_load(abel("catalog", "fig-s6a-digits").stdout), schema)


def test_data_check_reads_a_set_and_data_list_names_sources(home: Path) -> None:
    report = json.loads(abel("data", "check", "digits", "--json").stdout)
    assert (report["train_examples"], report["test_examples"], report["classes"]) == (1297, 500, 10)
    assert set(json.loads(abel("data", "list", "--json").stdout)["kinds"]) >= {"digits", "digit_pairs", "tfds"}
    assert "a data directory must be given" in refused(abel("data", "check", "cifar10"), home)
    assert "--data-dir" in refused(abel("data", "prepare", "cifar10"), home)


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from services.cli.app import app; "
        "sys.exit(', '.join(sys.modules.keys() & {'jax', 'ray', 'mlflow', 'sqlalchemy', 'pandas', 'matplotlib'}) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command", ["catalog", "init", "validate", "plan", "run", "status", "gc", "report", "ui", "schema", "data"]
)
def test_help_teaches(command: str) -> None:
    result = abel(command, "--help")
    assert result.exit_code == 0
    assert command == "data" or "Example: abel" in result.stdout


def test_version() -> None:
    assert abel("--version").stdout.startswith("abel 0.")


def test_ui_refuses_a_port_that_is_taken_and_names_a_free_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABEL_HOME", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = CliRunner().invoke(app, ["ui", "--port", str(port)])
        assert done.exit_code == 2
        said = " ".join(done.output.split())
        assert f"--port: must be a free port of 127.0.0.1, got {port} (Address already in use)" in said
        offered = int(re.search(r"`abel ui --port (\d+)`", said)[1])
        assert offered != port
        socket.create_server(("127.0.0.1", offered)).close()
    assert "Starting" not in done.output


def test_an_end_with_a_text_is_a_failure() -> None:
    script = (
        "import sys; from services.cli import app as cli\n"
        "for end in (None, 3, 'no such thing'):\n"
        "    cli.app = lambda end=end, **_: sys.exit(end)\n"
        "    try: cli.main()\n"
        "    except SystemExit as ended: print(ended.code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout.split(), done.stderr.strip()) == (["0", "3", "1"], "no such thing")
