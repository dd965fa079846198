"""The clients of a roll-out in the console, in a real browser. A stand-in gives the answers of the server."""

from pathlib import Path
from typing import Any

import pytest

from .browser import CHROMIUM, Page
from .console import picture, view
from .console_stand_in import Answers, opened

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
STABLE, TARGET, OTHER = "0123456789abcdef", "fedcba9876543210", "0" * 16
BILLING = {"app": "billing", "profile": "default", "label": "main"}
# The console doesn't follow this key, so it knows no newest version of it.
UNKNOWN = {"app": "orders", "profile": "prod", "label": "main"}
# Lets the console know the stable version of the key, once the version of the server has arrived.
KNOWN = f"""
import('/console/session.js').then(({{ session }}) =>
  session.versions.has('billing:default:main') && session.versions.set('billing:default:main', '{STABLE}').size)
"""
COUNTS = {"connected": 3, "applied": 2, "rejected": 0, "silent": 1, "gone": 0, "unlisted": 0}


def clients(*versions: str, **more: Any) -> Answers:
    """The answers for connections with these versions of a key, and for its acknowledgements."""
    keys = [
        *({**BILLING, "version": each, "connections": 1} for each in versions),
        {**UNKNOWN, "version": OTHER, "connections": 1},
    ]
    connections = {"total": len(keys), "parked": 0, "versions": keys, "connections": []}
    key = {**BILLING, "version": versions[0], "counts": COUNTS, "percent": 66.66, "instances": [], **more}
    return {
        "GET /api/v1/connections": [(200, connections)],
        "GET /api/v1/fleet": [(200, {"keys": [key], "complete": True})],
    }


async def rows(page: Page) -> list[str]:
    text: str = await page.evaluate(
        "[...document.querySelectorAll('#clients-body tbody tr')].map(each => each.innerText).join('|')"
    )
    return [each.replace("\t", " ") for each in text.split("|")]


async def test_in_a_roll_out_the_target_is_new_and_not_behind(page: Page, tmp_path: Path) -> None:
    more = {"target": TARGET, "rollout": "running"}
    async with opened(page, tmp_path, clients(STABLE, TARGET, OTHER, **more)):
        await page.wait(KNOWN)
        await view(page, "clients", "roll-out running")
        await picture(page, "clients-rollout")
        found = await rows(page)
        assert [] == page.complaints

    assert found[:4] == [
        "billing:default:main 01234567 stable 1",
        "billing:default:main fedcba98 new, in a roll-out 1",
        "billing:default:main 00000000 behind 1",
        "orders:prod:main 00000000  1",
    ]
    assert found[4] == "billing:default:main 01234567 → fedcba98 (roll-out running) 66.66 % 2 0 1 0"


async def test_without_a_roll_out_the_version_is_the_newest(page: Page, tmp_path: Path) -> None:
    async with opened(page, tmp_path, clients(STABLE, TARGET)):
        await page.wait(KNOWN)
        await view(page, "clients", "Acknowledgements")
        found = await rows(page)

    assert found[:2] == ["billing:default:main 01234567 newest 1", "billing:default:main fedcba98 behind 1"]
    assert found[3] == "billing:default:main 01234567 66.66 % 2 0 1 0"
