"""`/api/v1/rollouts`: who sees roll-outs, who acts on them, what is refused, and what /status shows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jsonschema_rs
import orjson
import pytest

from tests.http.described import whole_document
from tests.http.rolling import NEW, OLD, SHOP, FakeKeeper, beginning, rollout
from tests.http.serving import FakeReader, Serving, serving
from tests.http.test_pins import tokens
from vortexd.audit import Actor
from vortexd.auth import Gate
from vortexd.core.errors import RemoteError
from vortexd.core.model import Key
from vortexd.http.rollouts import Rollouts, rollout_members, short_members
from vortexd.http.status import Status
from vortexd.rollouts.rollout import Status as RolloutStatus

PATH = "/api/v1/rollouts"
WANTED: dict[str, Any] = {
    "act": "abort",
    "application": "shop",
    "profile": "dev",
    "label": "main",
    "target": NEW,
    "reason": "incident 7",
}


@asynccontextmanager
async def shown(keeper: FakeKeeper, gate: Gate | None = None, label: str | None = "main") -> AsyncIterator[Serving]:
    reader = FakeReader()
    reader.default_label = label
    async with serving(gate=gate, more=[Rollouts(keeper, reader)], reader=reader) as http:
        yield http


def body(**more: Any) -> bytes:
    return orjson.dumps(WANTED | more)


def problems(name: str, said: Any) -> list[str]:
    validator = jsonschema_rs.validator_for({"$ref": f"#/components/schemas/{name}"} | whole_document())
    return [f"{each.instance_path}: {each.message}" for each in validator.iter_errors(said)]


RUNNING = {
    "application": "shop",
    "profile": "dev",
    "label": "main",
    "id": "r1",
    "status": "running",
    "stable": OLD,
    "target": NEW,
    "commit": "c1",
    "author": "ada",
    "steps": [5, 25, 100],
    "step": 2,
    "share": 25,
    "applied": 90,
    "within": 60.0,
    "counts": {"named": 8, "reached": 7, "applied": 2, "rejected": 1, "silent": 4, "gone": 3, "unanswered": 5},
    "reason": "too slow",
    "by": "bob",
    "began": "1970-01-01T00:16:40.000Z",
    "stepped": "1970-01-01T00:17:40.000Z",
    "deadline": "1970-01-01T00:18:40.000Z",
    "problem": None,
}


async def listed(http: Serving, query: str = "", **headers: str) -> list[dict[str, Any]]:
    answered = await http.ask(PATH + query, **headers)
    assert 200 == answered.status
    said = orjson.loads(answered.body)
    assert [] == problems("Rollouts", said)
    found: list[dict[str, Any]] = said["rollouts"]
    return found


async def test_a_running_roll_out_shows_everything() -> None:
    async with shown(keeper := FakeKeeper(rollout())) as http:
        assert [RUNNING] == await listed(http)
        assert [SHOP] == keeper.asked
        keeper.counted = None
        assert [RUNNING | {"counts": None}] == await listed(http)


@pytest.mark.parametrize("status", [RolloutStatus.HALTED, RolloutStatus.ABORTED])
async def test_a_stopped_roll_out_has_no_deadline_and_is_not_counted(status: RolloutStatus) -> None:
    async with shown(keeper := FakeKeeper(rollout(status=status, reach=None))) as http:
        assert [RUNNING | {"status": status.value, "counts": None, "deadline": None}] == await listed(http)
        assert [] == keeper.asked


async def test_roll_outs_that_are_done_are_listed_only_if_wanted() -> None:
    async with shown(FakeKeeper(rollout(status=RolloutStatus.DONE))) as http:
        assert [] == await listed(http)
        assert [] == await listed(http, "?all=false")
        assert ["done"] == [each["status"] for each in await listed(http, "?all=true")]


async def test_a_change_that_is_not_recorded_yet_says_why() -> None:
    keeper = FakeKeeper(rollout(status=RolloutStatus.DONE))
    keeper.waiting = [beginning()]
    async with shown(keeper) as http:
        [said] = await listed(http)
        assert ("waiting", "the disk is full", 1, 5) == tuple(
            said[each] for each in ("status", "problem", "step", "share")
        )
        assert [None] * 5 == [said[each] for each in ("id", "counts", "began", "stepped", "deadline")]
        assert ("", "") == (said["reason"], said["by"])
        query = "?application=shop&profile=dev"
        assert ["waiting", "done"] == [each["status"] for each in await listed(http, query)]


async def test_one_key_is_shown_also_if_its_roll_out_is_done() -> None:
    other = rollout(Key("other", "dev", "main"))
    async with shown(FakeKeeper(other, rollout(status=RolloutStatus.DONE))) as http:
        for query in ("?application=shop&profile=dev", "?application=shop&profile=dev&label=main"):
            assert ["shop"] == [each["application"] for each in await listed(http, query)]


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ("?application=cart&profile=dev", 404, b"this key has no roll-out"),
        ("?application=shop&profile=dev&label=next", 404, b"this key has no roll-out"),
        ("?application=shop", 400, b"a key needs application and profile"),
        ("?profile=dev", 400, b"a key needs application and profile"),
        ("?label=main", 400, b"a key needs application and profile"),
        ("?all=yes", 400, b"all must be true or false"),
        ("?all=", 400, b"all must be true or false"),
        ("?application=..%2fx&profile=dev", 400, b""),
        ("?application=shop&profile=*", 400, b""),
        ("?all=true&all=true", 400, b""),
    ],
)
async def test_queries_that_are_refused(query: str, status: int, text: bytes) -> None:
    async with shown(FakeKeeper(rollout())) as http:
        answered = await http.ask(PATH + query)
        assert (status, True) == (answered.status, text in answered.body)


@pytest.mark.parametrize("act", ["resume", "abort", "promote"])
async def test_an_act_is_passed_on_and_the_roll_out_is_the_answer(act: str) -> None:
    async with shown(keeper := FakeKeeper(rollout())) as http:
        answered = await http.ask(PATH, "POST", body(act=act))
        assert (200, RUNNING) == (answered.status, orjson.loads(answered.body))
        actor = Actor("anonymous", "anonymous", "127.0.0.1")
        assert [(act, SHOP, NEW, "incident 7", actor)] == keeper.acts
        assert [] == problems("RolloutAct", WANTED | {"act": act}) + problems("Rollout", RUNNING)


async def test_the_target_is_optional_and_the_label_is_the_default_one() -> None:
    async with shown(keeper := FakeKeeper(rollout())) as http:
        without = {name: each for name, each in WANTED.items() if name != "target"}
        for said in (without, WANTED | {"target": None}, WANTED | {"target": None, "label": ""}):
            assert 200 == (await http.ask(PATH, "POST", orjson.dumps(said))).status
            assert [] == problems("RolloutAct", said)
        assert [(SHOP, None)] * 3 == [each[1:3] for each in keeper.acts]


@pytest.mark.parametrize(
    "more",
    [
        {"act": "halt"},
        {"act": None},
        {"application": 7},
        {"application": "../x"},
        {"profile": "*"},
        {"profile": None},
        {"label": "a..b"},
        {"label": None},
        {"target": 7},
        {"reason": None},
        {"reason": ""},
        {"reason": " "},
        {"reason": "a\nb"},
        {"reason": "x" * 501},
        {"more": 1},
    ],
)
async def test_acts_that_are_not_valid_change_nothing(more: dict[str, Any]) -> None:
    async with shown(keeper := FakeKeeper(rollout())) as http:
        assert 400 == (await http.ask(PATH, "POST", body(**more))).status
        assert [] == keeper.acts


async def test_a_reason_may_have_500_characters() -> None:
    async with shown(FakeKeeper(rollout())) as http:
        assert 200 == (await http.ask(PATH, "POST", body(reason="x" * 500))).status


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"7", body()[:-1]])
async def test_a_body_that_is_no_act_is_refused(content: bytes) -> None:
    async with shown(FakeKeeper(rollout())) as http:
        assert 400 == (await http.ask(PATH, "POST", content)).status


@pytest.mark.parametrize("missing", [each for each in WANTED if each != "target"])
async def test_each_other_member_is_required(missing: str) -> None:
    async with shown(keeper := FakeKeeper(rollout())) as http:
        content = orjson.dumps({name: each for name, each in WANTED.items() if name != missing})
        response = await http.ask(PATH, "POST", content)
        assert 400 == response.status
        assert b"act, application, profile, label and reason, and at most target in addition" in response.body
        assert [] == keeper.acts


@pytest.mark.parametrize("status", [404, 409, 503])
async def test_an_error_of_the_keeper_is_the_answer(status: int) -> None:
    keeper = FakeKeeper(rollout())
    keeper.error = RemoteError("not now", status, {"Retry-After": "1"})
    async with shown(keeper) as http:
        answered = await http.ask(PATH, "POST", body())
        assert (status, "1", True) == (answered.status, answered.headers["retry-after"], b"not now" in answered.body)


async def test_before_the_first_state_nobody_can_act_and_the_list_is_there() -> None:
    async with shown(keeper := FakeKeeper(), label=None) as http:
        assert 503 == (await http.ask(PATH, "POST", body())).status
        assert 503 == (await http.ask(f"{PATH}?application=shop&profile=dev")).status
        assert [] == await listed(http)
        assert [] == keeper.acts


async def test_only_administrators_who_may_read_a_key_see_its_roll_out_and_act_on_it() -> None:
    gate, headers = tokens(reader=["read"], operator=["admin"], admin=["admin", "read"])
    keeper = FakeKeeper(rollout(), rollout(Key("other", "dev", "main")))
    keeper.waiting = [beginning(), beginning(Key("other", "dev", "main"))]
    async with shown(keeper, gate) as http:
        for status, name in ((401, ""), (403, "reader")):
            given = {"Authorization": headers[name]} if name else {}
            assert status == (await http.ask(PATH, **given)).status
            assert status == (await http.ask(PATH, "POST", body(), **given)).status
        assert [] == await listed(http, Authorization=headers["operator"])
        mine = await listed(http, Authorization=headers["admin"])
        assert [("shop", "waiting"), ("shop", "running")] == [(each["application"], each["status"]) for each in mine]
        for name, application in {"operator": "shop", "admin": "other"}.items():
            query = f"{PATH}?application={application}&profile=dev"
            assert 403 == (await http.ask(query, Authorization=headers[name])).status
            content = body(application=application)
            assert 403 == (await http.ask(PATH, "POST", content, Authorization=headers[name])).status
        assert [] == keeper.acts
        assert 200 == (await http.ask(PATH, "POST", body(), Authorization=headers["admin"])).status
        assert "admin" == keeper.acts[0][-1].name


def test_the_status_names_what_waits_and_what_is_not_done() -> None:
    keeper = FakeKeeper(
        rollout(status=RolloutStatus.DONE), rollout(Key("b", "dev", "main")), rollout(status=RolloutStatus.HALTED)
    )
    keeper.waiting = [beginning(Key("a", "dev", "main"))]
    said = short_members(keeper)
    assert [("a", "waiting"), ("b", "running"), ("shop", "halted")] == [
        (each["application"], each["status"]) for each in said
    ]
    assert {
        "application": "shop",
        "profile": "dev",
        "label": "main",
        "status": "halted",
        "stable": OLD,
        "target": NEW,
        "step": 2,
        "share": 25,
        "reason": "too slow",
        "problem": None,
    } == said[2]
    assert "the disk is full" == said[0]["problem"]
    status = Status(list, FakeReader(), rollouts=lambda: said)._members([])
    assert said == status["rollouts"]
    assert jsonschema_rs.is_valid(Status.schemas["Status"], status)
    assert "rollouts" not in Status(list, FakeReader())._members([])


def test_the_files_of_a_roll_out_are_not_shown() -> None:
    assert "labels" not in rollout_members(rollout())
