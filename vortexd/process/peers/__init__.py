"""The other workers on the same port: a worker asks all of them questions, and answers theirs.

A worker sends questions by name, and collects the answers that come in time. A single daemon has no peers, so it gets
empty answers at once.
"""

import contextlib
import itertools
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping

import attrs
import trio

from ..systemd import Notifier
from .link import Link
from .wire import Frame

# Workers answer from memory. A worker that hasn't answered by then is busy, stuck or starting.
ANSWER_TIMEOUT = 1.0
# Two stop signals have a meaning. One more may wait.
_MOST_STOPS = 3
# The name under which the supervisor answers.
SUPERVISOR = "supervisor"
Answer = Callable[[str], str]


@attrs.frozen(eq=False)
class WorkerSlot:
    """The place of a daemon among several workers.

    Attributes:
        number: The worker's number, from 0.
        count: The number of workers.
        link: The socket to the supervisor.
        watchdog: The seconds within which the supervisor expects a message.
    """

    number: int
    count: int
    link: socket.socket
    watchdog: float


@attrs.frozen(slots=True)
class Answers:
    """The answers of the other workers.

    Attributes:
        texts: Maps the number of a worker, or `SUPERVISOR`, to its answer.
        missing: How many workers didn't answer in time.
    """

    texts: Mapping[str, str] = attrs.field(factory=dict)
    missing: int = 0


@attrs.define(eq=False)
class _Question:
    texts: dict[str, str] = attrs.field(factory=dict)
    expected: int | None = None
    is_complete: trio.Event = attrs.field(factory=trio.Event)

    def check(self) -> None:
        if self.expected is not None and len(self.texts) >= self.expected:
            self.is_complete.set()


class Peers:
    """Connects a worker with the other workers, by way of the supervisor.

    Args:
        slot: The worker's place, or None if there are no others.
    """

    def __init__(self, slot: WorkerSlot | None = None) -> None:
        self.count = slot.count if slot else 1
        self.number = slot.number if slot else 0
        self._link = Link(trio.SocketStream(trio.socket.from_stdlib_socket(slot.link))) if slot else None
        self._ids = itertools.count()
        self._questions: dict[str, _Question] = {}
        self._handlers: dict[str, Answer] = {}
        self._stop, self._stops = trio.open_memory_channel[int](_MOST_STOPS)
        self.notifier: Notifier | None = _Reporter(self._link, slot.watchdog) if self._link and slot else None

    @property
    def are_there(self) -> bool:
        """Whether this daemon is one of several workers."""
        return self._link is not None

    @property
    def stops(self) -> AsyncIterator[int]:
        """The stop signals from the supervisor: the first begins the drain, and the second ends the worker at once."""
        return self._stops

    async def run(self) -> None:
        """Exchange frames with the supervisor. If the supervisor is gone, stop."""
        if self._link is not None:
            await self._link.run(self.hear)
            self._stop_now()

    def answer(self, name: str, handler: Answer) -> None:
        """Answer questions of this name by a function, which must be fast."""
        self._handlers[name] = handler

    async def ask(self, name: str, text: str = "") -> Answers:
        """Ask all other workers. Returns the answers after at most `ANSWER_TIMEOUT` seconds."""
        if self._link is None:
            return Answers()
        id, question = str(next(self._ids)), _Question()
        self._questions[id] = question
        try:
            self._link.say(Frame("ask", id, name, text))
            with trio.move_on_after(ANSWER_TIMEOUT):
                await question.is_complete.wait()
        finally:
            del self._questions[id]
        expected = self.count - 1 if question.expected is None else question.expected
        return Answers(question.texts, expected - len(question.texts))

    def tell(self, name: str, text: str = "") -> None:
        """Send a message to all other workers, without waiting for answers."""
        if self._link is not None:
            self._link.say(Frame("ask", "", name, text))

    def hear(self, frame: Frame) -> None:
        """Handle a frame from the link."""
        question = self._questions.get(frame.id)
        match frame.kind:
            case "ask":
                self._answer(frame)
            case "stop":
                self._stop_now()
            case "asked" if question is not None:
                question.expected = int(frame.text)
                question.check()
            case "answer" if question is not None:
                question.texts[frame.name] = frame.text
                question.check()

    def _stop_now(self) -> None:
        with contextlib.suppress(trio.WouldBlock):
            self._stop.send_nowait(signal.SIGTERM)

    def _answer(self, frame: Frame) -> None:
        assert self._link is not None
        handler = self._handlers.get(frame.name)
        text = handler(frame.text) if handler else ""
        self._link.say(Frame("answer", frame.id, "", text))


class _Reporter(Notifier):
    """Reports the state to the supervisor, as a single daemon reports it to systemd."""

    def __init__(self, link: Link, watchdog: float) -> None:
        super().__init__({}, 0)
        self._link = link
        self._watchdog = watchdog

    def _send(self, text: str, fd: int | None = None) -> None:
        if fd is None:
            self._link.say(Frame("notify", text=text))
