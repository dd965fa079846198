"""The metrics of several processes, merged into one page."""

from prometheus_client.parser import text_string_to_metric_families

from vortexd.observe.metrics import Metrics, SupervisorMetrics, merge


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
    for (route, status), count in counts.items():
        assert f'vortexd_http_request_seconds_count{{route="{route}",status="{status}"}} {count}.0' in text
