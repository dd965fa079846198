"""Questions between nodes: signs and sends them, and checks those that arrive.

A question is a POST request to another node, and its answer is JSON. Its header names the node that asks, and has a MAC
by the cluster's secret: HMAC-SHA256 of the node that is asked, the path and the body. It contains no time, so clocks may
differ. A copied question only reads once more what its first reader could read. The answer has a MAC, too, which covers the
question. So another program at a node's address can't answer for it. Each question has a deadline, and each answer a
limit. A second header has a MAC of the body's length. So a node knows before it receives a large question that another node
sends it.
"""

import hashlib
import hmac
import re
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial

import attrs
import structlog
import trio

from ..core.errors import RemoteError
from ..settings.cluster import ClusterSettings
from .connection import Connection, Endpoint, Lost, NotSent
from .engine import EngineError, Entry, Event
from .etcd.access import client_context, in_thread
from .keys import Keys
from .warnings import RecordWarnings

log = structlog.get_logger()

# Seconds for all answers. A node answers from memory, and waits at most one second for its workers.
DEADLINE = 2.0
# The most bytes of an answer. A page has at most 1,000 instances.
ANSWER_BYTES = 8_388_608
# The most nodes that are asked at a time.
_AT_ONCE = 64
# Seconds until a connection must be closed.
_FAREWELL = 1.0
SECRET_BYTES = 32
HEADER = "Vortexd-Cluster"
LENGTH_HEADER = "Vortexd-Cluster-Length"
_HEADER = re.compile(r"node=([A-Za-z0-9._-]{1,64}), mac=([0-9a-f]{64})")
_LENGTH = re.compile(r"mac=([0-9a-f]{64})")
_ANSWER = re.compile(rb'\{"mac":"([0-9a-f]{64})","answer":(.*)\}', re.DOTALL)


@attrs.frozen
class Answers:
    """The answers of several nodes.

    Attributes:
        bodies: Maps each node that has answered to its answer.
        reasons: Maps each other node to the reason.
    """

    bodies: Mapping[str, bytes]
    reasons: Mapping[str, str]


class _Silence(Exception):
    """A node gives no usable answer. The text says why."""


async def _context(settings: ClusterSettings) -> ssl.SSLContext:
    return await in_thread(partial(client_context, settings))


class Questions:
    """Asks other nodes, and checks their questions.

    Args:
        node: The name of this node.
        settings: Returns the section [cluster] that is in force.
        connect: Opens a connection. Tests replace it.
        context: Makes the TLS context for addresses with https. May raise EngineError.

    Attributes:
        counts: The number of questions, by outcome: "answered" or "failed" if this node has asked, "refused" if another
            has asked.
    """

    def __init__(
        self,
        keys: Keys,
        node: str,
        settings: Callable[[], ClusterSettings],
        warnings: RecordWarnings,
        connect: Callable[[Endpoint, ssl.SSLContext | None], Awaitable[Connection]] = Connection.connect,
        context: Callable[[ClusterSettings], Awaitable[ssl.SSLContext]] = _context,
    ) -> None:
        self._keys = keys
        self._node = node
        self._settings = settings
        self._warnings = warnings
        self._connect = connect
        self._make_context = context
        self._context: tuple[ClusterSettings, ssl.SSLContext] | None = None
        self._secret: bytes | None = None
        self._unusable = 0
        self._silent: set[str] = set()
        self._has_refused = False
        self.counts = {"answered": 0, "failed": 0, "refused": 0}

    # The secret.

    @property
    def has_secret(self) -> bool:
        """Whether the store has a usable secret."""
        return self._secret is not None

    @property
    def secret(self) -> bytes | None:
        """The secret of the cluster. None if it isn't known, or can't be used."""
        return self._secret

    @property
    def unusable_secret(self) -> int:
        """The revision of the secret if the store has one that can't be used, else 0."""
        return self._unusable

    def read(self, entries: Iterable[Entry]) -> None:
        """Take a reading of all entries of the cluster."""
        self._secret, self._unusable = None, 0
        for entry in entries:
            self._put(entry)

    def take(self, events: Iterable[Event]) -> None:
        """Take the events of a watch."""
        for event in events:
            if event.entry is not None:
                self._put(event.entry)
            elif event.key == self._keys.secret:
                self._secret, self._unusable = None, 0
                self._warnings.usable(event.key)

    def _put(self, entry: Entry) -> None:
        if entry.key != self._keys.secret:
            return
        self._secret = entry.value if len(entry.value) == SECRET_BYTES else None
        self._unusable = entry.modified if self._secret is None else 0
        if self._secret is None:
            self._warnings.unusable(entry.key, f"it doesn't have {SECRET_BYTES} bytes")
        else:
            self._warnings.usable(entry.key)

    def _mac(self, secret: bytes, node: str, path: str, body: bytes) -> str:
        # Neither a node nor a path has a line break.
        return hmac.digest(secret, f"{node}\n{path}\n".encode() + body, hashlib.sha256).hex()

    def _answer_mac(self, secret: bytes, node: str, path: str, question: bytes, answer: bytes) -> str:
        # No path is the name of a node, so this is never the MAC of a question.
        text = f"answer\n{node}\n{path}\n".encode() + hashlib.sha256(question).digest() + answer
        return hmac.digest(secret, text, hashlib.sha256).hex()

    def _length_mac(self, secret: bytes, node: str, path: str, length: int) -> str:
        # The name of a node is no path, and no node is named "answer\n…". So this is never the MAC of anything else.
        return hmac.digest(secret, f"length\n{node}\n{path}\n{length}".encode(), hashlib.sha256).hex()

    # Questions that arrive.

    def announces(self, header: str | None, path: str, length: int) -> bool:
        """Return whether a node of this cluster announces a question of this length. Call `check` once it is received.

        Args:
            header: The value of `LENGTH_HEADER`.
        """
        found = _LENGTH.fullmatch(header or "")
        if found is None or self._secret is None:
            return False
        return hmac.compare_digest(found[1], self._length_mac(self._secret, self._node, path, length))

    def check(self, header: str | None, path: str, body: bytes) -> None:
        """Check that a node of this cluster asks this node.

        Raises:
            RemoteError: It isn't so.
        """
        found = _HEADER.fullmatch(header or "")
        if found is not None and self._secret is None:
            raise RemoteError("this node doesn't know the cluster's secret yet", 503)
        if (
            found is None
            or self._secret is None
            or not hmac.compare_digest(found[2], self._mac(self._secret, self._node, path, body))
        ):
            self.counts["refused"] += 1
            if not self._has_refused:
                log.warning(
                    "cluster question refused",
                    node=found[1] if found is not None else None,
                    reason="its MAC is wrong",
                    consequence="the log doesn't name further ones until a question is right",
                )
            self._has_refused = True
            raise RemoteError("only nodes of this cluster may ask this", 403)
        self._has_refused = False

    def sign(self, path: str, question: bytes, answer: bytes) -> bytes:
        """Return an answer of this node with its MAC, as a JSON object. Call `check` for the question before.

        Args:
            answer: JSON.
        """
        if self._secret is None:
            raise RemoteError("this node doesn't know the cluster's secret any more", 503)
        return b'{"mac":"%b","answer":%b}' % (
            self._answer_mac(self._secret, self._node, path, question, answer).encode(),
            answer,
        )

    # Questions to others.

    async def ask(self, nodes: Mapping[str, str], path: str, body: bytes) -> Answers:
        """Ask nodes the same question. Returns after at most `DEADLINE` seconds.

        Args:
            nodes: Maps each node to its address.
        """
        bodies, reasons = dict[str, bytes](), dict.fromkeys(nodes, f"it hasn't answered in {DEADLINE:g} s")
        limiter = trio.CapacityLimiter(_AT_ONCE)

        async def ask_one(node: str, address: str) -> None:
            try:
                async with limiter:
                    bodies[node] = await self._one(node, address, path, body)
                    del reasons[node]
            except _Silence as error:
                reasons[node] = str(error)

        with trio.move_on_after(DEADLINE):
            async with trio.open_nursery() as nursery:
                for node, address in nodes.items():
                    nursery.start_soon(ask_one, node, address)
        self._note(bodies, reasons)
        return Answers(bodies, reasons)

    def _note(self, bodies: Mapping[str, bytes], reasons: Mapping[str, str]) -> None:
        """Count the outcomes, and log each node that doesn't answer once."""
        self.counts["answered"] += len(bodies)
        self.counts["failed"] += len(reasons)
        for node, reason in reasons.items():
            if node not in self._silent:
                consequence = "its last counts take the place of its instances"
                log.warning("cluster node silent", node=node, reason=reason, consequence=consequence)
        for node in bodies:
            if node in self._silent:
                log.info("cluster node answers", node=node)
        # A node that isn't asked any more is away or gone, which other events say.
        self._silent = set(reasons)

    async def _one(self, node: str, address: str, path: str, body: bytes) -> bytes:
        if self._secret is None:
            raise _Silence("the cluster's secret isn't known yet")
        headers = {
            HEADER: f"node={self._node}, mac={self._mac(self._secret, node, path, body)}",
            LENGTH_HEADER: f"mac={self._length_mac(self._secret, node, path, len(body))}",
        }
        try:
            endpoint = Endpoint.parse(address, 443 if address.startswith("https:") else 80)
            context = await self._tls() if endpoint.is_secure else None
            connection = await self._connect(endpoint, context)
        except ValueError:
            raise _Silence("its address can't be used") from None
        except (NotSent, EngineError) as error:
            raise _Silence(f"it can't be reached: {error}") from None
        try:
            received = await _received(connection, await connection.post(path, headers, body))
        except Lost as error:
            raise _Silence(f"the connection has failed: {error}") from None
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _FAREWELL):
                await connection.aclose()
        return self._verified(node, path, body, received)

    def _verified(self, node: str, path: str, question: bytes, received: bytes) -> bytes:
        """Return an answer without its MAC."""
        found = _ANSWER.fullmatch(received)
        if found is None or self._secret is None:
            raise _Silence("its answer has no MAC; another program or another version may listen there")
        expected = self._answer_mac(self._secret, node, path, question, found[2])
        if not hmac.compare_digest(found[1].decode(), expected):
            raise _Silence("the MAC of its answer is wrong; another cluster may listen there")
        return found[2]

    async def _tls(self) -> ssl.SSLContext:
        """Return a context by the settings in force. It is made anew after each reload, because files may have changed."""
        settings = self._settings()
        if self._context is None or self._context[0] is not settings:
            self._context = settings, await self._make_context(settings)
        return self._context[1]


async def _received(connection: Connection, status: int) -> bytes:
    if status != 200:
        raise _Silence(f"it answers with status {status}")
    received = bytearray()
    while (part := await connection.receive()) is not None:
        received += part
        if len(received) > ANSWER_BYTES:
            raise _Silence(f"its answer is longer than {ANSWER_BYTES} bytes")
    return bytes(received)
