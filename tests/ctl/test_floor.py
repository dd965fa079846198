"""The floor of a benchmark, as a function in a thread, and as the program that it is."""

import os
import runpy
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import pytest

from vortexd.ctl import floor


@contextmanager
def running(
    count: int, monkeypatch: pytest.MonkeyPatch, program: Callable[[], object] = floor.main
) -> Iterator[tuple[TextIO, TextIO]]:
    """Run the program in a thread. Yield its standard input and its standard output."""
    read_in, write_in = os.pipe()
    read_out, write_out = os.pipe()
    with (
        open(read_in) as stdin,
        open(write_out, "w") as stdout,
        open(write_in, "w", buffering=1) as to,
        open(read_out) as output,
        monkeypatch.context() as patch,
    ):
        patch.setattr(sys, "argv", ["floor", str(count)])
        patch.setattr(sys, "stdin", stdin)
        patch.setattr(sys, "stdout", stdout)
        thread = threading.Thread(target=program)
        thread.start()
        try:
            yield to, output
        finally:
            to.close()
            thread.join(30)
        assert not thread.is_alive()


def client(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 30)


def received(stream: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = stream.recv(count - len(data))
        assert part
        data += part
    return data


@pytest.mark.parametrize("text", ["x", "x" * 125, "x" * 126, "x" * 256], ids=len)
def test_each_line_is_one_frame_for_every_client(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(2, monkeypatch) as (stdin, stdout):
        port = int(stdout.readline())
        with client(port) as first, client(port) as second:
            assert [floor.ANSWER, floor.ANSWER] == [received(each, len(floor.ANSWER)) for each in (first, second)]
            before = time.monotonic()
            stdin.write(f"  {text} \n")
            frames = [received(each, 4 + len(text)) for each in (first, second)]
            began = float(stdout.readline())
            assert before <= began <= time.monotonic()
            stdin.write("y\n")
            assert b"\x81\x7e\x00\x01y" == received(second, 5)
            assert began <= float(stdout.readline())

    assert [b"\x81\x7e" + len(text).to_bytes(2, "big") + text.encode()] * 2 == frames


def test_no_line_is_read_before_every_client_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(2, monkeypatch) as (stdin, stdout):
        port = int(stdout.readline())
        with client(port) as first:
            stdin.write("early\n")
            received(first, len(floor.ANSWER))
            with client(port) as second:
                received(second, len(floor.ANSWER))
                assert b"early" == received(second, 9)[4:] == received(first, 9)[4:]


def test_the_first_message_is_one_that_the_benchmark_waits_for() -> None:
    head, _, frame = floor.ANSWER.partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 101 ")
    assert b'\x81\x0b{"type":""}' == frame
    assert frame[1] == len(frame) - 2


def test_the_module_is_a_program_that_ends_with_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(0, monkeypatch, lambda: runpy.run_path(floor.__file__, run_name="__main__")) as (_, stdout):
        assert 0 < int(stdout.readline())
