from tests.fakes import KEY, TIMESTAMP
from vortexd.pipeline.broadcast import Delivery
from vortexd.pipeline.encoder import Payload
from vortexd.protocol import messages
from vortexd.protocol.frames import PING, text_frame
from vortexd.realtime.forms import PLAIN, web_socket_form


def test_there_is_one_form_for_each_window() -> None:
    assert web_socket_form(15) is web_socket_form(15)
    assert web_socket_form(15) is not web_socket_form(9)
    assert web_socket_form(None) is PLAIN
    assert (15, None) == (web_socket_form(15).window_bits, PLAIN.window_bits)


def test_a_form_of_frames_is_not_one_of_events() -> None:
    assert (None, "websocket") == (PLAIN.events, PLAIN.transport)


def test_all_windows_share_the_frame_before_compression() -> None:
    delivery = Delivery(KEY, None, "1", Payload(b"{}"))

    assert text_frame(b"{}") == PLAIN.shared(delivery)
    assert PLAIN.shared(delivery) is web_socket_form(9).shared(delivery)


def test_a_message_is_a_text_frame() -> None:
    assert text_frame(b"{}") == PLAIN.message(b"{}")


def test_a_heartbeat_is_the_message_with_the_version_and_a_ping() -> None:
    assert text_frame(messages.ping(KEY, "7", TIMESTAMP)) + PING == PLAIN.heartbeat(KEY, "7", TIMESTAMP)
