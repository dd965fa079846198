"""The dashboard and the alert rules use only metrics that vortexd has. The dashboard shows all of them, except two that repeat others."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from vortexd.core.model import ClusterPublishing, ClusterReport, ClusterVersion, SourceReport
from vortexd.observe.metrics import Metrics, SupervisorMetrics
from vortexd.observe.publication import Publication

CONF = Path(__file__).parent.parent / "conf"
RULES = CONF / "prometheus" / "vortexd.rules.yml"
REPORT = SourceReport("git", "git", "1f3a", 1.0, None, None, False, 0.0, False)


def names() -> set[str]:
    """Every series that a daemon has, and those of the process it runs in."""
    metrics = Metrics()
    metrics.watch_sources(lambda: [REPORT])
    metrics.watch_connections(lambda: (1, 1))
    metrics.watch_event_streams(lambda: 1)
    metrics.watch_waiting(lambda: 1)
    metrics.watch_pins(lambda: (1, 7.0))
    metrics.watch_rollouts(lambda: {"halted": 1})
    metrics.watch_fleet(lambda: {("other", "silent"): 1})
    version, publishing = ClusterVersion(1, "a", 1.0, "a"), ClusterPublishing(False, None, 1)
    metrics.watch_cluster(
        lambda: ClusterReport("c", "a", True, 1.0, None, (), None, published=version, publishing=publishing)
    )
    metrics.answered("/health", 200, 0.1)
    metrics.publication(Publication(0.0, {"parse": 0.1}, 0.0, 1, 1, 1))
    text = metrics.render().decode() + SupervisorMetrics(1).render().decode()
    found = set()
    for family in text_string_to_metric_families(text):
        found |= {sample.name for sample in family.samples}
        found |= {family.name + "_total"} if family.type == "counter" else set()
    return found


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CONF / "grafana" / "vortexd.json").read_text())
    return loaded


def expressions() -> list[str]:
    panels = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]
    rules = [rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    return panels + rules


def test_what_is_asked_for_is_measured() -> None:
    asked = {name for each in expressions() for name in re.findall(r"\b(?:vortexd|process)_[a-z_]+", each)}

    assert len(asked) > 20
    assert set() == asked - names()


def test_everything_that_is_measured_is_on_the_dashboard() -> None:
    shown = " ".join(target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ()))
    families = {
        re.sub(r"_(total|bucket|count|sum|created)$", "", name) for name in names() if name.startswith("vortexd_")
    }

    # These two say what others on it say, in another form.
    assert {"vortexd_source_failing", "vortexd_source_last_success_timestamp_seconds"} == {
        name for name in families if not re.search(rf"\b{name}(_total|_bucket|_count)?\b", shown)
    }


def test_panels_have_ids_of_their_own_and_do_not_lie_upon_each_other() -> None:
    panels = dashboard()["panels"]
    squares = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(panels) == len({panel["id"] for panel in panels})
    assert len(squares) == len(set(squares))
    assert all(x < 24 for x, _ in squares)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="there is no promtool")
def test_prometheus_loads_the_rules_and_they_alert_when_they_should() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", str(RULES.with_name("vortexd.rules.test.yml"))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 0 == done.returncode, done.stdout + done.stderr
