"""A headless Chromium, driven over its DevTools protocol: reads what a page shows, and the errors that it logs."""

import base64
import contextlib
import itertools
import json
import math
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import trio
from trio_websocket import WebSocketConnection, open_websocket_url

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_PATIENCE = 20


class Page:
    """One tab.

    Attributes:
        complaints: Errors and warnings of the console, exceptions, and violations of the page's policy.
    """

    def __init__(self, websocket: WebSocketConnection) -> None:
        self._websocket = websocket
        self._numbers = itertools.count(1)
        self._answers: dict[int, dict[str, Any]] = {}
        self.complaints: list[str] = []

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Execute a command of the protocol."""
        number = next(self._numbers)
        await self._websocket.send_message(json.dumps({"id": number, "method": method, "params": parameters}))
        with trio.fail_after(_PATIENCE):
            while number not in self._answers:
                self._take(json.loads(await self._websocket.get_message()))
        answer = self._answers.pop(number)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers[message["id"]] = message
            return
        parameters = message.get("params", {})
        match message["method"]:
            case "Runtime.exceptionThrown":
                self.complaints.append(str(parameters["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if parameters["type"] in ("error", "warning"):
                self.complaints.append(str(parameters["args"]))
            case "Log.entryAdded" if parameters["entry"]["level"] in ("error", "warning"):
                if not _is_expected(parameters["entry"]):
                    self.complaints.append(parameters["entry"]["text"])

    async def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        found = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def wait(self, expression: str) -> Any:
        """Wait until an expression is true, and return its value."""
        with trio.move_on_after(_PATIENCE):
            while True:
                if value := await self.evaluate(expression):
                    return value
                await trio.sleep(0.05)
        text = await self.evaluate("document.body.innerText")
        raise AssertionError(f"{expression} didn't come true; the page says:\n{text}\n{self.complaints}")

    async def go(self, url: str) -> None:
        """Load a page."""
        await self.call("Page.navigate", url=url)
        await self.wait("document.readyState === 'complete'")

    async def appear(self, *, width: int = 1200, height: int = 800, dark: bool = False) -> None:
        """Set the window's size, and whether the page prefers dark or light."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def screenshot(self, path: Path) -> None:
        """Save a screenshot as PNG."""
        shot = await self.call("Page.captureScreenshot", format="png")
        await trio.Path(path).write_bytes(base64.b64decode(shot["data"]))


@contextlib.asynccontextmanager
async def open_page() -> AsyncIterator[Page]:
    """Start a browser with its own profile, and open a tab in it."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            CHROMIUM,
            "--headless=new",
            # In containers the browser runs as root, where its own sandbox doesn't work.
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "about:blank",
        ]
        process = await trio.lowlevel.open_process(command, stdout=-3, stderr=-3)
        try:
            port = await trio.to_thread.run_sync(_devtools, Path(profile) / "DevToolsActivePort")
            async with open_websocket_url(
                await _first_tab(port), max_message_size=2**26, message_queue_size=256
            ) as websocket:
                page = Page(websocket)
                for domain in ("Page", "Runtime", "Log"):
                    await page.call(f"{domain}.enable")
                yield page
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


def _is_expected(entry: dict[str, Any]) -> bool:
    """Whether a key has no history. The page learns this from the status of its request, and the browser reports the status."""
    return "status of 404" in entry["text"] and "/api/v1/history/" in entry.get("url", "")


def _devtools(file: Path) -> int:
    """Return the port, after the browser has written it to a file."""
    deadline = time.monotonic() + _PATIENCE
    while not (file.exists() and "\n" in file.read_text()):
        assert time.monotonic() < deadline, "the browser didn't start"
        time.sleep(0.05)
    return int(file.read_text().splitlines()[0])


async def _first_tab(port: int) -> str:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"GET /json/list HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % port)
        data = b""
        # The browser keeps the connection open, although the request asked to close it.
        length: float = math.inf
        while len(data) < length and (more := await stream.receive_some()):
            data += more
            head, _, _ = data.partition(b"\r\n\r\n")
            for line in head.split(b"\r\n") if b"\r\n\r\n" in data else ():
                if line.lower().startswith(b"content-length:"):
                    length = len(head) + 4 + int(line.partition(b":")[2])
    body = json.loads(data.partition(b"\r\n\r\n")[2])
    url: str = next(tab["webSocketDebuggerUrl"] for tab in body if tab["type"] == "page")
    return url
