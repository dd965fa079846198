"""Files of secrets: one line that nobody else may read, files for other programs, and keys with a passphrase."""

import os
import subprocess
from pathlib import Path

import pytest

from tests import certificates
from vortexd.core.errors import SourceError
from vortexd.settings.secrets import expanded, file_problem, needs_passphrase, read_secret, secret_problem

HEAD, END = b"-----BEGIN OPENSSH PRIVATE KEY-----\n", b"\n-----END OPENSSH PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("key", "is_so"),
    [
        # openssh-key-v1 with the cipher none, and with aes256-ctr.
        (HEAD + b"b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ==" + END, False),
        (HEAD + b"b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0" + END, True),
        (b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,13\n", True),
        (b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIF\n", True),
        (b"-----BEGIN RSA PRIVATE KEY-----\nMIIF\n", False),
        (HEAD + b"eA==" + END, False),
        (HEAD + b"x" + END, False),
        (b"", False),
    ],
)
def test_a_key_with_a_passphrase_is_known_from_outside(key: bytes, is_so: bool, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(key)

    assert is_so == needs_passphrase(str(tmp_path / "key"))


def test_a_credential_is_found_where_systemd_puts_it(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")

    assert needs_passphrase("$CREDENTIALS_DIRECTORY/key", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert not needs_passphrase("$CREDENTIALS_DIRECTORY/key", {})


def test_a_key_that_can_not_be_read_takes_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert not needs_passphrase(str(tmp_path / "nothing"))
    assert not needs_passphrase(str(tmp_path / "pipe"))
    assert not needs_passphrase("a\0b")


@pytest.mark.parametrize("kind", [["ed25519"], ["rsa", "-b", "1024", "-m", "PEM"], ["ecdsa", "-m", "PKCS8"]])
@pytest.mark.parametrize("passphrase", ["", "a secret"])
def test_keys_of_ssh_keygen(kind: list[str], passphrase: str, tmp_path: Path) -> None:
    command = ["ssh-keygen", "-q", "-t", *kind, "-N", passphrase, "-f", str(tmp_path / "key")]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no ssh-keygen")

    assert bool(passphrase) == needs_passphrase(str(tmp_path / "key"))


# Secrets.


def write(path: Path, data: bytes, mode: int = 0o600) -> str:
    path.write_bytes(data)
    path.chmod(mode)
    return str(path)


def refusal(path: str, environ: dict[str, str] | None = None) -> str:
    """Why a secret is refused. `secret_problem` says the same."""
    with pytest.raises(SourceError) as caught:
        read_secret(path, environ or {})
    assert secret_problem(path, environ or {}) == str(caught.value)
    return str(caught.value)


def test_a_path_begins_with_the_directory_of_systemd_or_stays_as_it_is() -> None:
    environ = {"CREDENTIALS_DIRECTORY": "/run/credentials"}

    assert "/run/credentials/key" == expanded("$CREDENTIALS_DIRECTORY/key", environ)
    assert "/etc/key" == expanded("/etc/key", environ)
    with pytest.raises(
        SourceError, match=r"^\$CREDENTIALS_DIRECTORY/key can't be read: \$CREDENTIALS_DIRECTORY isn't set"
    ):
        expanded("$CREDENTIALS_DIRECTORY/key", {})


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n"])
def test_a_secret_is_the_one_line_of_its_file(end: bytes, tmp_path: Path) -> None:
    path = write(tmp_path / "secret", " p\u00e4ss word ".encode() + end)

    assert " p\u00e4ss word " == read_secret(path, {})
    assert secret_problem(path, {}) is None


@pytest.mark.parametrize("data", [b"", b"\n", b"one\ntwo", b"a\tb", b"a\0b", b"\xff", b"\x1b[31m"])
def test_a_file_with_anything_but_one_line_of_text_is_refused(data: bytes, tmp_path: Path) -> None:
    path = write(tmp_path / "secret", data)

    assert f"{path} must hold one line of text and nothing else" == refusal(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601])
def test_T06_a_secret_that_is_open_to_others_is_refused_with_what_to_do(mode: int, tmp_path: Path) -> None:
    path = write(tmp_path / "secret", b"hunter2", mode)

    assert f"{path} is open to other users; run chmod 600 on it" == refusal(path)


def test_a_credential_of_systemd_may_have_any_mode(tmp_path: Path) -> None:
    write(tmp_path / "secret", b"hunter2", 0o444)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}

    assert "hunter2" == read_secret("$CREDENTIALS_DIRECTORY/secret", environ)
    assert "is open to other users" in refusal(str(tmp_path / "secret"), environ)
    assert "$CREDENTIALS_DIRECTORY isn't set" in refusal("$CREDENTIALS_DIRECTORY/secret")


def test_a_secret_that_can_not_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    # A pipe without a writer is empty, and reading it must not wait for one.
    os.mkfifo(tmp_path / "pipe", 0o600)

    assert f"{missing} can't be read: No such file or directory" == refusal(missing)
    assert "a\0b can't be read: not a path" == refusal("a\0b")
    assert f"{tmp_path}/pipe must hold one line of text and nothing else" == refusal(str(tmp_path / "pipe"))


def test_a_secret_that_is_too_long_is_refused_and_not_cut(tmp_path: Path) -> None:
    longest = write(tmp_path / "longest", b"x" * 65_535 + b"\n")
    longer = write(tmp_path / "longer", b"x" * 65_537)

    assert "x" * 65_535 == read_secret(longest, {})
    assert f"{longer} must be at most 65536 bytes long" == refusal(longer)


# Files that other programs read.


@pytest.mark.parametrize(
    ("mode", "forbidden", "is_refused"),
    [(0o600, 0o077, False), (0o644, 0o077, True), (0o644, 0o022, False), (0o664, 0o022, True)],
)
def test_T06_a_file_for_another_program_must_not_have_the_forbidden_bits(
    mode: int, forbidden: int, is_refused: bool, tmp_path: Path
) -> None:
    path = write(tmp_path / "key", b"x", mode)
    expected = f"{path} is open to other users; run chmod 600 on it" if is_refused else None

    assert expected == file_problem(path, {}, forbidden, is_pem=False)


def test_a_credential_for_another_program_may_have_any_mode(tmp_path: Path) -> None:
    write(tmp_path / "key", b"x", 0o666)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}

    assert file_problem("$CREDENTIALS_DIRECTORY/key", environ, 0o077, is_pem=False) is None
    found = file_problem("$CREDENTIALS_DIRECTORY/key", {}, 0o077, is_pem=False)
    assert found is not None
    assert found.startswith("$CREDENTIALS_DIRECTORY/key can't be read: $CREDENTIALS_DIRECTORY isn't set")


def test_a_file_for_another_program_must_be_a_regular_file_that_can_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    reasons = {
        f"{tmp_path}/pipe": "must be a regular file",
        str(tmp_path): "can't be read: Is a directory",
        f"{tmp_path}/missing": "can't be read: No such file or directory",
        "a\0b": "can't be read: not a path",
    }

    for path, reason in reasons.items():
        assert f"{path} {reason}" == file_problem(path, {}, 0o077, is_pem=False)


def test_a_file_of_authorities_must_hold_certificates(tmp_path: Path) -> None:
    certificate, _ = certificates.make(tmp_path)
    good = str(certificate)
    certificate.chmod(0o644)
    wrong = write(tmp_path / "wrong.pem", b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
    empty = write(tmp_path / "empty.pem", b"")

    assert file_problem(good, {}, 0o022, is_pem=True) is None
    for path in (wrong, empty):
        assert f"{path} must be PEM with a certificate for each authority" == file_problem(path, {}, 0o022, is_pem=True)
        assert file_problem(path, {}, 0o022, is_pem=False) is None
