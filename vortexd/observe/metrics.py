"""The metrics in Prometheus format. The code and the settings name every label value. No label comes from the network."""

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from ..core.model import SourceReport
from .collectors import Connections, Delays, Fleet, Merged, Sources
from .publication import Publication

# vortexd promises 50 ms for 1,000 clients.
_DELAY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_PHASE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
# vortexd promises 100 ms, and aims for 10 ms.
_LAG_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
# The limits that prometheus_client gives a histogram.
_HEARTBEAT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The metrics of one daemon, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._closed = Counter(
            "vortexd_connections_closed", "Closed WebSocket connections", ["reason"], registry=registry
        )
        self._opened = Counter("vortexd_connections_opened", "Completed WebSocket handshakes", registry=registry)
        self._written = Counter("vortexd_sent_bytes", "Bytes written to WebSocket clients", registry=registry)
        self._read = Counter("vortexd_received_bytes", "Bytes read from WebSocket clients", registry=registry)
        self._sent = Counter("vortexd_sent_messages", "Messages sent to WebSocket clients", ["type"], registry=registry)
        self._delays = Delays(
            "vortexd_publish_to_written_seconds",
            "Time from the commit of a change to the write to one client",
            _DELAY_BUCKETS,
        )
        registry.register(self._delays)
        self._phases = Histogram(
            "vortexd_publication_seconds",
            "Duration of publications by phase: source, parse, resolve, diff, broadcast",
            ["phase"],
            registry=registry,
            buckets=_PHASE_BUCKETS,
        )
        self._lagged = Counter("vortexd_lagged", "Times a client's queue was full", registry=registry)
        self._received = Counter(
            "vortexd_received_messages", "Messages received from WebSocket clients", ["type"], registry=registry
        )
        self._heartbeats = Delays("vortexd_heartbeat_seconds", "Time from ping to pong", _HEARTBEAT_BUCKETS)
        registry.register(self._heartbeats)
        self._acknowledged = Counter(
            "vortexd_acks", "Acknowledgements from applications", ["status"], registry=registry
        )
        self._publications = Counter("vortexd_publications", "Published states", registry=registry)
        self._changes = Counter("vortexd_changes", "Documents that changed", registry=registry)
        self._deliveries = Counter("vortexd_deliveries", "Frames handed to connections", registry=registry)
        self._reloads = Counter("vortexd_reloads", "Reloads by SIGHUP", ["outcome"], registry=registry)
        self._broken = Gauge("vortexd_broken_files", "Configuration files that are broken now", registry=registry)
        self._unserved = Gauge(
            "vortexd_broken_files_without_good_content",
            "Broken files without a known good content, so that keys can't be served",
            registry=registry,
        )
        self._lag = Delays("vortexd_loop_lag_seconds", "Delay of the event loop", _LAG_BUCKETS)
        registry.register(self._lag)
        self._tasks = Gauge("vortexd_tasks", "Tasks of the event loop", registry=registry)
        self._requests = Histogram(
            "vortexd_http_request_seconds", "HTTP requests", ["route", "status"], registry=registry
        )
        # The series of `_sent`, `_closed` and `_requests`. prometheus_client's search by labels takes longer than the count.
        self._sent_by_type: dict[str, Counter] = {}
        self._closed_by_reason: dict[str, Counter] = {}
        self._observers: dict[tuple[str, int], Histogram] = {}

    def build(self, version: str, sockets: str) -> None:
        """Record the version, and how the server writes to many sockets: "native" or "python"."""
        build = Gauge("vortexd_build_info", "The version of vortexd", ["version", "sockets"], registry=self._registry)
        build.labels(version, sockets).set(1)

    def watch_sources(self, reports: Callable[[], Sequence[SourceReport]]) -> None:
        """Collect the state of the sources at each scrape."""
        self._registry.register(Sources(reports))

    def watch_connections(self, count: Callable[[], tuple[int, int]]) -> None:
        """Collect the numbers of awake and parked connections at each scrape."""
        self._registry.register(Connections(count))

    def watch_fleet(self, totals: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        """Collect the instances by application and state at each scrape. The settings and the code name both labels."""
        self._registry.register(Fleet(totals))

    def watch_tasks(self, count: Callable[[], int]) -> None:
        """Collect the number of tasks at each scrape."""
        self._tasks.set_function(count)

    def loop_late(self, seconds: float, count: int = 1) -> None:
        """Record by how many seconds the event loop was late, for so many measurements."""
        self._lag.observe(seconds, count)

    # Metrics of the pipeline.

    def published(self, changes: int, deliveries: int) -> None:
        """Record that a state was put in force."""
        self._publications.inc()
        self._changes.inc(changes)
        self._deliveries.inc(deliveries)

    def publication(self, done: Publication) -> None:
        """Record that a state has passed from its source to the clients."""
        self.published(done.changes, done.deliveries)
        for name, seconds in done.phases.items():
            self._phases.labels(name).observe(seconds - done.diff_seconds if name == "resolve" else seconds)
        self._phases.labels("diff").observe(done.diff_seconds)

    def broken_files(self, count: int, unserved: int) -> None:
        """Record the number of broken files, and how many of them have no known good content, so keys can't be served."""
        self._broken.set(count)
        self._unserved.set(unserved)

    def reloaded(self, *, is_done: bool) -> None:
        """Record that a reload by SIGHUP was done or refused."""
        self._reloads.labels("done" if is_done else "refused").inc()

    # Metrics of connections.

    def connection_opened(self) -> None:
        """Record a completed handshake."""
        self._opened.inc()

    def connection_closed(self, reason: str) -> None:
        """Record the end of a connection. `reason` is the name of a CloseReason."""
        series = self._closed_by_reason.get(reason)
        if series is None:
            series = self._closed_by_reason[reason] = self._closed.labels(reason)
        series.inc()

    def bytes_written(self, count: int) -> None:
        """Record bytes that were written to a client."""
        self._written.inc(count)

    def bytes_read(self, count: int) -> None:
        """Record bytes that were received from a client."""
        self._read.inc(count)

    def sent(self, kind: str, count: int = 1) -> None:
        """Record that a message of a type was sent to this many clients."""
        series = self._sent_by_type.get(kind)
        if series is None:
            series = self._sent_by_type[kind] = self._sent.labels(kind)
        series.inc(count)

    def delivered(self, seconds: float, count: int) -> None:
        """Record that this many clients received a change this many seconds after its commit."""
        self._delays.observe(seconds, count)

    def lagged(self) -> None:
        """Record that a client's queue was full."""
        self._lagged.inc()

    def message_received(self, kind: str) -> None:
        """Record a client's message. `kind` is "ping", "ack", "resync", "subscribe", "unsubscribe" or "refused", never a client's text."""
        self._received.labels(kind).inc()

    def heartbeat_answered(self, seconds: float, count: int = 1) -> None:
        """Record the time from a ping frame to its pong, in seconds, for this many clients."""
        self._heartbeats.observe(seconds, count)

    def acknowledged(self, status: str) -> None:
        """Record that an application has applied or rejected a version."""
        self._acknowledged.labels(status).inc()

    # Metrics of HTTP.

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Record an answered request. `route` is the template of a route, never a path."""
        series = route, status // 100
        observer = self._observers.get(series)
        if observer is None:
            observer = self._observers[series] = self._requests.labels(route, f"{status // 100}xx")
        observer.observe(seconds)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class SupervisorMetrics:
    """The metrics that a supervisor collects about its workers.

    Args:
        workers: The number of workers.
    """

    def __init__(self, workers: int) -> None:
        self._registry = CollectorRegistry()
        self._restarts = Counter("vortexd_worker_restarts", "Restarts of workers", ["worker"], registry=self._registry)
        for number in range(workers):
            self._restarts.labels(str(number))

    def restarted(self, number: int) -> None:
        """Record that a worker has ended and is started again."""
        self._restarts.labels(str(number)).inc()

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


def merge(texts: Mapping[str, str]) -> bytes:
    """Merge the metrics of several processes, as `Merged` describes."""
    registry = CollectorRegistry()
    registry.register(Merged(texts))
    return generate_latest(registry)
