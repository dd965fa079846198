"""A parser of HTTP/1.1 by h11 that judges heads, trailers and chunks as strictly as `net.head`."""

from collections.abc import Callable

import h11
from h11._receivebuffer import ReceiveBuffer

from ...net.head import BARE_LF, EMPTY_LINE, Head, Refused, end_of_head, origin_form, parse_head


class _CheckedBuffer(ReceiveBuffer):
    """The buffer of received bytes. It checks lines before h11 takes them.

    Relies on: h11 takes heads and trailers by `maybe_extract_lines`, and the line before each chunk by
    `maybe_extract_next_line`. It accepts lines that end in LF alone.

    Args:
        check: Called with all bytes before h11 looks for a head or for trailers.
    """

    def __init__(self, check: Callable[[bytes], None]) -> None:
        super().__init__()
        self._check = check

    def maybe_extract_lines(self) -> list[bytearray] | None:
        self._check(bytes(self))
        return super().maybe_extract_lines()

    def maybe_extract_next_line(self) -> bytearray | None:
        line = super().maybe_extract_next_line()
        if line is not None and (b"\r" in line[:-2] or b"\0" in line):
            raise h11.RemoteProtocolError("a chunk begins with a line that can be read in two ways")
        return line


class Http1Parser(h11.Connection):
    """h11 as a server that ignores one empty line before each request (RFC 9112 section 2.2).

    Some clients send an empty line after a body. h11 takes it for a request line. h11 has no public way to remove bytes
    from its buffer, or to check them before it.

    Relies on: h11 keeps received bytes in `_receive_buffer`.

    Args:
        whole: Called when a request is complete.

    Attributes:
        head: The head of the current request, in origin form.
    """

    _may_be_empty = True
    head: Head

    def __init__(self, max_incomplete_event_size: int, whole: Callable[[], None] = lambda: None) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size)
        self._receive_buffer = _CheckedBuffer(self._check)
        self._most = max_incomplete_event_size
        self._whole = whole

    @property
    def is_partly(self) -> bool:
        """Whether a request has arrived partly."""
        return self.is_in_body or (self.their_state is h11.IDLE and bool(self.trailing_data[0]))

    @property
    def is_in_body(self) -> bool:
        """Whether a head has arrived, and its body hasn't arrived completely."""
        return self.their_state is h11.SEND_BODY

    @property
    def is_unfinished(self) -> bool:
        """Whether the client has more of a request to send, or has broken the protocol."""
        return self.their_state in (h11.SEND_BODY, h11.ERROR)

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return the next event, as `h11.Connection` does. Bytes after the last request are ignored (RFC 9112 section 9.6)."""
        if self.their_state is h11.MUST_CLOSE and self._receive_buffer:
            # h11 takes them for an error, which Hypercorn would send in place of the response.
            self._receive_buffer.maybe_extract_at_most(len(self._receive_buffer))
            return h11.NEED_DATA
        if self.their_state is h11.IDLE and self._may_be_empty:
            received, is_closed = self.trailing_data
            if received == EMPTY_LINE[:1] and not is_closed:
                return h11.NEED_DATA
            if received.startswith(EMPTY_LINE):
                self._receive_buffer.maybe_extract_at_most(len(EMPTY_LINE))
                self._may_be_empty = False
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._may_be_empty = True
        elif isinstance(event, h11.EndOfMessage):
            self._whole()
        return event

    def _check(self, data: bytes) -> None:
        """Check the bytes that begin with a head, or with the trailers of a chunked body.

        Raises:
            h11.RemoteProtocolError: They aren't valid.
        """
        if self.their_state is h11.IDLE:
            try:
                if end_of_head(data, self._most):
                    self.head = origin_form(parse_head(data))
            except Refused as refused:
                raise h11.RemoteProtocolError(refused.reason, error_status_hint=refused.status) from None
        elif not data.startswith(EMPTY_LINE) and BARE_LF.search(data.partition(b"\r\n\r\n")[0]):
            raise h11.RemoteProtocolError("each line of a trailer must end in CR LF")
