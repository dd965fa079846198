"""What the h2 package has no public way for: limits that hold from the first byte on, and a GOAWAY that ends no request."""

import h2.config
import h2.connection
from h2.errors import ErrorCodes
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame


def http2_connection(streams: int, head_bytes: int) -> h2.connection.H2Connection:
    """Make the server's side of an HTTP/2 connection whose limits hold from the beginning on, whatever the peer acknowledges.

    Relies on: h2 announces and enforces what `local_settings` holds when the connection is initiated. Its public `update_settings` takes effect only
    once the peer has acknowledged it. `decoder.max_header_list_size` limits a head while it is unpacked.

    ENABLE_CONNECT_PROTOCOL stays off: WebSockets need HTTP/1.1 here.
    """
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
    limits = {SettingCodes.MAX_CONCURRENT_STREAMS: streams, SettingCodes.MAX_HEADER_LIST_SIZE: head_bytes}
    connection.local_settings = Settings(client=False, initial_values=limits)
    connection.decoder.max_header_list_size = head_bytes
    return connection


def goaway(last: int) -> bytes:
    """The frame that asks the peer to bring further requests elsewhere.

    Relies on: h2 takes no notice of a frame that it hasn't made, so requests up to `last` go on. Its own `close_connection` would end them.
    """
    return GoAwayFrame(0, last_stream_id=last, error_code=ErrorCodes.NO_ERROR).serialize()
