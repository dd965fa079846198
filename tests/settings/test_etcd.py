"""Facts about the way to an etcd: addresses, and keys that need or exclude each other."""

from pathlib import Path
from typing import Any

import pytest

from tests.certificates import make
from vortexd.cluster.connection import Endpoint
from vortexd.settings.etcd import EtcdAccess, access_conflicts, is_endpoint, unusable_access

HTTP, HTTPS = ["http://a:2379"], ["http://a", "https://b"]


@pytest.mark.parametrize("text", ["http://a", "https://a.example:1", "http://[::1]:7", "https://a/"])
def test_an_address_of_etcd_is_accepted_and_understood(text: str) -> None:
    assert is_endpoint(text)
    assert Endpoint.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a:2379",
        "ftp://a",
        "http://",
        "http://u@a",
        "http://a/v3",
        "http://a?b",
        "http://a#b",
        "http://a:x",
        "http://a:0",
        "http://a..b",
        "http://" + 64 * "a",
        "http://\uff4cocalhost",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    assert not is_endpoint(text)


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ({"endpoints": HTTP}, []),
        ({}, [("endpoints", "is missing; name the client addresses of etcd's members")]),
        ({"endpoints": []}, [("endpoints", "is missing; name the client addresses of etcd's members")]),
        ({"endpoints": HTTP * 2}, [("endpoints", "must name each address once")]),
        ({"endpoints": HTTP, "password_file": "p"}, [("password_file", "has no effect without user")]),
        (
            {"endpoints": HTTP, "user": "u"},
            [("password_file", "is missing; name the file with the user's password")],
        ),
        ({"endpoints": HTTP, "user": "u", "password_file": "p"}, []),
        ({"endpoints": HTTPS, "key": "k"}, [("key", "has no effect without certificate")]),
        ({"endpoints": HTTPS, "certificate": "c", "key": "k", "ca_file": "a"}, []),
        (
            {"endpoints": HTTP, "certificate": "c", "ca_file": "a"},
            [
                ("ca_file", "has no effect without an https:// address in endpoints"),
                ("certificate", "has no effect without an https:// address in endpoints"),
            ],
        ),
        # The check of the key itself reports these.
        ({"endpoints": "http://a"}, []),
        ({"endpoints": [7]}, []),
    ],
)
def test_conflicts_are_named_with_their_key(table: dict[str, Any], found: list[tuple[str, str]]) -> None:
    assert [*access_conflicts(table)] == found


def test_files_in_order_are_accepted(tmp_path: Path) -> None:
    certificate, key = make(tmp_path)
    password = tmp_path / "password"
    password.write_text("secret\n")
    password.chmod(0o600)
    access = EtcdAccess(
        user="u", password_file=str(password), ca_file=str(certificate), certificate=str(certificate), key=str(key)
    )
    assert [*unusable_access(access, {})] == []


@pytest.mark.parametrize("has_key", [True, False])
def test_the_file_with_the_key_must_be_closed_to_others(tmp_path: Path, has_key: bool) -> None:
    certificate, key = make(tmp_path)
    (key if has_key else certificate).chmod(0o640)
    access = EtcdAccess(certificate=str(certificate), key=str(key) if has_key else "")
    [(name, problem)] = unusable_access(access, {})
    assert name == ("key" if has_key else "certificate")
    assert "open to other users; run chmod 600" in problem


def test_every_file_that_is_missing_is_named(tmp_path: Path) -> None:
    names = ("password_file", "ca_file", "certificate", "key")
    files: dict[str, Any] = {name: str(tmp_path / name) for name in names}
    access = EtcdAccess(user="u", **files)
    assert [name for name, _ in unusable_access(access, {})] == list(names)
