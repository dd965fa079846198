"""The responses of vortexd equal those of a real Spring Cloud Config Server, byte for byte.

Only an `Environment` is compared by values and their types. Spring writes 1.0E10 in it and vortexd writes 10000000000.0, which are the same to every
JSON parser. For errors, only the status is compared, because vortexd has its own texts.

`expectations.json` lists the differences: `rules` are differences of many responses. `deviations` are responses that differ on purpose, with the reason
and vortexd's response. If an entry is no longer true, a test fails, so that the list can only shrink. vortexd-api(7) describes the same differences.
"""

import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from vortexd.auth.credential_files import load_named_files
from vortexd.composition import Process, build
from vortexd.daemon import Daemon
from vortexd.net.inherited import Inherited
from vortexd.process.late_signals import LateSignals
from vortexd.process.peers import Peers
from vortexd.process.systemd import Notifier
from vortexd.settings import file as settings_file
from vortexd.settings.server import parse_address
from vortexd.source.kinds import KINDS

from . import oracle
from .oracle import Answered

EXPECTATIONS: dict[str, Any] = json.loads((oracle.HERE / "expectations.json").read_text())
DEVIATIONS: dict[str, dict[str, Any]] = {
    name: ours for group in EXPECTATIONS["deviations"] for name, ours in group["requests"].items()
}
SECONDS = 60


@asynccontextmanager
async def serving(text: str, base: Path) -> AsyncIterator[int]:
    """The whole daemon in this process, by its port."""
    settings = settings_file.load(text, "vortexd.toml", base, KINDS)
    send, receive = trio.open_memory_channel[str](1)
    files = load_named_files(settings, [parse_address(each) for each in settings.server.bind], os.environ)
    parts = build(settings, files, lambda: settings, Process(Inherited(), Notifier({}, 0), Peers(None)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Daemon(parts).run, lambda urls: send.send_nowait(urls[0]), LateSignals())
        yield int((await receive.receive()).rpartition(":")[2])
        nursery.cancel_scope.cancel()


async def answers(server: str, directory: Path) -> dict[str, Answered]:
    """What we answer to all requests to a server."""
    root = directory / "corpus"
    root.mkdir()
    corpus = oracle.prepare(root)
    text = f'[server]\nbind = ["127.0.0.1:0"]\nstate_directory = "{directory}/state"\n'
    found = {}
    async with serving(text + corpus.expand(oracle.servers()[server]["vortexd"]), directory) as port:
        for asked in oracle.requests(server):
            found[asked.name] = await trio.to_thread.run_sync(corpus.ask, port, asked)
    return found


def expected_of(spring: Answered) -> Answered:
    """Spring's answer with what is different everywhere."""
    body, kind = spring.body, spring.type
    for rule in EXPECTATIONS["rules"]:
        if "type" in rule:
            kind = re.sub(rule["type"], rule["replacement"], kind or "")
        else:
            body = re.sub(rule["body"].encode(), rule["replacement"].encode(), body)
    return Answered(spring.status, kind, body)


def comparable(answer: Answered) -> object:
    """What must be the same."""
    if answer.status >= 400:
        return answer.status
    if b'"propertySources":' in answer.body:
        # Through text, so that 1, 1.0 and true aren't equal.
        return answer.status, answer.type, json.dumps(json.loads(answer.body), sort_keys=True)
    return answer.status, answer.type, answer.body


@pytest.mark.parametrize("server", oracle.servers())
async def test_answers_are_springs(server: str, tmp_path: Path) -> None:
    """What differs is what is expected to differ: no more, and no less."""
    with trio.fail_after(SECONDS):
        ours = await answers(server, tmp_path)
    wrong = []
    for name, spring in oracle.recorded(server).items():
        expected = comparable(expected_of(spring))
        is_same = expected == comparable(ours[name])
        if name in DEVIATIONS:
            assert not is_same, f"{name} is as Spring has it: take it out of expectations.json"
            expected = comparable(deviating(name, ours[name]))
        if expected != comparable(ours[name]):
            wrong.append(f"{name}\n  expected {expected}\n  got      {comparable(ours[name])}")
    assert not wrong, "\n".join(wrong)


def deviating(name: str, ours: Answered) -> Answered:
    """What we answer on purpose; what isn't said isn't compared."""
    members = DEVIATIONS[name]
    body = members["body"].encode() if "body" in members else ours.body
    return Answered(members["status"], members.get("type", ours.type), body)


def test_each_request_has_an_answer_and_a_name_of_its_own() -> None:
    for server in oracle.servers():
        names = [asked.name for asked in oracle.requests(server)]
        assert names == list(oracle.recorded(server))


def test_expectations_are_about_requests_there_are_and_say_why() -> None:
    names = [name for group in EXPECTATIONS["deviations"] for name in group["requests"]]
    assert set() == set(names) - {name for server in oracle.servers() for name in oracle.recorded(server)}
    assert len(names) == len(set(names))
    assert all(group["reason"] for group in [*EXPECTATIONS["deviations"], *EXPECTATIONS["rules"]])


def test_every_rule_is_needed() -> None:
    recorded = [answer for server in oracle.servers() for answer in oracle.recorded(server).values()]
    for rule in EXPECTATIONS["rules"]:
        if "type" in rule:
            assert any(re.search(rule["type"], answer.type or "") for answer in recorded), rule
        else:
            assert any(re.search(rule["body"].encode(), answer.body) for answer in recorded), rule


def test_recorded_answers_hold_no_path_of_a_machine() -> None:
    for server in oracle.servers():
        text = (oracle.ANSWERS / f"{server}.json").read_text()
        assert not re.search(r"/(?:tmp|home|root|var)/|127\.0\.0\.1|localhost:\d", text)
