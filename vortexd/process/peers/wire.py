"""What supervisor and workers say to each other: frames of JSON behind their length, over a pair of sockets. Pure.

The two are one program of one version, so that what can't be read is a defect, not an enemy.
"""

from collections.abc import Iterator

import attrs
import orjson

_LENGTH = 4
# Of one frame; far above what metrics or a fleet come to.
MOST = 64 * 1024 * 1024


@attrs.frozen(slots=True)
class Frame:
    """One thing that is said.

    Attributes:
        kind: "ask", "asked" (how many others were), "answer", "notify" (to systemd, by way of the supervisor), or "stop".
        id: Whose question it is about, as the asker's link has it; the supervisor puts the asker in front.
        name: The name of a question, or who answers.
        text: The rest.
    """

    kind: str
    id: str = ""
    name: str = ""
    text: str = ""


def encode(frame: Frame) -> bytes:
    """A frame as bytes."""
    body = orjson.dumps([frame.kind, frame.id, frame.name, frame.text])
    return len(body).to_bytes(_LENGTH, "big") + body


class Decoder:
    """Bytes in, whole frames out."""

    def __init__(self) -> None:
        self._held = bytearray()

    def receive(self, data: bytes | bytearray) -> Iterator[Frame]:
        """The frames that are whole now.

        Raises:
            ValueError: It is no frame.
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
