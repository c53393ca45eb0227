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
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

UI_PORT = 5000  # where `abel ui` serves a database, unless it is given another
TRACKING_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https")

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


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where things are. Paths are absolute, so processes started in other directories agree about them."""

    home: Path
    ledger_url: str
    tracking_uri: str
    data_dir: Path | None = None
    ray_address: str | None = None
    notify_url: str | None = field(default=None, repr=False)
    notify_command: str | None = field(default=None, repr=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the environment; nothing is created. An empty variable counts as unset.

        Raises:
            SettingsError: a variable breaks its rule; the message names it, the rule and the value.
        """
        given = {name: value.strip() for name, value in (os.environ if environ is None else environ).items()}
        home = _path(given.get("ABEL_HOME") or ".abel")
        if home.exists() and not home.is_dir():
            raise SettingsError(f"ABEL_HOME: must be a directory, got the file {home}")
        name, uri = _first(given, "ABEL_TRACKING_URI", "MLFLOW_TRACKING_URI")
        _, data_dir = _first(given, "ABEL_DATA_DIR", "TFDS_DATA_DIR")
        return cls(
            home=home,
            ledger_url=_database("ABEL_LEDGER", given.get("ABEL_LEDGER") or f"sqlite:///{home / 'ledger.db'}"),
            tracking_uri=_tracking(name, uri or f"sqlite:///{home / 'mlflow.db'}"),
            data_dir=_path(data_dir) if data_dir else None,
            ray_address=given.get("ABEL_RAY_ADDRESS") or None,
            notify_url=_webhook("ABEL_NOTIFY_URL", given.get("ABEL_NOTIFY_URL") or None),
            notify_command=given.get("ABEL_NOTIFY_COMMAND") or None,
        )

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
        """Create the home and its folders.

        Raises:
            SettingsError: a folder cannot be made.
        """
        for folder in (self.home, self.artifacts, self.checkpoints, self.cache, self.reports, self.logs):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise SettingsError(f"ABEL_HOME: cannot make {folder}: {error.strerror}") from None
        return self


def without_credentials(uri: str) -> str:
    """The URI as it may be printed and stored: user, password and query left out."""
    return re.sub(r"//[^/]*@", "//", uri.partition("?")[0])


def origin(url: str) -> str:
    """Scheme, host and port of a URL: of a webhook nothing else may be printed, since its path is often its secret."""
    scheme, colon, _ = url.partition("://")
    host = urlsplit(url).netloc.rpartition("@")[2]
    return f"{scheme}://{host}" if colon else "text without ://"


def is_server(tracking_uri: str) -> bool:
    """Whether the tracking URI names an MLflow server (which keeps artifacts itself) and not a database."""
    return tracking_uri.startswith(("http://", "https://"))


def _first(given: Mapping[str, str], *names: str) -> tuple[str, str | None]:
    return next(((name, given[name]) for name in names if given.get(name)), (names[0], None))


def _path(text: str) -> Path:
    return Path(os.path.abspath(Path(text).expanduser()))


def _database(name: str, url: str) -> str:
    scheme, colon, _ = url.partition(":")
    if colon and scheme == "sqlite":
        return _absolute_sqlite(name, url)
    if not colon or scheme not in ("postgresql", "postgresql+psycopg"):
        rule = "must be an sqlite:///<path> or postgresql://<host>/<database> URL"
        raise SettingsError(f"{name}: {rule}, got {without_credentials(url)!r}")
    if not urlsplit(url).path.strip("/"):
        raise SettingsError(
            f"{name}: must name a database, as in postgresql://host/ledger, got {without_credentials(url)!r}"
        )
    return url


def _webhook(name: str, url: str | None) -> str | None:
    try:
        parts = urlsplit(url or "")
        known = url is None or (parts.scheme in ("http", "https") and parts.hostname and parts.port != 0)
    except ValueError:  # a port that is no number, a host with half a bracket
        raise SettingsError(f"{name}: must be a URL with a valid host and port") from None
    if not known:
        raise SettingsError(f"{name}: must be an http:// or https:// URL with a host, got {origin(url or '')!r}")
    return url


def _tracking(name: str, uri: str) -> str:
    scheme = uri.partition(":")[0].partition("+")[0]
    if ":" not in uri or scheme not in TRACKING_SCHEMES:
        rule = "must be a database (sqlite:///, postgresql://, mysql://, mssql://) or an MLflow server (http(s)://)"
        hint = "; MLflow has retired file stores: `mlflow migrate-filestore`" if scheme == "file" else ""
        raise SettingsError(f"{name}: {rule}, got {without_credentials(uri)!r}{hint}")
    if scheme in ("http", "https") and not urlsplit(uri).hostname:
        raise SettingsError(f"{name}: must name a host, as in http://127.0.0.1:5000, got {uri!r}")
    return _absolute_sqlite(name, uri) if scheme == "sqlite" else uri.rstrip("/")


def _absolute_sqlite(name: str, url: str) -> str:
    match = re.fullmatch(r"(sqlite(?:\+\w+)?):///([^?]+)(\?.*)?", url)
    if match is None or match[2].startswith(":memory:"):
        raise SettingsError(f"{name}: must name a file, as in sqlite:///runs.db, got {url!r}")
    return f"{match[1]}:///{_path(match[2])}{match[3] or ''}"
