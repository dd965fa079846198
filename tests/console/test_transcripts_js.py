"""Plays the recorded conversations to the client in JavaScript, as to the client in Python: over WebSockets and over Server-Sent Events."""

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.client.conformance.transcript import load

from .node import NODE, needs_node

pytestmark = needs_node

DIRECTORY = Path(__file__).parent.parent / "client" / "transcripts"
PATHS = sorted(DIRECTORY.glob("*.jsonl"))
ANSWERS = ("expect", "send")
# A browser doesn't tell a page the status of a refused handshake. The client asks over HTTP, where every server answers 426.
UNKNOWABLE = {"refused_426"}
# An event stream has an event `close` for these, and the data of an event may be any text in one line. A heartbeat is a comment, so these two
# can be played as long as its answer doesn't depend on its versions.
STREAMED = {"patterns_gone_meanwhile", "patterns_forbidden"}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").split("\n") if line]


def steps(path: Path) -> tuple[list[str], list[tuple[str, Any]], list[list[dict[str, Any]]]]:
    """Return the patterns, the steps in the player's form, and the answers to each step."""
    head, *rest = lines(path)
    played: list[tuple[str, Any]] = []
    answers: list[list[dict[str, Any]]] = []
    is_accepted = True
    for line in rest:
        [(kind, value)] = line.items()
        if kind in ANSWERS:
            answers[-1].append(line)
            continue
        if not is_accepted and kind != "refused":
            played.append(("accept", None))
            answers.append([])
        played.append(_translated(kind, value))
        answers.append([])
        is_accepted = kind != "open"
    return head.get("patterns", []), played, answers


def _translated(kind: str, value: Any) -> tuple[str, Any]:
    match kind:
        case "recv":
            # Write JSON as servers do: each number has one form (vortexd-api(7)).
            return "recv_text", orjson.dumps(value).decode()
        case "lost":
            return "close", {"code": 1006, "reason": ""}
    return kind, value


@cache
def outcomes(transport: str) -> dict[str, Any]:
    """Return the results of all conversations over a transport, from one run."""
    given = [
        {"transport": transport, **dict(zip(("patterns", "steps"), steps(path)[:2], strict=True))} for path in PATHS
    ]
    command = [str(NODE), str(Path(__file__).parent / "player.mjs")]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, timeout=60, check=False)
    assert 0 == done.returncode, done.stderr
    return dict(zip((path.stem for path in PATHS), json.loads(done.stdout), strict=True))


def _comparable(answer: Any) -> Any:
    """Convert numbers as JavaScript does."""
    match answer:
        case bool() | None | str():
            return answer
        case int() | float():
            return ("number", float(answer))
        case list():
            return [_comparable(each) for each in answer]
        case _:
            return {name: _comparable(each) for name, each in answer.items()}


def _without_unasked_patches(expected: list[Any], actual: list[Any]) -> list[Any]:
    for wanted, event in zip(expected, actual, strict=False):
        change = wanted["expect"]
        if isinstance(change, dict) and "change" in change and "patch" not in change["change"]:
            event["expect"]["change"].pop("patch", None)
    return actual


def has_meaning(path: Path) -> bool:
    """Whether a conversation can be played over an event stream."""
    obstacle = load(path).obstacle("sse") or ""
    _, played, answers = steps(path)
    sent = [answer["send"]["type"] for each in answers for answer in each if "send" in answer]
    if {"ack", "resync"} & {*sent, *(kind for kind, _ in played)} or ("close", {"code": 1005, "reason": ""}) in played:
        return False
    return "a heartbeat" not in obstacle or path.stem in STREAMED


STREAMS = [path for path in PATHS if has_meaning(path)]


def check(path: Path, transport: str) -> None:
    _, played, answers = steps(path)
    found = outcomes(transport)[path.stem]
    assert isinstance(found, list), found

    # Messages on opening follow `open` in the transcript, because a browser's socket can only send when it is open.
    for number, step in enumerate(played):
        if step == ("accept", None):
            answers[number], answers[number - 1] = answers[number - 1], []
    for step, expected, outcome in zip(played, answers, found, strict=True):
        events = [each for each in expected if "expect" in each]
        assert _comparable(events) == _comparable(_without_unasked_patches(events, outcome["events"])), step
        # The request of an event stream has the patterns.
        sent = [each for each in expected if "send" in each and transport != "sse"]
        assert sent == outcome["sent"], step


@pytest.mark.parametrize("transport", ["auto", "websocket"])
@pytest.mark.parametrize("path", [path for path in PATHS if path.stem not in UNKNOWABLE], ids=lambda path: path.stem)
def test_the_client_in_javascript_does_what_a_transcript_says(path: Path, transport: str) -> None:
    check(path, transport)


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_the_client_in_javascript_does_the_same_over_an_event_stream(path: Path) -> None:
    check(path, "sse")


def test_an_event_stream_has_most_of_the_transcripts() -> None:
    assert 101 == len(STREAMS)
