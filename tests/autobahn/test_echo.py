"""The server for the Autobahn test suite consists of vortexd's own parts, and sends each message back."""

import trio
from trio_websocket import open_websocket_url

from .echo import serve


async def test_it_says_back_what_it_is_told() -> None:
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve, 0)
        async with open_websocket_url(f"ws://127.0.0.1:{port}/ws/orders/dev") as websocket:
            for said in ("hello", "", "x" * 100_000, b"\0\1"):
                await websocket.send_message(said)
                with trio.fail_after(10):
                    assert said == await websocket.get_message()
        nursery.cancel_scope.cancel()
