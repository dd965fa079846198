"""Requests that wait: no change is lost, limits, wake-ups in turns, and subscriptions that end with the last request."""

from collections import Counter
from collections.abc import Collection
from functools import partial
from random import Random
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.fakes import KEY, FakeLine, Rounds
from vortexd.auth import Kind, Principal
from vortexd.core.candidate import candidate_of
from vortexd.core.errors import RemoteError, UnknownLabel
from vortexd.core.model import Key
from vortexd.http.endpoint import Headers, Request
from vortexd.http.watchers import _AT_ONCE, Limits, Waiter, Watchers

# A fault often shows in a request that nothing wakes.
pytestmark = pytest.mark.timeout(60)
OTHER = Key("cart", "dev", "main")
NOW = 1_000.0


@attrs.frozen
class Owner:
    principal: Principal


class Middle(Random):
    """Jitter in the middle."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


@attrs.define
class Counts:
    outcomes: Counter[str] = attrs.field(factory=Counter)

    def waited(self, outcome: str) -> None:
        self.outcomes[outcome] += 1


def request(
    name: str = "one", peer: str = "192.0.2.1", expires_at: float | None = None, kind: Kind = Kind.TOKEN
) -> Request:
    owner: Any = Owner(Principal(name, kind, (), expires_at))
    return Request("GET", "/", "", Headers([]), b"", owner, lambda: owner, peer)


class Waits:
    """Requests that wait, over documents that the test sets."""

    def __init__(self, total: int = 100, per_client: int = 100) -> None:
        self.line = FakeLine({KEY: {"a": 1}, OTHER: {"a": 1}})
        self.counts = Counts()
        self.limits = Limits(total, per_client)
        self.watchers = Watchers(self.line, self.line.registry, lambda: self.limits, self.counts, Middle(), lambda: NOW)
        # The results of `wait`, in order.
        self.results: list[bool] = []
        self.left = trio.Event()

    def version(self, key: Key = KEY) -> str:
        found = self.line.version_of(key)
        assert found is not None
        return found

    def enter(
        self, key: Key = KEY, seconds: float = 300, by: Request | None = None, waited: Waiter | None = None
    ) -> Waiter:
        found = self.watchers.enter(by or request(), key, self.version(key), seconds, waited)
        assert found is not None
        return found

    async def wait(self, waiter: Waiter) -> None:
        self.results.append(await waiter.wait(self.left.wait))


@pytest.fixture
async def waits() -> Waits:
    return Waits()


def subscribers(waits: Waits, key: Key = KEY) -> Collection[object]:
    return waits.line.registry.subscribers(key)


async def test_a_change_ends_the_wait(waits: Waits) -> None:
    waiter = waits.enter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(waits.wait, waiter)
        await wait_all_tasks_blocked()
        assert [] == waits.results
        waits.line.publish({"a": 2})

    assert [True] == waits.results
    assert not waiter.is_over


async def test_a_change_between_the_registration_and_the_wait_is_not_lost(waits: Waits) -> None:
    waiter = waits.enter()
    waits.line.publish({"a": 2})
    await waits.wait(waiter)

    assert [True] == waits.results


async def test_a_request_with_another_version_does_not_wait_and_holds_nothing(waits: Waits) -> None:
    assert waits.watchers.enter(request(), KEY, "0123456789abcdef", 300) is None

    assert (0, 0, 0) == (len(waits.watchers), waits.line.held[KEY], len(subscribers(waits)))
    assert not waits.counts.outcomes


async def test_a_request_with_another_version_leaves_those_that_wait(waits: Waits) -> None:
    waits.enter()
    assert waits.watchers.enter(request(), KEY, "0123456789abcdef", 300) is None

    assert (1, 1, 1) == (len(waits.watchers), waits.line.held[KEY], len(subscribers(waits)))


async def test_the_delivery_of_the_version_that_a_request_has_wakes_nobody(waits: Waits) -> None:
    """A publication that is broadcast in steps is in force before its delivery."""
    waiter = waits.enter()
    waits.line.publish({"a": 1})
    assert not waiter.is_due


async def test_the_end_of_a_key_ends_the_wait(waits: Waits) -> None:
    waiter = waits.enter()
    waits.line.publish(None)
    assert waiter.is_due


async def test_another_key_wakes_nobody(waits: Waits) -> None:
    waiter = waits.enter()
    waits.line.publish({"a": 2}, OTHER)
    assert not waiter.is_due


@pytest.mark.parametrize(("seconds", "total"), [(1, 1 + 1 / 32), (160, 165), (600, 618.75)])
async def test_the_wait_ends_after_its_time_and_jitter(
    waits: Waits, autojump_clock: MockClock, seconds: float, total: float
) -> None:
    waiter = waits.enter(seconds=seconds)
    assert not waiter.is_over
    began = trio.current_time()
    await waits.wait(waiter)

    assert [True] == waits.results
    assert total == pytest.approx(trio.current_time() - began)
    assert waiter.is_over


async def test_jitter_is_at_most_a_sixteenth(waits: Waits, mock_clock: MockClock) -> None:
    waits.watchers._random = Random(7)
    ends = [waits.enter(seconds=160).until - trio.current_time() for _ in range(100)]

    assert all(160 <= each <= 170 for each in ends)
    assert max(ends) - min(ends) > 8


async def test_the_end_of_a_token_ends_the_wait(waits: Waits, autojump_clock: MockClock) -> None:
    waiter = waits.enter(by=request(expires_at=NOW + 20))
    began = trio.current_time()
    await waits.wait(waiter)

    assert 20 <= trio.current_time() - began <= 20.1
    assert [True] == waits.results
    assert not waiter.is_over


async def test_a_token_that_has_expired_already_ends_the_wait_at_once(waits: Waits, autojump_clock: MockClock) -> None:
    began = trio.current_time()
    await waits.wait(waits.enter(by=request(expires_at=NOW - 20)))
    assert trio.current_time() - began <= 0.1


async def test_a_client_that_leaves_ends_the_wait(waits: Waits) -> None:
    waiter = waits.enter()
    waits.left.set()
    await waits.wait(waiter)

    assert [False] == waits.results
    waiter.leave(None)
    assert {"gone": 1} == waits.counts.outcomes


async def test_cancellation_ends_the_wait_and_passes_on(waits: Waits) -> None:
    waiter = waits.enter()
    with trio.move_on_after(0) as scope:
        await waits.wait(waiter)
    assert scope.cancelled_caught
    assert [] == waits.results
    # Nothing is woken any more.
    assert not waiter.wake()


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "changed"),
        (304, "unchanged"),
        (401, "refused"),
        (403, "refused"),
        (429, "limited"),
        (503, "unavailable"),
        (404, "failed"),
        (500, "failed"),
        (None, "gone"),
    ],
)
async def test_each_end_is_counted(waits: Waits, status: int | None, outcome: str) -> None:
    waits.enter().leave(status)
    assert {outcome: 1} == waits.counts.outcomes


async def test_all_requests_of_a_key_share_one_subscription_until_the_last_leaves(waits: Waits) -> None:
    waiters = [waits.enter() for _ in range(3)]
    (watched,) = subscribers(waits)
    assert (3, 1) == (len(watched), waits.line.held[KEY])  # type: ignore[arg-type]  # it has a length
    for number, each in enumerate(waiters, 1):
        each.leave(200)
        assert (number < 3) == bool(subscribers(waits)) == bool(waits.line.held[KEY])
        assert 3 - number == len(waits.watchers)

    waits.enter().leave(200)
    assert (0, []) == (waits.line.held[KEY], [*subscribers(waits)])


async def test_a_key_that_can_not_be_held_leaves_nothing(waits: Waits) -> None:
    with pytest.raises(UnknownLabel):
        waits.watchers.enter(request(), Key("shop", "dev", "none"), "0", 300)
    assert 0 == len(waits.watchers)
    assert not waits.watchers._watched


# Requests that go on.


async def test_a_request_that_goes_on_keeps_its_end_and_is_woken_again(waits: Waits, mock_clock: MockClock) -> None:
    waiter = waits.enter()
    until = waiter.until
    waits.line.publish({"a": 2})
    mock_clock.jump(10)
    assert waiter is waits.enter(waited=waiter)

    assert (until, waits.version(), False) == (waiter.until, waiter.version, waiter.is_due)
    assert (1, 1) == (len(waits.watchers), waits.line.held[KEY])
    waits.line.publish({"a": 3})
    assert waiter.is_due


async def test_a_request_that_goes_on_with_another_key_leaves_its_former_one(waits: Waits) -> None:
    waiter = waits.enter()
    waits.enter(OTHER, waited=waiter)

    assert (0, 1) == (waits.line.held[KEY], waits.line.held[OTHER])
    assert ([], 1) == ([*subscribers(waits)], len(subscribers(waits, OTHER)))
    waiter.leave(200)
    assert 0 == waits.line.held[OTHER]


async def test_a_request_goes_on_although_the_limits_are_reached(waits: Waits) -> None:
    waiter = waits.enter()
    waits.limits = Limits(1, 1)
    waits.enter(waited=waiter)
    assert 1 == len(waits.watchers)


async def test_a_request_that_goes_on_has_the_expiry_of_its_new_token(waits: Waits, mock_clock: MockClock) -> None:
    waiter = waits.enter(by=request(expires_at=NOW + 20))
    waits.enter(by=request(expires_at=NOW + 50), waited=waiter)
    assert trio.current_time() + 50 <= waiter.expires <= trio.current_time() + 50.1
    waits.enter(by=request(), waited=waiter)
    assert float("inf") == waiter.expires


async def test_a_request_that_must_not_go_on_leaves_the_others(waits: Waits) -> None:
    first, second = waits.enter(), waits.enter()
    version = waits.version()
    waits.line.publish({"a": 2})
    assert waits.watchers.enter(request(), KEY, version, 300, first) is None
    assert 2 == len(waits.watchers)
    for each in (first, second):
        each.leave(200)
    assert 0 == waits.line.held[KEY]


# Limits.


async def test_a_client_may_have_so_many(waits: Waits) -> None:
    waits.limits = Limits(100, 2)
    first = waits.enter()
    waits.enter()
    with pytest.raises(RemoteError, match="this client") as refused:
        waits.enter()
    assert (429, "1") == (refused.value.status, refused.value.headers["Retry-After"])
    assert {"limited": 1} == waits.counts.outcomes
    assert 2 == len(waits.watchers)

    waits.enter(by=request("two"))
    waits.enter(by=request(peer="192.0.2.2"))
    first.leave(200)
    waits.enter()


async def test_an_ipv6_network_is_one_client(waits: Waits) -> None:
    waits.limits = Limits(100, 1)
    waits.enter(by=request(peer="2001:db8::1"))
    with pytest.raises(RemoteError):
        waits.enter(by=request(peer="2001:db8::2"))
    waits.enter(by=request(peer="2001:db8:0:1::1"))


async def test_without_tokens_a_network_is_one_client(waits: Waits) -> None:
    """One host may have all addresses of its network, and take another one for each request."""
    anonymous = partial(request, "anonymous", kind=Kind.ANONYMOUS)
    waits.limits = Limits(100, 1)
    for peer, same in (("2001:db8::1", "2001:db8::2"), ("192.0.2.1", "192.0.2.1"), ("", "")):
        waits.enter(by=anonymous(peer=peer))
        with pytest.raises(RemoteError, match="this client"):
            waits.enter(by=anonymous(peer=same))
    waits.enter(by=anonymous(peer="192.0.2.2"))


async def test_a_token_and_a_subject_of_the_same_name_are_two_clients(waits: Waits) -> None:
    waits.limits = Limits(100, 1)
    for kind in (Kind.TOKEN, Kind.JWT, Kind.CERTIFICATE):
        waits.enter(by=request(kind=kind))
    assert 3 == len(waits.watchers)


async def test_all_clients_together_may_have_so_many(waits: Waits) -> None:
    waits.limits = Limits(2, 100)
    first = waits.enter(by=request("one"))
    waits.enter(by=request("two"))
    with pytest.raises(RemoteError, match="too many requests wait") as refused:
        waits.enter(by=request("three"))
    assert (503, "1") == (refused.value.status, refused.value.headers["Retry-After"])
    assert {"limited": 1} == waits.counts.outcomes

    first.leave(200)
    waits.enter(by=request("three"))


async def test_refusals_are_logged_once_a_minute_for_each_limit(waits: Waits, mock_clock: MockClock) -> None:
    def refused(name: str, count: int) -> None:
        for _ in range(count):
            with pytest.raises(RemoteError):
                waits.enter(by=request(name))

    waits.limits = Limits(3, 2)
    for name in ("one", "one", "two"):
        waits.enter(by=request(name))
    with capture_logs() as logs:
        refused("one", 1)
        refused("three", 1)
        for _ in range(2):
            mock_clock.jump(59.9)
            refused("one", 3)
            mock_clock.jump(0.1)
            refused("one", 1)
        refused("three", 1)

    warning = {"event": "waits refused", "log_level": "warning"}
    mine = {**warning, "setting": "http.watches_per_client", "limit": 2}
    all_ = {**warning, "setting": "http.watches", "limit": 3}
    expected = [{**mine, "refused": 1}, {**all_, "refused": 1}, *[{**mine, "refused": 4}] * 2, {**all_, "refused": 1}]
    assert expected == logs


async def test_nothing_is_kept_of_a_client_that_waits_no_more(waits: Waits) -> None:
    for number in range(3):
        waits.enter(by=request(str(number))).leave(200)
    assert not waits.watchers._by_client


# Wake-ups.


async def test_a_change_for_a_thousand_wakes_a_few_in_each_round(waits: Waits) -> None:
    waits.limits = Limits(2_000, 2_000)
    results: Counter[int] = Counter()

    async def wait(waiter: Waiter) -> None:
        await waits.wait(waiter)
        results[rounds.count] += 1

    async with trio.open_nursery() as nursery:
        for _ in range(1_000):
            nursery.start_soon(wait, waits.enter())
        await wait_all_tasks_blocked()
        rounds = Rounds.counting()
        waits.line.publish({"a": 2})

    assert [True] * 1_000 == waits.results
    assert max(results.values()) <= _AT_ONCE
    assert 1_000 / _AT_ONCE == len(results)
    assert 0 == waits.watchers._running


@pytest.mark.parametrize("by", ["token", "end"])
async def test_waits_that_end_at_the_same_moment_take_turns(waits: Waits, autojump_clock: MockClock, by: str) -> None:
    waits.limits = Limits(2_000, 2_000)
    results: Counter[int] = Counter()
    rounds = Rounds.counting()
    began = trio.current_time()

    async def wait(waiter: Waiter) -> None:
        await waits.wait(waiter)
        results[rounds.count] += 1
        waiter.leave(401)

    async with trio.open_nursery() as nursery:
        for _ in range(500):
            nursery.start_soon(wait, waits.enter(by=request(expires_at=NOW + 20 if by == "token" else None)))

    assert [True] * 500 == waits.results
    assert max(results.values()) <= _AT_ONCE
    assert (20.01 if by == "token" else 300 * 33 / 32) == pytest.approx(trio.current_time() - began)
    assert (0, 0, 0) == (waits.watchers._running, len(waits.watchers._due), waits.line.held[KEY])


async def test_a_client_that_leaves_before_its_turn_is_noticed(waits: Waits, autojump_clock: MockClock) -> None:
    gone = {waits.enter(seconds=32): trio.Event() for _ in range(2 * _AT_ONCE)}
    results: list[bool] = []

    async def wait(waiter: Waiter) -> None:
        is_there = await waiter.wait(gone[waiter].wait)
        if not results:
            gone[waits.watchers._due[-1]].set()
        results.append(is_there)

    async with trio.open_nursery() as nursery:
        for waiter in gone:
            nursery.start_soon(wait, waiter)

    assert {True: 2 * _AT_ONCE - 1, False: 1} == Counter(results)
    assert 0 == waits.watchers._running


async def test_a_wait_that_ends_before_the_turn_of_its_change_is_not_woken_twice(
    waits: Waits, mock_clock: MockClock
) -> None:
    """Half of the requests wait for their turn when their time ends."""
    async with trio.open_nursery() as nursery:
        for _ in range(2 * _AT_ONCE):
            nursery.start_soon(waits.wait, waits.enter(seconds=32))
        await wait_all_tasks_blocked()
        waits.line.publish({"a": 2})
        mock_clock.jump(40)

    assert [True] * 2 * _AT_ONCE == waits.results
    assert (0, 0) == (waits.watchers._running, len(waits.watchers._due))


async def test_requests_that_leave_before_their_turn_do_not_stop_the_others(waits: Waits) -> None:
    scopes = [trio.CancelScope() for _ in range(3 * _AT_ONCE)]

    async def wait(scope: trio.CancelScope) -> None:
        waiter = waits.enter()
        with scope:
            await waits.wait(waiter)
        waiter.leave(None if scope.cancelled_caught else 200)

    async with trio.open_nursery() as nursery:
        for scope in scopes:
            nursery.start_soon(wait, scope)
        await wait_all_tasks_blocked()
        waits.line.publish({"a": 2})
        # These were woken in the same moment, and those that follow are next.
        for scope in scopes[: 2 * _AT_ONCE]:
            scope.cancel()

    assert 0 == waits.watchers._running
    assert 3 * _AT_ONCE == waits.counts.outcomes["gone"] + waits.counts.outcomes["changed"]
    assert waits.counts.outcomes["changed"] >= _AT_ONCE
    assert 0 == waits.line.held[KEY]


async def test_a_request_that_is_due_already_is_not_woken_twice(waits: Waits) -> None:
    waits.enter()
    waits.line.publish({"a": 2})
    waits.line.publish({"a": 3})
    waits.watchers.wake_all()
    assert (0, 0) == (len(waits.watchers._due), waits.watchers._running)


async def test_the_keys_whose_tracks_change_are_woken_and_their_candidates(waits: Waits) -> None:
    candidate = candidate_of(KEY)
    waits.line.publish({"a": 5}, candidate)
    plain, theirs, other = waits.enter(), waits.enter(candidate), waits.enter(OTHER)
    waits.watchers.wake_keys([KEY])
    assert [True, True, False] == [each.is_due for each in (plain, theirs, other)]


async def test_all_are_woken(waits: Waits) -> None:
    waiters = [waits.enter(), waits.enter(OTHER)]
    waits.watchers.wake_all()
    assert [True, True] == [each.is_due for each in waiters]


# The drain.


async def test_a_drain_wakes_all_and_none_waits_again(waits: Waits) -> None:
    waiter = waits.enter()
    waits.watchers.drain()
    assert waiter.is_due

    for waited in (waiter, None):
        with pytest.raises(RemoteError, match="stopping") as refused:
            waits.enter(waited=waited)
        assert 503 == refused.value.status
        assert refused.value.headers["Retry-After"] in ("1", "2", "3")
    assert 1 == len(waits.watchers)
    assert not waits.counts.outcomes


async def test_a_drain_is_answered_at_different_times(waits: Waits) -> None:
    waits.watchers.drain()
    found = set()
    for _ in range(100):
        with pytest.raises(RemoteError) as refused:
            waits.enter()
        found.add(refused.value.headers["Retry-After"])
    assert {"1", "2", "3"} == found
