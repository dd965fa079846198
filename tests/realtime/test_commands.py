"""The commands of a client, with a real session and chain. The test sees the replies, and decides when they have room."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.fakes import KEY, TIMESTAMP, FakeLine, FakeMetrics, Rounds, timestamp
from vortexd.auth import Admission, Authority, Gate, Grant, Kind, Principal, Right, Token, Tokens
from vortexd.core.errors import RemoteError
from vortexd.core.model import Json, Key
from vortexd.core.patterns import Pattern, parse_pattern
from vortexd.fleet import Fleet, Instance
from vortexd.pipeline.broadcast import Delivery
from vortexd.protocol.close import CloseReason
from vortexd.realtime.chain import CatchUp, Chain, Reply
from vortexd.realtime.client import Client
from vortexd.realtime.commands import _KEYS_AT_ONCE, Commands
from vortexd.realtime.inbound import Unacceptable
from vortexd.realtime.quota import PatternQuota
from vortexd.realtime.reports import Reports
from vortexd.realtime.session import Session
from vortexd.settings.auth import AuthSettings
from vortexd.settings.fleet import FleetSettings
from vortexd.settings.realtime import RealtimeSettings

BILLING, SEARCH, STOCK = (Key(name, "dev", "main") for name in ("billing", "search", "stock"))
OWNER = ("digest", "ci")
SUBSCRIBE, BOTH = frozenset({Right.SUBSCRIBE}), frozenset({Right.SUBSCRIBE, Right.REPORT})


def authority(*patterns: str, rights: frozenset[Right] = SUBSCRIBE) -> Authority:
    """An authority whose only token has rights over these patterns."""
    grants = (Grant(rights, tuple(map(parse_pattern, patterns))),)
    return Authority(Tokens([Token("digest", Principal("ci", Kind.TOKEN, grants, None, "digest"))]))


def documents(*keys: Key) -> dict[Key, dict[str, Json]]:
    return {key: {"of": key.application} for key in keys}


class Executing:
    """The commands of one client with their neighbours. `said` has the replies; `ends` has the reasons among them.

    Set `room` to a new event to make replies wait for it.
    """

    def __init__(self, *patterns: str, rights: frozenset[Right] = SUBSCRIBE, **limits: int) -> None:
        self.gate = Gate(AuthSettings(), authority(*(patterns or ("*",)), rights=rights), [], lambda: 0.0, lambda: 0.0)
        principal = self.gate.authority.renew(Principal("ci", Kind.TOKEN, (), None, "digest"), 0.0)
        self.admission = Admission(self.gate, principal)
        self.line = FakeLine(documents(KEY, BILLING, SEARCH, STOCK))
        self.metrics = FakeMetrics()
        self.fleet = Fleet(FleetSettings(), self.line.version_of)
        self.instance = Instance(KEY, "c1")
        self.settings = RealtimeSettings(**limits)  # type: ignore[arg-type]  # the tests set limits that are whole numbers
        self.session = Session(KEY, self.settings)
        self.forgotten: list[Key] = []
        self.woken = 0
        self.on_begin: Callable[[], None] = lambda: None
        self.chain = Chain(KEY, None, self._may, self.forgotten.append, self._wake, 100, 1_000_000)
        self.quota = PatternQuota(10, 3)
        self.replies: list[Reply] = []
        self.room: trio.Event | None = None
        client = Client(*(KEY, None, self.admission, self.instance, b""), owner=OWNER, settings=self.settings)
        reports = Reports(self.fleet, self.metrics, lambda: 0.0)
        self.commands = Commands(
            *(self, client, self.session, self.chain, self._reply, self.line, self.metrics, reports, self.quota),
            timestamp,
        )

    def publish_apps(self, count: int) -> None:
        """Publish this many keys of applications `app000`, `app001` and so on."""
        for number in range(count):
            self.line.publish({"n": number}, Key(f"app{number:03}", "dev", "main"))

    def deliver(self, delivery: Delivery) -> None:
        self.chain.offer(delivery)

    def _may(self, key: Key) -> bool:
        self.on_begin()
        return self.admission.may(Right.SUBSCRIBE, key)

    def _wake(self) -> None:
        self.woken += 1

    async def _reply(self, reply: Reply) -> None:
        await trio.lowlevel.checkpoint()
        if self.room is not None:
            await self.room.wait()
        self.replies.append(reply)

    def limit_rights(self, *patterns: str, rights: frozenset[Right] = SUBSCRIBE) -> None:
        """Put other rights of the token in force, as a reload does."""
        self.gate.replace(AuthSettings(), authority(*patterns, rights=rights))
        self.admission.renew()
        self.commands.revoke()

    async def take(self, **message: Any) -> dict[str, Any]:
        """Execute a command, and return the answer to it."""
        before = len(self.replies)
        await self.commands.take(json.dumps(message))
        (reply,) = self.replies[before:]
        return decoded(reply)

    async def subscribe(self, *patterns: str) -> dict[str, Any]:
        return await self.take(type="subscribe", patterns=patterns)

    @property
    def said(self) -> list[dict[str, Any]]:
        return [decoded(reply) for reply in self.replies]

    def first(self) -> list[dict[str, Any]]:
        """The messages that were queued before all others."""
        taken = []
        while isinstance(step := self.chain.step(), Reply):
            taken.append(decoded(step))
        return taken

    def behind(self) -> list[Key]:
        """The keys of which the client needs a first state, besides its main key."""
        return [key for key in self.chain.keys if key != KEY and self.chain.is_behind(key)]

    def subscribed(self) -> list[Key]:
        """The keys of which the client receives deliveries by its patterns."""
        return [key for key in (BILLING, SEARCH, STOCK) if self in self.line.registry.subscribers(key)]


def decoded(reply: Reply) -> dict[str, Any]:
    """The message in the frame of a reply."""
    assert reply.ends is None
    message: dict[str, Any] = json.loads(reply.data[reply.data.index(b"{") :])
    return message


def patterns(*texts: str) -> tuple[Pattern, ...]:
    return tuple(map(parse_pattern, texts))


# Messages and frames.


async def test_a_ping_is_answered_and_counted(autojump_clock: MockClock) -> None:
    it = Executing()

    assert {"type": "pong", "schema": 1, "timestamp": TIMESTAMP} == await it.take(type="ping")
    assert {"message_received ping": 1} == it.metrics.counts


async def test_a_pong_is_only_counted_by_the_session(autojump_clock: MockClock) -> None:
    it = Executing()
    await it.commands.take('{"type": "pong"}')

    assert ([], {}) == (it.replies, it.metrics.counts)


async def test_a_message_of_bytes_ends_the_connection_uncounted(autojump_clock: MockClock) -> None:
    it = Executing()
    with pytest.raises(Unacceptable) as caught:
        await it.commands.take(b"{}")

    assert CloseReason.NOT_TEXT is caught.value.reason
    assert ([], {}) == (it.replies, it.metrics.counts)


async def test_an_invalid_message_is_answered_with_an_error_and_counted_as_refused(autojump_clock: MockClock) -> None:
    it = Executing()
    error = await it.take(type="dance")

    assert ("INVALID_MESSAGE", "there is no such type of message") == (error["code"], error["message"])
    assert {"message_received refused": 1} == it.metrics.counts


async def test_one_error_too_many_is_answered_and_then_ends_the_connection(autojump_clock: MockClock) -> None:
    it = Executing(errors_per_minute=2)
    for _ in range(2):
        await it.take(type="dance")
    started = trio.current_time()
    with pytest.raises(Unacceptable) as caught:
        await it.commands.take('{"type": "dance"}')

    *_, error, last = it.replies
    assert "INVALID_MESSAGE" == decoded(error)["code"]
    assert (b"", CloseReason.POLICY) == (last.data, last.ends)
    # The writer ends the connection after that reply. If it doesn't in time, the reader does.
    assert CloseReason.POLICY is caught.value.reason
    assert started + it.settings.write_timeout == trio.current_time()
    # The end isn't a received message.
    assert {"message_received refused": 3} == it.metrics.counts


async def test_control_frames_are_counted_with_messages_and_end_the_connection_above_the_limit(
    autojump_clock: MockClock,
) -> None:
    it = Executing(messages_per_second=3)
    for _ in range(3 + 3):
        await it.commands.take_control()
    assert [] == it.replies
    with pytest.raises(Unacceptable) as caught:
        await it.commands.take_control()

    assert CloseReason.POLICY is caught.value.reason
    assert [CloseReason.POLICY] == [reply.ends for reply in it.replies]
    assert {} == it.metrics.counts


# Subscriptions.


async def test_a_subscription_is_confirmed_and_its_keys_need_their_first_state(autojump_clock: MockClock) -> None:
    it = Executing()
    confirmed = await it.subscribe("s*", "billing", "s*")

    assert ("subscribed", ["s*:*:*", "billing:*:*"]) == (confirmed["type"], confirmed["patterns"])
    assert {BILLING, SEARCH, STOCK} == set(it.behind()) == set(it.subscribed())
    assert patterns("s*", "billing") == it.session.patterns
    assert (2, {"message_received subscribe": 1}) == (len(it.quota), it.metrics.counts)


async def test_the_writer_is_woken_after_the_keys_have_begun(autojump_clock: MockClock) -> None:
    it = Executing()
    it.chain.is_awaited = True
    await it.subscribe("billing")

    assert (1, False) == (it.woken, it.chain.is_awaited)


async def test_the_confirmation_comes_before_the_first_states(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    it = Executing()
    it.room = trio.Event()
    nursery.start_soon(it.subscribe, "billing")
    await wait_all_tasks_blocked()
    assert ([BILLING], []) == (it.subscribed(), it.behind())
    it.room.set()
    await wait_all_tasks_blocked()

    assert [BILLING] == it.behind()


async def test_a_pattern_that_is_in_force_is_confirmed_again_and_counted_once(autojump_clock: MockClock) -> None:
    it = Executing()
    await it.subscribe("billing")
    confirmed = await it.subscribe("billing", "search")

    assert ["billing:*:*", "search:*:*"] == confirmed["patterns"]
    assert 2 == len(it.quota)
    await it.take(type="unsubscribe", patterns=["billing"])
    assert 1 == len(it.quota)


async def test_a_pattern_beyond_the_rights_is_refused_and_none_of_its_message_is_in_force(
    autojump_clock: MockClock,
) -> None:
    it = Executing("orders", "billing")
    refused = await it.subscribe("billing", "search")

    text = "the token doesn't allow this: it needs the right subscribe for each pattern of the message"
    assert ("FORBIDDEN", text) == (refused["code"], refused["message"])
    assert ((), 0, []) == (it.session.patterns, len(it.quota), it.subscribed())


async def test_a_subscription_that_the_pipeline_refuses_is_not_in_force_and_gives_its_patterns_back(
    autojump_clock: MockClock,
) -> None:
    it = Executing(keys=1)
    refused = await it.subscribe("s*")

    assert ("SUBSCRIPTION_FAILED", "the patterns match more than 1 keys") == (refused["code"], refused["message"])
    assert ((), 0, []) == (it.session.patterns, len(it.quota), it.behind())
    # Exactly as many are allowed.
    assert "subscribed" == (await it.subscribe("billing"))["type"]


async def test_a_refusal_with_status_403_is_forbidden(autojump_clock: MockClock) -> None:
    it = Executing()
    it.line.refusal = RemoteError("not this", status=403)

    assert ("FORBIDDEN", "not this") == ((refused := await it.subscribe("billing"))["code"], refused["message"])


async def test_a_subscription_above_the_quota_is_not_in_force(autojump_clock: MockClock) -> None:
    it = Executing()
    await it.subscribe("a", "b")
    refused = await it.subscribe("c", "d")

    assert "SUBSCRIPTION_FAILED" == refused["code"]
    assert "at most 3 different patterns for all connections of this token" == refused["message"]
    assert (patterns("a", "b"), 2) == (it.session.patterns, len(it.quota))
    # Patterns above the quota give nothing back that they didn't take.
    assert "subscribed" == (await it.subscribe("c"))["type"]
    assert "SUBSCRIPTION_FAILED" == (await it.subscribe("d"))["code"]


async def test_refused_subscriptions_count_as_errors(autojump_clock: MockClock) -> None:
    it = Executing("orders", errors_per_minute=1)
    await it.subscribe("billing")
    with pytest.raises(Unacceptable):
        await it.commands.take('{"type": "subscribe", "patterns": ["billing"]}')

    assert [None, None, CloseReason.POLICY] == [reply.ends for reply in it.replies]


@pytest.mark.parametrize(
    ("count", "parts"), [(_KEYS_AT_ONCE, [_KEYS_AT_ONCE]), (_KEYS_AT_ONCE + 1, [_KEYS_AT_ONCE, 1])]
)
async def test_many_keys_begin_in_several_rounds_of_the_loop(
    autojump_clock: MockClock, count: int, parts: list[int]
) -> None:
    it = Executing()
    it.publish_apps(count)
    rounds = Rounds.counting()
    begun: Counter[int] = Counter()
    it.on_begin = lambda: begun.update([rounds.count])
    await it.subscribe("app*")

    assert parts == list(begun.values())
    assert count == len(it.behind())


# Unsubscribing.


async def test_unsubscribing_is_confirmed_and_ends_what_no_other_pattern_matches(autojump_clock: MockClock) -> None:
    it = Executing()
    await it.subscribe("billing", "s*", "stock")
    confirmed = await it.take(type="unsubscribe", patterns=["billing", "s*", "none"])

    assert ("unsubscribed", ["billing:*:*", "s*:*:*", "none:*:*"]) == (confirmed["type"], confirmed["patterns"])
    assert [STOCK] == it.subscribed() == it.behind()
    assert {BILLING, SEARCH} == set(it.forgotten)
    assert (1, 1) == (len(it.quota), it.metrics.counts["message_received unsubscribe"])


async def test_the_main_key_stays_when_the_patterns_that_match_it_end(autojump_clock: MockClock) -> None:
    it = Executing()
    await it.subscribe("*")
    await it.take(type="unsubscribe", patterns=["*"])

    assert (KEY,) == it.chain.keys
    assert KEY not in it.forgotten


async def test_unsubscribing_from_nothing_is_confirmed(autojump_clock: MockClock) -> None:
    it = Executing()
    await it.subscribe("billing")

    assert "unsubscribed" == (await it.take(type="unsubscribe", patterns=["search"]))["type"]
    assert ([BILLING], [], 1) == (it.subscribed(), it.forgotten, len(it.quota))


async def test_a_subscription_has_ended_before_its_end_is_confirmed(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """If the connection is lost while the confirmation waits for room, nothing remains."""
    it = Executing()
    await it.subscribe("billing")
    it.room = trio.Event()
    with trio.move_on_after(1):
        await it.commands.take('{"type": "unsubscribe", "patterns": ["billing"]}')

    assert ([], 0, (KEY,)) == (it.subscribed(), len(it.quota), it.chain.keys)


async def test_a_connection_that_has_ended_leaves_no_subscription(autojump_clock: MockClock) -> None:
    it = Executing()
    await it.subscribe("billing", "s*")
    it.commands.unsubscribe_all()

    assert ([], 0) == (it.subscribed(), len(it.quota))


async def test_a_connection_that_ends_during_a_subscription_leaves_none(autojump_clock: MockClock) -> None:
    it = Executing()
    it.line.entrance = trio.Event()
    with trio.move_on_after(1):
        await it.subscribe("billing")
    assert 1 == len(it.quota)
    it.commands.unsubscribe_all()

    assert ([], 0, []) == (it.subscribed(), len(it.quota), it.replies)


# Resyncs and acks.


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, CatchUp(KEY, None, True)),
        ({"last_version": "1"}, CatchUp(KEY, "1", True)),
        ({"last_version": "1", "mode": "full"}, CatchUp(KEY, "1", True)),
        ({"last_version": "1", "mode": "diff"}, CatchUp(KEY, "1", False)),
        ({"mode": "diff"}, CatchUp(KEY, None, True)),
    ],
)
async def test_a_resync_begins_the_chain_again(
    autojump_clock: MockClock, members: dict[str, str], expected: CatchUp
) -> None:
    it = Executing()
    await it.commands.take(json.dumps({"type": "resync"} | members))

    assert ([], expected) == (it.replies, it.chain.step())
    assert {"message_received resync": 1} == it.metrics.counts


async def test_a_resync_of_a_key_that_the_client_does_not_receive_fails(autojump_clock: MockClock) -> None:
    it = Executing("orders")
    refused = await it.take(type="resync", app="billing")

    # Whether such a key exists, and who may have it, isn't said.
    assert ("SUBSCRIPTION_FAILED", "there is no such subscription") == (refused["code"], refused["message"])
    assert (KEY,) == it.chain.keys


async def test_a_resync_without_the_right_is_forbidden(autojump_clock: MockClock) -> None:
    it = Executing()
    it.gate.replace(AuthSettings(), authority("billing"))
    it.admission.renew()
    refused = await it.take(type="resync", last_version="1")

    text = "the token doesn't allow this: it needs the right subscribe for this key"
    assert ("FORBIDDEN", text) == (refused["code"], refused["message"])
    assert CatchUp(KEY, None) == it.chain.step()


@pytest.mark.parametrize("status", ["applied", "rejected"])
async def test_an_ack_is_recorded_and_not_answered(autojump_clock: MockClock, status: str) -> None:
    it = Executing(rights=BOTH)
    it.fleet.join(it.instance, 0.0)
    await it.commands.take(json.dumps({"type": "ack", "version": "1", "status": status}))

    assert [] == it.replies
    assert {"message_received ack": 1, f"acknowledged {status}": 1} == it.metrics.counts


async def test_an_ack_without_the_right_to_report_is_forbidden_and_not_recorded(autojump_clock: MockClock) -> None:
    it = Executing()
    refused = await it.take(type="ack", version="1", status="applied")

    text = "the token doesn't allow this: it needs the right report for this key"
    assert ("FORBIDDEN", text) == (refused["code"], refused["message"])
    assert 0 == it.metrics.counts["acknowledged applied"]


async def test_an_ack_of_a_key_that_the_client_does_not_receive_fails_and_is_no_error(
    autojump_clock: MockClock,
) -> None:
    """The key may have been removed while the ack was in transit."""
    it = Executing(rights=BOTH, errors_per_minute=1)
    for _ in range(5):
        refused = await it.take(type="ack", app="billing", version="1", status="applied")
        assert ("SUBSCRIPTION_FAILED", "there is no such subscription") == (refused["code"], refused["message"])

    assert 0 == it.metrics.counts["acknowledged applied"]


# Rights that are revoked.


async def test_revoked_patterns_end_and_the_client_is_sent_their_end_first(autojump_clock: MockClock) -> None:
    it = Executing()
    await it.subscribe("billing", "search")
    it.limit_rights("orders", "search")

    (ended,) = it.first()
    assert ("unsubscribed", ["billing:*:*"]) == (ended["type"], ended["patterns"])
    assert (patterns("search"), [SEARCH], 1) == (it.session.patterns, it.subscribed(), len(it.quota))
    assert [BILLING] == it.forgotten


async def test_rights_that_stay_end_nothing_and_send_nothing(autojump_clock: MockClock) -> None:
    it = Executing()
    await it.subscribe("billing")
    it.limit_rights("orders", "billing")

    assert ([], patterns("billing"), []) == (it.first(), it.session.patterns, it.forgotten)


async def test_a_pattern_that_is_revoked_while_it_is_subscribed_is_not_confirmed(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    it = Executing()
    it.line.entrance = trio.Event()
    nursery.start_soon(it.subscribe, "billing", "search")
    await wait_all_tasks_blocked()
    it.limit_rights("orders", "search")
    it.line.entrance.set()
    await wait_all_tasks_blocked()

    assert [["search:*:*"]] == [each["patterns"] for each in it.said]
    assert ([SEARCH], [SEARCH], 1) == (it.subscribed(), it.behind(), len(it.quota))


async def test_a_pattern_that_is_revoked_while_it_is_refused_is_given_back_once(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    it = Executing()
    await it.subscribe("stock")
    it.line.entrance, it.line.refusal = trio.Event(), RemoteError("too many keys")
    nursery.start_soon(it.subscribe, "billing", "search")
    await wait_all_tasks_blocked()
    it.limit_rights("orders", "search", "stock")
    it.line.entrance.set()
    await wait_all_tasks_blocked()

    assert ["subscribed", "error"] == [each["type"] for each in it.said]
    assert (patterns("stock"), 1) == (it.session.patterns, len(it.quota))
    it.line.refusal = None
    it.limit_rights("*")
    await it.subscribe("billing", "search")
    assert 3 == len(it.quota)


async def test_a_key_whose_pattern_is_revoked_during_the_subscription_does_not_begin(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """The client keeps its right to the key, but no pattern in force matches the key."""
    it = Executing()
    it.line.entrance = trio.Event()
    nursery.start_soon(it.subscribe, "s*", "billing")
    await wait_all_tasks_blocked()
    it.limit_rights("orders", "search", "billing")
    it.line.entrance.set()
    await wait_all_tasks_blocked()

    assert [["billing:*:*"]] == [each["patterns"] for each in it.said]
    assert [BILLING] == it.subscribed() == it.behind()
    assert "SUBSCRIPTION_FAILED" == (await it.take(type="resync", app="search"))["code"]


async def test_a_key_whose_pattern_is_revoked_while_the_confirmation_waits_does_not_begin(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    it = Executing()
    it.room = trio.Event()
    nursery.start_soon(it.commands.take, '{"type": "subscribe", "patterns": ["s*", "billing"]}')
    await wait_all_tasks_blocked()
    it.limit_rights("orders", "search", "billing")
    it.room.set()
    await wait_all_tasks_blocked()

    assert [BILLING] == it.subscribed() == it.behind()
    # The confirmation was waiting when the pattern ended. So the end is said again after it.
    assert [("subscribed", ["s*:*:*", "billing:*:*"]), ("unsubscribed", ["s*:*:*"])] == [
        (each["type"], each["patterns"]) for each in it.said
    ]


class BetweenRounds(trio.abc.Instrument):
    """Calls an action after a round of the loop in which a condition has become true, once."""

    def __init__(self, is_time: Callable[[], bool], action: Callable[[], None]) -> None:
        self._is_time = is_time
        self._action = action
        self.is_done = False

    def before_io_wait(self, timeout: float) -> None:
        if not self.is_done and self._is_time():
            self.is_done = True
            self._action()


async def test_keys_that_have_not_begun_when_their_pattern_is_revoked_do_not_begin(autojump_clock: MockClock) -> None:
    it = Executing()
    it.publish_apps(2 * _KEYS_AT_ONCE)
    revocation = BetweenRounds(
        lambda: len(it.behind()) == _KEYS_AT_ONCE, lambda: it.limit_rights("orders", "app000", "app255")
    )
    trio.lowlevel.add_instrument(revocation)
    await it.subscribe("app*", "app000")

    assert (256, True) == (2 * _KEYS_AT_ONCE, revocation.is_done)
    assert [Key("app000", "dev", "main")] == it.behind()
    assert patterns("app000") == it.session.patterns
