"""Facts about renewal: which changes of settings need a new engine, and when the files are compared."""

from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vortexd.cluster.renewal import Renewal, has_other_access
from vortexd.settings.cluster import ClusterSettings

SETTINGS = ClusterSettings(name="c", endpoints=("http://a",), user="u", password_file="p")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"advertise": "http://x"}, False),
        ({"endpoints": ("http://b",)}, True),
        ({"user": "v"}, True),
        ({"password_file": "q"}, True),
        ({"ca_file": "q"}, True),
        ({"certificate": "q"}, True),
        ({"key": "q"}, True),
    ],
)
def test_other_members_another_user_and_other_files_are_another_access(changes: dict[str, Any], expected: bool) -> None:
    assert has_other_access(SETTINGS, attrs.evolve(SETTINGS, **changes)) is expected


async def test_the_files_of_the_settings_in_force_are_compared_once_for_each_reload(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    asked = list[ClusterSettings]()
    slow, found = trio.Event(), b"1"

    async def fingerprint(settings: ClusterSettings) -> bytes:
        asked.append(settings)
        await slow.wait()
        return found

    other = attrs.evolve(SETTINGS, advertise="http://x")
    renewal, needed = Renewal(fingerprint), trio.Event()
    slow.set()
    await renewal.note(SETTINGS)

    async def wait() -> None:
        await renewal.wait_needed(lambda: other)
        needed.set()

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    assert asked == [SETTINGS]
    slow = trio.Event()
    renewal.reloaded()
    await wait_all_tasks_blocked()
    # A reload during a comparison makes another one, because the file may have changed after it was read.
    renewal.reloaded()
    slow.set()
    await wait_all_tasks_blocked()
    assert (asked, needed.is_set()) == ([SETTINGS, other, other], False)
    found = b"2"
    await wait_all_tasks_blocked()
    assert not needed.is_set()
    renewal.reloaded()
    await wait_all_tasks_blocked()
    assert needed.is_set()
