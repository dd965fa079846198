"""What clients had acknowledged before the real process restarted is shown as that, and counts for nothing."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from .browser import CHROMIUM, open_page
from .fleet import save
from .process import Server
from .test_fleet import WORKERS, connected, key, say, states, until, vortexctl

SETTINGS = """
[server]
bind = ["127.0.0.1:0"]
workers = {workers}
drain_timeout = 1
state_directory = "{state}"
[[source]]
path = "{source}"
quiet = 0.02
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "config"
    directory.mkdir()
    save(directory / "billing.yml", "number: 0\n")
    return directory


def started(source: Path, workers: int) -> Server:
    return Server(source, settings=SETTINGS.format(workers=workers, source=source, state=source.parent / "state"))


def stored(source: Path) -> list[Any]:
    """The instances in the files of all workers."""
    files = (source.parent / "state/fleet").glob("worker-*.json")
    return [row for file in files for row in json.loads(file.read_bytes())["instances"]]


def before(server: Server) -> dict[str, tuple[str, str | None]]:
    """The state of each instance, and the status that it reported before the restart."""
    return {
        each["name"]: (each["state"], each["before_restart"]["status"] if "before_restart" in each else None)
        for each in key(server)["instances"]
    }


GONE = {"applies": ("gone", "applied"), "rejects": ("gone", "rejected"), "silent": ("gone", None)}


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_what_was_acknowledged_before_a_restart_is_shown_as_that(
    source: Path, workers: int, number: signal.Signals
) -> None:
    with started(source, workers) as server:
        until(lambda: workers == 1 or f'"workers": {workers}' in server.output())
        async with connected(server, *GONE) as clients:
            await say(server, clients["applies"])
            await say(server, clients["rejects"], "rejected", "no room")
            until(lambda: states(server) == {"applies": "applied", "rejects": "rejected", "silent": "silent"})
            if number == signal.SIGKILL:
                # A batch is written at most some seconds later. What is written then is all that a killed process leaves.
                until(lambda: sorted(map(len, stored(source))) == [6, 10, 10])
            server.stop(number)

    with started(source, workers) as server:
        until(lambda: before(server) == GONE)
        assert (0, 3, 2) == tuple(key(server)["counts"][name] for name in ("connected", "gone", "before_restart"))
        async with connected(server, *GONE) as clients:
            back = {name: ("silent", said) for name, (_, said) in GONE.items()}
            until(lambda: (before(server), key(server)["counts"]["gone"]) == (back, 0))
            assert (0, 0.0) == (key(server)["counts"]["applied"], key(server)["percent"])
            assert all(each["ack"] is None for each in key(server)["instances"])
            waited = await vortexctl("wait", server, "--timeout", "1s")
            assert 1 == waited.returncode
            shown = await vortexctl_fleet(server)
            assert "0 of 3 applied (0 %), 3 silent, 2 acknowledged only before the server's restart" in shown
            assert f"applied {key(server)['version']} before the server's restart" in shown
            assert f"rejected {key(server)['version']} before the server's restart: no room" in shown
            await check_console(server)

            for client in clients.values():
                await say(server, client)
            waited = await vortexctl("wait", server)
            assert (0, b"") == (waited.returncode, waited.stderr)
            assert "before_restart" not in json.dumps(key(server))
        assert 0 == server.stop()


async def check_console(server: Server) -> None:
    """The console has a column for those who acknowledged only before the restart."""
    if CHROMIUM is None:
        return
    async with open_page() as page:
        await page.go(f"http://127.0.0.1:{server.port}/console/#clients")
        body = "document.querySelector('#clients-body')"
        await page.wait(f'{body}?.innerText.includes("acknowledged only before the server\'s restart")')
        assert "0 % 0 0 3 0 2" in (await page.evaluate(f"{body}.innerText")).replace("\t", " ")
        assert [] == page.complaints


async def vortexctl_fleet(server: Server) -> str:
    program = str(Path(sys.executable).with_name("vortexctl"))
    shown = await trio.run_process(
        [program, "fleet", "--server", f"http://127.0.0.1:{server.port}"], capture_stdout=True
    )
    return shown.stdout.decode()


CLIENT = """
import sys, trio, vortexd.client

async def main():
    async with vortexd.client.watch(sys.argv[1], "billing", "prod", instance="own") as config:
        await config.ack(config.version, "applied")
        await trio.sleep_forever()

trio.run(main)
"""


def test_the_client_library_acknowledges_again_after_a_restart(source: Path) -> None:
    """So `vortexctl wait` doesn't wait for the next change after each restart."""
    with started(source, 1) as server:
        command = [sys.executable, "-c", CLIENT, f"ws://127.0.0.1:{server.port}"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                until(lambda: states(server) == {"own": "applied"})
                server.stop(signal.SIGKILL)
                settings = SETTINGS.format(workers=1, source=source, state=source.parent / "state")
                with Server(source, settings=settings.replace("127.0.0.1:0", f"127.0.0.1:{server.port}")) as again:
                    waited = trio.run(vortexctl, "wait", again)
                    assert (0, b"") == (waited.returncode, waited.stderr)
                    assert {"own": "applied"} == states(again)
            finally:
                process.kill()


def test_a_file_that_is_garbage_does_not_stop_a_start(source: Path) -> None:
    fleet = source.parent / "state/fleet"
    fleet.mkdir(parents=True, mode=0o700)
    (fleet / "worker-0.json").write_bytes(b'{"format":2,"instances":"who knows"}')
    with started(source, 1) as server:
        assert 1 == server.output().count("acknowledgements unreadable")
        assert 0 == server.stop()

    assert ["worker-0.json.unknown"] == [each.name for each in fleet.iterdir() if each.suffix != ".lock"]


def test_without_a_place_for_state_nothing_is_written(source: Path) -> None:
    environment = {"XDG_STATE_HOME": str(source.parent / "home"), "STATE_DIRECTORY": ""}
    with Server(source, environment=environment) as server:
        trio.run(acknowledged, server)
        assert 0 == server.stop()

    assert not (source.parent / "home").exists()


async def acknowledged(server: Server) -> None:
    async with connected(server, "one") as clients:
        await say(server, clients["one"])
        until(lambda: states(server) == {"one": "applied"})
