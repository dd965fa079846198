"""Features that h2 has no public interface for: limits from the first byte on, and a GOAWAY that ends no request."""

import h2.config
import h2.connection
from h2.errors import ErrorCodes
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame


def http2_connection(streams: int, head_bytes: int) -> h2.connection.H2Connection:
    """Make the server's side of an HTTP/2 connection. Its limits apply from the beginning, without the peer's acknowledgement.

    Relies on: When the connection is initiated, h2 announces and enforces the limits in `local_settings`. The public
    `update_settings` takes effect only after the peer has acknowledged it. `decoder.max_header_list_size` limits a head
    while h2 unpacks it.

    ENABLE_CONNECT_PROTOCOL stays off, because vortexd accepts WebSockets only over HTTP/1.1.
    """
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
    limits = {SettingCodes.MAX_CONCURRENT_STREAMS: streams, SettingCodes.MAX_HEADER_LIST_SIZE: head_bytes}
    connection.local_settings = Settings(client=False, initial_values=limits)
    connection.decoder.max_header_list_size = head_bytes
    return connection


def goaway(last: int) -> bytes:
    """Make the frame that asks the peer to send further requests on another connection.

    Relies on: h2 ignores a frame that it hasn't made, so the requests up to `last` continue. Its own `close_connection` would
    end them.
    """
    return GoAwayFrame(0, last_stream_id=last, error_code=ErrorCodes.NO_ERROR).serialize()
