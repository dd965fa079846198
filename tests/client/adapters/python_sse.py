"""An adapter of a small client over Server-Sent Events: the core of vortexd.client, behind `http.client`. It shows that the runner plays them.

It knows the server's address, and no back-off besides the delays that a server names.
"""

import http.client
import json
import os
import socket
import time
import urllib.parse
from collections.abc import Iterator

from vortexd.client.change import Change
from vortexd.client.client_state import ClientState
from vortexd.client.disconnect import Disconnect, closed, refused
from vortexd.client.protocol import Conversation, Current, Over, Refused
from vortexd.core.patterns import parse_pattern

from .python_trio import report


def fields(response: http.client.HTTPResponse) -> Iterator[dict[str, str]]:
    """Yield the fields of each event, and nothing for comments."""
    event: dict[str, str] = {}
    while line := response.readline().decode():
        name, _, value = line.rstrip("\n").partition(":")
        if name:
            event[name] = value.removeprefix(" ")
        elif event:
            yield event
            event = {}


class Client:
    def __init__(self) -> None:
        self._held = ClientState()
        self._cursor: str | None = None
        self._patterns = [parse_pattern(text) for text in os.environ["CONFORMANCE_PATTERNS"].split()]

    def connection(self) -> Disconnect:
        """Follow one event stream, and return the reason for its end."""
        url = urllib.parse.urlsplit(os.environ["CONFORMANCE_URL"])
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=10)
        headers = {"Authorization": f"Bearer {os.environ['CONFORMANCE_TOKEN']}"}
        if self._cursor:
            headers["Last-Event-ID"] = self._cursor
        subject = f"{os.environ['CONFORMANCE_APPLICATION']}/{os.environ['CONFORMANCE_PROFILE']}"
        connection.request("GET", f"/api/v1/events/{subject}", headers=headers)
        # The response takes the socket along.
        connected = connection.sock
        try:
            response = connection.getresponse()
            if response.status != 200:
                retry_after = response.getheader("Retry-After")
                return refused(response.status, retry_after, response.read(), existed_before=self._held.key is not None)
            return self._followed(response, connected)
        except TimeoutError:
            return Disconnect("the server is silent")
        finally:
            connection.close()

    def _followed(self, response: http.client.HTTPResponse, connected: socket.socket) -> Disconnect:
        conversation = Conversation(self._held, self._patterns, time.monotonic())
        for event in fields(response):
            if "data" not in event or json.loads(event["data"])["type"] != event["event"]:
                continue
            self._cursor = event.get("id", self._cursor)
            for seen in conversation.receive(event["data"], time.monotonic()):
                match seen:
                    case Change(key, old_version, version, document):
                        change = {"key": str(key), "old_version": old_version, "version": version, "document": document}
                        report({"change": {**change, "is_behind": seen.is_behind}})
                    case Current():
                        report("current")
                    case Refused(code):
                        report({"refused": code})
                    case Over(end):
                        return end
            now = time.monotonic()
            connected.settimeout(max(0.1, conversation.wake_at(now) - now))
        return closed(1006, None, conversation.reconnect_after_ms)


def main() -> None:
    client = Client()
    may_return = True
    while may_return:
        end = client.connection()
        may_return = end.may_return
        report({"end": {"return": may_return}})
        time.sleep((end.reconnect_after_ms or 0) / 1_000)
    while os.read(0, 4_096):
        pass


if __name__ == "__main__":
    main()
