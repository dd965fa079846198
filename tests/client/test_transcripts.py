"""Plays the recorded conversations to the sans-IO client; transcripts/README.md describes their lines."""

import json
from pathlib import Path
from typing import Any

import pytest

from vortexd.client.change import Change
from vortexd.client.client_state import Ack, ClientState
from vortexd.client.disconnect import Disconnect, refused
from vortexd.client.protocol import Conversation, Current, Event, Over, Refused
from vortexd.core.patterns import parse_pattern

DIRECTORY = Path(__file__).parent / "transcripts"
ANSWERS = ("expect", "send")


class Player:
    """A client that performs the steps of the lines, and records the results."""

    def __init__(self, patterns: list[str]) -> None:
        self._held = ClientState()
        self._patterns = [parse_pattern(text) for text in patterns]
        self._now = 0.0
        self._talk: Conversation | None = None
        self.events: list[Any] = []
        self.sent: list[Any] = []

    def play(self, kind: str, value: Any) -> None:
        getattr(self, kind)(value)
        if self._talk:
            self.sent += [json.loads(text) for text in self._talk.take_outgoing(self._now)]

    def at(self, seconds: float) -> None:
        self._now = seconds
        if self._talk:
            self._tell(self._talk.tick(seconds))

    def open(self, request: dict[str, Any]) -> None:
        generation = self._held.main.generation
        assert request["last_version"] == self._held.main.version
        assert request.get("generation") == (None if generation is None else str(generation))
        assert request.get("sent_on", False) is self._held.is_sent_on
        self._talk = Conversation(self._held, self._patterns, self._now)

    def recv(self, message: dict[str, Any]) -> None:
        self.recv_text(json.dumps(message))

    def recv_text(self, text: str) -> None:
        assert self._talk
        self._tell(self._talk.receive(text, self._now))

    def ack(self, what: dict[str, Any]) -> None:
        assert self._held.key
        self._held.acks[self._held.key] = Ack(**what)
        if self._talk:
            self._talk.acknowledge(self._held.key, Ack(**what))

    def close(self, frame: dict[str, Any]) -> None:
        assert self._talk
        self._end(self._talk.close(frame["code"], frame["reason"]))

    def lost(self, _: bool) -> None:
        self.close({"code": 1006, "reason": ""})

    def refused(self, answer: dict[str, Any]) -> None:
        retry_after = answer["headers"].get("Retry-After")
        existed_before = self._held.key is not None
        self._end(refused(answer["status"], retry_after, answer["body"].encode(), existed_before=existed_before))

    def _tell(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Change():
                    self.events.append({"change": {"key": str(event.key), **_shown(event)}})
                case Current():
                    self.events.append("current")
                case Refused(code):
                    self.events.append({"refused": code})
                case Over(end):
                    self._end(end)

    def _end(self, end: Disconnect) -> None:
        self._talk = None
        self.events.append({"end": {"return": end.may_return, "after_ms": end.reconnect_after_ms}})


def _shown(change: Change) -> dict[str, Any]:
    shown = {name: getattr(change, name) for name in ("old_version", "version", "document", "patch")}
    return shown | ({"is_behind": True} if change.is_behind else {})


def _agrees(expected: Any, actual: Any) -> bool:
    """Whether an event equals the expected event. A patch counts only if one is expected; types count."""
    if isinstance(expected, dict) and "change" in expected and "patch" not in expected["change"]:
        actual = {"change": {name: value for name, value in actual["change"].items() if name != "patch"}}
    return json.dumps(expected, sort_keys=True) == json.dumps(actual, sort_keys=True)


@pytest.mark.parametrize("path", sorted(DIRECTORY.glob("*.jsonl")), ids=lambda path: path.stem)
def test_the_core_does_what_a_transcript_says(path: Path) -> None:
    head, *steps = [json.loads(line) for line in path.read_text("ascii").split("\n") if line]
    player = Player(head.get("patterns", []))
    while steps:
        [(kind, value)] = steps.pop(0).items()
        player.play(kind, value)
        while steps and steps[0].keys() <= set(ANSWERS):
            [(kind, value)] = steps.pop(0).items()
            actual = (player.sent if kind == "send" else player.events).pop(0)
            assert _agrees(value, actual), (value, actual)
        assert ([], []) == (player.events, player.sent)


def test_there_are_transcripts_and_each_says_what_it_is_about() -> None:
    abouts = [json.loads(path.read_text().partition("\n")[0])["about"] for path in DIRECTORY.glob("*.jsonl")]

    assert 123 == len(abouts)
    assert all(abouts)
