"""The Debian package in a real Debian 12 with systemd: installed, upgraded under load, met with bad input, removed and purged."""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from vortexd import __version__

from .building import ROOT
from .debian import Debian, wait_until

pytestmark = [
    pytest.mark.skipif(not os.environ.get("VORTEXD_DEB"), reason="takes minutes: .ci/extended deb runs it"),
    pytest.mark.timeout(600),
]

SERVICE = "vortexd.service"
UNIT = "/usr/lib/systemd/system/vortexd.service"
SETTINGS = "/etc/vortexd/vortexd.toml"
OWN = "\n[realtime]\nheartbeat_interval = 20.0\n"
OLDER = f"{__version__}~1"
CHECK_LOG = "/run/vortexd-upgrade-check.log"
DROP_INS = f"/etc/systemd/system/{SERVICE}.d"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of this checkout, or that of $VORTEXD_DEB, if this is a file."""
    given = Path(os.environ["VORTEXD_DEB"])
    if given.is_file():
        return given
    directory = tmp_path_factory.mktemp("deb")
    subprocess.run([ROOT / "packaging/deb/build", directory], check=True)
    (built,) = directory.iterdir()
    return built


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    with Debian(tmp_path_factory.mktemp("debian")) as debian:
        yield debian


class Packages:
    """The package under any version, as files in the machine.

    Args:
        unpacked: The unpacked package.
    """

    def __init__(self, debian: Debian, unpacked: Path) -> None:
        self._directory = debian.path("/srv/packages")
        self._directory.mkdir()
        self._unpacked = unpacked
        self._control = (unpacked / "DEBIAN/control").read_text()
        self._settings = (unpacked / SETTINGS[1:]).read_text()
        self._count = 0

    def settings(self, version: str) -> str:
        """Return the settings of a version: each has others."""
        return f"{self._settings}# A comment of {version}.\n"

    def made(self, version: str) -> str:
        """Return the path of the package with this version."""
        control = self._control.replace(f"\nVersion: {__version__}\n", f"\nVersion: {version}\n")
        (self._unpacked / "DEBIAN/control").write_text(control)
        (self._unpacked / SETTINGS[1:]).write_text(self.settings(version))
        for each in self._directory.iterdir():
            each.unlink()
        package = self._directory / f"vortexd_{version}.deb"
        options = ["-Znone", "--root-owner-group"]
        subprocess.run(["dpkg-deb", *options, "-b", self._unpacked, package], check=True, capture_output=True)
        return f"/srv/packages/{package.name}"

    def next(self) -> str:
        """Return the path of a version above all former ones."""
        self._count += 1
        return self.made(self.newest)

    @property
    def newest(self) -> str:
        return f"{__version__}+{self._count}"


@pytest.fixture(scope="module")
def packages(package: Path, debian: Debian, tmp_path_factory: pytest.TempPathFactory) -> Packages:
    unpacked = tmp_path_factory.mktemp("unpacked")
    subprocess.run(["dpkg-deb", "-R", package, unpacked], check=True)
    return Packages(debian, unpacked)


Done = subprocess.CompletedProcess[str]
KEEP = "--force-confold"


@attrs.frozen
class Machine:
    """A Debian, and the package."""

    debian: Debian
    packages: Packages

    def apt(self, package: str, *options: str) -> Done:
        return self.debian.run("apt-get", "install", "-y", "-q", "--no-install-recommends", *options, package)

    def upgrade(self, *options: str) -> Done:
        """Install the next version."""
        return self.debian.run("dpkg", *options, "--install", self.packages.next())


@pytest.fixture
def machine(debian: Debian, packages: Packages) -> Machine:
    return Machine(debian, packages)


@pytest.fixture
def clean(machine: Machine) -> Machine:
    """The machine without the package."""
    debian = machine.debian
    debian.run("dpkg", "--purge", "vortexd")
    debian.run("rm", "-rf", "/etc/vortexd", DROP_INS)
    debian.run("systemctl", "unmask", SERVICE)
    debian.run("systemctl", "daemon-reload")
    return machine


@pytest.fixture
def installed(machine: Machine) -> Machine:
    """The machine with the package, which serves one file and has the settings of the package."""
    debian = machine.debian
    debian.run("rm", "-rf", DROP_INS, f"{SETTINGS}.dpkg-dist", f"{SETTINGS}.dpkg-old")
    debian.run("systemctl", "unmask", SERVICE)
    debian.run("systemctl", "daemon-reload")
    if debian.status()[0] != "installed" or not debian.path(UNIT).exists():
        done = machine.upgrade("--force-confnew", "--force-confmiss")
        assert done.returncode == 0, done.stdout
    debian.do("systemctl", "disable", "--now", "vortexd.socket")
    debian.path(SETTINGS).write_text(machine.packages.settings(debian.status()[1]))
    debian.path("/etc/vortexd/config/shop.yml").write_text("pool: 1\n")
    debian.do("systemctl", "enable", SERVICE)
    # All tests together would start it more often than the unit allows.
    debian.run("systemctl", "reset-failed", SERVICE)
    debian.do("systemctl", "restart", SERVICE)
    wait_until(lambda: '"pool":1' in debian.get("/shop/default"))
    return machine


def pid(debian: Debian) -> int:
    """The process of the service, which serves."""
    assert "active" == debian.show("ActiveState"), debian.journal()
    assert '"pool":1' in debian.get("/shop/default")
    return int(debian.show("MainPID"))


def test_it_is_installed_and_pushes_its_first_change(clean: Machine) -> None:
    began = time.monotonic()
    done = clean.apt(clean.packages.made(__version__))
    ready = time.monotonic() - began
    assert done.returncode == 0, done.stdout
    clean.debian.path("/etc/vortexd/config/shop.yml").write_text("pool: 1\n")
    wait_until(lambda: '"pool":1' in clean.debian.get("/shop/default"))
    watched = clean.debian.path("/srv/watch")
    watched.write_text("")
    command = ["systemd-run", "--unit=watching", "--collect", "sh", "-c", "exec vortexctl watch shop >/srv/watch"]
    clean.debian.do(*command)
    wait_until(lambda: "vortexd_connections 1" in re.sub(r"\{.*\}", "", clean.debian.get("/metrics")))
    clean.debian.path("/etc/vortexd/config/shop.yml").write_text("pool: 2\n")
    wait_until(lambda: "+ /pool: 2" in watched.read_text())
    print(f"apt-get took {ready:.1f} s, and the first change arrived after {time.monotonic() - began:.1f} s")
    clean.debian.do("systemctl", "stop", "watching.service")

    assert ("installed", __version__) == clean.debian.status()
    assert "enabled" == clean.debian.do("systemctl", "is-enabled", SERVICE).strip()
    assert "disabled" == clean.debian.run("systemctl", "is-enabled", "vortexd.socket").stdout.strip()
    assert f"vortexd {__version__} (sockets: native)" == clean.debian.do("vortexd", "--version").strip()


def test_the_service_has_a_user_of_its_own_and_is_hardened(installed: Machine) -> None:
    user = installed.debian.do("stat", "-c", "%U", f"/proc/{pid(installed.debian)}").strip()
    state = installed.debian.do("stat", "-c", "%U %a", "/var/lib/vortexd").strip()
    security = installed.debian.do("systemd-analyze", "security", "--no-pager", "--threshold=15", SERVICE)

    assert ("vortexd", "vortexd 700") == (user, state)
    assert "vortexd:x:" in installed.debian.do("getent", "passwd", "vortexd")
    assert "OK" in security.splitlines()[-1]
    assert "" == installed.debian.do("dpkg", "--verify", "vortexd")
    # Python has compiled nothing, so nothing is left behind after a removal.
    pyc = installed.debian.do("find", "/usr/lib/vortexd", "-newer", UNIT, "-type", "f").split()
    assert [] == pyc


def test_a_reload_applies_new_settings_without_programs_of_other_packages(installed: Machine) -> None:
    before = installed.debian.show("MainPID")
    installed.debian.path("/srv/other").mkdir(exist_ok=True)
    installed.debian.path("/srv/other/shop.yml").write_text("pool: 2\n")
    settings = installed.debian.path(SETTINGS)
    settings.write_text(settings.read_text().replace("/etc/vortexd/config", "/srv/other"))
    has_kill = installed.debian.path("/usr/bin/kill").exists()
    installed.debian.do("systemctl", "reload", SERVICE)
    wait_until(lambda: '"pool":2' in installed.debian.get("/shop/default"))

    # procps isn't in this machine, as in a minimal Debian.
    assert not has_kill
    assert before == installed.debian.show("MainPID")


def test_pages_and_completion_are_where_programs_look_for_them(installed: Machine) -> None:
    files = installed.debian.do("dpkg", "-L", "vortexd").splitlines()

    for each in (
        "/usr/share/man/man8/vortexd.8.gz",
        "/usr/share/man/man1/vortexctl.1.gz",
        "/usr/share/bash-completion/completions/vortexctl",
        "/usr/share/zsh/vendor-completions/_vortexctl",
        "/usr/share/fish/vendor_completions.d/vortexctl.fish",
        "/usr/bin/vortexctl",
    ):
        assert each in files
    completion = ". /usr/share/bash-completion/completions/vortexctl && complete -p vortexctl"
    assert "vortexctl" in installed.debian.do("bash", "-c", completion)


@pytest.mark.parametrize("by_socket", [False, True], ids=["descriptor store", "socket unit"])
def test_an_upgrade_over_edited_settings_keeps_them_and_refuses_no_connection(
    installed: Machine, by_socket: bool
) -> None:
    settings = installed.debian.path(SETTINGS)
    settings.write_text(edited := settings.read_text() + OWN)
    if by_socket:
        installed.debian.do("systemctl", "stop", SERVICE)
        installed.debian.do("systemctl", "enable", "--now", "vortexd.socket")
        installed.debian.do("systemctl", "start", SERVICE)
    before = pid(installed.debian)
    met: dict[str, list[float] | list[str] | int] = {}
    with installed.debian.clients(20, met):
        done = installed.upgrade(KEEP)
    print(json.dumps(met))

    assert done.returncode == 0, done.stdout
    assert ("installed", installed.packages.newest) == installed.debian.status()
    assert before != pid(installed.debian)
    assert edited == settings.read_text()
    newest = installed.packages.settings(installed.packages.newest)
    assert newest == installed.debian.path(f"{SETTINGS}.dpkg-dist").read_text()
    assert [] == met["refused"]
    assert int(str(met["knocks"])) > 50
    gaps = met["gaps"]
    assert isinstance(gaps, list)
    assert 20 == len(gaps)
    assert max(map(float, gaps)) < 5


def test_an_upgrade_that_may_not_ask_about_edited_settings_fails_and_the_service_goes_on(installed: Machine) -> None:
    settings = installed.debian.path(SETTINGS)
    settings.write_text(edited := settings.read_text() + OWN)
    before = pid(installed.debian)
    done = installed.upgrade()
    after = pid(installed.debian)
    again = installed.debian.run("dpkg", "--configure", "--force-confold", "vortexd")

    assert done.returncode != 0
    assert "end of file on stdin at conffile prompt" in done.stdout
    assert before == after
    assert again.returncode == 0, again.stdout
    assert edited == settings.read_text()
    assert before != pid(installed.debian)


def test_settings_that_the_new_version_refuses_leave_the_old_process_alone(installed: Machine) -> None:
    settings = installed.debian.path(SETTINGS)
    good = settings.read_text()
    settings.write_text(f"{good}\n[server.nonsense]\n")
    before = pid(installed.debian)
    done = installed.upgrade(KEEP)
    after = pid(installed.debian)
    settings.write_text(good)
    again = installed.debian.run("dpkg", "--configure", "vortexd")

    assert done.returncode != 0
    assert "vortexd: error: this version refuses the settings, so the former version serves on:\n" in done.stdout
    assert "nonsense" in done.stdout
    assert installed.debian.run("test", "-e", CHECK_LOG).returncode
    assert "vortexd: Correct them, then run: dpkg --configure vortexd\n" in done.stdout
    assert before == after
    assert again.returncode == 0, again.stdout
    assert before != pid(installed.debian)
    assert ("installed", installed.packages.newest) == installed.debian.status()


def test_the_check_before_a_restart_has_the_credentials_of_the_drop_ins(installed: Machine) -> None:
    entry = installed.debian.do("vortexd", "token", "new", "me")
    installed.debian.path("/etc/vortexd/tokens.toml").write_text(entry[entry.index("[[token]]") :])
    installed.debian.path("/etc/vortexd/tokens.toml").chmod(0o600)
    drop_in = installed.debian.path(f"/etc/systemd/system/{SERVICE}.d/tokens.conf")
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nLoadCredential=tokens:/etc/vortexd/tokens.toml\n")
    settings = installed.debian.path(SETTINGS)
    settings.write_text(f'{settings.read_text()}\n[auth]\ntokens = ["$CREDENTIALS_DIRECTORY/tokens"]\n')
    installed.debian.do("systemctl", "daemon-reload")
    installed.debian.do("systemctl", "restart", SERVICE)
    done = installed.upgrade(KEEP)

    assert done.returncode == 0, done.stdout
    assert "active" == installed.debian.show("ActiveState")
    assert "401" == installed.debian.get("/shop/default")
    assert not installed.debian.path("/run/systemd/system/vortexd-upgrade-check.service").exists()
    assert (
        []
        == installed.debian.do("systemctl", "list-units", "--all", "--plain", "--no-legend", "vortexd-upgrade*").split()
    )


def test_the_check_before_a_restart_does_nothing_else_that_drop_ins_ask_for(installed: Machine) -> None:
    drop_in = installed.debian.path(f"{DROP_INS}/alarm.conf")
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text("""[Unit]
OnFailure = \\
    alarm.service
OnSuccess=alarm.service
[Service]
ExecCondition=+/bin/sh -c "echo condition >>/srv/ran"
ExecStartPost=+/bin/sh -c "echo started >>/srv/ran"
ExecStopPost=+/bin/sh -c "echo stopped >>/srv/ran; echo the end"
""")
    alarm = installed.debian.path("/etc/systemd/system/alarm.service")
    alarm.write_text('[Service]\nType=oneshot\nExecStart=/bin/sh -c "echo alarm >>/srv/ran"\n')
    installed.debian.do("systemctl", "daemon-reload")
    settings = installed.debian.path(SETTINGS)
    good = settings.read_text()
    settings.write_text(f"{good}\n[server.nonsense]\n")
    before = pid(installed.debian)
    refused = installed.upgrade(KEEP)
    ran = installed.debian.path("/srv/ran").exists()
    after = pid(installed.debian)
    settings.write_text(good)
    done = installed.debian.run("dpkg", "--configure", "vortexd")
    restarted = installed.debian.path("/srv/ran").read_text()
    alarm.unlink()
    installed.debian.path("/srv/ran").unlink()

    assert refused.returncode != 0
    assert "nonsense" in refused.stdout
    assert not ran
    assert before == after
    assert done.returncode == 0, done.stdout
    # Only the restart itself did that.
    assert ["stopped", "condition", "started"] == [each for each in restarted.split() if each != "alarm"]
    assert installed.debian.run("test", "-e", CHECK_LOG).returncode


def test_a_reason_of_systemd_for_which_the_check_fails_is_said(installed: Machine) -> None:
    drop_in = installed.debian.path(f"{DROP_INS}/tokens.conf")
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text("[Service]\nLoadCredential=tokens:/etc/vortexd/none.toml\n")
    installed.debian.do("systemctl", "daemon-reload")
    before = pid(installed.debian)
    refused = installed.upgrade(KEEP)
    after = pid(installed.debian)
    drop_in.unlink()
    done = installed.debian.run("dpkg", "--configure", "vortexd")

    assert refused.returncode != 0
    assert "Failed to set up credentials: " in refused.stdout
    assert before == after
    assert done.returncode == 0, done.stdout
    assert before != pid(installed.debian)


def test_a_restart_that_fails_says_how_to_go_on(installed: Machine) -> None:
    drop_in = installed.debian.path(f"{DROP_INS}/condition.conf")
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text("[Service]\nRestart=no\nExecStartPost=/bin/false\n")
    installed.debian.do("systemctl", "daemon-reload")
    refused = installed.upgrade(KEEP)
    drop_in.unlink()
    done = installed.debian.run("dpkg", "--configure", "vortexd")

    assert refused.returncode != 0
    assert "vortexd: error: the service didn't start. Its last lines are:\n" in refused.stdout
    assert "vortexd: Correct that, then run: dpkg --configure vortexd\n" in refused.stdout
    assert done.returncode == 0, done.stdout
    assert pid(installed.debian)


def test_a_token_file_of_the_service_user_is_read_again_at_a_reload(installed: Machine) -> None:
    path = "/etc/vortexd/tokens.toml"
    printed = [installed.debian.do("vortexd", "token", "new", "me") for _ in range(2)]
    former, new = (re.findall(r"\bvt_\S+", each)[0] for each in printed)
    first, second = (each[each.index("[[token]]") :] for each in printed)
    installed.debian.path(path).write_text(first)
    settings = installed.debian.path(SETTINGS)
    settings.write_text(f'{settings.read_text()}\n[auth]\ntokens = ["{path}"]\n')
    installed.debian.do("chown", "root:vortexd", path)
    installed.debian.do("chmod", "640", path)
    checked = installed.debian.run("vortexd", "--check", "--config", SETTINGS)
    # The commands of vortexd(8).
    installed.debian.do("chown", "vortexd:", path)
    installed.debian.do("chmod", "600", path)
    installed.debian.do("systemctl", "restart", SERVICE)
    process = installed.debian.show("MainPID")

    def is_accepted(token: str) -> bool:
        command = ["vortexctl", "--server", "http://127.0.0.1:8888", "get", "shop"]
        return installed.debian.run("env", f"VORTEXCTL_TOKEN={token}", *command).returncode == 0

    accepted = is_accepted(former), is_accepted(new)
    installed.debian.path(path).write_text(second)
    installed.debian.do("systemctl", "reload", SERVICE)
    wait_until(lambda: is_accepted(new))

    assert checked.returncode != 0
    assert f"{path}: is open to other users; run chmod 600 on it" in checked.stdout
    assert (True, False) == accepted
    assert not is_accepted(former)
    assert process == installed.debian.show("MainPID")


def test_a_downgrade_takes_an_option_and_then_works(installed: Machine) -> None:
    before = pid(installed.debian)
    refused = installed.apt(installed.packages.made(OLDER))
    during = pid(installed.debian)
    done = installed.apt(installed.packages.made(OLDER), "--allow-downgrades", "-o", f"Dpkg::Options::={KEEP}")

    assert refused.returncode != 0
    assert "without --allow-downgrades" in refused.stdout
    assert before == during
    assert done.returncode == 0, done.stdout
    assert ("installed", OLDER) == installed.debian.status()
    assert before != pid(installed.debian)


def test_a_full_disk_ends_an_upgrade_and_the_service_goes_on(installed: Machine) -> None:
    former = installed.debian.status()
    before = pid(installed.debian)
    # A file system with room for what is there, and for a little more.
    script = """set -e
    size=$(du -s --block-size=1M /usr/lib/vortexd | cut -f1)
    mount -t tmpfs -o size=$((size + 4))M tmpfs /mnt
    cp -a /usr/lib/vortexd/. /mnt
    mount --bind /mnt /usr/lib/vortexd
    umount /mnt"""
    installed.debian.do("sh", "-c", script)
    done = installed.upgrade()
    after = pid(installed.debian)
    state = installed.debian.status()
    changed = installed.debian.do("dpkg", "--verify", "vortexd")
    installed.debian.do("systemctl", "restart", SERVICE)
    restarted = pid(installed.debian)
    installed.debian.do("umount", "--lazy", "/usr/lib/vortexd")
    again = installed.upgrade()

    assert done.returncode != 0
    assert "No space left on device" in done.stdout
    assert before == after
    assert former == state
    assert "" == changed
    assert restarted not in (0, before)
    assert again.returncode == 0, again.stdout
    assert ("installed", installed.packages.newest) == installed.debian.status()
    assert restarted != pid(installed.debian)


# If dpkg can't write its database, it begins nothing. If it can write only that, it notes that the installation isn't whole.
@pytest.mark.parametrize(("path", "noted"), [("/", "installed"), ("/usr", "half-installed")])
def test_a_read_only_file_system_ends_an_upgrade_and_the_service_goes_on(
    installed: Machine, path: str, noted: str
) -> None:
    _, former = installed.debian.status()
    before = pid(installed.debian)
    # Only dpkg sees it as read-only: a mount with open files can't be changed.
    script = f"mount --bind {path} {path}; mount -o remount,ro,bind {path} && exec dpkg --install {installed.packages.next()}"
    done = installed.debian.run("unshare", "--mount", "sh", "-c", script)
    after = pid(installed.debian)
    state = installed.debian.status()
    changed = installed.debian.do("dpkg", "--verify", "vortexd")
    again = installed.upgrade()

    assert done.returncode != 0
    assert "Read-only file system" in done.stdout
    assert before == after
    assert (noted, former) == state
    assert "" == changed
    assert again.returncode == 0, again.stdout
    assert before != pid(installed.debian)


def test_a_missing_unit_is_back_after_an_upgrade_and_no_obstacle_to_a_removal(installed: Machine) -> None:
    installed.debian.do("rm", UNIT)
    installed.debian.do("systemctl", "daemon-reload")
    done = installed.upgrade()
    upgraded = pid(installed.debian)
    installed.debian.do("rm", UNIT)
    installed.debian.do("systemctl", "daemon-reload")
    removed = installed.debian.run("apt-get", "remove", "-y", "vortexd")

    assert done.returncode == 0, done.stdout
    assert upgraded
    assert removed.returncode == 0, removed.stdout
    wait_until(lambda: installed.debian.run("test", "-e", f"/proc/{upgraded}").returncode != 0)


def test_a_masked_service_stays_stopped(installed: Machine) -> None:
    installed.debian.do("systemctl", "mask", "--now", SERVICE)
    done = installed.upgrade()

    assert done.returncode == 0, done.stdout
    assert "inactive" == installed.debian.show("ActiveState")
    assert "masked" == installed.debian.run("systemctl", "is-enabled", SERVICE).stdout.strip()


def test_a_service_that_was_masked_while_it_runs_is_left_alone(installed: Machine) -> None:
    before = pid(installed.debian)
    installed.debian.do("systemctl", "mask", SERVICE)
    done = installed.upgrade()

    assert done.returncode == 0, done.stdout
    assert f"vortexd: {SERVICE} is masked, so it is neither started nor restarted\n" in done.stdout
    assert before == pid(installed.debian)


def test_a_disabled_service_stays_disabled(installed: Machine) -> None:
    installed.debian.do("systemctl", "disable", "--now", SERVICE)
    done = installed.upgrade()

    assert done.returncode == 0, done.stdout
    assert "disabled" == installed.debian.run("systemctl", "is-enabled", SERVICE).stdout.strip()
    assert "inactive" == installed.debian.show("ActiveState")


def test_a_port_in_use_is_said_and_the_package_is_installed(clean: Machine) -> None:
    server = "import socket, time; s = socket.create_server(('127.0.0.1', 8888)); time.sleep(600)"
    clean.debian.do("systemd-run", "--unit=occupant", "--collect", "python3.11", "-c", server)
    wait_until(lambda: ":22B8 " in clean.debian.do("cat", "/proc/net/tcp"))
    done = clean.apt(clean.packages.made(__version__))
    clean.debian.do("systemctl", "stop", "occupant.service")
    clean.debian.do("systemctl", "reset-failed", SERVICE)
    clean.debian.do("systemctl", "start", SERVICE)

    assert done.returncode == 0, done.stdout
    assert "vortexd: error: the service didn't start. Its last lines are:" in done.stdout
    assert re.search("127.0.0.1:8888.*in use", done.stdout), done.stdout
    assert f"vortexd: Correct that, then run: systemctl start {SERVICE}\n" in done.stdout
    assert ("installed", __version__) == clean.debian.status()
    assert "active" == clean.debian.show("ActiveState")


def test_a_unit_of_install_units_would_hide_that_of_the_package(clean: Machine) -> None:
    unit = clean.debian.path("/usr/local/lib/systemd/system/vortexd.service")
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/opt/vortexd/bin/vortexd --config /etc/vortexd/vortexd.toml\n")
    refused = clean.apt(clean.packages.made(__version__))
    unit.unlink()
    done = clean.apt(clean.packages.made(__version__))

    assert refused.returncode != 0
    assert f"vortexd: error: {unit.relative_to(clean.debian.root)}".replace("error: ", "error: /") in refused.stdout
    assert "    /opt/vortexd/bin/vortexd uninstall-units\n" in refused.stdout
    assert done.returncode == 0, done.stdout


def test_an_image_without_a_running_systemd_can_have_it(clean: Machine) -> None:
    install = f"dpkg --install {clean.packages.made(__version__)}"
    script = f"mount -t tmpfs tmpfs /run && {install} && dpkg --purge vortexd && {install}"
    done = clean.debian.run("unshare", "--mount", "sh", "-c", script)

    assert done.returncode == 0, done.stdout
    assert "error" not in done.stdout
    assert "inactive" == clean.debian.show("ActiveState")
    assert "enabled" == clean.debian.do("systemctl", "is-enabled", SERVICE).strip()


def test_a_removal_keeps_settings_and_a_reinstallation_starts_the_service(installed: Machine) -> None:
    settings = installed.debian.path(SETTINGS)
    settings.write_text(edited := settings.read_text() + OWN)
    removed = installed.debian.run("apt-get", "remove", "-y", "vortexd")
    left = installed.debian.path("/usr/lib/vortexd").exists()
    active = installed.debian.run("systemctl", "is-active", SERVICE).stdout.strip()
    done = installed.upgrade(KEEP)

    assert removed.returncode == 0, removed.stdout
    assert (False, "inactive") == (left, active)
    assert done.returncode == 0, done.stdout
    assert edited == settings.read_text()
    assert pid(installed.debian)


@pytest.mark.parametrize("has_files", [False, True], ids=["no files", "files of others"])
def test_a_purge_removes_all_that_the_package_has_made(installed: Machine, has_files: bool) -> None:
    if not has_files:
        installed.debian.path("/etc/vortexd/config/shop.yml").unlink()
    settings = installed.debian.path(SETTINGS)
    settings.write_text(settings.read_text() + OWN)
    user = installed.debian.do("getent", "passwd", "vortexd")
    installed.debian.do("touch", CHECK_LOG)
    done = installed.debian.run("apt-get", "purge", "-y", "vortexd")
    left = installed.debian.do(
        "find", "/", "-xdev", "-name", "*vortexd*", "-not", "-path", "/srv/*", "-not", "-path", "/proc/*"
    )
    # The journal, the caches of man and apt, and logs of apt and dpkg are those of the system.
    found = [each for each in left.split() if not each.startswith(("/tmp/", "/var/log/", "/var/cache/"))]

    assert done.returncode == 0, done.stdout
    assert "not-installed" == installed.debian.status()[0]
    # Its number stays taken, so nobody else gets files that are left.
    assert user == installed.debian.do("getent", "passwd", "vortexd")
    assert (["/etc/vortexd"] if has_files else []) == found
    assert has_files == ("/etc/vortexd is kept, because it has files" in done.stdout)
    assert has_files == installed.debian.path("/etc/vortexd/config/shop.yml").exists()
    assert not installed.debian.path(SETTINGS).exists()
    assert installed.debian.run("test", "-e", CHECK_LOG).returncode
    assert "" == installed.debian.do("systemctl", "list-units", "--all", "--plain", "--no-legend", "vortex*").strip()


def test_a_purge_empties_a_state_directory_that_is_a_mount_point(installed: Machine) -> None:
    installed.debian.do("systemctl", "stop", SERVICE)
    installed.debian.do("mount", "-t", "tmpfs", "tmpfs", "/var/lib/vortexd")
    installed.debian.do("touch", "/var/lib/vortexd/copy", "/var/lib/vortexd/.hidden")
    done = installed.debian.run("apt-get", "purge", "-y", "vortexd")
    left = installed.debian.do("find", "/var/lib/vortexd", "-mindepth", "1")
    installed.debian.do("umount", "/var/lib/vortexd")
    # The former state was below the mount.
    installed.debian.do("rm", "-r", "/var/lib/vortexd")

    assert done.returncode == 0, done.stdout
    assert "rm: cannot remove '/var/lib/vortexd': Device or resource busy\n" in done.stdout
    assert "vortexd: /var/lib/vortexd is kept, because it can't be removed\n" in done.stdout
    assert "" == left
    assert "not-installed" == installed.debian.status()[0]
