"""A private systemd for tests: the system manager as PID 1 of its own namespaces, over the files of this machine.

Its writes stay in memory and are lost when it ends; it shares only the network with this machine. Its units are the few that every service needs, and
the units that a test installs.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import pytest

_SYSTEMD = "/usr/lib/systemd/systemd"
_NAMESPACES = ("--mount", "--pid", "--cgroup", "--ipc", "--uts")
_TARGETS = ("sysinit", "basic", "sockets", "shutdown", "multi-user", "network-online")
# The paths of the interpreter, its packages and this checkout inside the machine; they must not be in a home directory.
_PYTHON = "/opt/python"
_CHECKOUT = "/opt/checkout"
PROGRAM = "/opt/vortexd/bin/vortexd"
LOG = "/run/vortexd.log"
# Additions to the unit for tests: the log's destination, and the libraries of a moved interpreter.
DROP_IN = f"""[Service]
StandardOutput=append:{LOG}
StandardError=append:{LOG}
Environment=LD_LIBRARY_PATH={_PYTHON}/lib
"""
_BOOT = r"""
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$BASE"
mkdir "$BASE/upper" "$BASE/work" "$BASE/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$BASE/upper,workdir=$BASE/work" "$BASE/root"
cd "$BASE/root"
mount -t proc proc proc
mount -o bind,ro proc/sys proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount --rbind /dev dev
for each in run tmp etc/systemd/system; do mount -t tmpfs -o mode=755 tmpfs "$each"; done
mkdir -p units opt/vortexd/bin opt/vortexd/lib "opt/vortexd/lib/$VERSION/site-packages" "opt/checkout" opt/python old
for each in $TARGETS; do cp "/usr/lib/systemd/system/$each.target" units; done
mount --bind "$PREFIX" opt/python
mount --bind "$PACKAGES" "opt/vortexd/lib/$VERSION/site-packages"
mount --bind "$CHECKOUT" opt/checkout
ln -sf "/opt/python/bin/$VERSION" opt/vortexd/bin/python3
echo "home = /opt/python/bin" >opt/vortexd/pyvenv.cfg
for each in vortexd vortexctl; do cp "$SCRIPT" "opt/vortexd/bin/$each"; chmod 755 "opt/vortexd/bin/$each"; done
pivot_root . old
umount -l old
cd /
# As outside of containers: credentials are mounted from a namespace of their own.
mount --make-rshared /
export container=test SYSTEMD_UNIT_PATH=/units:/etc/systemd/system:/usr/local/lib/systemd/system SYSTEMD_GENERATOR_PATH=/none
exec "$SYSTEMD" --system --unit=basic.target --log-target=console --show-status=no
"""
_SCRIPT = f"""#!/opt/vortexd/bin/python3
import sys
sys.path.insert(0, "{_CHECKOUT}")
if sys.argv[0].endswith("ctl"):
    from vortexd.ctl.cli import main
else:
    from vortexd.cli.main import main
sys.exit(main())
"""


class Machine:
    """A running systemd. Use it with `with`.

    Args:
        directory: Holds the files that are needed to start it.
    """

    def __init__(self, directory: Path) -> None:
        self._base = directory / "machine"
        self._base.mkdir()
        (directory / "vortexd").write_text(_SCRIPT)
        (directory / "boot").write_text(_BOOT)
        self._output = directory / "output"
        self._group = _cgroup(f"vortexd-test-{os.getpid()}")
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "BASE": str(self._base),
            "VERSION": version,
            "TARGETS": " ".join(_TARGETS),
            "PREFIX": sys.base_prefix,
            "PACKAGES": str(Path(sys.prefix) / "lib" / version / "site-packages"),
            "CHECKOUT": str(Path(__file__).parent.parent.parent),
            "SCRIPT": str(directory / "vortexd"),
            "SYSTEMD": _SYSTEMD,
        }
        unshare = ["unshare", *_NAMESPACES, "--fork", "--kill-child"]
        join = 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"'
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
                ["sh", "-c", join, "sh", str(self._group), *unshare, "sh", str(directory / "boot")],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            self._pid = self._wait_up()
        except BaseException:
            self.stop()
            raise

    def _wait_up(self) -> int:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self._process.poll() is None:
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
            if children and Path(f"/proc/{children[0]}/comm").read_text() == "systemd\n":
                self._pid = int(children[0])
                if self.run("systemctl", "is-system-running", check=False).strip() == "running":
                    return self._pid
            time.sleep(0.05)
        pytest.skip(f"no systemd in a namespace: {self._output.read_text().strip()[-300:] or 'it does not come up'}")

    def run(self, *command: str, check: bool = True, timeout: float = 60) -> str:
        """Run a command inside, and return its output."""
        done = subprocess.run(
            [
                "nsenter",
                "--target",
                str(self._pid),
                *_NAMESPACES,
                "--root",
                "--wd=/",
                "env",
                "container=test",
                f"LD_LIBRARY_PATH={_PYTHON}/lib",
                *command,
            ],
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0 or not check, f"{command}: {done.stdout}{done.stderr}\n{self.log()}"
        return done.stdout + done.stderr

    def show(self, name: str, unit: str = "vortexd.service") -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--value", "-p", name, unit).strip()

    def path(self, path: str) -> Path:
        """Return the outside path of a file in the machine."""
        return Path(f"/proc/{self._pid}/root{path}")

    def log(self) -> str:
        """Return the daemon's log."""
        return self.path(LOG).read_text() if self.path(LOG).exists() else ""

    def signal_main(self, number: signal.Signals) -> int:
        """Send a signal to the service's main process. Return its process ID inside."""
        pid = self.show("MainPID")
        self.run("kill", f"-{number.name.removeprefix('SIG')}", pid)
        return int(pid)

    def stop(self) -> None:
        """Stop everything inside."""
        if self._process.poll() is None:
            # The kernel ends all processes of a PID namespace with its first process.
            self._process.kill()
        self._process.wait(10)
        _remove(self._group)

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _cgroup(name: str) -> Path:
    """A new cgroup for the machine, below the root of the unified hierarchy."""
    if os.geteuid() != 0:
        _skip("it takes root")
    for program in ("unshare", "nsenter", "systemctl", _SYSTEMD):
        if shutil.which(program) is None:
            _skip(f"there is no {program}")
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    root = next((fields[1] for fields in mounts if fields[2] == "cgroup2"), None)
    if root is None:
        _skip("there is no unified hierarchy of cgroups")
    group = Path(root) / name
    try:
        group.mkdir()
    except OSError as error:
        _skip(f"no cgroup can be made: {error.strerror}")
    return group


def _skip(reason: str) -> NoReturn:
    pytest.skip(f"no systemd in a namespace: {reason}")


def _remove(group: Path) -> None:
    """Remove a cgroup and its sub-groups, after their last process has left."""
    deadline = time.monotonic() + 10
    while group.exists() and time.monotonic() < deadline:
        for each in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            _rmdir(each)
        _rmdir(group)
        time.sleep(0.05)


def _rmdir(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError:
        return
