"""Spring's routes over HTTP, on files: forms, plain files, rights to them, and responses that are made once."""

import contextlib
import gc
import json
import threading
import weakref
from collections import Counter
from functools import lru_cache
from typing import Any

import attrs
import pytest
import trio

from tests.fakes import open_gate, wait_until
from tests.http.serving import FilesReader, Response, Serving, serving
from vortexd.auth import Authority, Forbidden, Gate, Right, Tokens, load_tokens
from vortexd.auth.tokens import digest_of
from vortexd.core.errors import RemoteError
from vortexd.core.model import Files, Key, Origin, SourceReport
from vortexd.encryption.ciphers import AesEncryptor
from vortexd.encryption.contract import OneKey
from vortexd.encryption.decryptor import Decryptor
from vortexd.http import configuration
from vortexd.http.configuration import Configuration
from vortexd.http.endpoint import Headers, Request
from vortexd.http.spring import encoding, environment, resources
from vortexd.http.spring.config_request import ConfigRequest, Form, parse_path
from vortexd.http.spring.encoding import Encoded, Variant
from vortexd.net.proxies import Sender
from vortexd.pipeline.parsing import parse_file
from vortexd.resolve.formats import Document
from vortexd.settings.formats import FormatSettings
from vortexd.settings.http import HttpSettings

FILES: dict[str, str | bytes | Files] = {
    "application.yml": "host: example.org\n",
    "shop.yml": "url: http://${host}/\nport: 8080\nlist: [a, b]\n",
    "shop-prod.yml": "port: 80\n",
    "shop-admin.yml": "a: 1\n",
    "bad.properties": "a..b=1",
    "circle.yml": "a: ${b}\nb: ${a}\n",
    "nginx.conf": "server ${host}; \\${host} ${missing}\n",
    "nginx-prod.conf": "prod\n",
    "static/logo.bin": b"\xff\xfe\x00${host}",
    "latin.txt": "grüß".encode("latin-1"),
    "shop-admin/key.pem": "secret",
    "big.txt": "${host}" + "x" * 100_000,
}


async def ask(target: str, files: FilesReader | None = None, **headers: str) -> Response:
    async with serving(reader=files or FilesReader(FILES)) as http:
        return await http.ask(target, **headers)


@pytest.mark.parametrize(
    ("target", "content_type", "body"),
    [
        (
            "/shop-default.yml",
            "text/plain",
            "host: example.org\nurl: http://example.org/\nport: 8080\nlist:\n- a\n- b\n",
        ),
        (
            "/main/shop-prod.yaml",
            "text/plain",
            "host: example.org\nurl: http://example.org/\nport: 80\nlist:\n- a\n- b\n",
        ),
        (
            "/shop-default.json?resolvePlaceholders=false",
            "application/json",
            '{"host":"example.org","url":"http://${host}/","port":8080,"list":["a","b"]}',
        ),
        (
            "/shop-default.properties",
            "text/plain",
            "host: example.org\nurl: http://example.org/\nport: 8080\nlist[0]: a\nlist[1]: b",
        ),
        (
            "/shop-default.properties?escape=true",
            "text/plain",
            "host=example.org\nurl=http\\://example.org/\nport=8080\nlist[0]=a\nlist[1]=b\n",
        ),
        ("/none-default.yml", "text/plain", "host: example.org\n"),
        ("/bad-default.properties", "text/plain", "host: example.org\na..b: 1"),
        ("/shop/default/main/nginx.conf", "text/plain", "server example.org; ${host} ${missing}\n"),
        ("/shop/default/nginx.conf?useDefaultLabel", "text/plain", "server example.org; ${host} ${missing}\n"),
        ("/shop/prod/main/nginx.conf", "text/plain", "prod\n"),
        (
            "/shop/dev/main/nginx.conf?resolvePlaceholders=false",
            "text/plain",
            "server ${host}; \\${host} ${missing}\n",
        ),
    ],
)
async def test_each_form_is_springs(target: str, content_type: str, body: str) -> None:
    # What is accepted makes no difference, as in Spring.
    answer = await ask(target, Accept="text/html")

    assert (200, content_type) == (answer.status, answer.headers["content-type"].partition(";")[0])
    assert body == answer.body.decode()
    assert "nosniff" == answer.headers["x-content-type-options"]
    assert "no-cache, private" == answer.headers["cache-control"]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/bad-default.yml", 400),
        ("/bad-default.json", 400),
        ("/circle-default.yml", 400),
        ("/circle-default.properties", 400),
        ("/circle/default", 200),
        ("/shop/default/main/none.txt", 404),
        ("/shop/default/next/nginx.conf", 404),
        ("/shop/default/next", 404),
        ("/next/shop-default.yml", 404),
        ("/shop/default/main,next", 404),
    ],
)
async def test_the_status_is_springs(target: str, status: int) -> None:
    async with serving(reader=FilesReader(FILES)) as http:
        answers = [await http.ask(target) for _ in range(2)]

    assert [status, status] == [each.status for each in answers]
    if status != 200:
        assert {"timestamp", "status", "error", "message"} == set(json.loads(answers[1].body))


async def test_bytes_are_as_they_are_for_who_names_them() -> None:
    as_bytes = await ask("/shop/default/main/static/logo.bin", Accept="text/plain, application/octet-stream")
    as_text = await ask("/shop/default/main/static/logo.bin")

    assert ("application/octet-stream", b"\xff\xfe\x00${host}") == (as_bytes.headers["content-type"], as_bytes.body)
    assert "\ufffd\ufffd\x00example.org" == as_text.body.decode()


async def test_bytes_are_for_who_takes_anything_of_an_application_too() -> None:
    answer = await ask("/shop/default/main/nginx.conf", Accept="application/*")

    assert ("application/octet-stream", b"server ${host}") == (answer.headers["content-type"], answer.body[:14])


async def test_a_text_is_read_in_the_charset_that_is_accepted_and_sent_as_utf_8() -> None:
    assert "grüß" == (await ask("/shop/default/main/latin.txt", Accept_Charset="ISO-8859-1")).body.decode()
    assert "gr\ufffd\ufffd" == (await ask("/shop/default/main/latin.txt")).body.decode()


async def test_each_answer_has_an_etag_and_head_and_304_of_its_own() -> None:
    async with serving(reader=FilesReader(FILES)) as http:
        for target in ("/shop-default.yml", "/shop/default/main/nginx.conf", "/shop/default/main/big.txt"):
            full = await http.ask(target)
            head = await http.ask(target, "HEAD")
            known = await http.ask(target, If_None_Match=full.headers["etag"])

            assert (200, full.headers["content-length"], b"") == (
                head.status,
                head.headers["content-length"],
                head.body,
            )
            assert (304, full.headers["etag"], b"") == (known.status, known.headers["etag"], known.body)


async def test_among_many_directories_a_file_is_looked_for_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration, "_FEW_DIRECTORIES", 1)
    contents = {f"apps/team-{number}/motd.txt": b"%d" % number for number in range(3)}
    files = FilesReader({"main": Files(contents, locations=("", "apps/*/"))})

    assert b"0" == (await ask("/shop/default/main/motd.txt", files)).body
    assert 404 == (await ask("/shop/default/main/none.txt", files)).status


async def test_every_form_of_a_configuration_has_the_version_that_websockets_have() -> None:
    async with serving(reader=FilesReader(FILES)) as http:
        targets = ("/shop/default", "/shop-default.yml", "/shop-default.json", "/main/shop-default.properties")
        versions = {(await http.ask(target)).headers["x-vortex-version"] for target in targets}

    assert {(await FilesReader(FILES).read(Key("shop", "default", "main"))).version} == versions


async def test_overrides_go_over_everything_and_come_first() -> None:
    files = FilesReader(FILES, {"port": "1", "x": "\\${y}"})
    made = json.loads((await ask("/shop/prod", files)).body)
    second = json.loads((await ask("/shop/prod", files, Accept=environment.V2)).body)

    assert {"name": "overrides", "source": {"port": "1", "x": "${y}"}} == made["propertySources"][0]
    assert {"value": "1", "origin": "Config server overrides"} == second["propertySources"][0]["source"]["port"]
    assert b"port: '1'\n" in (await ask("/shop-prod.yml", files)).body
    assert "1" == (await files.read(Key("shop", "prod", "main"))).document["port"]


async def test_an_empty_configuration_is_404_where_it_is_not_accepted() -> None:
    async with serving(reader=FilesReader({"shop.yml": "a: 1"}), http=HttpSettings(accept_empty=False)) as http:
        found = [(await http.ask(target)).status for target in ("/shop/dev", "/none/dev", "/none-dev.yml")]

    assert [200, 404, 404] == found
    assert 200 == (await ask("/none/dev", FilesReader({"shop.yml": "a: 1"}))).status


@pytest.mark.parametrize("broken", ["shop.yml", "application.yml", "imported.yml"])
async def test_strict_errors_are_500_while_a_file_of_the_application_is_broken(broken: str) -> None:
    files = FILES | {"shop.yml": "spring.config.import: imported.yml", "imported.yml": "a: 1"}
    lenient, strict = FilesReader(files), FilesReader(files)
    found = []
    for contents in (files, files | {broken: "a: [1"}, files):
        lenient.change(contents)
        strict.change(contents)
        found.append((await ask("/shop-default.yml", lenient)).status)
        async with serving(reader=strict, http=HttpSettings(strict_errors=True)) as http:
            found.append((await http.ask("/shop-default.yml")).status)

    assert [200, 200, 200, 500, 200, 200] == found


# Encrypted values.

AES = AesEncryptor("foo")
SECRET, FOREIGN = "{cipher}" + AES.encrypt("mysecret ${host}"), "{cipher}" + AesEncryptor("bar").encrypt("x")
ENCRYPTED: dict[str, str | bytes | Files] = FILES | {
    "sealed.yml": f"# {SECRET}0\na: '{SECRET}'\nb: '{FOREIGN}'\nc: x{SECRET}\n",
    "sealed.properties": f"a={SECRET}\n",
    "sealed.json": f'{{"a": "{SECRET}"}}',
    "sealed.txt": SECRET,
    "sealed-broken.yml": f"a: [{SECRET}",
}


def sealed(*, plain_text: bool = True) -> FilesReader:
    return FilesReader(ENCRYPTED, decryptor=Decryptor(OneKey(AES), plain_text=plain_text))


@pytest.mark.parametrize("extension", ["yml", "properties", "json"])
async def test_plain_files_are_decrypted_where_that_is_set_and_then_their_placeholders_resolved(extension: str) -> None:
    target = f"/shop/default/main/sealed.{extension}"
    files = sealed()

    assert b"mysecret example.org" in (await ask(target, files)).body
    assert b"mysecret ${host}" in (await ask(f"{target}?resolvePlaceholders=false", files)).body
    assert SECRET.encode() in (await ask(target, files, Accept="application/octet-stream")).body
    assert SECRET.encode() in (await ask(target, sealed(plain_text=False))).body
    assert SECRET.encode() in (await ask(target, FilesReader(ENCRYPTED))).body


async def test_plain_files_with_something_to_decrypt_are_parsed_within_the_bounds_in_force(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed = []

    def recorded(path: str, content: bytes, limits: FormatSettings) -> tuple[Document, ...]:
        parsed.append((path, limits))
        return parse_file(path, content, limits)

    monkeypatch.setattr(configuration, "parse_file", recorded)
    files = sealed()
    await ask("/shop/default/main/sealed.yml", files)
    await ask("/shop/default/main/shop.yml", files)

    assert [("sealed.yml", files.formats)] == parsed


async def test_what_can_not_be_decrypted_in_a_plain_file_stays_and_is_told_without_a_value() -> None:
    files = sealed()
    answer = await ask("/shop/default/main/sealed.yml", files)

    assert f"a: 'mysecret example.org'\nb: '{FOREIGN}'\n" in answer.body.decode()
    assert [("sealed.yml", "")] == files.undecryptable


@pytest.mark.parametrize("name", ["sealed.txt", "sealed-broken.yml"])
async def test_nothing_is_decrypted_in_what_has_no_values(name: str) -> None:
    assert SECRET.encode() in (await ask(f"/shop/default/main/{name}", sealed())).body


async def test_every_form_of_a_configuration_has_its_values_in_the_open() -> None:
    targets = ("/sealed/default", "/sealed-default.yml", "/sealed-default.json", "/sealed-default.properties")
    contents: dict[str, str | bytes | Files] = {"sealed.yml": f"a: '{SECRET}'"}
    for target in targets:
        body = (await ask(target, FilesReader(contents, decryptor=Decryptor(OneKey(AES))))).body
        assert b"mysecret ${host}" in body


async def test_what_has_a_prefix_is_nowhere_else_but_for_supervisors() -> None:
    async with serving(reader=FilesReader(FILES), http=HttpSettings(prefix="/config")) as http:
        targets = ("/config/shop/dev", "/config/shop-dev.yml", "/shop/dev", "/shop-dev.yml", "/config", "/health")
        found = [(await http.ask(target)).status for target in targets]

    assert [200, 200, 404, 404, 404, 200] == found


async def test_several_labels_of_commits_are_one_configuration() -> None:
    files: dict[str, str | bytes | Files] = {
        name: Files({"shop.yml": content}, revision=name * 8, origin=Origin(name * 8, "Ann", "2030-01-01T00:00:00Z"))
        for name, content in (("one", b"a: 1"), ("two", b"a: 2"))
    }
    made = json.loads((await ask("/shop/dev/one,two", FilesReader(files))).body)

    assert ("one,two", "one" * 8 + "," + "two" * 8, "") == (made["label"], made["version"], made["state"])
    assert [{"a": 2}, {"a": 1}] == [each["source"] for each in made["propertySources"]]


# A misspelt name.


@pytest.mark.parametrize(
    ("target", "unknown"),
    [
        ("/shop/dev", None),
        ("/shop/made-up", None),
        ("/shop-default.yml", None),
        ("/shop-admin/dev", None),
        ("/application/dev", None),
        ("/shp/dev", "shp"),
        ("/shp-dev.properties", "shp"),
        ("/Shop/dev", "Shop"),
        ("/shop,shp,sho/dev", "shp,sho"),
        # There are only files of profiles; nobody knows whether they are.
        ("/pay/eu", None),
        ("/pay-eu/west", None),
        ("/pay-e/west", "pay-e"),
        # It has files under another label.
        ("/next/dev", "next"),
        ("/next/dev/next", None),
        ("/next/dev/next,main", None),
    ],
)
async def test_an_application_that_no_file_is_named_after_is_said(target: str, unknown: str | None) -> None:
    main = Files(
        {
            "application.yml": b"a: 1",
            "shop.yml": b"a: 1",
            "shop-admin.yml": b"",
            "pay-eu-west.yml": b"",
            "bad.yml": b"[",
        }
    )
    async with serving(reader=FilesReader({"main": main, "next": Files({"next.yml": b"a: 1"})})) as http:
        answer = await http.ask(target)
        again = await http.ask(target, If_None_Match="*")

    assert (200, 304) == (answer.status, again.status)
    assert unknown == answer.headers.get("x-vortex-without-files") == again.headers.get("x-vortex-without-files")


async def test_a_plain_file_and_an_error_say_nothing_of_it() -> None:
    async with serving(reader=FilesReader(FILES)) as http:
        for target in ("/shp/dev/main/nginx.conf", "/shp/dev/nowhere"):
            assert "x-vortex-without-files" not in (await http.ask(target)).headers


# Whose a file is.


TOKEN = {name: "vt_" + name.ljust(43, "x") for name in ("shop", "shop-dev", "admin", "all")}
PATTERNS = {"shop": "shop", "shop-dev": "shop:dev", "admin": "shop-admin", "all": "*"}


def gate() -> Gate:
    text = "".join(
        f'[[token]]\nname = "{name}"\nsha256 = "{digest_of(TOKEN[name])}"\nrights = ["read"]\npatterns = ["{pattern}"]\n'
        for name, pattern in PATTERNS.items()
    )
    return open_gate(Authority(Tokens(load_tokens(text, "tokens.toml"))))


async def statuses(http: Serving, target: str) -> dict[str, int]:
    return {name: (await http.ask(target, Authorization=f"Bearer {token}")).status for name, token in TOKEN.items()}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        # The key that is asked for is asked for first.
        ("/shop/dev/main/nginx.conf", {"shop": 200, "shop-dev": 200, "admin": 403, "all": 200}),
        ("/shop/prod/main/nginx.conf", {"shop": 200, "shop-dev": 403, "admin": 403, "all": 200}),
        ("/shop-admin/dev/main/nginx.conf", {"shop": 403, "shop-dev": 403, "admin": 200, "all": 200}),
        # T09: the file of a profile, by its own name.
        ("/shop/dev/main/nginx-prod.conf", {"shop": 200, "shop-dev": 404, "admin": 403, "all": 200}),
        # P14: a file of another application, by its own name and by that of a profile.
        ("/shop/dev/main/shop-admin/key.pem", {"shop": 404, "shop-dev": 404, "admin": 403, "all": 200}),
        ("/shop/dev/main/shop-admin.yml", {"shop": 404, "shop-dev": 404, "admin": 403, "all": 200}),
        ("/shop/admin/main/shop.yml", {"shop": 403, "shop-dev": 403, "admin": 403, "all": 200}),
        ("/shop-admin/dev/main/shop-prod.yml", {"shop": 403, "shop-dev": 403, "admin": 404, "all": 200}),
        # A configuration file may hold documents for any profile.
        ("/shop/dev/main/shop.yml", {"shop": 200, "shop-dev": 404, "admin": 403, "all": 200}),
        ("/shop/dev/main/application.yml", {"shop": 200, "shop-dev": 404, "admin": 403, "all": 200}),
        # P17: what isn't there is the same as what isn't theirs.
        ("/shop/dev/main/none.pem", {"shop": 404, "shop-dev": 404, "admin": 403, "all": 404}),
    ],
)
async def test_P14_T09_a_plain_file_is_read_by_those_who_may_read_its_owner(
    target: str, expected: dict[str, int]
) -> None:
    async with serving(gate=gate(), reader=FilesReader(FILES)) as http:
        assert expected == await statuses(http, target)


async def test_P17_not_there_and_not_allowed_are_one_answer() -> None:
    async with serving(gate=gate(), reader=FilesReader(FILES)) as http:
        headers = {"Authorization": f"Bearer {TOKEN['shop']}"}
        hidden = await http.ask("/shop/dev/main/shop-admin/key.pem", **headers)
        absent = await http.ask("/shop/dev/main/shop-admin/none.pem", **headers)

    assert (hidden.status, hidden.body) == (absent.status, absent.body)
    assert set(hidden.headers) == set(absent.headers)


OWNED: dict[str, str | bytes | Files] = {
    "billing.yml": "a: 1",
    "orders.yml": "a: 1",
    "stock-prod.yml": "a: 1",
    "stock-dev.yml": "a: 1",
    **dict.fromkeys(
        [
            "nginx.conf",
            "logback.xml",
            "billing.tar.gz",
            "billing_key.txt",
            "billing-dev.pem",
            "orders.tar.gz",
            "orders_key.txt",
            "ORDERS",
            "orders1.txt",
            "Orders/x.pem",
            "orders-billing.txt",
            "stock_key.txt",
            "stock-prod.tar.gz",
            "x.yml.bak",
            "orders.yml.bak",
            "orders.yml.swp",
            "a/b~/c",
        ],
        "a secret",
    ),
}


@pytest.mark.parametrize(
    ("path", "readers"),
    [
        # Whoever asks for something of theirs.
        ("nginx.conf", "billing orders stock all"),
        ("logback.xml", "billing orders stock all"),
        # Its owner alone.
        ("billing.tar.gz", "billing all"),
        ("billing_key.txt", "billing all"),
        ("billing-dev.pem", "billing all"),
        ("orders.tar.gz", "orders all"),
        ("orders_key.txt", "orders all"),
        ("ORDERS", "orders all"),
        ("Orders/x.pem", "orders all"),
        ("orders-billing.txt", "orders all"),
        ("orders.yml", "orders all"),
        ("stock_key.txt", "stock all"),
        ("stock-prod.tar.gz", "stock all"),
        # Nobody knows whose.
        ("orders1.txt", "all"),
        # Nobody.
        ("x.yml.bak", ""),
        ("orders.yml.bak", ""),
        ("orders.yml.swp", ""),
        ("a/b~/c", ""),
        ("none.txt", ""),
    ],
)
@pytest.mark.parametrize("is_long", [False, True])
async def test_P14_a_token_for_one_application_reads_no_file_of_another(
    monkeypatch: pytest.MonkeyPatch, path: str, readers: str, is_long: bool
) -> None:
    monkeypatch.setattr(configuration, "_FEW_NAMES", 0 if is_long else 1_000)
    patterns = {"billing": "billing:*", "orders": "orders", "stock": "stock*:*", "all": "*"}
    tokens = {name: "vt_" + name.ljust(43, "x") for name in patterns}
    text = "".join(
        f'[[token]]\nname = "{name}"\nsha256 = "{digest_of(tokens[name])}"\nrights = ["read"]\npatterns = ["{pattern}"]\n'
        for name, pattern in patterns.items()
    )
    guarded = open_gate(Authority(Tokens(load_tokens(text, "tokens.toml"))))
    async with serving(gate=guarded, reader=FilesReader(OWNED)) as http:
        answers = {}
        for name, token in tokens.items():
            application = "billing" if name == "all" else name
            headers = {"Authorization": f"Bearer {token}"}
            answer = await http.ask(f"/{application}/dev/main/{path}", **headers)
            answers[name] = (answer.status, b"secret" in answer.body and path != "orders.yml")

    assert {name: 200 if name in readers.split() else 404 for name in patterns} == {
        name: status for name, (status, _) in answers.items()
    }
    assert not any(has for status, has in answers.values() if status == 404)


async def test_P14_an_application_of_another_label_owns_no_file_here() -> None:
    labels: dict[str, str | bytes | Files] = {
        "main": Files({"orders.yml": b"a: 1", "orders_key.txt": b"x"}),
        "next": Files({"shop.yml": b"a: 1", "orders_key.txt": b"x"}),
    }
    async with serving(gate=gate(), reader=FilesReader(labels)) as http:
        found = [
            (await statuses(http, f"/shop/dev/{label}/orders_key.txt"))["shop"]
            for label in ("main", "next", "next,main")
        ]

    assert [404, 200, 404] == found


async def test_P14_of_several_sources_each_makes_applications_known() -> None:
    other = Files({"orders.yml": b"a: 1"}, root="file:/other/")
    files = Files({"shop.yml": b"a: 1", "orders_key.txt": b"x"}, others=(other,))
    async with serving(gate=gate(), reader=FilesReader({"main": files})) as http:
        assert 404 == (await statuses(http, "/shop/dev/main/orders_key.txt"))["shop"]


async def test_P14_a_file_is_judged_by_the_names_of_the_state_that_it_is_from(monkeypatch: pytest.MonkeyPatch) -> None:
    files = FilesReader({"shop.yml": "a: 1", "orders_key.txt": "x"})
    needed = resources.needed

    def changing(*arguments: Any) -> Any:
        found = needed(*arguments)
        if "orders.yml" not in files.contents:
            files.change({"orders.yml": "a: 1", "shop.yml": "a: 1", "orders_key.txt": "x"})
        return found

    monkeypatch.setattr(resources, "needed", changing)
    monkeypatch.setattr(configuration, "_FEW_NAMES", 0)
    async with serving(gate=gate(), reader=files) as http:
        assert 404 == (await statuses(http, "/shop/dev/main/orders_key.txt"))["shop"]


async def test_what_is_hidden_is_so_for_everybody_and_by_the_settings_in_force() -> None:
    async with serving(reader=FilesReader({"shop.yml.bak": "x", "shop.pem": "y"})) as http:
        first = [(await http.ask(f"/shop/dev/main/{path}")).status for path in ("shop.yml.bak", "shop.pem")]
        http.routes.replace(HttpSettings(hidden_files=("*.pem",)))
        second = [(await http.ask(f"/shop/dev/main/{path}")).status for path in ("shop.yml.bak", "shop.pem")]

    assert ([404, 200], [200, 404]) == (first, second)


async def test_hidden_and_absent_are_one_answer() -> None:
    async with serving(reader=FilesReader({"shop.yml.bak": "x"})) as http:
        hidden = await http.ask("/shop/dev/main/shop.yml.bak")
        absent = await http.ask("/shop/dev/main/none.yml.bak")

    assert (hidden.status, hidden.body) == (absent.status, absent.body)


async def test_H12_P08_what_is_made_once_is_given_to_nobody_else() -> None:
    async with serving(gate=gate(), reader=FilesReader(FILES)) as http:
        for _ in range(20):
            assert {"shop": 200, "shop-dev": 404, "admin": 403, "all": 200} == await statuses(
                http, "/shop/dev/main/application.yml"
            )


async def test_a_file_that_can_not_be_read_is_500_without_its_name() -> None:
    files: dict[str, str | bytes | Files] = {"main": Files({}, {"x.txt": "a link out of the directory"})}
    answer = await ask("/shop/dev/main/x.txt", FilesReader(files))

    assert 500 == answer.status
    assert b"x.txt" not in answer.body
    assert b"link" not in answer.body


# Made once.


async def test_an_answer_is_encoded_once_per_state_and_variant(monkeypatch: pytest.MonkeyPatch) -> None:
    made: Counter[str] = Counter()
    encode = encoding.encode

    def counted(variant: Variant, origin: encoding.Origin, parse: resources.ParseFile) -> Encoded:
        made[f"{variant.config_request.form.name} {variant.media_type.partition(';')[0]}"] += 1
        return encode(variant, origin, parse)

    monkeypatch.setattr(configuration, "encode", counted)
    files = FilesReader(FILES)
    targets = ("/shop/default", "/shop-default.json", "/circle-default.yml", "/shop/default/main/big.txt")
    async with serving(reader=files) as http:
        first = [await http.ask(target) for target in targets * 3]
        files.change(FILES | {"shop.yml": "a: 1"})
        second = [await http.ask(target) for target in targets * 3]
        await http.ask("/shop/default", Accept=environment.V2)

    # A circle, too, is found out once.
    forms = ("ENVIRONMENT application/json", "JSON application/json", "YAML text/plain", "FILE text/plain")
    assert dict.fromkeys(forms, 2) | {f"ENVIRONMENT {environment.V2}": 1} == made
    assert first[0].headers["etag"] != second[0].headers["etag"]


async def test_L04_nothing_of_a_former_state_is_kept() -> None:
    files = FilesReader(FILES)
    async with serving(reader=files) as http:
        for target in ("/shop/default", "/shop-default.yml", "/shop/default/main/nginx.conf", "/made-up/default"):
            await http.ask(target)
        former = weakref.ref(await files.read(Key("shop", "default", "main")))
        files.change({"shop.yml": "a: 2"})
        await http.ask("/shop/default")
        gc.collect()

    assert former() is None


async def test_H02_of_made_up_keys_only_a_few_are_held_at_a_time_and_others_do_not_wait_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encode, may_end = encoding.encode, threading.Event()

    def waiting(variant: Variant, origin: encoding.Origin, parse: resources.ParseFile) -> Encoded:
        if variant.config_request.form is Form.YAML:
            may_end.wait(10)
        return encode(variant, origin, parse)

    monkeypatch.setattr(configuration, "encode", waiting)
    large = "".join(f"key{number}: value\n" for number in range(1_000))
    reader = FilesReader({"shop.yml": large, "cart.yml": "a: 1"})
    answers: list[Response] = []
    async with serving(reader=reader) as http:

        async def ask(number: int) -> None:
            answers.append(await http.ask(f"/shop-made_up{number}.yml"))

        try:
            async with trio.open_nursery() as asking:
                for number in range(12):
                    asking.start_soon(ask, number)
                await wait_until(lambda: len(reader.asked) == 4)
                known = await http.ask("/cart/default")
                held = len(reader.asked) - 1
                may_end.set()
        finally:
            may_end.set()

    assert (200, 4) == (known.status, held)
    assert [200] * 12 == [each.status for each in answers]


async def test_what_is_encoded_while_the_state_changes_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    files = FilesReader(FILES)
    encode = encoding.encode

    def changing(variant: Variant, origin: encoding.Origin, parse: resources.ParseFile) -> Encoded:
        encoded = encode(variant, origin, parse)
        if b"8080" in encoded.body:
            files.change(FILES | {"shop.yml": "port: 9090"})
        return encoded

    monkeypatch.setattr(configuration, "encode", changing)
    async with serving(reader=files) as http:
        first, second = [await http.ask("/shop-default.json") for _ in range(2)]

    assert (b"8080" in first.body, b"9090" in second.body) == (True, True)
    assert first.headers["x-vortex-version"] != second.headers["x-vortex-version"]


async def test_other_settings_are_for_what_was_made_already_too() -> None:
    files = FilesReader({"shop.yml": "a: 1"})
    async with serving(reader=files) as http:
        before = (await http.ask("/none/dev")).status
        http.routes.replace(HttpSettings(accept_empty=False))
        after = (await http.ask("/none/dev")).status

    assert (200, 404) == (before, after)


async def test_L04_made_up_names_push_no_answer_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configuration, "_CACHE_ENTRIES", 16)
    made: list[str] = []
    encode = encoding.encode

    def noted(variant: Variant, origin: encoding.Origin, parse: resources.ParseFile) -> Encoded:
        made.append(variant.config_request.application)
        return encode(variant, origin, parse)

    monkeypatch.setattr(configuration, "encode", noted)
    async with serving(reader=FilesReader(FILES)) as http:
        await http.ask("/shop/default")
        for number in range(40):
            await http.ask(f"/made-up-{number}/default")
        await http.ask("/shop/default")

    assert 41 == len(made)
    assert 1 == made.count("shop")


async def test_L03_each_form_is_one_route_for_the_metrics() -> None:
    async with serving(reader=FilesReader(FILES)) as http:
        for name in ("shop", "made-up"):
            for target in (f"/{name}/dev", f"/{name}-dev.yml", f"/{name}-dev.json", f"/{name}/dev/main/nginx.conf"):
                await http.ask(target)
        text = http.metrics.render().decode()

    routes = {line.partition('route="')[2].partition('"')[0] for line in text.splitlines() if 'route="' in line}
    assert {
        "/{application}/{profiles}",
        "/{application}-{profiles}.yml",
        "/{application}-{profiles}.json",
        "/{application}/{profile}/{label}/{path}",
    } == routes


async def test_Y12_placeholders_that_cost_too_much_are_400() -> None:
    doubling = "".join(f"k{number}: ${{k{number + 1}}}${{k{number + 1}}}\n" for number in range(30))
    answer = await ask("/shop-default.yml", FilesReader({"shop.yml": doubling + "k30: x\n"}))

    assert 400 == answer.status
    assert b"too much" in answer.body


# Responses that are kept, and texts that are remembered.

ILL = SourceReport("files:/x", "files", None, None, "gone", 1_900_000_000.5, True, 42.1, True)


def request_of(target: str, gate: Gate | None = None, **headers: str) -> Request:
    path, _, query = target.partition("?")
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    admission = (gate or open_gate()).admit([], "/", Sender("127.0.0.1"))
    return Request("GET", path, query, Headers(raw), b"", admission, lambda: admission)


@pytest.mark.parametrize("target", ["/shop/prod", "/shop-prod.yml", "/shop/prod/main/nginx.conf"])
@pytest.mark.parametrize("known", ["", "*"])
async def test_a_response_with_its_headers_is_made_once_per_state(target: str, known: str) -> None:
    files = FilesReader(FILES)
    endpoint = Configuration(files)
    one, two = [await endpoint.answer(request_of(target, if_none_match=known)) for _ in range(2)]
    other = await endpoint.answer(request_of(target, if_none_match="" if known else "*"))
    files.change(FILES | {"more.yml": "a: 1"})
    three = await endpoint.answer(request_of(target, if_none_match=known))

    assert one is two
    assert one.lines is two.lines
    assert {200, 304} == {one.status, other.status}
    assert one is not three
    assert (one.status, one.body, one.headers) == (three.status, three.body, three.headers)


async def test_the_time_since_a_source_was_read_is_said_anew_each_time() -> None:
    ages: list[float] = []

    def reports() -> list[SourceReport]:
        return [attrs.evolve(ILL, stale_for=ages[-1])] if ages else []

    endpoint = Configuration(FilesReader(FILES), reports)
    found: list[str | None] = []
    for age in (None, 5.0, 6.0, None):
        ages[:] = [] if age is None else [age]
        for known in ("", "*"):
            answer = await endpoint.answer(request_of("/shop/prod", if_none_match=known))
            found.append(answer.headers.get("X-Vortex-Stale"))

    assert [None, None, "5", "5", "6", "6", None, None] == found


async def test_T05_H12_a_kept_response_is_for_those_who_may_read_it() -> None:
    endpoint = Configuration(FilesReader(FILES))
    assert 200 == (await endpoint.answer(request_of("/shop/prod"))).status

    for known in ("", "*"):
        with pytest.raises(Forbidden):
            closed = open_gate(Authority(anonymous=frozenset({Right.SUBSCRIBE})))
            await endpoint.answer(request_of("/shop/prod", closed, if_none_match=known))
    assert 200 == (await endpoint.answer(request_of("/shop/prod"))).status


async def test_each_representation_has_a_response_of_its_own() -> None:
    endpoint = Configuration(FilesReader(FILES))
    v2 = "application/vnd.spring-cloud.config-server.v2+json"
    requests = [
        request_of("/shop/prod"),
        request_of("/shop/prod", accept=v2),
        request_of("/shop/prod/main"),
        request_of("/shop/dev"),
        request_of("/shop-prod.yml"),
        request_of("/shop-prod.json"),
        request_of("/shop-prod.properties"),
        request_of("/shop-prod.properties?escape=true"),
        request_of("/shop-prod.yml?resolvePlaceholders=false"),
    ]
    first = [await endpoint.answer(each) for each in requests]
    again = [await endpoint.answer(each) for each in reversed(requests)]

    assert [id(each) for each in first] == [id(each) for each in reversed(again)]
    bodies = [each.body for each in first]
    assert len(requests) == len({id(each) for each in first})
    # With a label and without it, the document is the same, but Spring names the label that was asked for.
    assert len({*bodies}) >= len(requests) - 1


@pytest.mark.parametrize(
    ("target", "times"),
    [
        ("/shop/prod", 1),
        ("/shop/prod?token=secret", 2),
        ("/shop/prod/main/" + ("x" * 99 + "/") * 4 + "y" * 96, 1),
        ("/shop/prod/main/" + ("x" * 99 + "/") * 4 + "y" * 97, 2),
    ],
    ids=["short", "with a query", "at most", "too long"],
)
async def test_L04_T02_only_short_paths_without_a_query_are_remembered(
    monkeypatch: pytest.MonkeyPatch, target: str, times: int
) -> None:
    parsed = Counter[str]()

    def counted(path: str, query: str = "") -> object:
        parsed[path] += 1
        return parse_path(path, query)

    monkeypatch.setattr(configuration, "parse_path", counted)
    monkeypatch.setattr(configuration, "_remembered_path", lru_cache(counted))
    endpoint = Configuration(FilesReader(FILES))
    for _ in range(2):
        with contextlib.suppress(RemoteError):
            await endpoint.answer(request_of(target))

    assert [times] == [*parsed.values()]


@pytest.mark.parametrize(("length", "times"), [(512, 1), (513, 2)])
async def test_L04_only_short_headers_are_remembered(monkeypatch: pytest.MonkeyPatch, length: int, times: int) -> None:
    chosen: list[str | None] = []

    def counted(config_request: ConfigRequest, accept: str | None, charset: str | None) -> Variant:
        chosen.append(accept)
        return choose(config_request, accept, charset)

    choose = configuration._choice
    monkeypatch.setattr(configuration, "_choice", counted)
    monkeypatch.setattr(configuration, "_remembered_choice", lru_cache(counted))
    endpoint = Configuration(FilesReader(FILES))
    for _ in range(2):
        await endpoint.answer(request_of("/shop/prod", accept="*/*".ljust(length)))

    assert times == len(chosen)


async def test_a_request_is_read_by_the_default_label_of_its_time() -> None:
    files = FilesReader(
        {"main": Files({"shop.yml": b"a: 1"}, root="r/"), "next": Files({"shop.yml": b"a: 2"}, root="r/")}
    )
    endpoint = Configuration(files)
    first = await endpoint.answer(request_of("/shop-dev.yml"))
    files.default_label = "next"
    files.change(files.contents)
    second = await endpoint.answer(request_of("/shop-dev.yml"))

    assert [b"a: 1\n", b"a: 2\n"] == [first.body, second.body]
