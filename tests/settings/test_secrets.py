"""Files with secrets: private keys with and without a passphrase."""

import os
import subprocess
from pathlib import Path

import pytest

from vortexd.settings.secrets import needs_passphrase

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


@pytest.mark.parametrize("kind", [["ed25519"], ["rsa", "-m", "PEM"], ["ecdsa", "-m", "PKCS8"]])
@pytest.mark.parametrize("passphrase", ["", "a secret"])
def test_keys_of_ssh_keygen(kind: list[str], passphrase: str, tmp_path: Path) -> None:
    command = ["ssh-keygen", "-q", "-t", *kind, "-N", passphrase, "-f", str(tmp_path / "key")]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no ssh-keygen")

    assert bool(passphrase) == needs_passphrase(str(tmp_path / "key"))
