"""Keys are selected by a query and by the rights of the client."""

import pytest
import trio

from tests.http.test_fleet import admission
from vortexd.auth import Forbidden, Right
from vortexd.core.errors import InvalidName, RemoteError
from vortexd.core.model import Key
from vortexd.http.key_filter import parse_filter, parse_limit, refuse_one, visible_keys

KEYS = [Key(f"a{number}", "dev", "main") for number in range(250)]


@pytest.mark.parametrize(
    ("parameters", "matches"),
    [
        ({}, True),
        ({"app": "a1", "profile": "dev", "label": "main"}, True),
        ({"app": "a*", "profile": "*", "label": "m*n"}, True),
        ({"app": "b*"}, False),
        ({"profile": "prod"}, False),
        ({"label": "mai"}, False),
        ({"app": ""}, True),
    ],
)
def test_each_part_selects_by_a_name_or_a_glob(parameters: dict[str, str], matches: bool) -> None:
    assert matches is parse_filter(parameters).matches(KEYS[1])


@pytest.mark.parametrize("parameters", [{"app": ".."}, {"profile": "a/b"}, {"label": "a b"}])
def test_a_name_that_is_not_valid_is_refused(parameters: dict[str, str]) -> None:
    with pytest.raises(InvalidName):
        parse_filter(parameters)


@pytest.mark.parametrize(("text", "limit"), [("", 100), ("1", 1), ("1000", 1_000)])
def test_a_limit_has_a_default(text: str, limit: int) -> None:
    assert limit == parse_limit({"limit": text})
    assert 100 == parse_limit({})


@pytest.mark.parametrize("text", ["0", "1001", "-1", "1.0", "\u0661", "01000"])
def test_a_limit_beyond_the_bounds_is_refused(text: str) -> None:
    with pytest.raises(RemoteError, match="limit is a whole number from 1 to 1000"):
        parse_limit({"limit": text})


@pytest.mark.parametrize(
    ("parameters", "key"),
    [
        ({"app": "a", "profile": "b"}, Key("a", "b", "main")),
        ({"app": "a", "profile": "b", "label": "c"}, Key("a", "b", "c")),
        ({"app": "a", "profile": "b", "label": "c*"}, Key("a", "b", "main")),
        ({"app": "a"}, None),
        ({"app": "a*", "profile": "b"}, None),
    ],
)
def test_a_query_may_name_one_key(parameters: dict[str, str], key: Key | None) -> None:
    assert key == parse_filter(parameters).key("main")


async def test_only_keys_that_the_client_may_read_are_visible() -> None:
    everything = parse_filter({})
    reader, operator = admission(("read", "a1*"), ("subscribe", "*")), admission(("admin", "*"))

    assert [key for key in KEYS if key.application.startswith("a1")] == await visible_keys(reader, everything, KEYS)
    assert [] == await visible_keys(operator, everything, KEYS)
    assert KEYS == await visible_keys(operator, everything, KEYS, sees_all=Right.ADMIN)
    assert KEYS[:3] == await visible_keys(operator, everything, KEYS, most=3, sees_all=Right.ADMIN)
    assert [KEYS[7]] == await visible_keys(admission(), parse_filter({"app": "a7"}), KEYS)


async def test_other_tasks_run_between_many_keys() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await visible_keys(admission(), parse_filter({}), KEYS * 4)
        nursery.cancel_scope.cancel()
    # Among 1,000 keys there are ten such turns. The other task has begun in the first.
    assert 8 <= turns


def test_one_key_is_refused_to_a_client_without_the_right() -> None:
    one = parse_filter({"app": "a1", "profile": "dev"})
    with pytest.raises(Forbidden):
        refuse_one(admission(("read", "b*")), one, "main")
    with pytest.raises(Forbidden):
        refuse_one(admission(("admin", "*")), one, "main")
    refuse_one(admission(("read", "a1")), one, "main")
    refuse_one(admission(("admin", "*")), one, "main", Right.ADMIN)
    refuse_one(admission(("read", "b*")), parse_filter({"app": "a1"}), "main")
