"""The rules of environment variables: each function takes a variable's name and text and returns the setting.

All raise :class:`SettingsError`, whose message names the variable, the rule and the value, without credentials.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from sweeps.files import PathFault, resolve
from sweeps.urls import URL, WEB, backend, base_address, is_sqlite, origin, parse, without_credentials

OBJECT_STORES = ("s3", "gs")
TRACKING_BACKENDS = ("sqlite", "postgresql", "mysql", "mssql", "http", "https")

_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL = re.compile(rf"([A-Za-z0-9.-]{{1,253}}/)?{_LABEL_VALUE.pattern}")


class SettingsError(ValueError):
    """An environment variable has an invalid value."""


def path_of(name: str, text: str) -> Path:
    """Return the absolute path that a variable names."""
    try:
        return resolve(text)
    except PathFault as error:
        raise SettingsError(f"{name}: {error}") from None


def directory_of(name: str, text: str) -> Path:
    """Return the absolute path of a directory, which need not exist."""
    path = path_of(name, text)
    if path.exists() and not path.is_dir():
        raise SettingsError(f"{name}: must be a directory, got the file {path}")
    return path


def ledger_url_of(name: str, url: str) -> str:
    """Return the SQLAlchemy URL of a ledger."""
    url = url.strip()
    if is_sqlite(url):
        return str(_file_url(name, url))
    rule = "must be an sqlite:///<path> or postgresql://<host>/<database> URL"
    if backend(url) != "postgresql" or _parsed(name, url).drivername not in ("postgresql", "postgresql+psycopg"):
        raise SettingsError(f"{name}: {rule}, got {_shown(url)}")
    if not _parsed(name, url).database:
        raise SettingsError(f"{name}: must name a database, as in postgresql://host/ledger, got {_shown(url)}")
    return url


def tracking_uri_of(name: str, uri: str) -> str:
    """Return the URI of an MLflow store or server."""
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


def store_of(name: str, where: str | None) -> str | Path | None:
    """Return the URL of an object store, or a folder; None if the variable is not set."""
    where = (where or "").strip()
    if not backend(where):
        return directory_of(name, where) if where else None
    parts = _parsed(name, where)
    rule = "must be a folder or a URL as s3://bucket/prefix or gs://bucket/prefix"
    if backend(where) not in OBJECT_STORES or not parts.host:
        raise SettingsError(f"{name}: {rule}, got {_shown(where)}")
    if parts.username or parts.port or parts.query:
        raise SettingsError(f"{name}: {rule}, without credentials, port and query, got {_shown(where)}")
    return where.rstrip("/")


def count_of(name: str, given: Mapping[str, str], default: int) -> int:
    """Return a whole number from 1."""
    text = given.get(name, str(default)).strip()
    if not text.isdecimal() or not 1 <= int(text) <= 10**9:
        raise SettingsError(f"{name}: must be a whole number from 1 to 1000000000, got {text!r}")
    return int(text)


def labels_of(name: str, text: str) -> Mapping[str, str]:
    """Return the labels of Ray's nodes."""
    pairs = [pair.strip().split("=") for pair in text.split(",") if pair.strip()]
    for pair in pairs:
        if len(pair) != 2 or not _LABEL.fullmatch(pair[0].strip()) or not _LABEL_VALUE.fullmatch(pair[1].strip()):
            raise SettingsError(f"{name}: must be Ray labels, as in pool=train,ray.io/zone=b, got {'='.join(pair)!r}")
    return {label.strip(): value.strip() for label, value in pairs}


def webhook_of(name: str, url: str | None) -> str | None:
    """Return the URL of a webhook; None if the variable is not set."""
    if url is None:
        return None
    url = url.strip()
    if backend(url) not in WEB or not _parsed(name, url).host:
        raise SettingsError(f"{name}: must be an http:// or https:// URL with a host, got {origin(url)!r}")
    return url


def page_of(name: str, url: str | None) -> str | None:
    """Return the URL of a site, without the slash at its end; None if the variable is not set."""
    if url is None:
        return None
    url = url.strip()
    rule = "must be an http:// or https:// URL with a host"
    if backend(url) not in WEB or not _parsed(name, url).host:
        raise SettingsError(f"{name}: {rule}, got {_shown(url)}")
    try:
        return base_address(url)
    except ValueError:
        raise SettingsError(f"{name}: {rule}, without user, query and fragment, got {_shown(url)}") from None


def collector_of(given: Mapping[str, str], name: str) -> str | None:
    """Return the URL to which an OTLP exporter sends traces; a variable for traces alone holds all of it."""
    own = name.replace("OTLP_", "OTLP_TRACES_")
    if own in given:
        return page_of(own, given[own])
    url = page_of(name, given.get(name))
    return url and f"{url}/v1/traces"


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
    return parts.set(database=str(path_of(name, file)))


def _shown(url: str) -> str:
    return repr(without_credentials(url))
