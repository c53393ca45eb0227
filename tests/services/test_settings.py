"""Tests for `services/settings.py`."""

import os
from pathlib import Path

import pytest

from services.settings import Settings, SettingsError
from sweeps.ledger.ledger import Ledger
from sweeps.urls import sqlite_file, without_credentials


def test_defaults_lie_under_the_home_and_nothing_is_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_env({})
    home = tmp_path / ".abel"
    assert settings.home == home
    assert settings.ledger_url == f"sqlite:///{home}/ledger.db"
    assert without_credentials(settings.tracking_uri) == f"sqlite:///{home}/mlflow.db"
    assert settings.artifacts == home / "artifacts"
    assert settings.checkpoints == home / "checkpoints"
    assert settings.cache == home / "cache"
    assert settings.data_dir is None
    assert settings.ray_address is None
    assert not home.exists()


def test_own_variables_come_before_those_of_others(tmp_path: Path) -> None:
    settings = Settings.from_env(
        {
            "ABEL_HOME": str(tmp_path),
            "ABEL_TRACKING_URI": "http://tracking.example:5000/",
            "MLFLOW_TRACKING_URI": "sqlite:///other.db",
            "ABEL_DATA_DIR": "",
            "TFDS_DATA_DIR": "~/tfds",
            "ABEL_RAY_ADDRESS": "ray://head:10001",
        }
    )
    assert settings.tracking_uri == "http://tracking.example:5000"
    assert settings.data_dir == Path.home() / "tfds"
    assert settings.ray_address == "ray://head:10001"


def test_several_homes_may_share_compiled_programs(tmp_path: Path) -> None:
    settings = [
        Settings.from_env({"ABEL_HOME": str(tmp_path / home), "ABEL_CACHE_DIR": str(tmp_path / "compiled")}).prepare()
        for home in "ab"
    ]
    assert {setting.cache for setting in settings} == {tmp_path / "compiled"}
    assert (tmp_path / "compiled").stat().st_mode & 0o777 == 0o700
    with pytest.raises(SettingsError, match="^ABEL_CACHE_DIR: cannot create /proc/compiled: "):
        Settings.from_env({"ABEL_HOME": str(tmp_path), "ABEL_CACHE_DIR": "/proc/compiled"}).prepare()


def test_checkpoints_and_reports_may_lie_elsewhere(tmp_path: Path) -> None:
    home = {"ABEL_HOME": str(tmp_path / "home")}
    usual = Settings.from_env(home)
    assert (usual.store, usual.checkpoints, usual.reports) == (None, usual.home / "checkpoints", usual.home / "reports")
    folder = Settings.from_env(home | {"ABEL_STORE": str(tmp_path / "shared")}).prepare()
    assert folder.store is None
    assert folder.checkpoints == tmp_path / "shared" / "checkpoints"
    assert folder.reports == tmp_path / "shared" / "reports"
    remote = Settings.from_env(home | {"ABEL_STORE": "s3://lab.sweeps/of_mine/"})
    assert remote.store == "s3://lab.sweeps/of_mine"
    assert remote.checkpoints == remote.cache / "checkpoints"


def test_relative_database_files_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_env({"ABEL_LEDGER": "sqlite:///a/l.db", "MLFLOW_TRACKING_URI": "sqlite:///m.db?timeout=5"})
    assert settings.ledger_url == f"sqlite:///{tmp_path}/a/l.db"
    assert settings.tracking_uri == f"sqlite+pysqlite:///{tmp_path}/m.db?timeout=5"


def test_a_ledger_may_be_on_a_server() -> None:
    url = "postgresql://u:secret@h:5433/db?sslmode=require"
    assert Settings.from_env({"ABEL_LEDGER": url}).ledger_url == url


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"ABEL_LEDGER": "mysql://u:secret@h/db"}, r"ABEL_LEDGER: must be an sqlite:///.*got 'mysql://h/db'"),
        ({"ABEL_LEDGER": "postgresql://u:secret@h"}, r"ABEL_LEDGER: must name a database.*got 'postgresql://h'"),
        ({"ABEL_CACHE_DIR": __file__}, "ABEL_CACHE_DIR: must be a directory, got the file /"),
        ({"ABEL_LEDGER": "ledger.db"}, "ABEL_LEDGER: must be an sqlite:///"),
        ({"ABEL_LEDGER": "sqlite://"}, "ABEL_LEDGER: must name a file"),
        ({"ABEL_TRACKING_URI": "sqlite:///:memory:"}, "ABEL_TRACKING_URI: must name a file"),
        ({"ABEL_TRACKING_URI": "mlruns"}, "ABEL_TRACKING_URI: must be a database .* got 'mlruns'"),
        ({"MLFLOW_TRACKING_URI": "file:///mlruns"}, "MLFLOW_TRACKING_URI: must be .*migrate-filestore"),
        ({"MLFLOW_TRACKING_URI": "http://"}, "MLFLOW_TRACKING_URI: must name a host"),
        ({"ABEL_TRACKING_URI": "http://user:SECRET"}, "must be a URL with a valid host and port, got 'http://…'"),
        ({"ABEL_TRACKING_URI": "http://user:SECRET@"}, "must name a host.*got 'http://…'"),
        (
            {"ABEL_LEDGER": "postgresql://u:s@cret@h/d"},
            "ABEL_LEDGER: must percent-encode the characters @ : .*'postgresql://…'",
        ),
        ({"ABEL_LEDGER": "sqlite:///file:x?mode=memory&uri=true"}, "ABEL_LEDGER: must name a file"),
        ({"ABEL_LEDGER": "sqlite:///a%00b"}, "ABEL_LEDGER: must not contain a NUL character"),
        ({"ABEL_RAY_LABELS": "pool=train, A100"}, "ABEL_RAY_LABELS: must be Ray labels, .*got 'A100'"),
        ({"ABEL_COHORTS_PER_TUNER": "0"}, "ABEL_COHORTS_PER_TUNER: must be a whole number from 1 .* got '0'"),
        ({"ABEL_RAY_LABELS": "pool=a b"}, "ABEL_RAY_LABELS: must be Ray labels, .*got 'pool=a b'"),
        (
            {"ABEL_NOTIFY_URL": "https://u:1/secret@h"},
            "ABEL_NOTIFY_URL: must percent-encode the characters .*got 'https://…'",
        ),
        ({"ABEL_MLFLOW_URL": "mlflow:5000"}, "ABEL_MLFLOW_URL: must be an http:// or https:// URL with a host, got"),
        ({"ABEL_MLFLOW_URL": "http://"}, "ABEL_MLFLOW_URL: must be an http:// .*got 'http://'"),
        ({"ABEL_MLFLOW_URL": "https://me:hush@h"}, "ABEL_MLFLOW_URL: .*without user, query .*got 'https://h'"),
        ({"ABEL_MLFLOW_URL": "https://h/?token=hush"}, "ABEL_MLFLOW_URL: .*without user, query .*got 'https://h/'"),
        (
            {"ABEL_STORE": "ftp://bucket/sweeps"},
            r"ABEL_STORE: must be a folder or a URL as s3://.*got 'ftp://bucket/sweeps'",
        ),
        ({"ABEL_STORE": "s3:///sweeps"}, "ABEL_STORE: must be a folder or a URL as s3://bucket/prefix"),
        ({"ABEL_STORE": "s3://key:hush@bucket/sweeps"}, r"ABEL_STORE: .*without credentials.*got 's3://bucket/sweeps'"),
        ({"ABEL_STORE": "gs://bucket/sweeps?token=hush"}, r"ABEL_STORE: .*query, got 'gs://bucket/sweeps'"),
    ],
)
def test_what_must_not_be_is_refused_with_its_name_rule_and_value(environ: dict[str, str], message: str) -> None:
    settings = Settings.from_env(environ)
    with pytest.raises(SettingsError, match=message):
        settings.check(
            *("home", "ledger_url", "tracking_uri", "data_dir", "cache_dir", "notify_url", "store", "ray_labels"),
            *("cohorts_per_tuner", "mlflow_url"),
        )


def test_a_site_has_no_slash_at_its_end() -> None:
    assert Settings.from_env({"ABEL_MLFLOW_URL": " https://h:5000/mlflow/ "}).mlflow_url == "https://h:5000/mlflow"
    assert Settings.from_env({}).mlflow_url is None


def test_labels_of_nodes_are_pairs() -> None:
    given = {"ABEL_RAY_LABELS": "pool=train, ray.io/accelerator-type=A100,"}
    assert Settings.from_env(given).ray_labels == {"pool": "train", "ray.io/accelerator-type": "A100"}
    assert not Settings.from_env({}).ray_labels


def test_a_wrong_variable_matters_only_where_it_is_used(tmp_path: Path) -> None:
    settings = Settings.from_env(
        {"ABEL_HOME": str(tmp_path), "MLFLOW_TRACKING_URI": "databricks", "ABEL_DATA_DIR": "\0"}
    )
    settings.check("home", "ledger_url", "notify_url")
    assert settings.home == tmp_path
    with pytest.raises(SettingsError, match="MLFLOW_TRACKING_URI: must be a database"):
        settings.check("tracking_uri")
    with pytest.raises(SettingsError, match=r"ABEL_DATA_DIR: must not contain a NUL character, got '\\x00'"):
        settings.check("data_dir")


def test_a_home_of_any_name_holds_its_databases(tmp_path: Path) -> None:
    for name in ("job%2Fmain", "a%20b", "q?x=1", "h#y", "s;t", "at@x", " sp ace ", "ünï", "new\nline", "100%", "[b]:c"):
        settings = Settings.from_env({"ABEL_HOME": str(tmp_path / name)})
        assert sqlite_file(settings.ledger_url) == tmp_path / name / "ledger.db"
        assert sqlite_file(settings.tracking_uri) == tmp_path / name / "mlflow.db"
        given = Settings.from_env({"ABEL_LEDGER": settings.ledger_url, "ABEL_TRACKING_URI": settings.tracking_uri})
        assert (given.ledger_url, given.tracking_uri) == (settings.ledger_url, settings.tracking_uri)


@pytest.mark.parametrize(
    ("home", "rule"),
    [
        ("~no-such-user/x", "must begin with the home directory of a known user, got '~no-such-user/x'"),
        ("n" * 300, r"must be an accessible path, got '.*…: File name too long"),
        ("n/" * 3000, r"must be an accessible path, got '.*…: File name too long"),
        ("loop/x", "must be an accessible path, got .*: Too many levels of symbolic links"),
        ("dangling", "must not lead through a broken link, got .*dangling -> nowhere"),
        ("dangling/x", "must not lead through a broken link, got .*dangling -> nowhere"),
        ("file/x", "must be below a directory, but .*/file is a file"),
        ("a\0b", r"must not contain a NUL character, got 'a\\x00b'"),
        ("a\udcff", r"must be Unicode text, got 'a\\udcff'"),
    ],
)
def test_a_home_that_leads_nowhere_is_refused(
    home: str, rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dangling").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    Path("file").touch()
    for variable, names in (("ABEL_HOME", ("home", "ledger_url")), ("ABEL_DATA_DIR", ("data_dir",))):
        for name in names:
            with pytest.raises(SettingsError, match=f"{variable}: {rule}"):
                Settings.from_env({variable: home}).check(name)


def test_a_relative_home_needs_a_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SettingsError, match=r"must be absolute, as the working directory is gone, got '\.abel'"):
        Settings.from_env({}).check("home")
    assert Settings.from_env({"ABEL_HOME": str(tmp_path)}).home == tmp_path


def test_a_home_needs_no_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs as a number."""

    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(SettingsError, match="must begin with the home directory of a known user, got '~/x'"):
        Settings.from_env({"ABEL_HOME": "~/x"}).check("home")
    assert Settings.from_env({"ABEL_HOME": "/x"}).home == Path("/x")


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_a_new_home_is_its_owners_alone(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        settings = Settings.from_env({"ABEL_HOME": str(tmp_path / "home")}).prepare()
        Ledger.open(settings.ledger_url).close()
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in settings.home.rglob("*") if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in [settings.home, *settings.home.iterdir()] if path.is_dir()} == {
        0o700
    }


def test_a_home_keeps_the_mode_that_its_owner_gave_it(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(0o750)
    settings = Settings.from_env({"ABEL_HOME": str(tmp_path / "home")}).prepare()
    assert settings.home.stat().st_mode & 0o777 == 0o750


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="ABEL_HOME: must be a directory"):
        Settings.from_env({"ABEL_HOME": str(tmp_path / "file")}).check("home")


def test_prepare_makes_the_folders(tmp_path: Path) -> None:
    settings = Settings.from_env({"ABEL_HOME": str(tmp_path / "home")}).prepare()
    assert settings.prepare().checkpoints.is_dir()
