"""README.md: its links and commands exist, and its programs and that of vortexd-api(7) run."""

import ast
import re
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
import trio

import vortexd.client
import vortexd.client.blocking
from vortexd.cli.commands import COMMANDS
from vortexd.client import Change
from vortexd.core.model import Key
from vortexd.ctl import cli
from vortexd.ctl.completion import command_of

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^):]+)\)", README))))
def test_each_link_leads_to_a_file(link: str) -> None:
    assert (ROOT / link).exists()


def test_each_command_that_it_names_exists() -> None:
    daemon = set(re.findall(r"bin/vortexd ([a-z][a-z-]+)", README))
    ctl = set(re.findall(r"(?:(?:^|bin/|`)vortexctl )([a-z]+)", README, re.MULTILINE))

    assert daemon
    assert set() == daemon - set(COMMANDS)
    assert set() == ctl - {each.name for each in command_of(cli.parser()).commands}
    assert len(ctl) > 8


def test_its_programs_can_be_compiled() -> None:
    programs = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)

    assert programs
    for each in programs:
        compile(each, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


class Program:
    """Stands for `watch` and its configuration in a program of the documentation, and records the acknowledgements."""

    version = "v1"

    def __init__(self, *_: object) -> None:
        self.acks: list[tuple[str, str]] = []

    def __getitem__(self, name: str) -> Any:
        return {"database": {"pool": {"size": 1}}}[name]

    def ack(self, version: str, status: str) -> Any:
        self.acks.append((version, status))

    def changes(self) -> Iterator[Change]:
        key = Key("billing", "prod", "main")
        yield Change(key, "v1", "v2", {"a": 1})
        yield Change(key, "v2", None, None)
        yield Change(key, None, "v3", {"a": 2})

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        pass


class AsyncProgram(Program):
    """The same for Trio."""

    def ack(self, version: str, status: str) -> Awaitable[None]:
        # Without an await, it acknowledges nothing.
        async def acknowledge() -> None:
            self.acks.append((version, status))

        return acknowledge()

    async def __aiter__(self) -> AsyncIterator[Change]:
        for each in self.changes():
            await trio.lowlevel.checkpoint()
            yield each

    async def __aenter__(self) -> "AsyncProgram":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


API = (ROOT / "man" / "vortexd-api.7").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
MANUAL = re.findall(r"^\.Bd -literal -offset indent\n(from vortexd\.client.*?)^\.Ed", API, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("program", PROGRAMS + MANUAL)
def test_a_program_acknowledges_the_first_document_and_each_later_one(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocking, on_trio = Program(), AsyncProgram()
    monkeypatch.setattr(vortexd.client.blocking, "watch", lambda *_: blocking)
    monkeypatch.setattr(vortexd.client, "watch", lambda *_: on_trio, raising=False)
    exec(compile(program, "a program of the documentation", "exec"), {})

    assert [("v1", "applied"), ("v2", "applied"), ("v3", "applied")] == blocking.acks + on_trio.acks
    assert capsys.readouterr().out.startswith("1\n")


def test_the_manual_has_a_program() -> None:
    assert 1 == len(MANUAL)


def test_the_table_of_clients_agrees_with_their_arguments() -> None:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in README.splitlines() if line.startswith("| ")]
    python, agent, javascript, _ = [
        row for row in rows if len(row) == 8 and row[7] != "Install" and {*row[1:7]} <= {"yes", "no", "over WebSockets"}
    ]
    options = (ROOT / "vortexd/client/following.py").read_text()
    script = (ROOT / "vortexd/console/vortex.js").read_text()

    assert ["yes" if name in options else "no" for name in ("last_known_good:", "patterns:")] == python[4:6]
    assert ["yes" if name in script else "no" for name in ("last_version", "versionOf(")] == javascript[1:3]
    assert "over WebSockets" == javascript[3]
    assert ["yes" if name in script else "no" for name in ("lastKnownGood", "#patterns", "#openStream")] == javascript[
        4:7
    ]
    assert ["yes", "no", "no"] == agent[4:7]
    assert ["no" if "/events/" not in options else "yes"] == python[6:7]
