"""The chain: for any deliveries, drops, resumes, resyncs and revoked rights, the frames of each key build on each other."""

from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.examples import examples
from vortexd.core.candidate import candidate_of
from vortexd.core.model import Key
from vortexd.pipeline.broadcast import Delivery
from vortexd.pipeline.encoder import Payload
from vortexd.protocol.close import CloseReason
from vortexd.realtime.chain import (
    CatchUp,
    Chain,
    Lagged,
    QuietChain,
    Reply,
    SharedVersion,
    can_begin,
    follows,
    is_complete,
)
from vortexd.realtime.versions import Versions

MAIN = Key("orders", "dev", "main")
BILLING, SEARCH = Key("billing", "dev", "main"), Key("search", "dev", "main")
OTHERS = [BILLING, SEARCH]
KEYS = [MAIN, *OTHERS]


def delivery(key: Key, old: str | None, new: str | None, size: int = 10) -> Delivery:
    return Delivery(key, old, new, Payload(b"x" * size))


def everything(_: Key) -> bool:
    return True


class Made:
    """A chain, and what it called."""

    def __init__(
        self,
        version: str | None = None,
        may: Callable[[Key], bool] = everything,
        queue_messages: int = 3,
        queue_bytes: int = 100,
    ) -> None:
        self.forgotten: list[Key] = []
        self.woken = 0
        self.chain = Chain(MAIN, version, may, self.forgotten.append, self._wake, queue_messages, queue_bytes)

    def _wake(self) -> None:
        self.woken += 1


def current(**more: object) -> Made:
    """A chain whose client has "1" of the main key, which is the newest."""
    made = Made(**more)  # type: ignore[arg-type]  # each has a type of its own
    assert made.chain.caught_up(made.chain.catch_up(MAIN), delivery(MAIN, None, "1"), "1")
    return made


# Any order of everything.


class ChainMachine(RuleBasedStateMachine):
    """A chain between a store and a client; the client checks each frame that it is handed."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.histories: dict[Key, list[str]] = {key: [] for key in KEYS}
        self.newest: dict[Key, str | None] = dict.fromkeys(KEYS)
        self.allowed = dict.fromkeys(KEYS, True)
        # Whom the broadcaster would deliver to, and what the client has, or says that it has.
        self.subscribed = {MAIN}
        self.has: dict[Key, str | None] = {}
        self.question: tuple[CatchUp, Delivery] | None = None
        self.replies: list[int] = []
        self.quiet: QuietChain | None = None
        self.missed: list[Key] = []
        # Those that have ended since the client was sent anything of them: they may come back as they were.
        self.ended: set[Key] = set()
        self.chain = self.make(None)

    def make(self, version: str | None) -> Chain:
        return Chain(MAIN, version, self.allowed.__getitem__, self.forgotten, lambda: None, 3, 50)

    def forgotten(self, key: Key) -> None:
        assert key != MAIN

    @initialize(exists=st.booleans(), version=st.sampled_from([None, "unknown", "newest"]))
    def connect(self, exists: bool, version: str | None) -> None:
        if exists:
            self.newest[MAIN] = self.version(MAIN)
        if version == "newest":
            version = self.newest[MAIN]
        self.has[MAIN] = version
        self.chain = self.make(version)

    def version(self, key: Key) -> str:
        self.count += 1
        self.histories[key].append(str(self.count))
        return str(self.count)

    # The store.

    @rule(
        key=st.sampled_from(KEYS),
        kind=st.sampled_from(["change", "change", "change", "snapshot", "end", "back"]),
        size=st.sampled_from([1, 20, 60]),
    )
    def publish(self, key: Key, kind: str, size: int) -> None:
        old = self.newest[key]
        if kind == "end":
            new = None
            if old is None:
                return
            self.ended.add(key)
        elif kind == "back" and self.histories[key]:
            new = self.histories[key][0]
            if new == old:
                return
        else:
            new = self.version(key)
        self.newest[key] = new
        if key in self.subscribed:
            self.offer(Delivery(key, None if kind == "snapshot" else old, new, Payload(b"x" * size)))

    def offer(self, offered: Delivery) -> None:
        if self.quiet is None:
            self.chain.offer(offered)
        elif self.quiet.accepts(offered, is_allowed=self.allowed[offered.key]):
            self.receive(offered)
            self.quiet.extend(offered)
        else:
            self.missed.append(offered.key)
            self.wake()

    def answer(self, key: Key, base: str | None) -> Delivery:
        newest = self.newest[key]
        if newest is None or base in (newest, *self.histories[key]):
            return delivery(key, base, newest)
        return delivery(key, None, newest)

    @rule(key=st.sampled_from(KEYS), is_allowed=st.booleans())
    def judge(self, key: Key, is_allowed: bool) -> None:
        self.allowed[key] = is_allowed

    # The client.

    @precondition(lambda self: self.quiet is None)
    @rule(key=st.sampled_from(OTHERS))
    def register(self, key: Key) -> None:
        self.subscribed.add(key)

    @precondition(lambda self: self.quiet is None)
    @rule(key=st.sampled_from(OTHERS))
    def begin(self, key: Key) -> None:
        if key in self.subscribed:
            self.chain.begin(key)

    @precondition(lambda self: self.quiet is None)
    @rule(key=st.sampled_from(OTHERS))
    def unsubscribe(self, key: Key) -> None:
        self.subscribed.discard(key)
        self.has.pop(key, None)
        self.chain.forget([key])

    @precondition(lambda self: self.quiet is None)
    @rule(key=st.sampled_from(KEYS), back=st.integers(0, 5), in_full=st.booleans())
    def resync(self, key: Key, back: int, in_full: bool) -> None:
        if key in self.chain.versions:
            says = [*self.histories[key], None, "unknown"]
            version = says[-back % len(says)]
            self.has[key] = version
            self.chain.resync(key, version, in_full=in_full)

    @precondition(lambda self: self.quiet is None)
    @rule(is_ping=st.booleans())
    def reply(self, is_ping: bool) -> None:
        self.count += 1
        if self.chain.reply(Reply(str(self.count).encode(), is_ping)) and not is_ping:
            self.replies.append(self.count)

    # The writer.

    @precondition(lambda self: self.quiet is None and self.chain.is_idle)
    @rule()
    def wait(self) -> None:
        self.chain.is_awaited = True

    @precondition(lambda self: self.quiet is None)
    @rule()
    def write(self) -> None:
        """One step; a catch-up frame takes another one until it is there."""
        self.chain.is_awaited = False
        if self.question is not None:
            asked, answer = self.question
            self.question = None
            if self.chain.caught_up(asked, answer, self.newest[asked.key]):
                self.receive(answer)
            return
        match self.chain.step():
            case CatchUp() as asked:
                base = asked.base(self.newest.__getitem__)
                self.question = asked, self.answer(asked.key, base)
            case Reply() as reply:
                self.hear(reply)
            case Lagged(dropped):
                assert dropped > 0
            case None:
                match self.chain.take():
                    case Reply() as reply:
                        self.hear(reply)
                    case Delivery() as taken:
                        self.receive(taken)
                        assert taken.old_version is None or taken.old_version != taken.new_version

    def hear(self, reply: Reply) -> None:
        if not reply.is_ping:
            assert self.replies.pop(0) == int(reply.data)

    def receive(self, frame: Delivery) -> None:
        key = frame.key
        had = self.has.get(key)
        assert self.allowed[key]
        assert key in self.subscribed
        if frame.old_version is not None:
            assert frame.old_version == had
        elif frame.new_version is not None and key not in self.ended:
            assert frame.new_version != had
        self.ended.discard(key)
        self.has[key] = frame.new_version

    # The parking lot.

    @precondition(lambda self: self.quiet is None and self.question is None and self.chain.is_quiet)
    @rule()
    def park(self) -> None:
        versions = dict(self.chain.versions)
        assert versions == {key: self.has[key] for key in versions}
        if versions.keys() == {MAIN} == self.subscribed:
            self.quiet = QuietChain(MAIN, versions[MAIN])
        else:
            self.quiet = QuietChain(MAIN, Versions(versions))
        self.chain = self.make("not used")

    @precondition(lambda self: self.quiet is not None)
    @rule()
    def wake(self) -> None:
        assert self.quiet is not None
        self.chain = self.make("not used")
        self.chain.resume(self.quiet, self.missed, self.newest.__getitem__)
        self.quiet, self.missed = None, []

    def teardown(self) -> None:
        """In the end nobody has missed anything: each change brings the client what is the newest."""
        if self.quiet is not None:
            self.wake()
        self.drain()
        self.allowed = dict.fromkeys(KEYS, True)
        self.chain._may = everything
        for key in KEYS:
            self.publish(key, "change", 1)
        self.drain()
        assert self.chain.is_quiet
        assert [] == self.replies
        for key in self.subscribed:
            assert self.newest[key] == self.has[key] == self.chain.versions[key]

    def drain(self) -> None:
        for _ in range(1_000):
            if self.question is None and self.chain.is_idle:
                return
            self.write()
        raise AssertionError("the chain never becomes idle")


TestChain = ChainMachine.TestCase
TestChain.settings = settings(max_examples=examples(400), stateful_step_count=40, deadline=None)


# The rule.


@pytest.mark.parametrize(
    ("old", "has", "fits"),
    [(None, None, True), (None, "1", True), ("1", "1", True), ("1", "2", False), ("1", None, False)],
)
def test_a_frame_follows_the_version_that_it_builds_on(old: str | None, has: str | None, fits: bool) -> None:
    assert fits is follows(delivery(MAIN, old, "3"), has)


def test_a_quiet_chain_begins_with_a_state_that_the_client_may_have() -> None:
    assert can_begin(delivery(MAIN, None, "1"), is_allowed=True)
    assert not can_begin(delivery(MAIN, None, "1"), is_allowed=False)
    assert not can_begin(delivery(MAIN, "1", None), is_allowed=True)


def test_a_catch_up_frame_is_complete_where_it_leads_to_the_newest() -> None:
    assert is_complete(delivery(MAIN, None, "1"), "1")
    assert is_complete(delivery(MAIN, "1", None), None)
    assert not is_complete(delivery(MAIN, None, "1"), "2")


@pytest.mark.parametrize(
    ("asked", "newest", "base"),
    [
        (CatchUp(MAIN, "1"), "2", "1"),
        (CatchUp(MAIN, None), "2", None),
        (CatchUp(MAIN, "1", in_full=True), "2", None),
        (CatchUp(MAIN, "2", in_full=True), "2", "2"),
        (CatchUp(MAIN, "1", in_full=True), None, "1"),
    ],
)
def test_who_wants_the_document_in_full_gets_it_unless_it_is_the_newest_or_has_ended(
    asked: CatchUp, newest: str | None, base: str | None
) -> None:
    assert base == asked.base(lambda _: newest)


# The queue.


def test_the_first_step_is_to_catch_up_from_what_the_client_says() -> None:
    made = Made("7")

    assert CatchUp(MAIN, "7") == made.chain.step() == made.chain.step()
    assert made.chain.is_behind(MAIN)
    assert not made.chain.is_quiet


def test_what_is_offered_while_a_key_is_behind_is_for_the_catch_up_frame_to_bring() -> None:
    made = Made()

    assert made.chain.offer(delivery(MAIN, None, "1"))
    assert made.chain.take() is None


def test_a_catch_up_frame_that_is_old_by_now_is_written_and_the_key_stays_behind() -> None:
    made = Made()

    assert made.chain.caught_up(CatchUp(MAIN, None), delivery(MAIN, None, "1"), "2")
    assert CatchUp(MAIN, "1") == made.chain.step()


def test_an_answer_to_a_question_that_is_no_longer_asked_is_not_written() -> None:
    made = current()
    asked = made.chain.catch_up(MAIN)
    made.chain.resync(MAIN, "1", in_full=True)

    assert not made.chain.caught_up(asked, delivery(MAIN, "1", "1"), "1")
    assert CatchUp(MAIN, "1", in_full=True) == made.chain.step()


def test_the_queue_takes_as_many_messages_as_it_may_and_no_more() -> None:
    made = current(queue_messages=2)

    assert made.chain.offer(delivery(MAIN, "1", "2"))
    assert made.chain.reply(Reply(b"x"))
    assert not made.chain.reply(Reply(b"y"))
    assert not made.chain.offer(delivery(MAIN, "2", "3"))
    assert [Reply, Lagged, CatchUp, type(None)] == [type(made.chain.step()) for _ in range(3)] + [
        type(made.chain.take())
    ]


def test_a_full_queue_counts_what_it_drops_once() -> None:
    made = current(queue_messages=2)
    for old in (1, 2, 3):
        made.chain.offer(delivery(MAIN, str(old), str(old + 1)))

    assert Lagged(3) == made.chain.step()
    assert CatchUp(MAIN, "1") == made.chain.step()


def test_the_queue_is_bounded_in_bytes_to_the_byte() -> None:
    made = current(queue_bytes=20)

    assert made.chain.offer(delivery(MAIN, "1", "2", 10))
    assert made.chain.offer(delivery(MAIN, "2", "3", 10))
    assert not made.chain.offer(delivery(MAIN, "3", "4", 1))


def test_one_delivery_may_wait_however_large_and_room_comes_back() -> None:
    made = current(queue_bytes=20)
    for number in range(1, 5):
        assert made.chain.offer(delivery(MAIN, str(number), str(number + 1), 1_000))
        assert made.chain.take() is not None


def test_room_comes_back_when_the_queue_is_dropped() -> None:
    made = current(queue_bytes=20)
    made.chain.offer(delivery(MAIN, "1", "2", 20))
    assert not made.chain.offer(delivery(MAIN, "2", "3", 1))
    assert made.chain.caught_up(made.chain.catch_up(MAIN), delivery(MAIN, "1", "3"), "3")

    assert made.chain.offer(delivery(MAIN, "3", "4", 10))
    assert made.chain.offer(delivery(MAIN, "4", "5", 10))
    assert not made.chain.offer(delivery(MAIN, "5", "6", 1))


def test_a_dropped_queue_leaves_replies_and_takes_heartbeats_along() -> None:
    made = current()
    replies = [Reply(b"a"), Reply(b"ping", is_ping=True), Reply(b"b", ends=CloseReason.CLIENT)]
    for each in replies:
        assert made.chain.reply(each)
    made.chain.resync(MAIN, "1", in_full=False)

    assert [replies[0], replies[2]] == [made.chain.step(), made.chain.step()]
    assert CatchUp(MAIN, "1") == made.chain.step()
    assert made.chain.take() is None


def test_a_dropped_queue_is_caught_up_for_every_key_in_it() -> None:
    made = current()
    made.chain.offer(delivery(BILLING, None, "b"))
    made.chain.offer(delivery(MAIN, "0", "3"))

    assert {MAIN: "1", BILLING: None} == made.chain.versions
    assert made.chain.is_behind(MAIN)
    assert made.chain.is_behind(BILLING)
    assert isinstance(made.chain.step(), CatchUp)


def test_a_gap_is_no_lag() -> None:
    made = current()

    assert made.chain.offer(delivery(MAIN, "0", "3"))
    assert CatchUp(MAIN, "1") == made.chain.step()


# A writer that waits.


def test_what_comes_while_the_writer_waits_is_handed_over_and_is_not_dropped() -> None:
    made = current(queue_messages=1)
    made.chain.is_awaited = True
    handed = delivery(MAIN, "1", "2")
    assert [True, True, False] == [
        made.chain.offer(each) for each in (handed, delivery(MAIN, "2", "3"), delivery(MAIN, "3", "4"))
    ]

    assert 1 == made.woken
    assert (None, handed) == (made.chain.step(), made.chain.take())
    assert [Lagged(2), CatchUp(MAIN, "2")] == [made.chain.step(), made.chain.step()]


def test_what_was_handed_over_is_skipped_where_a_resync_came_in_between() -> None:
    made = current()
    made.chain.is_awaited = True
    made.chain.offer(delivery(MAIN, "1", "2"))
    made.chain.resync(MAIN, None, in_full=True)

    assert (None, None) == (made.chain.step(), made.chain.take())
    assert not made.chain.is_idle
    assert CatchUp(MAIN, None, in_full=True) == made.chain.step()


def test_a_writer_is_woken_once_and_only_while_it_waits() -> None:
    made = current()
    made.chain.wake()
    made.chain.reply(Reply(b"x"))
    assert 0 == made.woken
    made.chain.take()
    made.chain.is_awaited = True
    made.chain.reply_first(Reply(b"y"))
    made.chain.reply_first(Reply(b"z"))

    assert (1, False) == (made.woken, made.chain.is_awaited)
    assert [Reply, Reply] == [type(made.chain.step()) for _ in range(2)]
    assert made.chain.is_idle


@pytest.mark.parametrize(
    "come",
    [
        lambda chain: chain.offer(delivery(MAIN, "0", "2")),
        lambda chain: chain.resync(MAIN, None, in_full=False),
        lambda chain: chain.reply(Reply(b"x")),
        lambda chain: chain.offer(delivery(MAIN, "1", "2")),
    ],
    ids=["gap", "resync", "reply", "delivery"],
)
def test_whatever_is_to_be_written_wakes_the_writer(come: Callable[[Chain], object]) -> None:
    made = current()
    made.chain.is_awaited = True
    come(made.chain)

    assert 1 == made.woken
    assert not made.chain.is_idle


# Rights.


def test_what_the_client_may_not_have_is_neither_queued_nor_begun() -> None:
    made = current(may=lambda key: key == MAIN)
    made.chain.offer(delivery(BILLING, None, "b"))
    made.chain.begin(BILLING)

    assert made.chain.is_quiet
    assert {MAIN: "1"} == made.chain.versions


def test_what_was_queued_before_the_right_was_revoked_is_not_handed_out_and_the_chain_goes_on_when_it_is_back() -> None:
    allowed = {MAIN: True, BILLING: True}
    made = current(may=allowed.__getitem__)
    made.chain.offer(delivery(MAIN, "1", "2"))
    made.chain.offer(delivery(BILLING, None, "b"))
    allowed[MAIN] = False

    assert made.chain.take() is None
    assert CatchUp(MAIN, "1") == made.chain.step()
    assert not made.chain.caught_up(CatchUp(MAIN, "1"), delivery(MAIN, "1", "2"), "2")
    assert CatchUp(BILLING, None) == made.chain.step()
    assert made.chain.caught_up(CatchUp(BILLING, None), delivery(BILLING, None, "b"), "b")
    allowed[MAIN] = True
    made.chain.offer(delivery(MAIN, "2", "3"))
    assert CatchUp(MAIN, "1") == made.chain.step()


def test_a_key_that_the_client_has_nothing_of_and_may_not_have_is_forgotten() -> None:
    allowed = {MAIN: True, BILLING: True}
    made = current(may=allowed.__getitem__)
    made.chain.begin(BILLING)
    allowed[BILLING] = False

    assert not made.chain.caught_up(CatchUp(BILLING, None), delivery(BILLING, None, "b"), "b")
    assert [BILLING] == made.forgotten
    assert made.chain.is_quiet


# Keys that begin and end.


def test_a_key_that_was_delivered_already_is_not_begun_again() -> None:
    made = current()
    made.chain.offer(delivery(BILLING, None, "b"))
    made.chain.begin(BILLING)

    assert made.chain.step() is None
    assert "b" == getattr(made.chain.take(), "new_version", None)
    assert made.chain.is_quiet


def test_a_key_that_ends_is_forgotten_once_that_is_written() -> None:
    made = current()
    made.chain.offer(delivery(BILLING, None, "b"))
    made.chain.offer(delivery(BILLING, "b", None))

    assert 2 == sum(made.chain.take() is not None for _ in range(3))
    assert [BILLING] == made.forgotten
    assert {MAIN: "1"} == made.chain.versions


def test_a_key_that_ends_and_begins_again_behind_that_is_not_forgotten() -> None:
    made = current()
    for old, new in ((None, "b"), ("b", None), (None, "c")):
        made.chain.offer(delivery(BILLING, old, new))

    assert 3 == sum(made.chain.take() is not None for _ in range(4))
    assert [] == made.forgotten
    assert {MAIN: "1", BILLING: "c"} == made.chain.versions


def test_the_main_key_is_never_forgotten() -> None:
    made = current()
    made.chain.offer(delivery(MAIN, "1", None))
    assert made.chain.take() is not None
    assert {MAIN: None} == made.chain.versions
    assert not made.chain.is_quiet
    assert made.chain.is_idle
    made.chain.resync(MAIN, None, in_full=False)

    assert made.chain.caught_up(CatchUp(MAIN, None), delivery(MAIN, None, None), None)
    assert [] == made.forgotten


@pytest.mark.parametrize("in_full", [False, True])
def test_a_key_that_ends_before_the_client_knows_of_it_is_not_told_unless_asked_for(in_full: bool) -> None:
    made = current()
    made.chain.begin(BILLING)
    if in_full:
        made.chain.resync(BILLING, None, in_full=True)
    asked = made.chain.catch_up(BILLING)

    assert in_full is made.chain.caught_up(asked, delivery(BILLING, None, None), None)
    assert [BILLING] == made.forgotten
    assert made.chain.is_quiet


def test_what_is_forgotten_is_not_handed_out() -> None:
    made = current()
    made.chain.offer(delivery(BILLING, None, "b"))
    made.chain.forget([BILLING])

    assert made.chain.take() is None
    assert [BILLING] == made.forgotten
    assert {MAIN: "1"} == made.chain.versions


def test_what_is_forgotten_does_not_come_back_when_the_queue_is_dropped() -> None:
    made = current(queue_messages=2)
    made.chain.offer(delivery(BILLING, None, "b"))
    made.chain.offer(delivery(MAIN, "1", "2"))
    made.chain.forget([BILLING])
    # There is room for it again.
    made.chain.offer(delivery(MAIN, "2", "3"))
    made.chain.offer(delivery(MAIN, "3", "4"))

    assert Lagged(3) == made.chain.step()
    assert {MAIN: "1"} == made.chain.versions


def test_an_answer_for_a_forgotten_key_is_not_written() -> None:
    made = current()
    made.chain.begin(BILLING)
    made.chain.forget([BILLING])

    assert not made.chain.caught_up(CatchUp(BILLING, None), delivery(BILLING, None, "b"), "b")


# Resyncs.


def test_the_last_resync_says_whether_the_document_is_wanted_in_full() -> None:
    made = current()
    made.chain.resync(MAIN, "0", in_full=True)
    made.chain.resync(MAIN, "0", in_full=False)
    assert CatchUp(MAIN, "0") == made.chain.step()
    made.chain.resync(MAIN, "0", in_full=True)
    assert CatchUp(MAIN, "0", in_full=True) == made.chain.step()
    assert made.chain.caught_up(CatchUp(MAIN, "0", in_full=True), delivery(MAIN, None, "1"), "1")
    made.chain.offer(delivery(MAIN, "0", "2"))

    assert CatchUp(MAIN, "1") == made.chain.step()


def test_a_second_resync_drops_no_more_replies_into_what_is_kept() -> None:
    made = current()
    made.chain.resync(MAIN, "1", in_full=False)
    made.chain.reply(Reply(b"x"))
    made.chain.resync(MAIN, "1", in_full=False)

    assert CatchUp(MAIN, "1") == made.chain.step()
    assert Reply is type(made.chain.take())


# The compact form.


def test_a_quiet_chain_accepts_what_builds_on_its_version() -> None:
    quiet = QuietChain(MAIN, "1")
    assert quiet.accepts(delivery(MAIN, "1", "2"), is_allowed=True)
    assert quiet.accepts(delivery(MAIN, None, "2"), is_allowed=True)
    assert not quiet.accepts(delivery(MAIN, "1", "2"), is_allowed=False)
    assert not quiet.accepts(delivery(MAIN, "0", "2"), is_allowed=True)
    assert not quiet.accepts(delivery(MAIN, "1", None), is_allowed=True)
    quiet.extend(delivery(MAIN, "1", "2"))

    assert ("2", {MAIN: "2"}) == (quiet.version, quiet.versions)


def test_quiet_chains_may_share_a_version_until_one_keeps_its_own() -> None:
    one, other, shared = QuietChain(MAIN, "1"), QuietChain(MAIN, "1"), SharedVersion("1")
    assert (None, ()) == (one.shared, shared.waiting)
    for each in (one, other):
        each.share(shared)
    shared.version = "2"
    assert ("2", {MAIN: "2"}, "2", shared) == (one.version, one.versions, one.had(MAIN), one.shared)
    assert one.accepts(delivery(MAIN, "2", "3"), is_allowed=True)
    assert one.accepts_all([delivery(MAIN, "2", "3"), delivery(MAIN, "3", "4")], everything)
    assert not one.accepts(delivery(MAIN, "1", "3"), is_allowed=True)
    one.keep_version()
    shared.version = None

    assert ("2", None, None) == (one.version, one.shared, other.version)


def test_a_quiet_chain_of_several_keys_follows_each() -> None:
    quiet = QuietChain(MAIN, Versions({MAIN: "1", BILLING: "b"}))
    run = [
        delivery(BILLING, "b", "c"),
        delivery(MAIN, "1", "2"),
        delivery(BILLING, "c", "d"),
        delivery(SEARCH, None, "s"),
    ]
    assert quiet.accepts_all(run, everything)
    assert {MAIN: "1", BILLING: "b"} == quiet.versions
    for each in run:
        quiet.extend(each)

    assert {MAIN: "2", BILLING: "d", SEARCH: "s"} == quiet.versions
    assert ("2", "d", None) == (quiet.version, quiet.had(BILLING), quiet.had(Key("other", "dev", "main")))


@pytest.mark.parametrize(
    "run",
    [
        [delivery(BILLING, "b", "c"), delivery(BILLING, "b", "d")],
        [delivery(BILLING, "b", "c"), delivery(BILLING, "c", None)],
        [delivery(BILLING, "b", "c"), delivery(SEARCH, None, "s")],
        [delivery(MAIN, "0", "2")],
    ],
    ids=["a gap", "an end", "no right", "another version"],
)
def test_a_quiet_chain_accepts_all_or_nothing(run: list[Delivery]) -> None:
    quiet = QuietChain(MAIN, Versions({MAIN: "1", BILLING: "b"}))

    assert not quiet.accepts_all(run, lambda key: key != SEARCH)


def test_a_chain_goes_on_from_the_compact_form_where_that_is_the_newest() -> None:
    made = Made("other")
    made.chain.resume(QuietChain(MAIN, "1"), (), {MAIN: "1"}.__getitem__)
    assert made.chain.is_quiet

    assert made.chain.offer(delivery(MAIN, "1", "2"))
    assert made.chain.take() is not None


def test_a_chain_that_missed_something_catches_up_and_looks_at_no_other_key() -> None:
    made = Made("other")
    looks: list[Key] = []

    def newest(key: Key) -> str:
        looks.append(key)
        return "2"

    made.chain.resume(QuietChain(MAIN, Versions({MAIN: "1", BILLING: "b", SEARCH: "2"})), [SEARCH], newest)

    assert {MAIN, SEARCH} == set(looks)
    assert CatchUp(MAIN, "1") == made.chain.step()
    assert not made.chain.is_behind(BILLING)
    assert not made.chain.is_behind(SEARCH)


def test_a_key_that_began_on_the_way_out_of_the_lot_is_brought_if_the_client_may_have_it() -> None:
    made = Made("other", may=lambda key: key != SEARCH)
    made.chain.resume(QuietChain(MAIN, Versions({MAIN: "1"})), [BILLING, SEARCH], lambda _: "1")

    assert {MAIN: "1", BILLING: None} == made.chain.versions
    assert CatchUp(BILLING, None) == made.chain.step()


def test_an_old_delivery_does_not_follow_when_its_key_is_subscribed_to_again() -> None:
    made = current()
    made.chain.offer(delivery(BILLING, None, "old"))
    made.chain.forget([BILLING])
    made.chain.begin(BILLING)
    asked = made.chain.step()
    assert isinstance(asked, CatchUp)
    assert made.chain.caught_up(asked, delivery(BILLING, None, "new"), "new")

    assert None is made.chain.step() is made.chain.take()
    assert "new" == made.chain.versions[BILLING]


def test_what_was_handed_to_the_writer_is_forgotten_too() -> None:
    made = current()
    made.chain.is_awaited = True
    made.chain.offer(delivery(BILLING, None, "old"))
    made.chain.forget([BILLING])
    made.chain.begin(BILLING)

    assert None is made.chain.take()
    assert isinstance(made.chain.step(), CatchUp)


def test_the_bytes_of_what_is_forgotten_make_room() -> None:
    made = current(queue_bytes=30)
    made.chain.offer(delivery(BILLING, None, "b"))
    made.chain.forget([BILLING])
    for number in range(1, 4):
        assert made.chain.offer(delivery(MAIN, str(number), str(number + 1)))


# Broadcasts that take several steps, and catch-up frames that are made at once.


def test_a_delivery_of_the_state_that_the_client_has_changes_nothing() -> None:
    """The client has caught up between the commit and its broadcast."""
    made = current()
    made.chain.is_awaited = False
    assert made.chain.offer(delivery(MAIN, "0", "1"))

    assert made.chain.is_idle
    assert {MAIN: "1"} == made.chain.versions
    # The queue stays, too, and so does what it leads to.
    assert made.chain.offer(delivery(MAIN, "1", "2"))
    assert made.chain.offer(delivery(MAIN, "x", "2"))
    taken = made.chain.take()
    assert isinstance(taken, Delivery)
    assert "2" == taken.new_version
    assert made.chain.is_idle


@pytest.mark.parametrize(("old", "new"), [("0", "2"), ("0", None)])
def test_a_delivery_of_another_state_that_does_not_follow_makes_its_key_behind(old: str, new: str | None) -> None:
    made = current()
    assert made.chain.offer(delivery(MAIN, old, new))

    assert made.chain.is_behind(MAIN)


def test_the_removal_of_a_key_that_the_client_does_not_have_makes_it_behind() -> None:
    made = current()
    assert made.chain.offer(delivery(BILLING, "0", None))

    assert made.chain.is_behind(BILLING)


def test_the_next_catch_up_comes_after_all_other_steps() -> None:
    made = current()
    assert made.chain.next_catch_up() is None
    made.chain.begin(BILLING)
    made.chain.begin(SEARCH)
    assert CatchUp(BILLING, None) == made.chain.next_catch_up() == made.chain.next_catch_up() == made.chain.step()
    made.chain.reply_first(Reply(b"x"))
    assert made.chain.next_catch_up() is None
    assert Reply is type(made.chain.step())
    assert CatchUp(BILLING, None) == made.chain.next_catch_up()
    assert made.chain.caught_up(CatchUp(BILLING, None), delivery(BILLING, None, "7"), "7")
    assert CatchUp(SEARCH, None) == made.chain.next_catch_up()


def test_no_catch_up_comes_before_the_message_that_the_client_lags() -> None:
    made = current(queue_messages=1)
    assert made.chain.offer(delivery(MAIN, "1", "2"))
    assert not made.chain.offer(delivery(MAIN, "2", "3"))

    assert made.chain.next_catch_up() is None
    assert isinstance(made.chain.step(), Lagged)
    assert CatchUp(MAIN, "1") == made.chain.next_catch_up()


def test_no_catch_up_comes_before_the_item_that_was_handed_over() -> None:
    made = current()
    made.chain.is_awaited = True
    assert made.chain.offer(delivery(MAIN, "1", "2"))
    made.chain.begin(BILLING)

    assert made.chain.next_catch_up() is None
    assert isinstance(made.chain.take(), Delivery)
    assert CatchUp(BILLING, None) == made.chain.next_catch_up()


# Moves between the tracks of a roll-out.

CANDIDATE = candidate_of(MAIN)


def test_a_moved_chain_drops_queued_frames_and_catches_up_on_the_new_track() -> None:
    chain = current().chain
    had = chain.versions[MAIN]
    chain.offer(delivery(MAIN, had, "later"))
    chain.move(CANDIDATE, "target")

    assert CANDIDATE == chain.key
    assert {CANDIDATE} == {*chain.versions} & {MAIN, CANDIDATE}
    assert CatchUp(CANDIDATE, had) == chain.step()
    assert None is chain.take()


def test_a_moved_chain_with_the_newest_version_needs_no_frame() -> None:
    chain = current().chain
    chain.move(CANDIDATE, chain.versions[MAIN])

    assert not chain.is_behind(CANDIDATE)
    assert None is chain.step()


def test_a_resync_that_came_before_a_move_is_answered_after_it() -> None:
    chain = current().chain
    had = chain.versions[MAIN]
    chain.resync(MAIN, had, in_full=True)
    chain.move(CANDIDATE, had)

    assert CatchUp(CANDIDATE, had, in_full=True) == chain.step()


def test_a_catch_up_frame_of_the_former_track_is_not_written() -> None:
    chain = Made("1").chain
    asked = chain.catch_up(MAIN)
    chain.move(CANDIDATE, "2")

    assert not chain.caught_up(asked, delivery(MAIN, "1", "3"), "3")
    assert "1" == chain.versions[CANDIDATE]


def test_a_client_with_the_candidate_never_gets_the_plain_key_beside_it() -> None:
    chain = current().chain
    chain.move(CANDIDATE, chain.versions[MAIN])
    chain.begin(MAIN)
    chain.offer(delivery(MAIN, None, "9"))

    assert MAIN not in chain.keys
    assert None is chain.step()
    assert None is chain.take()


def test_only_frames_change_the_version_that_was_sent() -> None:
    chain = Made("claimed").chain
    assert None is chain.sent
    assert chain.caught_up(chain.catch_up(MAIN), delivery(MAIN, None, "2"), "2")
    chain.resync(MAIN, "other", in_full=False)
    assert "2" == chain.sent
    assert chain.caught_up(chain.catch_up(MAIN), delivery(MAIN, None, "2"), "2")
    chain.offer(delivery(MAIN, "2", "3"))
    assert "2" == chain.sent
    chain.take()
    assert "3" == chain.sent


@pytest.mark.parametrize(("main", "missed"), [(MAIN, CANDIDATE), (CANDIDATE, MAIN)])
def test_a_frame_that_was_missed_on_the_former_track_begins_no_chain(main: Key, missed: Key) -> None:
    chain = Chain(main, None, everything, lambda _: None, lambda: None, 3, 100)
    chain.resume(QuietChain(main, "1"), [missed], lambda _: "1")

    assert {main: "1"} == {**chain.versions}
    assert not chain.is_behind(main)
    assert "1" == chain.sent
