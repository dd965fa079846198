"""What several processes count, as one page."""

from vortexd.metrics import Metrics, SupervisorMetrics, merge


def test_each_sample_says_which_worker_it_is_from() -> None:
    first, second, supervisor = Metrics(), Metrics(), SupervisorMetrics(2)
    first.connection_opened()
    second.connection_closed("DRAIN")
    supervisor.restarted(1)
    texts = {"0": first.render().decode(), "1": second.render().decode(), "supervisor": supervisor.render().decode()}
    lines = merge(texts).decode().splitlines()

    assert {'vortexd_connections{worker="0"} 1.0', 'vortexd_connections{worker="1"} -1.0'} <= set(lines)
    assert 'vortexd_connections_closed_total{reason="DRAIN",worker="1"} 1.0' in lines
    assert 'vortexd_worker_restarts_total{worker="1"} 1.0' in lines
    # A family has one head, whoever has samples of it.
    assert 1 == lines.count("# TYPE vortexd_connections gauge")
    assert 'vortexd_heartbeat_seconds_bucket{le="+Inf",worker="0"} 0.0' in lines
