"""The frames between supervisor and workers: JSON with a length prefix, over a pair of sockets. Pure.

Both ends run the same version of one program. So an unreadable frame is a defect, not an attack.
"""

from collections.abc import Iterator

import attrs
import orjson

_LENGTH = 4
# The largest frame. It is far above the size of metrics or a page of a fleet.
MOST = 64 * 1024 * 1024


@attrs.frozen(slots=True)
class Frame:
    """A message between a worker and the supervisor.

    Attributes:
        kind: "ask", "asked" (the number of workers that were asked), "answer", "notify" (for systemd, through the
            supervisor), or "stop".
        id: The id of the question, from the asker's link. The supervisor prefixes the number of the asker.
        name: The name of a question, or of the worker that answers.
        text: The content.
    """

    kind: str
    id: str = ""
    name: str = ""
    text: str = ""


def encode(frame: Frame) -> bytes:
    """Encode a frame as bytes."""
    body = orjson.dumps([frame.kind, frame.id, frame.name, frame.text])
    return len(body).to_bytes(_LENGTH, "big") + body


class Decoder:
    """Decodes bytes into whole frames."""

    def __init__(self) -> None:
        self._held = bytearray()

    def receive(self, data: bytes | bytearray) -> Iterator[Frame]:
        """Add bytes, and yield the frames that are complete now.

        Raises:
            ValueError: The bytes aren't a frame.
        """
        self._held += data
        while len(self._held) >= _LENGTH:
            end = _LENGTH + int.from_bytes(self._held[:_LENGTH], "big")
            if end > _LENGTH + MOST:
                raise ValueError("a frame is too long")
            if len(self._held) < end:
                return
            body = bytes(self._held[_LENGTH:end])
            del self._held[:end]
            yield Frame(*orjson.loads(body))
