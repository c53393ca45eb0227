"""Traces of the service and its jobs by OpenTelemetry, where an OTLP endpoint is set; else nothing of it is imported.

A collector that is away costs nothing but the spans: they leave in batches by a thread, and what fails is dropped silently.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from services.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider as TracerProvider
    from opentelemetry.trace import Tracer

EXPORT_SECONDS = 3.0  # of one batch
LEAVE_SECONDS = 3.0  # for the last ones, when the process ends

_tracer: "Tracer | None" = None


@contextmanager
def traced(settings: Settings, say: Callable[[str], None]) -> "Iterator[TracerProvider | None]":
    """Within the block, send spans to the endpoint of the settings, if there is one; the provider is for web frameworks.

    An invalid endpoint or a missing package is said, and nothing is sent.
    """
    global _tracer
    provider = None
    try:
        provider = None if settings.traces_url is None else _provider(settings.traces_url)
    except ValueError as error:  # of the settings, or of variables that the exporter reads itself
        say(str(error))
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == "opentelemetry"
        reason = "are not installed" if missing else f"cannot be imported: {error}"
        say(
            f"there are no traces: OTEL_EXPORTER_OTLP_ENDPOINT needs the packages of abel-sweeps[traces], which {reason}"
        )
    if provider is None:
        yield None
        return
    _tracer = provider.get_tracer("abel")
    try:
        yield provider
    finally:
        _tracer = None
        leaving = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
        leaving.start()
        leaving.join(LEAVE_SECONDS)


@contextmanager
def spanned(name: str, **attributes: str | int) -> Iterator[None]:
    """A span around the block, if there are traces. Of an error it has the class alone, as a message may hold anything."""
    if _tracer is None:
        yield
        return
    given = {f"abel.{key}": value for key, value in attributes.items()}
    with _tracer.start_as_current_span(
        name, attributes=given, record_exception=False, set_status_on_exception=False
    ) as one:
        try:
            yield
        except BaseException as error:
            one.set_attribute("error.type", type(error).__name__)
            raise


def _provider(url: str) -> "TracerProvider":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    class NoQueries(SpanProcessor):
        """Hides what callers put into a query: it may be anything."""

        def on_start(self, span: Span, parent_context: object = None) -> None:
            if "url.query" in (span.attributes or {}):
                span.set_attribute("url.query", "REDACTED")

    for name in ("opentelemetry.exporter", "opentelemetry.sdk"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # else each lost batch is an error in the log
    provider = TracerProvider(resource=Resource.create({"service.name": "abel"}), shutdown_on_exit=False)
    provider.add_span_processor(NoQueries())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(url, timeout=EXPORT_SECONDS)))
    return provider
