"""The other workers on the same port, as one of them sees them: questions to all of them, and what they ask.

Out go questions by name, in come the answers of those who gave one in time. A daemon that is alone has no peers: nobody answers, at once.
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

# Who is asked answers from memory; one that hasn't by then is busy, stuck or starting.
ANSWER_TIMEOUT = 1.0
# One more than mean something.
_MOST_STOPS = 3
# Who answers beside the workers.
SUPERVISOR = "supervisor"
Answer = Callable[[str], str]


@attrs.frozen(eq=False)
class WorkerSlot:
    """What makes a daemon one of several workers.

    Attributes:
        number: Which one, from 0.
        count: How many there are.
        link: To the supervisor.
        watchdog: In how many seconds it has to be heard of.
    """

    number: int
    count: int
    link: socket.socket
    watchdog: float


@attrs.frozen(slots=True)
class Answers:
    """What the others said.

    Attributes:
        texts: By who said it: the number of a worker, or `SUPERVISOR`.
        missing: How many gave no answer in time.
    """

    texts: Mapping[str, str] = attrs.field(factory=dict)
    missing: int = 0


@attrs.define(eq=False)
class _Question:
    texts: dict[str, str] = attrs.field(factory=dict)
    expected: int | None = None
    is_over: trio.Event = attrs.field(factory=trio.Event)

    def look(self) -> None:
        if self.expected is not None and len(self.texts) >= self.expected:
            self.is_over.set()


class Peers:
    """See the module.

    Args:
        seat: None where there are no others.
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
        """Whether this is one of several."""
        return self._link is not None

    @property
    def stops(self) -> AsyncIterator[int]:
        """The signals of the supervisor: the first begins the drain, and a second one ends at once."""
        return self._stops

    async def run(self) -> None:
        """Talk with the supervisor. One that is gone has stopped us."""
        if self._link is not None:
            await self._link.run(self.hear)
            self._stop_now()

    def answer(self, name: str, handler: Answer) -> None:
        """Answer questions of that name with what a function says; it must not take long."""
        self._handlers[name] = handler

    async def ask(self, name: str, text: str = "") -> Answers:
        """Ask all others, and return what they have answered after `ANSWER_TIMEOUT` seconds at the latest."""
        if self._link is None:
            return Answers()
        id, question = str(next(self._ids)), _Question()
        self._questions[id] = question
        try:
            self._link.say(Frame("ask", id, name, text))
            with trio.move_on_after(ANSWER_TIMEOUT):
                await question.is_over.wait()
        finally:
            del self._questions[id]
        expected = self.count - 1 if question.expected is None else question.expected
        return Answers(question.texts, expected - len(question.texts))

    def tell(self, name: str, text: str = "") -> None:
        """As `ask`, for what needs no answer."""
        if self._link is not None:
            self._link.say(Frame("ask", "", name, text))

    def hear(self, frame: Frame) -> None:
        """Take what came over the link."""
        question = self._questions.get(frame.id)
        match frame.kind:
            case "ask":
                self._answer(frame)
            case "stop":
                self._stop_now()
            case "asked" if question is not None:
                question.expected = int(frame.text)
                question.look()
            case "answer" if question is not None:
                question.texts[frame.name] = frame.text
                question.look()

    def _stop_now(self) -> None:
        with contextlib.suppress(trio.WouldBlock):
            self._stop.send_nowait(signal.SIGTERM)

    def _answer(self, frame: Frame) -> None:
        assert self._link is not None
        handler = self._handlers.get(frame.name)
        text = handler(frame.text) if handler else ""
        self._link.say(Frame("answer", frame.id, "", text))


class _Reporter(Notifier):
    """Says to the supervisor how it goes, as a daemon that is alone says it to systemd."""

    def __init__(self, link: Link, watchdog: float) -> None:
        super().__init__({}, 0)
        self._link = link
        self._watchdog = watchdog

    def _say(self, text: str, fd: int | None = None) -> None:
        if fd is None:
            self._link.say(Frame("notify", text=text))
