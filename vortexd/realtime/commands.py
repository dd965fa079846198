"""Executes the commands of a client: subscriptions, resyncs and acks.

It takes the requests of a `session.Session`. It queues replies, changes the `chain.Chain`, and subscribes at the pipeline. A
subscription is ended first and confirmed afterwards. Otherwise, if the connection were lost while the confirmation waits
for room, the subscription would remain.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

import trio

from ..auth import Forbidden, Right
from ..core.errors import RemoteError
from ..core.model import Key
from ..core.patterns import Pattern
from ..pipeline.broadcast import Subscriber
from ..protocol import messages
from ..protocol.close import CloseReason
from .chain import Chain, Reply
from .client import Client, Counters, Keys, Wanted
from .inbound import Unacceptable
from .quota import PatternQuota
from .reports import Reports
from .session import Acknowledge, Answer, Close, Request, Resync, Session, Subscribe, Unsubscribe

# Marking this many keys as behind takes less than a millisecond.
_KEYS_AT_ONCE = 128


class Commands:
    """Executes the commands of one client.

    Args:
        subscriber: The connection. It is the subscriber of the client's patterns.
        reply: Queues a reply, and waits for room.
        reports: Receives acks.
        quota: Limits the number of patterns.
        timestamp: Returns the current time as RFC 3339, UTC.
    """

    def __init__(
        self,
        subscriber: Subscriber,
        client: Client,
        session: Session,
        chain: Chain,
        reply: Callable[[Reply], Awaitable[None]],
        keys: Keys,
        counters: Counters,
        reports: Reports,
        quota: PatternQuota,
        timestamp: Callable[[], str],
    ) -> None:
        self._subscriber = subscriber
        self._client = client
        self._session = session
        self._chain = chain
        self._reply = reply
        self._keys = keys
        self._counters = counters
        self._reports = reports
        self._quota = quota
        self._timestamp = timestamp

    async def take(self, message: str | bytes) -> None:
        """Execute the command in a message.

        Raises:
            Unacceptable: The message ends the connection.
        """
        if isinstance(message, bytes):
            raise Unacceptable(CloseReason.NOT_TEXT)
        await self._answer(self._session.receive(message, trio.current_time(), self._timestamp()))

    async def take_control(self) -> None:
        """Count a ping or pong frame.

        Raises:
            Unacceptable: The client has sent too many messages and frames.
        """
        await self._answer(self._session.receive_control(trio.current_time()))

    async def subscribe(self, wanted: Wanted) -> None:
        """Subscribe to the patterns of an event stream, as if the client had sent them. They are in force in the session."""
        await self._subscribe(wanted.patterns, wanted.patterns, wanted.version_of)

    def unsubscribe_all(self) -> None:
        """End all subscriptions to patterns. Called when the connection has ended."""
        self._end(self._session.patterns)

    def revoke(self) -> None:
        """End the subscriptions to patterns that the client has lost its right to, and send the client a message."""
        lost = [each for each in self._session.patterns if not self._client.admission.may(Right.SUBSCRIBE, each)]
        if lost:
            self._session.forget(lost)
            self._end(lost)
            self._forget_unmatched()
            self._chain.reply_first(self._message(messages.unsubscribed(lost, self._timestamp())))

    def _message(self, text: bytes) -> Reply:
        return Reply(self._client.form.message(text))

    async def _answer(self, requests: Iterable[Request]) -> None:
        for request in requests:
            if request.kind is not None:
                self._counters.message_received(request.kind)
            match request:
                case Answer(message):
                    await self._reply(self._message(message))
                case Resync():
                    await self._resync(request)
                case Subscribe(patterns, new):
                    await self._subscribe(patterns, new)
                case Unsubscribe(patterns, ended):
                    self._end(ended)
                    if ended:
                        await self._keys.turn()
                        self._forget_unmatched()
                    await self._reply(self._message(messages.unsubscribed(patterns, self._timestamp())))
                case Acknowledge():
                    await self._acknowledge(request)
                case Close(reason):
                    # The connection ends after the answer with the reason. Nothing more is read until then.
                    await self._reply(Reply(b"", ends=reason))
                    await trio.sleep(self._client.settings.write_timeout)
                    raise Unacceptable(reason)

    async def _refuse(self, code: str, reason: str) -> None:
        await self._answer(self._session.refuse(code, reason, trio.current_time(), self._timestamp()))

    async def _forbid(self, right: Right, where: str) -> None:
        """Refuse a message, and name the right that it needs. A client may know the rights of its own token."""
        await self._refuse("FORBIDDEN", f"the token doesn't allow this: it needs the right {right.value} for {where}")

    async def _resync(self, asked: Resync) -> None:
        if asked.key not in self._chain.versions:
            await self._refuse("SUBSCRIPTION_FAILED", "there is no such subscription")
        elif not self._client.admission.may(Right.SUBSCRIBE, asked.key):
            await self._forbid(Right.SUBSCRIBE, "this key")
        else:
            wants_diff = asked.wants_diff and asked.last_version is not None
            self._chain.resync(asked.key, asked.last_version, in_full=not wants_diff)

    async def _acknowledge(self, said: Acknowledge) -> None:
        if said.key not in self._chain.versions:
            # The key may have been removed while the ack was in transit, so this doesn't count as an error.
            refusal = messages.error("SUBSCRIPTION_FAILED", "there is no such subscription", self._timestamp())
            await self._reply(self._message(refusal))
        elif not self._reports.take(self._client.instance, self._client.admission, said, self._chain.sent):
            await self._forbid(Right.REPORT, "this key")

    async def _subscribe(
        self,
        patterns: Sequence[Pattern],
        new: Sequence[Pattern],
        version_of: Callable[[Key], str | None] = lambda _: None,
    ) -> None:
        owner = self._client.owner
        try:
            for pattern in new:
                self._client.admission.authorize(Right.SUBSCRIBE, pattern)
            self._quota.take(owner, new)
            try:
                keys = await self._keys.subscribe(self._subscriber, new, self._client.settings.keys)
            except RemoteError:
                self._quota.give_back(owner, self._session.in_force(new))
                raise
        except Forbidden:
            self._session.forget(new)
            await self._forbid(Right.SUBSCRIBE, "each pattern of the message")
            return
        except RemoteError as error:
            self._session.forget(new)
            await self._refuse("FORBIDDEN" if error.status == 403 else "SUBSCRIPTION_FAILED", error.reason)
            return
        # `revoke` may have ended some of them meanwhile, before they were subscribed.
        in_force = self._session.in_force(patterns)
        self._keys.unsubscribe(self._subscriber, [pattern for pattern in new if pattern not in in_force])
        await self._reply(self._message(messages.subscribed(in_force, self._timestamp())))
        revoked = [pattern for pattern in in_force if pattern not in self._session.patterns]
        if revoked:
            # While the confirmation waited for room, `revoke` has sent their end. The client must read the end last.
            await self._reply(self._message(messages.unsubscribed(revoked, self._timestamp())))
        await self._begin(tuple(keys), new, version_of)

    async def _begin(
        self, keys: Sequence[Key], new: Sequence[Pattern], version_of: Callable[[Key], str | None]
    ) -> None:
        """Begin the chains of keys that new patterns have matched, except keys that only revoked patterns match.

        `version_of` returns the version of a key that the client claims to have, or None.
        Each wait may let `revoke` run. It forgets the keys that have begun, but it doesn't know the keys that are left.
        """
        in_force: Sequence[Pattern] = new
        unmatched: Collection[Key] = ()
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            if in_force != (in_force := self._session.in_force(new)):
                unmatched = frozenset(self._keys.unmatched(keys, self._session.patterns))
            for key in keys[start : start + _KEYS_AT_ONCE]:
                if key not in unmatched:
                    self._chain.begin(key, version_of(key))
            await trio.lowlevel.checkpoint()
        self._chain.wake()

    def _end(self, patterns: Sequence[Pattern]) -> None:
        """End subscriptions to patterns that were in force."""
        self._keys.unsubscribe(self._subscriber, patterns)
        self._quota.give_back(self._client.owner, patterns)

    def _forget_unmatched(self) -> None:
        """Forget the keys that only ended patterns have matched."""
        others = [key for key in self._chain.keys if key != self._chain.key]
        self._chain.forget(self._keys.unmatched(others, self._session.patterns))
