"""The lines of a conversation, as steps with their answers. ../transcripts/README.md describes them. Pure."""

import json
from pathlib import Path
from typing import Any

import attrs

TRANSCRIPTS = Path(__file__).parent.parent / "transcripts"
_MOST_SHOWN = 1_000
_ANSWERS = frozenset({"expect", "send"})
# Over an event stream, a client can't send.
_ONE_WAY = {
    "ack": "a client can't acknowledge over Server-Sent Events",
    "close": "an event stream has no close codes",
    "recv_text": "an event stream has no frames of text",
}


@attrs.frozen
class Step:
    """One step of the server, and the answers to it. `line` counts from 1; each answer has the number of its own line."""

    line: int
    kind: str
    value: Any
    answers: list[tuple[int, str, Any]] = attrs.field(factory=list)


@attrs.frozen
class Transcript:
    name: str
    about: str
    patterns: list[str]
    steps: list[Step]

    def obstacle(self, transport: str) -> str | None:
        """Return why this conversation has no meaning over a transport, or None."""
        if transport == "websocket":
            return None
        for step in self.steps:
            if step.kind in _ONE_WAY:
                return f"line {step.line}: {_ONE_WAY[step.kind]}"
            if step.kind == "recv" and step.value["type"] == "ping" and step.answers:
                return f"line {step.line}: a heartbeat on an event stream is a comment, and names no versions"
            for line, kind, value in step.answers:
                if kind == "send" and value["type"] != "subscribe":
                    return f"line {line}: a client can't send {value['type']} over Server-Sent Events"
        return None


def load(path: Path) -> Transcript:
    """Read one file.

    Raises:
        ValueError: The file isn't a conversation.
    """
    head, *lines = [json.loads(line) for line in path.read_text("ascii").split("\n") if line]
    steps: list[Step] = []
    for number, line in enumerate(lines, 2):
        [(kind, value)] = line.items()
        if kind in _ANSWERS:
            if not steps:
                raise ValueError(f"{path}: an answer precedes the first step")
            steps[-1].answers.append((number, kind, value))
        else:
            steps.append(Step(number, kind, value))
    return Transcript(path.stem, head["about"], head.get("patterns", []), steps)


def difference(expected: Any, actual: Any) -> str | None:
    """Return how an answer differs from the expected one, or None.

    Numbers are compared by value. An event may leave out members that are null or false, its `patch`, and its `after_ms`.
    """
    wanted, given = _members(expected), _members(actual)
    if ("change", "patch") not in wanted or ("change", "patch") not in given:
        wanted.pop(("change", "patch"), None)
        given.pop(("change", "patch"), None)
    if ("end", "after_ms") not in given:
        wanted.pop(("end", "after_ms"), None)
    return None if wanted == given else f"expected {_shown(expected)}, got {_shown(actual)}"


def _members(event: Any) -> dict[tuple[str, str], Any]:
    """Return the members of an event or message by kind and name, in a comparable form."""
    if not isinstance(event, dict) or len(event) != 1:
        return {("", ""): _comparable(event)}
    [(kind, members)] = event.items()
    if not isinstance(members, dict):
        return {(kind, ""): _comparable(members)}
    is_optional = {name for name, each in members.items() if each is None or (each is False and name == "is_behind")}
    return {(kind, name): _comparable(each) for name, each in members.items() if name not in is_optional}


def _comparable(value: Any) -> Any:
    """Convert numbers as a client does that has only one kind of number. True isn't 1."""
    match value:
        case bool():
            return ("boolean", value)
        case int() | float():
            return float(value) if abs(value) < 1e300 else value
        case list():
            return [_comparable(each) for each in value]
        case dict():
            return {name: _comparable(each) for name, each in value.items()}
    return value


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "..."
