"""Everything that comes from the environment, read once into one frozen object.

| variable | meaning | default |
|---|---|---|
| `ABEL_HOME` | directory that keeps what runs leave behind | `.abel` |
| `ABEL_LEDGER` | SQLAlchemy URL of the ledger: SQLite or PostgreSQL | `sqlite:///<home>/ledger.db` |
| `ABEL_TRACKING_URI`, else `MLFLOW_TRACKING_URI` | MLflow database or server | `sqlite:///<home>/mlflow.db` |
| `ABEL_DATA_DIR`, else `TFDS_DATA_DIR` | directory of prepared TFDS data sets | none |
| `ABEL_RAY_ADDRESS` | Ray cluster to join | none: a local one is started |
| `ABEL_NOTIFY_URL` | gets a JSON notice when a sweep finishes, fails or regresses; may hold a secret | none |
| `ABEL_NOTIFY_COMMAND` | shell command that gets the same on its standard input | none |
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Generic, TypeVar

from sweeps.files import PathFault, make_private, resolve
from sweeps.urls import URL, WEB, backend, is_sqlite, of_sqlite, origin, parse, without_credentials

TRACKING_BACKENDS = ("sqlite", "postgresql", "mysql", "mssql", "http", "https")

# MLflow's client retries a request for minutes inside the call and sends usage statistics; retrying is ours to do,
# where it can be reported and stopped. The job runner of its server is an open door that nobody here needs.
MLFLOW_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
)


class SettingsError(ValueError):
    """An environment variable holds what it must not."""


Value = TypeVar("Value")


class CheckedSetting(Generic[Value]):
    """A setting that may be wrong: its error is raised where it is used, so a verb needs only the variables it uses."""

    def __init__(self, *default: Value) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, settings: object | None, owner: type) -> Value:
        """The value; of the class itself the default, which is how a dataclass asks for it."""
        if settings is None:
            if not self._default:
                raise AttributeError(self._name)
            return self._default[0]
        held: Value | SettingsError = vars(settings)[self._name]
        if isinstance(held, SettingsError):
            raise held
        return held

    def __set__(self, settings: object, value: "Value | SettingsError") -> None:
        vars(settings)[self._name] = value


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings:
    """Where things are. Paths are absolute, so processes started in other directories agree about them."""

    home: CheckedSetting[Path] = CheckedSetting()
    ledger_url: CheckedSetting[str] = CheckedSetting()
    tracking_uri: CheckedSetting[str] = CheckedSetting()
    data_dir: CheckedSetting[Path | None] = CheckedSetting(None)
    notify_url: CheckedSetting[str | None] = CheckedSetting(None)
    ray_address: str | None = None
    notify_command: str | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, data_dir: Path | None = None) -> "Settings":
        """Read the environment; nothing is created. An empty variable counts as unset.

        A variable that breaks its rule raises a :class:`SettingsError` where the setting is used, or by :meth:`check`;
        the message names the variable, the rule and the value.

        Args:
            data_dir: what ``--data-dir`` names; it takes the place of the variables.
        """
        given = {name: value for name, value in (os.environ if environ is None else environ).items() if value.strip()}
        name, uri = _first(given, "ABEL_TRACKING_URI", "MLFLOW_TRACKING_URI")
        variable, data = _first(given, "ABEL_DATA_DIR", "TFDS_DATA_DIR")
        if data_dir is not None:
            variable, data = "--data-dir", str(data_dir)
        home = _tried(lambda: _home(given.get("ABEL_HOME") or ".abel"))
        return cls(
            home=home,
            ledger_url=_tried(lambda: _ledger("ABEL_LEDGER", given.get("ABEL_LEDGER") or _below(home, "ledger.db"))),
            tracking_uri=_tried(lambda: _tracking(name, uri or _below(home, "mlflow.db"))),
            data_dir=_tried(lambda: _path(variable, data) if data else None),
            ray_address=given.get("ABEL_RAY_ADDRESS", "").strip() or None,
            notify_url=_tried(lambda: _webhook("ABEL_NOTIFY_URL", given.get("ABEL_NOTIFY_URL"))),
            notify_command=given.get("ABEL_NOTIFY_COMMAND", "").strip() or None,
        )

    def check(self, *names: str) -> None:
        """Check settings that a verb uses only later.

        Raises:
            SettingsError: one of them breaks its rule.
        """
        for name in names:
            getattr(self, name)

    def lend_home(self) -> None:
        """Have libraries that ask for the user's home directory find one where there is none.

        A container may run as a number, without HOME and without a line in passwd; MLflow then fails to import.
        """
        with suppress(SettingsError):
            if os.path.expanduser("~") == "~":
                os.environ["HOME"] = str(self.home)

    @property
    def artifacts(self) -> Path:
        """Files that belong to MLflow runs, where no MLflow server keeps them."""
        return self.home / "artifacts"

    @property
    def checkpoints(self) -> Path:
        """Training states by their keys."""
        return self.home / "checkpoints"

    @property
    def cache(self) -> Path:
        """Compiled programs; may be deleted at any time."""
        return self.home / "cache"

    @property
    def reports(self) -> Path:
        """Figures and pages, one folder a sweep."""
        return self.home / "reports"

    @property
    def logs(self) -> Path:
        """What background processes print."""
        return self.home / "logs"

    def prepare(self) -> "Settings":
        """Create the home and its folders, which only their owner may enter; those that exist keep their mode.

        Raises:
            SettingsError: a folder cannot be made.
        """
        for folder in (self.home, self.artifacts, self.checkpoints, self.cache, self.reports, self.logs):
            try:
                make_private(folder)
            except OSError as error:
                raise SettingsError(f"ABEL_HOME: cannot make {folder}: {error.strerror}") from None
        return self


def _tried(read: Callable[[], Value]) -> Value | SettingsError:
    try:
        return read()
    except SettingsError as error:
        return error


def _first(given: Mapping[str, str], *names: str) -> tuple[str, str | None]:
    return next(((name, given[name]) for name in names if name in given), (names[0], None))


def _path(name: str, text: str) -> Path:
    try:
        return resolve(text)
    except PathFault as error:
        raise SettingsError(f"{name}: {error}") from None


def _home(text: str) -> Path:
    home = _path("ABEL_HOME", text)
    if home.exists() and not home.is_dir():
        raise SettingsError(f"ABEL_HOME: must be a directory, got the file {home}")
    return home


def _below(home: Path | SettingsError, name: str) -> str:
    if isinstance(home, SettingsError):
        raise home
    return of_sqlite(home / name)


def _ledger(name: str, url: str) -> str:
    url = url.strip()
    if is_sqlite(url):
        return str(_file_url(name, url))
    rule = "must be an sqlite:///<path> or postgresql://<host>/<database> URL"
    if backend(url) != "postgresql" or _parsed(name, url).drivername not in ("postgresql", "postgresql+psycopg"):
        raise SettingsError(f"{name}: {rule}, got {_shown(url)}")
    if not _parsed(name, url).database:
        raise SettingsError(f"{name}: must name a database, as in postgresql://host/ledger, got {_shown(url)}")
    return url


def _tracking(name: str, uri: str) -> str:
    uri = uri.strip()
    kind = backend(uri)
    if kind not in TRACKING_BACKENDS:
        rule = "must be a database (sqlite:///, postgresql://, mysql://, mssql://) or an MLflow server (http(s)://)"
        hint = "; MLflow has retired file stores: `mlflow migrate-filestore`" if kind == "file" else ""
        raise SettingsError(f"{name}: {rule}, got {_shown(uri)}{hint}")
    if kind == "sqlite":
        # With its driver, since MLflow makes a folder for `sqlite:///` without unquoting the path.
        return str(_file_url(name, uri).set(drivername="sqlite+pysqlite"))
    if not _parsed(name, uri).host:
        raise SettingsError(f"{name}: must name a host, as in http://127.0.0.1:5000, got {_shown(uri)}")
    return uri.rstrip("/")


def _webhook(name: str, url: str | None) -> str | None:
    if url is None:
        return None
    url = url.strip()
    if backend(url) not in WEB or not _parsed(name, url).host:
        raise SettingsError(f"{name}: must be an http:// or https:// URL with a host, got {origin(url)!r}")
    return url


def _parsed(name: str, url: str) -> URL:
    try:
        return parse(url)
    except ValueError as error:
        raise SettingsError(f"{name}: {error}, got {_shown(url)}") from None


def _file_url(name: str, url: str) -> URL:
    parts = _parsed(name, url)
    file = parts.database or ""
    if parts.host or parts.username or not file or file.startswith((":memory:", "file:")):
        raise SettingsError(f"{name}: must name a file, as in sqlite:///runs.db, got {_shown(url)}")
    return parts.set(database=str(_path(name, file)))


def _shown(url: str) -> str:
    return repr(without_credentials(url))
