"""Would several threads write faster than one? The kernel's part runs without the interpreter lock; the rest holds the lock.

python -m tests.bench writers
"""

import argparse
import os
import socket
import statistics
import threading
import time

ROUNDS = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--sockets", type=int, default=5_000)


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    with socket.create_server(("127.0.0.1", 0), backlog=1_024) as listening:
        pairs = []
        for _ in range(arguments.sockets):
            one = socket.create_connection(listening.getsockname())
            pairs.append((one, listening.accept()[0]))
    fds = [one.fileno() for one, _ in pairs]
    base = None
    for threads in (1, 2, 4):
        seconds = statistics.median(measure(fds, threads) for _ in range(ROUNDS))
        for _, other in pairs:
            other.recv(65_536)
        base = base or seconds
        print(
            f"{threads} threads: {1_000 * seconds:.1f} ms for {len(fds)} sockets, {seconds / base:.2f} of one thread's"
        )
    for pair in pairs:
        for each in pair:
            each.close()


def measure(fds: list[int], threads: int) -> float:
    """Return the time until 300 bytes are written to each descriptor, with the descriptors divided among threads."""
    frame = b"x" * 300
    start = threading.Barrier(threads + 1)

    def send(mine: list[int]) -> None:
        start.wait()
        for fd in mine:
            os.write(fd, frame)

    workers = [threading.Thread(target=send, args=(fds[number::threads],)) for number in range(threads)]
    for worker in workers:
        worker.start()
    start.wait()
    began = time.perf_counter()
    for worker in workers:
        worker.join()
    return time.perf_counter() - began
