"""`/api/v1/history` over HTTP: the commits with their changes, pages, limits and rights."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from tests.fakes import config, open_gate
from tests.http.serving import Response, Serving, serving
from vortexd.auth import Authority, Gate, Tokens, load_tokens
from vortexd.auth.tokens import digest_of
from vortexd.core.errors import RemoteError
from vortexd.core.model import Config, Json, Key, Names, Origin
from vortexd.core.term import Term
from vortexd.core.version import encode, version_of
from vortexd.gate.finding import Refusal
from vortexd.http import history as module
from vortexd.http.history import History
from vortexd.pipeline.key_history import HistoryPage, KeyChange
from vortexd.pipeline.key_layers import Kind, KnownLayer
from vortexd.pipeline.past_keys import Document

TOKEN = "vt_" + "x" * 43
KEY = Key("shop", "dev", "main")


def document(value: dict[str, Json]) -> Document:
    body = encode(value)
    return Document(version_of(body), body)


def change(old: dict[str, Json], new: dict[str, Json], number: int = 0) -> KeyChange:
    origin = Origin(f"{number:040x}", "Ada", "2026-01-01T00:00:00Z")
    return KeyChange(origin, "Raise it", document(old), document(new), "git:/a/", "main,dev")


class FakeHistorian:
    """Has one page."""

    def __init__(self) -> None:
        self.default_label: str | None = "main"
        layers = [KnownLayer("git:/a/", "main", Kind.COMMITS, 8), KnownLayer("file:/b/", "main", Kind.NONE, 0)]
        self.page = HistoryPage([change({"a": 1}, {"a": 2})], 7, "x-y", is_complete=False, layers=layers)
        self.pin: Term | None = None
        self.refusals: list[Refusal] = []
        self.asked: list[tuple[Key, str, int, str]] = []
        self.clients: list[str] = []
        self.error: RemoteError | None = None

    async def read(self, key: Key) -> Config:
        return config(key, {})

    async def changes(self, key: Key, part: str, limit: int, after: str, client: str) -> HistoryPage:
        self.asked.append((key, part, limit, after))
        self.clients.append(client)
        if self.error is not None:
            raise self.error
        return self.page

    def refusals_for(self, key: Key) -> list[Refusal]:
        return self.refusals

    def term(self, key: Key) -> Term | None:
        return self.pin

    def names_in(self, label: str) -> Names:
        return Names(beginnings=frozenset(["shop"]))


@asynccontextmanager
async def remembering(gate: Gate | None = None) -> AsyncIterator[tuple[Serving, FakeHistorian]]:
    line = FakeHistorian()
    async with serving(gate=gate, more=[History(line)]) as http:
        yield http, line


async def commits(*changes: KeyChange, part: str = "") -> list[dict[str, Any]]:
    async with remembering() as (http, line):
        line.page = HistoryPage(changes, 1, None, is_complete=True, layers=())
        answer = await http.ask(f"/api/v1/history/shop/dev?key={part}")
    found: list[dict[str, Any]] = json.loads(answer.body)["commits"]
    return found


async def test_each_commit_has_who_when_why_and_what() -> None:
    async with remembering() as (http, line):
        answer = await http.ask("/api/v1/history/shop/dev")
        other = await http.ask("/api/v1/history/cart/dev/release(_)1")
        assert [(KEY, "", 20, ""), (Key("cart", "dev", "release/1"), "", 20, "")] == line.asked

    assert {
        "app": "shop",
        "profile": "dev",
        "label": "main",
        "commits": [
            {
                "commit": "0" * 40,
                "author": "Ada",
                "time": "2026-01-01T00:00:00Z",
                "message": "Raise it",
                "old_version": document({"a": 1}).version,
                "version": document({"a": 2}).version,
                "source": "git:/a/",
                "label": "main,dev",
                "changes": [{"op": "replace", "path": "/a", "old": 1, "new": 2}],
                "left_out": 0,
            }
        ],
        "searched": 7,
        "next": "x-y",
        "complete": False,
        "layers": [
            {"source": "git:/a/", "label": "main", "kind": "commits", "count": 8},
            {"source": "file:/b/", "label": "main", "kind": "none", "count": 0},
        ],
    } == json.loads(answer.body)
    assert "x-vortex-without-files" not in answer.headers
    assert "cart" == other.headers["x-vortex-without-files"]


async def test_the_parameters_reach_the_pipeline() -> None:
    async with remembering() as (http, line):
        await http.ask("/api/v1/history/shop/dev?key=a.b%5B0%5D&limit=100&after=x-y")
        await http.ask("/api/v1/history/shop/dev?key=&limit=&after=")
        await http.ask("/api/v1/history/shop/dev?limit=1&key=" + "k" * 1_024)

    assert [(KEY, "a.b[0]", 100, "x-y"), (KEY, "", 20, ""), (KEY, "k" * 1_024, 1, "")] == line.asked


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=-1", "limit=x", "limit=0001", "limit=%D9%A1", "from=a"]
)
async def test_parameters_that_are_none_are_400(query: str) -> None:
    async with remembering() as (http, line):
        answer = await http.ask(f"/api/v1/history/shop/dev?{query}")

    assert (400, []) == (answer.status, line.asked)


async def test_a_flat_key_that_is_too_long_is_400() -> None:
    async with remembering() as (http, line):
        answer = await http.ask("/api/v1/history/shop/dev?key=" + "k" * 1_025)

    assert (400, []) == (answer.status, line.asked)


async def test_what_the_pipeline_refuses_is_refused() -> None:
    async with remembering() as (http, line):
        line.error = RemoteError("no history", 404)
        answer = await http.ask("/api/v1/history/shop/dev")

    assert (404, "no history") == (answer.status, json.loads(answer.body)["message"])


async def test_a_page_that_a_client_has_is_not_sent_again() -> None:
    async with remembering() as (http, _):
        first = await http.ask("/api/v1/history/shop/dev")
        again = await http.ask("/api/v1/history/shop/dev", If_None_Match=first.headers["etag"])

    assert (304, b"", "no-cache, private") == (again.status, again.body, again.headers["cache-control"])


async def test_before_the_first_state_it_is_503() -> None:
    async with remembering() as (http, line):
        line.default_label = None
        answer = await http.ask("/api/v1/history/shop/dev")

    assert (503, []) == (answer.status, line.asked)


@pytest.mark.parametrize(("key", "status"), [("shop/dev", 200), ("cart/dev", 403), ("shop/dev/other", 403)])
async def test_T09_a_history_is_for_who_may_read_the_key(key: str, status: int) -> None:
    grant = f'[[token]]\nname = "a"\nsha256 = "{digest_of(TOKEN)}"\nrights = ["read"]\npatterns = ["shop:dev:main"]\n'
    gate = open_gate(Authority(Tokens(load_tokens(grant, "t"))))
    async with remembering(gate) as (http, line):
        answer: Response = await http.ask(f"/api/v1/history/{key}", Authorization=f"Bearer {TOKEN}")

    assert (status, status == 200) == (answer.status, bool(line.asked))
    assert (["token a"] if status == 200 else []) == line.clients


# The limits of one commit.


def many(count: int, text: str = "") -> dict[str, Json]:
    return {f"k{number:05}": text or number for number in range(count)}


async def test_of_many_changes_the_first_are_shown_and_the_others_counted() -> None:
    few, more = await commits(change({}, many(module.MOST_ROWS)), change({}, many(module.MOST_ROWS + 5)))

    assert (module.MOST_ROWS, 0) == (len(few["changes"]), few["left_out"])
    assert (module.MOST_ROWS, 5) == (len(more["changes"]), more["left_out"])


async def test_large_changes_are_left_out_and_counted() -> None:
    row = len(orjson.dumps({"op": "replace", "path": "/a", "old": 1, "new": ""}))
    fits, too_large = module.MOST_ROW_BYTES - row, module.MOST_ROW_BYTES - row + 1
    one, other = await commits(
        change({"a": 1}, {"a": "x" * fits}), change({"a": 1, "b": 1}, {"a": "x" * too_large, "b": 2})
    )

    assert (1, 0) == (len(one["changes"]), one["left_out"])
    assert ([], 2) == (other["changes"], other["left_out"])


# One flat key.


@pytest.mark.parametrize(
    ("part", "paths"),
    [
        ("pool.size", ["/pool/size"]),
        ("pool", ["/pool/name", "/pool/size"]),
        ("added.below", ["/added"]),
        ("hosts[1]", ["/hosts/1"]),
        ("x~y/z", ["/x~0y~1z"]),
        ("poo", ["/added", "/hosts/1", "/pool/name", "/pool/size", "/x~0y~1z"]),
    ],
)
async def test_the_changes_of_a_flat_key_are_those_at_it_below_it_or_above_it(part: str, paths: list[str]) -> None:
    """If the key's place isn't among the changes, because a list has moved, all are shown."""
    old: dict[str, Json] = {"pool": {"size": 1, "name": "x"}, "hosts": ["a", "b"], "x~y/z": 1}
    new: dict[str, Json] = {"pool": {"size": 2, "name": "y"}, "hosts": ["a", "c"], "x~y/z": 2, "added": {"below": 1}}
    [found] = await commits(change(old, new), part=part)

    assert paths == sorted(step["path"] for step in found["changes"])


async def test_a_move_is_about_where_it_comes_from_too() -> None:
    old: dict[str, Json] = {"a": {"deep": {"x": 1, "y": 2, "z": 3}}, "c": 1}
    new: dict[str, Json] = {"b": {"deep": {"x": 1, "y": 2, "z": 3}}, "c": 2}
    [found] = await commits(change(old, new), part="a.deep")

    paths = {(step["op"], step["path"]) for step in found["changes"]}
    assert ("replace", "/c") not in paths
    assert paths


async def test_a_pin_and_the_gate_are_said_as_everywhere() -> None:
    async with remembering() as (http, line):
        before = await http.ask("/api/v1/history/shop/dev")
        line.pin, line.refusals = Term(0.0, 60.0), [Refusal("main", "c2", (), 0, None, 0.0)]
        answer = await http.ask("/api/v1/history/shop/dev")

    names = ("vortexd-pinned", "x-vortex-held-back")
    assert [None, None] == [before.headers.get(name) for name in names]
    assert ["until=1970-01-01T00:01:00Z", '"main";state="c2"'] == [answer.headers.get(name) for name in names]
