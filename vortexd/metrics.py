"""What can be counted, as Prometheus has it. Every label value is named by the code: nothing from the network becomes one."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from .model import SourceReport

# 100 ms is what is promised, 10 ms what is aimed for.
_LAG_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The counters of one daemon, on a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._connections = Gauge("vortexd_connections", "Open WebSocket connections", registry=registry)
        self._closed = Counter(
            "vortexd_connections_closed", "WebSocket connections that ended", ["reason"], registry=registry
        )
        self._written = Counter("vortexd_sent_bytes", "Bytes written to WebSocket clients", registry=registry)
        self._lagged = Counter("vortexd_lagged", "Times a client's queue was full", registry=registry)
        self._received = Counter(
            "vortexd_received_messages", "What WebSocket clients have asked for", ["type"], registry=registry
        )
        self._heartbeats = Histogram("vortexd_heartbeat_seconds", "From ping to pong", registry=registry)
        self._acknowledged = Counter("vortexd_acks", "What applications say they did", ["status"], registry=registry)
        self._publications = Counter("vortexd_publications", "States that came from the source", registry=registry)
        self._changes = Counter("vortexd_changes", "Documents that became another one", registry=registry)
        self._deliveries = Counter("vortexd_deliveries", "Frames handed to connections", registry=registry)
        self._reloads = Counter("vortexd_reloads", "SIGHUPs", ["outcome"], registry=registry)
        self._broken = Gauge("vortexd_broken_files", "Files that can't be used now", registry=registry)
        self._lag = Histogram(
            "vortexd_loop_lag_seconds", "How late the event loop was", registry=registry, buckets=_LAG_BUCKETS
        )
        self._requests = Histogram(
            "vortexd_http_request_seconds", "HTTP requests", ["route", "status"], registry=registry
        )

    def watch_sources(self, reports: Callable[[], Sequence[SourceReport]]) -> None:
        """Show how the sources are, whenever somebody looks."""
        self._registry.register(_Sources(reports))

    def loop_late(self, seconds: float) -> None:
        """The event loop did something this much later than it should have."""
        self._lag.observe(seconds)

    # What the line counts.

    def published(self, changes: int, deliveries: int) -> None:
        """A state was put in force."""
        self._publications.inc()
        self._changes.inc(changes)
        self._deliveries.inc(deliveries)

    def broken_files(self, count: int) -> None:
        """So many files can't be used now."""
        self._broken.set(count)

    def reloaded(self, *, is_done: bool) -> None:
        """A SIGHUP was carried out, or refused."""
        self._reloads.labels("done" if is_done else "refused").inc()

    # What connections count.

    def connection_opened(self) -> None:
        """A handshake is done."""
        self._connections.inc()

    def connection_closed(self, reason: str) -> None:
        """A connection has ended; `reason` is the name of a CloseReason."""
        self._connections.dec()
        self._closed.labels(reason).inc()

    def bytes_written(self, count: int) -> None:
        """So many bytes went to a client."""
        self._written.inc(count)

    def lagged(self) -> None:
        """A client's queue was full."""
        self._lagged.inc()

    def message_received(self, kind: str) -> None:
        """A client has said something; `kind` is the name of a request, never its text."""
        self._received.labels(kind).inc()

    def heartbeat_answered(self, seconds: float) -> None:
        """A client has answered a ping frame after so many seconds."""
        self._heartbeats.observe(seconds)

    def acknowledged(self, status: str) -> None:
        """An application has applied or rejected a version."""
        self._acknowledged.labels(status).inc()

    # What HTTP counts.

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request was answered; `route` is the template of a route, never a path."""
        self._requests.labels(route, f"{status // 100}xx").observe(seconds)

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)


class SupervisorMetrics:
    """What a supervisor counts of its workers.

    Args:
        workers: How many there shall be.
    """

    def __init__(self, workers: int) -> None:
        self._registry = CollectorRegistry()
        self._restarts = Counter(
            "vortexd_worker_restarts", "Workers started again", ["worker"], registry=self._registry
        )
        for number in range(workers):
            self._restarts.labels(str(number))

    def restarted(self, number: int) -> None:
        """A worker has ended, and is started again."""
        self._restarts.labels(str(number)).inc()

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)


class Merged(Collector):
    """What several processes count, each sample labelled with the worker it is from.

    Counters aren't added up: one that begins anew with its worker would make a sum that goes down.

    Args:
        texts: By worker, in Prometheus' text format.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def describe(self) -> Iterator[Metric]:
        """See prometheus_client."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        families: dict[str, Metric] = {}
        for worker, text in self._texts.items():
            for each in text_string_to_metric_families(text):
                family = families.setdefault(each.name, Metric(each.name, each.documentation, each.type))
                for sample in each.samples:
                    labels = {"worker": worker, **sample.labels}
                    family.add_sample(sample.name, labels, sample.value)
        yield from families.values()


def merge(texts: Mapping[str, str]) -> bytes:
    """The texts of several processes as one; see `Merged`."""
    registry = CollectorRegistry()
    registry.register(Merged(texts))
    return generate_latest(registry)


class _Sources(Collector):
    """How the sources are, read when it is asked for. Their number and names are the operator's."""

    def __init__(self, reports: Callable[[], Sequence[SourceReport]]) -> None:
        self._reports = reports

    def describe(self) -> Iterator[GaugeMetricFamily]:
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """See prometheus_client."""
        failing = GaugeMetricFamily("vortexd_source_failing", "The last reading failed", labels=["source", "number"])
        stale = GaugeMetricFamily(
            "vortexd_source_stale_seconds", "Since it was read, while it fails", labels=["source", "number"]
        )
        success = GaugeMetricFamily(
            "vortexd_source_last_success_timestamp_seconds", "When it was last read", labels=["source", "number"]
        )
        for number, report in enumerate(self._reports()):
            labels = [report.name, str(number)]
            failing.add_metric(labels, float(report.is_failing))
            stale.add_metric(labels, report.stale_for)
            if report.last_success is not None:
                success.add_metric(labels, report.last_success)
        yield from (failing, stale, success)
