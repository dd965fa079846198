"""The commands of a client, carried out: subscriptions, resyncs and acks, with the answers to them.

In come the requests of a `session.Session`; out go replies, changes of the `chain.Chain`, and subscriptions at the pipeline. A subscription
ends at once and is confirmed later: a connection that is lost while it waits for room would leave the subscription behind.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence

import trio

from ..auth import Right
from ..core.errors import RemoteError
from ..core.patterns import Pattern
from ..pipeline.broadcast import Subscriber
from ..protocol import messages
from ..protocol.close import CloseReason
from ..protocol.frames import text_frame
from .chain import Chain, Reply
from .client import Client, Counters, Keys
from .inbound import Unacceptable
from .quota import PatternQuota
from .reports import Reports
from .session import Acknowledge, Answer, Close, Request, Resync, Session, Subscribe, Unsubscribe

# To mark so many keys takes less than a millisecond.
_KEYS_AT_ONCE = 128


class Commands:
    """Carries out the commands of one client.

    Args:
        subscriber: The connection, which is subscribed to the client's patterns.
        reply: Queues a reply, and waits for room.
        reports: Where acks go.
        quota: How many patterns there may be.
        timestamp: The current time as RFC 3339, UTC.
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
        """Carry out the command in a message.

        Raises:
            Unacceptable: It ends the connection.
        """
        if isinstance(message, bytes):
            raise Unacceptable(CloseReason.NOT_TEXT)
        await self._answer(self._session.receive(message, trio.current_time(), self._timestamp()))

    async def take_control(self) -> None:
        """Count a ping or pong frame.

        Raises:
            Unacceptable: There were too many.
        """
        await self._answer(self._session.receive_control(trio.current_time()))

    def unsubscribe_all(self) -> None:
        """End all subscriptions to patterns, when the connection has ended."""
        self._end(self._session.patterns)

    def revoke(self) -> None:
        """End the subscriptions to patterns that the client has no right to any more, and tell the client."""
        lost = [each for each in self._session.patterns if not self._client.admission.may(Right.SUBSCRIBE, each)]
        if lost:
            self._session.forget(lost)
            self._end(lost)
            self._forget_unmatched()
            self._chain.reply_first(self._message(messages.unsubscribed(lost, self._timestamp())))

    def _message(self, text: bytes) -> Reply:
        return Reply(text_frame(text))

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
                    # Behind the answer that says why; nothing more is read meanwhile.
                    await self._reply(Reply(b"", ends=reason))
                    await trio.sleep(self._client.settings.write_timeout)
                    raise Unacceptable(reason)

    async def _refuse(self, code: str, reason: str) -> None:
        await self._answer(self._session.refuse(code, reason, trio.current_time(), self._timestamp()))

    async def _resync(self, asked: Resync) -> None:
        if asked.key not in self._chain.versions:
            await self._refuse("SUBSCRIPTION_FAILED", "there is no such subscription")
        elif not self._client.admission.may(Right.SUBSCRIBE, asked.key):
            await self._refuse("FORBIDDEN", "the token doesn't allow this")
        else:
            wants_diff = asked.wants_diff and asked.last_version is not None
            self._chain.resync(asked.key, asked.last_version, in_full=not wants_diff)

    async def _acknowledge(self, said: Acknowledge) -> None:
        if said.key not in self._chain.versions:
            # The key may have ended while this was on its way, so it isn't counted as wrong.
            refusal = messages.error("SUBSCRIPTION_FAILED", "there is no such subscription", self._timestamp())
            await self._reply(self._message(refusal))
        elif not self._reports.take(self._client.instance, self._client.admission, said):
            await self._refuse("FORBIDDEN", "the token doesn't allow this")

    async def _subscribe(self, patterns: Sequence[Pattern], new: Sequence[Pattern]) -> None:
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
        except RemoteError as error:
            self._session.forget(new)
            await self._refuse("FORBIDDEN" if error.status == 403 else "SUBSCRIPTION_FAILED", error.reason)
            return
        # Some may have ended meanwhile, before they were there to be ended: see `revoke`.
        in_force = self._session.in_force(patterns)
        self._keys.unsubscribe(self._subscriber, [pattern for pattern in new if pattern not in in_force])
        await self._reply(self._message(messages.subscribed(in_force, self._timestamp())))
        for number, key in enumerate(keys, 1):
            self._chain.begin(key)
            if number % _KEYS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        self._chain.wake()

    def _end(self, patterns: Sequence[Pattern]) -> None:
        """End subscriptions to patterns that were in force."""
        self._keys.unsubscribe(self._subscriber, patterns)
        self._quota.give_back(self._client.owner, patterns)

    def _forget_unmatched(self) -> None:
        """Forget the keys that the client had by patterns which have ended."""
        others = [key for key in self._chain.keys if key != self._client.key]
        self._chain.forget(self._keys.unmatched(others, self._session.patterns))
