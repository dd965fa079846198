"""`/api/v1/rollback`: plans, roll-backs, their audit entries, and bodies that are refused."""

from typing import Any, cast

import attrs
import jsonschema_rs
import orjson
import pytest
import trio

from tests.fakes import FakeMetrics, config, open_gate
from tests.http.serving import FakeReader, headers_of, serving
from tests.http.test_openapi import problems
from vortexd.audit import Actor, Audit, Outcome
from vortexd.auth import Authority, Right
from vortexd.auth.tokens import Tokens, digest_of, load_tokens
from vortexd.core.errors import FormatError, RemoteError, ResolveError
from vortexd.core.model import Key, Names
from vortexd.core.pushes import REMOTE_SAYS, Branch, FileChange
from vortexd.gate.finding import Finding
from vortexd.gate.gate import Verdict
from vortexd.http.endpoint import Request
from vortexd.http.rollback import RollBack
from vortexd.net.proxies import Sender
from vortexd.pipeline.rollback.plan import Plan
from vortexd.pipeline.rollback.rollback import Begun, Wanted
from vortexd.process.peers import Answers, Peers

PATH = "/api/v1/rollback"
SHOP, CART = Key("shop", "dev", "main"), Key("cart", "dev", "main")
HEAD, COMMIT, TARGET = "a" * 40, "c" * 40, "b" * 40
OLD, NEW = config(SHOP, {"a": 2, "b": 1}), config(SHOP, {"a": 1})
FILES = [FileChange("new.yml", b"1"), FileChange("old.yml", None), FileChange("shop.yml", b"2")]
PLAN = Plan(SHOP, Branch("git:/a", "main", HEAD, ["main"], True), TARGET, OLD, NEW, FILES, {"new.yml"}, [CART], 7)
MEMBERS: dict[str, Any] = {
    "application": "shop",
    "profile": "dev",
    "label": "main",
    "head": HEAD,
    "target": {"commit": TARGET, "version": NEW.version},
    "version": OLD.version,
    "files": [
        {"path": "new.yml", "act": "create"},
        {"path": "old.yml", "act": "delete"},
        {"path": "shop.yml", "act": "change"},
    ],
    "changes": [
        {"op": "replace", "path": "/a", "old": 2, "new": 1},
        {"op": "remove", "path": "/b", "old": 1},
    ],
    "others": [{"application": "cart", "profile": "dev", "label": "main"}],
    "others_count": 7,
    "pushable": True,
    "refused": None,
    "commit": None,
}
BODY: dict[str, Any] = {
    "application": "shop",
    "profile": "dev",
    "label": "main",
    "to": "b" * 12,
    "reason": "incident 7",
    "shared": False,
    "dry_run": False,
    "expected": HEAD,
}


class FakeRollBacks:
    """Notes what is wanted, and answers as a test wants it."""

    def __init__(self) -> None:
        self.planned: list[Wanted] = []
        self.carried_out: list[Wanted] = []
        self.plan_made = PLAN
        self.error: RemoteError | None = None
        self.begins = False
        self.hangs = False
        self.hangs_in_nursery = False
        self.bug: BaseException | None = None

    async def plan(self, wanted: Wanted) -> Plan:
        self.planned.append(wanted)
        if self.error is not None:
            raise self.error
        return self.plan_made

    def unlisted(self, label: str) -> list[Key]:
        return [CART] if label == "main" else []

    async def carry_out(self, wanted: Wanted, begun: Begun) -> tuple[Plan, str]:
        self.carried_out.append(wanted)
        if self.begins:
            await begun(self.plan_made, COMMIT)
        if self.hangs:
            await trio.sleep_forever()
        if self.hangs_in_nursery:
            # As a push does, which runs git.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                await trio.sleep_forever()
        if self.bug is not None:
            raise self.bug
        if self.error is not None:
            raise self.error
        return self.plan_made, COMMIT


class Case:
    def __init__(self) -> None:
        self.rollbacks, self.reader = FakeRollBacks(), FakeReader()
        self.metrics = cast(Any, FakeMetrics())
        self.audit = Audit(None, lambda: 0.0)
        self.endpoint = RollBack(self.rollbacks, self.reader, self.audit, self.metrics)

    async def ask(self, **more: Any) -> tuple[int, Any]:
        body = orjson.dumps({name: value for name, value in {**BODY, **more}.items() if value is not ...})
        async with serving(more=[self.endpoint]) as http:
            answered = await http.ask(PATH, "POST", body)
        return answered.status, orjson.loads(answered.body)

    @property
    def entries(self) -> list[tuple[Any, ...]]:
        return [(each.act, each.target, each.outcome, each.reason, dict(each.details)) for each in self.audit.unwritten]


@pytest.mark.parametrize("error", [FormatError("shop.yml", "it is broken", 2), ResolveError("too deep")])
async def test_a_roll_back_whose_files_can_not_be_read_is_recorded(error: Exception) -> None:
    case = Case()
    case.rollbacks.error = error  # type: ignore[assignment]
    assert 500 == (await case.ask())[0]
    assert ("rollback", "shop:dev:main", Outcome.FAILED, "incident 7") == case.entries[0][:4]
    assert str(error) == case.entries[0][4]["problem"]
    assert {"rolled_back failed": 1} == case.metrics.counts


async def test_the_words_of_a_hook_are_answered_and_not_recorded() -> None:
    case = Case()
    case.rollbacks.error = RemoteError(f"git push failed{REMOTE_SAYS}hunter2 is no good; nothing has changed", 409)
    status, said = await case.ask()
    assert (409, True) == (status, "hunter2 is no good" in said["message"])
    assert "git push failed" == case.entries[0][4]["problem"]


async def test_a_plan_is_shown_and_not_recorded() -> None:
    case = Case()
    status, said = await case.ask(dry_run=True)

    assert (200, MEMBERS) == (status, said)
    assert [] == problems("RollBackPlan", orjson.dumps(said))
    assert [Wanted(SHOP, "b" * 12, False, "anonymous", "incident 7", HEAD)] == case.rollbacks.planned
    assert ([], [], {}) == (case.rollbacks.carried_out, case.entries, case.metrics.counts)


async def test_a_plan_of_an_application_without_own_files_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case()
    own = Names(beginnings=frozenset({"shop"}))
    for created, names, header in (([], Names(), "shop"), ([], own, None), (["new.yml"], Names(), None)):
        case.rollbacks.plan_made = attrs.evolve(PLAN, created=created)
        monkeypatch.setattr(case.reader, "names_in", {"main": names}.__getitem__)
        async with serving(more=[case.endpoint]) as http:
            answered = await http.ask(PATH, "POST", orjson.dumps(BODY | {"dry_run": True}))
        assert header == answered.headers.get("x-vortex-without-files")


async def test_a_plan_shows_why_the_gate_refuses_it() -> None:
    case = Case()
    finding = Finding(SHOP, "/a", "type", "shop.schema.json", "shop.yml", 3)
    case.rollbacks.plan_made = attrs.evolve(PLAN, refused=Verdict((finding,), 2, "took too long"))
    _, said = await case.ask(dry_run=True)

    assert {"failure": "took too long", "findings_count": 2, "findings": [finding.members]} == said["refused"]
    assert [] == problems("RollBackPlan", orjson.dumps(said))


async def test_a_roll_back_has_its_commit_and_is_recorded() -> None:
    case = Case()
    status, said = await case.ask(shared=True)

    assert (200, MEMBERS | {"commit": COMMIT}) == (status, said)
    assert [] == problems("RollBackPlan", orjson.dumps(said))
    assert [Wanted(SHOP, "b" * 12, True, "anonymous", "incident 7", HEAD)] == case.rollbacks.carried_out
    details = {"to": TARGET, "shared": "yes", "commit": COMMIT, "files": "new.yml, old.yml, shop.yml"}
    assert [("rollback", "shop:dev:main", Outcome.DONE, "incident 7", details)] == case.entries
    assert Actor("anonymous", "anonymous", "127.0.0.1") == case.audit.unwritten[0].actor
    assert {"rolled_back done": 1} == case.metrics.counts


class FakePeers(Peers):
    """Two other workers. One of them answers a question that it doesn't know."""

    async def ask(self, name: str, text: str = "") -> Answers:
        return Answers({"1": self._handlers[name](text), "2": ""}, 1)


async def test_the_keys_that_clients_of_other_workers_use_count() -> None:
    case = Case()
    case.endpoint = RollBack(case.rollbacks, case.reader, case.audit, case.metrics, FakePeers())
    await case.ask(dry_run=True)
    await case.ask(dry_run=True, label="dev")
    await case.ask()

    assert [(CART,), ()] == [each.in_use for each in case.rollbacks.planned]
    assert [(CART,)] == [each.in_use for each in case.rollbacks.carried_out]


async def test_a_key_that_can_not_be_resolved_now_has_no_version() -> None:
    case = Case()
    case.rollbacks.plan_made = attrs.evolve(PLAN, old=None)
    _, said = await case.ask(dry_run=True)

    assert said["version"] is None
    assert [{"op": "add", "path": "/a", "new": 1}] == said["changes"]
    assert [] == problems("RollBackPlan", orjson.dumps(said))


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(403, Outcome.REFUSED), (404, Outcome.REFUSED), (409, Outcome.REFUSED), (503, Outcome.FAILED)],
)
async def test_a_roll_back_that_fails_is_recorded_with_the_problem(status: int, outcome: Outcome) -> None:
    case = Case()
    case.rollbacks.error = RemoteError("not now", status)

    assert (status, "not now") == ((answer := await case.ask())[0], answer[1]["message"])
    details = {"to": "b" * 12, "shared": "no", "problem": "not now"}
    assert [("rollback", "shop:dev:main", outcome, "incident 7", details)] == case.entries
    assert {f"rolled_back {outcome.value}": 1} == case.metrics.counts


async def test_a_plan_that_fails_is_not_recorded() -> None:
    case = Case()
    case.rollbacks.error = RemoteError("not now", 409)

    assert 409 == (await case.ask(dry_run=True))[0]
    assert ([], {}) == (case.entries, case.metrics.counts)


@pytest.mark.parametrize("way", ["hangs", "hangs_in_nursery"])
async def test_a_roll_back_whose_request_ends_is_recorded(way: str) -> None:
    case = Case()
    setattr(case.rollbacks, way, True)
    admission = open_gate().admit([], "/", Sender("127.0.0.1"))
    request = Request("POST", PATH, "", headers_of({}), orjson.dumps(BODY), admission, lambda: admission)
    with trio.move_on_after(0.01):
        await case.endpoint.answer(request)

    details = {"to": "b" * 12, "shared": "no", "problem": "the request has ended before its outcome"}
    assert [("rollback", "shop:dev:main", Outcome.FAILED, "incident 7", details)] == case.entries
    assert {"rolled_back failed": 1} == case.metrics.counts


async def test_a_roll_back_that_fails_unexpectedly_is_recorded_and_the_error_goes_on() -> None:
    case = Case()
    case.rollbacks.bug = ValueError("a bug")
    admission = open_gate().admit([], "/", Sender("127.0.0.1"))
    request = Request("POST", PATH, "", headers_of({}), orjson.dumps(BODY), admission, lambda: admission)
    with pytest.raises(ValueError, match="a bug"):
        await case.endpoint.answer(request)

    assert [(Outcome.FAILED, "incident 7")] == [(each.outcome, each.reason) for each in case.audit.unwritten]
    assert {"rolled_back failed": 1} == case.metrics.counts


@pytest.mark.parametrize("ends", [True, False])
async def test_a_push_is_recorded_before_it_begins_but_only_its_end_counts(ends: bool) -> None:
    """So a server that is killed meanwhile leaves a trace."""
    case = Case()
    case.rollbacks.begins, case.rollbacks.hangs_in_nursery = True, not ends
    admission = open_gate().admit([], "/", Sender("127.0.0.1"))
    request = Request("POST", PATH, "", headers_of({}), orjson.dumps(BODY), admission, lambda: admission)
    with trio.move_on_after(5 if ends else 0.01):
        await case.endpoint.answer(request)

    begun, ended = case.entries
    details = {"to": TARGET, "shared": "no", "commit": COMMIT, "files": "new.yml, old.yml, shop.yml"}
    assert ("rollback", "shop:dev:main", Outcome.BEGUN, "incident 7", details) == begun
    assert (Outcome.DONE if ends else Outcome.FAILED) is ended[2]
    assert {f"rolled_back {ended[2].value}": 1} == case.metrics.counts


# Bodies.


@pytest.mark.parametrize(
    "changes",
    [
        {"application": ...},
        {"profile": ...},
        {"to": ...},
        {"application": 1},
        {"profile": None},
        {"label": 1},
        {"to": 1},
        {"reason": None},
        {"shared": 1},
        {"shared": "true"},
        {"dry_run": 0},
        {"expected": 1},
        {"more": 1},
        {"application": "../x"},
        {"profile": "a/b"},
        {"label": "a..b"},
        {"to": ""},
        {"to": "b" * 6},
        {"to": "b" * 65},
        {"to": "B" * 12},
        {"to": "main"},
        {"to": "-" * 12},
        {"to": "b" * 12 + "\n"},
        {"reason": ""},
        {"reason": ...},
        {"reason": " "},
        {"reason": "x" * 501},
        {"reason": "a\nb"},
        {"reason": "a\x1bb"},
        {"expected": None},
        {"expected": ...},
        {"expected": ""},
        {"expected": "a" * 39},
        {"expected": "a" * 41},
        {"expected": "main"},
    ],
)
async def test_a_body_that_is_no_roll_back_is_refused_and_not_recorded(changes: dict[str, Any]) -> None:
    case = Case()

    assert 400 == (await case.ask(**changes))[0]
    assert ([], [], []) == (case.rollbacks.planned, case.rollbacks.carried_out, case.entries)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b'"x"', b"null", b"{}"])
async def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    case = Case()
    async with serving(more=[case.endpoint]) as http:
        assert 400 == (await http.ask(PATH, "POST", body)).status


@pytest.mark.parametrize(
    "changes",
    [
        {"to": "b" * 7},
        {"to": "b" * 16},
        {"to": "b" * 40},
        {"to": "b" * 64},
        {"reason": "x" * 500},
        {"reason": "ä"},
        {"expected": "a" * 64},
        {"shared": ...},
        {"dry_run": ...},
    ],
)
async def test_a_body_at_its_limits_is_accepted(changes: dict[str, Any]) -> None:
    assert 200 == (await Case().ask(**changes))[0]


async def test_a_plan_needs_neither_a_reason_nor_a_commit() -> None:
    assert 200 == (await Case().ask(dry_run=True, reason=..., expected=...))[0]
    assert 200 == (await Case().ask(dry_run=True, reason="", expected=None))[0]


@pytest.mark.parametrize("label", ["", ...])
async def test_without_a_label_it_is_the_default_one(label: Any) -> None:
    case = Case()
    case.reader.default_label = "trunk"
    await case.ask(dry_run=True, label=label)

    assert [Key("shop", "dev", "trunk")] == [each.key for each in case.rollbacks.planned]


async def test_before_the_first_state_there_is_no_default_label() -> None:
    case = Case()
    case.reader.default_label = None

    assert 503 == (await case.ask(dry_run=True, label=""))[0]


def test_the_schema_accepts_what_the_endpoint_accepts() -> None:
    schema = RollBack.schemas["RollBack"]

    assert jsonschema_rs.is_valid(schema, BODY)
    least = {"application": "shop", "profile": "dev", "to": "b" * 7}
    assert jsonschema_rs.is_valid(schema, {**least, "dry_run": True})
    assert not jsonschema_rs.is_valid(schema, least)
    assert not jsonschema_rs.is_valid(schema, {**least, "dry_run": False, "reason": "x"})
    assert jsonschema_rs.is_valid(schema, {**BODY, "expected": None, "dry_run": True})
    for wrong in (
        {"more": 1},
        {"to": "x"},
        {"expected": "a"},
        {"expected": None},
        {"reason": "x" * 501},
        {"shared": 1},
        {"label": "a,b"},
    ):
        assert not jsonschema_rs.is_valid(schema, {**BODY, **wrong})


# Rights.


def test_only_administrators_roll_back() -> None:
    assert (False, Right.ADMIN, ("POST",)) == (RollBack.is_public, RollBack.right, RollBack.methods)


@pytest.mark.parametrize(
    ("rights", "pattern", "status"),
    [
        ('"admin", "read"', "*", 200),
        ('"admin"', "*", 403),
        ('"admin", "read"', "cart", 403),
        ('"read"', "*", 403),
    ],
)
async def test_the_values_of_a_plan_are_for_tokens_that_may_read_the_key(
    rights: str, pattern: str, status: int
) -> None:
    token = "vt_" + "x" * 43
    text = f'[[token]]\nname = "t"\nsha256 = "{digest_of(token)}"\nrights = [{rights}]\npatterns = ["{pattern}"]\n'
    gate = open_gate(Authority(Tokens(load_tokens(text, "tokens.toml"))))
    case = Case()
    async with serving(gate=gate, more=[case.endpoint]) as http:
        for is_dry_run in (True, False):
            body = orjson.dumps({**BODY, "dry_run": is_dry_run})
            assert status == (await http.ask(PATH, "POST", body, Authorization=f"Bearer {token}")).status

    assert (status == 200) == bool(case.rollbacks.planned) == bool(case.rollbacks.carried_out)
