#!/usr/bin/env python3
"""Follows the first change, as "Your first change" in the README does, with installed programs, and prints how long it took.

Usage: packaging/first_change.py BIN [--client PYTHON]. BIN is the directory of vortexd and vortexctl. The server serves a copy of its own example.
With --client, a program also follows the change with vortexd-client on that Python. The exit status is 1 if the change doesn't arrive.
"""

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

LIMIT = 60.0
FILE, OLD, NEW = "billing-prod.yml", "size: 20", "size: 30"
CHANGE = "+ /database/pool/size: 30"
PROGRAM = """
import sys
from vortexd_client.blocking import watch
with watch(sys.argv[1], "billing", "prod") as config:
    print(config["database"]["pool"]["size"], flush=True)
    print(config.next_change(60).patch, flush=True)
"""
PATCH = "[{'op': 'replace', 'path': '/database/pool/size', 'value': 30}]"


class Failed(Exception):
    """The change didn't arrive; the text says why."""


@contextlib.contextmanager
def started(*command: str | Path, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program with a file as its output, and end it at the end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with output.open("wb") as file:
        process = subprocess.Popen(command, cwd=output.parent, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(text: str, output: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until a program has printed a text."""
    deadline = time.monotonic() + LIMIT
    while text not in output.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failed(f"{process.args} didn't print {text!r}, but: {output.read_text()}")
        time.sleep(0.01)


def wait_ready(url: str, output: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server is ready."""
    deadline = time.monotonic() + LIMIT
    while True:
        with (
            contextlib.suppress(urllib.error.URLError, ConnectionError),
            urllib.request.urlopen(f"{url}/ready", timeout=5),
        ):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failed(f"vortexd isn't ready: {output.read_text()}")
        time.sleep(0.01)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def follow(programs: Path, client: str | None, directory: Path) -> None:
    """Serve the example, watch it, save a change and wait for it."""
    script = "import pathlib, vortexd; print(pathlib.Path(vortexd.__file__).parent / 'example')"
    found = subprocess.run([programs / "python3", "-I", "-c", script], check=True, stdout=subprocess.PIPE, text=True)
    source = directory / "config"
    shutil.copytree(found.stdout.strip(), source, ignore=shutil.ignore_patterns("__pycache__"))
    address = f"127.0.0.1:{free_port()}"
    served, watched, followed = (directory / name for name in ("vortexd.log", "watch.log", "client.log"))
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        serve = (programs / "vortexd", "--source", source, "--bind", address)
        wait_ready(f"http://{address}", served, stack.enter_context(started(*serve, output=served)))
        ready = time.monotonic()
        watch = (programs / "vortexctl", "--server", f"http://{address}", "watch", "billing", "prod")
        watching = stack.enter_context(started(*watch, output=watched))
        if client:
            program = (client, "-I", "-c", PROGRAM, f"ws://{address}")
            following = stack.enter_context(started(*program, output=followed))
            wait_for("20\n", followed, following)
        file = source / FILE
        wait_for_watcher(f"http://{address}", bool(client) + 1)
        saved = time.monotonic()
        file.write_text(file.read_text().replace(OLD, NEW))
        wait_for(CHANGE, watched, watching)
        arrived = time.monotonic()
        if client:
            wait_for(PATCH, followed, following)
    print(f"ready after {ready - began:.2f} s; the change arrived {1000 * (arrived - saved):.0f} ms after it was saved")


def wait_for_watcher(url: str, connections: int) -> None:
    """Wait until the server has so many WebSocket connections."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"{url}/metrics", timeout=5) as response:
            for line in response.read().decode().splitlines():
                name, _, value = line.rpartition(" ")
                if name.partition("{")[0] == "vortexd_connections" and float(value) >= connections:
                    return
        time.sleep(0.01)
    raise Failed("nobody watches")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("programs", type=Path)
    parser.add_argument("--client")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        try:
            # Programs start in the temporary directory. A link of an environment stays a link.
            client = os.path.abspath(given.client) if given.client else None
            follow(given.programs.absolute(), client, Path(temporary))
        except Failed as failed:
            sys.exit(f"first_change: error: {failed}")
