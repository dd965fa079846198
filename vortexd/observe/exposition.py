"""Writes metrics in Prometheus' text format with prometheus_client, which also knows the figures of the process.

`metrics` imports this module for the first scrape, because prometheus_client takes 20 ms and 2 MB.
"""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, ProcessCollector, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from .series import Family, Series

_CREATED = "_created"


def render(series: Iterable[Series], *, has_process: bool) -> bytes:
    """Return metrics in Prometheus' text format.

    Args:
        has_process: Whether the figures of this process come first, such as its memory.
    """
    registry = CollectorRegistry()
    if has_process:
        ProcessCollector(registry=registry)
    registry.register(_Families(each for every in series for each in every.collect()))
    return generate_latest(registry)


def merge(texts: Mapping[str, str]) -> bytes:
    """Merge the metrics of several processes. Each sample gets the label of its worker.

    Counters aren't summed, because a worker that restarts would make the sum decrease. A sample that has the label keeps it.

    Args:
        texts: The metrics of each worker, in Prometheus' text format.
    """
    families: dict[str, Metric] = {}
    for worker, text in texts.items():
        for each in text_string_to_metric_families(text):
            family = families.setdefault(each.name, Metric(each.name, each.documentation, each.type))
            for sample in each.samples:
                labels = {"worker": worker, **sample.labels}
                family.add_sample(sample.name, labels, sample.value)
    registry = CollectorRegistry()
    registry.register(_Metrics(families.values()))
    return generate_latest(registry)


class _Metrics(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def describe(self) -> Iterator[Metric]:
        """Return no descriptions, so that registration doesn't collect. See prometheus_client."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Return the metrics. See prometheus_client."""
        yield from self._metrics


class _Families(_Metrics):
    def __init__(self, families: Iterable[Family]) -> None:
        super().__init__(map(_metric, families))


def _metric(family: Family) -> Metric:
    metric = Metric(family.name, family.documentation, family.kind)
    has_dates = _has_dates()
    for suffix, labels, value in family.samples:
        if has_dates or suffix != _CREATED:
            metric.add_sample(family.name + suffix, labels, value)
    return metric


def _has_dates() -> bool:
    """Whether samples say when their series began. PROMETHEUS_DISABLE_CREATED_SERIES turns that off in prometheus_client."""
    [metric] = Counter("probe", "", registry=None).collect()
    return any(sample.name.endswith(_CREATED) for sample in metric.samples)
