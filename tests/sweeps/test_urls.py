"""Tests for `sweeps/urls.py`."""

from pathlib import Path

import pytest

from sweeps.urls import (
    backend,
    base_address,
    is_server,
    masked,
    of_server,
    of_sqlite,
    origin,
    parse,
    sqlite_file,
    without_credentials,
)


@pytest.mark.parametrize(
    "name", ["a%2Fb", "a%20b", "q?x=1", "h#y", "s;t", "at@x", "sp ace", "ünï", "new\nline", "'\"&+:[]"]
)
def test_an_sqlite_url_keeps_the_path(name: str) -> None:
    file = Path("/tmp") / name / "ledger.db"
    assert sqlite_file(of_sqlite(file)) == file
    assert sqlite_file(of_sqlite(file, timeout="5")) == file


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?uri=true", "postgresql://h/d"])
def test_a_database_in_memory_has_no_file(url: str) -> None:
    assert sqlite_file(url) is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:SECRET@host:5000/mlflow?token=SECRET", "https://host:5000/mlflow"),
        ("https://host/#SECRET", "https://host/"),
        ("http://[::1]:5000/x", "http://[::1]:5000/x"),
        ("http://user:SECRET@", "http://…"),
        ("http://user:SECRET", "http://…"),
        ("http://user:12/SECRET@host/x", "http://…"),
        ("http://user:SEC#RET@host/x", "http://…"),
        ("http://[SECRET/x", "http://…"),
        ("postgresql+psycopg://u:SECRET@h:5/d?password=SECRET&sslpassword=SECRET", "postgresql://h:5/d"),
        ("postgresql://u:SEC/RET@h/d", "postgresql://h/d"),
        ("postgresql://u:SEC?RET@h/d", "postgresql://h/d"),
        ("postgresql://u:SEC#RET@h/d", "postgresql://h/d"),
        ("postgresql://u:p@SECRET@h/d", "postgresql://…"),
        ("postgresql://us/er:SECRET@h/d", "postgresql://…"),
        ("databricks://profile:SECRET", "databricks://…"),
        ("sqlite:////a/b%20c@d.db?timeout=5", "sqlite:////a/b c@d.db"),
        ("sqlite:////a%0Ab.db", r"sqlite:////a\nb.db"),
        ("mlruns", "mlruns"),
        ("user:SECRET@host", "…"),
    ],
)
def test_no_secret_of_a_url_is_shown(url: str, shown: str) -> None:
    assert without_credentials(url) == shown
    assert "SECRET" not in origin(url)


def test_the_origin_of_a_webhook_has_neither_path_nor_user() -> None:
    assert origin("https://u:p@hooks.example:8443/services/T0/B0?x=y") == "https://hooks.example:8443"


@pytest.mark.parametrize(
    "url", ["s3cret", "postgresql://u:p@s3cret@h/d", "http://h:s3cret/x", "http://h:99999/", "http://u:1/s3cret@h"]
)
def test_a_url_without_parts_is_refused_without_its_text(url: str) -> None:
    with pytest.raises(ValueError, match="^must ") as told:
        parse(url)
    assert "s3cret" not in str(told.value)


def test_an_address_of_ipv6_is_bracketed_in_a_url() -> None:
    assert of_server("::1", 8900) == "http://[::1]:8900"
    assert of_server("127.0.0.1", 0) == "http://127.0.0.1:0"


def test_errors_of_libraries_are_masked() -> None:
    text = "cannot reach http://u:SEC/RET@h/d?password=SECRET&x=1 nor sqlite:////a@b/c (api_key=SECRET)"
    assert masked(text) == "cannot reach http://h/d?password=…&x=1 nor sqlite:////a@b/c (api_key=…)"


def test_a_server_is_told_from_a_database() -> None:
    assert is_server("https://host") and not is_server("sqlite+pysqlite:////x.db") and not is_server("mlruns")


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("postgresql+psycopg://u:p@h/d", "postgresql"),
        ("http://h:no-port/x", "http"),
        ("postgresql+psycopg://h:no-port/d", "postgresql"),
        ("my-store://bucket/x", "my-store"),
        ("bucket/x?next=http://h", ""),
        ("mlruns", ""),
    ],
)
def test_a_url_has_a_backend_even_if_it_is_malformed(url: str, scheme: str) -> None:
    assert backend(url) == scheme


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://ray-head:8265", "http://ray-head:8265"),
        ("HTTPS://Host/a/b//", "https://Host/a/b"),
        ("http://[::1]:5000/?#", "http://[::1]:5000"),
    ],
)
def test_an_address_ends_where_the_paths_of_its_server_begin(url: str, address: str) -> None:
    assert base_address(url) == address


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("ray://head:10001", "http:// or https:// URL with a host"),
        ("http://", "http:// or https:// URL with a host"),
        ("http://h:0", "http:// or https:// URL with a host"),
        ("http://h:s3cret", "valid host and port"),
        ("http://[s3cret", "valid host and port"),
        ("http://s3cret:s3cret@h", "without user, query and fragment"),
        ("http://h?s3cret", "without user, query and fragment"),
        ("http://h#s3cret", "without user, query and fragment"),
    ],
)
def test_another_address_is_refused_without_its_text(url: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule) as told:
        base_address(url)
    assert "s3cret" not in str(told.value)


def test_plain_http_leads_to_the_hosts_that_are_allowed() -> None:
    assert base_address("http://localhost:8001", plain=("localhost",)) == "http://localhost:8001"
    with pytest.raises(ValueError, match="must be an https:// URL"):
        base_address("http://elsewhere", plain=("localhost",))
