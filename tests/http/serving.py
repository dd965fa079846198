"""Serves HTTP on a real socket of 127.0.0.1, with documents that the test sets."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager

import attrs
import h11
import trio

from tests.fakes import config, open_gate, timestamp
from vortexd.auth import Gate
from vortexd.core.errors import FormatError, ResolveError, UnknownLabel
from vortexd.core.model import BrokenFile, Config, Files, HeldBack, Json, Key, Names, PropertySource, Tree
from vortexd.core.term import Term
from vortexd.encryption.decryptor import Decryptor
from vortexd.gate.finding import Refusal
from vortexd.http.adapter.quart import QuartBodies
from vortexd.http.app import create_app
from vortexd.http.bridge import Bridge
from vortexd.http.configuration import Configuration, ReadsConfig
from vortexd.http.endpoint import Endpoint, Headers
from vortexd.http.routes import Routes, standard_routes
from vortexd.net.listener import Accepted, Listener
from vortexd.observe.metrics import Metrics
from vortexd.pipeline.state import State, overrides_of
from vortexd.resolve.listing import list_keys
from vortexd.resolve.tree import ParsedFiles, ParsedTree, broken_files, parse_tree
from vortexd.settings.formats import FormatSettings
from vortexd.settings.http import HttpSettings
from vortexd.settings.server import ServerSettings


async def quart_at_once() -> type[QuartBodies]:
    """Stands for `import_quart`, without its thread, which a fake clock doesn't wait for."""
    return QuartBodies


class FakeReader:
    """Serves one document for every application; `default_label` None is before the first state."""

    def __init__(self) -> None:
        self.default_label: str | None = "main"
        self.document: dict[str, Json] = {"a": 1}
        self.origins: dict[str, tuple[int, int]] = {}
        self.error: Exception | None = None
        self.held: list[HeldBack] = []
        self.refused: dict[str, Refusal] = {}
        self.terms: dict[Key, Term] = {}
        self.asked: list[Key] = []
        self._configs: dict[Key, Config] = {}
        self._state = object()
        self.decryptor: Decryptor | None = None
        self.formats = FormatSettings()

    def change(self, document: dict[str, Json]) -> None:
        self.document = document
        self._configs = {}
        self._state = object()

    @property
    def state(self) -> object:
        return self._state

    async def files(self, key: Key) -> list[ParsedFiles]:
        self.asked.append(key)
        return []

    def fault_of(self, key: Key) -> FormatError | ResolveError | None:
        return None

    def broken_for(self, key: Key) -> list[BrokenFile]:
        return [held.file for held in self.held]

    @property
    def broken(self) -> dict[tuple[str, str], BrokenFile]:
        return {(held.file.label, held.file.path): held.file for held in self.held}

    @property
    def refusals(self) -> dict[str, Refusal]:
        return self.refused

    def refusals_for(self, key: Key) -> list[Refusal]:
        return [*self.refused.values()]

    def term(self, key: Key) -> Term | None:
        return self.terms.get(key)

    async def held_back(self) -> list[HeldBack]:
        return self.held

    def report_undecryptable(self) -> None:
        raise AssertionError("nothing is decrypted here")

    def exists(self, key: Key) -> bool:
        return True

    def names_in(self, label: str) -> Names:
        return Names()

    async def read(self, key: Key) -> Config:
        self.asked.append(key)
        if self.error is not None:
            raise self.error
        if key.label not in ("main", "release/1.0"):
            raise UnknownLabel("no such label")
        if key not in self._configs:
            sources = (PropertySource("file:/config/shop.yml", dict(self.document), dict(self.origins)),)  # type: ignore[arg-type]  # the documents of tests have only scalars
            self._configs[key] = attrs.evolve(config(key, self.document), sources=sources)
        return self._configs[key]


class FilesReader:
    """Serves files as the line does, without its threads; whatever is asked of it is noted."""

    def __init__(
        self,
        contents: Mapping[str, str | bytes | Files],
        overrides: Mapping[str, str] | None = None,
        decryptor: Decryptor | None = None,
    ) -> None:
        self.decryptor = decryptor
        self.formats = FormatSettings()
        self._overrides = overrides_of(overrides or {})
        self._parsed: ParsedTree | None = None
        self._state: State | None = None
        self.default_label: str | None = "main"
        self.asked: list[Key] = []
        self.undecryptable: list[tuple[str, str]] = []
        self.refused: dict[str, Refusal] = {}
        self.terms: dict[Key, Term] = {}
        self.change(contents)

    def change(self, contents: Mapping[str, str | bytes | Files]) -> None:
        """Serve other files: paths to contents, of the one label `main`, or labels to `Files`."""
        self.contents = contents
        labels = {name: each for name, each in contents.items() if isinstance(each, Files)}
        texts = {name: each for name, each in contents.items() if not isinstance(each, Files)}
        files = {name: each.encode() if isinstance(each, str) else each for name, each in texts.items()}
        tree = Tree(labels or {"main": Files(files, root="file:/config/")})
        self._parsed = parsed = parse_tree(tree, self.formats, self._parsed)
        self._state = State(parsed.labels, parsed.default_label, self.decryptor, self._overrides)
        self._listing = list_keys(parsed)
        self._configs: dict[Key, Config] = {}

    @property
    def state(self) -> State | None:
        return self._state

    async def read(self, key: Key) -> Config:
        self.asked.append(key)
        assert self._state
        if key not in self._configs:
            self._configs[key] = self._state.resolve(key)
        return self._configs[key]

    async def files(self, key: Key) -> list[ParsedFiles]:
        self.asked.append(key)
        assert self._state
        return self._state.newest(key)

    def fault_of(self, key: Key) -> FormatError | ResolveError | None:
        broken = self.broken_for(key)
        return FormatError(broken[0].path, broken[0].reason, broken[0].line) if broken else None

    def broken_for(self, key: Key) -> list[BrokenFile]:
        assert self._state
        return self._state.broken(key)

    @property
    def broken(self) -> dict[tuple[str, str], BrokenFile]:
        assert self._state
        return broken_files(self._state.labels)

    @property
    def refusals(self) -> dict[str, Refusal]:
        return self.refused

    def refusals_for(self, key: Key) -> list[Refusal]:
        return [*self.refused.values()]

    def term(self, key: Key) -> Term | None:
        return self.terms.get(key)

    async def held_back(self) -> list[HeldBack]:
        return [HeldBack(each, 0, ()) for each in self.broken.values()]

    def report_undecryptable(self) -> None:
        self.undecryptable += self.decryptor.take_failures() if self.decryptor else []

    def exists(self, key: Key) -> bool:
        return key in self._listing.keys

    def names_in(self, label: str) -> Names:
        return self._listing.labels[label].names


def headers_of(headers: Mapping[str, str]) -> Headers:
    """Headers as an endpoint gets them."""
    return Headers([(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()])


@attrs.define
class Serving:
    """A running listener."""

    port: int
    reader: FakeReader
    metrics: Metrics
    listener: Listener
    bridge: Bridge
    connections: trio.Nursery
    websockets: list[Accepted]
    routes: Routes

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def exchange(self, data: bytes) -> bytes:
        """Send bytes on a new connection, and return everything until the server closes."""
        with trio.fail_after(10):
            async with await self.connect() as stream:
                await stream.send_all(data)
                return await read_all(stream)

    async def ask(self, target: str, method: str = "GET", body: bytes = b"", /, **headers: str) -> "Response":
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        answer = await self.exchange("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        return parse(answer, method)


@attrs.frozen
class Response:
    status: int
    headers: dict[str, str]
    body: bytes


async def read_all(stream: trio.SocketStream) -> bytes:
    data = b""
    try:
        async for part in stream:
            data += part
    except trio.BrokenResourceError:
        data += b"<reset>"
    return data


def parse(data: bytes, method: str = "GET") -> Response:
    """Read one whole answer strictly, as h11 does."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "x"), ("Connection", "close")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    client.receive_data(b"")
    response = client.next_event()
    assert isinstance(response, h11.Response), response
    body = b""
    while isinstance(event := client.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage), event
    return Response(response.status_code, {name.decode(): value.decode() for name, value in response.headers}, body)


@asynccontextmanager
async def serving(
    settings: ServerSettings | None = None,
    gate: Gate | None = None,
    more: Iterable[Endpoint] = (),
    reader: ReadsConfig | None = None,
    http: HttpSettings | None = None,
    beside: Callable[[Configuration], Iterable[Endpoint]] = lambda _: (),
) -> AsyncIterator[Serving]:
    settings = attrs.evolve(settings or ServerSettings(), bind=("127.0.0.1:0",))
    fake, metrics = FakeReader(), Metrics()
    gate = gate or open_gate()
    is_open = lambda: gate.is_open  # noqa: E731
    routes = standard_routes(reader or fake, metrics, more=more, settings=http, is_open=is_open, beside=beside)
    bridge = Bridge(create_app(routes, metrics, lambda: settings.body_bytes, timestamp, gate, quart_at_once), settings)
    # Otherwise the first request with a body would wait for a thread, and `wait_all_tasks_blocked` doesn't wait for it.
    await bridge.hypercorn.get()
    listener = Listener(settings)
    websockets: list[Accepted] = []

    async def websocket(accepted: Accepted) -> bool:
        websockets.append(accepted)
        return False

    async with trio.open_nursery() as outer:
        (url,) = await listener.bind()
        async with trio.open_nursery() as connections:
            outer.start_soon(listener.serve, connections, websocket, bridge.serve)
            port = int(url.rpartition(":")[2])
            yield Serving(port, fake, metrics, listener, bridge, connections, websockets, routes)
            connections.cancel_scope.cancel()
        outer.cancel_scope.cancel()
