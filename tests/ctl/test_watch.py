"""`vortexctl watch` against servers at the other end of memory streams. The clock jumps, so no test sleeps."""

import itertools
import json
import logging
import os
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.client.said import change, message, snapshot
from tests.client.server import Peer, Servers
from vortexd.client.link import REFUSED
from vortexd.client.replica import version_of
from vortexd.core.model import Key
from vortexd.ctl import cli
from vortexd.ctl.broken import BrokenFiles
from vortexd.ctl.errors import CtlError
from vortexd.ctl.output import JsonLines, Lines, OutputFormat
from vortexd.ctl.printing import Paint
from vortexd.ctl.server import Answer, Server
from vortexd.ctl.watch import Hook, follow

from .answering import Said, answering

OLD, NEW = {"pool": {"size": 1}, "word": "a"}, {"pool": {"size": 2}, "word": "\x1b[2J"}
PATCH: list[dict[str, Any]] = [
    {"op": "replace", "path": "/pool/size", "value": 2},
    {"op": "replace", "path": "/word", "value": "\x1b[2J"},
]
OTHER = Key("billing", "dev", "main")
V_OLD, V_NEW = version_of(OLD), version_of(NEW)
SERVER = Server("http://config.example:8888")


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """The command adds a handler to the log of the client."""
    handlers = logging.getLogger("vortexd").handlers
    before = handlers[:]
    yield
    handlers[:] = before


async def watched(
    servers: Servers,
    script: Callable[[Servers], Awaitable[None]],
    telling: OutputFormat | None = None,
    hook: Hook | None = None,
    patterns: tuple[str, ...] = (),
) -> str | None:
    """Watch orders:dev until the servers' script ends."""
    subject = {"app": "orders", "profile": "dev", "label": None, "patterns": patterns}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(script, servers)
        return await follow(SERVER, subject, telling or Lines(Paint()), hook, timeout=10.0, connect=servers.connect)


async def told_off(peer: Peer) -> None:
    """End a connection with a code that forbids a reconnect."""
    await peer.close(4403, "forbidden")


async def changed(servers: Servers) -> None:
    peer = await servers.opened()
    await peer.say(snapshot(OLD))
    await trio.testing.wait_all_tasks_blocked()
    await peer.say(change(OLD, NEW, PATCH))
    await trio.testing.wait_all_tasks_blocked()
    await told_off(peer)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [re.sub(r"^\d{4}-\d\d-\d\dT[\d:.]+Z", "NOW", line) for line in capsys.readouterr().out.splitlines()]


async def test_the_state_comes_first_and_then_each_change_with_both_sides(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = await watched(Servers(), changed)

    assert ended is not None
    assert "4403 forbidden" in ended
    assert lines(capsys) == [
        f"orders:dev:main  {V_OLD}",
        f"NOW  orders:dev:main  {V_OLD} -> {V_NEW}",
        "- /pool/size: 1",
        "+ /pool/size: 2",
        '- /word: "a"',
        '+ /word: "\\u001b[2J"',
    ]


async def test_programs_get_an_object_a_line(autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]) -> None:
    await watched(Servers(), changed, JsonLines())

    begun, step = map(json.loads, capsys.readouterr().out.splitlines())
    named = {"app": "orders", "profile": "dev", "label": "main"}
    assert {"type": "begun", **named, "version": V_OLD, "config": OLD} == begun
    assert step.pop("time")
    assert {"type": "change", **named, "old_version": V_OLD, "version": V_NEW, "patch": PATCH, "origin": None} == step


async def test_a_lost_connection_is_said_once_and_that_it_is_back(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    async def script(servers: Servers) -> None:
        peer = await servers.opened()
        await peer.say(snapshot(OLD))
        await trio.testing.wait_all_tasks_blocked()
        await peer.vanish()
        for _ in range(3):
            await (await servers.peer()).refuse(503)
        peer = await servers.opened()
        await peer.say(change(OLD, NEW, PATCH))
        await trio.testing.wait_all_tasks_blocked()
        await told_off(peer)

    await watched(Servers(), script)

    said = lines(capsys)
    assert [
        "stale: ws://config.example:8888: the connection broke; trying again",
        "stale: ws://config.example:8888: refused with 503; trying again",
    ] == said[1:3]
    assert {"connected again", f"NOW  orders:dev:main  {V_OLD} -> {V_NEW}"} <= set(said[3:])


async def test_states_are_objects_for_programs(autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]) -> None:
    async def script(servers: Servers) -> None:
        peer = await servers.opened()
        await peer.say(snapshot(OLD))
        await trio.testing.wait_all_tasks_blocked()
        await peer.vanish()
        await (await servers.peer()).refuse(403)

    await watched(Servers(), script, JsonLines())

    _, state = map(json.loads, capsys.readouterr().out.splitlines())
    reason = "ws://config.example:8888: the connection broke"
    assert {"type": "state", "state": "stale", "reason": reason} == state


async def test_keys_of_patterns_begin_change_and_end(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    async def script(servers: Servers) -> None:
        peer = await servers.opened()
        await peer.say(snapshot(OLD))
        for said in (
            snapshot(OLD, OTHER),
            change(OLD, NEW, PATCH, OTHER),
            message("config_removed", OTHER, old_version=V_NEW),
        ):
            await trio.testing.wait_all_tasks_blocked()
            await peer.say(said)
        await trio.testing.wait_all_tasks_blocked()
        await peer.heard()
        await told_off(peer)

    for telling in (Lines(Paint()), JsonLines()):
        await watched(Servers(), script, telling, patterns=("billing",))

    said = lines(capsys)
    assert [line for line in said if "billing:dev" in line] == [
        f"NOW  billing:dev:main  begins, {V_OLD}",
        f"NOW  billing:dev:main  {V_OLD} -> {V_NEW}",
        "NOW  billing:dev:main  has ended",
    ]
    assert ["begun", "begun", "change", "ended"] == [json.loads(line)["type"] for line in said if line.startswith("{")]


async def test_without_a_first_state_it_is_3(autojump_clock: MockClock) -> None:
    async def script(servers: Servers) -> None:
        await (await servers.peer()).refuse(404, body=b'{"message": "no such label"}')

    with pytest.RaisesGroup(
        pytest.RaisesExc(CtlError, match="http://config.example:8888: failed: .*refused with 404 no such label")
    ):
        await watched(Servers(), script)


async def test_nobody_there_is_waited_for_no_longer_than_asked(autojump_clock: MockClock) -> None:
    servers = Servers()
    servers.away.add("ws://config.example:8888")

    async def script(_: Servers) -> None:
        pass

    with pytest.RaisesGroup(
        pytest.RaisesExc(
            CtlError,
            match="http://config.example:8888: no configuration after 10 s: ws://config.example:8888: Connection refused$",
        )
    ):
        await watched(servers, script)
    assert 10.0 == trio.current_time()


# The command.


async def test_a_command_gets_the_document_and_says_what_it_failed_with(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VORTEXCTL_TOKEN", "vt_secret")
    out = tmp_path / "out"
    hook = Hook(
        f'cat >{out}; echo "$VORTEX_APP $VORTEX_OLD_VERSION $VORTEX_VERSION $VORTEXCTL_TOKEN"; exit 3', 60.0, None
    )
    await watched(Servers(), changed, hook=hook)

    printed = capfd.readouterr()
    assert NEW == json.loads(out.read_text())
    assert f"orders {V_OLD} {V_NEW} \n" in printed.out
    assert "vortexctl: warning: the command ended with status 3\n" == printed.err


async def test_what_changes_while_a_command_runs_is_one_run_with_the_newest(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    documents = [{"n": number} for number in range(5)]
    received: list[object] = []

    async def script(servers: Servers) -> None:
        peer = await servers.opened()
        await peer.say(snapshot(documents[0]))
        # Messages that arrive before the first state is taken are part of that state.
        await trio.testing.wait_all_tasks_blocked()
        for old, new in itertools.pairwise(documents):
            await peer.say(change(old, new, [{"op": "replace", "path": "/n", "value": new["n"]}]))
            if new == documents[1]:
                received.append(json.loads(await output.receive_some()))
        await trio.testing.wait_all_tasks_blocked()
        os.write(release, b"\n\n")
        received.append(json.loads(await output.receive_some()))
        await told_off(peer)

    read, write = os.pipe()
    # Opening it for reading and writing doesn't wait for another end.
    release = os.open(gate, os.O_RDWR)
    try:
        async with trio.lowlevel.FdStream(read) as output:
            await watched(Servers(), script, hook=Hook(f"cat; read line <{gate}", 60.0, write))
    finally:
        os.close(write)
        os.close(release)

    assert [{"n": 1}, {"n": 4}] == received


# The command line.


@pytest.mark.parametrize(
    "arguments", [["../a"], ["a", "b c"], ["a", "--label", "-x"], ["a", "--label", "x,"], ["a", "--pattern", "a:b:c:d"]]
)
def test_what_is_no_name_or_pattern_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = cli.main(["watch", *arguments])
    except SystemExit as caught:
        status = int(caught.code or 0)

    assert (2, 1) == (status, len(capsys.readouterr().err.splitlines()))


def test_profiles_are_one_list(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    async def noted(_: Server, subject: dict[str, Any], *__: Any, **___: Any) -> None:
        asked.append(subject)

    monkeypatch.setattr("vortexd.ctl.watch.follow", noted)
    with answering((304, "", {"X-Vortex-Version": V_OLD}), (403, {"message": "not for this token"})) as server:
        for arguments in (["a"], ["a", "b", "c", "--label", "x,y", "--pattern", "d"]):
            assert 0 == cli.main(["watch", "--server", server.url, *arguments])
    assert ["/a/default", "/a/b,c/x,y"] == server.asked
    assert [("default", None, []), ("b,c", "x,y", ["d"])] == [
        (each["profile"], each["label"], each["patterns"]) for each in asked
    ]


def test_an_application_that_no_file_is_named_after_is_warned_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def noted(
        server: Server, subject: dict[str, Any], telling: OutputFormat, hook: Hook | None, **_: Any
    ) -> None:
        pass

    monkeypatch.setattr("vortexd.ctl.watch.follow", noted)
    with answering((304, "", {"X-Vortex-Version": V_OLD, "X-Vortex-Without-Files": "shp"})) as server:
        assert 0 == cli.main(["watch", "--server", server.url, "shp"])

    warning = "no file is named after shp; only the files for all applications apply"
    assert f"vortexctl: warning: {warning}\n" == capsys.readouterr().err


def test_broken_files_are_warned_of_at_once_and_watched(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []

    async def noted(*_: object, broken: BrokenFiles, **__: Any) -> None:
        given.append(broken)

    monkeypatch.setattr("vortexd.ctl.watch.follow", noted)
    named = '"shop.yml";line=2;served=last_good'
    with answering((304, "", {"X-Vortex-Version": V_OLD, "X-Vortex-Broken": named})) as server:
        assert 0 == cli.main(["watch", "--server", server.url, "shop"])

    assert [BrokenFiles] == [type(each) for each in given]
    assert capsys.readouterr().err.endswith(f"files on the server are broken: {named}\n")


async def test_broken_files_are_watched_as_long_as_the_configuration(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    class Watched(BrokenFiles):
        is_running = False

        async def run(self) -> None:
            Watched.is_running = True
            try:
                await trio.sleep_forever()
            finally:
                Watched.is_running = False

    async def script(servers: Servers) -> None:
        peer = await servers.opened()
        await peer.say(snapshot(OLD))
        await trio.testing.wait_all_tasks_blocked()
        assert Watched.is_running
        await told_off(peer)

    def never() -> Answer:
        raise AssertionError("nothing is asked")

    servers = Servers()
    subject = {"app": "orders", "profile": "dev", "label": None, "patterns": ()}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(script, servers)
        await follow(
            SERVER, subject, Lines(Paint()), None, timeout=10.0, connect=servers.connect, broken=Watched(never)
        )
    assert not Watched.is_running


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((401, {"message": "x"}), "requires a token"),
        ((404, {"message": "no such label"}), "no such label; name another with --label"),
        ((200, {}), "doesn't answer as a vortexd does"),
        ((503, {"message": "starting"}), "answered 503: starting"),
    ],
)
def test_what_would_be_tried_for_ever_is_said_at_once(
    answer: Said, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VORTEXCTL_TOKEN", raising=False)
    monkeypatch.delenv("VORTEXD_TOKEN", raising=False)
    with answering(answer) as server:
        assert 3 == cli.main(["watch", "--server", server.url, "a"])
    assert told in capsys.readouterr().err


# The end of the command.


def ending(monkeypatch: pytest.MonkeyPatch, outcome: str | BaseException | None) -> Callable[[], int]:
    """Make `follow` end in this way. Return the function that runs the command."""

    async def end(*_: object, **__: object) -> str | None:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr("vortexd.ctl.watch.follow", end)

    def run() -> int:
        with answering((304, "", {"X-Vortex-Version": V_OLD})) as server:
            options = cli.parser(["watch"]).parse_args(["watch", "--server", server.url, "a"])
            status: int = options.run(options)
        return status

    return run


def test_a_refusal_for_good_is_3(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CtlError, match="^http://127.0.0.1:[0-9]+ refused this client: closed with 4403$") as caught:
        ending(monkeypatch, "closed with 4403")()
    assert 3 == caught.value.status


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BaseExceptionGroup("", [KeyboardInterrupt()])])
def test_ctrl_c_is_130(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 130 == ending(monkeypatch, error)()


@pytest.mark.parametrize("error", [BrokenPipeError(), ExceptionGroup("", [BrokenPipeError()])])
def test_the_end_of_the_reader_is_an_error_of_its_own(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BrokenPipeError):
        ending(monkeypatch, error)()


def test_only_refusals_in_the_log_of_the_client_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = logging.getLogger("vortexd")
    assert 0 == ending(monkeypatch, None)()
    log.warning("connected to %s", "x")
    log.warning(REFUSED, "AUTH_FAILED", "not this\x1b pattern")

    told = "the server refused a message: AUTH_FAILED not this\\x1b pattern"
    assert f"vortexctl: warning: {told}\n" == capsys.readouterr().err
