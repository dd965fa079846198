"""`python -m vortexd.watch URL`: connect once, and print each message as lines for people.

It shows what a client sees: the state, then the differences. It doesn't come back after a close; that is a client's business.
"""

import argparse
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import trio
from trio_websocket import ConnectionClosed, HandshakeError, open_websocket_url

from .text import printable


def main(arguments: Sequence[str] | None = None) -> int:
    """Watch until the server closes the connection; 1 when there was none, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m vortexd.watch", description="Print what vortexd sends to one WebSocket client."
    )
    parser.add_argument("url", metavar="URL", help="such as ws://127.0.0.1:8888/ws/billing/prod")
    url = parser.parse_args(arguments).url
    status = 0
    try:
        trio.run(watch, url)
    except* (OSError, HandshakeError, ValueError) as group:
        print(f"can't watch {printable(url)}: {printable(_first(group))}", file=sys.stderr)
        status = 1
    except* KeyboardInterrupt:
        status = 128 + signal.SIGINT
    return status


async def watch(url: str) -> None:
    """Print each message until the connection is closed, and then why it was."""
    async with open_websocket_url(uncounted(url)) as websocket:
        try:
            while True:
                for line in describe(json.loads(await websocket.get_message())):
                    print(printable(line))
                sys.stdout.flush()
        except ConnectionClosed as closed:
            reason = closed.reason
            print(printable(f"closed: {reason.code} {reason.reason or ''}".rstrip() if reason else "closed"))


def uncounted(url: str) -> str:
    """The URL of somebody who only watches, and is no instance of the application; as it is where it names an instance."""
    parts = urlsplit(url)
    names = [pair.partition("=")[0] for pair in parts.query.split("&")]
    if "instance" in names:
        return url
    return urlunsplit(parts._replace(query=f"{parts.query}&instance=".lstrip("&")))


def describe(message: dict[str, Any]) -> Iterator[str]:
    """One message as lines: its type with what says where and when, then the document or the differences."""
    body = {"config", "diff", "type", "schema"}
    yield " ".join([message["type"], *(f"{name}={value}" for name, value in message.items() if name not in body)])
    if "config" in message:
        yield from (f"    {line}" for line in json.dumps(message["config"], indent=2, ensure_ascii=False).split("\n"))
    for operation in message.get("diff", ()):
        value = f" {json.dumps(operation['value'], ensure_ascii=False)}" if "value" in operation else ""
        source = f" from {operation['from']}" if "from" in operation else ""
        yield f"    {operation['op']} {operation['path'] or '(all)'}{source}{value}"


def _first(error: BaseException) -> str:
    """A sentence for the first leaf of a group; errors without text are named by their type."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
