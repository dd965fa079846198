"""Facts about the engine that settings name: addresses, certificates, and the password that is read when it is needed."""

from pathlib import Path

import pytest

from tests.certificates import make
from vortexd.cluster.connection import Endpoint
from vortexd.cluster.engine import Denied, EngineError
from vortexd.cluster.etcd.access import open_etcd
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
