"""`/api/v1/diff` over HTTP: sides, forms and rights."""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import attrs
import jsonpatch
import pytest

from tests.fakes import config, open_gate
from tests.http.serving import Response, Serving, serving
from vortexd.auth import Authority, Gate, Tokens, load_tokens
from vortexd.auth.tokens import digest_of
from vortexd.core.commits import Commit
from vortexd.core.errors import FormatError, RemoteError, ResolveError, UnknownLabel
from vortexd.core.model import BrokenFile, Config, Json, Key, Names, Origin, Served
from vortexd.core.term import Term
from vortexd.core.version import version_of
from vortexd.gate.finding import Refusal
from vortexd.http.difference import Difference
from vortexd.pipeline.key_history import HistoryPage, KeyChange
from vortexd.pipeline.past_keys import Document

TOKEN = "vt_" + "x" * 43
# The label's name could be a version.
HEX = "0123456789abcdef"
KEY = Key("shop", "dev", "main")


SINCE = "2026-01-01T00:00:00.000Z"


# The newest first. The key can't be resolved at the last one.
COMMITS = [
    Commit(Origin(letter * 40, "Ada", f"2026-01-0{9 - number}T12:00:00Z"), None, ())
    for number, letter in enumerate("abc")
]


class FakeHistorian:
    """Has what it is told to have."""

    def __init__(self) -> None:
        self.default_label: str | None = "main"
        self.pin: Term | None = None
        self.refusals: list[Refusal] = []
        self.asked: list[Key] = []
        self.asked_before: list[Key] = []
        self.former: Config | None = None
        self.next: str | None = None
        self.is_complete = True
        self.change: KeyChange | RemoteError | None = RemoteError("no history", 404)
        self.asked_changes: list[tuple[Key, str, int, str]] = []
        self.clients: list[str] = []
        self.broken: dict[Key, list[BrokenFile]] = {}
        self.error: Exception | None = None
        self._history: dict[Key, dict[str, bytes]] = {}
        self._configs: dict[Key, Config] = {}
        self.versions = [self.put(KEY, {"a": number, "same": True}) for number in range(3)]
        self.put(Key("shop", "dev", "release/1.0"), {"a": 2})
        self.put(Key("shop", "dev", "main,release/1.0"), {"a": 3, "same": True})
        self.put(Key("shop", "dev", HEX), {})

    def put(self, key: Key, document: dict[str, Json]) -> str:
        former = self._configs.get(key)
        if former is not None:
            self._history.setdefault(key, {}).pop(former.version, None)
            self._history[key][former.version] = former.body
        self._configs[key] = config(key, document)
        return self._configs[key].version

    async def read(self, key: Key) -> Config:
        self.asked.append(key)
        if self.error is not None:
            raise self.error
        if key not in self._configs:
            raise UnknownLabel("no such label")
        return self._configs[key]

    async def before(self, key: Key) -> Config | None:
        self.asked_before.append(key)
        return self.former

    async def changes(self, key: Key, part: str, limit: int, after: str, client: str) -> HistoryPage:
        self.asked_changes.append((key, part, limit, after))
        self.clients.append(client)
        if isinstance(self.change, RemoteError):
            raise self.change
        changes = [self.change] if self.change is not None else []
        return HistoryPage(changes, 1, self.next, is_complete=self.is_complete, layers=())

    async def document_at(
        self, key: Key, choose: Callable[[Sequence[Commit]], Commit], client: str
    ) -> tuple[Commit, Document | None]:
        self.asked.append(key)
        self.clients.append(client)
        commit = choose(COMMITS)
        number = COMMITS.index(commit)
        return commit, None if number == 2 else Document(f"{number:016}", b'{"a":%d}' % (10 + number))

    def broken_for(self, key: Key) -> list[BrokenFile]:
        return self.broken.get(key, [])

    def refusals_for(self, key: Key) -> list[Refusal]:
        return self.refusals

    def term(self, key: Key) -> Term | None:
        return self.pin

    def names_in(self, label: str) -> Names:
        return Names(beginnings=frozenset(["shop"]))

    def history(self, key: Key) -> Mapping[str, bytes]:
        return self._history.get(key, {})


@asynccontextmanager
async def differing(gate: Gate | None = None) -> AsyncIterator[tuple[Serving, FakeHistorian]]:
    line = FakeHistorian()
    async with serving(gate=gate, more=[Difference(line, SINCE)]) as http:
        yield http, line


async def asked(query: str, **headers: str) -> Response:
    async with differing() as (http, line):
        return await http.ask(f"/api/v1/diff/shop/dev?{query.format(*line.versions)}", **headers)


def a(old: int, new: int) -> dict[str, object]:
    return {"op": "replace", "path": "/a", "old": old, "new": new}


SAME_GONE = {"op": "remove", "path": "/same", "old": True}


@pytest.mark.parametrize(
    ("query", "changes"),
    [
        ("", [a(1, 2)]),
        ("from={0}", [a(0, 2)]),
        ("from={0}&to={1}", [a(0, 1)]),
        ("from={2}&to={0}", [a(2, 0)]),
        ("to={1}", [a(0, 1)]),
        ("from=version:{0}&to=version:{2}", [a(0, 2)]),
        ("from={2}", []),
        ("from={1}&to=release/1.0", [a(1, 2), SAME_GONE]),
        ("from=main&to=release(_)1.0", [SAME_GONE]),
        ("from=label:release%2F1.0", [{"op": "add", "path": "/same", "new": True}]),
        ("from=main,release(_)1.0", [a(3, 2)]),
        (f"to=label:{HEX}&from=label:main", [{"op": "remove", "path": "/a", "old": 2}, SAME_GONE]),
    ],
)
async def test_a_side_is_a_version_or_a_label(query: str, changes: list[object]) -> None:
    answer = await asked(query)

    assert 200 == answer.status
    assert changes == json.loads(answer.body)["changes"]


async def test_the_answer_names_both_sides_and_has_the_patch() -> None:
    async with differing() as (http, line):
        answer = await http.ask(f"/api/v1/diff/shop/dev?from={line.versions[0]}&to=release/1.0")
        other = line._configs[Key("shop", "dev", "release/1.0")]

    assert {
        "app": "shop",
        "profile": "dev",
        "from": {"label": "main", "version": line.versions[0]},
        "to": {"label": "release/1.0", "version": other.version},
        "patch": [{"op": "replace", "path": "/a", "value": 2}, {"op": "remove", "path": "/same"}],
        "changes": [a(0, 2), SAME_GONE],
    } == json.loads(answer.body)
    assert {"a": 2} == jsonpatch.apply_patch({"a": 0, "same": True}, json.loads(answer.body)["patch"])
    assert other.version == answer.headers["x-vortex-version"]


BROKEN = BrokenFile("main", "file:/c/", "shop.yml", 2, 1, "why", Served.LAST_GOOD)


async def test_the_broken_files_of_both_sides_are_named_once() -> None:
    async with differing() as (http, line):
        without = await http.ask("/api/v1/diff/shop/dev?from=release/1.0")
        line.broken = {
            KEY: [BROKEN],
            Key("shop", "dev", "release/1.0"): [
                BROKEN,
                attrs.evolve(BROKEN, path="shop-dev.yml", served=Served.WITHOUT),
            ],
        }
        both = await http.ask("/api/v1/diff/shop/dev?from=release/1.0")
        one = await http.ask("/api/v1/diff/shop/dev")

    assert "x-vortex-broken" not in without.headers
    named = '"shop.yml";line=2;served=last_good, "shop-dev.yml";line=2;served=without'
    assert named == both.headers["x-vortex-broken"]
    assert '"shop.yml";line=2;served=last_good' == one.headers["x-vortex-broken"]


@pytest.mark.parametrize("error", [FormatError("shop.yml", "why", 2), ResolveError("why", "shop.yml")])
async def test_the_file_that_makes_a_side_unreadable_is_named(error: Exception) -> None:
    async with differing() as (http, line):
        line.error = error
        line.broken = {KEY: [attrs.evolve(BROKEN, served=Served.NOTHING)]}
        answer = await http.ask("/api/v1/diff/shop/dev")

    assert (500, '"shop.yml";line=2;served=nothing') == (answer.status, answer.headers["x-vortex-broken"])
    assert b"shop.yml" not in answer.body


async def test_going_back_to_a_former_version_is_a_change_like_any_other() -> None:
    async with differing() as (http, line):
        line.put(KEY, {"a": 0, "same": True})
        answer = await http.ask("/api/v1/diff/shop/dev")

    assert [a(2, 0)] == json.loads(answer.body)["changes"]


@pytest.mark.parametrize(
    ("query", "headers", "content_type"),
    [
        ("", {}, "application/json"),
        ("", {"Accept": "*/*"}, "application/json"),
        ("", {"Accept": "text/html, */*;q=0.1"}, "application/json"),
        ("", {"Accept": "application/json-patch+json"}, "application/json-patch+json"),
        ("", {"Accept": "text/plain"}, "text/plain;charset=UTF-8"),
        ("&format=table", {"Accept": "application/json"}, "text/plain;charset=UTF-8"),
        ("&format=patch", {}, "application/json-patch+json"),
        ("&format=json", {"Accept": "text/plain"}, "application/json"),
    ],
)
async def test_the_form_is_what_is_asked_for(query: str, headers: dict[str, str], content_type: str) -> None:
    answer = await asked("from={0}" + query, **headers)

    assert (200, content_type) == (answer.status, answer.headers["content-type"])
    if content_type == "application/json-patch+json":
        assert [{"op": "replace", "path": "/a", "value": 2}] == json.loads(answer.body)
    if content_type.startswith("text"):
        assert b"changed  /a    0    2" == answer.body.splitlines()[2]


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("from=ffffffffffffffff", 404, "{2} (current), {1}, {0}"),
        ("to=ffffffffffffffff", 404, "isn't known"),
        ("to={0}", 404, f"no version before it is known since {SINCE}; the known versions are {{2}} (current)"),
        ("from=nowhere", 404, "no such label"),
        ("to=release/1.0", 400, "from is missing"),
        ("from=version:xyz", 400, "16 hex digits"),
        ("from=branch:main", 400, "label:LABEL"),
        ("from=label:..", 400, "invalid label"),
        ("format=xml", 400, "json, patch, table"),
        ("form=xml", 400, "from, to, format"),
    ],
)
async def test_what_cannot_be_compared_gets_a_clear_error(query: str, status: int, says: str) -> None:
    async with differing() as (http, line):
        answer = await http.ask(f"/api/v1/diff/shop/dev?{query.format(*line.versions)}")

    assert status == answer.status
    assert says.format(*line.versions) in json.loads(answer.body)["message"]


async def test_an_error_names_no_more_versions_than_a_person_reads() -> None:
    async with differing() as (http, line):
        for number in range(100, 140):
            line.put(KEY, {"a": number})
        answer = await http.ask("/api/v1/diff/shop/dev?from=ffffffffffffffff")

    assert "and 26 older ones" in json.loads(answer.body)["message"]


async def test_a_form_that_nothing_can_be_is_406_and_the_same_body_is_304() -> None:
    assert 406 == (await asked("from={0}", Accept="image/png")).status

    etag = (await asked("from={0}")).headers["etag"]
    again = await asked("from={0}", If_None_Match=etag)

    assert (304, b"") == (again.status, again.body)
    assert etag != (await asked("from={0}", Accept="text/plain")).headers["etag"]


@pytest.mark.parametrize(
    ("patterns", "query", "status"),
    [
        ('["shop:dev:main"]', "", 200),
        ('["shop:dev:main"]', "from=release/1.0", 403),
        ('["shop:dev:main"]', "from=main&to=nowhere", 403),
        ('["shop:dev:main", "shop:dev:release/*"]', "from=release/1.0", 200),
        ('["shop:dev:release/*"]', "from=main&to=release/1.0", 403),
        ('["cart"]', "", 403),
    ],
)
async def test_T09_both_sides_must_be_allowed_and_nothing_is_read_before(
    patterns: str, query: str, status: int
) -> None:
    text = f'[[token]]\nname = "t"\nsha256 = "{digest_of(TOKEN)}"\nrights = ["read"]\npatterns = {patterns}\n'
    gate = open_gate(Authority(Tokens(load_tokens(text, "tokens.toml"))))
    async with differing(gate) as (http, line):
        nobody = await http.ask(f"/api/v1/diff/shop/dev?{query}")
        answer = await http.ask(f"/api/v1/diff/shop/dev?{query}", Authorization=f"Bearer {TOKEN}")

    assert (401, status) == (nobody.status, answer.status)
    assert (status == 200) == bool(line.asked)


async def test_an_application_without_files_is_said_as_everywhere() -> None:
    async with differing() as (http, line):
        line.put(Key("biling", "dev", "main"), {})
        answers = [await http.ask(f"/api/v1/diff/{name}/dev?from=label:main") for name in ("shop", "biling")]

    assert [None, "biling"] == [answer.headers.get("x-vortex-without-files") for answer in answers]


# Where the history has nothing before.

COMMIT = "c0ffee" * 6 + "c0ff"
VERSIONS = [version_of(b'{"a":0}'), version_of(b'{"a":1}')]


async def first(query: str = "", document: dict[str, Json] | None = None) -> tuple[Response, FakeHistorian]:
    """The difference of a key that has always been the same, with what the commit before made of it."""
    async with differing() as (http, line):
        line.put(Key("cart", "dev", "main"), {"a": 1})
        if document is not None:
            line.former = attrs.evolve(config(Key("cart", "dev", "main"), document), revision=COMMIT)
        return await http.ask(f"/api/v1/diff/cart/dev?{query}"), line


async def test_the_commit_before_stands_in_for_a_version_before() -> None:
    answer, line = await first(document={"a": 0})

    body = json.loads(answer.body)
    assert [Key("cart", "dev", "main")] == line.asked_before
    assert {"label": "main", "version": VERSIONS[0], "commit": COMMIT} == body["from"]
    assert {"label": "main", "version": VERSIONS[1]} == body["to"]
    assert [a(0, 1)] == body["changes"]


async def test_a_table_names_the_commit_before() -> None:
    answer, _ = await first("format=table", {"a": 0})

    named = f"main@{VERSIONS[0]} (commit {COMMIT[:12]}) -> main@{VERSIONS[1]}"
    assert f"cart:dev  {named}" == answer.body.decode().splitlines()[0]


async def test_a_commit_before_that_is_the_same_is_no_difference() -> None:
    answer, _ = await first(document={"a": 1})

    assert [] == json.loads(answer.body)["changes"]


def replaced(old: int, new: int) -> KeyChange:
    before, after = (config(KEY, {"a": number}) for number in (old, new))
    documents = Document(before.version, before.body), Document(after.version, after.body)
    return KeyChange(Origin("v1", "", ""), "", documents[0], documents[1], "file:/d/", "main")


async def test_without_a_commit_before_it_is_the_document_that_the_newest_change_has_replaced() -> None:
    async with differing() as (http, line):
        line.put(Key("cart", "dev", "main"), {"a": 1})
        line.change = replaced(0, 1)
        answer = await http.ask("/api/v1/diff/cart/dev")
        body = json.loads(answer.body)
        assert [(Key("cart", "dev", "main"), "", 1, "")] == line.asked_changes
        await http.ask(f"/api/v1/diff/cart/dev?from=commit:{'b' * 40}&to=commit:{'a' * 40}")
        assert 3 == len(line.clients)
        assert 1 == len(set(line.clients))
        assert line.clients[0].startswith("anonymous ")

    assert ({"label": "main", "version": VERSIONS[0]}, [a(0, 1)]) == (body["from"], body["changes"])


async def test_a_newest_change_that_has_not_led_to_the_current_version_is_not_used() -> None:
    async with differing() as (http, line):
        line.put(Key("cart", "dev", "main"), {"a": 1})
        line.change = replaced(0, 2)
        answer = await http.ask("/api/v1/diff/cart/dev")

    assert 404 == answer.status
    assert "no version before it is known" in json.loads(answer.body)["message"]


@pytest.mark.parametrize(
    ("is_complete", "following", "text"),
    [
        (True, None, "the configuration has not changed in its whole history"),
        (False, None, "no version before it is known since"),
        (True, "x-y", "no version before it is known since"),
    ],
)
async def test_a_key_that_has_never_changed_says_so(is_complete: bool, following: str | None, text: str) -> None:
    async with differing() as (http, line):
        line.put(Key("cart", "dev", "main"), {"a": 1})
        line.change, line.is_complete, line.next = None, is_complete, following
        answer = await http.ask("/api/v1/diff/cart/dev")

    assert 404 == answer.status
    assert json.loads(answer.body)["message"].startswith(text)


async def test_a_history_that_can_not_be_read_now_is_503() -> None:
    async with differing() as (http, line):
        line.put(Key("cart", "dev", "main"), {"a": 1})
        line.change = RemoteError("busy", 503)
        answer = await http.ask("/api/v1/diff/cart/dev")

    assert 503 == answer.status


async def test_the_history_is_not_asked_for_the_version_before_a_former_one() -> None:
    async with differing() as (http, line):
        line.change = replaced(0, 0)
        answer = await http.ask(f"/api/v1/diff/shop/dev?to={line.versions[0]}")
        assert [] == line.asked_changes

    assert 404 == answer.status


async def test_without_a_commit_before_the_error_says_since_when_it_would_be_known() -> None:
    answer, _ = await first()

    message = json.loads(answer.body)["message"]
    assert 404 == answer.status
    assert f"no version before it is known since {SINCE}; the known versions are {VERSIONS[1]} (current)" in message


@pytest.mark.parametrize("query", ["", "from={1}", "to={1}", "to={0}", "from=main"])
async def test_what_the_history_knows_is_asked_of_no_commit(query: str) -> None:
    async with differing() as (http, line):
        await http.ask(f"/api/v1/diff/shop/dev?{query.format(*line.versions)}")

    assert [] == line.asked_before


# Commits and times.


@pytest.mark.parametrize(
    ("query", "changes"),
    [
        ("from=commit:aaaa", [a(10, 2), {"op": "add", "path": "/same", "new": True}]),
        (f"from=commit:{'b' * 40}&to=commit:{'a' * 40}", [a(11, 10)]),
        ("from=date:2026-01-09&to=date:2026-01-09T12:00:00Z", [a(11, 10)]),
        ("from=date:2026-01-09T11:59:59&to=date:2026-01-09T14:00:00%2B02:00", [a(11, 10)]),
        ("from=date:2026-01-09T13:00:00%2B02:00&to=commit:bbbb", []),
        ("from=commit:bbbb&to=version:{0}", [a(11, 0), {"op": "add", "path": "/same", "new": True}]),
    ],
)
async def test_a_side_may_be_a_commit_or_a_time(query: str, changes: list[object]) -> None:
    answer = await asked(query)

    assert (200, changes) == (answer.status, json.loads(answer.body)["changes"])


async def test_a_side_from_a_commit_names_it() -> None:
    query = "from=commit:bbbb&to=commit:aaaa"
    answer = await asked(query)
    table = (await asked(query + "&format=table")).body.decode()

    assert {"label": "main", "version": f"{1:016}", "commit": "b" * 40} == json.loads(answer.body)["from"]
    assert {"label": "main", "version": f"{0:016}", "commit": "a" * 40} == json.loads(answer.body)["to"]
    assert f"{0:016}" == answer.headers["x-vortex-version"]
    assert f"main@{1:016} (commit {'b' * 12}) -> main@{0:016} (commit {'a' * 12})" in table


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("from=commit:abc", 400, "4 to 64 hex digits"),
        ("from=commit:AAAA", 400, "4 to 64 hex digits"),
        (f"from=commit:{'a' * 65}", 400, "4 to 64 hex digits"),
        ("from=commit:", 400, "4 to 64 hex digits"),
        ("from=date:", 400, "a date is like"),
        ("from=date:yesterday", 400, "a date is like"),
        ("from=date:0001-01-01T00:00:00%2B14:00", 400, "a date is like"),
        ("from=time:1", 400, "commit:ID or date:TIME"),
        ("from=commit:dddd", 404, "no such commit among the newest 3"),
        ("from=date:2026-01-07T11:59:59Z", 404, "all newer"),
        ("from=commit:cccc", 404, "can't be read at commit cccccccccccc"),
        ("to=commit:aaaa", 400, "from is missing"),
    ],
)
async def test_a_commit_or_a_time_that_stands_for_nothing_is_refused(query: str, status: int, said: str) -> None:
    answer = await asked(query)

    assert status == answer.status
    assert said in json.loads(answer.body)["message"]


async def test_a_pin_and_the_gate_are_said_as_everywhere() -> None:
    async with differing() as (http, line):
        before = await http.ask("/api/v1/diff/shop/dev?from=label:main")
        line.pin, line.refusals = Term(0.0, 60.0), [Refusal("main", "c2", (), 0, None, 0.0)]
        answer = await http.ask("/api/v1/diff/shop/dev?from=label:main")

    names = ("vortexd-pinned", "x-vortex-held-back")
    assert [None, None] == [before.headers.get(name) for name in names]
    assert ["until=1970-01-01T00:01:00Z", '"main";state="c2"'] == [answer.headers.get(name) for name in names]
