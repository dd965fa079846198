"""Checks whether the sender of a webhook knows the secret. Pure.

The check uses the headers, the body as the sender sent it, and the secret. It doesn't parse the body. So if the body is a
form, the signature covers the form, not the JSON in it.
"""

import base64
import hashlib
import hmac
from urllib.parse import unquote

from .webhooks import Headers

# The headers with an HMAC-SHA256 of the body in hex, with their prefixes. Each provider uses its own header.
_HEX_SIGNATURES = {
    "X-Hub-Signature-256": "sha256=",
    "X-Hub-Signature": "sha256=",
    "X-Forgejo-Signature": "",
    "X-Gitea-Signature": "",
    "X-Gogs-Signature": "",
}
_GITEE_TOKEN = "X-Gitee-Token"
# The headers with the secret itself.
_SECRETS = ("X-Gitlab-Token", _GITEE_TOKEN)


def is_signed(headers: Headers, body: bytes, secret: str) -> bool:
    """Whether a request proves that its sender knows the secret. The time it takes doesn't reveal how wrong the proof is."""
    key = secret.encode()
    digest = hmac.new(key, body, hashlib.sha256).hexdigest()
    proofs = [(headers.get(name, ""), prefix + digest) for name, prefix in _HEX_SIGNATURES.items()]
    proofs += [(headers.get(name, ""), secret) for name in _SECRETS]
    proofs.append((unquote(headers.get(_GITEE_TOKEN, "")), _gitee_signature(headers, key)))
    proofs.append((_password(headers.get("Authorization", "")), secret))
    # Compare digests, because `compare_digest` accepts only ASCII texts, and would reveal the length of the secret.
    return any(hmac.compare_digest(_digest(sent), _digest(wanted)) and bool(sent) for sent, wanted in proofs)


def has_signature(headers: Headers) -> bool:
    """Whether a request has a signature, valid or not."""
    return any(headers.get(name, "") for name in (*_HEX_SIGNATURES, *_SECRETS))


def _gitee_signature(headers: Headers, key: bytes) -> str:
    """Compute the second form of a Gitee signature: base64 of an HMAC of Gitee's timestamp, in place of the body.

    Some versions of Gitee also percent-encode it.
    """
    text = headers.get("X-Gitee-Timestamp", "").encode() + b"\n" + key
    return base64.b64encode(hmac.digest(key, text, hashlib.sha256)).decode()


def _password(authorization: str) -> str:
    """Return the password of basic authentication, for any user; "" if there is no password."""
    scheme, _, credentials = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(credentials.strip(), validate=True).partition(b":")[2].decode()
    except ValueError:
        return ""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
