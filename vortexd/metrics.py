"""What can be counted, as Prometheus has it. Every label value is named by the code: nothing from the network becomes one."""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from .model import SourceReport

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
        self._delays = _Delays(
            "vortexd_publish_to_written_seconds",
            "From the commit of a change to the write to one client",
            _DELAY_BUCKETS,
        )
        registry.register(self._delays)
        self._phases = Histogram(
            "vortexd_publication_seconds",
            "What publications take, by part: parse, resolve, diff, broadcast",
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
        self._lag = Histogram(
            "vortexd_loop_lag_seconds", "How late the event loop was", registry=registry, buckets=_LAG_BUCKETS
        )
        self._requests = Histogram(
            "vortexd_http_request_seconds", "HTTP requests", ["route", "status"], registry=registry
        )

    def watch_sources(self, reports: Callable[[], Sequence[SourceReport]]) -> None:
        """Show how the sources are, whenever somebody looks."""
        self._registry.register(_Sources(reports))

    def watch_connections(self, count: Callable[[], tuple[int, int]]) -> None:
        """Show how many connections are awake and how many are parked, whenever somebody looks."""
        self._registry.register(_Connections(count))

    def watch_fleet(self, totals: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        """Show how many instances are in which state, by application and state; both come from the settings and the code."""
        self._registry.register(_Fleet(totals))

    def loop_late(self, seconds: float) -> None:
        """The event loop did something this much later than it should have."""
        self._lag.observe(seconds)

    # What the line counts.

    def published(self, changes: int, deliveries: int) -> None:
        """A state was put in force."""
        self._publications.inc()
        self._changes.inc(changes)
        self._deliveries.inc(deliveries)

    def phase(self, name: str, seconds: float) -> None:
        """A part of a publication took so long; see `vortexd_publication_seconds`."""
        self._phases.labels(name).observe(seconds)

    def broken_files(self, count: int) -> None:
        """So many files can't be used now."""
        self._broken.set(count)

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


class Stopwatch:
    """How long the parts of a publication take, in seconds by name."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """What came since the last lap is of this name."""
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now

    def move(self, name: str, other: str, seconds: float) -> None:
        """So much of one was another."""
        self.laps[name] -= seconds
        self.laps[other] = seconds


class _Delays(Collector):
    """A histogram that takes many observations of one value at once: a write to 9,000 clients is a few of them.

    Args:
        bounds: The buckets' upper ends, ascending.
    """

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float, count: int) -> None:
        """So many took this long."""
        self._counts[bisect_left(self._bounds, seconds)] += count
        self._sum += seconds * count

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """See prometheus_client."""
        ends = (*map(str, self._bounds), "+Inf")
        buckets = list(zip(ends, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._documentation, buckets, self._sum)


class _Connections(Collector):
    """How many connections there are by what they cost, read when it is asked for."""

    def __init__(self, count: Callable[[], tuple[int, int]]) -> None:
        self._count = count

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """See prometheus_client."""
        family = GaugeMetricFamily("vortexd_connections", "Open WebSocket connections", labels=["state"])
        for state, count in zip(("awake", "parked"), self._count(), strict=True):
            family.add_metric([state], count)
        yield family


class _Sources(Collector):
    """How the sources are, read when it is asked for. Their number and names are the operator's."""

    def __init__(self, reports: Callable[[], Sequence[SourceReport]]) -> None:
        self._reports = reports

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        failing = GaugeMetricFamily("vortexd_source_failing", "The last reading failed", labels=["source", "number"])
        stale = GaugeMetricFamily(
            "vortexd_source_stale_seconds", "Since it was read, while it fails", labels=["source", "number"]
        )
        success = GaugeMetricFamily(
            "vortexd_source_last_success_timestamp_seconds", "When it was last read", labels=["source", "number"]
        )
        errors = CounterMetricFamily("vortexd_source_errors", "Readings that failed", labels=["source", "number"])
        info = GaugeMetricFamily(
            "vortexd_source_info", "What is served of it", labels=["source", "number", "kind", "revision"]
        )
        for number, report in enumerate(self._reports()):
            labels = [report.name, str(number)]
            failing.add_metric(labels, float(report.is_failing))
            stale.add_metric(labels, report.stale_for)
            if report.last_success is not None:
                success.add_metric(labels, report.last_success)
            errors.add_metric(labels, report.errors)
            info.add_metric([*labels, report.kind, report.revision or ""], 1)
        yield from (failing, stale, success, errors, info)


class _Fleet(Collector):
    """How many instances are in which state, counted when it is asked for."""

    def __init__(self, totals: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        self._totals = totals

    def describe(self) -> Iterator[GaugeMetricFamily]:
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """See prometheus_client."""
        instances = GaugeMetricFamily(
            "vortexd_fleet_instances", "What instances did with the current version", labels=["app", "state"]
        )
        for labels, number in self._totals().items():
            instances.add_metric(labels, number)
        yield instances
