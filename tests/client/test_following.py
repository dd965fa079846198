"""The start and the end of following a configuration, against servers at the other end of memory streams."""

import logging
import time
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from vortexd.client import LastKnownGood, Stale, WatchFailed, watch
from vortexd.client.address import subject_of
from vortexd.client.following import _ask
from vortexd.client.last_known_good import Saved, save
from vortexd.client.link import Timeouts
from vortexd.client.replica import version_of

from .said import KEY, change, in_sync, snapshot
from .server import URL, Servers, answering

OLD, NEW = {"pool": {"size": 1}}, {"pool": {"size": 2}}
PATCH = [{"op": "replace", "path": "/pool/size", "value": 2}]


async def test_leaving_says_goodbye(autojump_clock: MockClock, servers: Servers) -> None:
    left = []

    async def serve() -> None:
        peer = await servers.opened()
        await peer.say(snapshot(OLD))
        left.append(await peer.left())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        async with watch(URL, "orders", "dev", connect=servers.connect):
            pass

    assert [1000] == left


async def test_the_application_sees_its_own_errors_as_they_are(autojump_clock: MockClock, servers: Servers) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(KeyError)):  # the one group is that of `watching` itself
        async with servers.watching(snapshot(OLD)) as (config, _):
            config["missing"]


@pytest.mark.parametrize("error", [KeyError("a"), KeyboardInterrupt(), SystemExit(7), ExceptionGroup("", [KeyError()])])
async def test_what_the_block_raises_is_in_no_group(
    autojump_clock: MockClock, servers: Servers, error: BaseException
) -> None:
    """Ctrl-C must stay Ctrl-C, and `sys.exit` must keep its status."""

    async def serve() -> None:
        await (await servers.opened()).say(snapshot(OLD))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with pytest.raises(type(error)) as caught:
            async with watch(URL, "orders", "dev", connect=servers.connect):
                raise error

    assert error is caught.value


async def test_an_error_of_the_block_is_not_lost_to_a_cancellation(autojump_clock: MockClock, servers: Servers) -> None:
    async with trio.open_nursery() as nursery:

        async def serve() -> None:
            await (await servers.opened()).say(snapshot(OLD))

        nursery.start_soon(serve)
        with pytest.raises(KeyError), trio.CancelScope() as scope:
            async with watch(URL, "orders", "dev", connect=servers.connect) as config:
                scope.cancel()
                config["missing"]


@pytest.mark.parametrize("status", [401, 403, 404, 400])
async def test_a_refused_handshake_is_told_where_it_begins(
    autojump_clock: MockClock, servers: Servers, status: int
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answering, servers, lambda peer: peer.refuse(status, body=b'{"message": "no way"}'))
        with pytest.raises(WatchFailed, match=f"refused with {status} no way"):
            async with watch(URL, "orders", "dev", connect=servers.connect):
                pytest.fail("there is nothing to begin with")
        nursery.cancel_scope.cancel()


async def test_who_waits_no_longer_is_told_why_there_is_nothing(autojump_clock: MockClock, servers: Servers) -> None:
    servers.away.add(URL)
    with pytest.raises(WatchFailed) as caught:
        async with watch(URL, "orders", "dev", connect=servers.connect, start_timeout=2.5):
            pytest.fail("there is nothing to begin with")
    assert f"no configuration after 2.5 s: {URL}: Connection refused" == str(caught.value)
    assert 2.5 == trio.current_time()


def reminders(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int, str]]:
    return [record for record in caplog.record_tuples if record[2].startswith("no configuration")]


async def test_while_nobody_answers_the_log_says_why_after_a_few_seconds_and_then_each_minute(
    autojump_clock: MockClock, servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    servers.away.add(URL)
    with trio.move_on_after(123.5):
        async with watch(URL, "orders", "dev", connect=servers.connect):
            pytest.fail("there is nothing to begin with")

    reason = f"and still trying: {URL}: Connection refused"
    assert [
        ("vortexd.client", logging.WARNING, f"no configuration after {waited} s, {reason}") for waited in (3, 63, 123)
    ] == reminders(caplog)


async def test_a_server_that_is_silent_is_a_reason_too(
    autojump_clock: MockClock, servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(WatchFailed, match="^no configuration after 5 s: no server has answered yet$"):
        async with watch(URL, "orders", "dev", connect=servers.connect, start_timeout=5):
            pytest.fail("there is nothing to begin with")

    assert ["no configuration after 3 s, and still trying: no server has answered yet"] == [
        text for _, _, text in reminders(caplog)
    ]


async def test_a_start_within_a_few_seconds_reminds_nobody(
    autojump_clock: MockClock, servers: Servers, caplog: pytest.LogCaptureFixture
) -> None:
    async def serve() -> None:
        peer = await servers.opened()
        await trio.sleep(2.9)
        await peer.say(snapshot(OLD))
        await trio.sleep(10)
        await peer.vanish()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        async with watch(URL, "orders", "dev", connect=servers.connect, timeouts=Timeouts(close=0)):
            await trio.sleep(10)

    assert [] == reminders(caplog)


async def test_on_trio_a_start_takes_as_long_as_it_takes(autojump_clock: MockClock, servers: Servers) -> None:
    servers.away.add(URL)

    async def come() -> None:
        await trio.sleep(1_000)
        servers.away.clear()
        await (await servers.opened()).say(snapshot(OLD))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(come)
        async with watch(URL, "orders", "dev", connect=servers.connect, timeouts=Timeouts(close=0)) as config:
            assert OLD == config.document


@pytest.mark.parametrize("moment", range(12))
async def test_cancelled_at_any_moment_it_ends_at_once_and_leaves_no_stream(
    autojump_clock: MockClock, servers: Servers, moment: int
) -> None:
    """Each parameter cancels one scheduler round later than the one before."""
    peers = []

    async def serve() -> None:
        peers.append(await servers.peer())
        await peers[0].opened()
        await peers[0].say(snapshot(OLD), change(OLD, NEW, PATCH))

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)

            async def follow() -> None:
                async with watch(URL, "orders", "dev", connect=servers.connect) as config:
                    async for _ in config:
                        pass

            nursery.start_soon(follow)
            for _ in range(moment):
                await trio.lowlevel.checkpoint()
            began = trio.current_time()
            scope.cancel()

    assert began == trio.current_time()
    assert scope.cancelled_caught
    for peer in peers:
        with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
            while True:
                await peer.stream.send_all(b"x")


# The arguments.


@pytest.mark.parametrize(
    ("url", "options", "text"),
    [
        ([], {}, "watch needs at least one address"),
        (["ws://a", "nowhere"], {}, "the address of a server must be"),
        (URL, {"token": "größe"}, "token"),
        (URL, {"patterns": ["a:b:c:d"]}, "a pattern has more than three parts"),
        (URL, {"ca_file": "/nonexistent/ca.pem"}, "No such file"),
    ],
)
async def test_an_invalid_argument_is_refused_before_anything_is_opened(
    servers: Servers, tmp_path: Path, url: str | list[str], options: dict[str, Any], text: str
) -> None:
    saved = tmp_path / "config.json"
    saved.write_text("{")
    with pytest.raises((ValueError, OSError), match=text):
        async with watch(url, "orders", "dev", connect=servers.connect, last_known_good=saved, **options):
            pytest.fail("there is nothing to begin with")

    assert [] == servers.asked


async def test_a_client_without_a_name_is_named_after_its_host_and_process(
    autojump_clock: MockClock, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "h" * 101)
    monkeypatch.setattr("os.getpid", lambda: 7)
    async with servers.watching(snapshot(OLD)) as (_, peer):
        assert f"/ws/orders/dev?instance={'h' * 100}%3A7" == peer.target


async def test_an_empty_name_is_sent_so_that_the_server_does_not_count_the_client(
    autojump_clock: MockClock, servers: Servers
) -> None:
    async with servers.watching(snapshot(OLD), instance="") as (_, peer):
        assert "/ws/orders/dev?instance=" == peer.target


# The last known good configuration.


def kept(file: Path, age: float) -> float:
    """Keep a configuration since so many seconds, and return the time."""
    confirmed_at = time.time() - age
    save(LastKnownGood(file), subject_of("orders", "dev", None, ""), Saved(KEY, version_of(OLD), OLD, confirmed_at))
    return confirmed_at


async def test_a_start_with_the_kept_configuration_waits_only_for_its_patience_and_is_a_warning(
    servers: Servers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A thread reads the file, so the real clock runs here; the patience is short."""
    confirmed_at = kept(tmp_path / "file", 60)
    servers.away.add(URL)
    file = LastKnownGood(tmp_path / "file", patience=0.01)
    async with watch(URL, "orders", "dev", connect=servers.connect, last_known_good=file, start_timeout=600) as config:
        assert (OLD, KEY, version_of(OLD), None) == (config.document, config.key, config.version, config.take())
        assert Stale(confirmed_at, f"{URL}: Connection refused") == config.state
        assert config.confirmed_at is None

    warned = (
        f"starting with the last known good configuration, version {version_of(OLD)}: stale: {URL}: Connection refused"
    )
    assert [("vortexd.client", logging.WARNING, warned)] == [
        each for each in caplog.record_tuples if each[2].startswith("starting")
    ]


async def test_a_server_that_confirms_in_time_needs_no_warning(
    servers: Servers, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept(tmp_path / "file", 60)
    file = LastKnownGood(tmp_path / "file", patience=10)
    async with servers.watching(in_sync(OLD), last_known_good=file) as (config, peer):
        assert f"last_version={version_of(OLD)}" in peer.target
        assert OLD == config.document

    assert "starting with" not in caplog.text


async def test_changes_before_the_start_are_no_changes_to_the_application(
    autojump_clock: MockClock, servers: Servers
) -> None:
    async with servers.watching(snapshot(OLD)) as (config, _):
        assert config.take() is None


async def test_a_question_after_the_end_is_answered_with_none() -> None:
    answers: list[bytes | None] = []
    async with trio.open_nursery() as nursery:
        pass
    link: Any = None
    _ask(nursery, link, KEY, "", answers.append)

    assert [None] == answers


async def test_a_question_that_the_end_cuts_short_is_answered_with_none(
    autojump_clock: MockClock, servers: Servers
) -> None:
    answers: list[bytes | None] = []
    async with servers.watching(snapshot({"pool": 1})) as (config, _):
        config.explain("", answers.append)
        await servers.peer()
        assert [] == answers

    assert [None] == answers
