"""Homes as users have them, through the command: of any name, read-only, with a damaged tracking store or none of ours."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlencode

import pytest
from stories import Story
from typer.testing import CliRunner, Result

from services.cli.app import app
from services.settings import Settings
from services.verbs.running import preflight
from sweeps.ledger.ledger import Ledger

pytestmark = pytest.mark.slow

NAME = "job%2Fmain a?x#y;z@ü\nn'"


@pytest.fixture
def home(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "jobs" / NAME
    monkeypatch.setenv("ABEL_HOME", str(place))
    monkeypatch.setenv("COLUMNS", "400")
    Settings.from_env().prepare()
    shutil.copy(empty_store, place / "mlflow.db")
    return place


@pytest.fixture
def told(home: Path, story: Story) -> Iterator[Story]:
    """A finished sweep in that home, which the tracking store shows."""
    with closing(Ledger.open(Settings.from_env().ledger_url)) as ledger:
        story.ledger, story.seeds, story.decays, story.epochs = ledger, 1, (2,), 4
        story.begin().tell().end()
        assert done(abel("track", story.name)).exit_code == 0
        yield story


def abel(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def done(result: Result) -> Result:
    assert result.exit_code == 0, result.output
    return result


def refused(result: Result) -> str:
    assert result.exit_code == 2, result.output
    assert result.stderr.count("error: ") == 1
    return result.stderr


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Root may write wherever a mode forbids it, so the folder is mounted over itself."""
    mounts = [["mount", "--bind", str(folder), str(folder)], ["mount", "-o", "remount,ro,bind", str(folder)]]
    if any(subprocess.run(command, capture_output=True, check=False).returncode for command in mounts):
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)
        pytest.skip("mounting a folder read-only needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_everything_lies_in_a_home_of_any_name(home: Path, told: Story, free_port: Callable[[], int]) -> None:
    files = json.loads(done(abel("report", told.name, "--json")).stdout)["files"]
    assert all(Path(file).is_relative_to(home / "reports") for file in files)
    assert [place.name for place in home.parent.iterdir()] == [NAME]
    made = {path.name: path for path in home.rglob("*") if path.name not in ("mlflow.db", "reports")}
    assert {"ledger.db", "spec.yaml", "index.html"} <= made.keys()
    assert {path.stat().st_mode & 0o077 for path in made.values()} == {0}

    from services.verbs.ui import ui

    port = free_port()
    server = ui(Settings.from_env(), port, told.name)
    assert server.command is not None
    process = subprocess.Popen(
        server.command, env=os.environ | server.environment, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        (run,) = [path.parent.parent.name for path in home.rglob("spec.yaml")]
        query = urlencode({"path": "spec.yaml", "run_uuid": run})
        assert told.name in fetched(f"http://127.0.0.1:{port}/get-artifact?{query}")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert [place.name for place in home.parent.iterdir()] == [NAME]


def fetched(url: str) -> str:
    until = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return str(answer.read().decode())
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.2)


def test_a_password_of_the_store_is_not_on_the_command_line_of_its_server(tmp_path: Path) -> None:
    from services.verbs.ui import ui

    environ = {"ABEL_HOME": str(tmp_path), "ABEL_TRACKING_URI": "postgresql://u:SEC/RET@127.0.0.1:1/d"}
    server = ui(Settings.from_env(environ), 5000, None)
    assert server.command is not None and "RET" not in " ".join(server.command)
    assert server.environment["MLFLOW_BACKEND_STORE_URI"].startswith("postgresql://u:SEC")


def test_a_read_only_home_is_read(home: Path, told: Story, tmp_path: Path) -> None:
    told.ledger.close()
    assert not (home / "ledger.db-wal").exists()
    with read_only(home):
        assert "finished" in done(abel("status", told.name)).stdout
        assert "Read-only file system; --out writes the report to another folder" in refused(abel("report", told.name))
        written = done(abel("report", told.name, "--out", str(tmp_path / "out")))
        assert (tmp_path / "out" / "index.html").exists()
        assert "The files are not attached to the sweep's MLflow run" in written.stdout
        with pytest.raises(preflight.PreflightError, match="is on a read-only file system"):
            preflight.check_home(home)
    with closing(Ledger.open(Settings.from_env().ledger_url)) as ledger:
        ledger.use_sweep(told.sweep_id)
        assert (home / "ledger.db-wal").stat().st_size
        with read_only(home):
            assert told.name in done(abel("status")).stdout


def test_a_home_of_somebody_else_is_refused_with_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    tmp_path.chmod(0o755)
    with pytest.raises(preflight.PreflightError, match="belongs to user [0-9]+ with mode drwxr-xr-x, and this is user"):
        preflight.check_home(tmp_path)


def test_a_damaged_tracking_store_is_named_with_its_cure(home: Path, told: Story, tmp_path: Path) -> None:
    store = home / "mlflow.db"
    store.write_bytes(store.read_bytes()[:40000])
    cure = "then `abel track --all --rebuild` recreates it from the ledger"
    reported = done(abel("report", told.name, "--out", str(tmp_path / "out"))).output  # from the ledger, without links
    refusal = refused(abel("ui", "--port", "1", "--sweep", told.name))
    for said in (" ".join(reported.split()), refusal):
        assert "is damaged (database disk image is malformed); move " in said and cure in said
        assert "SELECT" not in said and "brings it there" not in said
    told.resume().end()
    result = abel("track", told.name)
    assert result.exit_code == 1 and cure in result.output and "SELECT" not in result.output
    store.unlink()
    rebuild = [sys.executable, "-m", "services.cli", "track", "--all", "--rebuild"]
    subprocess.run(rebuild, check=True, timeout=120)  # a process of its own: MLflow keeps connections to the old file
    with closing(sqlite3.connect(store)) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (4,)


def test_a_damaged_store_ends_the_projector_beside_a_run_at_once(home: Path, told: Story) -> None:
    (home / "mlflow.db").write_bytes(b"no database" * 500)
    told.resume()  # a sweep that runs, so that the projector would wait for more
    command = [sys.executable, "-m", "services.tracking.uploading", "--sweep", told.sweep_id]
    command += ["--artifacts", str(home / "artifacts"), "--follow"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 3, ended.stderr
    assert "is damaged (file is not a database); move" in ended.stderr and "Traceback" not in ended.stderr


def test_the_environment_of_another_system_stops_only_what_needs_a_store(
    told: Story, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "databricks")
    for arguments in (("status",), ("status", told.name), ("gc", "--dry-run"), ("cancel", told.name), ("data", "list")):
        done(abel(*arguments))
    assert "MLFLOW_TRACKING_URI: must be a database" in refused(abel("ui"))
    assert "MLFLOW_TRACKING_URI: must be a database" in refused(abel("track", told.name))
    monkeypatch.setenv("ABEL_LEDGER", "mysql://h/d")
    monkeypatch.setenv("ABEL_HOME", "~no-such-user")
    for arguments in (("data", "list"), ("catalog",), ("init", str(tmp_path / "new.yaml"))):
        done(abel(*arguments))
    assert "ABEL_LEDGER: must be" in refused(abel("status"))


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (("plan", "/dev/zero"), "/dev/zero: must be a regular file, got a device"),
        (("plan", "a\0b"), r"'a\x00b': must not contain a NUL character"),
        (("validate", "~no-such-user/x"), "must begin with the home directory of a known user"),
        (("check", "x", "--baseline", "/dev/zero"), "baseline /dev/zero: must be a regular file, got a device"),
        (("check", "x", "--baseline", "n" * 300), "File name too long"),
        (("init", "~no-such-user/x"), "must begin with the home directory of a known user"),
        (("data", "list", "--data-dir", "n" * 300), "--data-dir: must be an accessible path"),
        (("plan", "fig-s6a", "--data-dir", "~no-such-user"), "--data-dir: must begin with the home directory"),
    ],
)
def test_a_path_that_cannot_be_used_is_refused(arguments: tuple[str, ...], rule: str, home: Path) -> None:
    assert rule in refused(abel(*arguments))


def test_a_user_without_a_home_reaches_the_store(told: Story) -> None:
    """As in a container that runs as a number; of root's rights this one keeps what the test's files need."""
    told.ledger.close()
    rights = "+dac_override,+dac_read_search"
    number = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups"]
    number += ["--inh-caps", rights, "--ambient-caps", rights, "env", "-u", "HOME"]
    if subprocess.run([*number, "true"], capture_output=True, check=False).returncode:
        pytest.skip("running as another user needs root")
    track = [*number, sys.executable, "-m", "services.cli", "track", told.name]
    ended = subprocess.run(track, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, home: Path) -> None:
    os.mkfifo(tmp_path / "spec.yaml")
    assert "must be a regular file, got a pipe" in refused(abel("plan", str(tmp_path / "spec.yaml")))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("name", ["spec.json", "spec.yaml"])
def test_a_spec_may_have_a_byte_order_mark(encoding: str, name: str, tmp_path: Path) -> None:
    from sweeps.spec.sweep import load_spec

    text = json.dumps(load_spec("fig-s6a-digits").to_dict())
    (tmp_path / name).write_bytes(text.encode(encoding))
    done(abel("validate", str(tmp_path / name)))


def test_an_old_target_with_a_password_is_renamed(told: Story) -> None:
    from services.tracking.mirror import Mirror
    from services.tracking.store import Store

    store = Store("postgresql://u:SEC/RET@h/d", Path("artifacts"))
    assert store.former_target == "postgresql://u:SEC/RET@h/d"
    told.ledger.save_tracking_offset(told.sweep_id, store.former_target, 7)
    Mirror(told.ledger, told.sweep_id, store)
    assert told.ledger.tracking_offset(told.sweep_id, "postgresql://h/d") == 7
    assert told.ledger.tracking_offset(told.sweep_id, store.former_target) == 0
