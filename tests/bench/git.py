"""The time from `git push` to the last of N clients, by stage, for repositories of several sizes in which one file changes.

python -m tests.bench git --clients 1000 --files 100 500 1000 10000
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from vortexd.ctl.load import Clients

from ..repository import Repository
from ..system.process import Server

STAGES = ("fetch", "read", "parse", "list", "resolve and diff", "diff", "broadcast", "publish")


class StopwatchServer(Server):
    """vortexd with measured stages; see `git_server`."""

    module = "tests.bench.git_server"

    def spent(self) -> list[dict[str, float]]:
        lines = [json.loads(line) for line in self.output().splitlines() if line.startswith('{"spent"')]
        return [line["spent"] for line in lines if line["spent"].get("broadcast")]


# Slightly more than the default of `hook_interval`.
HOOK_INTERVAL = 1.1
# A hook for repositories without webhooks. It records when it begins and ends.
HOOK = """#!/bin/sh
date +%s.%N >{began}
curl -fsS -o /dev/null -H 'Content-Type: application/json' -d '{{"path": "app7.yml"}}' http://127.0.0.1:{port}/monitor
date +%s.%N >{ended}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--files", type=int, nargs="+", default=[100, 500, 1_000, 10_000])
    parser.add_argument("--changes", type=int, default=20)


def run(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    for files in arguments.files:
        measure(files, arguments.clients, arguments.changes)


def measure(files: int, clients: int, changes: int) -> None:
    """One repository: push one file often, and print the median of each stage in milliseconds."""
    with tempfile.TemporaryDirectory() as directory:
        repository = Repository(Path(directory) / "config.git")
        repository.commit({f"app{number}.yml": document(number, 0) for number in range(files)})
        settings = (
            f'[server]\nbind = ["127.0.0.1:0"]\nstate_directory = "{directory}/state"\n[[source]]\nkind = "git"\n'
            f'uri = "{repository.uri}"\nschemes = ["file"]\nrefresh_interval = 3600\n'
        )
        server = StopwatchServer(Path(directory) / "x", settings=settings)
        with server:
            connected = Clients("127.0.0.1", server.port)
            connected.connect(clients, lambda _: "/ws/app7/prod")
            began, ended = Path(directory) / "began", Path(directory) / "ended"
            hook = repository.path / "hooks" / "post-receive"
            hook.parent.mkdir(exist_ok=True)
            hook.write_text(HOOK.format(began=began, ended=ended, port=server.port))
            hook.chmod(0o755)
            work = Path(directory) / "work"
            git("clone", "-q", repository.uri, str(work))
            totals, hooks = [], []
            for number in range(1, changes + 1):
                # After an immediate second push, the server would wait for `hook_interval`. The benchmark doesn't measure that wait.
                time.sleep(HOOK_INTERVAL)
                (work / "app7.yml").write_text(document(7, number))
                git("-C", str(work), "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qam", "x")
                push = subprocess.Popen(["git", "-C", str(work), "push", "-q", "origin", "main"])
                reached = max(connected.wait(f'"value":{number}'.encode(), 30)) - time.monotonic() + time.time()
                push.wait()
                totals.append(1_000 * (reached - float(began.read_text())))
                hooks.append(1_000 * (float(ended.read_text()) - float(began.read_text())))
            time.sleep(0.2)
            rows = server.spent()[-changes:]
            connected.close()
            server.stop()
    medians = {stage: statistics.median(row.get(stage, 0.0) for row in rows) for stage in STAGES}
    medians["resolve and diff"] -= medians["diff"]
    ours = medians["read"] + medians["publish"]
    print(
        f"{files:>6} files, {clients} clients, from the hook to the last client: {statistics.median(totals):.1f} ms",
        end="; ",
    )
    print(f"hook {statistics.median(hooks):.1f}", end=", ")
    print(f"fetch {medians['fetch']:.1f}, ours {ours:.1f}", end=" = ")
    print(f"read {medians['read']:.1f} + publish {medians['publish']:.1f}", end=" (")
    print(", ".join(f"{stage.partition(' and')[0]} {medians[stage]:.1f}" for stage in STAGES[2:7]) + ")", flush=True)


def git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True, capture_output=True)


def document(number: int, size: int) -> str:
    values = "".join(f"  key{index}: value {index} {number}\n" for index in range(40))
    return f"service:\n{values}pool:\n  size: {size}\n"
