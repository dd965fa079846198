"""Traces, for who has a collector: each publication as one span, from the source that noticed a change to the broadcast, with its parts below it.

Spans are made when all is done, with the times that were measured, and sent by a thread of OpenTelemetry's: nobody waits for a collector, and one
that is away costs nothing but its spans. The packages are those of the extra `otel`; without [tracing] they aren't imported.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .. import __version__
from ..core.errors import SettingsError
from ..settings.sections import TracingSettings
from .publication import Publication

_NANOSECONDS = 1_000_000_000
# What is on its way to a collector when we stop, has this long, in milliseconds.
_LAST_WORDS = 1_000


class Tracer:
    """Makes spans of publications.

    Args:
        provider: An OpenTelemetry `TracerProvider`.
    """

    def __init__(self, provider: Any) -> None:
        from opentelemetry import trace

        self._in_span = trace.set_span_in_context
        self._tracer = provider.get_tracer("vortexd", __version__)

    def __call__(self, done: Publication) -> None:
        """Trace a publication. Returns at once."""
        start = round(done.began * _NANOSECONDS)
        span = self._tracer.start_span("publication", start_time=start)
        span.set_attributes(
            {
                "vortexd.labels": done.labels,
                "vortexd.changes": done.changes,
                "vortexd.deliveries": done.deliveries,
                "vortexd.diff_seconds": done.diff_seconds,
                "vortexd.commits": sorted(done.commits),
            }
        )
        for name, seconds in done.phases.items():
            end = start + round(seconds * _NANOSECONDS)
            self._tracer.start_span(name, context=self._in_span(span), start_time=start).end(end_time=end)
            start = end
        span.end(end_time=start)


@contextmanager
def tracing(settings: TracingSettings) -> Iterator[Callable[[Publication], None] | None]:
    """What traces publications while the block runs; None where nothing is set.

    Raises:
        SettingsError: The extra isn't installed.
    """
    if not settings.endpoint:
        yield None
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        problem = "needs OpenTelemetry, which isn't installed; pip install 'vortexd[otel]', or remove it"
        raise SettingsError([("tracing.endpoint", problem)]) from None
    name = os.environ.get("OTEL_SERVICE_NAME") or "vortexd"
    resource = Resource.create({"service.name": name, "service.version": __version__})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=settings.endpoint, timeout=5)))
    try:
        yield Tracer(provider)
    finally:
        provider.force_flush(_LAST_WORDS)
        provider.shutdown()
