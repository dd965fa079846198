"""The metrics in Prometheus format. The code and the settings name every label value. No label comes from the network."""

import time
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TypeVar

from ..core.model import ClusterReport, SourceReport
from .publication import Publication
from .series import Cluster, Connections, Counter, Delays, Fleet, Gauge, LabelledDelays, Pins, Rollouts, Series, Sources

S = TypeVar("S", bound=Series)
# vortexd promises 50 ms for 1,000 clients.
_DELAY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_PHASE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
# vortexd promises 100 ms, and aims for 10 ms.
_LAG_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
# The limits that prometheus_client gives a histogram.
_USUAL_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The metrics of one daemon."""

    def __init__(self) -> None:
        # A scrape shows them in this order.
        self._all: list[Series] = []
        self._closed = self._counter("vortexd_connections_closed", "Closed WebSocket connections", "reason")
        self._opened = self._counter("vortexd_connections_opened", "Completed WebSocket handshakes")
        self._written = self._counter("vortexd_sent_bytes", "Bytes written to WebSocket clients")
        self._read = self._counter("vortexd_received_bytes", "Bytes read from WebSocket clients")
        self._sent = self._counter("vortexd_sent_messages", "Messages sent to WebSocket clients", "type")
        self._delays = self._shown(
            Delays(
                "vortexd_publish_to_written_seconds",
                "Time from the commit of a change to the write to one client",
                _DELAY_BUCKETS,
            )
        )
        self._phases = self._shown(
            LabelledDelays(
                "vortexd_publication_seconds",
                "Duration of publications by phase: source, parse, resolve, diff, broadcast",
                time.time,
                ["phase"],
                _PHASE_BUCKETS,
            )
        )
        self._lagged = self._counter("vortexd_lagged", "Times a client's queue was full")
        self._received = self._counter("vortexd_received_messages", "Messages received from WebSocket clients", "type")
        self._heartbeats = self._shown(Delays("vortexd_heartbeat_seconds", "Time from ping to pong", _USUAL_BUCKETS))
        self._acknowledged = self._counter("vortexd_acks", "Acknowledgements from applications", "status")
        self._publications = self._counter("vortexd_publications", "Published states")
        self._changes = self._counter("vortexd_changes", "Documents that changed")
        self._deliveries = self._counter("vortexd_deliveries", "Frames handed to connections")
        self._reloads = self._counter("vortexd_reloads", "Reloads by SIGHUP", "outcome")
        self._broken = self._shown(Gauge("vortexd_broken_files", "Configuration files that are broken now"))
        self._unserved = self._shown(
            Gauge(
                "vortexd_broken_files_without_good_content",
                "Broken files without a known good content, so that keys can't be served",
            )
        )
        self._rollbacks = self._counter("vortexd_rollbacks", "Roll-backs, without plans", "outcome")
        self._held_back = self._shown(Gauge("vortexd_labels_held_back", "Labels that the gate holds back"))
        # It is shown only after a gate has held back an application.
        self._applications: Gauge | None = None
        self._lag = self._shown(Delays("vortexd_loop_lag_seconds", "Delay of the event loop", _LAG_BUCKETS))
        self._tasks = self._shown(Gauge("vortexd_tasks", "Tasks of the event loop"))
        self._requests = self._shown(
            LabelledDelays(
                "vortexd_http_request_seconds", "HTTP requests", time.time, ["route", "status"], _USUAL_BUCKETS
            )
        )
        self._waits = self._counter("vortexd_waits", "Ended waits of HTTP requests for a change", "outcome")
        # The series of `_requests` by route and class of status. The search by labels takes longer than the observation.
        self._observers: dict[tuple[str, int], Delays] = {}

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return self._shown(Counter(name, documentation, time.time, labels))

    def _shown(self, series: S) -> S:
        self._all.append(series)
        return series

    def build(self, version: str, sockets: str) -> None:
        """Record the version, and how the server writes to many sockets: "native" or "python"."""
        labels = {"version": version, "sockets": sockets}
        self._shown(Gauge("vortexd_build_info", "The version of vortexd", **labels)).set(1)

    def watch_sources(self, reports: Callable[[], Sequence[SourceReport]]) -> None:
        """Collect the state of the sources at each scrape."""
        self._shown(Sources(reports))

    def watch_connections(self, count: Callable[[], tuple[int, int]]) -> None:
        """Collect the numbers of awake and parked connections at each scrape."""
        self._shown(Connections(count))

    def watch_event_streams(self, count: Callable[[], int]) -> None:
        """Collect the number of event streams at each scrape. They are connections, too."""
        text = "Open event streams. The number of connections includes them"
        self._shown(Gauge("vortexd_event_streams", text)).read = count

    def watch_waiting(self, count: Callable[[], int]) -> None:
        """Collect the number of requests that wait for a change, at each scrape."""
        self._shown(Gauge("vortexd_waiting_requests", "HTTP requests that wait for a change")).read = count

    def watch_fleet(self, totals: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        """Collect the instances by application and state at each scrape. The settings and the code name both labels."""
        self._shown(Fleet(totals))

    def watch_cluster(self, report: Callable[[], ClusterReport]) -> None:
        """Collect the state of the cluster at each scrape. Without a cluster there are no such metrics."""
        self._shown(Cluster(report))

    def watch_pins(self, totals: Callable[[], tuple[int, float | None]]) -> None:
        """Collect the number of pins, and the earliest end of one, at each scrape."""
        self._shown(Pins(totals))

    def watch_rollouts(self, totals: Callable[[], Mapping[str, int]]) -> None:
        """Collect the number of roll-outs by status, at each scrape."""
        self._shown(Rollouts(totals))

    def watch_tasks(self, count: Callable[[], int]) -> None:
        """Collect the number of tasks at each scrape."""
        self._tasks.read = count

    def loop_late(self, seconds: float, count: int = 1) -> None:
        """Record by how many seconds the event loop was late, for so many measurements."""
        self._lag.observe(seconds, count)

    # Metrics of the pipeline.

    def published(self, changes: int, deliveries: int) -> None:
        """Record that a state was put in force."""
        self._publications.add(1)
        self._changes.add(changes)
        self._deliveries.add(deliveries)

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

    def labels_held_back(self, count: int) -> None:
        """Record the number of labels that the gate holds back."""
        self._held_back.set(count)

    def applications_held_back(self, count: int) -> None:
        """Record the number of applications that the gate holds back, label by label, without whole labels."""
        if self._applications is None and count:
            text = "Applications that the gate holds back, while others of their label are served"
            self._applications = self._shown(Gauge("vortexd_applications_held_back", text))
        if self._applications is not None:
            self._applications.set(count)

    def reloaded(self, *, is_done: bool) -> None:
        """Record that a reload by SIGHUP was done or refused."""
        self._reloads.add(1, "done" if is_done else "refused")

    def rolled_back(self, outcome: str) -> None:
        """Record a roll-back. The outcome is "done", "refused" or "failed"."""
        self._rollbacks.add(1, outcome)

    # Metrics of connections.

    def connection_opened(self) -> None:
        """Record a completed handshake."""
        self._opened.add(1)

    def connection_closed(self, reason: str) -> None:
        """Record the end of a connection. `reason` is the name of a CloseReason."""
        self._closed.add(1, reason)

    def bytes_written(self, count: int) -> None:
        """Record bytes that were written to a client."""
        self._written.add(count)

    def bytes_read(self, count: int) -> None:
        """Record bytes that were received from a client."""
        self._read.add(count)

    def sent(self, kind: str, count: int = 1) -> None:
        """Record that a message of a type was sent to this many clients."""
        self._sent.add(count, kind)

    def delivered(self, seconds: float, count: int) -> None:
        """Record that this many clients received a change this many seconds after its commit."""
        self._delays.observe(seconds, count)

    def lagged(self) -> None:
        """Record that a client's queue was full."""
        self._lagged.add(1)

    def message_received(self, kind: str) -> None:
        """Record a client's message. `kind` is "ping", "ack", "resync", "subscribe", "unsubscribe" or "refused", never a client's text."""
        self._received.add(1, kind)

    def heartbeat_answered(self, seconds: float, count: int = 1) -> None:
        """Record the time from a ping frame to its pong, in seconds, for this many clients."""
        self._heartbeats.observe(seconds, count)

    def acknowledged(self, status: str) -> None:
        """Record that an application has applied or rejected a version."""
        self._acknowledged.add(1, status)

    # Metrics of HTTP.

    def waited(self, outcome: str) -> None:
        """Record the end of a wait for a change, or that a request could not wait.

        The outcome is "changed", "unchanged", "refused", "limited", "unavailable", "failed" or "gone".
        """
        self._waits.add(1, outcome)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Record an answered request. `route` is the template of a route, never a path."""
        series = route, status // 100
        observer = self._observers.get(series)
        if observer is None:
            observer = self._observers[series] = self._requests.labels(route, f"{status // 100}xx")
        observer.observe(seconds)

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return render([*self._all], has_process=True)


class SupervisorMetrics:
    """The metrics that a supervisor collects about its workers.

    Args:
        workers: The number of workers.
    """

    def __init__(self, workers: int) -> None:
        self._restarts = Counter("vortexd_worker_restarts", "Restarts of workers", time.time, ["worker"])
        for number in range(workers):
            self._restarts.add(0, str(number))

    def restarted(self, number: int) -> None:
        """Record that a worker has ended and is started again."""
        self._restarts.add(1, str(number))

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return render([self._restarts], has_process=False)


def render(series: Sequence[Series], *, has_process: bool) -> bytes:
    """Return metrics in Prometheus' text format, as `exposition.render` does. The first call imports prometheus_client."""
    from . import exposition

    return exposition.render(series, has_process=has_process)


def merge(texts: Mapping[str, str]) -> bytes:
    """Merge the metrics of several processes, as `exposition.merge` does."""
    from . import exposition

    return exposition.merge(texts)


def load_exposition() -> ModuleType:
    """Import prometheus_client, so that the first scrape doesn't hold the event loop. May be called in a thread."""
    from . import exposition

    return exposition
