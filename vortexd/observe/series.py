"""Numbers that the server counts, and values that it reads at each scrape, as families of samples. Pure.

Counters and histograms take observations. `collect` returns their families, which `exposition` writes in Prometheus' format. So the server counts
without prometheus_client, which is imported for the first scrape.
"""

from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Protocol

from ..core.model import ClusterReport, SourceReport


class Family:
    """The samples of one metric.

    Args:
        kind: "counter", "gauge" or "histogram".

    Attributes:
        samples: Each has the suffix of its name, its labels and its value.
    """

    def __init__(self, name: str, documentation: str, kind: str) -> None:
        self.name = name
        self.documentation = documentation
        self.kind = kind
        self.samples: list[tuple[str, dict[str, str], float]] = []

    def add(self, value: float, suffix: str = "", **labels: str) -> None:
        """Add a sample."""
        self.samples.append((suffix, labels, value))


class Series(Protocol):
    """Has families of samples at each scrape."""

    def collect(self) -> Iterator[Family]:
        """Return the families."""
        ...


class Counter:
    """A number that only grows, for each combination of label values.

    Args:
        names: The names of the labels.
        now: Returns the time in seconds since 1970. A sample says when its series began.
    """

    def __init__(self, name: str, documentation: str, now: Callable[[], float], names: Sequence[str] = ()) -> None:
        self._name = name
        self._documentation = documentation
        self._now = now
        self._names = tuple(names)
        self._values: dict[tuple[str, ...], float] = {}
        self._created: dict[tuple[str, ...], float] = {}
        if not names:
            self.add(0)

    def add(self, count: float, *labels: str) -> None:
        """Add to a series. Its first call begins the series."""
        if labels in self._values:
            self._values[labels] += count
        else:
            self._values[labels] = count
            self._created[labels] = self._now()

    def collect(self) -> Iterator[Family]:
        """See `Series`."""
        family = Family(self._name, self._documentation, "counter")
        for values, count in self._values.items():
            labels = dict(zip(self._names, values, strict=True))
            family.add(count, "_total", **labels)
            family.add(self._created[values], "_created", **labels)
        yield family


class Gauge:
    """A number of now."""

    def __init__(self, name: str, documentation: str, **labels: str) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        # Called at each scrape.
        self.read: Callable[[], float] = lambda: 0.0

    def set(self, value: float) -> None:
        """Set the number."""
        self.read = lambda: value

    def collect(self) -> Iterator[Family]:
        """See `Series`."""
        family = Family(self._name, self._documentation, "gauge")
        family.add(self.read(), **self._labels)
        yield family


class Delays:
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

    def observe(self, seconds: float, count: int = 1) -> None:
        """Record `count` observations of the same duration."""
        self._counts[bisect_left(self._bounds, seconds)] += count
        self._sum += seconds * count

    def add_to(self, family: Family, **labels: str) -> None:
        """Add the samples of this histogram to a family."""
        counts = [*accumulate(self._counts)]
        for bound, count in zip((*map(str, self._bounds), "+Inf"), counts, strict=True):
            family.add(count, "_bucket", **labels, le=bound)
        family.add(counts[-1], "_count", **labels)
        family.add(self._sum, "_sum", **labels)

    def collect(self) -> Iterator[Family]:
        """See `Series`."""
        family = Family(self._name, self._documentation, "histogram")
        self.add_to(family)
        yield family


class LabelledDelays:
    """A histogram for each combination of label values. A series says when it began, as that of a `Counter` does.

    Args:
        names: The names of the labels.
        bounds: As in `Delays`.
        now: As in `Counter`.
    """

    def __init__(
        self, name: str, documentation: str, now: Callable[[], float], names: Sequence[str], bounds: Sequence[float]
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._now = now
        self._names = tuple(names)
        self._bounds = bounds
        self._series: dict[tuple[str, ...], tuple[Delays, float]] = {}

    def labels(self, *labels: str) -> Delays:
        """Return the histogram for these values. The first call begins the series."""
        if labels not in self._series:
            self._series[labels] = Delays(self._name, self._documentation, self._bounds), self._now()
        return self._series[labels][0]

    def collect(self) -> Iterator[Family]:
        """See `Series`."""
        family = Family(self._name, self._documentation, "histogram")
        for values, (delays, created) in self._series.items():
            labels = dict(zip(self._names, values, strict=True))
            delays.add_to(family, **labels)
            family.add(created, "_created", **labels)
        yield family


class Connections:
    """The number of connections by state, read at each scrape."""

    def __init__(self, count: Callable[[], tuple[int, int]]) -> None:
        self._count = count

    def collect(self) -> Iterator[Family]:
        """See `Series`."""
        family = Family("vortexd_connections", "Open WebSocket connections", "gauge")
        for state, count in zip(("awake", "parked"), self._count(), strict=True):
            family.add(count, state=state)
        yield family


class Sources:
    """The state of the sources, read at each scrape. The operator chooses their number and names."""

    def __init__(self, reports: Callable[[], Sequence[SourceReport]]) -> None:
        self._reports = reports

    def collect(self) -> Iterator[Family]:
        """See `Series`."""
        failing = Family("vortexd_source_failing", "Whether the last attempt to read the source failed", "gauge")
        stale = Family(
            "vortexd_source_stale_seconds", "Seconds since the source was last read, while it fails", "gauge"
        )
        success = Family("vortexd_source_last_success_timestamp_seconds", "When the source was last read", "gauge")
        errors = Family("vortexd_source_errors", "Failed attempts to read the source", "counter")
        info = Family("vortexd_source_info", "Kind and served revision of the source", "gauge")
        for number, report in enumerate(self._reports()):
            labels = {"source": report.name, "number": str(number)}
            failing.add(float(report.is_failing), **labels)
            stale.add(report.stale_for, **labels)
            if report.last_success is not None:
                success.add(report.last_success, **labels)
            errors.add(report.errors, "_total", **labels)
            info.add(1, **labels, kind=report.kind, revision=report.revision or "")
        yield from (failing, stale, success, errors, info)


class Fleet:
    """The number of instances in each state, counted at each scrape."""

    def __init__(self, totals: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        self._totals = totals

    def collect(self) -> Iterator[Family]:
        """See `Series`."""
        instances = Family("vortexd_fleet_instances", "Instances by their report about the current version", "gauge")
        for (application, state), number in self._totals().items():
            instances.add(number, app=application, state=state)
        yield instances


class Pins:
    """The number of pins and the earliest end of one, read at each scrape. If no pin has an end, there is no such sample."""

    def __init__(self, totals: Callable[[], tuple[int, float | None]]) -> None:
        self._totals = totals

    def collect(self) -> Iterator[Family]:
        """See `Series`."""
        count, end = self._totals()
        pins = Family("vortexd_pins", "Keys that are pinned", "gauge")
        pins.add(count)
        ends = Family("vortexd_pin_end_timestamp_seconds", "When the next pin ends", "gauge")
        if end is not None:
            ends.add(end)
        yield from (pins, ends)


class Rollouts:
    """The number of roll-outs by status, read at each scrape."""

    def __init__(self, totals: Callable[[], Mapping[str, int]]) -> None:
        self._totals = totals

    def collect(self) -> Iterator[Family]:
        """See `Series`."""
        rollouts = Family("vortexd_rollouts", "Roll-outs that aren't done, by status", "gauge")
        for status, number in self._totals().items():
            rollouts.add(number, status=status)
        yield rollouts


class Cluster:
    """The state of the store and of the nodes, as this process sees them, and the number of hints; read at each scrape."""

    def __init__(self, report: Callable[[], ClusterReport]) -> None:
        self._report = report

    def collect(self) -> Iterator[Family]:
        """See `Series`."""
        report = self._report()
        store = Family("vortexd_cluster_store_up", "Whether this node can use the cluster's store", "gauge")
        store.add(float(report.is_up))
        members = Family("vortexd_cluster_members", "Nodes of the cluster, as this node sees them", "gauge")
        states = Counts(each.state for each in report.members)
        for state in ("serving", "draining", "away"):
            members.add(states[state], state=state)
        hints = Family("vortexd_cluster_hints", "Hints that this node has announced and heard", "counter")
        hints.add(report.announced, "_total", direction="announced")
        hints.add(report.heard, "_total", direction="heard")
        questions = Family(
            "vortexd_cluster_questions",
            "Questions to other nodes that were answered or have failed, and questions that this node has refused",
            "counter",
        )
        for outcome, count in report.questions.items():
            questions.add(count, "_total", outcome=outcome)
        summaries = Family(
            "vortexd_cluster_summaries",
            "Commits with counts of this node's instances to the cluster's store",
            "counter",
        )
        summaries.add(report.summaries, "_total")
        behind = Family(
            "vortexd_cluster_labels_behind", "Labels of which another node has published a newer state", "gauge"
        )
        behind.add(len(report.order.behind))
        yield from (store, members, hints, questions, summaries, behind)
        if (version := report.published) is not None:
            newest = Family("vortexd_cluster_published_version", "The number of the newest published version", "gauge")
            newest.add(version.number)
            yield newest
        if (publishing := report.publishing) is not None:
            failing = Family("vortexd_cluster_publish_failing", "Whether this node can't publish its state", "gauge")
            failing.add(float(publishing.is_failing))
            written = Family("vortexd_cluster_versions_written", "Versions that this node has written", "counter")
            written.add(publishing.written, "_total")
            yield from (failing, written)
