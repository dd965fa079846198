"""Series: the samples of each, as a scrape sees them. Counters and histograms are compared with those of prometheus_client."""

import math

import prometheus_client
import pytest

from vortexd.core.model import (
    ClusterMember,
    ClusterOrder,
    ClusterPublishing,
    ClusterReport,
    ClusterVersion,
    SourceReport,
)
from vortexd.observe import exposition
from vortexd.observe.series import (
    Cluster,
    Connections,
    Counter,
    Delays,
    Family,
    Fleet,
    Gauge,
    LabelledDelays,
    Pins,
    Series,
    Sources,
)

# When each series begins, in seconds since 1970.
NOW = 1_700_000_000.5


def scraped(series: Series) -> list[str]:
    """Return the samples of a scrape, without the heads of the families."""
    return [line for line in rendered(series) if not line.startswith("#")]


def rendered(series: Series) -> list[str]:
    return exposition.render([series], has_process=False).decode().splitlines()


def reference(metric: "prometheus_client.metrics.MetricWrapperBase") -> list[str]:
    """Return what prometheus_client writes for a metric of its own, which began at `NOW`."""
    registry = prometheus_client.CollectorRegistry()
    registry.register(metric)
    lines = prometheus_client.generate_latest(registry).decode().splitlines()
    return [f"{line.rpartition(' ')[0]} 1.7000000005e+09" if is_date(line) else line for line in lines]


def is_date(line: str) -> bool:
    return "_created" in line and not line.startswith("#")


def now() -> float:
    return NOW


# Counters.


def test_a_counter_is_written_as_prometheus_client_writes_its_own() -> None:
    ours, theirs = Counter("c", "Things", now), prometheus_client.Counter("c", "Things", registry=None)
    assert reference(theirs) == rendered(ours)
    for count in (1, 0, 2.5):
        ours.add(count)
        theirs.inc(count)

    assert "c_total 3.5" in rendered(ours)
    assert "c_created 1.7000000005e+09" in rendered(ours)
    assert reference(theirs) == rendered(ours)


def test_a_counter_with_labels_is_written_as_prometheus_client_writes_its_own() -> None:
    ours = Counter("c", "Things", now, ["kind", "a"])
    theirs = prometheus_client.Counter("c", "Things", ["kind", "a"], registry=None)
    # No series exists yet.
    assert reference(theirs) == rendered(ours)
    for count, labels in ((1, ("x", "1")), (0, ('a "quoted"\nline', "2")), (4, ("x", "1"))):
        ours.add(count, *labels)
        theirs.labels(*labels).inc(count)

    assert 'c_total{a="1",kind="x"} 5.0' in rendered(ours)
    assert reference(theirs) == rendered(ours)


def test_a_series_of_a_counter_says_when_it_began() -> None:
    times = iter((10.0, 20.0))
    counter = Counter("c", "Things", lambda: next(times), ["kind"])
    for kind in ("x", "y", "x"):
        counter.add(1, kind)

    assert ['c_created{kind="x"} 10.0', 'c_created{kind="y"} 20.0'] == [
        line for line in scraped(counter) if is_date(line)
    ]


def test_a_label_value_is_needed_for_each_name() -> None:
    counter = Counter("c", "Things", now, ["kind"])
    counter.add(1, "x", "too many")

    with pytest.raises(ValueError, match="argument 2"):
        list(counter.collect())


# Gauges.


def test_a_gauge_is_written_as_prometheus_client_writes_its_own() -> None:
    ours, theirs = Gauge("g", "Now"), prometheus_client.Gauge("g", "Now", registry=None)
    assert ["g 0.0"] == scraped(ours)
    assert reference(theirs) == rendered(ours)
    for value in (7, 3.25):
        ours.set(value)
        theirs.set(value)

    assert ["g 3.25"] == scraped(ours)
    assert reference(theirs) == rendered(ours)


def test_a_gauge_reads_its_value_at_each_scrape() -> None:
    values, gauge = [2.0, 1.0], Gauge("g", "Now", kind="x")
    gauge.read = values.pop

    assert [['g{kind="x"} 1.0'], ['g{kind="x"} 2.0']] == [scraped(gauge), scraped(gauge)]


# Delays.


def delays(*observations: tuple[float, int]) -> list[str]:
    found = Delays("d", "Delays", (0.5, 2.0))
    for seconds, count in observations:
        found.observe(seconds, count)
    return scraped(found)


@pytest.mark.parametrize(
    ("seconds", "buckets"),
    [
        (0.0, [3, 3, 3]),
        (0.499, [3, 3, 3]),
        (0.5, [3, 3, 3]),
        (0.501, [0, 3, 3]),
        (2.0, [0, 3, 3]),
        (2.001, [0, 0, 3]),
    ],
)
def test_a_duration_is_in_every_bucket_whose_bound_it_does_not_exceed(seconds: float, buckets: list[int]) -> None:
    names = ('d_bucket{le="0.5"}', 'd_bucket{le="2.0"}', 'd_bucket{le="+Inf"}')

    assert [f"{name} {count}.0" for name, count in zip(names, buckets, strict=True)] == delays((seconds, 3))[:3]


def test_the_sum_counts_each_observation() -> None:
    assert ["d_count 6.0", "d_sum 10.0"] == delays((1.0, 4), (3.0, 2))[3:]


def test_no_observation_is_a_histogram_of_zeros() -> None:
    assert {"0.0"} == {line.split()[1] for line in delays()}


def test_an_observation_counts_once_if_no_number_is_given() -> None:
    found = Delays("d", "Delays", (1.0,))
    found.observe(0.5)

    assert ['d_bucket{le="1.0"} 1.0', 'd_bucket{le="+Inf"} 1.0', "d_count 1.0", "d_sum 0.5"] == scraped(found)


def test_a_histogram_has_its_name_and_documentation() -> None:
    assert ["# HELP d Delays", "# TYPE d histogram"] == rendered(Delays("d", "Delays", (1.0,)))[:2]


def test_delays_with_labels_are_written_as_prometheus_client_writes_its_own() -> None:
    bounds = (0.005, 1.0, 7.5)
    ours = LabelledDelays("d", "Delays", now, ["route", "status"], bounds)
    theirs = prometheus_client.Histogram("d", "Delays", ["route", "status"], registry=None, buckets=bounds)
    assert reference(theirs) == rendered(ours)
    for seconds, labels in (
        (0.005, ("/a", "2xx")),
        (0.0051, ("/a", "2xx")),
        (math.pi, ("/b", "4xx")),
        (9.0, ("/a", "2xx")),
    ):
        ours.labels(*labels).observe(seconds)
        theirs.labels(*labels).observe(seconds)

    assert 'd_bucket{le="1.0",route="/a",status="2xx"} 2.0' in rendered(ours)
    assert reference(theirs) == rendered(ours)


def test_labels_lead_to_the_same_delays_each_time_and_say_when_they_began() -> None:
    times = iter((10.0, 20.0))
    delays = LabelledDelays("d", "Delays", lambda: next(times), ["kind"], (1.0,))

    assert delays.labels("x") is delays.labels("x") is not delays.labels("y")
    assert ['d_created{kind="x"} 10.0', 'd_created{kind="y"} 20.0'] == [
        line for line in scraped(delays) if is_date(line)
    ]


# Values that are read at each scrape.


def test_a_family_keeps_its_samples_in_order() -> None:
    family = Family("f", "Things", "gauge")
    family.add(1, "_a", x="y")
    family.add(2)

    assert [("_a", {"x": "y"}, 1), ("", {}, 2)] == family.samples


def test_connections_are_counted_by_state_at_each_scrape() -> None:
    counts = [(1, 2), (3, 4)]
    connections = Connections(lambda: counts.pop(0))

    for awake, parked in ((1.0, 2.0), (3.0, 4.0)):
        assert [
            f'vortexd_connections{{state="awake"}} {awake}',
            f'vortexd_connections{{state="parked"}} {parked}',
        ] == scraped(connections)


def test_pins_and_the_earliest_end_are_read_at_each_scrape() -> None:
    totals: list[tuple[int, float | None]] = [(0, None), (2, 7.5)]
    pins = Pins(lambda: totals.pop(0))

    assert ["vortexd_pins 0.0"] == scraped(pins)
    assert ["vortexd_pins 2.0", "vortexd_pin_end_timestamp_seconds 7.5"] == scraped(pins)


def report(
    name: str = "config",
    kind: str = "git",
    revision: str | None = "c0ffee",
    last_success: float | None = 1_700_000_000.5,
    is_failing: bool = False,
    stale_for: float = 0.0,
    errors: int = 0,
) -> SourceReport:
    return SourceReport(name, kind, revision, last_success, None, None, is_failing, stale_for, False, errors, "")


def sources(*reports: SourceReport) -> list[str]:
    return [line.removeprefix("vortexd_source_") for line in scraped(Sources(lambda: reports))]


def test_a_source_that_was_read_is_reported_with_its_revision() -> None:
    labels = 'number="0",source="config"'

    assert [
        f"failing{{{labels}}} 0.0",
        f"stale_seconds{{{labels}}} 0.0",
        f"last_success_timestamp_seconds{{{labels}}} 1.7000000005e+09",
        f"errors_total{{{labels}}} 0.0",
        'info{kind="git",number="0",revision="c0ffee",source="config"} 1.0',
    ] == sources(report())


def test_a_source_that_fails_is_reported_with_its_age_and_its_errors() -> None:
    labels = 'number="0",source="config"'
    found = sources(report(is_failing=True, stale_for=7.5, errors=3))

    assert {f"failing{{{labels}}} 1.0", f"stale_seconds{{{labels}}} 7.5", f"errors_total{{{labels}}} 3.0"} <= set(found)


def test_a_source_that_was_never_read_has_no_time_of_a_success() -> None:
    found = sources(report(last_success=None))

    assert 4 == len(found)
    assert not any(line.startswith("last_success") for line in found)
    assert 5 == len(sources(report(last_success=0.0)))


def test_a_source_without_a_revision_has_an_empty_one() -> None:
    assert 'info{kind="files",number="0",revision="",source="config"} 1.0' in sources(
        report(kind="files", revision=None)
    )


def test_sources_of_one_name_differ_by_their_number() -> None:
    found = sources(report(errors=1), report(errors=2), report("other", errors=3))

    assert [
        'errors_total{number="0",source="config"} 1.0',
        'errors_total{number="1",source="config"} 2.0',
        'errors_total{number="2",source="other"} 3.0',
    ] == [line for line in found if line.startswith("errors_total")]


def test_the_families_of_sources_have_their_kinds_also_without_a_source() -> None:
    assert {
        "failing": "gauge",
        "stale_seconds": "gauge",
        "last_success_timestamp_seconds": "gauge",
        "errors": "counter",
        "info": "gauge",
    } == {each.name.removeprefix("vortexd_source_"): each.kind for each in Sources(tuple).collect()}


def test_instances_are_counted_by_application_and_state() -> None:
    totals = {("billing", "applied"): 2, ("shop", "silent"): 1}

    assert [
        'vortexd_fleet_instances{app="billing",state="applied"} 2.0',
        'vortexd_fleet_instances{app="shop",state="silent"} 1.0',
    ] == scraped(Fleet(lambda: totals))
    assert [] == scraped(Fleet(dict))


# A cluster.


def test_the_store_the_nodes_by_state_and_the_hints_are_read_at_each_scrape() -> None:
    def member(node: str, state: str) -> ClusterMember:
        return ClusterMember(node, state, "1.0", "", "2030")

    members = (member("a", "serving"), member("b", "serving"), member("c", "away"))
    counts = {"answered": 7, "refused": 2}
    order = ClusterOrder("ab", ("main", "old"), ("new",))
    found = Cluster(lambda: ClusterReport("shop", "a", True, 1.0, None, members, "a", 3, 5, counts, 4, order=order))

    assert [
        "vortexd_cluster_store_up 1.0",
        'vortexd_cluster_members{state="serving"} 2.0',
        'vortexd_cluster_members{state="draining"} 0.0',
        'vortexd_cluster_members{state="away"} 1.0',
        'vortexd_cluster_hints_total{direction="announced"} 3.0',
        'vortexd_cluster_hints_total{direction="heard"} 5.0',
        'vortexd_cluster_questions_total{outcome="answered"} 7.0',
        'vortexd_cluster_questions_total{outcome="refused"} 2.0',
        "vortexd_cluster_summaries_total 4.0",
        "vortexd_cluster_labels_behind 2.0",
    ] == scraped(found)


def test_a_store_that_is_away_is_0() -> None:
    found = Cluster(lambda: ClusterReport("shop", "a", False, 1.0, "gone", (member,), None))
    member = ClusterMember("b", "draining", "1.0", "", "2030")

    assert "vortexd_cluster_store_up 0.0" in scraped(found)
    assert 'vortexd_cluster_members{state="draining"} 1.0' in scraped(found)


def test_the_published_version_is_read_at_each_scrape_and_whether_this_node_can_publish() -> None:
    version, publishing = ClusterVersion(7, "a", 1.0, "b"), ClusterPublishing(True, "full", 3)
    found = Cluster(
        lambda: ClusterReport("shop", "a", True, 1.0, None, (), "a", published=version, publishing=publishing)
    )

    assert [
        "vortexd_cluster_published_version 7.0",
        "vortexd_cluster_publish_failing 1.0",
        "vortexd_cluster_versions_written_total 3.0",
    ] == scraped(found)[-3:]
