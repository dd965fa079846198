"""`/api/v1/explain` over HTTP: its JSON, and the rights that it needs."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.fakes import config, open_gate
from tests.http.serving import Serving, serving
from vortexd.auth import Authority, Gate, Tokens, load_tokens
from vortexd.auth.tokens import digest_of
from vortexd.core.errors import RemoteError, UnknownLabel
from vortexd.core.model import BrokenFile, Config, Files, Key, Names, Origin, Tree
from vortexd.core.term import Term
from vortexd.encryption.ciphers import AesEncryptor
from vortexd.encryption.contract import OneKey
from vortexd.encryption.decryptor import Decryptor
from vortexd.gate.finding import Refusal
from vortexd.http.explain import Explain
from vortexd.pipeline.state import State
from vortexd.resolve.explain import Explanation
from vortexd.resolve.tree import ParsedTree, parse_tree
from vortexd.settings.formats import FormatSettings

AES = AesEncryptor("foo")
COMMIT = Origin("c" * 40, "Ann", "2030-01-01T00:00:00Z")
FILES = {
    "application.yml": b"a: 1\nlist: [1, 2]\n",
    "shop.yml": b"spring.profiles.group.dev: db\na: 2\nlist: [3]\n---\nspring.config.activate.on-profile: prod\na: 9\n",
    "shop-db.yml": f"password: '{{cipher}}{AES.encrypt('s3cret')}'\n".encode(),
}
TOKEN = "vt_" + "x" * 43


class FakeExplainer:
    """Explains a state as the line would."""

    def __init__(self) -> None:
        self.default_label: str | None = "main"
        self.pin: Term | None = None
        self.refusals: list[Refusal] = []
        self.asked: list[Key] = []
        files = Files(FILES, root="file:/c/", revision="c" * 40, origin=COMMIT)
        self._parsed: ParsedTree | None
        self._parsed = parsed = parse_tree(Tree({"main": files, "release/1.0": files}), FormatSettings())
        self._state = State(parsed.labels, parsed.default_label, Decryptor(OneKey(AES)))

    def change(self, contents: dict[str, bytes]) -> None:
        """Explain other files, which take the place of those before."""
        files = Files(contents, root="file:/c/", revision="d" * 40, origin=COMMIT)
        self._parsed = parsed = parse_tree(Tree({"main": files}), FormatSettings(), self._parsed)
        self._state = State(parsed.labels, "main", Decryptor(OneKey(AES)))

    async def read(self, key: Key) -> Config:
        return config(key, {})

    def broken_for(self, key: Key) -> list[BrokenFile]:
        return self._state.broken(key)

    def refusals_for(self, key: Key) -> list[Refusal]:
        return self.refusals

    def term(self, key: Key) -> Term | None:
        return self.pin

    def names_in(self, label: str) -> Names:
        return Names(beginnings=frozenset(["shop"]))

    async def explain(self, key: Key) -> tuple[Explanation, str]:
        self.asked.append(key)
        if key.label not in self._state.labels:
            raise UnknownLabel("no such label")
        return self._state.explain(key)


@asynccontextmanager
async def explaining(gate: Gate | None = None) -> AsyncIterator[tuple[Serving, FakeExplainer]]:
    line = FakeExplainer()
    async with serving(gate=gate, more=[Explain(line)]) as http:
        yield http, line


async def explained(target: str) -> dict[str, Any]:
    async with explaining() as (http, _):
        answer = await http.ask(target)
    assert (200, "application/json") == (answer.status, answer.headers["content-type"])
    found: dict[str, Any] = json.loads(answer.body)
    return found


async def test_layers_sources_and_profiles_are_described() -> None:
    found = await explained("/api/v1/explain/shop/dev")

    place = {"document": "file:/c/shop.yml (document #0)", "line": 1, "column": 28}
    assert {"app": "shop", "profile": "dev", "label": "main"} == {
        name: found[name] for name in ("app", "profile", "label")
    }
    assert [
        {
            "root": "file:/c/",
            "revision": "c" * 40,
            "origin": {"commit": "c" * 40, "author": "Ann", "time": "2030-01-01T00:00:00Z"},
            "profiles": [
                {"name": "dev", "because": None, "place": None},
                {"name": "db", "because": "spring.profiles.group.dev", "place": place},
            ],
        }
    ] == found["sources"]
    assert {
        "name": "file:/c/shop.yml (document #1)",
        "source": 0,
        "file": "shop.yml",
        "document": 1,
        "profile": None,
        "on_profile": "prod",
        "active": False,
        "last_good": False,
    } == found["layers"][1]
    assert ["db", None, None, None] == [layer["profile"] for layer in found["layers"]]


async def test_each_key_says_who_wins_and_who_holds_it() -> None:
    found = {each["key"]: each for each in (await explained("/api/v1/explain/shop/dev"))["keys"]}

    held = {"line": 2, "column": 4, "value": 2, "outcome": "wins", "by": None, "cipher": None}
    lost = {"line": 1, "column": 4, "value": 1, "outcome": "overridden", "by": 2, "cipher": None}
    assert {"key": "a", "layer": 2, "value": 2, "held_by": [{"layer": 2} | held, {"layer": 3} | lost]} == found["a"]
    assert (None, "list_replaced") == (found["list[1]"]["layer"], found["list[1]"]["held_by"][0]["outcome"])
    assert "value" not in found["list[1]"]


async def test_who_may_read_it_sees_what_was_encrypted_and_that_it_was() -> None:
    found = await explained("/api/v1/explain/shop/dev/main?key=password")

    [key] = found["keys"]
    assert ("s3cret", "decrypted", 1) == (key["value"], key["held_by"][0]["cipher"], key["held_by"][0]["line"])


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("key=a", ["a"]),
        ("key=list", ["list[0]", "list[1]"]),
        ("key=list%5B1%5D&token=x", ["list[1]"]),
        ("key=spring.profiles", ["spring.profiles.group.dev"]),
        ("key=spring.prof", []),
        ("key=", ["a", "list[0]", "list[1]", "password", "spring.profiles.group.dev"]),
    ],
)
async def test_a_key_and_what_is_below_it_can_be_asked_for(query: str, keys: list[str]) -> None:
    found = await explained(f"/api/v1/explain/shop/dev?{query}")

    assert keys == [each["key"] for each in found["keys"]]


async def test_it_has_the_version_that_is_served_and_a_validator() -> None:
    async with explaining() as (http, line):
        first = await http.ask("/api/v1/explain/shop/dev")
        second = await http.ask("/api/v1/explain/shop/dev", If_None_Match=first.headers["etag"])
        version = line._state.resolve(Key("shop", "dev", "main")).version

    assert [version] * 3 == [
        json.loads(first.body)["version"],
        first.headers["x-vortex-version"],
        second.headers["x-vortex-version"],
    ]
    assert (304, b"") == (second.status, second.body)
    assert "no-cache, private" == first.headers["cache-control"]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/api/v1/explain/shop", 404),
        ("/api/v1/explain/", 404),
        ("/api/v1/explain/shop/dev/main/x", 404),
        ("/api/v1/explain/shop//main", 404),
        ("/api/v1/explain/shop/dev/nowhere", 404),
        ("/api/v1/explain/shop/dev/release(_)1.0", 200),
        ("/api/v1/explain/shop/dev/release%2F1.0", 200),
        ("/api/v1/explain/..%2Fshop/dev", 400),
        ("/api/v1/explain/shop/dev?keys=a", 400),
        ("/api/v1/explain/shop/dev?key=a&key=b", 400),
    ],
)
async def test_names_are_checked_as_everywhere(target: str, status: int) -> None:
    async with explaining() as (http, _):
        assert status == (await http.ask(target)).status


async def test_other_methods_and_forms_are_refused() -> None:
    async with explaining() as (http, line):
        assert 405 == (await http.ask("/api/v1/explain/shop/dev", "POST", b"x")).status
        assert 406 == (await http.ask("/api/v1/explain/shop/dev", Accept="image/png")).status
        line.default_label = None
        answer = await http.ask("/api/v1/explain/shop/dev")

    assert (503, "1") == (answer.status, answer.headers["retry-after"])


def gate(rights: str, patterns: str) -> Gate:
    text = f'[[token]]\nname = "t"\nsha256 = "{digest_of(TOKEN)}"\nrights = {rights}\n{patterns}\n'
    return open_gate(Authority(Tokens(load_tokens(text, "tokens.toml"))))


@pytest.mark.parametrize(
    ("rights", "patterns", "status"),
    [
        ('["read"]', 'patterns = ["shop:dev"]', 200),
        ('["read"]', 'patterns = ["shop:prod", "cart"]', 403),
        ('["subscribe"]', 'patterns = ["*"]', 403),
        ('["admin"]', "", 403),
    ],
)
async def test_T09_only_who_may_read_it_is_told_and_nothing_is_read_for_others(
    rights: str, patterns: str, status: int
) -> None:
    async with explaining(gate(rights, patterns)) as (http, line):
        nobody = await http.ask("/api/v1/explain/shop/dev")
        answer = await http.ask("/api/v1/explain/shop/dev", Authorization=f"Bearer {TOKEN}")

    assert (401, status) == (nobody.status, answer.status)
    assert (1 if status == 200 else 0) == len(line.asked)
    assert (b"s3cret" in answer.body) == (status == 200)


async def test_what_goes_wrong_below_is_an_error_as_everywhere() -> None:
    async with explaining() as (http, line):
        line.explain = _refuse  # type: ignore[method-assign]  # the line refuses
        answer = await http.ask("/api/v1/explain/shop/dev")

    assert {"timestamp", "status", "error", "message"} == set(json.loads(answer.body))
    assert 418 == answer.status


async def _refuse(key: Key) -> tuple[Explanation, str]:
    raise RemoteError("a teapot", 418)


# Broken files.


async def test_a_broken_file_is_named_and_its_last_good_content_is_marked() -> None:
    async with explaining() as (http, line):
        line.change(FILES | {"shop.yml": b"a: ["})
        answer = await http.ask("/api/v1/explain/shop/dev")
        found = json.loads(answer.body)

    assert [
        {
            "label": "main",
            "file": "shop.yml",
            "line": 2,
            "column": 1,
            "reason": found["broken"][0]["reason"],
            "served": "last_good",
            "last_good": "c" * 40,
        }
    ] == found["broken"]
    assert {"shop.yml": True, "shop-db.yml": False, "application.yml": False} == {
        each["file"]: each["last_good"] for each in found["layers"]
    }
    assert '"shop.yml";line=2;served=last_good' == answer.headers["x-vortex-broken"]


async def test_a_key_that_no_broken_file_touches_says_nothing_of_it() -> None:
    async with explaining() as (http, line):
        line.change(FILES | {"shop.yml": b"a: ["})
        answer = await http.ask("/api/v1/explain/cart/dev")

    assert [] == json.loads(answer.body)["broken"]
    assert "x-vortex-broken" not in answer.headers


async def test_a_key_that_cannot_be_explained_names_the_file_in_a_header_only() -> None:
    async with explaining() as (http, line):
        line._parsed = None
        line.change({"shop.yml": b"a: ["})
        answer = await http.ask("/api/v1/explain/shop/dev")

    assert 500 == answer.status
    assert '"shop.yml";line=2;served=nothing' == answer.headers["x-vortex-broken"]
    assert b"shop.yml" not in answer.body


async def test_an_application_without_files_is_said_as_everywhere() -> None:
    async with explaining() as (http, _):
        answers = [await http.ask(f"/api/v1/explain/{name}/dev") for name in ("shop", "biling", "shop,biling,biling")]

    assert [None, "biling", "biling,biling"] == [answer.headers.get("x-vortex-without-files") for answer in answers]


async def test_a_pin_and_the_gate_are_said_as_everywhere() -> None:
    async with explaining() as (http, line):
        before = await http.ask("/api/v1/explain/shop/dev")
        line.pin, line.refusals = Term(0.0, 60.0), [Refusal("main", "c2", (), 0, None, 0.0)]
        answer = await http.ask("/api/v1/explain/shop/dev")

    names = ("vortexd-pinned", "x-vortex-held-back")
    assert [None, None] == [before.headers.get(name) for name in names]
    assert ["until=1970-01-01T00:01:00Z", '"main";state="c2"'] == [answer.headers.get(name) for name in names]
