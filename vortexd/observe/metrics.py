"""What can be counted, as Prometheus has it. Every label value is named by the code: nothing from the network becomes one."""

from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from ..core.model import SourceReport
from .collectors import Connections, Delays, Fleet, Merged, Sources
from .publication import Publication

# 50 ms is what is promised for 1,000 clients.
_DELAY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_PHASE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
# 100 ms is what is promised, 10 ms what is aimed for.
_LAG_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The counters of one daemon, on a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._closed = Counter(
            "vortexd_connections_closed", "WebSocket connections that ended", ["reason"], registry=registry
        )
        self._opened = Counter("vortexd_connections_opened", "WebSocket handshakes that were done", registry=registry)
        self._written = Counter("vortexd_sent_bytes", "Bytes written to WebSocket clients", registry=registry)
        self._read = Counter("vortexd_received_bytes", "Bytes read from WebSocket clients", registry=registry)
        self._sent = Counter("vortexd_sent_messages", "What WebSocket clients were told", ["type"], registry=registry)
        self._delays = Delays(
            "vortexd_publish_to_written_seconds",
            "From the commit of a change to the write to one client",
            _DELAY_BUCKETS,
        )
        registry.register(self._delays)
        self._phases = Histogram(
            "vortexd_publication_seconds",
            "What publications take, by part: source, parse, resolve, diff, broadcast",
            ["phase"],
            registry=registry,
            buckets=_PHASE_BUCKETS,
        )
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
        self._unserved = Gauge(
            "vortexd_broken_files_without_good_content",
            "Those of them that keys can't be served without",
            registry=registry,
        )
        self._lag = Histogram(
            "vortexd_loop_lag_seconds", "How late the event loop was", registry=registry, buckets=_LAG_BUCKETS
        )
        self._tasks = Gauge("vortexd_tasks", "Tasks of the event loop", registry=registry)
        self._requests = Histogram(
            "vortexd_http_request_seconds", "HTTP requests", ["route", "status"], registry=registry
        )

    def watch_sources(self, reports: Callable[[], Sequence[SourceReport]]) -> None:
        """Show how the sources are, whenever somebody looks."""
        self._registry.register(Sources(reports))

    def watch_connections(self, count: Callable[[], tuple[int, int]]) -> None:
        """Show how many connections are awake and how many are parked, whenever somebody looks."""
        self._registry.register(Connections(count))

    def watch_fleet(self, totals: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        """Show how many instances are in which state, by application and state; both come from the settings and the code."""
        self._registry.register(Fleet(totals))

    def watch_tasks(self, count: Callable[[], int]) -> None:
        """Show how many tasks there are, whenever somebody looks."""
        self._tasks.set_function(count)

    def loop_late(self, seconds: float) -> None:
        """The event loop did something this much later than it should have."""
        self._lag.observe(seconds)

    # What the pipeline counts.

    def published(self, changes: int, deliveries: int) -> None:
        """A state was put in force."""
        self._publications.inc()
        self._changes.inc(changes)
        self._deliveries.inc(deliveries)

    def publication(self, done: Publication) -> None:
        """A state has gone from its source to the clients."""
        self.published(done.changes, done.deliveries)
        for name, seconds in done.phases.items():
            self._phases.labels(name).observe(seconds - done.diff_seconds if name == "resolve" else seconds)
        self._phases.labels("diff").observe(done.diff_seconds)

    def broken_files(self, count: int, unserved: int) -> None:
        """So many files can't be used now; for so many of them no good content is known, so that keys can't be served."""
        self._broken.set(count)
        self._unserved.set(unserved)

    def reloaded(self, *, is_done: bool) -> None:
        """A SIGHUP was carried out, or refused."""
        self._reloads.labels("done" if is_done else "refused").inc()

    # What connections count.

    def connection_opened(self) -> None:
        """A handshake is done."""
        self._opened.inc()

    def connection_closed(self, reason: str) -> None:
        """A connection has ended; `reason` is the name of a CloseReason."""
        self._closed.labels(reason).inc()

    def bytes_written(self, count: int) -> None:
        """So many bytes went to a client."""
        self._written.inc(count)

    def bytes_read(self, count: int) -> None:
        """So many bytes came from a client."""
        self._read.inc(count)

    def sent(self, kind: str, count: int = 1) -> None:
        """So many clients were sent a message of a type."""
        self._sent.labels(kind).inc(count)

    def delivered(self, seconds: float, count: int) -> None:
        """So many clients were written a change that long after it was published."""
        self._delays.observe(seconds, count)

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


def merge(texts: Mapping[str, str]) -> bytes:
    """The texts of several processes as one; see `Merged`."""
    registry = CollectorRegistry()
    registry.register(Merged(texts))
    return generate_latest(registry)
