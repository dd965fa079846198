"""The operator's page names only existing alerts, settings and files."""

import re
from pathlib import Path

import attrs
import pytest
import yaml

import vortexd.composition  # it imports every endpoint but those of a cluster
import vortexd.http.cluster  # noqa: F401
from vortexd.http.endpoint import Endpoint
from vortexd.process.installation import contents
from vortexd.settings.root import Settings
from vortexd.source.files.settings import FilesSettings
from vortexd.source.git.settings import GitSettings

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "man/vortexd-operations.7").read_text()


def test_each_alert_is_explained_in_a_section_of_its_own_and_no_other() -> None:
    rules = yaml.safe_load((ROOT / "conf/prometheus/vortexd.rules.yml").read_text())
    alerts = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]

    assert alerts == re.findall(r"^\.It Ic (Vortexd\w+)$", PAGE, re.MULTILINE)


def test_each_setting_that_it_names_exists() -> None:
    sections = attrs.fields_dict(Settings)
    named = re.findall(r"^\.Ic ([a-z]+)\.([a-z_]+)\b", PAGE, re.MULTILINE)

    assert len(named) > 10
    for section, key in named:
        kind = sections[section].type
        assert kind is not None
        assert attrs.has(kind), section
        assert key in attrs.fields_dict(kind), (section, key)


def test_each_key_of_a_source_that_it_names_exists() -> None:
    known = attrs.fields_dict(FilesSettings).keys() | attrs.fields_dict(GitSettings).keys()
    named = set(re.findall(r"^\.Ic ([a-z_]+)(?: [.,;])?$", PAGE, re.MULTILINE)) - {"proxy_pass"}

    assert named
    assert set() == named - known


@pytest.mark.parametrize("path", sorted(set(re.findall(r"^\.Pa (conf/\S+)", PAGE, re.MULTILINE))))
def test_each_file_that_it_names_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_it_is_installed_with_what_it_speaks_of() -> None:
    installed = contents(["/opt/vortexd/bin/vortexd"])
    spoken = {
        *("nginx.conf", "haproxy.cfg", "haproxy-tcp.cfg", "Caddyfile"),
        *("vortexd.rules.yml", "vortexd.grafana.json"),
    }

    assert "share/man/man7/vortexd-operations.7" in installed
    assert all(name in PAGE and f"share/doc/vortexd/{name}" in installed for name in spoken)


def test_it_names_each_path_that_needs_no_token() -> None:
    paragraph = PAGE.partition("\nRequests for these paths never need a token:\n")[2].partition("\n.Pp\n")[0]
    named = {
        path
        for line in re.findall(r"^\.Pa (.+)$", paragraph, re.MULTILINE)
        for path in line.split()
        if path not in ".,"
    }

    # Other tests in this process may have defined endpoints of their own.
    ours = [each for each in Endpoint.__subclasses__() if each.__module__.startswith("vortexd.")]
    assert {path for each in ours if each.is_public for path in each.paths} == named
