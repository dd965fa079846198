"""The turns of clients that read histories: one at a time, fair, bounded for each client, and never before an act."""

from contextlib import suppress
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vortexd.core.errors import RemoteError
from vortexd.pipeline import key_history
from vortexd.pipeline.history_turns import MOST_PER_CLIENT, PATIENCE, HistoryTurns


class Clients:
    """Requests of clients that take time, and the order in which they end."""

    def __init__(self) -> None:
        self.turns = HistoryTurns()
        self.ended: list[tuple[str | None, float]] = []
        self.refused: list[tuple[str | None, float, str]] = []

    async def read(self, client: str | None, seconds: float = 4.0) -> None:
        try:
            async with self.turns.turn(client):
                await trio.sleep(seconds)
        except RemoteError as error:
            assert (503, {"Retry-After": "1"}) == (error.status, error.headers)
            self.refused.append((client, trio.current_time(), error.reason))
        else:
            self.ended.append((client, trio.current_time()))

    async def all(self, *clients: str | None, seconds: float = 4.0) -> None:
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(partial(self.read, client, seconds))
                await wait_all_tasks_blocked()


def test_the_wait_is_longer_than_two_turns() -> None:
    assert 2 * key_history.SECONDS < PATIENCE


async def test_clients_take_turns_however_many_requests_one_has(autojump_clock: MockClock) -> None:
    clients = Clients()
    await clients.all("ann", "ann", "bob", "bob", "cy", seconds=1.0)
    assert [("ann", 1), ("bob", 2), ("cy", 3), ("ann", 4), ("bob", 5)] == clients.ended


async def test_beyond_its_limit_a_client_is_refused_at_once_and_others_are_not(autojump_clock: MockClock) -> None:
    clients = Clients()
    await clients.all(*["ann"] * (MOST_PER_CLIENT + 2), "bob", seconds=1.0)
    reason = "2 other histories are read for this client or wait; try again"
    assert [("ann", 0, reason)] * 2 == clients.refused
    assert [("ann", 1), ("bob", 2), ("ann", 3)] == clients.ended
    await clients.all("ann", "ann", seconds=1.0)
    assert [("ann", 4), ("ann", 5)] == clients.ended[3:]


async def test_a_client_that_asks_without_end_does_not_keep_another_one_waiting(autojump_clock: MockClock) -> None:
    clients = Clients()

    async def ask_without_end() -> None:
        while trio.current_time() < 20:
            await clients.read("ann")
            await trio.sleep(0.1)

    async with trio.open_nursery() as nursery:
        for _ in range(MOST_PER_CLIENT):
            nursery.start_soon(ask_without_end)
        await trio.sleep(1)
        for _ in range(3):
            await clients.read("bob", 0.5)

    waited = [time for client, time in clients.ended if client == "bob"]
    assert 3 == len(waited)
    assert max(after - before for before, after in zip([1, *waited], waited, strict=False)) <= 4.5


async def test_a_request_waits_for_a_limited_time_in_all(autojump_clock: MockClock) -> None:
    clients = Clients()
    await clients.all("ann", "bob", "bob", seconds=6.0)
    assert [("ann", 6), ("bob", 12)] == clients.ended
    assert [("bob", PATIENCE, "the server reads other histories; try again")] == clients.refused
    await clients.all("bob", "bob", seconds=1.0)
    assert [("bob", 13), ("bob", 14)] == clients.ended[2:]


async def test_acts_of_administrators_wait_only_for_each_other(autojump_clock: MockClock) -> None:
    clients = Clients()
    await clients.all("ann", "bob", None, None, None, None, seconds=4.0)
    assert [("ann", 4), (None, 4), ("bob", 8), (None, 8), (None, 12)] == sorted(
        clients.ended, key=lambda each: (each[1], each[0] is None)
    )
    assert [(None, PATIENCE, "the server reads other histories; try again")] == clients.refused


@pytest.mark.parametrize("client", ["ann", None])
async def test_a_client_that_goes_away_leaves_its_place(client: str | None, autojump_clock: MockClock) -> None:
    clients = Clients()
    for others in ((), (client,)):
        async with trio.open_nursery() as nursery:
            for each in others:
                nursery.start_soon(clients.read, each)
            await wait_all_tasks_blocked()
            with trio.move_on_after(1):
                await clients.read(client)
    await clients.all(client, client, seconds=1.0)
    assert [(client, 5), (client, 6), (client, 7)] == clients.ended


async def test_a_failed_history_leaves_its_place(autojump_clock: MockClock) -> None:
    clients = Clients()
    for client in ("ann", None):
        with suppress(ValueError):
            async with clients.turns.turn(client):
                raise ValueError
    await clients.all("ann", None, seconds=1.0)
    assert [] == clients.refused
    assert 0 == trio.current_time() - 1


async def test_one_task_may_hold_turns_of_two_kinds(autojump_clock: MockClock) -> None:
    turns = HistoryTurns()
    async with turns.turn("ann"), turns.turn(None):
        with pytest.raises(RemoteError, match="reads other histories"):
            async with turns.turn("bob"):
                pass
