"""The files of [auth]: their owners and permissions, and the authority that is made from them."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from vortexd.auth import (
    Authority,
    Credentials,
    Forbidden,
    Right,
    Unauthorized,
    check_exposure,
    digest_of,
    load_authority,
)
from vortexd.auth.files import read_tokens
from vortexd.core.errors import SettingsError
from vortexd.core.model import Key
from vortexd.settings.auth import AuthSettings
from vortexd.settings.server import Address, parse_address

from .conftest import NOW, Sign

TOKEN = "vt_" + "a" * 43
LOOPBACK = (Address("127.0.0.1", 8888),)
EVERYWHERE = (Address("0.0.0.0", 8888),)


def entry(name: str = "ci", token: str = TOKEN) -> str:
    return f'[[token]]\nname = "{name}"\nsha256 = "{digest_of(token)}"\nrights = ["read"]\npatterns = ["*"]\n'


def write(path: Path, data: str | bytes, mode: int = 0o600) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    path.chmod(mode)
    return path


def load(
    base: Path, credentials: Path | None = None, bound: tuple[Address, ...] = LOOPBACK, **settings: Any
) -> Authority:
    environ = {"CREDENTIALS_DIRECTORY": str(credentials)} if credentials else {}
    return load_authority(AuthSettings(**settings), bound, base, environ)


def problems(base: Path, credentials: Path | None = None, **settings: Any) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load(base, credentials, **settings)
    return dict(caught.value.problems)


def test_a_token_file_lets_its_tokens_in(tmp_path: Path) -> None:
    write(tmp_path / "tokens.toml", entry())
    judge = load(tmp_path, bound=EVERYWHERE, tokens=("tokens.toml",))

    assert "ci" == judge.authenticate(Credentials(TOKEN), NOW).name
    with pytest.raises(Unauthorized):
        judge.authenticate(Credentials(), NOW)


def test_each_toml_file_of_a_directory_is_a_token_file(tmp_path: Path) -> None:
    write(tmp_path / "tokens" / "a.toml", entry("a"))
    write(tmp_path / "tokens" / "b.toml", entry("b", "vt_" + "b" * 43))
    write(tmp_path / "tokens" / "c.toml.example", "not TOML")
    write(tmp_path / "tokens" / ".d.toml", "not TOML")
    judge = load(tmp_path, tokens=("tokens",))

    assert "b" == judge.authenticate(Credentials("vt_" + "b" * 43), NOW).name


def test_a_token_in_two_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "tokens" / "a.toml", entry("a"))
    write(tmp_path / "tokens" / "b.toml", entry("b"))

    assert ["token b"] == list(problems(tmp_path, tokens=("tokens",)))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o601])
def test_T06_a_file_that_is_open_to_others_is_refused_with_what_to_do(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "tokens.toml", entry(), mode)

    assert {str(path): "is open to other users; run chmod 600 on it"} == problems(tmp_path, tokens=("tokens.toml",))


def test_T06_a_link_a_pipe_and_what_is_not_there_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "tokens.toml", entry())
    (tmp_path / "link.toml").symlink_to("tokens.toml")
    os.mkfifo(tmp_path / "pipe.toml", 0o600)
    names = ("link.toml", "pipe.toml", "missing.toml", "nul\0.toml", "/dev/null")
    found = problems(tmp_path, tokens=names)

    assert {str(tmp_path / name) for name in names} == found.keys()
    assert "symbolic link" in found[str(tmp_path / "link.toml")]
    assert "regular file" in found[str(tmp_path / "pipe.toml")]


def test_T06_another_users_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "tokens.toml", entry())
    owner = path.stat().st_uid or 4_711
    if path.stat().st_uid == 0:
        os.chown(path, owner, -1)
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    assert "must belong to root" in problems(tmp_path, tokens=("tokens.toml",))[str(path)]


def test_T06_a_half_written_file_is_refused_without_its_values(tmp_path: Path) -> None:
    path = write(tmp_path / "tokens.toml", entry()[:-5])
    found = problems(tmp_path, tokens=("tokens.toml",))

    assert [str(path)] == list(found)
    assert digest_of(TOKEN) not in str(found)


@pytest.mark.parametrize("data", [b"\xff", b"#" * 1_048_577])
def test_T06_what_is_no_text_or_too_long_is_refused(tmp_path: Path, data: bytes) -> None:
    write(tmp_path / "tokens.toml", data)

    assert problems(tmp_path, tokens=("tokens.toml",))


def test_what_systemd_keeps_is_not_judged_by_its_mode(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    write(credentials / "tokens.toml", entry(), 0o440)
    (credentials / "link.toml").symlink_to("tokens.toml")

    for name in ("$CREDENTIALS_DIRECTORY/tokens.toml", "$CREDENTIALS_DIRECTORY/link.toml"):
        assert "ci" == load(tmp_path, credentials, tokens=(name,)).authenticate(Credentials(TOKEN), NOW).name


def test_what_only_begins_like_systemds_directory_is_judged(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    write(tmp_path / "tokens.toml", entry(), 0o644)
    (credentials / "link.toml").symlink_to("../tokens.toml")

    for name in ("$CREDENTIALS_DIRECTORY/../tokens.toml", "$CREDENTIALS_DIRECTORY/link.toml"):
        assert problems(tmp_path, credentials, tokens=(name,))


def test_systemds_directory_is_named_where_it_is_not_set(tmp_path: Path) -> None:
    assert ["$CREDENTIALS_DIRECTORY/x"] == list(problems(tmp_path, tokens=("$CREDENTIALS_DIRECTORY/x",)))


def test_T05_a_file_without_tokens_opens_nothing(tmp_path: Path) -> None:
    write(tmp_path / "tokens.toml", "")

    assert ["auth.tokens"] == list(problems(tmp_path, tokens=("tokens.toml",)))


def test_keys_are_read_and_the_set_of_public_ones_may_be_read_by_all(
    tmp_path: Path, jwks: dict[str, Any], rsa: RSAPrivateKey, sign: Sign
) -> None:
    write(tmp_path / "secret", b"s" * 32)
    write(tmp_path / "jwks.json", json.dumps(jwks), 0o644)
    judge = load(tmp_path, bound=EVERYWHERE, jwt_secret="secret", jwks="jwks.json", jwt_leeway=0.0)

    for token in (sign(b"s" * 32, "HS256"), sign(rsa, "RS256", {"kid": "r"})):
        assert "ci" == judge.authenticate(Credentials(token), NOW).name


def test_keys_that_others_could_change_or_read_are_refused(tmp_path: Path, jwks: dict[str, Any]) -> None:
    secret = write(tmp_path / "secret", b"s" * 32, 0o640)
    public = write(tmp_path / "jwks.json", json.dumps(jwks), 0o664)

    assert {str(secret), str(public)} == problems(tmp_path, jwt_secret="secret", jwks="jwks.json").keys()


def test_a_nameless_key_beside_a_secret_is_refused(tmp_path: Path, jwks: dict[str, Any]) -> None:
    (key, *_) = jwks["keys"]
    write(tmp_path / "secret", b"s" * 32)
    write(tmp_path / "jwks.json", json.dumps({"keys": [{name: key[name] for name in key if name != "kid"}]}))

    assert ["auth.jwks"] == list(problems(tmp_path, jwt_secret="secret", jwks="jwks.json"))


def test_all_problems_of_all_files_are_said_at_once(tmp_path: Path) -> None:
    write(tmp_path / "a.toml", "x = 1")
    write(tmp_path / "secret", b"short")
    found = problems(
        tmp_path, tokens=("a.toml", "b.toml"), jwt_secret="secret", origins=("x",), hosts=("a b",), open=True
    )

    expected = {
        "auth.open",
        "auth.origins[0]",
        "auth.hosts[0]",
        f"{tmp_path}/a.toml: x",
        f"{tmp_path}/b.toml",
        f"{tmp_path}/secret",
    }
    assert expected == found.keys()


def test_tokens_are_read_from_files_and_directories_as_the_server_reads_them(tmp_path: Path) -> None:
    write(tmp_path / "tokens" / "b.toml", entry("b", "vt_" + "b" * 43))
    write(tmp_path / "tokens" / "a.toml", entry("a"))
    write(tmp_path / "c.toml", entry("c", "vt_" + "c" * 43))

    assert ["c", "a", "b"] == [token.principal.name for token in read_tokens(["c.toml", "tokens"], tmp_path, {})]
    with pytest.raises(SettingsError) as caught:
        read_tokens(["tokens", "tokens", "missing"], tmp_path, {})
    assert "tokens" == caught.value.origin
    assert {"token a", "token b", f"{tmp_path}/missing"} == {place for place, _ in caught.value.problems}


# Whether anybody is asked at all.


@pytest.mark.parametrize("bind", ["127.0.0.1:1", "[::1]:1", "unix:/run/x"])
def test_T03_without_tokens_this_machine_may_do_everything(tmp_path: Path, bind: str) -> None:
    judge = load(tmp_path, bound=(parse_address(bind),))
    anonymous = judge.authenticate(Credentials(), NOW)

    assert judge.is_open
    judge.authorize(anonymous, Right.READ, Key("a", "b", "c"), NOW)
    judge.authorize(anonymous, Right.ADMIN, None, NOW)


def test_T03_without_tokens_nobody_else_is_listened_to_by_accident(tmp_path: Path) -> None:
    assert ["auth.tokens"] == list(problems(tmp_path, bound=EVERYWHERE))
    with pytest.raises(SettingsError, match=r"auth\.tokens"):
        check_exposure(AuthSettings(), EVERYWHERE)


def test_T03_behind_a_proxy_this_machine_is_everybody(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"server\.trusted_proxies"):
        load_authority(AuthSettings(), LOOPBACK, tmp_path, {}, is_proxied=True)

    assert load_authority(AuthSettings(open=True), LOOPBACK, tmp_path, {}, is_proxied=True).is_open


def test_T03_who_says_open_is_open_but_for_the_daemon_itself(tmp_path: Path) -> None:
    judge = load(tmp_path, bound=EVERYWHERE, open=True)
    anonymous = judge.authenticate(Credentials("whatever"), NOW)

    judge.authorize(anonymous, Right.SUBSCRIBE, Key("a", "b", "c"), NOW)
    with pytest.raises(Forbidden):
        judge.authorize(anonymous, Right.ADMIN, None, NOW)


def test_T03_without_tokens_every_client_has_all_rights_and_on_an_open_server_all_but_admin(tmp_path: Path) -> None:
    def rights(judge: Authority) -> set[Right]:
        anonymous = judge.authenticate(Credentials(), NOW)
        return {right for right in Right if anonymous.has(right)}

    assert {Right.READ, Right.SUBSCRIBE, Right.REPORT, Right.ADMIN} == rights(load(tmp_path))
    assert {Right.READ, Right.SUBSCRIBE, Right.REPORT} == rights(load(tmp_path, bound=EVERYWHERE, open=True))
    assert {Right.READ, Right.SUBSCRIBE, Right.REPORT} == rights(load(tmp_path, open=True))


def test_open_with_tokens_is_a_contradiction() -> None:
    with pytest.raises(SettingsError, match=r"auth\.open"):
        check_exposure(AuthSettings(open=True, tokens=("x",)), LOOPBACK)


def test_certificates_are_known_where_clients_are_asked_for_them(tmp_path: Path) -> None:
    file = tmp_path / "tokens.toml"
    file.write_text('[[certificate]]\nname = "a"\ncommon_name = "A"\nrights = ["read"]\npatterns = ["orders:*"]\n')
    file.chmod(0o600)
    settings = AuthSettings(tokens=(str(file),))

    made = load_authority(settings, EVERYWHERE, tmp_path, {}, authorities=frozenset({"ca"}))
    assert (False, {"orders"}) == (made.is_open, set(made.names.applications))
    with pytest.raises(SettingsError, match=r"tls\.client_certificates"):
        load_authority(settings, EVERYWHERE, tmp_path, {})
    file.write_text(file.read_text() * 2)
    with pytest.raises(SettingsError, match="certificate a: occurs twice"):
        load_authority(settings, EVERYWHERE, tmp_path, {}, authorities=frozenset({"ca"}))
