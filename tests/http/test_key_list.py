"""`/api/v1/keys`: its pages and their order, without documents."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pytest

from tests.fakes import open_gate
from tests.http.serving import headers_of, serving
from tests.http.test_fleet import admission
from vortexd.auth import Forbidden
from vortexd.core.errors import InvalidName, RemoteError
from vortexd.core.model import Key
from vortexd.http.endpoint import Request, Response
from vortexd.http.key_list import KeyList, path_of

KEYS = (
    Key("billing", "default", "main"),
    Key("billing", "prod", "main"),
    Key("billing", "prod", "release/1"),
    Key("orders", "dev,prod", "main"),
    Key("orders/eu", "prod", "main"),
)


class Line:
    """Has these keys. The first one is in use."""

    def __init__(self, keys: Sequence[Key] = KEYS, default_label: str | None = "main") -> None:
        self.default_label = default_label
        self._keys = keys

    async def keys(self) -> Sequence[Key]:
        return self._keys

    def known_version(self, key: Key) -> str | None:
        return "0" * 16 if key == KEYS[0] else None


async def asked(
    query: str = "", *grants: tuple[str, str], line: Line | None = None, headers: Mapping[str, str] = {}
) -> Response:
    who = admission(*grants)
    endpoint = KeyList(line or Line())
    return await endpoint.answer(Request("GET", "/api/v1/keys", query, headers_of(headers), b"", who, lambda: who))


async def page(query: str = "", *grants: tuple[str, str], line: Line | None = None) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((await asked(query, *grants, line=line)).body)
    return found


async def paths(query: str = "", *grants: tuple[str, str]) -> list[str]:
    return [each["path"] for each in (await page(query, *grants))["keys"]]


async def test_a_key_is_listed_with_its_version_and_path() -> None:
    found = await page("limit=2")

    assert {
        "keys": [
            {
                "app": "billing",
                "profile": "default",
                "label": "main",
                "version": "0" * 16,
                "path": "/billing/default/main",
            },
            {"app": "billing", "profile": "prod", "label": "main", "version": None, "path": "/billing/prod/main"},
        ],
        "next": "billing:prod:main",
    } == found


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6])
async def test_the_pages_together_have_each_key_once(limit: int) -> None:
    listed: list[str] = []
    sizes = []
    after: str | None = ""
    while after is not None:
        found = await page(f"limit={limit}&after={after}")
        sizes.append(len(found["keys"]))
        listed += (each["path"] for each in found["keys"])
        after = found["next"]

    assert [path_of(key) for key in KEYS] == listed
    assert 0 not in sizes
    assert limit >= max(sizes)


@pytest.mark.parametrize(
    ("after", "first"),
    [("billing:prod:main", 2), ("billing:prod:n", 2), ("a:b:c", 0), ("orders/eu:prod:main", 5), ("billing:a:x", 0)],
)
async def test_a_page_begins_after_a_key_whether_that_still_exists_or_not(after: str, first: int) -> None:
    assert [path_of(key) for key in KEYS[first:]] == await paths(f"after={after}")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("app=billing", KEYS[:3]),
        ("app=billing&label=main", KEYS[:2]),
        ("profile=prod", (*KEYS[1:3], KEYS[4])),
        ("app=order*", KEYS[3:]),
        ("app=billing&profile=prod&label=release/1", KEYS[2:3]),
        ("app=unknown", ()),
        ("app=*&profile=*&label=*", KEYS),
    ],
)
async def test_a_query_selects_by_names_and_globs(query: str, expected: Sequence[Key]) -> None:
    assert [path_of(key) for key in expected] == await paths(query)


async def test_a_page_is_full_of_keys_that_the_token_may_read() -> None:
    found = await page("limit=1&after=billing:default:main", ("read", "billing:*:release/1"), ("subscribe", "*"))

    assert ["release/1"] == [each["label"] for each in found["keys"]]
    assert found["next"] is None


async def test_a_single_key_that_the_token_may_not_read_is_refused_whether_it_exists_or_not() -> None:
    for query in ("app=billing&profile=prod", "app=unknown&profile=prod&label=main"):
        with pytest.raises(Forbidden):
            await asked(query, ("read", "orders:*"))
    assert [] == await paths("app=billing", ("read", "orders:*"))
    # A token may read the key under another label.
    assert ["/billing/prod/release(_)1"] == await paths("app=billing&profile=prod", ("read", "billing:*:release/1"))
    # A page that has no entry left isn't a refusal.
    assert [] == await paths("app=billing&profile=prod&after=z:z:z", ("read", "orders:*"))


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=00001", "after=a:b", "x=1"])
async def test_a_wrong_query_is_refused(query: str) -> None:
    with pytest.raises(RemoteError) as refused:
        await asked(query)
    assert 400 == refused.value.status


async def test_names_in_a_cursor_are_checked() -> None:
    with pytest.raises(InvalidName):
        await asked("after=..:a:b")


async def test_the_default_and_the_largest_page_are_bounded() -> None:
    line = Line([Key(f"a{number:04}", "default", "main") for number in range(1_002)])

    assert (100, "a0099:default:main") == ((found := await page(line=line))["keys"].__len__(), found["next"])
    assert 1_000 == len((await page("limit=1000", line=line))["keys"])


async def test_before_the_first_state_the_server_is_starting() -> None:
    with pytest.raises(RemoteError) as refused:
        await asked(line=Line(default_label=None))
    assert (503, {"Retry-After": "1"}) == (refused.value.status, refused.value.headers)


async def test_an_unchanged_page_is_not_sent_again() -> None:
    first = await asked()

    again = await asked(headers={"If-None-Match": first.headers["ETag"]})
    assert (200, 304) == (first.status, again.status)
    other = await asked("limit=1", headers={"If-None-Match": first.headers["ETag"]})
    assert 200 == other.status


@pytest.mark.parametrize(
    ("key", "path"),
    [
        (Key("orders/eu", "dev,prod", "feature/x"), "/orders(_)eu/dev,prod/feature(_)x"),
        (Key("a", "b", "v1+2@x"), "/a/b/v1%2B2%40x"),
    ],
)
def test_a_path_has_the_encoding_of_springs_api(key: Key, path: str) -> None:
    assert path == path_of(key)


async def test_its_requests_are_counted_under_its_route() -> None:
    async with serving(gate=open_gate(), more=[KeyList(Line())]) as http:
        assert 200 == (await http.ask("/api/v1/keys?limit=1")).status
        metrics = (await http.ask("/metrics")).body.decode()

    assert 'route="/api/v1/keys"' in metrics
