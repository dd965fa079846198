"""Entries of the audit log: their form, their limits, and lines that aren't entries."""

import orjson
import pytest

from vortexd.audit import Actor, Entry, Outcome
from vortexd.audit.entry import MOST_CHARACTERS, MOST_DETAILS, bounded, parse_entry

ENTRY = Entry(
    "1", "2026-01-01T00:00:00.000Z", Actor("ann", "token", "192.0.2.1"), "pin", "shop:prod", Outcome.REFUSED, "no",
    {"to": "c1"}, 1,
)  # fmt: skip
MEMBERS = {
    "id": "1",
    "time": "2026-01-01T00:00:00.000Z",
    "who": "ann",
    "kind": "token",
    "from": "192.0.2.1",
    "act": "pin",
    "target": "shop:prod",
    "outcome": "refused",
    "reason": "no",
    "details": {"to": "c1"},
    "worker": 1,
}


def test_an_entry_is_a_line_of_json_and_read_back() -> None:
    assert MEMBERS == ENTRY.members == orjson.loads(ENTRY.line)
    assert ENTRY.line.endswith(b"}\n")
    assert ENTRY == parse_entry(ENTRY.line) == parse_entry(ENTRY.line.decode())


@pytest.mark.parametrize(
    "change",
    [{name: None} for name in MEMBERS]
    + [{"outcome": "maybe"}, {"details": {"a": 1}}, {"details": []}, {"worker": "1"}, {"who": 1}],
)
def test_a_line_with_another_member_is_no_entry(change: dict[str, object]) -> None:
    assert parse_entry(orjson.dumps(MEMBERS | change)) is None


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"1", b"null", b"\xff", b"{}", ENTRY.line[:-5]])
def test_garbage_is_no_entry(line: bytes) -> None:
    assert parse_entry(line) is None


@pytest.mark.parametrize("member", ["who", "kind", "from", "act", "target", "reason", "details"])
def test_each_text_is_one_line_of_limited_length(member: str) -> None:
    fits, long = "x" * MOST_CHARACTERS, "x" * (MOST_CHARACTERS + 1)
    cut = "x" * (MOST_CHARACTERS - 3) + "..."
    for text, expected in ((fits, fits), (long, cut), ("a\x1b[2J\n\u202e", "a\\x1b[2J\\n\\u202e")):
        entry = parse_entry(orjson.dumps(MEMBERS | {member: {text: text} if member == "details" else text}))
        assert entry is not None
        found = bounded(entry).members

        assert MEMBERS | {member: {expected: expected} if member == "details" else expected} == found


def test_there_are_few_details() -> None:
    entry = bounded(Entry("1", "", Actor("a"), "b", details={f"{number:02}": "" for number in range(MOST_DETAILS + 1)}))

    assert MOST_DETAILS == len(entry.details)
    assert "00" in entry.details


def test_the_system_acts_without_an_address() -> None:
    assert Actor("SIGHUP", "system", "") == Actor("SIGHUP")
