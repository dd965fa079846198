"""The settings of a repository: valid combinations of keys, its files, and `--source`."""

from pathlib import Path
from typing import Any

import attrs
import pytest

from vortexd.source.git.settings import GitSettings

URI = "https://git.example/a.git"


def conflicts(**table: Any) -> dict[str, str]:
    return dict(GitSettings.conflicts({"kind": "git", **table}))


def test_a_repository_must_have_an_address() -> None:
    assert {"uri": "is missing; name the address of the repository to serve"} == conflicts()
    assert {} == conflicts(uri=URI)


@pytest.mark.parametrize("uri", [5, 0.5, True, [URI], {"a": URI}, "", "ext::sh"])
def test_an_address_that_is_none_is_not_compared_with_other_keys(uri: object) -> None:
    """The key's own rule refuses it, whatever its type."""
    assert {} == conflicts(uri=uri, ssh_key="k", schemes=[])


@pytest.mark.parametrize(
    ("uri", "schemes", "is_refused"),
    [
        (URI, None, False),
        ("git@git.example:a.git", None, False),
        ("http://git.example/a.git", None, True),
        ("http://git.example/a.git", ["http"], False),
        ("http://git.example/a.git", ("http",), False),
        (URI, ["ssh"], True),
        (URI, [], True),
        # Another rule refuses it.
        (URI, "ssh", False),
    ],
)
def test_an_address_begins_with_one_of_the_schemes(uri: str, schemes: object, is_refused: bool) -> None:
    table = {"uri": uri} if schemes is None else {"uri": uri, "schemes": schemes}

    assert (["uri"] if is_refused else []) == [*conflicts(**table)]


def test_an_unprotected_scheme_is_named_with_its_remedy() -> None:
    said = 'must not begin with git://, which is not protected, unless schemes contains "git"'

    assert {"uri": said} == conflicts(uri="git://git.example/a.git")


def test_a_password_stands_in_one_place() -> None:
    uri = "https://u:hunter2@git.example/a.git"
    found = conflicts(uri=uri, password_file="p")

    assert {"password_file": "must not be set if uri contains a password; keep the file"} == found
    assert {} == conflicts(uri=uri)
    assert {} == conflicts(uri=uri, password_file="")


@pytest.mark.parametrize(
    ("uri", "useless"),
    [
        (URI, {"ssh_key": "ssh", "known_hosts": "ssh"}),
        ("http://git.example/a", {"ca_file": "https", "ssh_key": "ssh", "known_hosts": "ssh"}),
        (
            "ssh://git.example/a",
            {"username": "http and https", "password_file": "http and https", "ca_file": "https"},
        ),
    ],
)
def test_credentials_that_an_address_has_no_use_for_are_refused(uri: str, useless: dict[str, str]) -> None:
    scheme = uri.partition(":")[0]
    given = dict.fromkeys(("username", "password_file", "ca_file", "ssh_key", "known_hosts"), "x")
    found = conflicts(uri=uri, schemes=[scheme], **given)

    assert {name: f"has no effect with {scheme}://; it is for {used}" for name, used in useless.items()} == found
    assert {} == conflicts(uri=uri, schemes=[scheme], **dict.fromkeys(given, ""))


# Pushing.


@pytest.mark.parametrize(
    ("uri", "useless"),
    [
        (URI, {"push_ssh_key": "ssh"}),
        ("ssh://git.example/a", {"push_username": "http and https", "push_password_file": "http and https"}),
    ],
)
def test_credentials_for_pushing_that_an_address_has_no_use_for_are_refused(uri: str, useless: dict[str, str]) -> None:
    scheme = uri.partition(":")[0]
    given = dict.fromkeys(("push_username", "push_password_file", "push_ssh_key"), "x")
    found = conflicts(uri=uri, push=True, **given)

    assert {name: f"has no effect with {scheme}://; it is for {used}" for name, used in useless.items()} == found
    assert {} == conflicts(uri=uri, push=True, **dict.fromkeys(given, ""))


@pytest.mark.parametrize(
    ("uri", "key"),
    [
        (URI, "push_username"),
        (URI, "push_password_file"),
        ("ssh://git.example/a", "push_ssh_key"),
        (URI, "push_email"),
    ],
)
def test_keys_for_pushing_need_push(uri: str, key: str) -> None:
    problem = "has no effect unless push is true; to stop pushing, write push = false"
    assert {key: problem} == conflicts(uri=uri, **{key: "x@y"})
    # A reload that stops the pushes must not be refused, because the server would go on pushing.
    assert {} == conflicts(uri=uri, push=False, **{key: "x@y"})
    assert {} == conflicts(uri=uri, push=True, **{key: "x@y"})


@pytest.mark.parametrize(
    ("email", "is_allowed"),
    [
        ("vortexd@localhost", True),
        ("a.b+c@git.example.org", True),
        ("", True),
        ("x", False),
        ("@x", False),
        ("x@", False),
        ("a b@x", False),
        ("<a@x>", False),
        ("a@x\n", False),
        ("a@x>", False),
        ("x" * 65 + "@x", False),
    ],
)
def test_an_email_address_can_not_break_a_commit(email: str, is_allowed: bool) -> None:
    rule = attrs.fields(GitSettings).push_email.metadata["rule"]

    assert is_allowed == rule.accepts(email)


def test_nothing_is_pushed_unless_it_is_set() -> None:
    assert not GitSettings().push


def test_files_for_pushing_are_checked_as_those_for_fetching(tmp_path: Path) -> None:
    for name, mode in (("password", 0o644), ("key", 0o640)):
        (tmp_path / name).write_text("x\n")
        (tmp_path / name).chmod(mode)
    settings = GitSettings(
        uri=URI, push=True, push_password_file=str(tmp_path / "password"), push_ssh_key=str(tmp_path / "key")
    )

    assert [
        ("push_password_file", f"{tmp_path}/password is open to other users; run chmod 600 on it"),
        ("push_ssh_key", f"{tmp_path}/key is open to other users; run chmod 600 on it"),
    ] == [*settings.unusable_files({})]


# Files.


def test_each_file_that_can_not_be_used_is_named_by_its_key(tmp_path: Path) -> None:
    for name, mode in (("password", 0o644), ("key", 0o640), ("hosts", 0o666), ("ca", 0o666)):
        (tmp_path / name).write_text("x\n")
        (tmp_path / name).chmod(mode)
    password, key, hosts, ca = (str(tmp_path / name) for name in ("password", "key", "hosts", "ca"))
    settings = GitSettings(uri=URI, password_file=password, ssh_key=key, known_hosts=hosts, ca_file=ca)

    assert [
        ("password_file", f"{tmp_path}/password is open to other users; run chmod 600 on it"),
        ("ssh_key", f"{tmp_path}/key is open to other users; run chmod 600 on it"),
        ("ca_file", f"{tmp_path}/ca must be PEM with a certificate for each authority"),
    ] == [*settings.unusable_files({})]


def test_files_are_found_where_systemd_puts_them(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("x\n")
    settings = GitSettings(uri=URI, password_file="$CREDENTIALS_DIRECTORY/key", ssh_key="$CREDENTIALS_DIRECTORY/key")

    assert [] == [*settings.unusable_files({"CREDENTIALS_DIRECTORY": str(tmp_path)})]
    assert ["password_file", "ssh_key"] == [key for key, _ in settings.unusable_files({})]


def test_no_files_are_no_problem() -> None:
    assert [] == [*GitSettings(uri=URI).unusable_files({})]
    assert [] == [*GitSettings(uri=URI).unreadable()]


def test_all_files_but_none_else_are_for_vortexd_alone() -> None:
    paths = ("password_file", "ssh_key", "known_hosts", "ca_file", "push_password_file", "push_ssh_key")
    assert paths == GitSettings.private_keys == GitSettings.path_keys
    assert GitSettings.keeps_mirrors


# `--source`.


def test_settings_for_another_repository_of_the_same_host_keep_their_credentials() -> None:
    settings = GitSettings(uri=URI, username="u", password_file="/p", ca_file="/c", schemes=("https",), push=True)

    assert attrs.evolve(settings, uri="https://git.example/b") == settings.at("https://git.example/b")


@pytest.mark.parametrize("uri", ["https://other.example/b", "https://git.example:8443/b"])
def test_settings_for_another_host_or_port_lose_their_credentials_and_nothing_else(uri: str) -> None:
    settings = GitSettings(
        uri=URI, username="u", password_file="/p", ssh_key="/k", known_hosts="/h", ca_file="/c", loaded_labels=3
    )
    settings = attrs.evolve(settings, push=True, push_username="u", push_password_file="/p", push_ssh_key="/k")
    settings = attrs.evolve(settings, push_email="a@b")

    assert GitSettings(uri=uri, loaded_labels=3) == settings.at(uri)


def test_the_scheme_of_the_address_is_allowed_once() -> None:
    assert ("https", "ssh", "file") == GitSettings().at("file:///srv/a.git").schemes
    assert ("https", "ssh") == GitSettings().at("ssh://git.example/a").schemes


def test_addresses_are_taken_and_paths_are_not(tmp_path: Path) -> None:
    assert GitSettings.takes(URI)
    assert not GitSettings.takes(str(tmp_path))
    assert URI == GitSettings.location_of(URI)
    assert GitSettings.location_of(str(tmp_path)) is None
