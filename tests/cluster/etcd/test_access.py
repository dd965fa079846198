"""Facts about the engine that settings name: addresses, certificates, and the password that is read when it is needed."""

import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.certificates import make
from vortexd.cluster.connection import Endpoint
from vortexd.cluster.engine import Denied, EngineError
from vortexd.cluster.etcd import access as module
from vortexd.cluster.etcd.access import AT_A_TIME, fingerprint, fingerprint_of, in_thread, open_etcd
from vortexd.settings.etcd import EtcdAccess

HTTPS = ("https://a:1",)


def test_the_members_are_asked_in_the_order_of_the_settings() -> None:
    gateway = open_etcd(EtcdAccess(endpoints=("http://a:1", "http://b")))._gateway
    assert gateway.members == 2
    assert gateway.endpoint == Endpoint("a", 1, False)
    assert gateway._tls is None
    assert gateway._login is None


def test_certificates_are_checked_and_shown(tmp_path: Path) -> None:
    certificate, key = make(tmp_path)
    access = EtcdAccess(endpoints=HTTPS, ca_file=str(certificate), certificate=str(certificate), key=str(key))
    tls = open_etcd(access)._gateway._tls
    assert tls is not None
    assert tls.check_hostname
    assert [each["subject"] for each in tls.get_ca_certs()] == [((("commonName", "localhost"),),)]


def test_systemds_credentials_are_found(tmp_path: Path) -> None:
    certificate, _ = make(tmp_path)
    access = EtcdAccess(endpoints=HTTPS, ca_file=f"$CREDENTIALS_DIRECTORY/{certificate.name}")
    assert open_etcd(access, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    with pytest.raises(EngineError, match="CREDENTIALS_DIRECTORY isn't set"):
        open_etcd(access, {})


@pytest.mark.parametrize("name", ["ca_file", "certificate", "key"])
def test_a_certificate_that_can_not_be_used_is_named(tmp_path: Path, name: str) -> None:
    certificate, key = make(tmp_path)
    files = {"ca_file": str(certificate), "certificate": str(certificate), "key": str(key)}
    files[name] = str(tmp_path / "none.pem")
    with pytest.raises(EngineError, match=r"none\.pem.*No such file"):
        open_etcd(EtcdAccess(endpoints=HTTPS, **files), {})
    (tmp_path / "none.pem").write_text("garbage")
    with pytest.raises(EngineError, match=r"certificates can't be used \(.*none\.pem"):
        open_etcd(EtcdAccess(endpoints=HTTPS, **files), {})


def test_a_key_with_a_password_is_refused_without_asking(tmp_path: Path) -> None:
    certificate, key = make(tmp_path, password=b"secret")
    with pytest.raises(EngineError, match="the key must not have a password"):
        open_etcd(EtcdAccess(endpoints=HTTPS, certificate=str(certificate), key=str(key)), {})


async def test_the_password_is_read_each_time(tmp_path: Path) -> None:
    file = tmp_path / "password"
    access = EtcdAccess(endpoints=("http://a",), user="u", password_file=str(file))
    login = open_etcd(access, {})._gateway._login
    assert login is not None
    assert login.user == "u"
    with pytest.raises(Denied, match="can't be read"):
        await login.password()
    for text in ("one", "two"):
        file.write_text(text + "\n")
        file.chmod(0o600)
        assert await login.password() == text
    file.chmod(0o644)
    with pytest.raises(Denied, match="chmod 600"):
        await login.password()


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A file system that hangs, and the files that were asked for there."""
    asked, is_over = list[str](), threading.Event()

    def read_secret(path: str, environ: object) -> str:
        asked.append(path)
        is_over.wait(20)
        return "late"

    monkeypatch.setattr(module, "read_secret", read_secret)
    yield asked
    is_over.set()


LOGIN = EtcdAccess(endpoints=("http://a",), user="u", password_file="/hung/password")


async def test_a_password_that_can_not_be_read_in_time_is_denied(
    hung: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PASSWORD", 0.05)
    login = open_etcd(LOGIN, {})._gateway._login
    assert login is not None
    with trio.fail_after(5), pytest.raises(Denied, match=r"^/hung/password can't be read within 0\.05 s$"):
        await login.password()


async def test_a_password_that_hangs_does_not_hold_up_a_cancellation(hung: list[str]) -> None:
    login = open_etcd(LOGIN, {})._gateway._login
    assert login is not None
    began = trio.current_time()
    with trio.move_on_after(0.05) as scope:
        await login.password()
    assert scope.cancelled_caught
    assert trio.current_time() < began + module.PASSWORD


async def test_files_that_hang_take_few_threads_and_none_of_other_parts(
    hung: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PASSWORD", 0.1)
    # Each engine is made anew, as after a failure.
    for _ in range(AT_A_TIME + 2):
        login = open_etcd(LOGIN, {})._gateway._login
        assert login is not None
        with pytest.raises(Denied, match="within"):
            await login.password()
    assert len(hung) == AT_A_TIME
    assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0


async def test_certificates_that_can_not_be_read_in_time_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    is_over = threading.Event()
    monkeypatch.setattr(module, "OPENING", 0.05)
    try:
        with pytest.raises(EngineError, match=r"^the certificates can't be read within 0\.05 s$"):
            await in_thread(lambda: is_over.wait(20))
    finally:
        is_over.set()


# The fingerprint of the files.

NAMES = ("password_file", "ca_file", "certificate", "key")


def named(directory: Path) -> EtcdAccess:
    return EtcdAccess(endpoints=HTTPS, user="u", **{name: str(directory / name) for name in NAMES})


@pytest.mark.parametrize("name", NAMES)
def test_the_fingerprint_is_that_of_the_content_of_each_file(tmp_path: Path, name: str) -> None:
    for each in NAMES:
        (tmp_path / each).write_text("same")
    access = named(tmp_path)
    before = fingerprint_of(access)
    (tmp_path / name).write_text("same")
    assert fingerprint_of(access) == before
    (tmp_path / name).write_text("other")
    changed = fingerprint_of(access)
    (tmp_path / name).unlink()
    missing = fingerprint_of(access)
    (tmp_path / name).write_text("")
    assert len({before, changed, missing, fingerprint_of(access)}) == 4


def test_the_fingerprint_says_which_file_has_which_content(tmp_path: Path) -> None:
    def written(*contents: str) -> bytes:
        for name, content in zip(NAMES, contents, strict=True):
            (tmp_path / name).write_text(content)
        return fingerprint_of(named(tmp_path))

    assert len({written("a", "b", "", ""), written("b", "a", "", ""), written("ab", "", "", "")}) == 3


def test_neither_a_pipe_nor_a_directory_nor_a_missing_credential_holds_up_the_fingerprint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    access = EtcdAccess(
        endpoints=HTTPS, ca_file=str(tmp_path / "pipe"), certificate=str(tmp_path), key="$CREDENTIALS_DIRECTORY/x"
    )
    assert fingerprint_of(access, {}) == fingerprint_of(access, {})


def test_a_file_without_an_end_is_read_to_a_limit() -> None:
    assert fingerprint_of(EtcdAccess(endpoints=HTTPS, ca_file="/dev/zero"))


async def test_the_fingerprint_is_computed_in_a_thread_and_only_if_there_are_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca").write_text("x")
    access = EtcdAccess(endpoints=HTTPS, ca_file=str(tmp_path / "ca"))
    assert await fingerprint(access) == fingerprint_of(access)
    is_over = threading.Event()
    monkeypatch.setattr(module, "fingerprint_of", lambda access: is_over.wait(20))
    monkeypatch.setattr(module, "OPENING", 0.05)
    try:
        with pytest.raises(EngineError, match=re.escape("can't be read within 0.05 s")):
            await fingerprint(access)
        assert await fingerprint(EtcdAccess(endpoints=HTTPS)) == b""
    finally:
        is_over.set()
