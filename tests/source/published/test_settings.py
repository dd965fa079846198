"""Facts about the settings of a published state: what must be there, and what makes no sense together."""

from pathlib import Path

import pytest

from vortexd.core.errors import SettingsError
from vortexd.settings import file
from vortexd.source.kinds import KINDS
from vortexd.source.published.settings import PublishedSettings

ENOUGH = '[[source]]\nkind = "published"\ncluster = "shop"\nendpoints = ["http://127.0.0.1:2379"]\n'
CLUSTER = '[cluster]\nname = "shop"\nendpoints = ["http://127.0.0.1:2379"]\n'


def loaded(text: str) -> PublishedSettings:
    [source] = file.load(text, "vortexd.toml", Path("/etc/vortexd"), KINDS).source
    assert isinstance(source, PublishedSettings)
    return source


def problems(text: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        loaded(text)
    return dict(caught.value.problems)


def test_a_cluster_and_an_address_are_enough() -> None:
    source = loaded(ENOUGH)
    assert (source.cluster, source.endpoints, source.applications) == ("shop", ("http://127.0.0.1:2379",), ())
    assert (source.files, source.file_bytes, source.total_bytes) == (20_000, 10_485_760, 268_435_456)


def test_the_files_of_access_are_below_the_directory_of_the_settings() -> None:
    source = loaded(ENOUGH + 'user = "vx"\npassword_file = "pw"\n')
    assert source.password_file == "/etc/vortexd/pw"
    assert set(source.private_keys) == {"password_file", "ca_file", "certificate", "key"}


def test_a_cluster_and_an_address_must_be_there() -> None:
    assert problems('[[source]]\nkind = "published"\n') == {
        "source[0].cluster": "is missing; name the cluster that publishes",
        "source[0].endpoints": "is missing; name the client addresses of etcd's members",
    }


@pytest.mark.parametrize("name", ["", "a/b", "a.b", "a b", "\\u00e4", "x" * 65])
def test_a_cluster_has_the_name_of_a_cluster(name: str) -> None:
    assert problems(ENOUGH.replace("shop", name)) == {
        "source[0].cluster": "must be 1 to 64 letters, digits, hyphens and underscores"
    }


@pytest.mark.parametrize("name", ["a", "A-1_b", "x" * 64])
def test_such_names_are_allowed(name: str) -> None:
    assert loaded(ENOUGH.replace("shop", name)).cluster == name


def test_a_published_state_says_itself_for_which_applications_it_is() -> None:
    assert "source[0].applications" in problems(ENOUGH + 'applications = ["a"]\n')


def test_a_node_that_serves_a_published_state_does_not_publish_it_again() -> None:
    assert loaded(ENOUGH + CLUSTER)
    assert loaded(ENOUGH + CLUSTER + "publish = false\n")
    assert problems(ENOUGH + CLUSTER + "publish = true\n") == {
        "cluster.publish": "must be false at a node that serves a published state; it would publish it again"
    }
    files = '[[source]]\npath = "/srv"\n'
    assert list(problems(files + ENOUGH + CLUSTER + "publish = true\n")) == ["cluster.publish"]
    assert file.load(files + CLUSTER + "publish = true\n", "x", Path("/"), KINDS).cluster.publish


def test_files_of_access_that_can_not_be_used_are_named(tmp_path: Path) -> None:
    source = PublishedSettings(cluster="c", endpoints=("https://a",), user="u", password_file=str(tmp_path / "none"))
    [(name, problem)] = source.unusable_files({})
    assert name == "password_file"
    assert "can't be read" in problem
