from collections.abc import Iterator

import pytest
import trio
from structlog.testing import capture_logs

from vortexd.realtime.events.secrets import SECRET_BYTES, EventSecrets


async def test_the_secret_of_the_state_directory_is_read_once() -> None:
    reads: list[bytes] = []

    def read() -> bytes:
        reads.append(b"own")
        return b"own"

    secrets = EventSecrets(read)
    assert () == secrets.known()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(secrets.load)
    await secrets.load()
    assert ((b"own",), 1) == (secrets.known(), len(reads))


async def test_the_secret_of_the_cluster_signs_as_long_as_it_is_known() -> None:
    found: Iterator[bytes | None] = iter([b"cluster", None])
    secrets = EventSecrets(lambda: b"own", lambda: next(found))
    await secrets.load()

    assert ((b"cluster", b"own"), (b"own",)) == (secrets.known(), secrets.known())


async def test_without_a_state_directory_each_process_has_its_own() -> None:
    first, second = EventSecrets(), EventSecrets()
    for each in (first, second):
        await each.load()
    assert SECRET_BYTES == len(first.known()[0])
    assert first.known() != second.known()
    assert first.known() == first.known()


async def test_a_secret_that_cannot_be_read_is_logged_and_replaced() -> None:
    def read() -> bytes:
        raise OSError(28, "no space")

    secrets = EventSecrets(read)
    with capture_logs() as logs:
        await secrets.load()
        await secrets.load()
    assert SECRET_BYTES == len(secrets.known()[0])
    [event] = logs
    assert ("event secret not read", "warning") == (event["event"], event["log_level"])
    assert "no space" in event["reason"]


@pytest.mark.parametrize("cluster", [b"c", None])
async def test_the_cluster_alone_is_enough_before_the_first_load(cluster: bytes | None) -> None:
    assert ((cluster,) if cluster else ()) == tuple(EventSecrets(cluster=lambda: cluster).known())
