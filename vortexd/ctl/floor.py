"""The floor of a benchmark: a bare loop of send to as many sockets, in a process of its own as the server is.

It accepts connections as a WebSocket server would, says something first, and for each line on its standard input sends one frame
to every client, and prints when it began.

python -m vortexd.ctl.floor CONNECTIONS
"""

import socket
import sys
import time

ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b'Sec-WebSocket-Accept: x\r\n\r\n\x81\x0b{"type":""}'
)


def main() -> None:
    """See the module."""
    count = int(sys.argv[1])
    with socket.create_server(("127.0.0.1", 0), backlog=1_024) as listening:
        print(listening.getsockname()[1], flush=True)
        clients = []
        for _ in range(count):
            client, _ = listening.accept()
            client.sendall(ANSWER)
            clients.append(client)
        for line in sys.stdin:
            text = line.strip().encode()
            # A frame of the size that vortexd sends for one value.
            frame = b"\x81\x7e" + len(text).to_bytes(2, "big") + text
            began = time.monotonic()
            for client in clients:
                client.send(frame)
            print(began, flush=True)


if __name__ == "__main__":
    main()
