"""URLs of databases and servers: made, taken apart and shown here, and nowhere else by cutting text."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import URL as URL
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

WEB = ("http", "https")
HIDDEN = "…"  # stands where showing more might show a secret
_UNQUOTED = "must have the characters @ : / ? # of its user and password quoted, as %40 for @"
_AUTHORITY = re.compile(r"(?<=://)(?!/)\S*@")
_SECRET = re.compile(
    r"\b((?:ssl)?password|passphrase|(?:access_|auth_)?token|api_?key|secret)=[^\s&;,'\")]+", re.IGNORECASE
)


def of_sqlite(file: Path, **query: str) -> str:
    """The URL of an SQLite file, whatever characters its path has."""
    return URL.create("sqlite", database=str(file), query=query).render_as_string(hide_password=False)


def parse(url: str | URL) -> URL:
    """The parts of a URL.

    Raises:
        ValueError: it has none; the message does not quote it.
    """
    try:
        parts = make_url(url)
        # Web clients end the authority at the first slash, SQLAlchemy ends a password at the first @.
        web = urlsplit(str(url)).hostname if parts.drivername in WEB else None
    except (ArgumentError, ValueError):  # their messages quote the URL, with its password
        raise ValueError("must be a URL with a valid host and port") from None
    if parts.port is not None and not 0 < parts.port < 2**16:
        raise ValueError("must be a URL with a valid host and port")
    if parts.drivername in WEB and web != (parts.host.lower() if parts.host else None):
        raise ValueError(_UNQUOTED)
    if "@" in (parts.host or "") or (not is_sqlite(parts) and "@" in (parts.database or "")):
        # Whatever ends a password early leaves the rest of it in the host's or the database's place.
        raise ValueError(_UNQUOTED)
    return parts


def backend(url: str | URL) -> str:
    """What a URL leads to, without the driver: ``sqlite``, ``postgresql``, ``http``; empty for text that is no URL."""
    scheme, colon, _ = str(url).partition("://")
    return scheme.partition("+")[0] if colon else ""


def is_sqlite(url: str | URL) -> bool:
    """Whether a URL names an SQLite file."""
    return backend(url) == "sqlite"


def is_server(url: str) -> bool:
    """Whether a tracking URI names an MLflow server, which keeps artifacts itself, and not a database."""
    return backend(url) in WEB


def sqlite_file(url: str | URL) -> Path | None:
    """The file of an SQLite database; None for any other URL, and for a database in memory.

    Raises:
        ValueError: the URL has no parts; the message does not quote it.
    """
    name = parse(url).database if is_sqlite(url) else None
    return None if not name or name.startswith((":memory:", "file:")) else Path(name)


def without_credentials(url: str | URL) -> str:
    """The URL as it may be printed and stored: without driver, user, password, query and fragment.

    Of a malformed one only the scheme is left, since where its password ends is not known.
    """
    scheme = backend(url)
    if not scheme:
        return HIDDEN if "@" in str(url) else str(url)
    try:
        parts = parse(url)
    except ValueError:
        return f"{scheme}://{HIDDEN}"
    if scheme == "sqlite":
        return f"sqlite:///{_printable(parts.database or '')}"
    if parts.username is not None and not parts.host:
        return f"{scheme}://{HIDDEN}"
    path = parts.database.partition("#")[0] if scheme in WEB and parts.database else parts.database
    return URL.create(scheme, host=parts.host, port=parts.port, database=path).render_as_string()


def formerly_shown(url: str) -> str:
    """The URL as version 0.1 stored it, which of some URLs was with the password."""
    return re.sub(r"//[^/]*@", "//", url.partition("?")[0])


def origin(url: str) -> str:
    """Scheme, host and port of a URL: of a webhook nothing else may be printed, since its path is often its secret."""
    try:
        parts = parse(url)
    except ValueError:
        return f"{backend(url)}://{HIDDEN}" if backend(url) else "text without ://"
    return URL.create(parts.drivername, host=parts.host, port=parts.port).render_as_string()


def masked(text: str) -> str:
    """A text, such as an error of a library, without the users, passwords and tokens of URLs in it."""
    return _SECRET.sub(rf"\1={HIDDEN}", _AUTHORITY.sub("", text))


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
