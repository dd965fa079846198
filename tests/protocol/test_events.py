import pytest

from vortexd.protocol.events import HEARTBEAT, LAST_CHUNK, chunk, event, retry


@pytest.mark.parametrize(
    ("name", "line"), [(None, b""), (b"", b"id: \n"), (b"1f3a", b"id: 1f3a\n")], ids=["none", "empty", "version"]
)
def test_an_event_has_its_type_its_id_and_its_data_in_one_line_each(name: bytes | None, line: bytes) -> None:
    assert b"event: hello\n" + line + b'data: {"a":1}\n\n' == event(b'{"a":1}', "hello", name)


def test_the_time_of_a_reconnect_is_a_field_without_an_event() -> None:
    assert b"retry: 1500\n\n" == retry(1_500)


def test_a_heartbeat_is_a_comment() -> None:
    assert b": heartbeat\n\n" == HEARTBEAT


@pytest.mark.parametrize(("size", "head"), [(1, b"1"), (15, b"f"), (16, b"10"), (4_096, b"1000")])
def test_a_chunk_has_its_size_in_hex(size: int, head: bytes) -> None:
    assert head + b"\r\n" + b"x" * size + b"\r\n" == chunk(b"x" * size)


def test_the_last_chunk_is_an_empty_one() -> None:
    assert chunk(b"") == LAST_CHUNK
