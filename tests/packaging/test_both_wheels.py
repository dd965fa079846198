"""The wheels `vortexd` and `vortexd-client`, installed by pip into fresh environments: together, in either order, and one without the other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.test_loaded import DISTRIBUTIONS_AT_FIRST, DISTRIBUTIONS_IN_USE
from tests.system.process import Server

from .building import CLIENT, ROOT, build

pytestmark = [
    pytest.mark.skipif(not os.environ.get("VORTEXD_LONG"), reason="takes minutes: .ci/extended packages runs it"),
    pytest.mark.timeout(600),
]

# The distributions, and the packages that have their clients.
CLIENTS = {"vortexd": "vortexd.client", "vortexd-client": "vortexd_client"}
# Follows the server on Trio, on asyncio and in this thread, and saves a file of its source.
PROGRAM = """
import asyncio, pathlib, sys, trio
import {package}.asyncio, {package}.blocking
arguments = sys.argv[1], "shop"

async def on_trio():
    async with {package}.watch(*arguments) as config:
        print(dict(config))

async def on_asyncio():
    async with {package}.asyncio.watch(*arguments) as config:
        print(dict(config))

trio.run(on_trio)
asyncio.run(on_asyncio())
with {package}.blocking.watch(*arguments) as config:
    pathlib.Path(sys.argv[2]).write_text("pool: 2")
    print(config.next_change(30).patch)
"""
PRINTED = "{'pool': 1}\n{'pool': 1}\n[{'op': 'replace', 'path': '/pool', 'value': 2}]\n"
TYPED = """
import vortexd_client
from vortexd_client import asyncio, blocking


async def on_trio() -> str | None:
    async with vortexd_client.watch("ws://127.0.0.1:8888", "billing") as config:
        async for change in config:
            return change.version
    return None


async def on_asyncio() -> vortexd_client.State:
    async with asyncio.watch("ws://127.0.0.1:8888", "billing") as config:
        return config.state


def in_a_thread() -> vortexd_client.Change | None:
    with blocking.watch("ws://127.0.0.1:8888", "billing", timeouts=vortexd_client.Timeouts(connect=1.0)) as config:
        return config.next_change(1.0)
"""


class Environment:
    """A fresh virtual environment.

    Programs start in its folder: in the checkout, `python -m` would run the checkout's package.
    """

    def __init__(self, directory: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", directory], check=True)
        self.python = directory / "bin/python"
        self._directory = directory

    def run(self, *arguments: str | Path) -> str:
        command = [self.python, "-I", *arguments]
        return subprocess.run(command, cwd=self._directory, check=True, stdout=subprocess.PIPE, text=True).stdout

    def install(self, *wheels: Path) -> None:
        self.run("-m", "pip", "install", "-q", "--disable-pip-version-check", *wheels)

    def remove(self, distribution: str) -> None:
        self.run("-m", "pip", "uninstall", "-q", "-y", distribution)

    def distributions(self) -> list[str]:
        """The names of all that is installed beside pip and setuptools, which come with the environment."""
        lines = self.run("-m", "pip", "list", "--format", "freeze", "--disable-pip-version-check").splitlines()
        return sorted({line.partition("==")[0] for line in lines} - {"pip", "setuptools"})


@pytest.fixture(scope="module", autouse=True)
def registry(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips the tests if pip can't get the dependencies."""
    options = ["-q", "--no-deps", "--dest", str(tmp_path_factory.mktemp("download"))]
    command = [sys.executable, "-m", "pip", "download", *options, "outcome"]
    probe = subprocess.run(command, capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"pip can't reach a registry: {probe.stderr.strip()}")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        "vortexd": build(ROOT, "wheel", tmp_path_factory.mktemp("vortexd")),
        "vortexd-client": build(CLIENT, "wheel", tmp_path_factory.mktemp("client")),
    }


def assert_follows(environment: Environment, distribution: str, directory: Path, *, serves: bool) -> None:
    """The client of a distribution follows a server, which is that of the same environment if it `serves`."""

    class Installed(Server):
        @classmethod
        def command(cls) -> list[str]:
            return [str(environment.python), "-I", "-m", "vortexd"] if serves else super().command()

    source = directory / "config"
    source.mkdir(parents=True)
    (source / "shop.yml").write_text("pool: 1")
    with Installed(source) as server:
        url = f"ws://127.0.0.1:{server.port}"
        assert PRINTED == environment.run("-c", PROGRAM.format(package=CLIENTS[distribution]), url, source / "shop.yml")


@pytest.mark.parametrize("order", [("vortexd", "vortexd-client"), ("vortexd-client", "vortexd")], ids=" then ".join)
def test_both_are_installed_in_either_order_and_each_works_without_the_other(
    order: tuple[str, str], wheels: dict[str, Path], tmp_path: Path
) -> None:
    environment = Environment(tmp_path / "environment")
    for distribution in order:
        environment.install(wheels[distribution])
    for distribution in order:
        assert_follows(environment, distribution, tmp_path / f"both {distribution}", serves=True)
    for removed, other in (order, order[::-1]):
        environment.remove(removed)
        assert_follows(environment, other, tmp_path / f"without {removed}", serves=removed != "vortexd")
        environment.install(wheels[removed])


def test_the_client_alone_brings_few_distributions_and_is_typed(wheels: dict[str, Path], tmp_path: Path) -> None:
    environment = Environment(tmp_path / "environment")
    environment.install(wheels["vortexd-client"])
    program = tmp_path / "program.py"
    program.write_text(TYPED)

    assert sorted([*DISTRIBUTIONS_AT_FIRST, *DISTRIBUTIONS_IN_USE, "vortexd-client"]) == environment.distributions()
    assert_follows(environment, "vortexd-client", tmp_path / "alone", serves=False)
    typed = [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull, "--python-executable"]
    checked = subprocess.run(
        [*typed, environment.python, program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "Success: no issues found in 1 source file\n" == checked.stdout
