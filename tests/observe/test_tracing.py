"""Traces of publications, with OpenTelemetry's exporter in memory, and without the packages of OpenTelemetry."""

import sys
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from vortexd.core.errors import SettingsError
from vortexd.observe.publication import Publication
from vortexd.observe.tracing import Tracer, tracing
from vortexd.settings.tracing import TracingSettings

DONE = Publication(
    1_000.0, {"source": 0.1, "parse": 0.02, "resolve": 0.03, "broadcast": 0.05}, 0.01, 2, 3, 40, frozenset({"1f3a"})
)


def spans_of(*publications: Publication) -> Sequence[ReadableSpan]:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = Tracer(provider)
    for each in publications:
        tracer(each)
    return exporter.get_finished_spans()


def test_a_publication_is_one_span_with_its_parts_below_it_one_after_the_other() -> None:
    *parts, whole = spans_of(DONE)

    assert "publication" == whole.name
    assert {"vortexd.labels": 2, "vortexd.changes": 3, "vortexd.deliveries": 40} == {
        name: value for name, value in (whole.attributes or {}).items() if isinstance(value, int)
    }
    assert ("1f3a",) == (whole.attributes or {})["vortexd.commits"]
    assert ["source", "parse", "resolve", "broadcast"] == [each.name for each in parts]
    assert {whole.context and whole.context.span_id} == {each.parent and each.parent.span_id for each in parts}
    bounds = [parts[0].start_time, *(each.end_time for each in parts)]
    assert [1_000.0, 1_000.1, 1_000.12, 1_000.15, 1_000.2] == [round((each or 0) / 1e9, 6) for each in bounds]
    assert (whole.start_time, whole.end_time) == (bounds[0], bounds[-1])


def test_two_publications_are_two_traces() -> None:
    assert 2 == len({each.context and each.context.trace_id for each in spans_of(DONE, DONE)})


def test_without_a_collector_nothing_is_traced_and_nothing_is_imported() -> None:
    with tracing(TracingSettings()) as trace:
        assert trace is None


def test_without_the_packages_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    with pytest.raises(SettingsError, match=r"pip install 'vortexd\[otel\]'"), tracing(TracingSettings("http://x")):
        pass


def test_a_collector_that_is_away_costs_nothing_but_its_spans() -> None:
    with tracing(TracingSettings("http://127.0.0.1:1/v1/traces")) as trace:
        assert trace is not None
        trace(DONE)
