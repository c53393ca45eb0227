"""Settings from the environment, read once into a frozen object.

| variable | meaning | default |
|---|---|---|
| `ABEL_HOME` | directory for everything that runs write | `.abel` |
| `ABEL_LEDGER` | SQLAlchemy URL of the ledger: SQLite or PostgreSQL | `sqlite:///<home>/ledger.db` |
| `ABEL_TRACKING_URI`, else `MLFLOW_TRACKING_URI` | MLflow database or server | `sqlite:///<home>/mlflow.db` |
| `ABEL_MLFLOW_URL` | where browsers reach MLflow's UI, for the links of the service's page | none |
| `ABEL_STORE` | where checkpoints and reports go: a folder, `s3://bucket/prefix` or `gs://bucket/prefix` | `<home>` |
| `ABEL_DATA_DIR`, else `TFDS_DATA_DIR` | data: prepared TFDS data sets, files of texts, pre-trained weights | none |
| `ABEL_CACHE_DIR` | directory of compiled programs, which several homes may share | `<home>/cache` |
| `ABEL_RAY_ADDRESS` | Ray cluster to join | none: start a local one |
| `ABEL_RAY_LABELS` | labels, as `name=value,name=value`, that a worker's node in the cluster must have | none |
| `ABEL_COHORTS_PER_TUNER` | cohorts after which a run starts a new Ray Tune experiment, to free its memory | 5000 |
| `ABEL_TOKEN` | token for the service that `--server` or `ABEL_SERVER` names | the one in `<home>/token` |
| `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, else `OTEL_EXPORTER_OTLP_ENDPOINT` | OTLP collector for the service's traces | none |
| `ABEL_NOTIFY_URL` | receives a JSON notice when a sweep finishes, fails or regresses; may hold a secret | none |
| `ABEL_NOTIFY_COMMAND` | shell command that receives the same notice on its standard input | none |
"""

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Generic, TypeVar

from services.variables import (
    SettingsError,
    collector_of,
    count_of,
    directory_of,
    labels_of,
    ledger_url_of,
    page_of,
    path_of,
    store_of,
    tracking_uri_of,
    webhook_of,
)
from sweeps.files import make_private
from sweeps.urls import of_sqlite

__all__ = ["SettingsError", "Settings"]

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
    store_place: CheckedSetting[str | Path | None] = CheckedSetting(None)
    mlflow_url: CheckedSetting[str | None] = CheckedSetting(None)
    traces_url: CheckedSetting[str | None] = CheckedSetting(None)
    notify_url: CheckedSetting[str | None] = CheckedSetting(None)
    ray_labels: CheckedSetting[Mapping[str, str] | None] = CheckedSetting(None)
    cohorts_per_tuner: CheckedSetting[int] = CheckedSetting(COHORTS_PER_TUNER)
    ray_address: str | None = None
    notify_command: str | None = None
    token: str | None = None

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
        home = _tried(lambda: directory_of("ABEL_HOME", given.get("ABEL_HOME") or ".abel"))
        cache = given.get("ABEL_CACHE_DIR")
        return cls(
            home=home,
            ledger_url=_tried(
                lambda: ledger_url_of("ABEL_LEDGER", given.get("ABEL_LEDGER") or _below(home, "ledger.db"))
            ),
            tracking_uri=_tried(lambda: tracking_uri_of(name, uri or _below(home, "mlflow.db"))),
            mlflow_url=_tried(lambda: page_of("ABEL_MLFLOW_URL", given.get("ABEL_MLFLOW_URL"))),
            traces_url=_tried(lambda: collector_of(given, "OTEL_EXPORTER_OTLP_ENDPOINT")),
            data_dir=_tried(lambda: path_of(variable, data) if data else None),
            cache_dir=_tried(lambda: directory_of("ABEL_CACHE_DIR", cache) if cache else None),
            store_place=_tried(lambda: store_of("ABEL_STORE", given.get("ABEL_STORE"))),
            ray_address=given.get("ABEL_RAY_ADDRESS", "").strip() or None,
            ray_labels=_tried(lambda: labels_of("ABEL_RAY_LABELS", given.get("ABEL_RAY_LABELS", ""))),
            cohorts_per_tuner=_tried(lambda: count_of("ABEL_COHORTS_PER_TUNER", given, COHORTS_PER_TUNER)),
            notify_url=_tried(lambda: webhook_of("ABEL_NOTIFY_URL", given.get("ABEL_NOTIFY_URL"))),
            notify_command=given.get("ABEL_NOTIFY_COMMAND", "").strip() or None,
            token=given.get("ABEL_TOKEN", "").strip() or None,
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
        """Training states by key; copies of some if they lie in an object store."""
        if isinstance(self.store_place, str):
            return self.cache / "checkpoints"
        return (self.store_place or self.home) / "checkpoints"

    @property
    def store(self) -> str | None:
        """URL of the object store for checkpoints and reports; None if they go to folders."""
        return self.store_place if isinstance(self.store_place, str) else None

    @property
    def cache(self) -> Path:
        """Compiled programs; may be deleted at any time."""
        return self.cache_dir or self.home / "cache"

    @property
    def reports(self) -> Path:
        """Figures and pages, one folder per sweep."""
        return (self.store_place if isinstance(self.store_place, Path) else self.home) / "reports"

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
                if folder.parent == self.store_place:
                    name = "ABEL_STORE"
                raise SettingsError(f"{name}: cannot create {folder}: {error.strerror}") from None
        return self


def _tried(read: Callable[[], Value]) -> Value | SettingsError:
    try:
        return read()
    except SettingsError as error:
        return error


def _first(given: Mapping[str, str], *names: str) -> tuple[str, str | None]:
    return next(((name, given[name]) for name in names if name in given), (names[0], None))


def _below(home: Path | SettingsError, name: str) -> str:
    if isinstance(home, SettingsError):
        raise home
    return of_sqlite(home / name)
