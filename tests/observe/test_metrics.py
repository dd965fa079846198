"""The metrics of one process, and of several, merged into one page."""

from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from vortexd.core.model import SourceReport
from vortexd.observe.metrics import Metrics, SupervisorMetrics, merge
from vortexd.observe.publication import Publication


def test_each_sample_says_which_worker_it_is_from() -> None:
    first, second, supervisor = Metrics(), Metrics(), SupervisorMetrics(2)
    first.watch_connections(lambda: (1, 2))
    second.watch_connections(lambda: (0, 0))
    second.connection_closed("DRAIN")
    supervisor.restarted(1)
    texts = {"0": first.render().decode(), "1": second.render().decode(), "supervisor": supervisor.render().decode()}
    lines = merge(texts).decode().splitlines()

    assert {
        'vortexd_connections{state="parked",worker="0"} 2.0',
        'vortexd_connections{state="awake",worker="1"} 0.0',
    } <= set(lines)
    assert 'vortexd_connections_closed_total{reason="DRAIN",worker="1"} 1.0' in lines
    assert 'vortexd_worker_restarts_total{worker="1"} 1.0' in lines
    # A family has one head, whoever has samples of it.
    assert 1 == lines.count("# TYPE vortexd_connections gauge")
    assert 'vortexd_heartbeat_seconds_bucket{le="+Inf",worker="0"} 0.0' in lines


def test_many_writes_of_one_change_are_one_observation_that_counts_for_each() -> None:
    metrics = Metrics()
    metrics.delivered(0.004, 900)
    metrics.delivered(0.04, 100)
    metrics.delivered(20.0, 1)
    lines = metrics.render().decode().splitlines()
    name = "vortexd_publish_to_written_seconds"

    assert [f'{name}_bucket{{le="0.005"}} 900.0', f'{name}_bucket{{le="0.05"}} 1000.0'] == [
        line for line in lines if line.startswith((f'{name}_bucket{{le="0.005"', f'{name}_bucket{{le="0.05"'))
    ]
    assert f'{name}_bucket{{le="+Inf"}} 1001.0' in lines
    assert f"{name}_count 1001.0" in lines
    assert f"{name}_sum 27.6" in lines


def test_no_label_of_what_is_counted_comes_from_the_network() -> None:
    metrics = Metrics()
    metrics.watch_connections(lambda: (1, 1))
    before = metrics.render()
    labels = {
        label
        for family in text_string_to_metric_families(before.decode())
        for s in family.samples
        for label in s.labels
    }

    assert labels <= {"state", "reason", "type", "status", "outcome", "route", "phase", "le"}


def test_requests_are_counted_by_route_and_class_of_status_however_often_they_come() -> None:
    metrics = Metrics()
    for route, status in [("/a", 200), ("/a", 204), ("/a", 404), ("/b", 200), ("/a", 200)]:
        metrics.answered(route, status, 0.01)

    text = metrics.render().decode()
    counts = {("/a", "2xx"): 3, ("/a", "4xx"): 1, ("/b", "2xx"): 1}
    for (route, group), count in counts.items():
        assert f'vortexd_http_request_seconds_count{{route="{route}",status="{group}"}} {count}.0' in text


def samples(metrics: Metrics | SupervisorMetrics) -> dict[str, float]:
    """Return the samples of a scrape that aren't 0, without those of the process and those of when a metric was made."""
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in metrics.render().decode().splitlines())
        if name.startswith("vortexd_") and "_created" not in name and float(value)
    }


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (lambda metrics: metrics.connection_opened(), {"connections_opened_total": 1}),
        (lambda metrics: metrics.connection_closed("DRAIN"), {'connections_closed_total{reason="DRAIN"}': 1}),
        (lambda metrics: metrics.bytes_written(7), {"sent_bytes_total": 7}),
        (lambda metrics: metrics.bytes_read(7), {"received_bytes_total": 7}),
        (lambda metrics: metrics.sent("ping"), {'sent_messages_total{type="ping"}': 1}),
        (lambda metrics: metrics.sent("ping", 9), {'sent_messages_total{type="ping"}': 9}),
        (lambda metrics: metrics.lagged(), {"lagged_total": 1}),
        (lambda metrics: metrics.message_received("ack"), {'received_messages_total{type="ack"}': 1}),
        (lambda metrics: metrics.acknowledged("applied"), {'acks_total{status="applied"}': 1}),
        (
            lambda metrics: metrics.published(2, 3),
            {"publications_total": 1, "changes_total": 2, "deliveries_total": 3},
        ),
        (lambda metrics: metrics.labels_held_back(2), {"labels_held_back": 2}),
        (lambda metrics: metrics.applications_held_back(2), {"applications_held_back": 2}),
        (
            lambda metrics: metrics.broken_files(3, 1),
            {"broken_files": 3, "broken_files_without_good_content": 1},
        ),
        (lambda metrics: metrics.reloaded(is_done=True), {'reloads_total{outcome="done"}': 1}),
        (lambda metrics: metrics.reloaded(is_done=False), {'reloads_total{outcome="refused"}': 1}),
        (lambda metrics: metrics.rolled_back("failed"), {'rollbacks_total{outcome="failed"}': 1}),
        (lambda metrics: metrics.waited("gone"), {'waits_total{outcome="gone"}': 1}),
        (lambda metrics: metrics.watch_waiting(lambda: 3), {"waiting_requests": 3}),
        (lambda metrics: metrics.watch_tasks(lambda: 12), {"tasks": 12}),
        (lambda metrics: metrics.watch_pins(lambda: (2, 7.0)), {"pins": 2, "pin_end_timestamp_seconds": 7}),
        (lambda metrics: metrics.watch_pins(lambda: (1, None)), {"pins": 1}),
        (
            lambda metrics: metrics.watch_fleet(lambda: {("shop", "silent"): 2}),
            {'fleet_instances{app="shop",state="silent"}': 2},
        ),
    ],
)
def test_each_event_is_counted_under_its_name_alone(
    record: Callable[[Metrics], None], expected: dict[str, float]
) -> None:
    metrics = Metrics()
    assert {} == samples(metrics)
    record(metrics)

    assert {f"vortexd_{name}": value for name, value in expected.items()} == samples(metrics)


def test_counts_of_the_same_label_add_up_and_those_of_others_do_not() -> None:
    metrics = Metrics()
    for kind, count in (("ping", 2), ("config_change", 1), ("ping", 3)):
        metrics.sent(kind, count)
    for reason in ("lost", "drain", "lost"):
        metrics.connection_closed(reason)

    sent = {'sent_messages_total{type="ping"}': 5, 'sent_messages_total{type="config_change"}': 1}
    closed = {'connections_closed_total{reason="lost"}': 2, 'connections_closed_total{reason="drain"}': 1}
    assert {f"vortexd_{name}": value for name, value in (sent | closed).items()} == samples(metrics)


def test_applications_are_shown_once_one_was_held_back() -> None:
    metrics = Metrics()
    metrics.applications_held_back(0)
    assert b"applications_held_back" not in metrics.render()
    for count in (2, 1, 0):
        metrics.applications_held_back(count)
        assert f"vortexd_applications_held_back {count}.0".encode() in metrics.render()
        assert 1 == metrics.render().count(b"# TYPE vortexd_applications_held_back")


def test_broken_files_are_those_of_now() -> None:
    metrics = Metrics()
    metrics.broken_files(3, 1)
    metrics.broken_files(0, 0)

    assert {} == samples(metrics)


def durations(metrics: Metrics, name: str) -> dict[str, float]:
    """Return the counts and sums of a histogram."""
    found = samples(metrics).items()
    return {
        key.removeprefix(f"vortexd_{name}_"): value
        for key, value in found
        if key.startswith((f"vortexd_{name}_count", f"vortexd_{name}_sum"))
    }


def test_the_phases_of_a_publication_are_measured_apart() -> None:
    metrics = Metrics()
    metrics.publication(Publication(0.0, {"source": 1.0, "resolve": 4.0}, 1.5, 1, 2, 3))

    # The comparison is a part of the phase that resolves.
    assert {
        'count{phase="source"}': 1,
        'sum{phase="source"}': 1.0,
        'count{phase="resolve"}': 1,
        'sum{phase="resolve"}': 2.5,
        'count{phase="diff"}': 1,
        'sum{phase="diff"}': 1.5,
    } == durations(metrics, "publication_seconds")
    counted = samples(metrics)
    assert (1, 2, 3) == tuple(counted[f"vortexd_{name}_total"] for name in ("publications", "changes", "deliveries"))


@pytest.mark.parametrize(
    ("status", "group"), [(101, "1xx"), (200, "2xx"), (299, "2xx"), (300, "3xx"), (404, "4xx"), (503, "5xx")]
)
def test_requests_are_measured_by_their_route_and_the_class_of_their_status(status: int, group: str) -> None:
    metrics = Metrics()
    metrics.answered("/{app}/{profile}", status, 0.5)

    labels = f'{{route="/{{app}}/{{profile}}",status="{group}"}}'
    assert {f"count{labels}": 1, f"sum{labels}": 0.5} == durations(metrics, "http_request_seconds")


def test_the_loop_and_the_heartbeats_are_measured() -> None:
    metrics = Metrics()
    metrics.loop_late(0.25)
    metrics.heartbeat_answered(0.5)

    assert {"count": 1, "sum": 0.25} == durations(metrics, "loop_lag_seconds")
    assert {"count": 1, "sum": 0.5} == durations(metrics, "heartbeat_seconds")


def test_the_sources_are_asked_at_each_scrape_and_not_before() -> None:
    metrics = Metrics()
    asked: list[bool] = []

    def reports() -> list[SourceReport]:
        asked.append(True)
        return [SourceReport("config", "git", None, None, None, None, True, 7.0, False, 2, "")]

    metrics.watch_sources(reports)
    assert [] == asked
    labels = '{number="0",source="config"}'
    found = samples(metrics)
    assert (1.0, 7.0, 2.0) == tuple(
        found[f"vortexd_source_{name}{labels}"] for name in ("failing", "stale_seconds", "errors_total")
    )
    metrics.render()
    assert [True, True] == asked


def test_a_worker_that_was_never_restarted_is_listed_with_0() -> None:
    metrics = SupervisorMetrics(3)
    metrics.restarted(1)
    lines = metrics.render().decode().splitlines()

    assert [f'vortexd_worker_restarts_total{{worker="{number}"}} {number % 2}.0' for number in range(3)] == [
        line for line in lines if line.startswith("vortexd_worker_restarts_total")
    ]


def test_many_answers_and_delays_are_one_observation_each() -> None:
    metrics = Metrics()
    metrics.heartbeat_answered(0.02, 40)
    metrics.heartbeat_answered(11.0)
    metrics.loop_late(0.0, 300)
    metrics.loop_late(0.03)
    lines = metrics.render().decode().splitlines()

    assert {
        'vortexd_heartbeat_seconds_bucket{le="0.01"} 0.0',
        'vortexd_heartbeat_seconds_bucket{le="0.025"} 40.0',
        'vortexd_heartbeat_seconds_bucket{le="10.0"} 40.0',
        'vortexd_heartbeat_seconds_bucket{le="+Inf"} 41.0',
        'vortexd_loop_lag_seconds_bucket{le="0.001"} 300.0',
        'vortexd_loop_lag_seconds_bucket{le="0.05"} 301.0',
        "vortexd_loop_lag_seconds_count 301.0",
    } <= set(lines)


def test_the_version_and_the_way_of_writing_are_named() -> None:
    metrics = Metrics()
    metrics.build("1.2.3", "native")

    assert 'vortexd_build_info{sockets="native",version="1.2.3"} 1.0' in metrics.render().decode().splitlines()
