"""What a client's messages mean. Sans-IO: text in, requests and answers out, time as an argument.

A session knows nothing of sockets or of the store: it says what the connection is to do.
"""

from typing import Any, TypeAlias

import attrs

from ..model import Key
from . import messages
from .messages import InvalidMessage


@attrs.frozen(slots=True)
class Answer:
    """Send the client this message."""

    message: bytes


@attrs.frozen(slots=True)
class Resync:
    """Bring the client up to date from the version it says it has; None is from nothing."""

    key: Key
    last_version: str | None


Request: TypeAlias = Answer | Resync


class Session:
    """One client's conversation.

    Args:
        key: The main subscription.
    """

    def __init__(self, key: Key) -> None:
        self._key = key

    def receive(self, text: str, timestamp: str) -> list[Request]:
        """Take one message of the client, and return what is to be done about it, in order.

        Never raises: what is wrong with a message becomes an `error` message.
        """
        try:
            message = messages.parse(text)
            match message["type"]:
                case "pong":
                    return []
                case "resync":
                    return [self._resync(message)]
                case _:
                    raise InvalidMessage("there is no such type of message")
        except InvalidMessage as error:
            return [Answer(messages.error("INVALID_MESSAGE", error.reason, timestamp))]

    def _resync(self, message: dict[str, Any]) -> Resync:
        last_version = message.get("last_version")
        if last_version is not None and not isinstance(last_version, str):
            raise InvalidMessage("last_version is text")
        for member, own in (("app", self._key.application), ("profile", self._key.profile), ("label", self._key.label)):
            if message.get(member, own) != own:
                raise InvalidMessage("there is no such subscription")
        return Resync(self._key, last_version)
