"""The credential files that settings name: all mistakes in them are reported at once."""

import os
from pathlib import Path
from typing import Any

import attrs
import pytest

from vortexd.auth.credential_files import check_named_files, load_named_files
from vortexd.core.errors import SettingsError
from vortexd.settings.auth import AuthSettings
from vortexd.settings.cluster import ClusterSettings
from vortexd.settings.encryption import EncryptionSettings
from vortexd.settings.monitor import MonitorSettings
from vortexd.settings.root import Settings
from vortexd.settings.server import Address, ServerSettings
from vortexd.settings.tls import TlsSettings
from vortexd.source.git.settings import GitSettings

from ..certificates import make

BOUND = [Address("127.0.0.1", 8888)]
GIT = GitSettings(uri="https://git.example/a.git")


def problems(settings: Settings, environ: dict[str, str] | None = None) -> list[tuple[str, str]]:
    return [each for error in check_named_files(settings, BOUND, environ or {}) for each in error.problems]


def secret(path: Path, text: str = "secret\n", mode: int = 0o600) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_where_nothing_is_named_nothing_is_wrong() -> None:
    assert [] == problems(Settings())
    assert load_named_files(Settings(), BOUND, {}).context is None


def test_all_sections_are_read_whatever_is_wrong_with_another(tmp_path: Path) -> None:
    none = str(tmp_path / "none")
    settings = Settings(
        tls=TlsSettings(certificate=none, client_ca=none, client_certificates="required"),
        encryption=EncryptionSettings(key_file=none),
        auth=AuthSettings(tokens=(none,), jwt_secret=none, jwks=none),
    )
    expected = [
        ("tls.certificate", f"{none} can't be read: no such file or directory"),
        ("tls.key", f"{none} can't be read: no such file or directory"),
        ("tls.client_ca", f"{none} can't be read: no such file or directory"),
        *[(none, "can't be read: No such file or directory")] * 4,
    ]

    assert expected == problems(settings)
    with pytest.raises(SettingsError) as caught:
        load_named_files(settings, BOUND, {})
    assert ("settings", expected) == (caught.value.origin, list(caught.value.problems))


def test_one_error_alone_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_named_files(Settings(auth=AuthSettings(tokens=(str(tmp_path / "none"),))), BOUND, {})

    assert "auth" == caught.value.origin


def test_what_needs_certificates_that_can_not_be_read_is_not_wrong_by_that(tmp_path: Path) -> None:
    certificate, key = make(tmp_path)
    tokens = secret(
        tmp_path / "tokens.toml",
        '[[certificate]]\nname = "a"\ncommon_name = "a"\nrights = ["read"]\npatterns = ["*"]\n',
    )
    tls = TlsSettings(str(certificate), str(key), client_ca=str(tmp_path / "none"), client_certificates="optional")
    settings = Settings(tls=tls, auth=AuthSettings(tokens=(tokens,)))

    assert ["tls.client_ca"] == [key for key, _ in problems(settings)]
    off = attrs.evolve(settings, tls=TlsSettings(str(certificate), str(key)))
    assert ["auth.tokens"] == [key for key, _ in problems(off)]


def test_a_certificate_and_its_authorities_are_both_looked_into(tmp_path: Path) -> None:
    text = secret(tmp_path / "text")
    tls = TlsSettings(certificate=text, client_ca=text, client_certificates="optional")

    assert ["tls.certificate", "tls.client_ca"] == [key for key, _ in problems(Settings(tls=tls))]


def test_a_token_file_is_wrong_in_its_tokens_and_in_its_certificates(tmp_path: Path) -> None:
    tokens = secret(tmp_path / "tokens.toml", '[[token]]\nname = "a"\n[[certificate]]\nname = "a"\n[[colour]]\n')
    found = [place.removeprefix(f"{tokens}: ") for place, _ in problems(Settings(auth=AuthSettings(tokens=(tokens,))))]

    assert {"colour", "token[0].sha256", "certificate[0]"} <= set(found)
    assert len(found) == len(set(found))


def test_a_key_store_is_looked_at_though_its_password_can_not_be_read(tmp_path: Path) -> None:
    settings = EncryptionSettings(key_store=str(tmp_path / "a"), key_store_password_file=str(tmp_path / "b"))

    assert [str(tmp_path / "b"), str(tmp_path / "a")] == [key for key, _ in problems(Settings(encryption=settings))]


# What is read only when it is used.


def test_the_secret_of_webhooks_is_looked_at(tmp_path: Path) -> None:
    def found(path: str) -> list[tuple[str, str]]:
        return problems(Settings(monitor=MonitorSettings(secret=path)))

    assert [] == found(secret(tmp_path / "good"))
    opened = secret(tmp_path / "open", mode=0o640)
    assert [("monitor.secret", f"{opened} is open to other users; run chmod 600 on it")] == found(opened)
    assert ["monitor.secret"] == [key for key, _ in found(str(tmp_path / "none"))]


@pytest.mark.parametrize(
    ("name", "content", "mode", "said"),
    [
        ("password_file", "secret\n", 0o600, None),
        ("password_file", "two\nlines\n", 0o600, "must hold one line of text and nothing else"),
        ("password_file", "secret\n", 0o604, "is open to other users; run chmod 600 on it"),
        ("ssh_key", "key", 0o600, None),
        ("ssh_key", "key", 0o640, "is open to other users; run chmod 600 on it"),
        ("known_hosts", "", 0o644, None),
        ("ca_file", "no certificate", 0o644, "must be PEM with a certificate for each authority"),
    ],
)
def test_the_files_of_a_repository_are_looked_at(
    tmp_path: Path, name: str, content: str, mode: int, said: str | None
) -> None:
    path = secret(tmp_path / "file", content, mode)
    found = problems(Settings(source=(GIT, attrs.evolve(GIT, **{name: path}))))  # type: ignore[arg-type]

    assert ([] if said is None else [(f"source[1].{name}", f"{path} {said}")]) == found


@pytest.mark.parametrize("name", ["password_file", "ssh_key", "known_hosts", "ca_file"])
def test_a_file_of_a_repository_that_is_not_there_or_none_is_said(tmp_path: Path, name: str) -> None:
    def found(path: str) -> list[tuple[str, str]]:
        return problems(Settings(source=(attrs.evolve(GIT, **{name: path}),)))  # type: ignore[arg-type]

    none = str(tmp_path / "none")
    assert [(f"source[0].{name}", f"{none} can't be read: No such file or directory")] == found(none)
    os.mkfifo(tmp_path / "pipe")
    assert [f"source[0].{name}"] == [key for key, _ in found(str(tmp_path / "pipe"))]
    credential = "$CREDENTIALS_DIRECTORY/a"
    assert "CREDENTIALS_DIRECTORY isn't set" in found(credential)[0][1]


def test_credentials_of_systemd_may_have_any_mode(tmp_path: Path) -> None:
    certificate, _ = make(tmp_path)
    for name in ("password", "key"):
        secret(tmp_path / name, mode=0o644)
    source: Any = attrs.evolve(
        GIT,
        password_file="$CREDENTIALS_DIRECTORY/password",
        ssh_key="$CREDENTIALS_DIRECTORY/key",
        ca_file=f"$CREDENTIALS_DIRECTORY/{certificate.name}",
    )

    assert [] == problems(Settings(source=(source,)), {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_a_state_directory_is_one_where_mirrors_are_kept(tmp_path: Path) -> None:
    file = secret(tmp_path / "file")
    server = ServerSettings(state_directory=file)

    assert [] == problems(Settings(server=server))
    assert ["server.state_directory"] == [key for key, _ in problems(Settings(server=server, source=(GIT,)))]
    for directory in (tmp_path, tmp_path / "to be made"):
        assert [] == problems(Settings(server=ServerSettings(state_directory=str(directory)), source=(GIT,)))


def test_the_files_of_a_cluster_are_checked_though_they_are_read_later(tmp_path: Path) -> None:
    opened = secret(tmp_path / "password", mode=0o644)
    settings = Settings(cluster=ClusterSettings(user="u", password_file=opened, ca_file=str(tmp_path / "none")))

    assert [
        ("cluster.password_file", f"{opened} is open to other users; run chmod 600 on it"),
        ("cluster.ca_file", f"{tmp_path / 'none'} can't be read: No such file or directory"),
    ] == problems(settings)
    assert load_named_files(settings, BOUND, {}).context is None
