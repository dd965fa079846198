"""A Debian of its own for tests: a root made by debootstrap, with a real systemd in systemd-nspawn, and a network of its own.

The mirror is that of this machine. Without root, nspawn or debootstrap, tests are skipped with the reason.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_SUITE = "bookworm"
_PACKAGES = "systemd,systemd-sysv,dbus,python3.11,ca-certificates"
_GET = """
import sys, urllib.error, urllib.request
try:
    with urllib.request.urlopen(f"http://127.0.0.1:8888{sys.argv[1]}", timeout=20) as response:
        print(response.read().decode())
except urllib.error.HTTPError as refused:
    print(refused.code)
"""
# Follows a key with many clients, knocks on the port with new connections, and prints what both met when a file appears.
_CLIENTS = """
import contextlib, json, pathlib, sys, trio
from vortexd.client import Connected, watch

count, stop, ready = int(sys.argv[1]), pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
refused, gaps, met = [], [], {"knocks": 0, "ready": 0, "away": 0}

async def follow():
    async with watch("ws://127.0.0.1:8888", "shop") as config:
        met["ready"] += 1
        since = None
        async for state in config.states():
            if not isinstance(state, Connected) and since is None:
                since = trio.current_time()
                met["away"] += 1
            elif isinstance(state, Connected) and since is not None:
                gaps.append(trio.current_time() - since)
                since = None
                met["away"] -= 1

async def knock():
    met["knocks"] += 1
    try:
        with trio.fail_after(30):
            async with await trio.open_tcp_stream("127.0.0.1", 8888) as stream:
                await stream.send_all(b"GET /shop/default HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
                answer = bytes(await stream.receive_some(100))
        if not answer.startswith(b"HTTP/1.1 200"):
            refused.append(answer.decode() or "closed")
    except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
        refused.append(repr(error))

async def main():
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(follow)
        while met["ready"] < count:
            await trio.sleep(0.02)
        ready.touch()
        async with trio.open_nursery() as knocks:
            while not stop.exists() or met["away"]:
                knocks.start_soon(knock)
                await trio.sleep(0.02)
        nursery.cancel_scope.cancel()

trio.run(main)
print(json.dumps({"refused": refused, "gaps": gaps, "knocks": met["knocks"]}))
"""


class Debian:
    """A running Debian. Use it with `with`.

    Args:
        directory: A directory for the root.
    """

    def __init__(self, directory: Path) -> None:
        _require("debootstrap", "systemd-nspawn", "nsenter", "dpkg-deb")
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0
        self.root = directory / "root"
        self.root.mkdir()
        # dpkg writes thousands of small files.
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,size=3G", "tmpfs", self.root], check=True)
        try:
            self._bootstrap()
            self._boot(directory)
        except BaseException:
            self.stop()
            raise

    def _boot(self, directory: Path) -> None:
        self._output = directory / "output"
        options = ["--quiet", "--register=no", "--keep-unit", "--private-network", "--console=pipe"]
        with self._output.open("w") as output:
            self._nspawn = subprocess.Popen(
                ["systemd-nspawn", *options, f"--directory={self.root}", "--boot"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._leader = self._wait_up()

    def _bootstrap(self) -> None:
        if base := os.environ.get("VORTEXD_DEB_ROOT"):
            # While one works at the tests, a root that debootstrap has made is copied.
            subprocess.run(["cp", "-a", f"{base}/.", self.root], check=True)
            return
        targets = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"]
        sites = subprocess.run(targets, capture_output=True, text=True, check=False).stdout.split()
        command = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, str(self.root), *sites[:1]]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"debootstrap can't make a root: {made.stdout[-300:]}")
        # Tests needn't survive a crash of this machine.
        (self.root / "etc/dpkg/dpkg.cfg.d/tests").write_text("force-unsafe-io\n")

    def _wait_up(self) -> int:
        deadline = time.monotonic() + 60
        assert self._nspawn
        while time.monotonic() < deadline and self._nspawn.poll() is None:
            children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
            for each in children:
                self._leader = int(each)
                if self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded"):
                    return self._leader
            time.sleep(0.1)
        pytest.skip(f"systemd doesn't come up in nspawn: {self._output.read_text()[-500:]}")

    def run(self, *command: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command inside. Its output is that of both streams."""
        return subprocess.run(
            self._inside(*command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )

    def do(self, *command: str) -> str:
        """Run a command that has to succeed, and return its output."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}\n{self.journal()}"
        return done.stdout

    def _inside(self, *command: str) -> list[str]:
        enter = ["nsenter", "--target", str(self._leader), "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup"]
        variables = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"]
        return [*enter, "--root", "--wd=/", "env", "-i", *variables, *command]

    def path(self, path: str) -> Path:
        """Return the outside path of a file in the root."""
        return self.root / path.lstrip("/")

    def get(self, path: str) -> str:
        """Return the response of vortexd to a request, or the status of a refusal."""
        return self.do("python3.11", "-c", _GET, path).strip()

    def show(self, name: str, unit: str = "vortexd.service") -> str:
        """Return a property of a unit."""
        return self.do("systemctl", "show", "--value", "-p", name, unit).strip()

    def status(self, package: str = "vortexd") -> tuple[str, str]:
        """Return the state and the version of a package, as dpkg knows them."""
        found = self.run("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package).stdout.split()
        return (found[0], found[1]) if len(found) == 2 else ("not-installed", "")

    def journal(self) -> str:
        return self.run("journalctl", "--no-pager", "-q", "-n", "30", "-u", "vortexd.service").stdout

    @contextmanager
    def clients(self, count: int, met: dict[str, list[float] | list[str] | int]) -> Iterator[None]:
        """Let clients follow the key `shop:default:main` meanwhile; afterwards, `met` has what they met."""
        libraries = "/srv/client"
        if not self.path(libraries).exists():
            # An upgrade replaces the libraries of the package.
            self.do("cp", "-r", "/usr/lib/vortexd/lib/python3.11/site-packages", libraries)
        stop, ready = self.path("/srv/stop"), self.path("/srv/ready")
        stop.unlink(missing_ok=True)
        ready.unlink(missing_ok=True)
        arguments = ["python3.11", "-c", _CLIENTS, str(count), "/srv/stop", "/srv/ready"]
        command = self._inside("env", f"PYTHONPATH={libraries}", *arguments)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                wait_until(lambda: ready.exists() or process.poll() is not None)
                yield
                # Knock for a while after the last restart, too.
                time.sleep(1)
                stop.touch()
                # It first waits until all clients are back.
                output, errors = process.communicate(timeout=30)
                assert process.returncode == 0, errors
                met.update(json.loads(output))
            finally:
                process.kill()

    def stop(self) -> None:
        """Stop everything inside."""
        if self._nspawn:
            if self._leader:
                # The kernel ends all processes of a PID namespace with its first process.
                subprocess.run(["kill", "-9", str(self._leader)], check=False)
            else:
                self._nspawn.terminate()
            self._nspawn.wait(30)
        subprocess.run(["umount", "--lazy", self.root], check=False)

    def __enter__(self) -> "Debian":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def wait_until(is_so: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.05)


def _require(*programs: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("a Debian of its own takes root")
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}")
