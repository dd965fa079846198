"""The contract of system calls on many sockets, which the implementations in Python and in C keep alike."""

import errno
import os
import resource
import signal
import socket
import sys
import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest

from vortexd.realtime import sockets as module
from vortexd.realtime.sockets import MOST, NativeSockets, PythonSockets, Sockets, choose_sockets, write_each

from .both_sockets import NAMES, made

Pair = tuple[socket.socket, socket.socket]
Pairs = Callable[[int], list[Pair]]
PONG = b"\x8a\x80\0\0\0\0"


@pytest.fixture(params=NAMES)
def sockets(request: pytest.FixtureRequest) -> Sockets:
    return made(request.param)


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    """Makes pairs of sockets; the first of each doesn't block."""
    opened: list[socket.socket] = []

    def make(count: int) -> list[Pair]:
        made = [socket.socketpair() for _ in range(count)]
        for ours, theirs in made:
            ours.setblocking(False)
            theirs.setblocking(False)
            opened.extend((ours, theirs))
        return made

    yield make
    for each in opened:
        each.close()


def numbers(pairs: list[Pair]) -> list[int]:
    return [ours.fileno() for ours, _ in pairs]


def fill(one: socket.socket) -> None:
    with suppress(BlockingIOError):
        while True:
            one.send(b"x" * 65_536)


# Writing.


def test_a_frame_reaches_every_socket_and_nothing_is_reported(sockets: Sockets, pairs: Pairs) -> None:
    some = pairs(5)

    assert [] == sockets.write_all(numbers(some), b"\x81\x02hi")
    assert [b"\x81\x02hi"] * 5 == [theirs.recv(100) for _, theirs in some]


def test_no_socket_is_no_work(sockets: Sockets) -> None:
    assert [] == sockets.write_all([], b"frame")
    assert [] == sockets.write_all(array("i"), b"frame")


def test_an_array_of_descriptors_is_as_good_as_a_list(sockets: Sockets, pairs: Pairs) -> None:
    some = pairs(3)
    fill(some[1][0])
    descriptors = array("i", numbers(some))

    assert [(1, -errno.EAGAIN)] == sockets.write_all(descriptors, b"frame")
    assert [b"frame"] * 2 == [some[number][1].recv(100) for number in (0, 2)]
    assert numbers(some) == list(descriptors)
    # The call doesn't keep it.
    descriptors.append(1)


def test_a_socket_without_room_is_reported_and_the_others_get_the_frame(sockets: Sockets, pairs: Pairs) -> None:
    some = pairs(3)
    fill(some[1][0])

    assert [(1, -errno.EAGAIN)] == sockets.write_all(numbers(some), b"frame")
    assert [b"frame"] * 2 == [some[number][1].recv(100) for number in (0, 2)]


def test_a_short_write_is_reported_with_what_was_written(sockets: Sockets, pairs: Pairs) -> None:
    some = pairs(3)
    frame = os.urandom(4_000_000)
    exceptions = sockets.write_all(numbers(some), frame)

    assert [0, 1, 2] == [index for index, _ in exceptions]
    for (_, written), (_, theirs) in zip(exceptions, some, strict=True):
        received = b""
        with suppress(BlockingIOError):
            while data := theirs.recv(1_000_000):
                received += data
        assert 0 < written < len(frame)
        assert frame[:written] == received


def test_errors_are_reported_by_number_and_end_nothing(sockets: Sockets, pairs: Pairs) -> None:
    some = pairs(4)
    some[0][1].close()
    closed = os.dup(some[3][0].fileno())
    os.close(closed)
    descriptors = numbers(some)
    descriptors[2] = closed

    assert [(0, -errno.EPIPE), (2, -errno.EBADF)] == sockets.write_all(descriptors, b"frame")
    assert [b"frame"] * 2 == [some[number][1].recv(100) for number in (1, 3)]


def test_every_result_has_the_index_of_its_socket() -> None:
    """Errors may be the first, the last and in a row. An error without a number counts as EIO."""
    results: list[int | OSError] = [
        OSError(errno.EAGAIN, ""),
        5,
        OSError(errno.EPIPE, ""),
        OSError("?"),
        3,
        5,
        OSError(1, ""),
    ]
    calls: list[tuple[int, bytes]] = []

    def write(descriptor: int, frame: bytes) -> int:
        calls.append((descriptor, frame))
        result = results[descriptor]
        if isinstance(result, OSError):
            raise result
        return result

    found = write_each(write, range(7), b"frame")

    assert [(0, -errno.EAGAIN), (2, -errno.EPIPE), (3, -errno.EIO), (4, 3), (6, -1)] == found
    assert [(number, b"frame") for number in range(7)] == calls


def test_a_batch_may_have_the_most_descriptors(sockets: Sockets, pairs: Pairs) -> None:
    some = pairs(MOST // 64)

    assert [] == sockets.write_all(numbers(some) * 64, b"x")
    assert [b"x" * 64] * len(some) == [theirs.recv(10_000) for _, theirs in some]


def test_bytes_with_zeros_are_written_whole(sockets: Sockets, pairs: Pairs) -> None:
    some = pairs(1)

    assert [] == sockets.write_all(numbers(some), b"\0a\0b\0")
    assert b"\0a\0b\0" == some[0][1].recv(100)


@pytest.mark.parametrize("way", ["write", "receive"])
def test_a_blocking_socket_is_no_reason_to_wait_in_c(way: str, pairs: Pairs) -> None:
    sockets = made("native")
    [(ours, _)] = pairs(1)
    fill(ours)
    ours.setblocking(True)
    if way == "write":
        assert [(0, -errno.EAGAIN)] == sockets.write_all([ours.fileno()], b"frame")
    else:
        assert (1, 0, [(0, None)]) == sockets.receive_pongs([ours.fileno()], 1)


def test_other_threads_run_while_c_writes(pairs: Pairs) -> None:
    """Threads take turns only when one of them gives up the interpreter lock."""
    sockets = made("native")
    some = pairs(64)
    ran = threading.Event()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)
    try:
        # `start` would wait for the thread, and so give up the lock.
        threading._start_new_thread(ran.set, ())  # type: ignore[attr-defined]
        count = 0
        while not ran.is_set() and count < 10_000:
            sockets.write_all(numbers(some), b"x" * 1_000)
            count += 1
    finally:
        sys.setswitchinterval(interval)

    assert ran.is_set()


# Receiving.


def test_pongs_are_counted_in_bytes_and_not_reported(sockets: Sockets, pairs: Pairs) -> None:
    some = pairs(3)
    longest = b"\x8a\xfd" + bytes(4) + b"p" * 125
    for (_, theirs), pong in zip(some, (PONG, longest, PONG), strict=True):
        theirs.send(pong)

    assert (3, 6 + 131 + 6, []) == sockets.receive_pongs(numbers(some), 8)
    assert (3, 0, [(0, None), (1, None), (2, None)]) == sockets.receive_pongs(numbers(some), 8)


@pytest.mark.parametrize(
    "data",
    [
        PONG + PONG,
        PONG[:-1],
        PONG + b"\x81",
        b"\x89\x80\0\0\0\0",
        b"\x0a\x80\0\0\0\0",
        b"\x8a\x00",
        b"\x8a\x7f\0\0\0\0",
        b"\x8a\xfe" + bytes(4) + b"p" * 126,
        b"\x8a\x81\0\0\0\0",
        b"\x81\x82\0\0\0\0hi",
        b"x",
        b"y" * 16_384,
    ],
)
def test_anything_else_is_reported_as_it_is(sockets: Sockets, pairs: Pairs, data: bytes) -> None:
    some = pairs(3)
    some[0][1].send(PONG)
    some[1][1].send(data)
    some[2][1].send(PONG)

    assert (3, 12, [(1, data)]) == sockets.receive_pongs(numbers(some), 8)


def test_the_rest_of_long_data_stays_in_the_socket(sockets: Sockets, pairs: Pairs) -> None:
    some = pairs(1)
    some[0][1].send(b"y" * 16_384 + b"z")

    assert (1, 0, [(0, b"y" * 16_384)]) == sockets.receive_pongs(numbers(some), 1)
    assert (1, 0, [(0, b"z")]) == sockets.receive_pongs(numbers(some), 1)


def test_the_end_of_a_connection_is_empty_and_so_is_an_error(sockets: Sockets, pairs: Pairs) -> None:
    some = pairs(2)
    some[0][1].close()
    closed = os.dup(some[1][0].fileno())
    os.close(closed)

    assert (2, 0, [(0, b""), (1, b"")]) == sockets.receive_pongs([some[0][0].fileno(), closed], 8)


def test_a_connection_that_was_reset_is_empty(sockets: Sockets) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    ours.setblocking(False)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    with ours:
        assert (1, 0, [(0, b"")]) == sockets.receive_pongs([ours.fileno()], 8)


def test_no_further_socket_is_read_after_the_most_that_have_other_data(sockets: Sockets, pairs: Pairs) -> None:
    some = pairs(6)
    for _, theirs in some[1:4]:
        theirs.send(b"other")
    for number in (0, 5):
        some[number][1].send(PONG)

    # A socket with nothing doesn't count.
    assert (3, 6, [(1, b"other"), (2, b"other")]) == sockets.receive_pongs(numbers(some), 2)
    assert (3, 6, [(0, b"other"), (1, None)]) == sockets.receive_pongs(numbers(some[3:]), 2)


def test_nothing_is_read_if_nothing_else_may_be_found(sockets: Sockets, pairs: Pairs) -> None:
    some = pairs(1)
    some[0][1].send(PONG)

    assert (0, 0, []) == sockets.receive_pongs(numbers(some), 0)
    assert PONG == some[0][0].recv(100)


# What only C could do wrong.


@pytest.mark.parametrize("call", ["write_all", "receive_pongs"])
def test_arguments_that_are_none_are_refused_and_harm_nothing(call: str) -> None:
    function = getattr(made("native"), call)
    last: Any = b"frame" if call == "write_all" else 8
    for descriptors, error in (
        ([0] * (MOST + 1), ValueError),
        ([-1], ValueError),
        ([1 << 40], ValueError),
        ([1 << 80], OverflowError),
        (["1"], TypeError),
        ((1,), TypeError),
        (array("i", [0] * (MOST + 1)), ValueError),
        (array("i", [0, -1]), ValueError),
        (array("l", [0]), TypeError),
        (array("I", [0]), TypeError),
        (memoryview(array("i", [0, 0])).cast("B"), TypeError),
        (memoryview(array("i", [0, 0, 0, 0])).cast("B").cast("i", (2, 2)), TypeError),
        (memoryview(array("i", [0, 0, 0, 0]))[::2], BufferError),
        (None, TypeError),
    ):
        with pytest.raises(error):
            function(descriptors, last)
    with pytest.raises(TypeError):
        function([1])
    with pytest.raises(TypeError):
        function([1], "text")


def test_the_memory_of_many_calls_in_c_stays_the_same(pairs: Pairs) -> None:
    sockets = made("native")
    some = pairs(50)
    for _, theirs in some[:25]:
        theirs.close()
    descriptors, frame = numbers(some), b"x" * 1_000
    same = array("i", descriptors)

    def calls(count: int) -> int:
        for _ in range(count):
            sockets.write_all(descriptors, frame)
            sockets.write_all(same, frame)
            sockets.receive_pongs(descriptors, 1_000)
            for _, theirs in some[25:]:
                theirs.recv(65_536)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    calls(500)
    before = calls(500)

    assert calls(3_000) - before < 1_000


def test_a_signal_does_not_end_a_call_in_c(pairs: Pairs) -> None:
    sockets = made("native")
    some = pairs(20)
    heard: list[int] = []
    former = signal.signal(signal.SIGALRM, lambda number, _: heard.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        for _ in range(500):
            assert [] == sockets.write_all(numbers(some), b"frame")
            assert [b"frame"] * 20 == [theirs.recv(100) for _, theirs in some]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)

    assert heard


# The choice.


def test_c_is_chosen_if_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    native = ModuleType("vortexd_native")
    native.write_all = native.receive_pongs = print  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "load_native", lambda: native)
    chosen = choose_sockets()

    assert isinstance(chosen, NativeSockets)
    assert ("native", print, print) == (chosen.name, chosen.write_all, chosen.receive_pongs)


def test_python_is_chosen_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_native", lambda: None)
    chosen = choose_sockets()

    assert isinstance(chosen, PythonSockets)
    assert "python" == chosen.name
