"""Traces, as a collector receives them by OTLP; without an endpoint there are none, and a collector may be away."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from desks import NoJobs, serving
from imports import fail_import
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider as TracerProvider
from stories import Story

from services import traces
from services.api.app import build
from services.server import job
from services.server.reconciling import Reconciler
from services.settings import Settings
from services.traces import spanned, traced
from sweeps.ledger.submissions.queue import Submissions
from sweeps.ledger.submissions.tokens import Tokens

HOUSE = [sys.executable, "-P", "-c"]


class Collector:
    """A collector of OTLP by HTTP, on a port of the operating system's."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                received.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def spans(self) -> dict[str, dict[str, Any]]:
        """The attributes of each span by its name; of several, of the last one."""
        found = {}
        for raw in self.received:
            for resource in ExportTraceServiceRequest.FromString(raw).resource_spans:
                for scope in resource.scope_spans:
                    for one in scope.spans:
                        values = {pair.key: pair.value for pair in one.attributes}
                        kinds = {name: value.WhichOneof("value") for name, value in values.items()}
                        found[one.name] = {name: getattr(values[name], kind) for name, kind in kinds.items()}
        return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture
def settings(tmp_path: Path, collector: Collector) -> Settings:
    return Settings.from_env({"ABEL_HOME": str(tmp_path), "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url})


@pytest.fixture
def asked(story: Story, settings: Settings) -> Callable[..., requests.Response]:
    """Ask a traced service once, as a person with a token."""

    def ask(path: str, token: str, **given: Any) -> requests.Response:
        with traced(settings, pytest.fail) as tracers:
            app = build(settings, story.ledger, NoJobs(), tracers=tracers)
            with serving(app) as url:
                return requests.request(
                    url=url + path, headers={"Authorization": f"Bearer {token}"}, timeout=20, **given
                )

    return ask


def test_a_request_is_a_span_without_its_token_query_and_body(
    story: Story, asked: Callable[..., requests.Response], collector: Collector
) -> None:
    _, token = Tokens.of(story.ledger).make("ada", ["submit"])
    answer = asked("/v1/sweeps/none/extend?word=hush1", token, method="POST", json={"seeds": [0], "note": "hush2"})
    assert answer.status_code == 422
    found = collector.spans["POST /v1/sweeps/{id}/extend"]
    assert (found["http.route"], found["http.response.status_code"]) == ("/v1/sweeps/{id}/extend", 422)
    assert found["url.query"] == "REDACTED"
    sent = b"".join(collector.received)
    assert b"/v1/sweeps/{id}/extend" in sent
    assert not any(secret in sent for secret in (token.encode(), b"hush1", b"hush2", b"Bearer"))


def test_a_turn_of_the_loop_and_a_launch_are_spans(
    story: Story, settings: Settings, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = Submissions.of(story.ledger).submit("ada", "fig-s6a-digits", {"name": "fig-s6a-digits"}, {})
    stop = threading.Event()
    monkeypatch.setattr("services.server.reconciling.TICK_SECONDS", 0.01)
    monkeypatch.setattr(NoJobs, "launch", lambda jobs, id, number: stop.set())
    with traced(settings, pytest.fail):
        Reconciler(story.ledger, NoJobs()).run(stop)
    assert collector.spans["launch"] == {"abel.submission": one.id, "abel.launch": 1}
    assert "reconcile" in collector.spans


def test_a_job_is_a_span(tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABEL_HOME", str(tmp_path))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    from services import ledgers

    with ledgers.opened(Settings.from_env().prepare()) as ledger:
        queue = Submissions.of(ledger)
        one, _ = queue.submit("ada", "x", {"name": "x"}, {})  # which is no spec, and is refused
        assert queue.count_launch(one, None) == 1
    assert job.main([one.id, "1"]) == 0
    assert collector.spans["job"] == {"abel.submission": one.id, "abel.launch": 1}


def test_of_an_error_a_span_has_its_class_alone(settings: Settings, collector: Collector) -> None:
    with traced(settings, pytest.fail), pytest.raises(ValueError, match="hush"), spanned("reconcile"):
        raise ValueError("hush")
    assert collector.spans["reconcile"] == {"error.type": "ValueError"}
    assert b"hush" not in b"".join(collector.received)


def test_a_collector_that_is_away_slows_and_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "LEAVE_SECONDS", 0.5)
    given = {"ABEL_HOME": str(tmp_path), "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    began = time.process_time()
    with traced(Settings.from_env(given), pytest.fail):
        for number in range(3000):  # more than a queue holds
            with spanned("reconcile", turn=number):
                pass
    assert time.process_time() - began < 5
    assert (capfd.readouterr(), caplog.text) == (("", ""), "")


def test_what_is_wrong_with_the_endpoint_is_said_and_ends_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    given = {"ABEL_HOME": str(tmp_path), "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}
    with traced(Settings.from_env(given), said.append) as tracers, spanned("reconcile"):
        assert tracers is None
    assert said == ["OTEL_EXPORTER_OTLP_ENDPOINT: must be an http:// or https:// URL with a host, got 'collector:4318'"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModuleNotFoundError("No module named 'x'", name="opentelemetry.exporter"), "which are not installed"),
        (ImportError("libz.so: cannot open"), "which cannot be imported: libz.so: cannot open"),
        (ModuleNotFoundError("No module named 'google'", name="google"), "be imported: No module named 'google'"),
    ],
)
def test_packages_that_do_not_import_are_said_with_the_reason(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: ImportError, reason: str
) -> None:
    fail_import(monkeypatch, "opentelemetry.exporter", error)
    said: list[str] = []
    with traced(settings, said.append) as tracers:
        assert tracers is None
    assert len(said) == 1 and said[0].endswith(reason)


def test_a_variable_for_traces_alone_holds_the_whole_url() -> None:
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1/"}
    assert Settings.from_env(given).traces_url == "http://a:1/v1/traces"
    given["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = "http://b:2/spans"
    assert Settings.from_env(given).traces_url == "http://b:2/spans"


def test_without_an_endpoint_nothing_of_it_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from services.settings import Settings; from services.traces import spanned, traced\n"
        f"with traced(Settings.from_env({{'ABEL_HOME': {str(tmp_path)!r}}}), print) as tracers, spanned('reconcile'):\n"
        "    assert tracers is None\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    done = subprocess.run([*HOUSE, code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
