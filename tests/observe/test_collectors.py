"""Collectors, each registered alone and rendered as a scrape sees it."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from vortexd.core.model import SourceReport
from vortexd.observe.collectors import Connections, Delays, Fleet, Merged, Sources


def scraped(collector: Collector) -> list[str]:
    """Return the samples of a scrape, without the heads of the families."""
    return [line for line in rendered(collector) if not line.startswith("#")]


def rendered(collector: Collector) -> list[str]:
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry).decode().splitlines()


# Several processes.

ONE = "# HELP a_total Things\n# TYPE a_total counter\na_total 1.0\n"
TWO = "# HELP a_total Other words\n# TYPE a_total counter\na_total 2.0\n# HELP b B\n# TYPE b gauge\nb 3.0\n"


def test_the_samples_of_all_workers_are_in_one_family() -> None:
    assert [
        "# HELP a_total Things",
        "# TYPE a_total counter",
        'a_total{worker="0"} 1.0',
        'a_total{worker="supervisor"} 2.0',
        "# HELP b B",
        "# TYPE b gauge",
        'b{worker="supervisor"} 3.0',
    ] == rendered(Merged({"0": ONE, "supervisor": TWO}))


def test_a_sample_that_names_a_worker_keeps_it_and_its_other_labels() -> None:
    text = '# TYPE restarts_total counter\nrestarts_total{worker="1",x="y"} 4.0\n'

    assert ['restarts_total{worker="1",x="y"} 4.0'] == scraped(Merged({"supervisor": text}))


def test_no_worker_has_no_metrics() -> None:
    assert [] == rendered(Merged({}))
    assert [] == rendered(Merged({"0": ""}))


def test_a_registration_reads_no_metrics_of_workers() -> None:
    assert [] == list(Merged({"0": ONE}).describe())


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


def test_a_histogram_has_its_name_and_documentation() -> None:
    assert ["# HELP d Delays", "# TYPE d histogram"] == rendered(Delays("d", "Delays", (1.0,)))[:2]


# Values that are read at each scrape.


def test_connections_are_counted_by_state_at_each_scrape() -> None:
    counts = [(1, 2), (3, 4)]
    registry = CollectorRegistry()
    registry.register(Connections(lambda: counts.pop(0)))
    states = ("awake", "parked")

    for expected in ((1.0, 2.0), (3.0, 4.0)):
        family = next(iter(registry.collect()))
        assert dict(zip(states, expected, strict=True)) == {each.labels["state"]: each.value for each in family.samples}


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


def test_instances_are_counted_by_application_and_state() -> None:
    totals = {("billing", "applied"): 2, ("shop", "silent"): 1}

    assert [
        'vortexd_fleet_instances{app="billing",state="applied"} 2.0',
        'vortexd_fleet_instances{app="shop",state="silent"} 1.0',
    ] == scraped(Fleet(lambda: totals))
    assert [] == scraped(Fleet(dict))


def test_a_registration_asks_neither_the_sources_nor_the_fleet() -> None:
    # They don't exist yet when the metrics are made.
    registry = CollectorRegistry()
    registry.register(Sources(lambda: pytest.fail("asked")))
    registry.register(Fleet(lambda: pytest.fail("asked")))

    assert [] == [*Sources(lambda: ()).describe(), *Fleet(dict).describe()]
