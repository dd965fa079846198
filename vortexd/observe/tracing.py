"""Traces: each publication is a span, from the source that noticed the change to the broadcast, with one child per phase.

Spans are made at the end, from the measured times, and a thread of OpenTelemetry sends them. So nothing waits for a
collector. If the collector is down, only the spans are lost. The packages belong to the extra `otel`. Without [tracing],
they aren't imported.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .. import __version__
from ..core.errors import SettingsError
from ..settings.tracing import TracingSettings
from .publication import Publication

_NANOSECONDS = 1_000_000_000
# How long spans may still be sent when the daemon stops, in milliseconds.
_FLUSH_MILLISECONDS = 1_000


class Tracer:
    """Makes spans from publications.

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
    """Yield a function that traces publications while the block runs, or None without an endpoint.

    Raises:
        SettingsError: The extra `otel` isn't installed.
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
        provider.force_flush(_FLUSH_MILLISECONDS)
        provider.shutdown()
