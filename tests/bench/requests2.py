"""Sends the same GET request over one HTTP/2 connection with TLS, many at a time, and prints the times. The benchmark `http` runs it.

python -m tests.bench.requests2 PORT SECONDS STREAMS TARGET
"""

import json
import socket
import ssl
import sys
import time
from collections.abc import Sequence

import h2.config
import h2.connection
import h2.events


def drive(port: int, seconds: float, streams: int, target: str) -> list[float]:
    """Return the latencies of all requests answered within this time."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
    headers = [(":method", "GET"), (":path", target), (":scheme", "https"), (":authority", "localhost")]
    sent: dict[int, float] = {}
    latencies: list[float] = []

    def ask() -> None:
        number = connection.get_next_available_stream_id()
        connection.send_headers(number, headers, end_stream=True)
        sent[number] = time.perf_counter()

    with context.wrap_socket(socket.create_connection(("127.0.0.1", port), 20)) as client:
        connection.initiate_connection()
        for _ in range(streams):
            ask()
        client.sendall(connection.data_to_send())
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends:
            data = client.recv(65_536)
            if not data:
                raise RuntimeError("closed")
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived) and dict(event.headers)[b":status"] != b"200":
                    raise RuntimeError(repr(event))
                if isinstance(event, h2.events.DataReceived):
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    latencies.append(time.perf_counter() - sent.pop(event.stream_id))
                    ask()
                elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                    raise RuntimeError(repr(event))
            client.sendall(connection.data_to_send())
    return latencies


def main(arguments: Sequence[str]) -> None:
    """Print the latencies as JSON."""
    port, seconds, streams, target = arguments
    print(json.dumps(drive(int(port), float(seconds), int(streams), target)))


if __name__ == "__main__":
    main(sys.argv[1:])
