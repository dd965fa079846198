"""Starts the members of a real etcd for tests, and stops, freezes and resumes them one by one."""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from urllib.request import Request, urlopen


def etcd_program() -> str | None:
    """Return etcd's program: that of $VORTEXD_ETCD, or that on the search path; None if there is none."""
    return shutil.which(os.environ.get("VORTEXD_ETCD", "etcd"))


class EtcdServers:
    """The members of one etcd, each a process of its own.

    Args:
        directory: Holds the data and the logs.
        count: The number of members.
        options: Further options of each member.
        tls: The certificate and the key of all members, for localhost. The members then speak https to clients.
        through: Returns the port at which the other members reach a member that listens on a port for them.
    """

    def __init__(
        self,
        directory: Path,
        count: int = 3,
        options: Sequence[str] = (),
        tls: tuple[Path, Path] | None = None,
        through: Callable[[int], int] = lambda port: port,
    ) -> None:
        self._directory = directory
        self._tls = tls
        self._options = tuple(options)
        ports = free_ports(2 * count)
        self._clients, self._peers = ports[:count], ports[count:]
        self._reached = [*map(through, self._peers)]
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * count

    @property
    def endpoints(self) -> list[str]:
        """The address of each member."""
        return [f"https://localhost:{port}" if self._tls else f"http://127.0.0.1:{port}" for port in self._clients]

    @property
    def pids(self) -> list[int]:
        """The processes of the members that run."""
        return [each.pid for each in self._processes if each is not None]

    def __enter__(self) -> "EtcdServers":
        try:
            for number in range(len(self._clients)):
                self.start(number)
            for number in range(len(self._clients)):
                self.wait_ready(number)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def start(self, number: int) -> None:
        """Start a member, with the data that it has. It is ready later."""
        program = etcd_program()
        assert program is not None
        client, peer = self.endpoints[number], f"http://127.0.0.1:{self._peers[number]}"
        reached, cluster = self._cluster
        files = [] if self._tls is None else ["--cert-file", str(self._tls[0]), "--key-file", str(self._tls[1])]
        with (self._directory / f"m{number}.log").open("ab") as log:
            self._processes[number] = subprocess.Popen(
                [
                    program,
                    *("--name", f"m{number}", "--data-dir", str(self._directory / f"m{number}")),
                    *("--listen-client-urls", client.replace("localhost", "127.0.0.1")),
                    *("--advertise-client-urls", client),
                    *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", reached[number]),
                    *("--initial-cluster", cluster, "--logger", "zap"),
                    # A test machine's disk may be slow, and its processors busy.
                    *("--heartbeat-interval", "100", "--election-timeout", "1000"),
                    *files,
                    *self._options,
                ],
                stdout=log,
                stderr=log,
            )

    @property
    def _cluster(self) -> tuple[list[str], str]:
        """The addresses at which the members reach each other, and the option that lists all of them."""
        reached = [f"http://127.0.0.1:{port}" for port in self._reached]
        return reached, ",".join(f"m{each}={address}" for each, address in enumerate(reached))

    def save(self, file: Path) -> None:
        """Make a backup, with etcdctl."""
        self._ctl("--endpoints", self.endpoints[0], "snapshot", "save", str(file))

    def restore(self, file: Path) -> None:
        """Put a backup in place of the data of all members, with etcdctl. None of them runs."""
        reached, cluster = self._cluster
        for number, address in enumerate(reached):
            place = self._directory / f"m{number}"
            shutil.rmtree(place)
            options = ["--name", place.name, "--data-dir", str(place), "--initial-cluster", cluster]
            self._ctl("snapshot", "restore", str(file), *options, "--initial-advertise-peer-urls", address)

    def _ctl(self, *arguments: str) -> None:
        environment = {"ETCDCTL_API": "3", "PATH": os.environ["PATH"]}
        subprocess.run(["etcdctl", *arguments], check=True, capture_output=True, env=environment, timeout=30)

    def wait_ready(self, number: int, seconds: float = 60) -> None:
        """Wait until a member answers, and knows a leader."""
        deadline = time.monotonic() + seconds
        request = Request(
            f"{self.endpoints[number]}/v3/kv/range", b'{"key": "AA=="}', {"Content-Type": "application/json"}
        )
        while True:
            try:
                with urlopen(request, timeout=2, context=self.context):
                    return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    @property
    def context(self) -> ssl.SSLContext | None:
        """Trusts the certificate of the members; None without TLS."""
        return ssl.create_default_context(cafile=str(self._tls[0])) if self._tls else None

    def kill(self, number: int) -> None:
        """End a member without warning."""
        process = self._processes[number]
        if process is not None:
            process.kill()
            process.wait()
            self._processes[number] = None

    def freeze(self, number: int) -> None:
        """Stop a member's process. It stays connected, and doesn't answer."""
        self._send(number, signal.SIGSTOP)

    def resume(self, number: int) -> None:
        """Let a frozen member run again."""
        self._send(number, signal.SIGCONT)

    def _send(self, number: int, sent: signal.Signals) -> None:
        process = self._processes[number]
        assert process is not None
        process.send_signal(sent)

    def _end(self) -> None:
        for number in range(len(self._processes)):
            self.kill(number)


def free_ports(count: int) -> list[int]:
    """Return ports that no process listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
