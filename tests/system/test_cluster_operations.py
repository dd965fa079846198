"""The commands of vortexd-operations(7) for etcd, as they stand there, and what they are for."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vortexd.cluster.engine import Denied, Put
from vortexd.cluster.etcd.access import open_etcd
from vortexd.settings.etcd import EtcdAccess

from ..cluster.etcd_servers import EtcdServers, etcd_program

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        etcd_program() is None or shutil.which("etcdctl") is None,
        reason="there is no etcd or no etcdctl; on Debian, apt-get install etcd-server etcd-client",
    ),
]

PAGE = (Path(__file__).parents[2] / "man/vortexd-operations.7").read_text()
DISPLAYS = [
    each for each in re.findall(r"^\.Bd [^\n]*\n(.*?)^\.Ed$", PAGE, re.MULTILINE | re.DOTALL) if "etcdctl" in each
]
QUOTED = re.findall(r"Ql (etcdctl(?: [\w.=-]+)+)", PAGE)
PASSWORDS = {"root-password": "r00t\n", "vortexd-password": "first\n", "new-password": "second\n"}


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[EtcdServers]:
    (tmp_path / "etcd").mkdir()
    for name, text in PASSWORDS.items():
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text(text)
    with EtcdServers(tmp_path / "etcd", 1) as servers:
        yield servers


def run(etcd: EtcdServers, place: Path, text: str, user: str = "") -> None:
    """Run lines of the page in a shell, as an operator does."""
    environment = {"PATH": os.environ["PATH"], "ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": etcd.endpoints[0]}
    done = subprocess.run(
        ["sh", "-euc", text],
        cwd=place,
        env=environment | ({"ETCDCTL_USER": user} if user else {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def display(beginning: str) -> str:
    found: str
    [found] = [each for each in DISPLAYS if each.startswith(beginning)]
    return found


async def test_the_role_reaches_the_keys_of_the_cluster_and_no_others(etcd: EtcdServers, tmp_path: Path) -> None:
    run(etcd, tmp_path, display("etcdctl user add root").replace("/NAME/", "/prod/"))
    root = "root:r00t"
    run(etcd, tmp_path, display("etcdctl role grant-permission vortexd --prefix=true read "), root)
    published = display("etcdctl role grant-permission vortexd --prefix=true readwrite /vortexd-published/")
    run(etcd, tmp_path, f"etcdctl role add reader\n{published.replace('/NAME/', '/prod/')}", root)
    password = tmp_path / "vortexd-password"
    access = EtcdAccess(endpoints=tuple(etcd.endpoints), user="vortexd", password_file=str(password))
    engine = open_etcd(access)
    await engine.commit([Put("/vortexd/prod/members/a", b"1")])
    assert [each.value for each in (await engine.read(prefix="/vortexd/prod/")).entries] == [b"1"]
    await engine.read(prefix="/config/")
    for key in ("/vortexd/prod2/a", "/vortexd/a", "/config/a.yml"):
        with pytest.raises(Denied, match="grant a role"):
            await engine.commit([Put(key, b"1")])

    run(etcd, tmp_path, display("etcdctl user passwd"), root)
    with pytest.raises(Denied, match="check user, and the password"):
        await engine.read(prefix="/vortexd/prod/")
    password.write_text("second\n")
    assert (await engine.read(prefix="/vortexd/prod/")).entries
    await engine.aclose()


async def test_a_backup_and_the_commands_for_a_full_etcd_work(etcd: EtcdServers, tmp_path: Path) -> None:
    engine = open_etcd(EtcdAccess(endpoints=tuple(etcd.endpoints)))
    revision = (await engine.commit([Put("/a", b"1")])).revision
    await engine.aclose()
    run(etcd, tmp_path, display("etcdctl compact").replace("REVISION", str(revision)))
    run(etcd, tmp_path, display("etcdctl snapshot save"))
    assert (tmp_path / "etcd.db").stat().st_size


def test_every_command_that_it_quotes_is_known(etcd: EtcdServers, tmp_path: Path) -> None:
    assert len(QUOTED) >= 4
    for each in QUOTED:
        run(etcd, tmp_path, f"{each} --help")


def test_no_display_is_left_untested() -> None:
    assert len(DISPLAYS) == 6
