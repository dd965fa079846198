"""A headless Chromium, driven over its DevTools protocol: reads what a page shows, and the errors that it logs."""

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
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


class Browser:
    """A running browser, which all tests of a process share, because its start takes longer than most of them."""

    def __init__(self) -> None:
        assert CHROMIUM is not None
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
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
            f"--user-data-dir={self._profile.name}",
            "about:blank",
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self.address, self._path = _devtools(Path(self._profile.name) / "DevToolsActivePort")
        except BaseException:
            self.close()
            raise

    @property
    def is_running(self) -> bool:
        """Whether its process hasn't ended."""
        return self._process.poll() is None

    @property
    def url(self) -> str:
        """Where it takes the commands that concern no tab."""
        return self.address + self._path

    def close(self) -> None:
        """Kill it, and remove its profile."""
        self._process.kill()
        self._process.wait()
        self._profile.cleanup()


_browsers: list[Browser] = []


def _browser() -> Browser:
    """Return the running browser, or start it."""
    if not _browsers or not _browsers[-1].is_running:
        close_browsers()
        _browsers.append(Browser())
    return _browsers[-1]


def close_browsers() -> None:
    """Kill the browser, if it was started."""
    while _browsers:
        _browsers.pop().close()


@contextlib.asynccontextmanager
async def open_page() -> AsyncIterator[Page]:
    """Open a tab with cookies, a storage and a cache of its own."""
    browser = await trio.to_thread.run_sync(_browser)
    async with _connected(browser.url) as control:
        context = (await control.call("Target.createBrowserContext"))["browserContextId"]
        tab = await control.call("Target.createTarget", url="about:blank", browserContextId=context)
        try:
            async with _connected(f"{browser.address}/devtools/page/{tab['targetId']}") as page:
                for domain in ("Page", "Runtime", "Log"):
                    await page.call(f"{domain}.enable")
                yield page
        finally:
            with trio.CancelScope(shield=True):
                await control.call("Target.disposeBrowserContext", browserContextId=context)


@contextlib.asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Page]:
    async with open_websocket_url(url, max_message_size=2**26, message_queue_size=256) as websocket:
        yield Page(websocket)


def _is_expected(entry: dict[str, Any]) -> bool:
    """Whether a key has no history. The page learns this from the status of its request, and the browser reports the status."""
    return "status of 404" in entry["text"] and "/api/v1/history/" in entry.get("url", "")


def _devtools(file: Path) -> tuple[str, str]:
    """Return the address and the path that the browser writes to a file after its start."""
    deadline = time.monotonic() + _PATIENCE
    while not (file.exists() and "\n" in file.read_text()):
        assert time.monotonic() < deadline, "the browser didn't start"
        time.sleep(0.05)
    port, path = file.read_text().splitlines()
    return f"ws://127.0.0.1:{port}", path
