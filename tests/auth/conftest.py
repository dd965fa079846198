"""Tokens, keys and times that the tests of auth share."""

from collections.abc import Mapping
from typing import Any, Protocol

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

NOW = 1_800_000_000.0


class Sign(Protocol):
    """Signs the claims of a good token, with the changes of the test. A claim that is None is left out."""

    def __call__(
        self,
        key: bytes | RSAPrivateKey | Ed25519PrivateKey,
        algorithm: str,
        headers: Mapping[str, object] | None = None,
        /,
        **changes: object,
    ) -> str: ...


@pytest.fixture(scope="session")
def rsa() -> RSAPrivateKey:
    return generate_private_key(65_537, 2_048)


@pytest.fixture(scope="session")
def ed25519() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


@pytest.fixture(scope="session")
def jwks(rsa: RSAPrivateKey, ed25519: Ed25519PrivateKey) -> dict[str, Any]:
    return {
        "keys": [
            {**RSAAlgorithm.to_jwk(rsa.public_key(), as_dict=True), "kid": "r", "alg": "RS256", "use": "sig"},
            {**OKPAlgorithm.to_jwk(ed25519.public_key(), as_dict=True), "kid": "e"},
        ]
    }


@pytest.fixture
def sign() -> Sign:
    def sign(
        key: bytes | RSAPrivateKey | Ed25519PrivateKey,
        algorithm: str,
        headers: Mapping[str, object] | None = None,
        /,
        **changes: object,
    ) -> str:
        claims: dict[str, object] = {
            "sub": "ci",
            "exp": NOW + 60,
            "vortexd": {"rights": ["read"], "patterns": ["shop:*"]},
        } | changes
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, key, algorithm, dict(headers or {}))

    return sign
