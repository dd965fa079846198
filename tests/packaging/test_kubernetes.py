"""The manifests in packaging/kubernetes, rendered by kustomize, say what vortexd needs."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from vortexd import __version__
from vortexd.cli.main import main
from vortexd.settings.server import ServerSettings

TOP = Path(__file__).parents[2]
KUBERNETES = TOP / "packaging/kubernetes"
OVERLAYS = ("files", "git")
TOKEN = "vt_" + "a" * 43


def rendered(directory: Path) -> list[dict[str, Any]]:
    """The objects of a directory, as kubectl applies them."""
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl")
    done = subprocess.run(["kubectl", "kustomize", str(directory)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [*yaml.safe_load_all(done.stdout)]


def token_entry() -> str:
    """A token file with a token that may read everything."""
    return f"""[[token]]\nname = "orders"\nsha256 = "{hashlib.sha256(TOKEN.encode()).hexdigest()}"
rights = ["read", "subscribe", "admin"]\npatterns = ["*:*:*"]\n"""


def one(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    [found] = [each for each in objects if each["kind"] == kind]
    return found


def settings_of(objects: list[dict[str, Any]]) -> tuple[str, str]:
    """The name and the text of the ConfigMap with the settings."""
    [found] = [each for each in objects if each["metadata"]["name"].startswith("vortexd-settings-")]
    return found["metadata"]["name"], found["data"]["vortexd.toml"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_selects_the_pods_of_vortexd(overlay: str) -> None:
    objects = rendered(KUBERNETES / overlay)
    labels = one(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]

    assert labels == {"app.kubernetes.io/name": "vortexd"}
    assert one(objects, "Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert one(objects, "Service")["spec"]["selector"] == labels
    assert one(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert one(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_two_pods_run_and_one_always_stays(overlay: str) -> None:
    objects = rendered(KUBERNETES / overlay)
    deployment = one(objects, "Deployment")["spec"]

    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert one(objects, "PodDisruptionBudget")["spec"]["minAvailable"] == 1


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_has_the_time_to_drain(overlay: str) -> None:
    pod = one(rendered(KUBERNETES / overlay), "Deployment")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    pause = container["lifecycle"]["preStop"]["exec"]["command"][-1]

    assert pause == "import time; time.sleep(5)"
    # Five seconds are left for the end itself.
    assert pod["terminationGracePeriodSeconds"] >= 5 + ServerSettings().drain_timeout + 5


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_is_probed_and_has_no_rights(overlay: str) -> None:
    pod = one(rendered(KUBERNETES / overlay), "Deployment")["spec"]["template"]["spec"]
    [container] = pod["containers"]

    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    # A source that is away must restart no pod, and /ready depends on it.
    assert container["startupProbe"]["httpGet"]["path"] == "/health"
    assert container["startupProbe"]["timeoutSeconds"] == 3
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_new_settings_start_new_pods(overlay: str) -> None:
    objects = rendered(KUBERNETES / overlay)
    volumes = one(objects, "Deployment")["spec"]["template"]["spec"]["volumes"]
    [settings] = [each["configMap"]["name"] for each in volumes if each["name"] == "settings"]

    # The name ends in a hash of the content.
    assert settings == settings_of(objects)[0]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_settings_pass_the_check_of_vortexd(
    overlay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, text = settings_of(rendered(KUBERNETES / overlay))
    file = tmp_path / "vortexd.toml"
    file.write_text(text.replace("/etc/vortexd/config", str(KUBERNETES / "files/config")))
    (tmp_path / "credentials").mkdir()
    # kubelet gives the group the right to read, because vortexd isn't root.
    for name, content in (("tokens.toml", token_entry()), ("git-token", "secret")):
        (tmp_path / "credentials" / name).write_text(content)
        (tmp_path / "credentials" / name).chmod(0o440)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))

    assert main(["--check", "--config", str(file)]) == 0, capsys.readouterr().err


def test_pods_see_a_change_of_the_configuration() -> None:
    objects = rendered(KUBERNETES / "files")
    pod = one(objects, "Deployment")["spec"]["template"]["spec"]
    [mount] = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "config"]
    [volume] = [each for each in pod["volumes"] if each["name"] == "config"]

    # A hash in the name would start new pods, and a file that is mounted by subPath never changes.
    assert volume["configMap"]["name"] == "vortexd-config"
    assert "subPath" not in mount
    assert [each["metadata"]["name"] for each in objects if each["kind"] == "ConfigMap"].count("vortexd-config") == 1


def test_the_image_has_the_version_of_this_checkout() -> None:
    objects = rendered(KUBERNETES / "files")
    sidecar = one(rendered(KUBERNETES / "client"), "Deployment")["spec"]["template"]["spec"]
    images = {
        one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"],
        *(each["image"] for each in sidecar["initContainers"]),
        *(each["image"] for each in sidecar["containers"] if each["name"] == "agent"),
    }

    assert images == {f"vortexd:{__version__}"}


def own_overlay(directory: Path, **more: object) -> list[dict[str, Any]]:
    """The objects of an overlay outside the checkout, which the README describes."""
    shutil.copytree(KUBERNETES, directory / "vortexd/packaging/kubernetes")
    overlay = {"resources": ["../vortexd/packaging/kubernetes/files"], **more}
    (directory / "own").mkdir()
    (directory / "own/kustomization.yaml").write_text(json.dumps(overlay))
    return rendered(directory / "own")


def policy(objects: list[dict[str, Any]], name: str) -> dict[str, Any]:
    [found] = [each for each in objects if each["kind"] == "NetworkPolicy" and each["metadata"]["name"] == name]
    assert found["spec"]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "vortexd"}
    spec: dict[str, Any] = found["spec"]
    return spec


def test_an_overlay_outside_the_checkout_names_its_own_image(tmp_path: Path) -> None:
    image = {"name": "vortexd", "newName": "registry.example/team/vortexd", "newTag": __version__}
    objects = own_overlay(tmp_path, images=[image])
    readme = (KUBERNETES / "README.md").read_text()
    [container] = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]

    assert container["image"] == f"registry.example/team/vortexd:{__version__}"
    assert "resources: [../vortexd/packaging/kubernetes/files]\n" in readme
    assert f"- {{name: vortexd, newName: registry.example/team/vortexd, newTag: {__version__}}}\n" in readme


@pytest.mark.parametrize("directory", ["base", "client"])
def test_the_name_of_the_image_has_a_line_of_its_own(directory: str) -> None:
    [image] = yaml.safe_load((KUBERNETES / directory / "kustomization.yaml").read_text())["images"]

    assert image == {"name": "vortexd", "newName": "vortexd", "newTag": __version__}


def test_nodes_of_a_cluster_reach_etcd_and_each_other(tmp_path: Path) -> None:
    spec = policy(own_overlay(tmp_path, components=["../vortexd/packaging/kubernetes/cluster"]), "vortexd-cluster")
    pods = [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "vortexd"}}}]
    http = [{"protocol": "TCP", "port": 8888}]

    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == [{"from": pods, "ports": http}]
    assert spec["egress"] == [{"ports": [{"protocol": "TCP", "port": 2379}]}, {"to": pods, "ports": http}]


def test_prometheus_asks_with_a_token_and_reaches_the_pods(tmp_path: Path) -> None:
    monitor = yaml.safe_load((KUBERNETES / "monitoring/servicemonitor.yaml").read_text())
    objects = own_overlay(tmp_path, components=["../vortexd/packaging/kubernetes/monitoring"])
    [endpoint] = one(objects, "ServiceMonitor")["spec"]["endpoints"]
    spec = policy(objects, "vortexd-monitoring")

    assert endpoint["path"] == "/metrics"
    assert endpoint["authorization"]["credentials"] == {"name": "vortexd-metrics", "key": "token"}
    assert endpoint["port"] in [each["name"] for each in one(objects, "Service")["spec"]["ports"]]
    assert monitor["spec"]["selector"]["matchLabels"] == one(objects, "Service")["metadata"]["labels"]
    namespace = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    assert spec["policyTypes"] == ["Ingress"]
    assert spec["ingress"] == [{"from": [namespace], "ports": [{"protocol": "TCP", "port": "http"}]}]


@pytest.mark.parametrize("directory", [*OVERLAYS, "client"])
def test_pod_security_restricted_accepts_every_container(directory: str) -> None:
    pod = one(rendered(KUBERNETES / directory), "Deployment")["spec"]["template"]["spec"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["runAsGroup"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for each in [*pod.get("initContainers", ()), *pod["containers"]]:
        assert each["securityContext"]["allowPrivilegeEscalation"] is False
        assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {"secret", "configMap", "emptyDir"} >= {kind for each in pod["volumes"] for kind in each if kind != "name"}
    assert all(each["resources"]["limits"]["memory"] for each in pod["containers"])


def test_each_secret_of_the_manifests_has_its_command() -> None:
    readme = (KUBERNETES / "README.md").read_text()

    for name in ("vortexd-credentials --from-file=tokens.toml", "orders-vortexd --from-file=token=orders.token"):
        assert f"kubectl create secret generic {name}\n" in readme
    assert "kubectl create secret generic vortexd-metrics --from-file=token=prometheus.token\n" in readme
    # A token on a command line is in the list of processes, and in the history of the shell.
    assert "VORTEXCTL_TOKEN" not in readme
