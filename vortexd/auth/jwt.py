"""JSON Web Tokens (RFC 7519) from issuers whose keys the operator has put into files. Pure.

`verify` takes a token and returns a `Principal`. Each key is pinned to one algorithm when it is loaded, so the token's
`alg` selects nothing. A `kid` selects only among the loaded keys, and never a path or an address. The signature is
verified before any claim is read (T08).
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import OKPAlgorithm, RSAAlgorithm

from ..core.errors import SettingsError
from .principal import Kind, Principal, Unauthorized, grant_problems, make_grant

CLAIM = "vortexd"
_MIN_SECRET_BYTES = 32
_MIN_RSA_BITS = 2_048
_MAX_KEYS = 64
_SUBJECT = re.compile(r"[A-Za-z0-9._@:+/|-]{1,128}")


@attrs.frozen(slots=True, eq=False)
class JwtKey:
    """A key that verifies signatures.

    Attributes:
        kid: The key's name in tokens, or None.
        algorithm: HS256, RS256 or EdDSA. The key is never used with another algorithm.
        fingerprint: SHA-256 of the algorithm and the key, as hex digits.
    """

    kid: str | None
    algorithm: str
    key: bytes | RSAPublicKey | Ed25519PublicKey = attrs.field(repr=False)
    fingerprint: str = attrs.field(repr=False)


class JwtVerifier:
    """Verifies tokens with the loaded keys. Immutable.

    Args:
        audience: `aud` must contain this. If it is None, tokens with an `aud` are refused, because they are meant for
            another server.
        issuer: `iss` must equal this, unless it is None.
        leeway: The seconds by which clocks may differ.
    """

    def __init__(
        self, keys: Sequence[JwtKey], audience: str | None = None, issuer: str | None = None, leeway: float = 0.0
    ) -> None:
        self._keys = {key.kid: key for key in keys}
        self._audience = audience
        self._issuer = issuer
        self._leeway = leeway
        self._identities = {self._identity(key) for key in keys}

    def verify(self, token: str, now: float) -> Principal:
        """Verify a token, and return its principal.

        Args:
            now: Seconds since the epoch.

        Raises:
            Unauthorized: The token is invalid, for whatever reason.
        """
        try:
            header = jwt.get_unverified_header(token)
            key = self._select(header)
            # The times are checked below, by the clock that the caller passes.
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=self._audience,
                issuer=self._issuer,
                options={"require": ["exp"], "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except (jwt.PyJWTError, RecursionError, ValueError):
            raise Unauthorized from None
        return self._principal(claims, key, now)

    def trusts(self, identity: str) -> bool:
        """Return whether the key and the audience that admitted this identity are still in force."""
        return identity in self._identities

    def _select(self, header: Mapping[str, Any]) -> JwtKey:
        """Return the key that the header names. Without a name, return the key without a name, or the only key."""
        # RFC 7515 section 4.1.11: a verifier must refuse extensions that it doesn't understand. We understand none.
        if "crit" in header or "b64" in header:
            raise Unauthorized
        kid = header.get("kid")
        key = self._keys.get(kid)
        if key is None and kid is None and len(self._keys) == 1:
            (key,) = self._keys.values()
        if key is None:
            raise Unauthorized
        return key

    def _principal(self, claims: Mapping[str, Any], key: JwtKey, now: float) -> Principal:
        expires, begins, granted = claims["exp"], claims.get("nbf", 0), claims.get(CLAIM)
        if not _is_time(expires) or not _is_time(begins):
            raise Unauthorized
        if now >= expires + self._leeway or now < begins - self._leeway:
            raise Unauthorized
        if not isinstance(granted, dict) or granted.keys() - {"rights", "patterns"}:
            raise Unauthorized
        rights, patterns = granted.get("rights", []), granted.get("patterns", [])
        if any(grant_problems(rights, patterns)):
            raise Unauthorized
        subject = claims.get("sub", "")
        name = subject if _SUBJECT.fullmatch(subject) else "unnamed"
        return Principal(
            name, Kind.JWT, (make_grant(rights, patterns),), float(expires + self._leeway), self._identity(key)
        )

    def _identity(self, key: JwtKey) -> str:
        return _digest(key.fingerprint, self._audience or "", self._issuer or "")


def load_secret(secret: bytes, origin: str) -> JwtKey:
    """Make the HS256 key from the bytes of a file, without the line end.

    Raises:
        SettingsError: The key is too short (RFC 7518 section 3.2).
    """
    secret = secret.removesuffix(b"\n").removesuffix(b"\r")
    if len(secret) < _MIN_SECRET_BYTES:
        raise SettingsError(
            [("", f"must have at least {_MIN_SECRET_BYTES} random bytes; make some with openssl rand")], origin
        )
    return JwtKey(None, "HS256", secret, _digest("HS256", secret.hex()))


def load_jwks(text: str, origin: str) -> tuple[JwtKey, ...]:
    """Make the RS256 and EdDSA keys of a JWK set (RFC 7517). Keys for encryption are ignored.

    Raises:
        SettingsError: The error lists every problem.
    """
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        raise SettingsError([("", "isn't valid JSON")], origin) from None
    entries = table.get("keys") if isinstance(table, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SettingsError([("keys", "must be a list of keys, as in a JWK set")], origin)
    if len(entries) > _MAX_KEYS:
        raise SettingsError([("keys", f"must have at most {_MAX_KEYS} keys")], origin)
    problems: list[tuple[str, str]] = []
    keys: dict[str | None, JwtKey] = {}
    signing = [(index, entry) for index, entry in enumerate(entries) if entry.get("use", "sig") != "enc"]
    for index, entry in signing:
        found = [(f"keys[{index}].{path}".rstrip("."), text) for path, text in _key_problems(entry, len(signing) == 1)]
        key = None if found else _public_key(entry)
        if not found and key is None:
            found = [
                (f"keys[{index}]", f"must be a complete public key; an RSA key must have at least {_MIN_RSA_BITS} bits")
            ]
        elif key is not None and key.kid in keys:
            found = [(f"keys[{index}].kid", "occurs twice; each key must have its own")]
        problems += found
        if key is not None:
            keys[key.kid] = key
    if not signing:
        problems.append(("keys", "must have at least one key for signatures"))
    if problems:
        raise SettingsError(problems, origin)
    return tuple(keys.values())


def _key_problems(entry: Mapping[str, Any], is_only: bool) -> Iterator[tuple[str, str]]:
    kid, kind, algorithm = entry.get("kid"), entry.get("kty"), entry.get("alg")
    if not (isinstance(kid, str) and kid) and not (kid is None and is_only):
        yield "kid", "must be text; it may be missing only if there is a single key"
    if "d" in entry:
        yield "", "must be a public key; this is a private key, which only the issuer of the tokens may have"
    if kind == "RSA":
        if algorithm not in (None, "RS256"):
            yield "alg", "must be RS256 for an RSA key"
    elif kind == "OKP":
        if algorithm not in (None, "EdDSA"):
            yield "alg", "must be EdDSA for an Ed25519 key"
        if entry.get("crv") != "Ed25519":
            yield "crv", "must be Ed25519"
    else:
        yield "kty", "must be RSA or OKP (Ed25519)"


def _public_key(entry: Mapping[str, Any]) -> JwtKey | None:
    """Make the key, or return None if its numbers are invalid."""
    kid = entry.get("kid")
    try:
        if entry["kty"] == "RSA":
            rsa = RSAAlgorithm.from_jwk(dict(entry))
            if isinstance(rsa, RSAPublicKey) and rsa.key_size >= _MIN_RSA_BITS:
                numbers = rsa.public_numbers()
                return JwtKey(kid, "RS256", rsa, _digest("RS256", f"{numbers.n:x}", f"{numbers.e:x}"))
        else:
            curve = OKPAlgorithm.from_jwk(dict(entry))
            if isinstance(curve, Ed25519PublicKey):
                return JwtKey(kid, "EdDSA", curve, _digest("EdDSA", curve.public_bytes_raw().hex()))
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError):
        pass
    return None


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
