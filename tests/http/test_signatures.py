"""Signatures of webhooks in the form of each provider."""

import base64
import hashlib
import hmac
from urllib.parse import quote_plus

import pytest
from werkzeug.datastructures import Headers

from vortexd.http.signatures import has_signature, is_signed

SECRET, BODY = "s3cret!", b'{"path": "a"}'
HEX = hmac.new(SECRET.encode(), BODY, hashlib.sha256).hexdigest()
AT = "1576754827988"
GITEE = base64.b64encode(hmac.digest(SECRET.encode(), f"{AT}\n{SECRET}".encode(), "sha256")).decode()


def basic(credentials: bytes) -> str:
    return base64.b64encode(credentials).decode()


@pytest.mark.parametrize(
    ("name", "value", "signed"),
    [
        ("X-Hub-Signature-256", f"sha256={HEX}", True),
        ("X-Hub-Signature", f"sha256={HEX}", True),
        ("X-Forgejo-Signature", HEX, True),
        ("X-Gitea-Signature", HEX, True),
        ("X-Gogs-Signature", HEX, True),
        ("X-Gitlab-Token", SECRET, True),
        ("X-Gitee-Token", SECRET, True),
        ("Authorization", f"Basic {basic(b'azure:s3cret!')}", True),
        ("Authorization", f" basic  {basic(b':s3cret!')} ", True),
        ("X-Hub-Signature-256", HEX, False),
        ("X-Hub-Signature-256", f"sha256={HEX[:-1]}0", False),
        ("X-Hub-Signature", f"sha1={HEX}", False),
        ("X-Forgejo-Signature", f"sha256={HEX}", False),
        ("X-Gitlab-Token", "", False),
        ("X-Gitlab-Token", "ge\xf6", False),
        ("X-Gitea-Signature", "", False),
        ("X-Other", SECRET, False),
        ("Authorization", SECRET, False),
        ("Authorization", f"Bearer {SECRET}", False),
        ("Authorization", f"Bearer {basic(b'azure:s3cret!')}", False),
        ("Authorization", f"Basic {basic(b's3cret!')}", False),
        ("Authorization", f"Basic {basic(b's3cret!:other')}", False),
        ("Authorization", f"Basic {basic(b'a:s3cret! ')}", False),
        ("Authorization", f"Basic {basic(bytes([58, 255]))}", False),
        ("Authorization", "Basic a", False),
        ("Authorization", f"Basic !{basic(b'azure:s3cret!')}", False),
        ("Authorization", "Basic ge\xf6", False),
        ("Authorization", "Basic", False),
    ],
)
def test_a_sender_is_known_by_the_proof_alone(name: str, value: str, signed: bool) -> None:
    assert signed == is_signed(Headers({name: value}), BODY, SECRET)


@pytest.mark.parametrize(
    ("token", "at", "signed"),
    [
        (GITEE, AT, True),
        (quote_plus(GITEE), AT, True),
        (GITEE, AT[:-1], False),
        (GITEE, "", False),
        (GITEE[1:], AT, False),
        ("", AT, False),
    ],
)
def test_gitee_signs_its_timestamp(token: str, at: str, signed: bool) -> None:
    assert signed == is_signed(Headers({"X-Gitee-Token": token, "X-Gitee-Timestamp": at}), BODY, SECRET)


def test_a_signature_is_for_one_body_and_one_secret() -> None:
    headers = Headers({"X-Gitea-Signature": HEX})

    assert is_signed(headers, BODY, SECRET)
    assert not is_signed(headers, BODY + b" ", SECRET)
    assert not is_signed(headers, BODY, SECRET + "!")


def test_one_good_proof_among_bad_ones_is_enough() -> None:
    """Forgejo signs for itself, for Gitea, for Gogs and, with SHA-1, for the oldest GitHub."""
    headers = Headers({"X-Hub-Signature": "sha1=0", "X-Gogs-Signature": "0", "X-Forgejo-Signature": HEX})

    assert is_signed(headers, BODY, SECRET)


@pytest.mark.parametrize(
    ("headers", "claimed"),
    [
        ({}, False),
        ({"Authorization": "Basic x"}, False),
        ({"X-Gitlab-Token": ""}, False),
        ({"X-Gitlab-Token": "wrong"}, True),
        ({"X-Gitee-Token": "wrong"}, True),
        ({"X-Hub-Signature": "sha1=x"}, True),
        ({"X-Forgejo-Signature": "x"}, True),
    ],
)
def test_a_claim_to_be_signed_is_seen_whether_it_is_true_or_not(headers: dict[str, str], claimed: bool) -> None:
    assert claimed == has_signature(Headers(headers))
