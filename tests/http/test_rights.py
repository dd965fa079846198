"""Requests without the needed rights, to every described route. One table lists them, so that no route is forgotten."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.fakes import NoVersions, open_gate
from tests.http.described import ENDPOINTS
from tests.http.rolling import FakeKeeper
from tests.http.serving import Response, Serving, serving
from tests.http.test_openapi import PATHS
from tests.wiring import Wired
from vortexd.audit import Actor, Audit
from vortexd.auth import Authority, Right, Tokens, load_tokens
from vortexd.auth.tokens import digest_of
from vortexd.core.commits import Commit, PastFiles
from vortexd.core.errors import RemoteError
from vortexd.core.model import Files, Key, Origin, Tree
from vortexd.encryption.files import Keyring
from vortexd.fleet import Fleet, Question
from vortexd.http.audit import AuditLog
from vortexd.http.cluster import ClusterFleet, ClusterMembers
from vortexd.http.configuration import Configuration
from vortexd.http.connections import Connections
from vortexd.http.console import console
from vortexd.http.difference import Difference
from vortexd.http.encryption import encryption_endpoints
from vortexd.http.endpoint import Endpoint
from vortexd.http.explain import Explain
from vortexd.http.fleet import FleetPages
from vortexd.http.gate import GateEndpoint
from vortexd.http.gate_decisions import LET_THROUGH
from vortexd.http.history import History
from vortexd.http.key_list import KeyList
from vortexd.http.monitor import Monitor
from vortexd.http.pins import LiftedPin
from vortexd.http.rollback import ACT, RollBack
from vortexd.http.rollouts import Rollouts
from vortexd.http.watch import LateWatchers, Watch
from vortexd.http.watchers import Watchers
from vortexd.pins.keeper import LIFT, PUT, PinKeeper
from vortexd.pipeline.rollback.plan import Plan
from vortexd.settings.fleet import FleetSettings
from vortexd.settings.monitor import MonitorSettings

SECRET = b"s3cret-value"
GRANTS = {
    "reader": ("read", "shop:dev:main"),
    "other": ("read", "cart"),
    "subscriber": ("subscribe", "*"),
    "reporter": ("report", "*"),
    "admin": ("admin", "*"),
    "operator": ('admin", "read', "shop:dev:main"),
    "everything": ("read", "*"),
    "expired": ("read", "*"),
}
TOKENS = {name: "vt_" + name.ljust(43, "x") for name in (*GRANTS, "unknown")}
FILE = "".join(
    f'[[token]]\nname = "{name}"\nsha256 = "{digest_of(TOKENS[name])}"\nrights = ["{right}"]\npatterns = ["{pattern}"]\n'
    + ('expires = "1969-01-01T00:00:00Z"\n' if name == "expired" else "")
    for name, (right, pattern) in GRANTS.items()
)
NOBODY = ("", "unknown", "expired")
CONTENTS = {
    name: b"a: " + SECRET + name.encode() for name in ("shop.yml", "shop-dev.yml", "shop-prod.yml", "cart.yml")
} | dict.fromkeys(("shop/x.txt", "cart/x.txt"), SECRET)

PUBLIC = {"/health", "/ready", "/openapi.json", "/console/", "/console/{file}"}
ADMIN = {"/api/v1/connections", "/status", "/metrics", "/decrypt", "/decrypt/{application}/{profiles}", "/monitor"} | {
    "/api/v1/cluster/members/{node}",
    "/api/v1/audit",
    "/api/v1/gate",
    "/api/v1/rollback",
    # It lists only the keys that a token may read. An act needs `read` for the key, too.
    "/api/v1/rollouts",
}
# Administrators also need the right to read the key.
OPERATOR = {"/api/v1/pins/{application}/{profiles}", "/api/v1/pins/{application}/{profiles}/{label}"}
# For other nodes of the cluster, which sign their questions. No token is enough.
NODES = {"/api/v1/cluster/fleet"}
ANYBODY = {
    "/encrypt/status",
    "/encrypt",
    "/encrypt/{application}/{profiles}",
    "/key",
    "/key/{application}/{profiles}",
    "/ws/{application}/{profile}",
    "/api/v1/events/{application}/{profile}",
    "/api/v1/fleet",
    "/api/v1/keys",
    # It lists only the keys that a token may read. Putting a pin needs `admin`, and `read` for the key.
    "/api/v1/pins",
    "/api/v1/whoami",
}
KEYED = sorted(PATHS.keys() - PUBLIC - ADMIN - OPERATOR - ANYBODY - NODES)
# What the reader may have, and what is next to it.
ALLOWED = ("shop", "dev", "main")
FORBIDDEN = (
    ("shop", "prod", "main"),
    ("cart", "dev", "main"),
    ("made-up", "dev", "main"),
    ("shop,cart", "dev", "main"),
    ("cart,shop", "dev", "main"),
    ("shop", "dev,prod", "main"),
    ("shop", "prod,dev", "main"),
    ("shop", "dev", "secret"),
    ("shop", "dev", "main,secret"),
    ("shop", "dev", "nowhere"),
)


class Sources:
    def notified(self, addresses: object, refs: object) -> int:
        return 0

    async def wait_looked(self, addresses: object, refs: object) -> None:
        raise AssertionError("no source was notified")


class Cluster:
    """Takes a question with the MAC "right"."""

    def check(self, header: str | None, path: str, body: bytes) -> None:
        if header != "right":
            raise RemoteError("only nodes of this cluster may ask this", 403)

    def announces(self, header: str | None, path: str, length: int) -> bool:
        return False

    def sign(self, path: str, question: bytes, answer: bytes) -> bytes:
        return answer

    async def forget(self, node: str) -> None:
        pass


class Nothing:
    """Rolls nothing back. Bodies that are none are refused before."""

    async def plan(self, wanted: object) -> Plan:
        raise AssertionError

    async def carry_out(self, wanted: object, begun: object) -> tuple[Plan, str]:
        raise AssertionError

    def unlisted(self, label: str) -> list[Key]:
        raise AssertionError


class OneCommit(NoVersions):
    """Knows the commit that is served, and none before it."""

    def commits(self, root: str, commit: str) -> list[Commit]:
        return [Commit(Origin(commit, "Ada", "2026-01-01T00:00:00Z"), None, CONTENTS.keys())]

    async def at(self, root: str, commit: str, near: PastFiles | None) -> PastFiles | None:
        return PastFiles(Files(CONTENTS), {}, None)

    async def subject(self, root: str, commit: str) -> str:
        return SECRET.decode()


class NoPins(PinKeeper):
    """Has no pin."""

    def __init__(self) -> None:
        pass

    async def lift(self, key: Key, reason: str, actor: Actor) -> None:
        raise RemoteError("this key isn't pinned", 404)


@asynccontextmanager
async def everything() -> AsyncIterator[Serving]:
    """All that a daemon serves, from files, for who has the right token."""
    pipeline = Wired(commits=OneCommit())
    files = Files(CONTENTS, root="file:/c/", locations=("", "{application}/"), revision="c" * 40)
    await pipeline.publisher.publish(Tree({"main": files, "secret": files}, "main"))
    more = [
        Monitor(Sources(), MonitorSettings()),
        Connections(lambda: ()),
        Explain(pipeline.reader),
        Difference(pipeline.reader, "2026-01-01T00:00:00Z"),
        History(pipeline.reader),
        (pages := FleetPages(Fleet(FleetSettings(), pipeline.key_usage.version_of), pipeline.reader, lambda: 0.0)),
        ClusterFleet(Cluster(), pages),
        ClusterMembers(Cluster(), audit := Audit(None, lambda: 0.0)),
        AuditLog(audit),
        KeyList(pipeline.reader),
        GateEndpoint(pipeline.reader, pipeline.publisher, audit),
        RollBack(Nothing(), pipeline.reader, audit, pipeline.metrics),
        LiftedPin(NoPins(), pipeline.reader),
        Rollouts(FakeKeeper(), pipeline.reader),
        *encryption_endpoints(Keyring()),
        console(),
    ]
    gate = open_gate(Authority(Tokens(load_tokens(FILE, "tokens.toml"))), failure_burst=1_000)

    def beside(ordinary: Configuration) -> list[Endpoint]:
        return [Watch(ordinary, pipeline.pipeline, LateWatchers(no_waits))]

    async with serving(gate=gate, more=more, reader=pipeline.reader, beside=beside) as http:
        yield http


def no_waits() -> Watchers:
    raise AssertionError("no request waits here")


def target(path: str, application: str, profiles: str, label: str) -> str:
    names = {"application": application, "profiles": profiles, "profile": profiles, "label": label}
    names |= {"path": "x.txt", "file": "index.html", "node": "node-b"}
    query = f"?from=label:{label}" if path.startswith("/api/v1/diff/") else ""
    query = "?wait=0" if path.startswith("/api/v1/watch/") else query
    return re.sub(r"\{(\w+)\}", lambda match: names[match[1]], path) + query


def method(path: str) -> str:
    return next((verb.upper() for verb in ("post", "delete") if verb in PATHS[path]), "GET")


async def ask(
    http: Serving, name: str, path: str, key: tuple[str, str, str], etag: str = "", verb: str = ""
) -> Response:
    headers = {"Authorization": f"Bearer {TOKENS[name]}"} if name else {}
    if etag:
        headers["If_None_Match"] = etag
    verb = verb or method(path)
    return await http.ask(target(path, *key), verb, b"x" if verb == "POST" else b"", **headers)


def test_each_route_is_in_one_of_the_tables() -> None:
    assert PATHS.keys() == PUBLIC | ADMIN | OPERATOR | ANYBODY | NODES | set(KEYED)
    unlisted = [path for path in KEYED if "{application}" not in path]
    assert [] == unlisted, "name these paths in PUBLIC, ADMIN, OPERATOR, ANYBODY or NODES"


def test_the_acts_whose_attempts_are_recorded() -> None:
    """A token without the right leaves a trace at each endpoint that changes what clients get."""
    acts = {each.route: dict(each.acts) for each in ENDPOINTS if each.acts}

    assert {
        "/api/v1/gate": {"POST": LET_THROUGH},
        "/api/v1/pins": {"POST": PUT},
        "/api/v1/pins/{application}/{profiles}": {"DELETE": LIFT},
        "/api/v1/rollback": {"POST": ACT},
        "/api/v1/rollouts": {"POST": "rollout"},
    } == acts


def test_the_tables_are_what_the_endpoints_declare() -> None:
    """A webhook may be signed in place of a token, so its endpoint asks for both itself."""
    declared = {path: each for each in ENDPOINTS for path in each.operations}

    assert PATHS.keys() == declared.keys()
    assert {"/monitor"} | PUBLIC | NODES == {path for path, each in declared.items() if each.is_public}
    assert (ADMIN | OPERATOR) - {"/monitor"} == {path for path, each in declared.items() if each.right is Right.ADMIN}
    assert {None, Right.ADMIN} == {each.right for each in ENDPOINTS}


def asked_for(path: str) -> Iterator[tuple[str, tuple[str, str, str], int]]:
    """Who asks for which key, and the status of the answer."""
    for name in NOBODY:
        yield name, ALLOWED, 401
    for name in ("other", "subscriber", "reporter", "admin"):
        yield name, ALLOWED, 403
    yield "reader", ALLOWED, 200
    for key in FORBIDDEN:
        if "{label}" in path or key[2] == "main":
            yield "reader", key, 403


@pytest.mark.parametrize("path", KEYED)
async def test_H10_M12_T09_H12_nobody_gets_from_a_route_what_is_not_theirs(path: str) -> None:
    """Whoever may not read a key learns neither a value nor a version, nor whether it exists, though the answer is in the caches."""
    async with everything() as http:
        for name, key, status in asked_for(path):
            there = await ask(http, "everything", path, key)
            etag = there.headers.get("etag", "*")
            for verb, tag in (("GET", ""), ("GET", etag), ("GET", "*"), ("HEAD", etag)):
                answer = await ask(http, name, path, key, tag, verb)

                expected = status if status != 200 or not tag else 304
                assert (name, key, verb, expected) == (name, key, verb, answer.status)
                if status != 200:
                    assert not {"etag", "x-vortex-version", "x-vortex-stale"} & answer.headers.keys()
                    assert SECRET not in answer.body


@pytest.mark.parametrize("path", sorted(ADMIN))
async def test_H10_what_is_for_operators_is_for_nobody_else(path: str) -> None:
    async with everything() as http:
        answers = {name: (await ask(http, name, path, ALLOWED)).status for name in ("", *TOKENS)}

    for name in ("admin", "operator"):
        assert answers.pop(name) not in (401, 403)
    assert answers == {name: 401 if name in NOBODY else 403 for name in answers}


@pytest.mark.parametrize("path", sorted(OPERATOR))
async def test_an_act_at_a_key_is_for_operators_who_may_read_the_key(path: str) -> None:
    async with everything() as http:
        answers = {name: (await ask(http, name, path, ALLOWED)).status for name in ("", *TOKENS)}
        others = [await ask(http, "operator", path, key) for key in FORBIDDEN if "{label}" in path or key[2] == "main"]

    assert 404 == answers.pop("operator"), "no key is pinned"
    assert answers == {name: 401 if name in NOBODY else 403 for name in answers}
    assert {403} == {each.status for each in others}


@pytest.mark.parametrize("path", sorted(NODES))
async def test_what_is_for_other_nodes_takes_their_mac_whatever_the_token(path: str) -> None:
    async with everything() as http:
        assert {403} == {(await ask(http, name, path, ALLOWED)).status for name in ("", *TOKENS)}
        question = Question(()).to_json().encode()
        assert 200 == (await http.ask(path, "POST", question, Vortexd_Cluster="right")).status


@pytest.mark.parametrize("path", sorted(ANYBODY))
async def test_H10_what_is_for_everybody_with_a_token_takes_one(path: str) -> None:
    async with everything() as http:
        answers = {name: (await ask(http, name, path, ALLOWED)).status for name in ("", *TOKENS)}

    assert [401] * 3 == [answers.pop(name) for name in NOBODY]
    assert not {401, 403} & set(answers.values())


@pytest.mark.parametrize("path", sorted(PUBLIC))
async def test_what_is_public_is_the_same_for_everybody(path: str) -> None:
    async with everything() as http:
        answers = [await ask(http, name, path, ALLOWED) for name in ("", *TOKENS)]

    assert {200} == {answer.status for answer in answers}
    assert 1 == len({answer.body for answer in answers})


@pytest.mark.parametrize("query", ["from=label:secret", "from=label:main&to=label:secret", "from=label:main,secret"])
async def test_T09_a_difference_is_for_who_may_read_both_sides(query: str) -> None:
    async with everything() as http:
        headers = {"Authorization": f"Bearer {TOKENS['reader']}"}
        answer = await http.ask(f"/api/v1/diff/shop/dev?{query}", **headers)

    assert 403 == answer.status
    assert SECRET not in answer.body


@pytest.mark.parametrize("list_of", ["fleet", "keys"])
@pytest.mark.parametrize("query", ["app=shop&profile=dev", "app=shop&profile=made-up", "app=made-up&profile=dev"])
async def test_P17_the_fleet_and_the_name_of_a_key_are_for_who_may_read_it(query: str, list_of: str) -> None:
    async with everything() as http:
        answer = await http.ask(f"/api/v1/{list_of}?{query}", Authorization=f"Bearer {TOKENS['other']}")

    assert 403 == answer.status


async def test_T09_a_token_sees_only_the_names_that_it_may_read() -> None:
    async with everything() as http:
        answers = {
            name: await http.ask("/api/v1/keys", Authorization=f"Bearer {token}")
            for name, token in TOKENS.items()
            if name not in NOBODY
        }

    names = {name: [each["path"] for each in json.loads(answer.body)["keys"]] for name, answer in answers.items()}
    assert ["/shop/dev/main"] == names["reader"]
    assert [] == names["subscriber"] == names["reporter"] == names["admin"]
    assert 8 == len(names["everything"])
    assert all(SECRET not in answer.body for answer in answers.values())
