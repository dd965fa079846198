"""The rights of a token, reported to its owner."""

import json
from typing import Any

import pytest

from tests.fakes import open_gate
from tests.http.serving import FilesReader, serving
from tests.http.test_openapi import problems
from vortexd.auth import Authority, Tokens, load_tokens
from vortexd.auth.principal import ALL_RIGHTS, Right
from vortexd.auth.tokens import digest_of

TOKEN = "vt_" + "x" * 43
FILE = f"""
[[token]]
name = "people"
sha256 = "{digest_of(TOKEN)}"
rights = ["subscribe", "read"]
patterns = ["billing", "shop:dev"]
expires = "2999-01-01T00:00:00Z"
"""


async def asked(authority: Authority, **headers: str) -> dict[str, Any]:
    async with serving(gate=open_gate(authority)) as http:
        answer = await http.ask("/api/v1/whoami", **headers)
    assert (200, "no-store") == (answer.status, answer.headers["cache-control"])
    assert [] == problems("Identity", answer.body)
    body: dict[str, Any] = json.loads(answer.body)
    return body


async def test_a_token_is_told_its_name_its_end_its_rights_and_its_patterns() -> None:
    authority = Authority(Tokens(load_tokens(FILE, "tokens.toml")))

    assert {
        "name": "people",
        "kind": "token",
        "expires": "2999-01-01T00:00:00.000Z",
        "grants": [{"rights": ["read", "subscribe"], "patterns": ["billing:*:*", "shop:dev:*"]}],
    } == await asked(authority, Authorization=f"Bearer {TOKEN}")


async def test_where_nobody_is_asked_everybody_is_told_what_that_is() -> None:
    found = await asked(Authority(anonymous=ALL_RIGHTS - {Right.ADMIN}))

    assert ("anonymous", "anonymous", None) == (found["name"], found["kind"], found["expires"])
    assert [{"rights": ["read", "subscribe", "report"], "patterns": ["*:*:*"]}] == found["grants"]


# A WebSocket's address without an upgrade.


@pytest.mark.parametrize(
    ("target", "refused", "message"),
    [
        ("/ws/billing/dev", None, "this is a WebSocket: ask for an upgrade"),
        ("/ws/shop/dev?label=main&instance=x", None, "this is a WebSocket: ask for an upgrade"),
        ("/ws/shop/prod", "403", "the token doesn't allow this"),
        ("/ws/orders/default", "403", "the token doesn't allow this"),
        ("/ws/orders/default?label=nowhere", "403", "the token doesn't allow this"),
        ("/ws/billing/dev?label=nowhere", "404", "no such label"),
        ("/ws/billing/dev?label=..", "400", "invalid label"),
        ("/ws/billing", "404", "WebSockets are at /ws/{application}/{profile}"),
    ],
)
async def test_without_an_upgrade_it_says_whether_a_handshake_would_be_refused(
    target: str, refused: str | None, message: str
) -> None:
    authority = Authority(Tokens(load_tokens(FILE, "tokens.toml")))
    async with serving(gate=open_gate(authority), reader=FilesReader({"billing.yml": "a: 1"})) as http:
        answer = await http.ask(target, Authorization=f"Bearer {TOKEN}")

    assert (426, "websocket") == (answer.status, answer.headers["upgrade"])
    assert (refused, message) == (answer.headers.get("x-vortex-refused"), json.loads(answer.body)["message"])


async def test_before_the_first_state_a_handshake_would_be_refused_for_a_while() -> None:
    reader = FilesReader({"billing.yml": "a: 1"})
    reader.default_label = None
    async with serving(reader=reader) as http:
        answer = await http.ask("/ws/billing/dev")

    assert ("503", "starting") == (answer.headers["x-vortex-refused"], json.loads(answer.body)["message"])
