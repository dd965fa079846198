"""The thread that runs the Trio client: its futures, how it ends, and its errors."""

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
import trio.testing

from vortexd.client.address import Address
from vortexd.client.background import START_TIMEOUT, Background
from vortexd.client.following import Options
from vortexd.client.link import Timeouts
from vortexd.client.replica import version_of
from vortexd.client.view import Connected, Failed, View, WatchFailed

from .elsewhere import Elsewhere
from .said import KEY, snapshot
from .server import URL, Peer

OLD = {"pool": 1}
# Only a fault lets a test wait so long, in seconds.
PATIENCE = 10.0
# A closing handshake that would take so long shows a fault as well.
ENDLESS = Timeouts(close=600)


@pytest.fixture
def server() -> Elsewhere:
    return Elsewhere().greet(snapshot(OLD))


@pytest.fixture
def start() -> Iterator[Callable[..., Background]]:
    """A function that starts a thread with options; the thread ends with the test."""
    started: list[Background] = []

    def make(since: float) -> View:
        return View(since, threading.RLock())

    def begin(**options: Any) -> Background:
        whole: Options = {"start_timeout": START_TIMEOUT, **options}  # type: ignore[typeddict-item]  # as tests name them
        started.append(Background(make, URL, "orders", "dev", None, whole))
        return started[-1]

    yield begin
    for each in started:
        each.stop(at_once=True)
        each.ended.result(PATIENCE)
        each.join()


class DeafServer:
    """A server that doesn't answer the closing handshake.

    Attributes:
        left: The code with which each client has closed; 1006 if it sent no close frame.
    """

    def __init__(self) -> None:
        self.left: queue.Queue[int] = queue.Queue()

    async def connect(self, address: Address) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        ours, theirs = trio.testing.memory_stream_pair()
        trio.lowlevel.spawn_system_task(self._serve, Peer(theirs, address, 0.0))
        return ours

    async def _serve(self, peer: Peer) -> None:
        await peer.opened()
        await peer.say(snapshot(OLD))
        self.left.put(await peer.close_code())
        await trio.sleep_forever()


def test_the_view_is_the_one_that_the_caller_makes_and_follows_the_server(
    server: Elsewhere, start: Callable[..., Background]
) -> None:
    background = start(connect=server.connect)
    view = background.begun.result(PATIENCE)

    assert type(view) is View
    assert (OLD, Connected()) == (view.document, view.state)
    assert not background.ended.done()


def test_an_orderly_stop_performs_a_closing_handshake(server: Elsewhere, start: Callable[..., Background]) -> None:
    background = start(connect=server.connect, timeouts=ENDLESS)
    view = background.begun.result(PATIENCE)
    background.stop(at_once=False)

    assert background.ended.result(PATIENCE) is None
    assert server.heard.get(timeout=PATIENCE) is None
    assert (True, OLD) == (view.is_over, view.document)


def test_an_orderly_stop_waits_for_a_deaf_server_no_longer_than_the_closing_handshake_may_take(
    start: Callable[..., Background],
) -> None:
    server = DeafServer()
    background = start(connect=server.connect, timeouts=Timeouts(close=0.01))
    background.begun.result(PATIENCE)
    background.stop(at_once=False)
    background.ended.result(PATIENCE)

    assert 1000 == server.left.get(timeout=PATIENCE)


def test_a_stop_at_once_performs_no_closing_handshake(start: Callable[..., Background]) -> None:
    server = DeafServer()
    background = start(connect=server.connect, timeouts=ENDLESS)
    background.begun.result(PATIENCE)
    background.stop(at_once=True)

    background.ended.result(PATIENCE)
    assert server.left.empty() or 1006 == server.left.get()


@pytest.mark.parametrize("at_once", [True, False])
def test_a_stop_before_the_first_document_ends_the_thread_at_once(
    server: Elsewhere, start: Callable[..., Background], at_once: bool
) -> None:
    asked = threading.Event()

    async def connect(address: Address) -> trio.abc.Stream:
        asked.set()
        return await trio.sleep_forever()

    background = start(connect=connect, timeouts=ENDLESS)
    assert asked.wait(PATIENCE)
    background.stop(at_once=at_once)
    background.ended.result(PATIENCE)

    with pytest.raises(trio.RunFinishedError, match="^the watch was stopped before it had begun$"):
        background.begun.result(0)


def test_a_stop_before_trio_runs_connects_to_no_server(
    server: Elsewhere, start: Callable[..., Background], monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, run, asked = threading.Event(), trio.run, []

    def late(function: Callable[[], Any]) -> None:
        assert gate.wait(PATIENCE)
        run(function)

    async def connect(address: Address) -> trio.abc.Stream:
        asked.append(address)
        return await server.connect(address)

    monkeypatch.setattr(trio, "run", late)
    background = start(connect=connect)
    background.stop(at_once=False)
    gate.set()
    background.ended.result(PATIENCE)

    assert [] == asked
    with pytest.raises(trio.RunFinishedError):
        background.begun.result(0)


def test_a_thread_that_has_ended_may_be_stopped_again(server: Elsewhere, start: Callable[..., Background]) -> None:
    background = start(connect=server.connect)
    background.begun.result(PATIENCE)
    for at_once in (True, False, True):
        background.stop(at_once=at_once)
        background.join()

    assert background.ended.done()


def test_the_thread_does_not_hold_up_a_program_and_has_a_name(
    server: Elsewhere, start: Callable[..., Background]
) -> None:
    start(connect=server.connect).begun.result(PATIENCE)
    (thread,) = [each for each in threading.enumerate() if each.name == "vortexd.client"]

    assert thread.daemon


def test_a_caller_that_gives_up_waiting_does_not_cancel_the_futures(
    server: Elsewhere, start: Callable[..., Background]
) -> None:
    background = start(connect=server.connect)

    assert [False, False] == [background.begun.cancel(), background.ended.cancel()]
    assert OLD == background.begun.result(PATIENCE).document


# Errors.


def test_an_error_of_the_start_is_raised_to_the_caller_and_ends_the_thread(
    server: Elsewhere, start: Callable[..., Background], caplog: pytest.LogCaptureFixture
) -> None:
    server.refusal = 403
    background = start(connect=server.connect)

    with pytest.raises(WatchFailed, match="refused with 403"):
        background.begun.result(PATIENCE)
    background.ended.result(PATIENCE)
    assert "thread failed" not in caplog.text


def test_an_invalid_argument_is_raised_to_the_caller(start: Callable[..., Background]) -> None:
    with pytest.raises(ValueError, match="token"):
        start(token="größe").begun.result(PATIENCE)


def test_a_later_error_is_logged_and_turns_the_view(
    server: Elsewhere, start: Callable[..., Background], caplog: pytest.LogCaptureFixture
) -> None:
    background = start(connect=server.connect)
    view = background.begun.result(PATIENCE)
    server.crash()
    background.ended.result(PATIENCE)

    assert Failed("an error in this client; see the log") == view.state
    (record,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert ("vortexd.client", "the configuration's thread failed") == (record.name, record.getMessage())
    assert "a mistake of somebody" in caplog.text


# Acknowledgements.


def test_another_thread_may_acknowledge(server: Elsewhere, start: Callable[..., Background]) -> None:
    view = start(connect=server.connect).begun.result(PATIENCE)
    view.acknowledge(version_of(OLD), "rejected", "too large")
    said = server.heard.get(timeout=PATIENCE)

    assert said is not None
    assert (str(KEY), "ack", "rejected", "too large") == (
        f"{said['app']}:{said['profile']}:{said['label']}",
        said["type"],
        said["status"],
        said["error"],
    )


def test_after_the_end_an_acknowledgement_is_dropped(server: Elsewhere, start: Callable[..., Background]) -> None:
    background = start(connect=server.connect)
    view = background.begun.result(PATIENCE)
    background.stop(at_once=False)
    background.join()
    assert server.heard.get(timeout=PATIENCE) is None
    view.acknowledge(version_of(OLD), "applied")

    assert server.heard.empty()


def test_a_program_that_waits_in_a_thread_waits_a_minute_for_the_start() -> None:
    assert 60.0 == START_TIMEOUT
