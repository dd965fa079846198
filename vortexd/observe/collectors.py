"""Collectors for prometheus_client: values that are read at each scrape, and histograms with bulk observations."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from ..core.model import SourceReport


class Merged(Collector):
    """The metrics of several processes. Each sample has the label of its worker.

    Counters aren't summed, because a worker that restarts would make the sum decrease.

    Args:
        texts: The metrics of each worker, in Prometheus' text format.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def describe(self) -> Iterator[Metric]:
        """Return no descriptions, so that registration doesn't collect. See prometheus_client."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Return the metrics. See prometheus_client."""
        families: dict[str, Metric] = {}
        for worker, text in self._texts.items():
            for each in text_string_to_metric_families(text):
                family = families.setdefault(each.name, Metric(each.name, each.documentation, each.type))
                for sample in each.samples:
                    labels = {"worker": worker, **sample.labels}
                    family.add_sample(sample.name, labels, sample.value)
        yield from families.values()


class Delays(Collector):
    """A histogram that records many equal observations at once. A write to 9,000 clients needs only a few of them.

    Args:
        bounds: The upper bounds of the buckets, ascending.
    """

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float, count: int) -> None:
        """Record `count` observations of the same duration."""
        self._counts[bisect_left(self._bounds, seconds)] += count
        self._sum += seconds * count

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Return the metrics. See prometheus_client."""
        ends = (*map(str, self._bounds), "+Inf")
        buckets = list(zip(ends, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._documentation, buckets, self._sum)


class Connections(Collector):
    """The number of connections by state, read at each scrape."""

    def __init__(self, count: Callable[[], tuple[int, int]]) -> None:
        self._count = count

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the metrics. See prometheus_client."""
        family = GaugeMetricFamily("vortexd_connections", "Open WebSocket connections", labels=["state"])
        for state, count in zip(("awake", "parked"), self._count(), strict=True):
            family.add_metric([state], count)
        yield family


class Sources(Collector):
    """The state of the sources, read at each scrape. The operator chooses their number and names."""

    def __init__(self, reports: Callable[[], Sequence[SourceReport]]) -> None:
        self._reports = reports

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Return the metrics. See prometheus_client."""
        failing = GaugeMetricFamily(
            "vortexd_source_failing", "Whether the last attempt to read the source failed", labels=["source", "number"]
        )
        stale = GaugeMetricFamily(
            "vortexd_source_stale_seconds",
            "Seconds since the source was last read, while it fails",
            labels=["source", "number"],
        )
        success = GaugeMetricFamily(
            "vortexd_source_last_success_timestamp_seconds",
            "When the source was last read",
            labels=["source", "number"],
        )
        errors = CounterMetricFamily(
            "vortexd_source_errors", "Failed attempts to read the source", labels=["source", "number"]
        )
        info = GaugeMetricFamily(
            "vortexd_source_info",
            "Kind and served revision of the source",
            labels=["source", "number", "kind", "revision"],
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


class Fleet(Collector):
    """The number of instances in each state, counted at each scrape."""

    def __init__(self, totals: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        self._totals = totals

    def describe(self) -> Iterator[GaugeMetricFamily]:
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the metrics. See prometheus_client."""
        instances = GaugeMetricFamily(
            "vortexd_fleet_instances", "Instances by their report about the current version", labels=["app", "state"]
        )
        for labels, number in self._totals().items():
            instances.add_metric(labels, number)
        yield instances
