"""The internals of h2 that the adapter relies on."""

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from vortexd.http.adapter.h2 import goaway, http2_connection

REQUEST = [(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "localhost")]


def client() -> h2.connection.H2Connection:
    made = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    made.initiate_connection()
    return made


def test_contract_limits_are_announced_and_hold_before_the_peer_acknowledges_them() -> None:
    """Relied upon against a peer that acknowledges no settings: `update_settings` would not bind it."""
    server, peer = http2_connection(2, 1_000), client()
    server.initiate_connection()
    announced = [
        each for each in peer.receive_data(server.data_to_send()) if isinstance(each, h2.events.RemoteSettingsChanged)
    ]
    changed = {code: each.new_value for code, each in announced[0].changed_settings.items()}

    assert (2, 1_000) == (changed[SettingCodes.MAX_CONCURRENT_STREAMS], changed[SettingCodes.MAX_HEADER_LIST_SIZE])
    assert not changed.get(SettingCodes.ENABLE_CONNECT_PROTOCOL)
    other = client()
    for _ in range(3):
        other.send_headers(other.get_next_available_stream_id(), REQUEST)
    with pytest.raises(h2.exceptions.TooManyStreamsError):
        server.receive_data(other.data_to_send())


def test_contract_a_head_is_limited_while_it_is_unpacked() -> None:
    """Relied upon against a small frame that unpacks to a large head."""
    server, peer = http2_connection(2, 1_000), client()
    peer.send_headers(1, [*REQUEST, ("x", "y" * 1_000)])

    with pytest.raises(h2.exceptions.DenialOfServiceError):
        server.receive_data(peer.data_to_send())


def test_contract_a_goaway_of_ours_ends_no_request() -> None:
    """Relied upon in a drain: `close_connection` of h2 would end the requests that are under way."""
    server, peer = http2_connection(2, 1_000), client()
    server.initiate_connection()
    peer.send_headers(1, REQUEST, end_stream=True)
    server.receive_data(peer.data_to_send())
    peer.receive_data(server.data_to_send())
    (event,) = peer.receive_data(goaway(1))
    server.send_headers(1, [(":status", "200")], end_stream=True)

    assert isinstance(event, h2.events.ConnectionTerminated)
    assert (1, ErrorCodes.NO_ERROR) == (event.last_stream_id, event.error_code)
    assert server.data_to_send()
