"""Tests for `services/settings.py`."""

from pathlib import Path

import pytest

from services.settings import Settings, SettingsError, is_server, without_credentials


def test_defaults_lie_under_the_home_and_nothing_is_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_env({})
    home = tmp_path / ".abel"
    assert settings.home == home
    assert settings.ledger_url == f"sqlite:///{home}/ledger.db"
    assert settings.tracking_uri == f"sqlite:///{home}/mlflow.db"
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


def test_relative_database_files_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_env({"ABEL_LEDGER": "sqlite:///a/l.db", "MLFLOW_TRACKING_URI": "sqlite:///m.db?timeout=5"})
    assert settings.ledger_url == f"sqlite:///{tmp_path}/a/l.db"
    assert settings.tracking_uri == f"sqlite:///{tmp_path}/m.db?timeout=5"


def test_a_ledger_may_be_on_a_server() -> None:
    url = "postgresql://u:secret@h:5433/db?sslmode=require"
    assert Settings.from_env({"ABEL_LEDGER": url}).ledger_url == url


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"ABEL_LEDGER": "mysql://u:secret@h/db"}, r"ABEL_LEDGER: must be an sqlite:///.*got 'mysql://h/db'"),
        ({"ABEL_LEDGER": "postgresql://u:secret@h"}, r"ABEL_LEDGER: must name a database.*got 'postgresql://h'"),
        ({"ABEL_LEDGER": "ledger.db"}, "ABEL_LEDGER: must be an sqlite:///"),
        ({"ABEL_LEDGER": "sqlite://"}, "ABEL_LEDGER: must name a file"),
        ({"ABEL_TRACKING_URI": "sqlite:///:memory:"}, "ABEL_TRACKING_URI: must name a file"),
        ({"ABEL_TRACKING_URI": "mlruns"}, "ABEL_TRACKING_URI: must be a database .* got 'mlruns'"),
        ({"MLFLOW_TRACKING_URI": "file:///mlruns"}, "MLFLOW_TRACKING_URI: must be .*migrate-filestore"),
        ({"MLFLOW_TRACKING_URI": "http://"}, "MLFLOW_TRACKING_URI: must name a host"),
    ],
)
def test_what_must_not_be_is_refused_with_its_name_rule_and_value(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.from_env(environ)


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="ABEL_HOME: must be a directory"):
        Settings.from_env({"ABEL_HOME": str(tmp_path / "file")})
    with pytest.raises(SettingsError, match="ABEL_HOME: cannot make"):
        Settings.from_env({"ABEL_HOME": str(tmp_path / "file" / "below")}).prepare()


def test_prepare_makes_the_folders(tmp_path: Path) -> None:
    settings = Settings.from_env({"ABEL_HOME": str(tmp_path / "home")}).prepare()
    assert settings.prepare().checkpoints.is_dir()


def test_credentials_are_never_shown() -> None:
    assert without_credentials("https://me:secret@host:5000/mlflow?token=x") == "https://host:5000/mlflow"
    assert without_credentials("sqlite:////a/b.db?timeout=5") == "sqlite:////a/b.db"
    assert is_server("https://host") and not is_server("sqlite:////x.db")
