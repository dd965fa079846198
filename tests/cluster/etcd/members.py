"""Members of etcd that answer as a test tells them, over streams in memory."""

import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
import h11
import orjson
import trio
from trio.testing import memory_stream_pair

from vortexd.cluster.connection import Connection, Endpoint, NotSent

ONE, TWO = Endpoint("one", 2379, False), Endpoint("two", 2379, False)


@attrs.define
class Asked:
    """A request that arrived."""

    member: str
    path: str
    body: Any
    headers: dict[str, str]


@attrs.define
class Answer:
    """What a member does with a request.

    Attributes:
        lines: Sent one after the other; bytes are sent as they are, an event is waited for, and a number is a pause.
        stays: Whether the member keeps the answer open, and sends nothing more.
        silent: Whether the member doesn't even begin an answer.
        ends: Whether the connection ends instead of the answer.
    """

    status: int = 200
    lines: tuple[object, ...] = ()
    stays: bool = False
    silent: bool = False
    ends: bool = False


Handler = Callable[[Asked], Answer | Awaitable[Answer]]


class Members:
    """Connects a gateway to members that a handler plays.

    Attributes:
        asked: All requests, in order.
        refused: The members that accept no connection.
        connections: The number of connections that were opened.
    """

    def __init__(self, nursery: trio.Nursery, handler: Handler) -> None:
        self.asked: list[Asked] = []
        self.refused: set[str] = set()
        self.connections = 0
        self._nursery = nursery
        self._handler = handler

    async def connect(self, endpoint: Endpoint, tls: ssl.SSLContext | None) -> Connection:
        await trio.lowlevel.checkpoint()
        if endpoint.host in self.refused:
            raise NotSent("connection refused")
        self.connections += 1
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(self._serve, endpoint.host, theirs)
        return Connection(ours, str(endpoint).partition("://")[2])

    async def _serve(self, name: str, stream: trio.abc.Stream) -> None:
        http = h11.Connection(h11.SERVER)
        async with stream:
            while True:
                request = await _next(http, stream)
                if not isinstance(request, h11.Request):
                    return
                body = bytearray()
                while isinstance(part := await _next(http, stream), h11.Data):
                    body += part.data
                headers = {key.decode(): value.decode() for key, value in request.headers}
                asked = Asked(name, request.target.decode(), orjson.loads(body), headers)
                self.asked.append(asked)
                answer = self._handler(asked)
                if not isinstance(answer, Answer):
                    answer = await answer
                if answer.ends:
                    return
                if answer.silent:
                    await trio.sleep_forever()
                data = http.send(h11.Response(status_code=answer.status, headers=[("Transfer-Encoding", "chunked")]))
                await stream.send_all(data or b"")
                for line in answer.lines:
                    if isinstance(line, trio.Event):
                        await line.wait()
                        continue
                    if isinstance(line, float):
                        await trio.sleep(line)
                        continue
                    text = line if isinstance(line, bytes) else orjson.dumps(line) + b"\n"
                    try:
                        await stream.send_all(http.send(h11.Data(data=text)) or b"")
                    except trio.BrokenResourceError:
                        return
                if answer.stays:
                    await trio.sleep_forever()
                try:
                    await stream.send_all(http.send(h11.EndOfMessage()) or b"")
                except trio.BrokenResourceError:
                    return
                http.start_next_cycle()


async def _next(http: h11.Connection, stream: trio.abc.Stream) -> object:
    while (event := http.next_event()) is h11.NEED_DATA:
        try:
            http.receive_data(bytes(await stream.receive_some()))
        except trio.BrokenResourceError:
            return None
    return event


def answer(**members: object) -> Answer:
    """Return an answer with a header and these members."""
    return Answer(lines=({"header": header()} | members,))


def header(revision: int = 7, store: str = "11") -> Mapping[str, str]:
    return {"cluster_id": store, "member_id": "1", "revision": str(revision), "raft_term": "2"}


def error(code: int, message: str, status: int = 400) -> Answer:
    return Answer(status, ({"code": code, "message": f"etcdserver: {message}"},))
