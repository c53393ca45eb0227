"""URLs of databases and servers. All building, parsing and displaying of URLs happens here."""

import re
from collections.abc import Container
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from sqlalchemy import URL as URL
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

WEB = ("http", "https")
HIDDEN = "…"  # replaces text that may contain a secret
_MALFORMED = "must be a URL with a valid host and port"
_UNQUOTED = "must percent-encode the characters @ : / ? # in user and password, such as %40 for @"
_BACKEND = re.compile(r"[A-Za-z][A-Za-z0-9.-]*(?=(?:\+[A-Za-z0-9+.-]*)?://)")  # as in RFC 3986, section 3.1
_AUTHORITY = re.compile(r"(?<=://)(?!/)\S*@")
_SECRET = re.compile(
    r"\b((?:ssl)?password|passphrase|(?:access_|auth_)?token|api_?key|secret)=[^\s&;,'\")]+", re.IGNORECASE
)


def of_sqlite(file: Path, **query: str) -> str:
    """Return the URL of an SQLite file; its path may contain any characters."""
    return URL.create("sqlite", database=str(file), query=query).render_as_string(hide_password=False)


def of_server(host: str, port: int) -> str:
    """Return the URL of an HTTP server at a name or an address, also one of IPv6."""
    return URL.create("http", host=host, port=port).render_as_string()


def parse(url: str | URL) -> URL:
    """Return the parts of a URL.

    Raises:
        ValueError: it is malformed; the message does not quote it.
    """
    try:
        parts = make_url(url)
        # In web clients the authority ends at the first slash; in SQLAlchemy a password ends at the first @.
        web = urlsplit(str(url)).hostname if parts.drivername in WEB else None
    except (ArgumentError, ValueError):  # their messages quote the URL, with its password
        raise ValueError(_MALFORMED) from None
    if parts.port is not None and not 0 < parts.port < 2**16:
        raise ValueError(_MALFORMED)
    if parts.drivername in WEB and web != (parts.host.lower() if parts.host else None):
        raise ValueError(_UNQUOTED)
    if "@" in (parts.host or "") or (not is_sqlite(parts) and "@" in (parts.database or "")):
        # An unquoted character ended the password early, so host or database contain the rest of it.
        raise ValueError(_UNQUOTED)
    return parts


def backend(url: str | URL) -> str:
    """Return the scheme of a URL without its driver: ``sqlite``, ``postgresql``, ``http``; empty if it is not a URL."""
    try:
        return make_url(url).get_backend_name()
    except (ArgumentError, ValueError):  # it may still have a scheme, which says what it was meant to be
        found = _BACKEND.match(str(url))
        return found[0] if found else ""


def is_sqlite(url: str | URL) -> bool:
    """Whether a URL names an SQLite file."""
    return backend(url) == "sqlite"


def is_server(url: str) -> bool:
    """Whether a tracking URI names an MLflow server, which stores artifacts itself, as opposed to a database."""
    return backend(url) in WEB


def base_address(url: str, *, plain: Container[str] | None = None) -> str:
    """Return the address below which the paths of an HTTP server begin, without a slash at its end.

    Args:
        plain: the hosts that may be reached by http; by default all. Any may be reached by https.

    Raises:
        ValueError: it is malformed, has a user, a query or a fragment, or needs https; the message does not quote it.
    """
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in WEB and parts.hostname and parts.port != 0
    except ValueError:  # its message may quote a password
        raise ValueError(_MALFORMED) from None
    if not is_address:
        raise ValueError("must be an http:// or https:// URL with a host")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must be a URL without user, query and fragment")
    if parts.scheme == "http" and plain is not None and parts.hostname not in plain:
        raise ValueError("must be an https:// URL")
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def sqlite_file(url: str | URL) -> Path | None:
    """Return the file of an SQLite database; None for any other URL and for an in-memory database.

    Raises:
        ValueError: the URL is malformed; the message does not quote it.
    """
    name = parse(url).database if is_sqlite(url) else None
    return None if not name or name.startswith((":memory:", "file:")) else Path(name)


def without_credentials(url: str | URL) -> str:
    """Return the URL without driver, user, password, query and fragment, safe to print and store.

    Only the scheme of a malformed URL is kept, since the end of its password is unknown.
    """
    scheme = backend(url)
    if not scheme:
        return HIDDEN if "@" in str(url) or "://" in str(url) else str(url)
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
    """Return the URL as version 0.1 stored it, for some URLs including the password."""
    return re.sub(r"//[^/]*@", "//", url.partition("?")[0])


def origin(url: str) -> str:
    """Return scheme, host and port of a URL, the only printable parts of a webhook: its path is often its secret."""
    try:
        parts = parse(url)
    except ValueError:
        return f"{backend(url)}://{HIDDEN}" if backend(url) else "text without ://"
    return URL.create(parts.drivername, host=parts.host, port=parts.port).render_as_string()


def masked(text: str) -> str:
    """Return a text, such as a library's error, without the users, passwords and tokens of URLs in it."""
    return _SECRET.sub(rf"\1={HIDDEN}", _AUTHORITY.sub("", text))


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
