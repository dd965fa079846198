"""Logs: one event per line, as JSON or for people, whatever the values contain.

Events come from structlog. The standard library's logging (trio, hypercorn, quart) adds events at warning and above. All
events pass one chain. It limits repetitions, cuts text, redacts secrets, and escapes characters that break lines. If
writing fails, for example because of a full disk or a closed pipe, the caller that logs never gets an error.
"""

import contextlib
import json
import logging
import math
import os
import re
import select
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from ..core.text import printable
from ..settings.log import LogSettings

MAX_TEXT = 256
MAX_TRACEBACK = 8_192
# The limit of items in one value. Our own events have far fewer items. The limit bounds the values of libraries.
MAX_ITEMS = 64
MAX_DEPTH = 4
MARK = "…"
REDACTED = "[redacted]"
# How many milliseconds the rest of a line may wait for the reader of the log.
_TORN_MS = 10

_LEVELS: Mapping[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_SEVERE = frozenset({"warning", "error", "critical"})
_SECRET_KEY = re.compile(r"(?i)(.*[_-])?(token|authorization|passw(or)?d|secret|cookie|api[_-]?key)")
# Each letter of `token` and the following sign may be percent-encoded. The value ends with its query parameter or quoted
# string. It may contain line ends, because percent-decoding a token may have produced them.
_TOKEN = "".join(f"(?:{each}|%{ord(each):02x}|%{ord(each.upper()):02x})" for each in "token")
_SECRET_TEXT = re.compile(
    rf"""(?i)({_TOKEN}(?:\s*=\s*["']?|%3d|["']\s*:\s*b?["'])|\bbearer(?:\s+|\.|%20)|\bbasic\s+)[^& \t#;,"'<>]+"""
)


def configure(settings: LogSettings, stream: TextIO, now: Callable[[], float] = time.monotonic) -> None:
    """Send all events of the process to a stream. The program calls it before the first event, and again at a reload.

    Args:
        stream: The stream for the lines. With the format "auto", a terminal gets console lines, anything else JSON.
        now: Returns the seconds of the clock that limits repetitions.
    """
    lines = Lines(stream)
    terminal = not stream.closed and stream.isatty()
    console = settings.format == "console" or (settings.format == "auto" and terminal)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            RepetitionLimit(now, _report_suppressed),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            fit,
            redact,
            *(_console(colors=terminal) if console else [_json]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.level]),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [StandardEvents(max(_LEVELS[settings.level], logging.WARNING))]
    root.setLevel(logging.WARNING)
    logging.captureWarnings(True)


class Lines:
    """Writes lines to a stream without waiting for its reader. So a slow log reader never delays clients.

    If the pipe is full, the line is dropped. The number of dropped lines is logged before the next line that is written.
    Other errors are ignored, because there is nowhere left to report them.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._dropped = 0
        self._is_torn = False
        try:
            self._fd: int | None = stream.fileno()
        except (OSError, ValueError):
            self._fd = None

    def msg(self, line: str) -> None:
        # ValueError: the stream is closed, or can't encode the line.
        with contextlib.suppress(OSError, ValueError):
            if self._fd is None:
                self._stream.write(line + "\n")
                self._stream.flush()
            else:
                self._write(self._stream.fileno(), line)

    debug = info = warning = error = critical = exception = msg

    def _write(self, fd: int, line: str) -> None:
        data = f"{line}\n".encode(self._stream.encoding or "utf-8", "backslashreplace")
        if self._dropped:
            data = b'{"level": "warning", "event": "log lines dropped", "count": %d}\n' % self._dropped + data
        if self._is_torn:
            data = b"\n" + data
        for start in range(0, len(data), select.PIPE_BUF):
            # A pipe that is ready takes this many bytes at once (pipe(7)). In the middle of a line, wait briefly for room.
            if not _is_ready(fd, _TORN_MS if start else 0):
                self._dropped += 1
                self._is_torn = self._is_torn or start > 0
                return
            os.write(fd, data[start : start + select.PIPE_BUF])
        self._dropped, self._is_torn = 0, False


def _is_ready(fd: int, milliseconds: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(milliseconds))


class StandardEvents(logging.Handler):
    """Passes records of the standard library's logging to structlog, so that there is one format and one chain."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except (TypeError, ValueError, KeyError):
            # The arguments don't match the format.
            text = str(record.msg)
        level = logging.ERROR if record.levelno >= logging.ERROR else logging.WARNING
        exc_info = record.exc_info if record.exc_info and record.exc_info[0] else None
        repeats = f"{record.name}: {record.msg}"
        structlog.get_logger().log(level, text, logger=record.name, exc_info=exc_info, repeats=repeats)


class RepetitionLimit:
    """Passes the first events of each name at warning and above, and drops the others until the period ends.

    The first event of any kind after the period reports how many were dropped. The names are bounded, too: if there are
    more than `MAX_NAMES` in one period, all further names count as one.

    Args:
        now: Returns the time in seconds.
        report: Called with a name and the number of its dropped events. It may log.
        limit: The number of events of one name that pass in one period.
        period: The length of a period in seconds, from the first event.
    """

    MAX_NAMES = 256
    _OTHERS = "(others)"

    def __init__(
        self, now: Callable[[], float], report: Callable[[str, int], None], limit: int = 20, period: float = 10.0
    ) -> None:
        self._now = now
        self._report = report
        self._limit = limit
        self._period = period
        # Maps each name to the start of its period and the number of its events. The oldest period is first.
        self._periods: dict[str, tuple[float, int]] = {}

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        now = self._now()
        self._end_periods(now)
        name = str(event.pop("repeats", event.get("event")))
        if event.get("level") not in _SEVERE:
            return event
        if name not in self._periods and len(self._periods) >= self.MAX_NAMES:
            name = self._OTHERS
        began, count = self._periods.get(name, (now, 0))
        self._periods[name] = (began, count + 1)
        if count >= self._limit:
            raise structlog.DropEvent
        return event

    def _end_periods(self, now: float) -> None:
        ended = []
        while self._periods:
            name = next(iter(self._periods))
            began, count = self._periods[name]
            if now - began < self._period:
                break
            del self._periods[name]
            ended.append((name, count - self._limit))
        # Report only now, because a report may log and call this object again.
        for name, suppressed in ended:
            if suppressed > 0:
                self._report(name, suppressed)


def _report_suppressed(name: str, count: int) -> None:
    structlog.get_logger().warning("events suppressed", of=name, suppressed=count)


# The format of values.


def fit(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Cut text at MAX_TEXT characters, and convert other values to JSON types, within limits."""
    exception = event.pop("exception", None)
    fitted: EventDict = {_cut(str(name)): _fitted(value, MAX_DEPTH) for name, value in event.items()}
    if exception is not None:
        fitted["exception"] = _cut_traceback(str(exception))
    return fitted


def redact(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Redact values with the name of a secret, and text after `token=`, `Bearer` or `Basic`."""
    return {name: _redacted(name, value) for name, value in event.items()}


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + MARK


def _cut_traceback(text: str) -> str:
    """Keep whole lines from the end, which has the error. A partial line might lose the text that marks a secret."""
    if len(text) <= MAX_TRACEBACK:
        return text
    lines = text[-MAX_TRACEBACK:].split("\n")[1:]
    return "\n".join([MARK, *lines]) if lines else _cut(text)


def _fitted(value: object, depth: int) -> object:
    if isinstance(value, bool | int | None) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, Mapping | list | tuple | set | frozenset) and depth:
        if isinstance(value, Mapping):
            return {_cut(str(name)): _fitted(each, depth - 1) for name, each in [*value.items()][:MAX_ITEMS]}
        return [_fitted(each, depth - 1) for each in [*value][:MAX_ITEMS]]
    return _cut(str(value))


def _redacted(name: str, value: Any) -> Any:
    if _SECRET_KEY.fullmatch(name) and value is not None:
        return REDACTED
    if isinstance(value, str):
        return _SECRET_TEXT.sub(rf"\1{REDACTED}", value)
    if isinstance(value, dict):
        return {key: _redacted(key, each) for key, each in value.items()}
    if isinstance(value, list):
        return [_redacted("", each) for each in value]
    return value


# The format of lines.


def _json(logger: WrappedLogger, method: str, event: EventDict) -> str:
    first = {name: event[name] for name in ("timestamp", "level", "event") if name in event}
    # Only ASCII, so every separator, control and lone surrogate is escaped and can be restored. DEL is an ASCII control.
    return json.dumps(first | dict(event), ensure_ascii=True, allow_nan=False).replace("\x7f", "\\u007f")


def _console(*, colors: bool) -> list[Processor]:
    # The renderer escapes values with repr(). It doesn't escape the event's name and the traceback.
    # The traceback is text already. It doesn't show local values, as Rich would if it were installed.
    renderer = structlog.dev.ConsoleRenderer(
        colors=colors, pad_event_to=0, repr_native_str=True, exception_formatter=structlog.dev.plain_traceback
    )
    return [_printable, renderer]


def _printable(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Escape text that the renderer prints unchanged. Each line of a traceback gets a prefix that no event begins with."""
    printed: EventDict = {printable(name): value for name, value in event.items()}
    printed["event"] = printable(str(event.get("event")))
    if "exception" in event:
        printed["exception"] = "\n".join(f"    | {printable(line)}" for line in event["exception"].splitlines())
    return printed
