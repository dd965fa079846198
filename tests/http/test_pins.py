"""`/api/v1/pins`: who sees, puts and lifts pins, what is refused, and where a pinned key shows it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest
import trio

from tests.audit.noted import NotedAudit
from tests.fakes import open_gate
from tests.http.described import whole_document
from tests.http.serving import FakeReader, Serving, serving
from tests.wiring import Wired
from vortexd.audit import Actor, Outcome
from vortexd.auth import Authority, Gate, Tokens, load_tokens
from vortexd.auth.tokens import entry_of, new_token
from vortexd.core.errors import RemoteError
from vortexd.core.model import Files, Key, Tree
from vortexd.core.term import Term
from vortexd.http.pins import MOST_SECONDS, LiftedPin, Pins, pin_members
from vortexd.http.status import Status
from vortexd.pins.keeper import PinKeeper
from vortexd.pins.pin import Pin
from vortexd.process.peers import Peers

PATH = "/api/v1/pins"
SHOP = Key("shop", "dev", "main")
WANTED: dict[str, Any] = {
    "application": "shop",
    "profile": "dev",
    "label": "main",
    "to": "",
    "reason": "incident 7",
    "seconds": 60,
}


def body(**more: Any) -> bytes:
    return orjson.dumps(WANTED | more)


def problems(name: str, said: Any) -> list[str]:
    validator = jsonschema_rs.validator_for({"$ref": f"#/components/schemas/{name}"} | whole_document())
    return [f"{each.instance_path}: {each.message}" for each in validator.iter_errors(said)]


class Pinning:
    """A server with the pins of one process."""

    def __init__(self, http: Serving, whole: Wired, keeper: PinKeeper, audit: NotedAudit) -> None:
        self.http, self.whole, self.keeper, self.audit = http, whole, keeper, audit

    async def put(self, **more: Any) -> Any:
        return await self.http.ask(PATH, "POST", body(**more))

    async def publish(self, text: str) -> None:
        await self.whole.publisher.publish(tree(text))


def tree(text: str) -> Tree:
    contents = {"shop.yml": text.encode(), "other.yml": b"x: 1", "readme.txt": text.encode()}
    return Tree({"main": Files(contents, root="file:/c/", revision="c1")}, "main")


@asynccontextmanager
async def pinning(directory: Path, gate: Gate | None = None) -> AsyncIterator[Pinning]:
    whole, audit = Wired(), NotedAudit()
    keeper = PinKeeper(whole.publisher, directory, audit, Peers(), lambda: 1_000.0)
    more = [Pins(keeper, whole.reader), LiftedPin(keeper, whole.reader)]
    async with trio.open_nursery() as nursery, serving(gate=gate, more=more, reader=whole.reader) as http:
        await keeper.load()
        nursery.start_soon(keeper.run)
        yield Pinning(http, whole, keeper, audit)
        nursery.cancel_scope.cancel()


@pytest.fixture
async def pinned(tmp_path: Path) -> AsyncIterator[Pinning]:
    async with pinning(tmp_path / "pins") as found:
        await found.publish("a: 1")
        yield found


async def test_a_key_is_pinned_and_everything_about_it_is_answered(pinned: Pinning) -> None:
    before = await pinned.http.ask("/shop/dev")
    answered = await pinned.put()

    said = orjson.loads(answered.body)
    assert 201 == answered.status
    assert {
        "application": "shop",
        "profile": "dev",
        "label": "main",
        "version": before.headers["x-vortex-version"],
        "commit": "c1",
        "reason": "incident 7",
        "by": "anonymous",
        "since": "1970-01-01T00:16:40.000Z",
        "until": "1970-01-01T00:17:40.000Z",
        "served": True,
    } == said
    listed = orjson.loads((await pinned.http.ask(PATH)).body)
    assert {"pins": [said]} == listed
    assert [] == problems("Pin", said) + problems("Pins", listed) + problems("NewPin", WANTED)
    [act] = pinned.audit.noted
    assert ("pin", Actor("anonymous", "anonymous", "127.0.0.1"), str(SHOP)) == act[:3]


async def test_a_pinned_key_is_served_from_its_pin_and_says_so_until_it_is_lifted(pinned: Pinning) -> None:
    assert "vortexd-pinned" not in (await pinned.http.ask("/shop/dev")).headers
    await pinned.put()
    await pinned.publish("a: 2")
    for path in ("/shop/dev", "/shop/dev/main", "/shop-dev.json", "/shop-dev.yml", "/shop-dev.properties"):
        answered = await pinned.http.ask(path)
        assert "until=1970-01-01T00:17:40Z" == answered.headers["vortexd-pinned"], path
        assert b"1" in answered.body
        assert b"2" not in answered.body.replace(b"127", b"") or path.startswith("/shop/dev")
    assert {"a": 1} == orjson.loads((await pinned.http.ask("/shop-dev.json")).body)
    assert "vortexd-pinned" not in (await pinned.http.ask("/other/dev")).headers
    plain = await pinned.http.ask("/shop/dev/main/readme.txt")
    assert (b"a: 2", False) == (plain.body, "vortexd-pinned" in plain.headers)

    lifted = await pinned.http.ask(f"{PATH}/shop/dev/main?reason=mended", "DELETE")
    assert (204, b"") == (lifted.status, lifted.body)
    after = await pinned.http.ask("/shop-dev.json")
    assert ({"a": 2}, False) == (orjson.loads(after.body), "vortexd-pinned" in after.headers)
    assert {"pins": []} == orjson.loads((await pinned.http.ask(PATH)).body)
    assert ("lift pin", "mended") == (pinned.audit.noted[-1][0], pinned.audit.noted[-1][4])


async def test_a_pin_of_an_application_without_own_files_names_it(pinned: Pinning) -> None:
    contents = {"shop.yml": b"a: 1", "application.yml": b"x: 1"}
    await pinned.whole.publisher.publish(Tree({"main": Files(contents, root="file:/c/", revision="c1")}, "main"))
    misspelt = await pinned.put(application="shpo")
    assert (201, "shpo") == (misspelt.status, misspelt.headers["x-vortex-without-files"])
    assert "x-vortex-without-files" not in (await pinned.put()).headers


async def test_a_pin_without_an_end_says_only_that_it_is_there(pinned: Pinning) -> None:
    said = orjson.loads((await pinned.put(seconds=None)).body)
    assert None is said["until"]
    assert "true" == (await pinned.http.ask("/shop-dev.json")).headers["vortexd-pinned"]


async def test_a_key_without_a_label_is_that_of_the_default_label(pinned: Pinning) -> None:
    assert "main" == orjson.loads((await pinned.put(label="")).body)["label"]
    assert 204 == (await pinned.http.ask(f"{PATH}/shop/dev", "DELETE")).status


async def test_the_second_person_is_refused(pinned: Pinning) -> None:
    await pinned.put()
    answered = await pinned.put(to="0" * 16, reason="other")
    assert 409 == answered.status
    assert (
        b"the key is pinned already, by anonymous since 1970-01-01T00:16:40Z until 1970-01-01T00:17:40Z: incident 7"
        in answered.body
    )
    assert 201 == (await pinned.put(application="other")).status


async def test_a_key_is_pinned_at_a_version_of_its_history(pinned: Pinning) -> None:
    version = (await pinned.http.ask("/shop/dev")).headers["x-vortex-version"]
    pinned.whole.pipeline.hold(SHOP)
    await pinned.publish("a: 2")
    assert version == orjson.loads((await pinned.put(to=version)).body)["version"]
    assert {"a": 1} == orjson.loads((await pinned.http.ask("/shop-dev.json")).body)


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"to": "xyz"}, 400),
        ({"to": "abcdef"}, 400),
        ({"to": "abcdef0"}, 404),
        ({"to": "0" * 16}, 404),
        ({"label": "gone"}, 404),
        ({"application": "nobody"}, 404),
        ({"application": "../x"}, 400),
        ({"application": ""}, 400),
        ({"profile": "*"}, 400),
        ({"label": "a..b"}, 400),
        ({"application": 7}, 400),
        ({"to": None}, 400),
        ({"reason": None}, 400),
        ({"reason": ""}, 400),
        ({"reason": " "}, 400),
        ({"reason": "x" * 500}, 201),
        ({"reason": "x" * 501}, 400),
        ({"reason": "a\nb"}, 400),
        ({"reason": "a\x1bb"}, 400),
        ({"reason": "ä"}, 201),
        ({"seconds": 1}, 201),
        ({"seconds": 0}, 400),
        ({"seconds": -1}, 400),
        ({"seconds": 1.5}, 400),
        ({"seconds": 1.0}, 201),
        ({"seconds": True}, 400),
        ({"seconds": "60"}, 400),
        ({"seconds": MOST_SECONDS}, 201),
        ({"seconds": MOST_SECONDS + 1}, 400),
        ({"more": 1}, 400),
    ],
)
async def test_what_can_not_be_pinned_is_refused_and_changes_nothing(
    pinned: Pinning, more: dict[str, Any], status: int
) -> None:
    assert status == (await pinned.put(**more)).status
    assert (status == 201) == bool(pinned.keeper.pins)


@pytest.mark.parametrize(("more", "status"), [({"label": "gone"}, 404), ({"to": "abcdef0"}, 404)])
async def test_a_pin_whose_files_are_not_found_is_recorded(pinned: Pinning, more: dict[str, Any], status: int) -> None:
    answered = await pinned.put(**more)
    [(act, actor, _, outcome, reason, details)] = pinned.audit.noted
    assert (status, "pin", "anonymous", Outcome.REFUSED) == (answered.status, act, actor.name, outcome)
    assert "incident 7" == reason
    assert orjson.loads(answered.body)["message"].startswith(details["problem"])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"7", body()[:-1]])
async def test_a_body_that_is_no_pin_is_refused(pinned: Pinning, content: bytes) -> None:
    assert 400 == (await pinned.http.ask(PATH, "POST", content)).status


@pytest.mark.parametrize("missing", WANTED)
async def test_each_member_is_required(pinned: Pinning, missing: str) -> None:
    content = orjson.dumps({name: each for name, each in WANTED.items() if name != missing})
    assert 400 == (await pinned.http.ask(PATH, "POST", content)).status


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/shop/dev/main", 404),
        ("/shop/dev", 404),
        ("/shop", 404),
        ("/shop/dev/main/x", 404),
        ("/", 404),
        ("/..%2f/dev", 400),
        ("/shop/dev?reason=%0a", 400),
        (f"/shop/dev?reason={'x' * 501}", 400),
        ("/shop/dev?reason=x&reason=y", 400),
    ],
)
async def test_what_is_not_pinned_can_not_be_lifted(pinned: Pinning, path: str, status: int) -> None:
    assert status == (await pinned.http.ask(PATH + path, "DELETE")).status


async def test_before_the_first_state_no_key_can_be_pinned(tmp_path: Path) -> None:
    async with pinning(tmp_path) as starting:
        assert 503 == (await starting.put()).status
        assert {"pins": []} == orjson.loads((await starting.http.ask(PATH)).body)
        assert 503 == (await starting.http.ask(f"{PATH}/shop/dev/main", "DELETE")).status


async def test_a_pin_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pins").write_text("a file in place of the directory")
    async with pinning(tmp_path / "pins") as found:
        await found.publish("a: 1")
        answered = await found.put()
        assert 503 == answered.status
        assert b"the pins can't be read or written" in answered.body
        assert "vortexd-pinned" not in (await found.http.ask("/shop/dev")).headers


def tokens(**rights: list[str]) -> tuple[Gate, dict[str, str]]:
    """Tokens by name. Each has rights for application shop."""
    made = {name: new_token() for name in rights}
    text = ""
    for name, each in made.items():
        entry = entry_of(name, each)
        text += _with_rights(entry, rights[name])
    gate = open_gate(Authority(Tokens(load_tokens(text, "tokens.toml"))))
    return gate, {name: f"Bearer {each}" for name, each in made.items()}


def _with_rights(entry: str, rights: list[str]) -> str:
    lines = [line for line in entry.splitlines() if not line.startswith(("rights", "patterns"))]
    return "\n".join([*lines, f"rights = {rights}", 'patterns = ["shop:*:*"]', ""])


async def test_only_administrators_who_may_read_a_key_pin_it_and_lift_its_pin(tmp_path: Path) -> None:
    gate, headers = tokens(reader=["read"], operator=["admin"], admin=["admin", "read"])
    async with pinning(tmp_path / "pins", gate) as found:
        await found.publish("a: 1")
        ask, path = found.http.ask, f"{PATH}/shop/dev/main"
        # None of these tokens may read the application other.
        forbidden = {"reader": "shop", "operator": "shop", "admin": "other"}
        for name, application in forbidden.items():
            answered = await ask(PATH, "POST", body(application=application), Authorization=headers[name])
            assert (name, 403) == (name, answered.status)
        assert 401 == (await ask(PATH, "POST", body())).status
        assert [] == found.keeper.pins
        assert 201 == (await ask(PATH, "POST", body(), Authorization=headers["admin"])).status
        assert "admin" == found.keeper.pins[0].by
        for name, application in forbidden.items():
            answered = await ask(f"{PATH}/{application}/dev/main", "DELETE", Authorization=headers[name])
            assert (name, 403) == (name, answered.status)
        assert 401 == (await ask(path, "DELETE")).status
        assert 1 == len(found.keeper.pins)
        assert 204 == (await ask(path, "DELETE", Authorization=headers["admin"])).status


async def test_administrators_see_all_pins_and_others_those_of_the_keys_that_they_may_read(tmp_path: Path) -> None:
    gate, headers = tokens(reader=["read"], subscriber=["subscribe"], operator=["admin"], admin=["admin", "read"])
    async with pinning(tmp_path / "pins", gate) as found:
        await found.publish("a: 1")
        actor = Actor("ada")
        for application in ("shop", "other"):
            target = await found.whole.reader.pin_target(key := Key(application, "dev", "main"), "")
            await found.keeper.put(key, target.version, target.commit, target.labels, "why", None, actor)
        both = ["shop", "other"]
        for name, seen in {"reader": ["shop"], "subscriber": [], "operator": both, "admin": both}.items():
            listed = orjson.loads((await found.http.ask(PATH, Authorization=headers[name])).body)["pins"]
            assert (name, seen) == (name, [each["application"] for each in listed])
        assert 401 == (await found.http.ask(PATH)).status


async def test_a_pin_whose_label_is_gone_is_listed_as_not_served(pinned: Pinning) -> None:
    await pinned.put()
    await pinned.whole.publisher.publish(Tree({"other": Files({"shop.yml": b"a: 1"})}, "other"))
    [said] = orjson.loads((await pinned.http.ask(PATH)).body)["pins"]
    assert said["served"] is False


def test_a_pin_is_served_only_while_the_state_has_this_very_pin() -> None:
    pin = Pin("p1", SHOP, "0" * 16, None, "why", "ada", Term(1.0), ())
    for term, is_served in ((Term(1.0), True), (Term(2.0), False), (None, False)):
        assert is_served == pin_members(pin, {SHOP: term}.get)["served"]


async def test_the_status_has_the_pins_of_this_worker() -> None:
    pin = Pin("p1", SHOP, "0" * 16, None, "why", "ada", Term(1.0), ())
    said = [pin_members(pin, lambda _: None)]
    assert {"sources": []} == Status(list, FakeReader())._members([])
    status = Status(list, FakeReader(), pins=lambda: said)._members([])
    assert said == status["pins"]
    assert jsonschema_rs.is_valid(Status.schemas["Status"], status)


async def test_an_error_of_the_keeper_is_the_answer(pinned: Pinning, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any) -> None:
        raise RemoteError("busy", 503, {"Retry-After": "1"})

    monkeypatch.setattr(pinned.keeper, "put", refuse)
    monkeypatch.setattr(pinned.keeper, "lift", refuse)
    for answered in (await pinned.put(), await pinned.http.ask(f"{PATH}/shop/dev/main", "DELETE")):
        assert (503, "1") == (answered.status, answered.headers["retry-after"])
