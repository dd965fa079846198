"""`/encrypt`, `/decrypt` and `/key`: the same responses as a real Spring Cloud Config Server, rights, and no secret in logs."""

import json
from pathlib import Path

import orjson
import pytest
from structlog.testing import capture_logs

from tests.fakes import open_gate
from tests.http.serving import headers_of, serving
from tests.http.test_auth import bearer, gate
from vortexd.auth import Authority, Right
from vortexd.core.errors import RemoteError
from vortexd.encryption.ciphers import AesEncryptor, RsaEncryptor
from vortexd.encryption.contract import Keys, OneKey
from vortexd.encryption.decryptor import Decryptor
from vortexd.encryption.files import Encryption, Keyring
from vortexd.encryption.keys import KeyStore
from vortexd.encryption.pkcs12 import encrypted_keys
from vortexd.http.encryption import encryption_endpoints
from vortexd.http.endpoint import Endpoint, Request, Response
from vortexd.net.proxies import Sender

HERE = Path(__file__).parent.parent / "encryption"
RECORDED = json.loads((HERE / "answers.json").read_text())
KEYS: dict[str, Keys] = {
    "aes": OneKey(AesEncryptor("foo")),
    "store": KeyStore(
        encrypted_keys((HERE / "keys.p12").read_bytes(), b"storepass"), b"storepass", "first", RsaEncryptor
    ),
}
MYSECRET = "682bc583f4641835fa2db009355293665d2647dade3375c0ee201de2a49f7bda"
NO_KEY = {"description": "No key was installed for encryption service", "status": "NO_KEY"}
TEXT = "text/plain"


def keyring(keys: Keys | None) -> Keyring:
    return Keyring(Encryption(keys, Decryptor(keys)))


def endpoint_of(path: str, keys: Keyring) -> Endpoint:
    return next(each for each in encryption_endpoints(keys) if "/" + path.split("/")[1] in each.paths)


async def post(keys: Keys | None, path: str, text: str, content_type: str = TEXT) -> Response:
    """The answer of an endpoint; an error as the application makes it, less its body."""
    admission = open_gate().admit([(b"host", b"localhost")], path, Sender())
    request = Request(
        "POST", path, "", headers_of({"Content-Type": content_type}), text.encode(), admission, lambda: admission
    )
    try:
        return await endpoint_of(path, keyring(keys)).answer(request)
    except RemoteError as error:
        return Response(error.status)


@pytest.mark.parametrize("content_type", sorted({row[0] for row in RECORDED["encrypt"]}))
async def test_what_is_encrypted_is_what_spring_encrypts(content_type: str) -> None:
    for text, status, plain, before in [row[1:] for row in RECORDED["encrypt"] if row[0] == content_type]:
        answer = await post(KEYS["aes"], "/encrypt", text, content_type)
        # What makes Spring fail is still the peer's mistake.
        assert {500: 400}.get(status, status) == answer.status, text
        if status == 200:
            cipher = answer.body.decode()
            assert before == cipher[: cipher.rfind("}") + 1], text
            assert plain == (await post(KEYS["aes"], "/decrypt", cipher)).body.decode(), text


@pytest.mark.parametrize("keys", KEYS)
async def test_what_is_decrypted_is_what_spring_decrypts(keys: str) -> None:
    for content_type, text, status, body in [row[1:] for row in RECORDED["decrypt"] if row[0] == keys]:
        answer = await post(KEYS[keys], "/decrypt", text, content_type)
        assert (status, body or "") == (answer.status, answer.body.decode()), (content_type, text)


async def test_text_with_parameters_keeps_its_end() -> None:
    cipher = (await post(KEYS["aes"], "/encrypt", "a=", "text/plain;charset=UTF-8")).body.decode()

    assert b"a=" == (await post(KEYS["aes"], "/decrypt", cipher)).body


async def test_without_a_key_each_endpoint_says_so() -> None:
    async with serving(more=encryption_endpoints(keyring(None))) as http:
        for method, path in (("GET", "/encrypt/status"), ("POST", "/encrypt"), ("POST", "/decrypt/a/b")):
            answer = await http.ask(path, method, b"x", Content_Type=TEXT)
            assert (404, NO_KEY) == (answer.status, orjson.loads(answer.body))
        answer = await http.ask("/key")
        assert {"description": "No public key available", "status": "NOT_FOUND"} == orjson.loads(answer.body)


async def test_the_endpoints_answer_through_the_listener() -> None:
    async with serving(more=encryption_endpoints(keyring(KEYS["store"]))) as http:
        assert b'{"status":"OK"}' == (await http.ask("/encrypt/status")).body
        for path in ("/key", "/key/shop/dev"):
            answer = await http.ask(path)
            assert (RECORDED["key"].encode(), "text/plain;charset=UTF-8") == (
                answer.body,
                answer.headers["content-type"],
            )
        cipher = await http.ask("/encrypt/shop/dev,eu", "POST", b"{key:second}s", Content_Type=TEXT)
        assert "no-store" == cipher.headers["cache-control"]
        plain = await http.ask("/decrypt/shop/dev", "POST", cipher.body, Content_Type=TEXT)
        assert (200, b"s", "text/plain;charset=UTF-8") == (plain.status, plain.body, plain.headers["content-type"])


async def test_a_symmetric_key_has_no_public_one() -> None:
    async with serving(more=encryption_endpoints(keyring(KEYS["aes"]))) as http:
        answer = await http.ask("/key/a/b")

    assert (404, {"description": "No public key available", "status": "NOT_FOUND"}) == (
        answer.status,
        orjson.loads(answer.body),
    )


async def test_a_key_that_is_not_there_encrypts_nothing() -> None:
    for text in ("{key:nobody}x", "{key:second}{secret:wrong}x"):
        answer = await post(KEYS["store"], "/encrypt", text)
        assert (404, NO_KEY) == (answer.status, orjson.loads(answer.body))


@pytest.mark.parametrize(
    ("path", "status"), [("/encrypt/a", 404), ("/encrypt/a/b/c", 404), ("/encrypt/..%2F/b", 400), ("/encrypt/a/", 400)]
)
async def test_other_paths_are_refused(path: str, status: int) -> None:
    assert status == (await post(KEYS["aes"], path, "x")).status


async def test_a_reload_is_seen_by_the_next_request() -> None:
    ring = keyring(None)
    async with serving(more=encryption_endpoints(ring)) as http:
        assert 404 == (await http.ask("/encrypt/status")).status
        ring.replace(Encryption(KEYS["aes"], None, b"another"))
        assert 200 == (await http.ask("/encrypt/status")).status


async def test_M12_encrypt_is_for_whoever_is_let_in_and_decrypt_for_admin() -> None:
    async with serving(gate=gate(), more=encryption_endpoints(keyring(KEYS["aes"]))) as http:
        for method, path in (("GET", "/key"), ("GET", "/encrypt/status"), ("POST", "/encrypt"), ("POST", "/decrypt")):
            answer = await http.ask(path, method, b"x", Content_Type=TEXT)
            assert 401 == answer.status, path
        for name in ("reader", "subscriber", "admin"):
            answer = await http.ask("/encrypt", "POST", b"x", Content_Type=TEXT, **bearer(name))
            assert 200 == answer.status, name
            answer = await http.ask("/decrypt", "POST", MYSECRET.encode(), Content_Type=TEXT, **bearer(name))
            assert (200 if name == "admin" else 403) == answer.status, name

    assert b"mysecret" == answer.body


async def test_who_may_not_decrypt_is_told_so_and_nothing_of_the_text() -> None:
    everything_but = Authority(anonymous=frozenset(Right) - {Right.ADMIN})
    async with serving(gate=open_gate(everything_but), more=encryption_endpoints(keyring(KEYS["aes"]))) as http:
        for text in (MYSECRET, "nonsense"):
            answer = await http.ask("/decrypt", "POST", text.encode(), Content_Type=TEXT)
            assert (403, "FORBIDDEN") == (answer.status, orjson.loads(answer.body)["status"])
        assert 'route="/decrypt[/{application}/{profiles}]",status="4xx"' in http.metrics.render().decode()


async def test_neither_texts_nor_keys_get_into_logs() -> None:
    with capture_logs() as logs:
        async with serving(more=encryption_endpoints(keyring(KEYS["store"]))) as http:
            for path, text in (("/encrypt", b"hunter2"), ("/decrypt", b"hunter2"), ("/encrypt", b"{secret:hunter2}x")):
                answer = await http.ask(path, "POST", text, Content_Type=TEXT)
                assert b"hunter2" not in answer.body

    assert "hunter2" not in str(logs)
