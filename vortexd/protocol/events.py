"""Server-Sent Events: the format text/event-stream, and the chunks of HTTP/1.1 that its events are sent in. Pure.

The data of an event is the JSON of a message, which has no line break. An event has an id only if the client has another
state after it. A browser sends the id of the last event when it reconnects. An empty id makes it forget the last one.
"""

CONTENT_TYPE = "text/event-stream"
# A comment, which clients ignore. It keeps proxies from closing a quiet stream.
HEARTBEAT = b": heartbeat\n\n"
# The end of a chunked body (RFC 9112 section 7.1).
LAST_CHUNK = b"0\r\n\r\n"


def event(data: bytes, kind: str, name: bytes | None = None) -> bytes:
    """Make an event.

    Args:
        data: One line of UTF-8.
        kind: The type of the event.
        name: The id of the event; empty to make the client forget the last id. None for an event without an id.
    """
    line = b"" if name is None else b"id: %b\n" % name
    return b"event: %b\n%bdata: %b\n\n" % (kind.encode("ascii"), line, data)


def retry(milliseconds: int) -> bytes:
    """Make the field that says after which time the client reconnects if the stream has ended."""
    return b"retry: %d\n\n" % milliseconds


def chunk(data: bytes) -> bytes:
    """Make a chunk of a body (RFC 9112 section 7.1). It must not be empty, because an empty one ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
