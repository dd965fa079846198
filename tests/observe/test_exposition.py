"""The metrics of one process, and of several, in Prometheus' text format."""

import pytest

from vortexd.observe.exposition import merge, render
from vortexd.observe.series import Counter, Gauge

ONE = "# HELP a_total Things\n# TYPE a_total counter\na_total 1.0\n"
TWO = "# HELP a_total Other words\n# TYPE a_total counter\na_total 2.0\n# HELP b B\n# TYPE b gauge\nb 3.0\n"


def test_series_are_written_in_their_order_with_their_heads() -> None:
    assert ["# HELP b B", "# TYPE b gauge", "b 0.0", "# HELP a A", "# TYPE a gauge", "a 0.0"] == render(
        [Gauge("b", "B"), Gauge("a", "A")], has_process=False
    ).decode().splitlines()


def test_the_figures_of_the_process_come_first_if_they_are_wanted() -> None:
    lines = render([Gauge("b", "B")], has_process=True).decode().splitlines()

    assert lines[0].startswith("# HELP process_")
    assert "b 0.0" == lines[-1]


@pytest.mark.parametrize(("setting", "is_dated"), [("", True), ("false", True), ("true", False), ("1", False)])
def test_the_variable_of_prometheus_client_turns_the_dates_of_series_off(
    setting: str, is_dated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prometheus_client import metrics

    # prometheus_client reads the variable at its import.
    monkeypatch.setenv("PROMETHEUS_DISABLE_CREATED_SERIES", setting)
    monkeypatch.setattr(metrics, "_use_created", metrics._get_use_created())
    text = render([Counter("c", "C", lambda: 1.0)], has_process=False).decode()

    assert is_dated == ("c_created 1.0" in text)
    assert "c_total 0.0" in text


def test_the_samples_of_all_workers_are_in_one_family() -> None:
    assert [
        "# HELP a_total Things",
        "# TYPE a_total counter",
        'a_total{worker="0"} 1.0',
        'a_total{worker="supervisor"} 2.0',
        "# HELP b B",
        "# TYPE b gauge",
        'b{worker="supervisor"} 3.0',
    ] == merge({"0": ONE, "supervisor": TWO}).decode().splitlines()


def test_a_sample_that_names_a_worker_keeps_it_and_its_other_labels() -> None:
    text = '# TYPE restarts_total counter\nrestarts_total{worker="1",x="y"} 4.0\n'

    assert 'restarts_total{worker="1",x="y"} 4.0' in merge({"supervisor": text}).decode().splitlines()


def test_no_worker_has_no_metrics() -> None:
    assert b"" == merge({})
    assert b"" == merge({"0": ""})
