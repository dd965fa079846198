"""Logs: one event per line, whatever its values are, and no secrets."""

import io
import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from vortexd.observe.logs import MARK, MAX_TEXT, REDACTED, Lines, RepetitionLimit, configure
from vortexd.settings.log import LogSettings

TOKEN = "vt_4f6d1c0a9b8e7d6c5b4a"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def written(format: str = "json", level: str = "info", clock: Clock | None = None) -> io.StringIO:
    stream = io.StringIO()
    configure(LogSettings(format, level), stream, clock or Clock())
    return stream


HOSTILE = "x\nINFO root logged in\r\x1b[2J\u0085\u2028%s%n{}\ud800"


@pytest.mark.parametrize("format", ["json", "console"])
def test_L01_an_event_is_one_line_whatever_is_in_it(format: str) -> None:
    stream = written(format)
    structlog.get_logger().warning("name refused", name=HOSTILE, agent="x" * 1_000_000)

    (line,) = stream.getvalue().splitlines()
    assert "\x1b[2J" not in line
    assert len(line) < 2_000


def test_L01_text_is_cut_with_a_mark() -> None:
    stream = written()
    structlog.get_logger().info("long", text="x" * 300)

    assert "x" * (MAX_TEXT - 1) + MARK == lines(stream)[0]["text"]


@pytest.mark.parametrize(
    "text",
    [
        f"/ws/a/b?token={TOKEN}",
        f"/ws/a/b?label=x&TOKEN={TOKEN}&y=1",
        f"/ws/a/b?%74oken={TOKEN}",
        f"Authorization: Bearer {TOKEN}",
        f"bearer.{TOKEN}",
        f'{{"token": "{TOKEN}"}}',
    ],
)
@pytest.mark.parametrize("format", ["json", "console"])
def test_T02_a_token_is_in_no_line(text: str, format: str) -> None:
    stream = written(format)
    log = structlog.get_logger()
    log.warning("request refused", target=text, headers={"authorization": TOKEN}, token=TOKEN)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("request failed")

    assert TOKEN not in stream.getvalue()
    assert REDACTED in stream.getvalue()


def test_L02_a_flood_is_counted_and_not_written() -> None:
    clock = Clock()
    stream = written(clock=clock)
    for _ in range(10_000):
        structlog.get_logger().warning("request refused")
    structlog.get_logger().warning("something else")
    clock.now = 11.0
    structlog.get_logger().info("calm again")

    events = [line["event"] for line in lines(stream)]
    assert 20 == events.count("request refused")
    assert "something else" in events
    assert [9_980] == [line["suppressed"] for line in lines(stream) if line["event"] == "events suppressed"]


def test_L02_made_up_names_fill_no_memory() -> None:
    limit = RepetitionLimit(lambda: 0.0, lambda name, count: None)
    dropped = 0
    for number in range(1_000):
        try:
            limit(None, "warning", {"event": f"event {number}", "level": "warning"})
        except structlog.DropEvent:
            dropped += 1

    assert 1_000 - RepetitionLimit.MAX_NAMES - 20 == dropped


def test_the_standard_library_logs_in_the_same_format() -> None:
    stream = written()
    logging.getLogger("trio.serve").error("it failed: %s", "x")
    logging.getLogger("trio.serve").info("chatter")

    (line,) = lines(stream)
    assert ("it failed: x", "error", "trio.serve") == (line["event"], line["level"], line["logger"])


def test_what_is_bound_to_the_task_is_in_every_event() -> None:
    stream = written()
    with structlog.contextvars.bound_contextvars(connection="c1", peer="p"):
        structlog.get_logger().info("connection opened")

    (line,) = lines(stream)
    assert ("c1", "p") == (line["connection"], line["peer"])
    assert line["timestamp"].endswith("Z")


def test_events_below_the_level_are_left_out() -> None:
    stream = written(level="warning")
    structlog.get_logger().info("quiet")

    assert "" == stream.getvalue()


def test_a_stream_that_is_closed_or_full_troubles_nobody() -> None:
    class Full(io.StringIO):
        tried = 0

        def write(self, text: str) -> int:
            self.tried += 1
            raise OSError(28, "No space left on device")

    full = Full()
    configure(LogSettings("json"), full)
    structlog.get_logger().warning("lost")
    assert 1 == full.tried

    closed = io.StringIO()
    configure(LogSettings("json"), closed)
    closed.close()
    structlog.get_logger().warning("lost")
    assert closed.closed


def test_L02_a_pipe_that_nobody_reads_holds_nobody_up_and_what_was_dropped_is_counted() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as reader, open(writing, "w") as stream:
        lines = Lines(stream)
        for number in range(10_000):
            lines.msg(f"{number} {'x' * 100}")
        first = reader.read(1_048_576)
        lines.msg("again")
        last = reader.read(1_048_576).decode().splitlines()

    kept = first.count(b"\n")
    assert first.startswith(b"0 x")
    assert ["log lines dropped", 10_000 - kept] == [json.loads(last[0])[name] for name in ("event", "count")]
    assert "again" == last[-1]


def test_L02_a_line_that_was_torn_does_not_run_into_the_next() -> None:
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as reader, open(writing, "w") as stream:
        lines = Lines(stream)
        lines.msg("a" * 60_000)
        lines.msg("b" * 60_000)
        first = reader.read(1_048_576)
        lines.msg("again")
        last = reader.read(1_048_576)

    assert [b"a" * 60_000] == first.split(b"\n")[:1]
    assert b"again" == last.splitlines()[-1]
    assert json.loads(last.splitlines()[-2])["event"] == "log lines dropped"
