"""Facts about the settings of a prefix in etcd: what must be there, and what makes no sense together."""

from pathlib import Path
from typing import Any

import pytest

from vortexd.core.errors import SettingsError
from vortexd.settings import file
from vortexd.source.etcd.settings import EtcdSettings
from vortexd.source.kinds import KINDS

ENOUGH = '[[source]]\nkind = "etcd"\nprefix = "/config/"\nendpoints = ["http://127.0.0.1:2379"]\n'


def loaded(text: str) -> EtcdSettings:
    [source] = file.load(text, "vortexd.toml", Path("/etc/vortexd"), KINDS).source
    assert isinstance(source, EtcdSettings)
    return source


def problems(text: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        loaded(text)
    return dict(caught.value.problems)


def test_a_prefix_and_an_address_are_enough() -> None:
    source = loaded(ENOUGH)
    assert (source.prefix, source.endpoints, source.marker) == ("/config/", ("http://127.0.0.1:2379",), "")
    assert (source.default_label, source.label_directories) == ("main", False)


def test_the_files_of_access_are_below_the_directory_of_the_settings() -> None:
    source = loaded(
        ENOUGH.replace("http:", "https:")
        + 'user = "vx"\npassword_file = "pw"\nca_file = "ca.pem"\ncertificate = "c.pem"\nkey = "$CREDENTIALS_DIRECTORY/k"\n'
    )
    assert source.password_file == "/etc/vortexd/pw"
    assert source.ca_file == "/etc/vortexd/ca.pem"
    assert source.certificate == "/etc/vortexd/c.pem"
    assert source.key == "$CREDENTIALS_DIRECTORY/k"
    assert set(source.private_keys) == {"password_file", "ca_file", "certificate", "key"}


def test_a_prefix_and_an_address_must_be_there() -> None:
    found = problems('[[source]]\nkind = "etcd"\n')
    assert found["source[0].prefix"] == "is missing; name the prefix of the keys to serve"
    assert found["source[0].endpoints"] == "is missing; name the client addresses of etcd's members"


@pytest.mark.parametrize("prefix", ["", "/", "config", "/config", "/c\\u00e4/", "/c\\n/"])
def test_a_prefix_ends_with_a_slash(prefix: str) -> None:
    assert "source[0].prefix" in problems(ENOUGH.replace("/config/", prefix))


@pytest.mark.parametrize("marker", ["a\\nb", "\\u00e4"])
def test_a_marker_is_plain_text(marker: str) -> None:
    assert "source[0].marker" in problems(f'{ENOUGH}marker = "{marker}"\n')


@pytest.mark.parametrize(
    ("table", "is_refused"), [({"quiet": 2, "max_wait": 1}, True), ({"quiet": 1, "max_wait": 1}, False)]
)
def test_changes_do_not_wait_longer_than_the_longest_wait(table: dict[str, Any], is_refused: bool) -> None:
    found = [*EtcdSettings.conflicts({"prefix": "/c/", "endpoints": ["http://a"], **table})]
    assert found == ([("max_wait", "must not be less than quiet")] if is_refused else [])


def test_files_of_access_that_can_not_be_used_are_named(tmp_path: Path) -> None:
    source = EtcdSettings(prefix="/c/", endpoints=("https://a",), user="u", password_file=str(tmp_path / "none"))
    [(name, problem)] = source.unusable_files({})
    assert name == "password_file"
    assert "can't be read" in problem
