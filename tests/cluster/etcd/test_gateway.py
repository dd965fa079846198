"""Facts about the way to the members of etcd: turns, deadlines, tokens, and what becomes of a request that gets no answer."""

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from vortexd.cluster.engine import Denied, EngineAway, EngineError, OutcomeUnknown
from vortexd.cluster.etcd import gateway as module
from vortexd.cluster.etcd import wire
from vortexd.cluster.etcd.gateway import ANSWER, LEAST_RATE, Gateway, Login

from .members import ONE, TWO, Answer, Asked, Handler, Members, answer, error

OK = answer(ok=True)


class Play:
    """A gateway, and the members that it speaks to. A test replaces `handler`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.handler: Handler = lambda _: OK
        self.members = Members(nursery, lambda asked: self.handler(asked))
        self.gateway = Gateway([ONE, TWO], connect=self.members.connect)

    def with_login(self, password: str = "secret") -> Gateway:
        async def read() -> str:
            await trio.lowlevel.checkpoint()
            return password

        self.gateway = Gateway([ONE, TWO], login=Login("vx", read), connect=self.members.connect)
        return self.gateway

    @property
    def asked(self) -> list[tuple[str, str]]:
        return [(each.member, each.path) for each in self.members.asked]


@pytest.fixture
async def play() -> AsyncIterator[Play]:
    async with trio.open_nursery() as nursery:
        yield Play(nursery)
        nursery.cancel_scope.cancel()


async def test_a_request_is_json_and_so_is_its_answer(play: Play) -> None:
    found = await play.gateway.ask("/v3/kv/range", {"key": "YQ=="})
    assert found["ok"] is True
    [asked] = play.members.asked
    assert (asked.member, asked.path, asked.body) == ("one", "/v3/kv/range", {"key": "YQ=="})
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["host"] == "one:2379"
    assert "authorization" not in asked.headers


async def test_a_connection_is_used_again(play: Play) -> None:
    for _ in range(3):
        await play.gateway.ask("/a", {})
    assert play.members.connections == 1
    await play.gateway.aclose()
    await play.gateway.ask("/a", {})
    assert play.members.connections == 2


async def test_at_most_two_idle_connections_are_kept(play: Play) -> None:
    together = trio.Event()

    async def wait(asked: Asked) -> Answer:
        if len(play.members.asked) == 4:
            together.set()
        await together.wait()
        return OK

    play.handler = wait
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(play.gateway.ask, "/a", {})
    assert play.members.connections == 4
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(play.gateway.ask, "/a", {})
    assert play.members.connections == 5


@pytest.mark.parametrize("sends", ["ask", "change"])
async def test_a_member_that_refuses_the_connection_is_passed_over_from_then_on(play: Play, sends: str) -> None:
    play.members.refused = {"one"}
    send = getattr(play.gateway, sends)
    await send("/a", {})
    await send("/b", {})
    assert play.asked == [("two", "/a"), ("two", "/b")]
    assert play.gateway.endpoint == TWO


@pytest.mark.parametrize("sends", ["ask", "change"])
async def test_if_all_members_refuse_the_last_one_is_named(play: Play, sends: str) -> None:
    play.members.refused = {"one", "two"}
    with pytest.raises(EngineAway, match="^all 2 endpoints failed; http://two:2379: connection refused$"):
        await getattr(play.gateway, sends)("/a", {})
    assert play.gateway.endpoint == ONE


@pytest.mark.parametrize("sends", ["ask", "change"])
async def test_if_there_is_one_member_the_error_counts_none(play: Play, sends: str) -> None:
    play.members.refused = {"one"}
    play.gateway = Gateway([ONE], connect=play.members.connect)
    with pytest.raises(EngineAway, match="^http://one:2379: connection refused$"):
        await getattr(play.gateway, sends)("/a", {})


@pytest.mark.parametrize("failure", [Answer(ends=True), Answer(silent=True), error(14, "no leader", 503)])
async def test_a_request_that_changes_nothing_is_sent_to_the_next_member(
    play: Play, failure: Answer, autojump_clock: MockClock
) -> None:
    play.handler = lambda asked: failure if asked.member == "one" else OK
    begin = trio.current_time()
    assert (await play.gateway.ask("/a", {}))["ok"] is True
    assert play.asked == [("one", "/a"), ("two", "/a")]
    assert trio.current_time() - begin <= ANSWER


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (Answer(ends=True), "http://one:2379: the connection has ended before the answer was complete"),
        (Answer(silent=True), "http://one:2379: no answer within 2 s"),
        (error(14, "request timed out", 503), "http://one:2379: request timed out"),
        (Answer(502, (b"<html>",)), "http://one:2379: status 502, and no answer of etcd's"),
        (
            Answer(404, (b"404 page not found",)),
            "http://one:2379: status 404, and no answer of etcd's; if it is etcd, set enable-grpc-gateway: true",
        ),
        (Answer(200, (b"<html>",)), "http://one:2379: the answer isn't JSON"),
        (Answer(200, (b"[]",)), "http://one:2379: the answer isn't a JSON object"),
    ],
)
async def test_a_change_without_a_clear_answer_is_never_sent_again(
    play: Play, failure: Answer, text: str, autojump_clock: MockClock
) -> None:
    play.handler = lambda _: failure
    with pytest.raises(OutcomeUnknown, match=f"^{text}$"):
        await play.gateway.change("/a", {})
    assert play.asked == [("one", "/a")]
    assert play.gateway.endpoint == TWO


@pytest.mark.parametrize("sends", ["ask", "change"])
async def test_an_error_of_etcd_is_raised_as_it_is(play: Play, sends: str) -> None:
    play.handler = lambda _: error(3, "duplicate key given in txn request")
    with pytest.raises(EngineError, match="^duplicate key given in txn request$"):
        await getattr(play.gateway, sends)("/a", {})
    assert play.asked == [("one", "/a")]


async def test_if_no_member_answers_in_time_each_gets_its_deadline(play: Play, autojump_clock: MockClock) -> None:
    play.handler = lambda _: Answer(silent=True)
    begin = trio.current_time()
    with pytest.raises(EngineAway, match="^all 2 endpoints failed; http://two:2379: no answer within 2 s$"):
        await play.gateway.ask("/a", {})
    assert trio.current_time() - begin == 2 * ANSWER


@pytest.mark.parametrize(("pause", "is_in_time"), [(2.9, True), (3.1, False)])
async def test_a_long_answer_has_more_time(
    play: Play, pause: float, is_in_time: bool, autojump_clock: MockClock
) -> None:
    # Each second of further time is earned by the bytes before it.
    whole = Answer(lines=(1.9, b" " * LEAST_RATE, 0.9, b" " * LEAST_RATE, pause - 1.8, b"{}"))
    play.handler = lambda asked: whole if asked.member == "one" else OK
    assert (await play.gateway.ask("/a", {}) == {}) is is_in_time
    assert len(play.asked) == (1 if is_in_time else 2)


async def test_an_answer_that_dribbles_is_late(play: Play, autojump_clock: MockClock) -> None:
    play.handler = lambda _: Answer(lines=(b" " * 1_000, b" " * 1_000), stays=True)
    begin = trio.current_time()
    with pytest.raises(EngineAway, match="no answer within 2 s"):
        await play.gateway.ask("/a", {})
    assert trio.current_time() - begin == pytest.approx(2 * (ANSWER + 2_000 / LEAST_RATE))


async def test_an_answer_has_a_bound(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST", 100)
    play.handler = lambda _: Answer(lines=(b'{"a":"' + b"x" * 92 + b'"}',))
    assert await play.gateway.ask("/a", {})
    play.handler = lambda _: Answer(lines=(b'{"a":"' + b"x" * 93 + b'"}',))
    with pytest.raises(EngineAway, match="longer than 100 bytes"):
        await play.gateway.ask("/a", {})


# Tokens.


def guarded(valid: list[str]) -> Handler:
    """Answer only requests with the newest token."""

    def handle(asked: Asked) -> Answer:
        if asked.path == "/v3/auth/authenticate":
            if asked.body != {"name": "vx", "password": "secret"}:
                return error(3, "authentication failed, invalid user ID or password")
            valid.append(f"token.{len(valid)}")
            return answer(token=valid[-1])
        if asked.headers.get("authorization") != valid[-1]:
            return error(16, "invalid auth token", 401)
        return OK

    return handle


async def test_a_token_is_asked_for_once_and_sent_with_each_request(play: Play) -> None:
    gateway, play.handler = play.with_login(), guarded([""])
    for path in ("/a", "/b"):
        await gateway.ask(path, {})
    assert [each.path for each in play.members.asked] == ["/v3/auth/authenticate", "/a", "/b"]
    assert [each.headers.get("authorization") for each in play.members.asked] == [None, "token.1", "token.1"]


@pytest.mark.parametrize("sends", ["ask", "change"])
async def test_a_token_that_has_expired_is_replaced(play: Play, sends: str) -> None:
    valid = [""]
    gateway, play.handler = play.with_login(), guarded(valid)
    await gateway.ask("/a", {})
    valid.append("another")
    assert (await getattr(gateway, sends)("/b", {}))["ok"] is True


@pytest.mark.parametrize("sends", ["ask", "change"])
async def test_a_token_that_is_never_valid_is_not_asked_for_again_and_again(play: Play, sends: str) -> None:
    gateway = play.with_login()
    play.handler = lambda asked: (
        answer(token="t") if asked.path.endswith("authenticate") else error(16, "invalid auth token", 401)
    )
    with pytest.raises(EngineError, match="invalid auth token"):
        await getattr(gateway, sends)("/a", {})
    assert len(play.members.asked) == 4


async def test_a_wrong_password_is_denied_and_not_repeated_to_the_log(play: Play) -> None:
    gateway, play.handler = play.with_login("wrong"), guarded([""])
    with pytest.raises(Denied) as caught:
        await gateway.change("/a", {})
    assert "wrong" not in str(caught.value)
    assert [each.path for each in play.members.asked] == ["/v3/auth/authenticate"]


async def test_a_login_that_etcd_does_not_need_is_left_out(play: Play) -> None:
    gateway = play.with_login()
    play.handler = lambda asked: (
        error(9, "authentication is not enabled") if asked.path.endswith("authenticate") else OK
    )
    assert (await gateway.ask("/a", {}))["ok"] is True
    assert "authorization" not in play.members.asked[-1].headers


async def test_a_change_whose_login_gets_no_answer_was_not_sent(play: Play, autojump_clock: MockClock) -> None:
    gateway = play.with_login()
    play.handler = lambda _: Answer(silent=True)
    with pytest.raises(EngineAway):
        await gateway.change("/a", {})
    assert play.asked == [("one", "/v3/auth/authenticate"), ("two", "/v3/auth/authenticate")]


# Streams.


async def test_the_lines_of_a_stream_arrive_one_by_one(play: Play) -> None:
    play.handler = lambda _: Answer(lines=(b'{"a":', b'1}\n{"b":2}\n', {"c": 3}), stays=True)
    async with play.gateway.stream("/v3/watch", {}) as lines:
        assert [await lines.next() for _ in range(3)] == [{"a": 1}, {"b": 2}, {"c": 3}]
    assert play.members.asked[0].headers["grpc-metadata-hasleader"] == "true"


async def test_a_cancelled_step_of_a_stream_loses_nothing(play: Play, autojump_clock: MockClock) -> None:
    goes_on = trio.Event()
    play.handler = lambda _: Answer(lines=(b'{"a":', goes_on, b"1}\n"), stays=True)
    async with play.gateway.stream("/v3/watch", {}) as lines:
        with trio.move_on_after(1) as scope:
            await lines.next()
        assert scope.cancelled_caught
        goes_on.set()
        assert await lines.next() == {"a": 1}


async def test_a_stream_that_does_not_begin_in_time_is_away(play: Play, autojump_clock: MockClock) -> None:
    play.handler = lambda _: Answer(silent=True)
    begin = trio.current_time()
    with pytest.raises(EngineAway, match="no answer within 2 s"):
        async with play.gateway.stream("/v3/watch", {}):
            pass
    assert trio.current_time() - begin == ANSWER


async def test_a_stream_that_ends_is_away(play: Play) -> None:
    play.handler = lambda _: Answer(lines=({"a": 1},))
    async with play.gateway.stream("/v3/watch", {}) as lines:
        await lines.next()
        with pytest.raises(EngineAway, match="etcd has ended the answer"):
            await lines.next()


async def test_a_stream_that_etcd_refuses_says_why(play: Play) -> None:
    play.handler = lambda _: error(7, "permission denied", 403)
    with pytest.raises(Denied):
        async with play.gateway.stream("/v3/watch", {}):
            pass


async def test_a_line_has_a_bound(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST", 100)
    play.handler = lambda _: Answer(lines=(b"x" * 101,), stays=True)
    async with play.gateway.stream("/v3/watch", {}) as lines:
        with pytest.raises(wire.TooLong, match="longer than 100 bytes"):
            await lines.next()


async def test_a_stream_has_the_token(play: Play) -> None:
    gateway, play.handler = play.with_login(), guarded([""])
    async with gateway.stream("/v3/watch", {}):
        pass
    assert play.members.asked[-1].headers["authorization"] == "token.1"
