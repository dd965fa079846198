"""JSON Web Tokens: the accepted signatures, and the required claims."""

import base64
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from vortexd.auth import Kind, Right, Unauthorized
from vortexd.auth.jwt import JwtVerifier, load_jwks, load_secret
from vortexd.core.errors import SettingsError
from vortexd.core.patterns import Pattern

from .conftest import NOW, Sign

SECRET = b"s" * 32


@pytest.fixture
def verifier(jwks: dict[str, Any]) -> JwtVerifier:
    return JwtVerifier(load_jwks(json.dumps(jwks), "jwks.json"))


def unsigned(header: object, claims: object, signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def handmade(header: object, claims: object, make_signature: Callable[[bytes], bytes]) -> str:
    """A token as an attacker makes it, for PyJWT refuses to make some that it must be tested against."""
    signed = unsigned(header, claims).rpartition(".")[0]
    return f"{signed}.{base64.urlsafe_b64encode(make_signature(signed.encode())).rstrip(b'=').decode()}"


def signed_by_hand(header: object, claims: object, secret: bytes) -> str:
    """HS256 with a secret or a header that PyJWT would refuse to sign with."""
    text = unsigned(header, claims).rstrip(".")
    signature = hmac.digest(secret, text.encode(), "sha256")
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def refused(verifier: JwtVerifier, token: str, now: float = NOW) -> bool:
    try:
        verifier.verify(token, now)
    except Unauthorized:
        return True
    return False


def test_a_good_token_of_each_algorithm_is_somebody(
    verifier: JwtVerifier, rsa: RSAPrivateKey, ed25519: Ed25519PrivateKey, sign: Sign
) -> None:
    by_secret = JwtVerifier([load_secret(SECRET + b"\n", "secret")])

    principals = [
        verifier.verify(sign(rsa, "RS256", {"kid": "r"}), NOW),
        verifier.verify(sign(ed25519, "EdDSA", {"kid": "e"}), NOW),
        by_secret.verify(sign(SECRET, "HS256"), NOW),
    ]

    for principal in principals:
        assert ("ci", Kind.JWT, NOW + 60) == (principal.name, principal.kind, principal.expires_at)
        assert {Right.READ} == principal.grants[0].rights
        assert (Pattern("shop", "*", "*"),) == principal.grants[0].patterns


def test_T08_no_algorithm_but_the_one_of_the_key(
    verifier: JwtVerifier, rsa: RSAPrivateKey, ed25519: Ed25519PrivateKey, sign: Sign
) -> None:
    claims = {"exp": NOW + 60, "vortexd": {"rights": ["read"], "patterns": ["*"]}}
    header = {"typ": "JWT", "kid": "r"}
    # The public key is known to everybody; a verifier that lets the token choose would take it for a secret.
    public = rsa.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    assert refused(
        verifier,
        handmade(header | {"alg": "HS256"}, claims, lambda signed: hmac.digest(public, signed, "sha256")),
    )
    assert refused(verifier, sign(rsa, "RS512", {"kid": "r"}))
    assert refused(verifier, sign(rsa, "PS256", {"kid": "r"}))
    assert refused(verifier, sign(ed25519, "EdDSA", {"kid": "r"}))
    algorithms: list[object] = ["none", "None", "NONE", "", None, [], {}, "HS256", "RS256"]
    for algorithm in algorithms:
        assert refused(verifier, unsigned({"alg": algorithm, "kid": "r"}, claims))
    assert refused(verifier, unsigned({"kid": "r"}, claims))


@pytest.mark.parametrize(
    "kid",
    ["../../../dev/null", "/dev/null", "https://evil.example/jwks", "R", "", " r", "r\0", 1, True, ["r"], {"r": 1}],
)
def test_T08_a_kid_chooses_among_the_loaded_keys_only(verifier: JwtVerifier, kid: object) -> None:
    claims = {"exp": NOW + 60, "iss": "https://evil.example"}

    assert refused(verifier, unsigned({"alg": "HS256", "kid": kid}, claims))
    assert refused(
        verifier, unsigned({"alg": "RS256", "kid": kid, "jku": "https://evil.example", "jwk": {}, "x5u": "x"}, claims)
    )


def test_T08_no_claim_counts_before_the_signature(verifier: JwtVerifier, rsa: RSAPrivateKey, sign: Sign) -> None:
    good = sign(rsa, "RS256", {"kid": "r"})
    other = sign(generate_private_key(65_537, 2_048), "RS256", {"kid": "r"})
    head, _, signature = good.split(".")
    more = base64.urlsafe_b64encode(b'{"exp":9999999999,"vortexd":{"rights":["admin"]}}').rstrip(b"=").decode()

    assert refused(verifier, other)
    assert refused(verifier, f"{head}.{more}.{signature}")
    assert not refused(verifier, good)


def test_without_a_kid_the_only_key_is_meant_and_of_several_none(
    verifier: JwtVerifier, jwks: dict[str, Any], rsa: RSAPrivateKey, sign: Sign
) -> None:
    only = JwtVerifier(load_jwks(json.dumps({"keys": jwks["keys"][:1]}), "jwks.json"))

    assert not refused(only, sign(rsa, "RS256"))
    assert refused(verifier, sign(rsa, "RS256"))


@pytest.mark.parametrize("header", [{"crit": ["exp"]}, {"crit": []}, {"b64": True}, {"b64": False, "crit": ["b64"]}])
def test_a_header_that_must_be_understood_is_refused(header: dict[str, object]) -> None:
    verifier = JwtVerifier([load_secret(SECRET, "secret")])
    claims = {"exp": NOW + 60, "vortexd": {"rights": ["read"], "patterns": ["*"]}}

    assert not refused(verifier, signed_by_hand({"alg": "HS256"}, claims, SECRET))
    assert refused(verifier, signed_by_hand({"alg": "HS256", **header}, claims, SECRET))


@pytest.mark.parametrize(
    ("claims", "is_refused"),
    [
        ({}, False),
        ({"exp": None}, True),
        ({"exp": NOW}, True),
        ({"exp": NOW + 1}, False),
        ({"exp": "9999999999"}, True),
        ({"exp": True}, True),
        ({"exp": 10**400}, True),
        ({"exp": -1}, True),
        ({"nbf": NOW}, False),
        ({"nbf": NOW + 1}, True),
        ({"nbf": "0"}, True),
        ({"iat": NOW + 999}, False),
        ({"aud": "somebody-else"}, True),
        ({"sub": 5}, True),
        ({"vortexd": None}, True),
        ({"vortexd": []}, True),
        ({"vortexd": {}}, True),
        ({"vortexd": {"rights": ["read"]}}, True),
        ({"vortexd": {"rights": "read", "patterns": ["*"]}}, True),
        ({"vortexd": {"rights": ["read"], "patterns": "*"}}, True),
        ({"vortexd": {"rights": ["read", "root"], "patterns": ["*"]}}, True),
        ({"vortexd": {"rights": [["read"]], "patterns": ["*"]}}, True),
        ({"vortexd": {"rights": ["read"], "patterns": [""]}}, True),
        ({"vortexd": {"rights": ["read"], "patterns": ["*"], "more": 1}}, True),
        ({"vortexd": {"rights": ["admin"]}}, False),
    ],
)
def test_claims_are_strict(sign: Sign, claims: dict[str, object], is_refused: bool) -> None:
    verifier = JwtVerifier([load_secret(SECRET, "secret")])

    assert is_refused == refused(verifier, sign(SECRET, "HS256", **claims))


def test_audience_and_issuer_are_checked_where_they_are_set(sign: Sign) -> None:
    verifier = JwtVerifier([load_secret(SECRET, "secret")], "vortexd", "https://issuer.example")

    assert not refused(verifier, sign(SECRET, "HS256", aud=["x", "vortexd"], iss="https://issuer.example"))
    assert refused(verifier, sign(SECRET, "HS256", aud="vortexd"))
    assert refused(verifier, sign(SECRET, "HS256", iss="https://issuer.example"))
    assert refused(verifier, sign(SECRET, "HS256", aud="x", iss="https://issuer.example"))
    assert refused(verifier, sign(SECRET, "HS256", aud="vortexd", iss="https://issuer.example.evil"))


def test_clocks_may_differ_by_the_leeway(sign: Sign) -> None:
    verifier = JwtVerifier([load_secret(SECRET, "secret")], leeway=30)

    assert not refused(verifier, sign(SECRET, "HS256", exp=NOW - 29))
    assert refused(verifier, sign(SECRET, "HS256", exp=NOW - 30))
    assert not refused(verifier, sign(SECRET, "HS256", nbf=NOW + 30))
    assert refused(verifier, sign(SECRET, "HS256", nbf=NOW + 31))


def test_a_subject_that_could_forge_a_log_line_names_nobody(sign: Sign) -> None:
    verifier = JwtVerifier([load_secret(SECRET, "secret")])

    assert "unnamed" == verifier.verify(sign(SECRET, "HS256", sub="ci\nadmin logged in"), NOW).name
    assert "unnamed" == verifier.verify(sign(SECRET, "HS256", sub=None), NOW).name


@given(st.text(), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists), st.binary())
def test_any_text_is_nobody(text: str, value: object, signature: bytes) -> None:
    verifier = JwtVerifier([load_secret(SECRET, "secret")])

    assert refused(verifier, text)
    assert refused(verifier, f"{text}.{text}.{text}")
    assert refused(verifier, unsigned(value, value, signature))
    assert refused(verifier, unsigned({"alg": value, "typ": value}, value, signature))
    assert refused(verifier, unsigned({"alg": "HS256", "kid": value}, value, signature))


def test_a_deep_token_is_nobody() -> None:
    verifier = JwtVerifier([load_secret(SECRET, "secret")])
    deep = base64.urlsafe_b64encode(b"[" * 100_000).decode()

    assert refused(verifier, f"{deep}.{deep}.{deep}")


# The files of keys.


def jwks_problems(value: object) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load_jwks(value if isinstance(value, str) else json.dumps(value), "jwks.json")
    return dict(caught.value.problems)


def test_T03_a_short_secret_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least 32"):
        load_secret(b"s" * 31 + b"\n", "secret")


@pytest.mark.parametrize(
    "value", ["", "[", "[" * 100_000, [], 1, {}, {"keys": {}}, {"keys": [1]}, {"keys": []}, {"keys": [{}] * 65}]
)
def test_what_is_no_jwk_set_is_refused(value: object) -> None:
    assert jwks_problems(value)


def test_each_unusable_key_is_named(jwks: dict[str, Any], rsa: RSAPrivateKey, ed25519: Ed25519PrivateKey) -> None:
    good = jwks["keys"][0]
    keys = [
        RSAAlgorithm.to_jwk(rsa, as_dict=True) | {"kid": "0"},
        OKPAlgorithm.to_jwk(ed25519, as_dict=True) | {"kid": "1"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "2"},
        ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True) | {"kid": "3"},
        good | {"kid": "4", "alg": "HS256"},
        good | {"kid": "5", "n": "AQAB"},
        good | {"kid": "6", "n": 5},
        {"kty": "RSA", "kid": "7"},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "8"},
        {"kty": "OKP", "crv": "X25519", "x": "AA", "kid": "9"},
        good,
        good,
        {name: value for name, value in good.items() if name != "kid"},
        {"kty": ["RSA"], "kid": "13"},
    ]

    expected = {
        "keys[0]", "keys[1]", "keys[2].kty", "keys[3].kty", "keys[4].alg", "keys[5]", "keys[6]", "keys[7]", "keys[8]",
        "keys[9].crv", "keys[11].kid", "keys[12].kid", "keys[13].kty",
    }  # fmt: skip
    assert expected == jwks_problems({"keys": keys}).keys()


def test_a_short_rsa_key_is_refused() -> None:
    short = generate_private_key(65_537, 1_024).public_key()

    assert "2048" in jwks_problems({"keys": [RSAAlgorithm.to_jwk(short, as_dict=True)]})["keys[0]"]


def test_keys_for_encryption_are_passed_over(jwks: dict[str, Any]) -> None:
    encryption = jwks["keys"][0] | {"use": "enc", "alg": "RSA-OAEP", "kid": "x"}

    assert ["r", "e"] == [key.kid for key in load_jwks(json.dumps({"keys": [encryption, *jwks["keys"]]}), "jwks.json")]


@pytest.mark.parametrize(
    ("changes", "place", "expected"),
    [
        ({"alg": "RS256"}, "keys[0].alg", "must be EdDSA for an Ed25519 key"),
        ({"crv": "X25519"}, "keys[0].crv", "must be Ed25519"),
        ({"kid": ""}, "keys[0].kid", "must be text; it may be missing only if there is a single key"),
        ({"kid": 1}, "keys[0].kid", "must be text; it may be missing only if there is a single key"),
        ({"x": "AA"}, "keys[0]", "must be a complete public key; an RSA key must have at least 2048 bits"),
        ({"kty": "EC"}, "keys[0].kty", "must be RSA or OKP (Ed25519)"),
        (
            {"d": "AA"},
            "keys[0]",
            "must be a public key; this is a private key, which only the issuer of the tokens may have",
        ),
    ],
)
def test_the_problem_of_a_key_says_what_is_allowed(
    changes: dict[str, object], place: str, expected: str, jwks: dict[str, Any]
) -> None:
    assert {place: expected} == jwks_problems({"keys": [jwks["keys"][1] | changes]})


def test_a_set_has_1_to_64_keys_for_signatures(jwks: dict[str, Any]) -> None:
    good = jwks["keys"][1]

    assert 64 == len(load_jwks(json.dumps({"keys": [good | {"kid": str(kid)} for kid in range(64)]}), "jwks.json"))
    assert {"keys": "must have at most 64 keys"} == jwks_problems({"keys": [good] * 65})
    assert {"keys": "must have at least one key for signatures"} == jwks_problems({"keys": [good | {"use": "enc"}]})


def test_T03_a_secret_has_at_least_32_bytes_without_its_line_end() -> None:
    assert b"s" * 32 == load_secret(b"s" * 32 + b"\r\n", "secret").key
    with pytest.raises(
        SettingsError, match="^secret: must have at least 32 random bytes; make some with openssl rand$"
    ):
        load_secret(b"s" * 31 + b"\r\n", "secret")


def test_W16_a_verifier_trusts_the_identities_of_its_keys_with_its_audience_and_issuer(sign: Sign) -> None:
    verifier = JwtVerifier([load_secret(SECRET, "secret")])
    identity = verifier.verify(sign(SECRET, "HS256"), NOW).identity

    assert verifier.trusts(identity)
    for other in (
        JwtVerifier([]),
        JwtVerifier([load_secret(b"t" * 32, "secret")]),
        JwtVerifier([load_secret(SECRET, "secret")], "vortexd"),
        JwtVerifier([load_secret(SECRET, "secret")], issuer="vortexd"),
    ):
        assert not other.trusts(identity)
