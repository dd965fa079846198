"""Facts about the engine on etcd that a real etcd shows seldom: pages, watches that begin anew, leases that are lost."""

from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock

from vortexd.cluster.connection import Endpoint
from vortexd.cluster.engine import Compacted, Denied, EngineAway, Event, OutcomeUnknown
from vortexd.cluster.etcd.engine import EtcdEngine
from vortexd.cluster.etcd.gateway import Gateway, Login
from vortexd.cluster.etcd.wire import TooLong

from .members import ONE, TWO, Answer, Asked, Handler, Members, answer, error, header

IDLE = 10
KEY = b64encode(b"/a/x").decode()


def kv(revision: int, key: str = "/a/x") -> dict[str, str]:
    return {
        "key": b64encode(key.encode(errors="surrogateescape")).decode(),
        "value": "dg==",
        "create_revision": "1",
        "mod_revision": str(revision),
    }


def begun(revision: int = 7, store: str = "11") -> dict[str, object]:
    return {"result": {"header": header(revision, store), "created": True}}


def events(*revisions: int) -> dict[str, object]:
    return {"result": {"header": header(), "events": [{"kv": kv(each)} for each in revisions]}}


class Play:
    def __init__(self, nursery: trio.Nursery) -> None:
        self.handler: Handler = lambda _: answer()
        self.members = Members(nursery, lambda asked: self.handler(asked))
        self.engine = EtcdEngine(Gateway([ONE, TWO], connect=self.members.connect))

    def asked(self, path: str) -> list[Asked]:
        return [each for each in self.members.asked if each.path == path]

    def starts(self) -> list[tuple[str, int]]:
        """The members that a watch began at, and its first revision."""
        return [(each.member, int(each.body["create_request"]["start_revision"])) for each in self.asked("/v3/watch")]


@pytest.fixture
async def play() -> AsyncIterator[Play]:
    async with trio.open_nursery() as nursery:
        yield Play(nursery)
        nursery.cancel_scope.cancel()


def paths(**handlers: Callable[[Asked], Answer]) -> Handler:
    """Answer each path, by its last part, with its handler."""
    return lambda asked: handlers[asked.path.rpartition("/")[2]](asked)


# Reading.


async def test_all_pages_are_read_at_the_revision_of_the_first(play: Play) -> None:
    def handle(asked: Asked) -> Answer:
        after = b64decode(asked.body["key"]).decode()
        if after == "/a/":
            return Answer(lines=({"header": header(7), "kvs": [kv(1, "/a/1"), kv(2, "/a/2")], "more": True},))
        return Answer(lines=({"header": header(9), "kvs": [kv(3, "/a/3")]},))

    play.handler = handle
    reading = await play.engine.read(prefix="/a/")
    assert [each.key for each in reading.entries] == ["/a/1", "/a/2", "/a/3"]
    assert (reading.revision, reading.store) == (7, "11")
    first, second = play.members.asked
    assert "revision" not in first.body
    assert (b64decode(second.body["key"]), second.body["revision"]) == (b"/a/2\0", "7")
    assert (first.body["limit"], second.body["limit"]) == ("8", "16")


@pytest.mark.parametrize(
    ("size", "limits"),
    [
        (0, [8, 16, 32, 48, 48]),
        (131_072, [8, 16, 32, 48, 48]),
        # 8 MiB of keys and values in one answer, or one value.
        (1_048_572, [8, 8, 8, 8, 8]),
        (1_500_000, [8, 5, 5, 5, 5]),
        (8_388_609, [8, 1, 1, 1, 1]),
    ],
)
async def test_a_page_has_as_many_entries_as_the_size_of_the_last_one_allows(
    play: Play, size: int, limits: list[int]
) -> None:
    asked: list[int] = []
    value = b64encode(bytes(size)).decode()

    def handle(request: Asked) -> Answer:
        asked.append(int(request.body["limit"]))
        entry = kv(1, f"/a/{len(asked)}") | {"value": value}
        return answer(kvs=[entry], more=len(asked) < 5)

    play.handler = handle
    assert 5 == len((await play.engine.read(prefix="/a/")).entries)
    assert asked == limits


@pytest.mark.parametrize(
    "wrong",
    [
        answer(kvs=[], more=True),
        answer(more=True),
        answer(kvs=[kv(1, "/a/2"), kv(1, "/a/1")]),
        answer(kvs=[kv(1, "/a/1"), kv(1, "/a/1")]),
        answer(kvs=[kv(1, "/b/1")]),
        answer(kvs=[kv(1, "/a0")]),
        answer(kvs=[kv(1, "/a")]),
        answer(kvs="x"),
        Answer(lines=({},)),
    ],
)
async def test_a_page_that_etcd_would_not_send_is_read_from_the_next_member(play: Play, wrong: Answer) -> None:
    play.handler = lambda asked: wrong if asked.member == "one" else answer(kvs=[kv(1, "/a/"), kv(2, "/a/\udcff")])
    assert ["/a/", "/a/\udcff"] == [each.key for each in (await play.engine.read(prefix="/a/")).entries]
    play.handler = lambda _: wrong
    with pytest.raises(EngineAway, match="^all 2 endpoints failed; http://one:2379: the answer isn't etcd's$"):
        await play.engine.read(prefix="/a/")


async def test_the_same_page_again_does_not_make_a_reading_endless(play: Play) -> None:
    play.handler = lambda _: answer(kvs=[kv(1, "/a/1")], more=True)
    with pytest.raises(EngineAway, match="the answer isn't etcd's"):
        await play.engine.read(prefix="/a/")


async def test_other_answers_that_are_not_etcds_are_asked_for_at_the_next_member(play: Play) -> None:
    entry = {"response_range": {"kvs": [kv(1)]}}
    play.handler = lambda asked: Answer(lines=({},)) if asked.member == "one" else answer(responses=[entry])
    assert ["/a/x"] == [each.key for each in (await play.engine.read(["/a/x"])).entries]


async def test_the_outcome_of_a_commit_is_unknown_if_the_answer_is_not_etcds(play: Play) -> None:
    play.handler = lambda _: Answer(lines=({},))
    with pytest.raises(OutcomeUnknown, match="^http://one:2379: the answer isn't etcd's$"):
        await play.engine.commit([])
    assert 1 == len(play.members.asked)


async def test_a_reading_whose_revision_is_compacted_between_pages_begins_anew(play: Play) -> None:
    def handle(asked: Asked) -> Answer:
        if "revision" not in asked.body:
            more = len(play.members.asked) == 1
            return Answer(lines=({"header": header(7), "kvs": [kv(1, "/a/1")], "more": more},))
        return error(11, "mvcc: required revision has been compacted")

    play.handler = handle
    reading = await play.engine.read(prefix="/a/")
    assert [each.key for each in reading.entries] == ["/a/1"]
    assert len(play.members.asked) == 3


async def test_a_former_revision_is_read_or_is_compacted(play: Play) -> None:
    play.handler = lambda _: Answer(lines=({"header": header(9), "kvs": [kv(1, "/a/1")]},))
    reading = await play.engine.read(prefix="/a/", revision=5)
    assert reading.revision == 5
    assert play.members.asked[0].body["revision"] == "5"
    play.handler = lambda _: error(11, "mvcc: required revision has been compacted")
    with pytest.raises(Compacted):
        await play.engine.read(prefix="/a/", revision=5)


# Watching.


async def test_a_watch_without_events_begins_anew_after_ten_seconds(play: Play, autojump_clock: MockClock) -> None:
    play.handler = lambda _: Answer(
        lines=(begun(), *((events(8),) if len(play.members.asked) == 3 else ())), stays=True
    )
    begin = trio.current_time()
    async with play.engine.watch("/a/", 7) as batches:
        batch = await anext(batches)
    assert [each.entry.modified for each in batch.events if each.entry] == [8]
    assert trio.current_time() - begin == 2 * IDLE
    assert play.starts() == [("one", 8)] * 3


async def test_a_watch_begins_anew_after_the_last_event_it_has_seen(play: Play) -> None:
    answers = [Answer(lines=(begun(), events(8, 9))), Answer(lines=(begun(9), events(11)), stays=True)]
    play.handler = lambda _: answers.pop(0)
    async with play.engine.watch("/a/", 7) as batches:
        seen = [(await anext(batches)).revision, (await anext(batches)).revision]
    assert seen == [9, 11]
    assert play.starts() == [("one", 8), ("one", 10)]


@pytest.mark.parametrize(
    "failure",
    [
        Answer(silent=True),
        Answer(ends=True),
        Answer(stays=True),
        Answer(lines=({"error": {"code": 14, "message": "etcdserver: no leader"}},)),
        Answer(lines=({"what": 1},)),
        Answer(lines=(events(8),), stays=True),
    ],
)
async def test_a_watch_that_does_not_begin_moves_to_the_next_member(
    play: Play, failure: Answer, autojump_clock: MockClock
) -> None:
    play.handler = lambda asked: failure if asked.member == "one" else Answer(lines=(begun(), events(8)), stays=True)
    begin = trio.current_time()
    async with play.engine.watch("/a/", 7) as batches:
        assert (await anext(batches)).revision == 8
    assert [each for each, _ in play.starts()] == ["one", "two"]
    assert trio.current_time() - begin <= 2


async def test_a_watch_whose_member_loses_the_leader_moves_on(play: Play) -> None:
    lost = {"error": {"code": 14, "message": "etcdserver: no leader"}}
    play.handler = lambda asked: (
        Answer(lines=(begun(), lost) if len(play.starts()) == 1 else (lost,))
        if asked.member == "one"
        else Answer(lines=(begun(), events(8)), stays=True)
    )
    async with play.engine.watch("/a/", 7) as batches:
        assert (await anext(batches)).revision == 8
    assert [each for each, _ in play.starts()] == ["one", "one", "two"]


async def test_a_watch_is_away_if_no_member_begins_it_and_goes_on_afterwards(play: Play) -> None:
    away = True
    play.handler = lambda _: Answer(ends=True) if away else Answer(lines=(begun(20), events(10)), stays=True)
    with pytest.raises(EngineAway):
        async with play.engine.watch("/a/", 7):
            pass
    away = False
    async with play.engine.watch("/a/", 7) as batches:
        await anext(batches)
        away = True
        play.members.refused = {"one", "two"}
        with trio.fail_after(60), pytest.raises(EngineAway):
            await _idle(batches)
        away, play.members.refused = False, set()
        await anext(batches)
    assert [start for _, start in play.starts()][-1] == 11


async def _idle(batches: AsyncIterator[object]) -> None:
    with trio.move_on_after(0.01) as scope:
        await anext(batches)
    assert scope.cancelled_caught
    await anext(batches)


async def test_a_member_that_ends_each_watch_at_once_is_not_asked_without_pause(
    play: Play, autojump_clock: MockClock
) -> None:
    play.handler = lambda _: Answer(lines=(begun(),))
    async with play.engine.watch("/a/", 7) as batches:
        with trio.move_on_after(5):
            await anext(batches)
    assert 20 <= len(play.starts()) <= 26


@pytest.mark.parametrize("line", [b"garbage\n", b""])
async def test_if_each_watch_ends_at_once_for_ten_seconds_etcd_is_away(
    play: Play, line: bytes, autojump_clock: MockClock
) -> None:
    play.handler = lambda _: Answer(lines=(begun(), line) if line else (begun(),))
    async with play.engine.watch("/a/", 7) as batches:
        for _ in range(2):
            begin = trio.current_time()
            with pytest.raises(EngineAway, match="^http://one:2379: each watch ends at once: "):
                await anext(batches)
            assert IDLE <= trio.current_time() - begin <= IDLE + 0.5


@pytest.mark.parametrize(("lasts", "is_away"), [(0.99, True), (1.0, False)])
async def test_watches_that_last_a_second_are_no_failure(
    play: Play, lasts: float, is_away: bool, autojump_clock: MockClock
) -> None:
    play.handler = lambda _: Answer(lines=(begun(), lasts))
    async with play.engine.watch("/a/", 7) as batches:
        with trio.move_on_after(30) as scope:
            with suppress(EngineAway):
                await anext(batches)
    assert scope.cancelled_caught is not is_away


async def test_watches_that_end_after_an_event_are_no_failure(play: Play, autojump_clock: MockClock) -> None:
    play.handler = lambda asked: Answer(
        lines=(begun(1_000), events(int(asked.body["create_request"]["start_revision"])))
    )
    async with play.engine.watch("/a/", 7) as batches:
        begin = trio.current_time()
        while trio.current_time() - begin < 30:
            await anext(batches)


async def test_a_watch_of_a_store_that_was_made_anew_says_so(play: Play) -> None:
    answers = [Answer(lines=(begun(store="11"),)), Answer(lines=(begun(store="12"),), stays=True)]
    play.handler = lambda _: answers.pop(0)
    async with play.engine.watch("/a/", 7) as batches:
        with pytest.raises(Compacted, match="made anew"):
            await anext(batches)


async def test_a_watch_never_goes_on_in_a_store_that_was_made_anew(play: Play) -> None:
    answers = [Answer(lines=(begun(store="11"),))]
    play.handler = lambda _: answers.pop(0) if answers else Answer(lines=(begun(store="12"), events(9)), stays=True)
    async with play.engine.watch("/a/", 7) as batches:
        for _ in range(2):
            with pytest.raises(Compacted, match="made anew"):
                await anext(batches)


async def test_a_member_that_is_behind_is_waited_for(play: Play) -> None:
    play.handler = paths(
        watch=lambda _: Answer(lines=(begun(5), events(8)), stays=True),
        range=lambda _: Answer(lines=({"header": header(7)},)),
    )
    async with play.engine.watch("/a/", 7) as batches:
        assert (await anext(batches)).revision == 8


async def test_a_store_that_is_behind_as_a_whole_was_restored(play: Play) -> None:
    play.handler = paths(
        watch=lambda _: Answer(lines=(begun(5),), stays=True), range=lambda _: Answer(lines=({"header": header(6)},))
    )
    with pytest.raises(Compacted, match="at revision 6, and was at 7"):
        async with play.engine.watch("/a/", 7):
            pass


async def test_a_watch_ends_if_its_next_event_is_too_long(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vortexd.cluster.etcd.gateway._LONGEST", 400)
    play.handler = lambda _: Answer(lines=(begun(), b"x" * 401), stays=True)
    async with play.engine.watch("/a/", 7) as batches:
        with pytest.raises(TooLong, match="longer than 400 bytes"):
            await anext(batches)
    assert play.starts() == [("one", 8)]


async def test_a_watch_without_the_right_is_denied(play: Play) -> None:
    cancelled = {
        "result": {"header": header(), "created": True, "canceled": True, "cancel_reason": "permission denied"}
    }
    play.handler = lambda _: Answer(lines=(cancelled,))
    with pytest.raises(Denied):
        async with play.engine.watch("/a/", 7):
            pass


def refused(reason: str) -> Answer:
    line = {"result": {"header": header(), "created": True, "canceled": True, "cancel_reason": reason}}
    return Answer(lines=(line,))


async def password() -> str:
    await trio.lowlevel.checkpoint()
    return "p"


# etcd 3.6 names the token. etcd 3.4 doesn't.
@pytest.mark.parametrize(
    "reason",
    [
        "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token",
        "rpc error: code = PermissionDenied desc = etcdserver: permission denied",
    ],
)
@pytest.mark.parametrize("members", [[ONE], [ONE, TWO]], ids=["one", "two"])
async def test_a_watch_whose_token_has_expired_asks_for_another(
    play: Play, reason: str, members: list[Endpoint]
) -> None:
    engine = EtcdEngine(Gateway(members, login=Login("u", password), connect=play.members.connect))
    play.handler = paths(
        authenticate=lambda _: answer(token=f"t{len(play.asked('/v3/auth/authenticate'))}"),
        watch=lambda asked: (
            refused(reason)
            if asked.headers["authorization"] == "t1"
            else Answer(lines=(begun(), events(8)), stays=True)
        ),
    )
    async with engine.watch("/a/", 7) as batches:
        assert (await anext(batches)).revision == 8
    assert play.starts() == [("one", 8), ("one", 8)]


async def test_a_watch_that_is_denied_with_a_new_token_is_denied(play: Play) -> None:
    engine = EtcdEngine(Gateway([ONE, TWO], login=Login("u", password), connect=play.members.connect))
    play.handler = paths(authenticate=lambda _: answer(token="t"), watch=lambda _: refused("permission denied"))
    with pytest.raises(Denied):
        async with engine.watch("/a/", 7):
            pass
    assert play.starts() == [("one", 8)] * 2


async def test_a_watch_that_is_denied_without_a_user_is_not_tried_again(play: Play) -> None:
    play.handler = lambda _: refused("permission denied")
    with pytest.raises(Denied):
        async with play.engine.watch("/a/", 7):
            pass
    assert play.starts() == [("one", 8)]


async def test_a_token_that_no_member_takes_is_tried_twice_at_each(play: Play) -> None:
    engine = EtcdEngine(Gateway([ONE, TWO], login=Login("u", password), connect=play.members.connect))
    play.handler = paths(authenticate=lambda _: answer(token="t"), watch=lambda _: refused("invalid auth token"))
    with pytest.raises(EngineAway, match="http://two:2379: invalid auth token"):
        async with engine.watch("/a/", 7):
            pass
    assert play.starts() == [("one", 8), ("one", 8), ("two", 8), ("two", 8)]


async def test_the_end_of_a_watch_closes_its_connection(play: Play) -> None:
    closed = trio.Event()

    async def handle(_: Asked) -> Answer:
        return Answer(lines=(begun(),), stays=True)

    play.handler = handle
    async with play.engine.watch("/a/", 7) as batches:
        connection = batches._lines._connection  # type: ignore[attr-defined]
    closed.set()
    with pytest.raises(trio.ClosedResourceError):
        await connection._stream.send_all(b"x")


async def test_a_deleted_entry_is_an_event_without_an_entry(play: Play) -> None:
    gone = {"result": {"header": header(), "events": [{"type": "DELETE", "kv": {"key": KEY, "mod_revision": "8"}}]}}
    play.handler = lambda _: Answer(lines=(begun(), gone), stays=True)
    async with play.engine.watch("/a/", 7) as batches:
        assert (await anext(batches)).events == (Event("/a/x", None, 8),)


# Leases.


def leasing(play: Play, seconds: Callable[[], int]) -> Handler:
    return paths(
        grant=lambda _: answer(ID="5", TTL="9"),
        keepalive=lambda _: Answer(lines=({"result": {"ID": "5", **({"TTL": str(seconds())} if seconds() else {})}},)),
        revoke=lambda _: answer(),
    )


async def test_a_lease_is_prolonged_after_a_third_of_its_time(play: Play, autojump_clock: MockClock) -> None:
    play.handler = leasing(play, lambda: 9)
    async with play.engine.lease(9) as lease:
        await trio.sleep(31)
        assert lease.id == "5"
        assert lease.is_held
        assert len(play.asked("/v3/lease/keepalive")) == 10
    assert play.asked("/v3/lease/grant")[0].body == {"TTL": 9}
    assert [each.body for each in play.asked("/v3/lease/revoke")] == [{"ID": "5"}]


async def test_a_lease_that_etcd_has_ended_is_lost_at_once(play: Play, autojump_clock: MockClock) -> None:
    play.handler = leasing(play, lambda: 0)
    async with play.engine.lease(9) as lease:
        await lease.wait_lost()
        assert trio.current_time() == pytest.approx(3, abs=0.1)
        assert not lease.is_held


async def test_a_lease_is_lost_when_its_time_is_over_and_not_later(play: Play, autojump_clock: MockClock) -> None:
    play.handler = leasing(play, lambda: 9)
    async with play.engine.lease(9) as lease:
        play.handler = lambda _: Answer(silent=True)
        begin = trio.current_time()
        await lease.wait_lost()
        assert trio.current_time() - begin <= 9
        assert not lease.is_held


async def test_a_lease_that_cannot_be_prolonged_is_tried_at_most_twice_a_second(
    play: Play, autojump_clock: MockClock
) -> None:
    play.handler = leasing(play, lambda: 9)
    async with play.engine.lease(9) as lease:
        play.handler = lambda _: error(3, "no")
        await lease.wait_lost()
        assert 5 <= len(play.asked("/v3/lease/keepalive")) <= 12


async def test_a_lease_outlives_two_failed_attempts(play: Play, autojump_clock: MockClock) -> None:
    play.handler = leasing(play, lambda: 9)
    async with play.engine.lease(9) as lease:
        play.members.refused = {"one", "two"}
        await play.engine._gateway.aclose()
        await trio.sleep(7)
        play.members.refused = set()
        await trio.sleep(20)
        assert lease.is_held


async def test_a_lease_that_cannot_be_ended_does_not_hold_up_its_block(play: Play, autojump_clock: MockClock) -> None:
    play.handler = leasing(play, lambda: 9)
    async with play.engine.lease(9):
        play.handler = lambda _: Answer(silent=True)
        begin = trio.current_time()
    assert trio.current_time() - begin <= 2


async def test_a_lease_is_ended_even_if_its_block_is_cancelled(play: Play) -> None:
    play.handler = leasing(play, lambda: 9)
    with trio.CancelScope() as scope:
        async with play.engine.lease(9):
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert len(play.asked("/v3/lease/revoke")) == 1


async def test_a_lease_without_an_answer_is_an_unknown_outcome(play: Play) -> None:
    play.handler = lambda _: Answer(ends=True)
    with pytest.raises(OutcomeUnknown):
        async with play.engine.lease(9):
            pass
