"""The floor of a benchmark: a bare loop of `send` to as many sockets, in a separate process, as the server is.

It accepts connections as a WebSocket server would, and sends each a first message. For each line on its standard input, it sends one frame to
every client, and prints the time at which it began.

python -m vortexd.ctl.floor CONNECTIONS
"""

import socket
import sys
import time
from contextlib import ExitStack

ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b'Sec-WebSocket-Accept: x\r\n\r\n\x81\x0b{"type":""}'
)


def main() -> None:
    """Accept the connections, then send a frame for each line of standard input."""
    count = int(sys.argv[1])
    with socket.create_server(("127.0.0.1", 0), backlog=1_024) as listening, ExitStack() as stack:
        print(listening.getsockname()[1], flush=True)
        clients = []
        for _ in range(count):
            client = stack.enter_context(listening.accept()[0])
            client.sendall(ANSWER)
            clients.append(client)
        for line in sys.stdin:
            text = line.strip().encode()
            # A frame as large as the one that vortexd sends for one value.
            frame = b"\x81\x7e" + len(text).to_bytes(2, "big") + text
            began = time.monotonic()
            for client in clients:
                client.send(frame)
            print(began, flush=True)


if __name__ == "__main__":
    main()
