"""The rights of a token, reported to its owner."""

import json
from typing import Any

from tests.fakes import open_gate
from tests.http.serving import serving
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
