"""Recognizes the handshakes of clients that have sent a similar handshake before.

The clients of one fleet send the same header lines, except for `Sec-WebSocket-Key`. So the header lines are parsed and
checked once, and the principal of their token is found once. The results are kept until the token expires or a reload.
Each key and each target is still checked. Nothing is kept of a handshake that was refused. The results are kept by a
digest, because the lines or the target may have a token.
"""

import re
from hashlib import blake2b
from typing import TypeAlias

from ..auth import Admission, Gate, Recognition, token_parameters
from ..net.head import Head, Refused, parse_head
from ..net.proxies import Sender
from .handshake import Form, UsualOpening, usual_opening

# The header lines to remember. A fleet has few different ones, but clients can invent any number.
_MOST = 1_024
_DIGEST_BYTES = 32
_REQUEST_LINE = re.compile(rb"GET (/[!-~]*+) HTTP/1\.1\r\n")
_KEY_LINE = re.compile(rb"\r\n(?:Sec-WebSocket-Key|Sec-Websocket-Key|sec-websocket-key): ([A-Za-z0-9+/]{22}==)(?=\r\n)")
# A valid handshake of a client that the gate lets pass, and its target.
Recognized: TypeAlias = tuple[UsualOpening, str, Admission]


class Recognizer:
    """Recognizes handshakes; see the module."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._known: dict[bytes, tuple[Form, Recognition]] = {}

    def recognize(self, data: bytes, sender: Sender, head: Head | None = None) -> Recognized | None:
        """Check a handshake and its token. Returns None if it isn't a usual one, or if the gate would refuse it.

        A refusal isn't counted, as in `Gate.recognize`.

        Args:
            data: The bytes of a complete head, and nothing else.
            head: What they mean, if the caller has parsed them.
        """
        parts = _split(data) if head is None and sender.is_plain else None
        if parts is None:
            return self._parse(data, sender, head)
        digest, key, target = parts
        known = self._known.get(digest)
        if known is not None:
            form, recognition = known
            admission = self._gate.recall(recognition)
            if admission is not None:
                return UsualOpening((), form, key), target, admission
            del self._known[digest]
        found = self._parse(data, sender)
        if found is not None:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[digest] = found[0].form, self._gate.recognition(found[2])
        return found

    def _parse(self, data: bytes, sender: Sender, head: Head | None = None) -> Recognized | None:
        try:
            head = head or parse_head(data)
        except Refused:
            return None
        opening = usual_opening(data, head)
        if opening is None:
            return None
        target = head.target.decode("ascii")
        admission = self._gate.recognize(opening.headers, target, sender)
        return (opening, target, admission) if admission is not None else None


def _split(data: bytes) -> tuple[bytes, bytes, str] | None:
    """Split a head into a digest of its header lines, the key, which isn't a part of them, and the target.

    The parameters of the target that may be a token are a part of the digest, too. Returns None for a head of a rare form.
    """
    line, key = _REQUEST_LINE.match(data), _KEY_LINE.search(data)
    if line is None or key is None:
        return None
    target = line[1].decode("ascii")
    first, start = line.end() - 2, key.start()
    # The place of the key is a part of the digest, because the lines before it and after it are separate texts. The lines
    # end with an empty line, so the parameters after it are separate, too.
    others = b"%d\n%b%b%b" % (
        start - first,
        data[first:start],
        data[key.end() :],
        token_parameters(target).encode("ascii"),
    )
    return blake2b(others, digest_size=_DIGEST_BYTES).digest(), key[1], target
