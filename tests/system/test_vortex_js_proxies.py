"""vortex.js in Node and in a browser, against the real process: both transports, proxies that don't pass WebSockets, and servers that fail."""

import contextlib
import functools
import http.server
import json
import shutil
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.console.node import NODE, VORTEX, needs_node
from vortexd.auth.tokens import digest_of, new_token

from .browser import CHROMIUM, open_page
from .console import CONNECTED
from .fleet import save
from .process import Server
from .test_proxies import free_port, program, running
from .test_spring_clients import found, installed, run

pytestmark = needs_node
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")

SCRIPT = """
const { watch } = await import(process.argv[1]);
const say = (what) => process.stdout.write(JSON.stringify(what) + "\\n");
const config = watch(process.argv[2], "billing", "prod", JSON.parse(process.argv[3]));
const now = () => ({ name: config.state.name, transport: config.state.transport, document: config.document });
config.on("state", ({ reason }) => say({ ...now(), reason }));
config.on("change", ({ key, patch, version, document }) => say({ key, patch, changed: document }));
process.stdin.on("data", (text) => say(text.toString() === "ack\\n" ? { sent: config.ack(config.version) } : now()));
"""
SETTINGS = """
[server]
bind = ["127.0.0.1:{port}"]
drain_timeout = 1
{server}
[[source]]
path = "{source}"
quiet = 0.02
[realtime]
heartbeat_interval = 2
heartbeat_timeout = 2
{more}
"""
FIRST, SECOND, THIRD = ({"size": number} for number in (1, 2, 3))
NAME = "billing:prod:main"
# The longest time until a client must have reported a failure, in seconds.
SOON = 5.0


def put(source: Path, document: dict[str, int]) -> None:
    save(source / "billing.yml", json.dumps(document))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "config"
    directory.mkdir()
    put(directory, FIRST)
    save(directory / "shop.yml", "open: true\n")
    return directory


@contextlib.contextmanager
def serving(source: Path, *, port: int = 0, server: str = "", more: str = "") -> Iterator[Server]:
    with Server(source, settings=SETTINGS.format(port=port, source=source, server=server, more=more)) as running_server:
        yield running_server


@contextlib.contextmanager
def proxied(upstream: int, directory: Path) -> Iterator[int]:
    """Run an nginx that forwards requests without their upgrades, as it does by default. Yields its port."""
    port = free_port()
    paths = "".join(
        f"{kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file = directory / "nginx.conf"
    file.write_text(
        f"daemon off; pid {directory}/pid; error_log stderr; events {{}} http {{ access_log off; {paths}"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{upstream};"
        " proxy_set_header Host $http_host; } } }"
    )
    with running([program("nginx", "nginx-light"), "-p", str(directory), "-c", str(file)], port, directory):
        yield port


class Client:
    """Run the script in Node, and read its output line by line."""

    def __init__(self, node: list[str], port: int, **options: Any) -> None:
        command = [*node, "--input-type=module", "--eval", SCRIPT, VORTEX.as_uri(), f"http://127.0.0.1:{port}"]
        self.process = subprocess.Popen(
            [*command, json.dumps(options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        # Don't wait for a line forever.
        self.timer = threading.Timer(60, self.process.kill)
        self.timer.start()

    def until(self, **members: Any) -> dict[str, Any]:
        """Return the next line that has these members."""
        assert self.process.stdout
        lines = []
        for line in self.process.stdout:
            said: dict[str, Any] = json.loads(line)
            if members.items() <= said.items():
                return said
            lines.append(said)
        raise AssertionError(lines)

    def ask(self, what: str = "state") -> dict[str, Any]:
        assert self.process.stdin
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return self.until(**({} if what == "state" else {"sent": False}))


@pytest.fixture(params=["installed", pytest.param("22", marks=pytest.mark.slow)])
def node(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> list[str]:
    """Return the command of a Node: the one that is installed, and 22 from npm, which has a WebSocket of its own."""
    if request.param == "installed":
        return [str(NODE), "--experimental-websocket"]
    package = f"node@{request.param}"
    command = [
        found("npm"),
        "install",
        "--no-audit",
        "--no-fund",
        "--no-save",
        "--no-package-lock",
        package,
        "--prefix",
    ]
    modules = installed(
        pytestconfig, "node-22", [package], lambda directory: run([*command, str(directory)], directory)
    )
    return [str(modules / "node_modules" / ".bin" / "node")]


@pytest.fixture
def following(node: list[str]) -> Iterator[Callable[..., Client]]:
    begun: list[Client] = []

    def begin(port: int, **options: Any) -> Client:
        begun.append(Client(node, port, **options))
        return begun[-1]

    yield begin
    for each in begun:
        each.timer.cancel()
        each.process.kill()
        each.process.communicate()


def change(client: Client, source: Path, document: dict[str, int]) -> None:
    """Save a file, and wait until the client has reported the change."""
    put(source, document)
    changed = client.until(key=NAME, changed=document)
    assert [{"op": "replace", "path": "/size", "value": document["size"]}] == changed["patch"]


@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_a_change_is_seen_and_a_server_that_stops_is_followed_again(
    source: Path, following: Callable[..., Client], transport: str
) -> None:
    with serving(source) as server:
        client = following(server.port, transport=transport, patterns=["shop:*"])
        client.until(name="connected", transport=transport)
        client.until(key="shop:default:main")
        change(client, source, SECOND)
        port = server.port
        assert 0 == server.stop()
    stale = client.until(name="stale")
    assert [SECOND, "1001 the server is stopping"] == [stale["document"], stale["reason"]]
    put(source, THIRD)
    with serving(source, port=port):
        client.until(key=NAME, changed=THIRD)
        client.until(name="connected", transport=transport)


def test_behind_a_proxy_without_websockets_it_follows_by_an_event_stream(
    source: Path, tmp_path: Path, following: Callable[..., Client]
) -> None:
    with serving(source) as server, proxied(server.port, tmp_path) as port:
        client = following(port, patterns=["shop:*"])
        client.until(name="connected", transport="sse")
        client.until(key="shop:default:main")
        change(client, source, SECOND)
        save(source / "shop.yml", "open: false\n")
        client.until(key="shop:default:main", changed={"open": False})
        assert {"sent": False} == client.ask("ack")

        upstream = server.port
        server.process.kill()
        assert SECOND == client.until(name="stale")["document"]
        put(source, THIRD)
        with serving(source, port=upstream):
            client.until(key=NAME, changed=THIRD)
            client.until(name="connected", transport="sse")


def test_a_proxy_in_front_of_a_server_that_is_away_is_asked_again(
    source: Path, tmp_path: Path, following: Callable[..., Client]
) -> None:
    upstream = free_port()
    with proxied(upstream, tmp_path) as port:
        client = following(port)
        assert "refused with 502" == client.until(name="stale")["reason"]
        with serving(source, port=upstream):
            client.until(name="connected", transport="sse", document=FIRST)


@pytest.mark.parametrize("transport", ["auto", "websocket", "sse"])
def test_a_url_where_nothing_listens_is_reported_soon_and_tried_again(
    source: Path, following: Callable[..., Client], transport: str
) -> None:
    port = free_port()
    began = time.monotonic()
    client = following(port, transport=transport)

    scheme = "http" if transport == "sse" else "ws"
    expected = f"can't connect to {scheme}://127.0.0.1:{port}: ECONNREFUSED"
    assert expected == client.until(name="stale")["reason"]
    assert time.monotonic() - began < SOON
    with serving(source, port=port):
        client.until(name="connected", document=FIRST, transport="sse" if transport == "sse" else "websocket")


RIGHT, OTHER = new_token(), new_token()
TOKENS = '[[token]]\nname = "web"\nsha256 = "{}"\nrights = ["read", "subscribe"]\npatterns = ["billing"]\n'


def guard(source: Path, token: str) -> str:
    """Write the file of tokens, and return the settings that require one."""
    path = source.parent / "tokens.toml"
    path.write_text(TOKENS.format(digest_of(token)))
    path.chmod(0o600)
    return '[auth]\ntokens = ["tokens.toml"]\n'


@pytest.mark.parametrize("is_proxied", [False, True], ids=["direct", "proxied"])
@pytest.mark.parametrize("transport", ["auto", "websocket", "sse"])
def test_a_wrong_token_is_reported_soon(
    source: Path, tmp_path: Path, following: Callable[..., Client], transport: str, is_proxied: bool
) -> None:
    with serving(source, more=guard(source, RIGHT)) as server, contextlib.ExitStack() as stack:
        port = stack.enter_context(proxied(server.port, tmp_path)) if is_proxied else server.port
        began = time.monotonic()
        failed = following(port, transport=transport, token=OTHER).until(name="failed")

    assert failed["reason"].startswith("refused with 401 ")
    assert time.monotonic() - began < SOON


def test_a_token_that_is_revoked_ends_the_stream_and_the_document_stays(
    source: Path, tmp_path: Path, following: Callable[..., Client]
) -> None:
    with serving(source, more=guard(source, RIGHT)) as server, proxied(server.port, tmp_path) as port:
        client = following(port, token=RIGHT)
        client.until(name="connected", transport="sse")
        guard(source, OTHER)
        server.process.send_signal(1)
        failed = client.until(name="failed")

    assert FIRST == failed["document"]
    assert failed["reason"].startswith("4401 ")


# The package, as its README says.

README = (VORTEX.parents[2] / "packaging/npm/README.md").read_text()


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """Return the directory of a project that has the package for npm."""
    found("npm")
    directory = tmp_path / "user"
    subprocess.run([VORTEX.parents[2] / "packaging/npm/build", tmp_path / "npm"], check=True, timeout=120)
    (tarball,) = (tmp_path / "npm").iterdir()
    with tarfile.open(tarball) as archive:
        archive.extractall(directory / "node_modules", filter="data")
    (directory / "node_modules/package").rename(directory / "node_modules/vortexd-client")
    return directory


def example(language: str, port: int) -> str:
    """Return the README's only program in a language, with the address of a server."""
    (text,) = README.split(f"```{language}\n")[1:]
    text = text.partition("```")[0]
    assert "127.0.0.1:8888" in text
    return text.replace("127.0.0.1:8888", f"127.0.0.1:{port}")


def test_the_readmes_program_for_node_follows_and_acknowledges(source: Path, user: Path, node: list[str]) -> None:
    save(source / "billing.yml", "database: {pool: {size: 1}}\n")
    with serving(source) as server:
        (user / "program.mjs").write_text(example("js", server.port))
        process = subprocess.Popen([*node, user / "program.mjs"], stdout=subprocess.PIPE, text=True)
        timer = threading.Timer(60, process.kill)
        timer.start()
        try:
            assert process.stdout
            assert "1\n" == process.stdout.readline()
            save(source / "billing.yml", "database: {pool: {size: 2}}\n")
            assert "{ op: 'replace', path: '/database/pool/size', value: 2 }" in process.stdout.readline()
        finally:
            timer.cancel()
            process.kill()
            process.communicate()


# A browser.


@contextlib.contextmanager
def pages(directory: Path) -> Iterator[str]:
    """Serve a directory, and yield the origin of its pages."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


PAGE = """<!doctype html><title>x</title><p id="state"></p><p id="size"></p><p id="reason"></p>
<script type="module">
  import { watch } from "./vortex.js";
  const { port, ...options } = JSON.parse(decodeURIComponent(location.hash.slice(1)));
  window.config = watch(`http://127.0.0.1:${port}`, "billing", "prod", options);
  const show = () => {
    document.getElementById("state").textContent = `${config.state.name} ${config.state.transport}`;
    document.getElementById("reason").textContent = config.state.reason;
    document.getElementById("size").textContent = config.document?.size;
  };
  config.on("state", show);
  config.on("change", show);
</script>
"""


def shows(name: str, text: str) -> str:
    return f"document.getElementById('{name}').textContent.startsWith({json.dumps(text)})"


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[str]:
    directory = tmp_path / "pages"
    directory.mkdir()
    shutil.copy(VORTEX, directory)
    (directory / "index.html").write_text(PAGE)
    with pages(directory) as found_origin:
        yield found_origin


def address(origin: str, port: int, **options: Any) -> str:
    return f"{origin}/index.html#{json.dumps({'port': port, **options})}"


@needs_browser
@pytest.mark.parametrize("is_proxied", [False, True], ids=["by a WebSocket", "by an event stream"])
async def test_a_page_of_another_origin_follows(source: Path, tmp_path: Path, origin: str, is_proxied: bool) -> None:
    """The server lists its origin. The page isn't told why the handshake failed, and tries an event stream."""
    transport = "sse" if is_proxied else "websocket"
    settings = f'[auth]\norigins = ["{origin}"]\n'
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(source, more=settings))
        port = stack.enter_context(proxied(server.port, tmp_path)) if is_proxied else server.port
        async with open_page() as page:
            await page.go(address(origin, port, patterns=["shop:*"]))
            await page.wait(shows("state", f"connected {transport}"))
            await page.wait(shows("size", "1"))
            put(source, SECOND)
            await page.wait(shows("size", "2"))

            upstream = server.port
            server.process.kill()
            await page.wait(shows("state", "stale"))
            assert await page.evaluate(shows("size", "2"))
            put(source, THIRD)
            with serving(source, port=upstream, more=settings):
                await page.wait(shows("state", f"connected {transport}"))
                await page.wait(shows("size", "3"))


@needs_browser
@pytest.mark.parametrize("is_proxied", [False, True], ids=["direct", "proxied"])
async def test_a_page_of_another_origin_learns_that_its_token_is_wrong(
    source: Path, tmp_path: Path, origin: str, is_proxied: bool
) -> None:
    settings = guard(source, RIGHT) + f'origins = ["{origin}"]\n'
    with serving(source, more=settings) as server, contextlib.ExitStack() as stack:
        port = stack.enter_context(proxied(server.port, tmp_path)) if is_proxied else server.port
        async with open_page() as page:
            began = time.monotonic()
            await page.go(address(origin, port, token=OTHER))
            await page.wait(shows("state", "failed"))
            assert time.monotonic() - began < 2 * SOON
            assert await page.evaluate(shows("reason", "refused with 401 "))

            await page.go("about:blank")
            await page.go(address(origin, port, token=RIGHT))
            await page.wait(shows("state", f"connected {'sse' if is_proxied else 'websocket'}"))


@needs_browser
async def test_a_page_learns_soon_that_nothing_listens(origin: str) -> None:
    async with open_page() as page:
        port = free_port()
        await page.go(address(origin, port))
        await page.wait(shows("state", "stale"))
        assert await page.evaluate(shows("reason", f"can't connect to http://127.0.0.1:{port}"))


@needs_browser
async def test_the_readmes_page_shows_the_value(source: Path, user: Path) -> None:
    save(source / "billing.yml", "database: {pool: {size: 1}}\n")
    with pages(user) as own, serving(source, more=f'[auth]\norigins = ["{own}"]\n') as server:
        (user / "index.html").write_text(example("html", server.port))
        async with open_page() as page:
            await page.go(f"{own}/index.html")
            await page.wait(shows("size", "1"))
            save(source / "billing.yml", "database: {pool: {size: 2}}\n")
            await page.wait(shows("size", "2"))
            assert [] == [each for each in page.complaints if "favicon" not in each and "404" not in each]


@needs_browser
async def test_the_console_works_behind_a_proxy_without_websockets(source: Path, tmp_path: Path) -> None:
    with serving(source) as server, proxied(server.port, tmp_path) as port:
        async with open_page() as page:
            await page.go(f"http://127.0.0.1:{port}/console/")
            await page.wait(CONNECTED)
            put(source, SECOND)
            await page.wait("document.querySelector('#changes').innerText.includes('size')")
