"""The time from a save to the last of N clients, for each way of saving a file; and the number of publications after a storm of saves.

python -m tests.bench save --clients 1000 --changes 20
"""

import argparse
import re
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from vortexd.ctl import bench
from vortexd.ctl.load import Clients

from ..system.process import Server
from .report import DEBOUNCE, report

_STORM_FILES = 500
# A publication follows the first change by at most `max_wait`. This is long after the last change.
_STORM_PAUSE = 2.5
# The time for which the server may read other files of a save after it.
_PAUSE = 0.3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--changes", type=int, default=20)


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "config"
        source.mkdir()
        rename(source, document(0))
        with Server(source) as server:
            clients = Clients("127.0.0.1", server.port)
            clients.connect(arguments.clients, lambda _: "/ws/billing/prod")
            number = 0
            for name, save in (("rename", rename), ("write in place", in_place), ("save of vim", vim)):
                everyone, lasts = [], []
                for _ in range(arguments.changes):
                    number += 1
                    time.sleep(_PAUSE)
                    began = save(source, document(number))
                    times = clients.wait(f'"value":{number}'.encode(), 30)
                    everyone += [moment - began for moment in times]
                    lasts.append(max(times) - began)
                report(f"{name} to client, all", everyone)
                report(f"{name} to last client", lasts)
            clients.close()
            print(f"of which quiet time: {1_000 * DEBOUNCE:.0f} ms")
            with bench._floor(arguments.clients) as floor:
                rounds = [floor(each) for each in range(arguments.changes)]
            report("floor: from first to last of a loop of send", [max(times) - min(times) for times in rounds])
            storm(server, f"{_STORM_FILES} files rewritten within a second as rsync does", lambda: rsync(source))
            server.stop()
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "config"
        repository(source)
        with Server(source) as server:
            storm(server, f"git checkout of {_STORM_FILES} files", lambda: git(source, "checkout", "-q", "other"))
            server.stop()


def document(number: int) -> str:
    """Return the content of a file with one new value."""
    values = "".join(f"  key{index}: value {index}\n" for index in range(50))
    return f"service:\n{values}pool:\n  size: {number}\n"


def rename(source: Path, text: str) -> float:
    """Replace the file as deployments do. Like the other ways, return the time of the last step."""
    temporary = source / ".billing.tmp"
    temporary.write_text(text)
    temporary.rename(source / "billing.yml")
    return time.monotonic()


def in_place(source: Path, text: str) -> float:
    """Truncate the file, and write it."""
    (source / "billing.yml").write_text(text)
    return time.monotonic()


def vim(source: Path, text: str) -> float:
    """Keep the old file as a backup while the new one is written."""
    (source / "4913").touch()
    (source / "4913").unlink()
    (source / "billing.yml").rename(source / "billing.yml~")
    (source / "billing.yml").write_text(text)
    (source / "billing.yml~").unlink()
    return time.monotonic()


def rsync(source: Path) -> None:
    """Write and rename each file under a temporary name, as rsync does, spread over most of a second."""
    began = time.monotonic()
    for number in range(_STORM_FILES):
        temporary = source / f".shop{number}.yml.aB3dE6"
        temporary.write_text(document(number))
        temporary.rename(source / f"shop{number}.yml")
        time.sleep(max(0.0, began + 0.9 * number / _STORM_FILES - time.monotonic()))


def repository(source: Path) -> None:
    """Make a work tree with two branches that differ in all files."""
    source.mkdir()
    git(source, "init", "-q", "-b", "main")
    for branch in ("main", "other"):
        if branch == "other":
            git(source, "checkout", "-q", "-b", branch)
        for number in range(_STORM_FILES):
            (source / f"shop{number}.yml").write_text(f"branch: {branch}\n{document(number)}")
        git(source, "add", ".")
        git(source, "-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "-m", branch)
    git(source, "checkout", "-q", "main")


def git(directory: Path, *arguments: str) -> None:
    """Run git."""
    subprocess.run(["git", "-C", str(directory), *arguments], check=True)


def storm(server: Server, name: str, save: Callable[[], None]) -> None:
    """Print how many publications many saves become."""
    before, began = publications(server.port), time.monotonic()
    save()
    seconds = time.monotonic() - began
    time.sleep(_STORM_PAUSE)
    print(f"{name}, in {seconds:.2f} s: {publications(server.port) - before} publications")


def publications(port: int) -> int:
    """Return the number of states that the server has published."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        found = re.search(r"^vortexd_publications_total (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found
    return int(float(found[1]))
