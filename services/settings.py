"""Settings from the environment, read once into a frozen object.

| variable | meaning | default |
|---|---|---|
| `ABEL_HOME` | directory for everything that runs write | `.abel` |
| `ABEL_LEDGER` | SQLAlchemy URL of the ledger: SQLite or PostgreSQL | `sqlite:///<home>/ledger.db` |
| `ABEL_TRACKING_URI`, else `MLFLOW_TRACKING_URI` | MLflow database or server | `sqlite:///<home>/mlflow.db` |
| `ABEL_DATA_DIR`, else `TFDS_DATA_DIR` | directory of prepared TFDS data sets | none |
| `ABEL_CACHE_DIR` | directory of compiled programs, which several homes may share | `<home>/cache` |
| `ABEL_RAY_ADDRESS` | Ray cluster to join | none: start a local one |
| `ABEL_RAY_LABELS` | labels, as `name=value,name=value`, that a worker's node in the cluster must have | none |
| `ABEL_COHORTS_PER_TUNER` | cohorts after which a run starts a new Ray Tune experiment, to free its memory | 5000 |
| `ABEL_NOTIFY_URL` | receives a JSON notice when a sweep finishes, fails or regresses; may hold a secret | none |
| `ABEL_NOTIFY_COMMAND` | shell command that receives the same notice on its standard input | none |
"""

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Generic, TypeVar

from sweeps.files import PathFault, make_private, resolve
from sweeps.urls import URL, WEB, backend, is_sqlite, of_sqlite, origin, parse, without_credentials

TRACKING_BACKENDS = ("sqlite", "postgresql", "mysql", "mssql", "http", "https")

# MLflow's client retries a request for minutes inside one call, and sends usage statistics. We retry ourselves, where it
# can be reported and stopped. The job runner of its server is an attack surface that nothing here needs.
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

COHORTS_PER_TUNER = 5000

_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL = re.compile(rf"([A-Za-z0-9.-]{{1,253}}/)?{_LABEL_VALUE.pattern}")


class SettingsError(ValueError):
    """An environment variable has an invalid value."""


Value = TypeVar("Value")


class CheckedSetting(Generic[Value]):
    """A setting that may be invalid: its error is raised on access, so a verb needs only the variables it uses."""

    def __init__(self, *default: Value) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, settings: object | None, owner: type) -> Value:
        """The value; on the class itself, the default, as dataclasses expect."""
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
    """Paths and addresses. Paths are absolute, so processes started in other directories agree on them."""

    home: CheckedSetting[Path] = CheckedSetting()
    ledger_url: CheckedSetting[str] = CheckedSetting()
    tracking_uri: CheckedSetting[str] = CheckedSetting()
    data_dir: CheckedSetting[Path | None] = CheckedSetting(None)
    cache_dir: CheckedSetting[Path | None] = CheckedSetting(None)
    notify_url: CheckedSetting[str | None] = CheckedSetting(None)
    ray_labels: CheckedSetting[Mapping[str, str] | None] = CheckedSetting(None)
    cohorts_per_tuner: CheckedSetting[int] = CheckedSetting(COHORTS_PER_TUNER)
    ray_address: str | None = None
    notify_command: str | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, data_dir: Path | None = None) -> "Settings":
        """Read the environment; create nothing. An empty variable counts as unset.

        An invalid variable raises a :class:`SettingsError` when the setting is used, or in :meth:`check`; the message
        names the variable, the rule and the value.

        Args:
            data_dir: the value of ``--data-dir``; overrides the variables.
        """
        given = {name: value for name, value in (os.environ if environ is None else environ).items() if value.strip()}
        name, uri = _first(given, "ABEL_TRACKING_URI", "MLFLOW_TRACKING_URI")
        variable, data = _first(given, "ABEL_DATA_DIR", "TFDS_DATA_DIR")
        if data_dir is not None:
            variable, data = "--data-dir", str(data_dir)
        home = _tried(lambda: _directory("ABEL_HOME", given.get("ABEL_HOME") or ".abel"))
        cache = given.get("ABEL_CACHE_DIR")
        return cls(
            home=home,
            ledger_url=_tried(lambda: _ledger("ABEL_LEDGER", given.get("ABEL_LEDGER") or _below(home, "ledger.db"))),
            tracking_uri=_tried(lambda: _tracking(name, uri or _below(home, "mlflow.db"))),
            data_dir=_tried(lambda: _path(variable, data) if data else None),
            cache_dir=_tried(lambda: _directory("ABEL_CACHE_DIR", cache) if cache else None),
            ray_address=given.get("ABEL_RAY_ADDRESS", "").strip() or None,
            ray_labels=_tried(lambda: _labels("ABEL_RAY_LABELS", given.get("ABEL_RAY_LABELS", ""))),
            cohorts_per_tuner=_tried(lambda: _count("ABEL_COHORTS_PER_TUNER", given, COHORTS_PER_TUNER)),
            notify_url=_tried(lambda: _webhook("ABEL_NOTIFY_URL", given.get("ABEL_NOTIFY_URL"))),
            notify_command=given.get("ABEL_NOTIFY_COMMAND", "").strip() or None,
        )

    def check(self, *names: str) -> None:
        """Check settings that a verb uses only later.

        Raises:
            SettingsError: one of them is invalid.
        """
        for name in names:
            getattr(self, name)

    def lend_home(self) -> None:
        """Set HOME to this home if the user has no home directory.

        A container may run as a bare user id, without HOME and without an entry in passwd; MLflow then fails to import.
        """
        with suppress(SettingsError):
            if os.path.expanduser("~") == "~":
                os.environ["HOME"] = str(self.home)

    @property
    def artifacts(self) -> Path:
        """Artifacts of MLflow runs, unless an MLflow server keeps them."""
        return self.home / "artifacts"

    @property
    def checkpoints(self) -> Path:
        """Training states by key."""
        return self.home / "checkpoints"

    @property
    def cache(self) -> Path:
        """Compiled programs; may be deleted at any time."""
        return self.cache_dir or self.home / "cache"

    @property
    def reports(self) -> Path:
        """Figures and pages, one folder per sweep."""
        return self.home / "reports"

    @property
    def logs(self) -> Path:
        """Output of background processes."""
        return self.home / "logs"

    def prepare(self) -> "Settings":
        """Create the home, its folders and the cache, accessible only to their owner; existing ones keep their mode.

        Raises:
            SettingsError: a folder cannot be created.
        """
        for folder in (self.home, self.artifacts, self.checkpoints, self.cache, self.reports, self.logs):
            try:
                make_private(folder)
            except OSError as error:
                name = "ABEL_CACHE_DIR" if folder == self.cache_dir else "ABEL_HOME"
                raise SettingsError(f"{name}: cannot create {folder}: {error.strerror}") from None
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


def _directory(name: str, text: str) -> Path:
    path = _path(name, text)
    if path.exists() and not path.is_dir():
        raise SettingsError(f"{name}: must be a directory, got the file {path}")
    return path


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
        hint = "; MLflow no longer supports file stores: use `mlflow migrate-filestore`" if kind == "file" else ""
        raise SettingsError(f"{name}: {rule}, got {_shown(uri)}{hint}")
    if kind == "sqlite":
        # Name the driver: for a plain `sqlite:///`, MLflow creates a folder without unquoting the path.
        return str(_file_url(name, uri).set(drivername="sqlite+pysqlite"))
    if not _parsed(name, uri).host:
        raise SettingsError(f"{name}: must name a host, as in http://127.0.0.1:5000, got {_shown(uri)}")
    return uri.rstrip("/")


def _count(name: str, given: Mapping[str, str], default: int) -> int:
    text = given.get(name, str(default)).strip()
    if not text.isdecimal() or not 1 <= int(text) <= 10**9:
        raise SettingsError(f"{name}: must be a whole number from 1 to 1000000000, got {text!r}")
    return int(text)


def _labels(name: str, text: str) -> Mapping[str, str]:
    pairs = [pair.strip().split("=") for pair in text.split(",") if pair.strip()]
    for pair in pairs:
        if len(pair) != 2 or not _LABEL.fullmatch(pair[0].strip()) or not _LABEL_VALUE.fullmatch(pair[1].strip()):
            raise SettingsError(f"{name}: must be Ray labels, as in pool=train,ray.io/zone=b, got {'='.join(pair)!r}")
    return {label.strip(): value.strip() for label, value in pairs}


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
