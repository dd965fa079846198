"""Access over HTTP: every route, every way to send a token, and secrets that are never logged."""

import base64
import json

import attrs
import pytest
from structlog.testing import capture_logs

from tests.fakes import open_gate
from tests.http.serving import FakeReader, serving
from vortexd.auth import Authority, Gate, Tokens, load_tokens
from vortexd.auth.tokens import digest_of
from vortexd.core.errors import UnknownLabel
from vortexd.core.model import Config, Key
from vortexd.settings.auth import AuthSettings

TOKENS = {name: "vt_" + name.ljust(43, "x") for name in ("reader", "subscriber", "admin", "expired")}
UNKNOWN = "vt_" + "y" * 43
FILE = "\n".join(
    f'[[token]]\nname = "{name}"\nsha256 = "{digest_of(TOKENS[name])}"\n{rest}'
    for name, rest in {
        "reader": 'rights = ["read"]\npatterns = ["shop:dev", "shop:default:release/*"]',
        "subscriber": 'rights = ["subscribe"]\npatterns = ["*"]',
        "admin": 'rights = ["admin"]',
        "expired": 'rights = ["read", "admin"]\npatterns = ["*"]\nexpires = "1969-01-01T00:00:00Z"',
    }.items()
)


def gate(**settings: object) -> Gate:
    return open_gate(Authority(Tokens(load_tokens(FILE, "tokens.toml"))), **settings)


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[name]}"}


ALLOWED = {
    ("/shop/dev", "reader"): 200,
    ("/shop/dev/main", "reader"): 200,
    ("/shop/default/release(_)1.0", "reader"): 200,
    ("/shop-dev.yml", "reader"): 200,
    ("/main/shop-dev.json", "reader"): 200,
    ("/release(_)1.0/shop-default.properties", "reader"): 200,
    ("/metrics", "admin"): 200,
    ("/ws/shop/dev", "reader"): 426,
    ("/ws/shop/dev", "subscriber"): 426,
    ("/ws/shop/dev", "admin"): 426,
}
TARGETS = (
    "/shop/dev",
    "/shop/dev/main",
    "/shop/default/release(_)1.0",
    "/shop/prod",
    "/shop,cart/dev",
    "/shop-dev.yml",
    "/main/shop-dev.json",
    "/release(_)1.0/shop-default.properties",
    "/shop-prod.yml",
    "/shop/default/release(_)1.0,secret",
    "/release(_)1.0,secret/shop-default.yml",
    "/shop/prod/main/x.txt",
    "/shop/prod/x.txt?useDefaultLabel",
    "/metrics",
    "/ws/shop/dev",
)


@pytest.mark.parametrize("target", TARGETS)
async def test_M12_T09_each_route_asks_for_its_right_on_what_it_gives(target: str) -> None:
    async with serving(gate=gate()) as http:
        answers = {name: (await http.ask(target, **bearer(name))).status for name in TOKENS}
        nobody = await http.ask(target)

    assert answers.pop("expired") == 401
    assert answers == {name: ALLOWED.get((target, name), 403) for name in answers}
    assert (401, True) == (nobody.status, "Bearer" in nobody.headers["www-authenticate"])


@pytest.mark.parametrize("target", ["/health", "/ready"])
async def test_L08_health_is_for_everybody_and_says_nothing_else(target: str) -> None:
    async with serving(gate=gate()) as http:
        answer = await http.ask(target)

    assert (200, {"status": "UP"}) == (answer.status, json.loads(answer.body))


@pytest.mark.parametrize("target", ["/nothing/there/main", "/shop/..%2f", "/nothing"])
async def test_P17_who_is_nobody_learns_nothing_of_what_exists(target: str) -> None:
    async with serving(gate=gate()) as http:
        there = await http.ask("/shop/dev")
        other = await http.ask(target)

    assert (401, 401) == (there.status, other.status)
    assert json.loads(there.body)["message"] == json.loads(other.body)["message"]


async def test_P17_what_is_not_allowed_is_refused_before_anything_is_read() -> None:
    async with serving(gate=gate()) as http:
        existing = await http.ask("/shop/prod/main", **bearer("reader"))
        missing = await http.ask("/shop/prod/nowhere", **bearer("reader"))

        assert [] == http.reader.asked
    assert existing.status == missing.status == 403
    assert json.loads(existing.body)["message"] == json.loads(missing.body)["message"]


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/shop/dev", {"Authorization": f"bearer {TOKENS['reader']}"}),
        ("/shop/dev", {"Authorization": "Basic " + base64.b64encode(f"any:{TOKENS['reader']}".encode()).decode()}),
        (f"/shop/dev?token={TOKENS['reader']}", {}),
        (f"/shop/dev?%74oken={TOKENS['reader']}", {}),
        (f"/shop/dev?token={TOKENS['reader']}", bearer("reader")),
        ("/shop/dev", {"X_Config_Token": TOKENS["reader"]}),
        ("/shop/dev", {"X_Config_Token": "hvs.of-vault", **bearer("reader")}),
    ],
)
async def test_a_token_is_taken_wherever_clients_can_put_one(target: str, headers: dict[str, str]) -> None:
    async with serving(gate=gate()) as http:
        assert 200 == (await http.ask(target, **headers)).status


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer ",
        "Bearer null",
        "Bearer " + UNKNOWN,
        "Bearer " + TOKENS["reader"][:-1],
        "Bearer " + TOKENS["reader"] + "x",
        "Bearer " + "x" * 10_000,
        "Bearer t\xf6ken",
        "Basic !!!",
        "Basic " + base64.b64encode(b"reader:wrong").decode(),
        "Digest x",
    ],
)
async def test_T04_what_is_no_token_is_401_whatever_it_is(authorization: str) -> None:
    async with serving(gate=gate()) as http:
        answer = await http.ask("/shop/dev", Authorization=authorization)

    assert 401 == answer.status
    assert b"a valid token is required" in answer.body


async def test_unasked_for_credentials_are_ignored() -> None:
    async with serving() as http:
        assert 200 == (await http.ask("/shop/dev?token=x&token=y", Authorization="Bearer nonsense")).status
        assert 200 == (await http.ask("/shop/dev", X_Config_Token="hvs.of-vault")).status


async def test_another_ones_token_alone_is_401() -> None:
    async with serving(gate=gate()) as http:
        assert 401 == (await http.ask("/shop/dev", X_Config_Token="hvs.of-vault")).status


async def test_T07_wrong_tokens_are_slowed_down_and_right_ones_are_not() -> None:
    async with serving(gate=gate(failure_burst=3)) as http:
        statuses = [(await http.ask("/shop/dev", Authorization=f"Bearer {UNKNOWN}")) for _ in range(5)]
        right = await http.ask("/shop/dev", **bearer("reader"))

    assert [401, 401, 401, 429, 429] == [answer.status for answer in statuses]
    assert int(statuses[-1].headers["retry-after"]) >= 1
    assert 200 == right.status


async def test_H07_a_host_that_is_not_ours_is_refused_where_nobody_is_asked() -> None:
    async with serving() as http:
        rebound = await http.exchange(b"GET /shop/dev HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        other = await http.exchange(b"GET /health HTTP/1.1\r\nHost: probe.example\r\nConnection: close\r\n\r\n")

    assert b"403" in rebound.split(b"\r\n")[0]
    assert b"200" in other.split(b"\r\n")[0]


async def test_W01_a_page_of_another_origin_is_refused_and_a_listed_one_is_not() -> None:
    async with serving(gate=open_gate(origins=("https://ui.example",))) as http:
        strange = await http.ask("/shop/dev", Origin="https://evil.example")
        listed = await http.ask("/shop/dev", Origin="https://ui.example")

    assert (403, 200) == (strange.status, listed.status)


@pytest.mark.parametrize(
    ("target", "headers"),
    [
        ("/shop/dev", {"X_Forwarded_For": "127.0.0.1"}),
        ("/shop/dev", {"Forwarded": "for=127.0.0.1", "X_Real_IP": "127.0.0.1"}),
        ("/shop/dev", {"X_Forwarded_User": "admin", "X_Original_URL": "/health"}),
        ("/shop/dev/", {}),
        ("/shop/dev;x", {}),
        ("/metrics/", {}),
        ("/metrics;x", {}),
        ("//metrics", {}),
        ("/health/../metrics", {}),
    ],
)
async def test_H10_neither_a_header_nor_a_spelling_of_the_path_gets_round_the_gate(
    target: str, headers: dict[str, str]
) -> None:
    async with serving(gate=gate()) as http:
        assert (await http.ask(target, **headers)).status in (400, 401, 404)


async def test_H12_answers_are_for_who_asked_alone() -> None:
    async with serving(gate=gate()) as http:
        mine = await http.ask("/shop/dev", **bearer("reader"))
        others = await http.ask("/shop/dev", **bearer("admin"))

    assert (200, 403) == (mine.status, others.status)
    assert mine.headers["cache-control"] in ("no-store", "private, no-cache", "no-cache, private")


async def test_T02_no_token_gets_into_a_body_a_log_or_a_metric() -> None:
    sent = (UNKNOWN, TOKENS["reader"], TOKENS["expired"])
    with capture_logs() as logs:
        async with serving(gate=gate()) as http:
            bodies = b""
            for token in sent:
                for query in (
                    f"token={token}",
                    f"TOKEN={token}",
                    f"%74oken={token}",
                    f"token=a&token={token}",
                    f"token={token}%0a",
                ):
                    bodies += (await http.ask(f"/shop/prod?{query}")).body
                bodies += (await http.ask("/shop/prod", Authorization=f"Bearer {token}")).body
                bodies += (await http.ask("/shop/prod", X_Config_Token=token)).body
                bodies += (await http.ask("/nothing", X_Config_Token=token)).body
                bodies += (await http.ask(f"/ws/shop/dev?token={token}")).body
            metrics = (await http.ask("/metrics", **bearer("admin"))).body

    for token in sent:
        assert token.encode() not in bodies + metrics
        assert token not in str(logs)


async def test_H12_of_the_labels_that_there_are_those_are_named_that_the_token_may_read() -> None:
    class Missing(FakeReader):
        async def read(self, key: Key) -> Config:
            others = [attrs.evolve(key, label=label) for label in ("release/1", "secret")]
            raise UnknownLabel("there is no default label", alternatives=others)

    async with serving(reader=Missing(), gate=gate()) as http:
        for target in ("/shop/dev", "/shop-dev.yml"):
            both = await http.ask(target, **bearer("reader"))
            assert (404, "there is no default label; there are release/1, secret") == (
                both.status,
                json.loads(both.body)["message"],
            )
        one = await http.ask("/shop/default/release(_)9", **bearer("reader"))

    assert "there is no default label; there are release/1" == json.loads(one.body)["message"]


async def test_T05_rights_change_from_one_request_to_the_next() -> None:
    mine = gate(failure_burst=1_000)
    without = Authority(Tokens())
    both = Authority(Tokens(load_tokens(FILE, "tokens.toml")))
    statuses = []
    async with serving(gate=mine) as http:
        for authority in (both, without) * 50:
            mine.replace(AuthSettings(failure_burst=1_000), authority)
            statuses.append((await http.ask("/shop/dev", **bearer("reader"))).status)

    assert [200, 401] * 50 == statuses


async def test_P08_two_tokens_in_turn_each_see_what_is_theirs() -> None:
    """Nothing of one request's rights is left for the next one, on a connection or in a cache."""
    tokens = {name: "vt_" + name.ljust(43, "z") for name in ("shop", "cart")}
    file = "".join(
        f'[[token]]\nname = "{name}"\nsha256 = "{digest_of(token)}"\nrights = ["read"]\npatterns = ["{name}"]\n'
        for name, token in tokens.items()
    )
    statuses = []
    async with serving(gate=open_gate(Authority(Tokens(load_tokens(file, "tokens.toml"))))) as http:
        for turn in range(100):
            name = ("shop", "cart")[turn % 2]
            for application in tokens:
                answer = await http.ask(f"/{application}/dev", Authorization=f"Bearer {tokens[name]}")
                statuses.append((answer.status, application == name))

    assert {(200, True), (403, False)} == set(statuses)


@pytest.mark.parametrize(
    "headers",
    [
        {"X_Project_ID": "other"},
        {"X_Config_Token": "t", "X_Config_State": "s"},
        {"X_Forwarded_Prefix": "/other", "X_Forwarded_Host": "other"},
    ],
)
async def test_P07_no_header_chooses_what_is_read(headers: dict[str, str]) -> None:
    async with serving() as http:
        plain, with_headers = await http.ask("/shop/dev"), await http.ask("/shop/dev", **headers)

        assert (plain.status, plain.body) == (with_headers.status, with_headers.body)
        assert 1 == len(set(http.reader.asked))


async def test_H14_answers_are_not_compressed() -> None:
    """What one who listens in could make of the length of compressed secrets is not there to be had."""
    async with serving() as http:
        http.reader.change({"secret": "a" * 10_000})
        answer = await http.ask("/shop/dev", Accept_Encoding="gzip, br, deflate")

    assert "content-encoding" not in answer.headers
    assert b"a" * 10_000 in answer.body
