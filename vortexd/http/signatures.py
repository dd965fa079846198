"""Whether a webhook comes from somebody who knows the secret. Pure.

In come headers, the body as it was sent, and the secret; out goes yes or no. The body isn't parsed here, so a form is verified as it was sent,
not by the JSON in it.
"""

import base64
import hashlib
import hmac
from urllib.parse import unquote

from .webhooks import Headers

# HMAC-SHA256 over the body, in hex. Bitbucket and Gitea's relatives each have a header of their own.
_HEX_SIGNATURES = {
    "X-Hub-Signature-256": "sha256=",
    "X-Hub-Signature": "sha256=",
    "X-Forgejo-Signature": "",
    "X-Gitea-Signature": "",
    "X-Gogs-Signature": "",
}
_GITEE_TOKEN = "X-Gitee-Token"
# The secret itself.
_SECRETS = ("X-Gitlab-Token", _GITEE_TOKEN)


def is_signed(headers: Headers, body: bytes, secret: str) -> bool:
    """Whether a request proves that its sender knows the secret. Takes the same time however wrong the proof is."""
    key = secret.encode()
    digest = hmac.new(key, body, hashlib.sha256).hexdigest()
    proofs = [(headers.get(name, ""), prefix + digest) for name, prefix in _HEX_SIGNATURES.items()]
    proofs += [(headers.get(name, ""), secret) for name in _SECRETS]
    proofs.append((unquote(headers.get(_GITEE_TOKEN, "")), _gitee_signature(headers, key)))
    proofs.append((_password(headers.get("Authorization", "")), secret))
    # Digests are compared, for text that isn't ASCII can't be, and lengths say something.
    return any(hmac.compare_digest(_digest(sent), _digest(wanted)) and bool(sent) for sent, wanted in proofs)


def has_signature(headers: Headers) -> bool:
    """Whether a request claims to be signed, rightly or not."""
    return any(headers.get(name, "") for name in (*_HEX_SIGNATURES, *_SECRETS))


def _gitee_signature(headers: Headers, key: bytes) -> str:
    """Gitee's other way: it signs its own timestamp in place of the body, and sends base64. Some versions percent-encode that."""
    text = headers.get("X-Gitee-Timestamp", "").encode() + b"\n" + key
    return base64.b64encode(hmac.digest(key, text, hashlib.sha256)).decode()


def _password(authorization: str) -> str:
    """The password of basic authentication, whatever the user is; "" where there is none."""
    scheme, _, credentials = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(credentials.strip(), validate=True).partition(b":")[2].decode()
    except ValueError:
        return ""


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
