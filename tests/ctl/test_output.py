"""The events of `watch`, as lines for people and as objects for programs."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.client.said import KEY
from vortexd.client import Change, Connected, Failed, Stale, State
from vortexd.client.replica import version_of
from vortexd.core.model import Key
from vortexd.ctl.output import JsonLines, Lines
from vortexd.ctl.printing import Paint

OLD, NEW = {"a": 1, "word": "x"}, {"a": 2, "word": "x"}
V_OLD, V_NEW = version_of(OLD), version_of(NEW)
OTHER = Key("billing", "dev", "main")
TIME = "2030-01-01T00:00:00Z"
ORIGIN = {"commit": "0123456789abcdef", "author": "Ada\x1b[2J", "time": TIME}
NAMED = {"app": "orders", "profile": "dev", "label": "main"}
LOST = Stale(0.0, "the connection\nbroke")


def change(
    old: str | None, document: dict[str, Any] | None, key: Key = KEY, origin: Mapping[str, str] | None = None
) -> Change:
    return Change(key, old, None if document is None else version_of(document), document, origin)


def objects(lines: Iterator[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def older(old: str | None, document: dict[str, Any]) -> Change:
    return Change(KEY, old, version_of(document), document, is_behind=True)


LAG = "the server is behind: this state is older than the one before, and the newer one follows by itself"


# For people.


def test_a_step_back_says_that_the_server_is_behind() -> None:
    lines = Lines(Paint())
    list(lines.begun(KEY, NEW))

    assert [f"{TIME}  orders:dev:main  {V_NEW} -> {V_OLD}", LAG, "- /a: 2", "+ /a: 1"] == list(
        lines.changed(older(V_NEW, OLD), TIME)
    )


def test_a_connection_to_a_server_that_is_behind_says_so_until_it_has_caught_up() -> None:
    lines = Lines(Paint(is_on=True))

    assert [f"\x1b[33mconnected again, but {LAG}\x1b[0m"] == list(lines.turned(Connected(is_behind=True)))
    assert ["\x1b[32mthe server has caught up\x1b[0m"] == list(lines.turned(Connected()))
    assert ["\x1b[32mconnected again\x1b[0m"] == list(lines.turned(Connected()))


def test_a_program_reads_that_a_step_leads_back() -> None:
    lines = JsonLines()

    for old in (V_NEW, None):
        [step] = objects(lines.changed(older(old, OLD), TIME))
        assert step["behind"] is True
    assert "behind" not in objects(lines.changed(change(V_OLD, NEW), TIME))[0]
    assert "behind" not in objects(lines.turned(Connected()))[0]
    assert "behind" not in objects(lines.turned(LOST))[0]
    assert {"type": "state", "state": "connected", "reason": None, "behind": True} == objects(
        lines.turned(Connected(is_behind=True))
    )[0]


def test_a_key_begins_with_its_name_and_version() -> None:
    assert [f"orders:dev:main  {V_OLD}"] == list(Lines(Paint()).begun(KEY, OLD))


def test_a_change_shows_the_values_before_and_after_it() -> None:
    lines = Lines(Paint())
    list(lines.begun(KEY, OLD))

    assert [f"{TIME}  orders:dev:main  {V_OLD} -> {V_NEW}", "- /a: 1", "+ /a: 2"] == list(
        lines.changed(change(V_OLD, NEW), TIME)
    )
    # The new document is the old one of the next change.
    assert ["- /a: 2", "+ /a: 1"] == list(lines.changed(change(V_NEW, OLD), TIME))[1:]


def test_a_new_key_only_begins_and_its_next_change_has_both_values() -> None:
    lines = Lines(Paint())

    assert [f"{TIME}  billing:dev:main  begins, {V_OLD}"] == list(lines.changed(change(None, OLD, OTHER), TIME))
    assert ["- /a: 1", "+ /a: 2"] == list(lines.changed(change(V_OLD, NEW, OTHER), TIME))[1:]


def test_a_key_that_has_ended_begins_anew_without_its_old_values() -> None:
    lines = Lines(Paint())
    list(lines.begun(KEY, OLD))

    assert [f"{TIME}  orders:dev:main  has ended"] == list(lines.changed(change(V_OLD, None), TIME))
    assert [f"{TIME}  orders:dev:main  begins, {V_NEW}"] == list(lines.changed(change(None, NEW), TIME))


def test_a_key_that_has_ended_before_it_was_seen_has_ended_too() -> None:
    assert [f"{TIME}  orders:dev:main  has ended"] == list(Lines(Paint()).changed(change(None, None), TIME))


def test_each_key_has_its_own_old_document() -> None:
    lines = Lines(Paint())
    list(lines.begun(KEY, OLD))
    list(lines.begun(OTHER, NEW))

    assert ["- /a: 2", "+ /a: 1"] == list(lines.changed(change(V_NEW, OLD, OTHER), TIME))[1:]


@pytest.mark.parametrize(
    ("origin", "text"),
    [
        (None, ""),
        (ORIGIN, "  by Ada\\x1b[2J, 0123456789"),
        ({"commit": "0123456789"}, "  by , 0123456789"),
        ({"author": "Ada"}, "  by Ada, "),
    ],
)
def test_a_change_of_a_commit_names_its_author_and_ten_digits(origin: dict[str, str] | None, text: str) -> None:
    [line] = Lines(Paint()).changed(change(None, NEW, origin=origin), TIME)

    assert f"{TIME}  orders:dev:main  begins, {V_NEW}{text}" == line


def test_the_same_problem_is_one_line_until_it_changes() -> None:
    lines = Lines(Paint())
    states: list[State] = [LOST, LOST, Stale(9.0, LOST.reason), Stale(9.0, "refused"), Connected(), Connected(), LOST]

    assert [
        "stale: the connection\\nbroke; trying again",
        "stale: refused; trying again",
        "connected again",
        "stale: the connection\\nbroke; trying again",
    ] == [line for state in states for line in lines.turned(state)]


def test_events_have_colours_if_they_are_on() -> None:
    lines = Lines(Paint(True))

    shown = [*lines.begun(KEY, OLD), *lines.changed(change(V_OLD, NEW), TIME)]
    shown += [*lines.turned(LOST), *lines.turned(Connected())]
    assert ["\x1b[1m", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[32m"] == [
        line[: line.index("m") + 1] for line in shown
    ]


# For programs.


def test_the_first_document_is_an_object() -> None:
    assert [{"type": "begun", **NAMED, "version": V_OLD, "config": OLD}] == objects(JsonLines().begun(KEY, OLD))


@pytest.mark.parametrize("origin", [None, ORIGIN])
def test_a_change_is_an_object_with_its_patch(origin: dict[str, str] | None) -> None:
    made = Change(KEY, V_OLD, V_NEW, NEW, origin, OLD)

    assert [
        {
            "type": "change",
            **NAMED,
            "time": TIME,
            "old_version": V_OLD,
            "version": V_NEW,
            "patch": [{"op": "replace", "path": "/a", "value": 2}],
            "origin": origin,
        }
    ] == objects(JsonLines().changed(made, TIME))


def test_a_new_key_is_an_object_with_its_document() -> None:
    assert [{"type": "begun", **NAMED, "time": TIME, "version": V_NEW, "config": NEW, "origin": ORIGIN}] == objects(
        JsonLines().changed(change(None, NEW, origin=ORIGIN), TIME)
    )


@pytest.mark.parametrize("old", [V_OLD, None])
def test_the_end_of_a_key_is_an_object_with_its_last_version(old: str | None) -> None:
    assert [{"type": "ended", **NAMED, "time": TIME, "old_version": old}] == objects(
        JsonLines().changed(change(old, None), TIME)
    )


@pytest.mark.parametrize(
    ("state", "name", "reason"),
    [
        (Connected(), "connected", None),
        (LOST, "stale", "the connection\nbroke"),
        (Failed("refused with 403"), "failed", "refused with 403"),
    ],
)
def test_each_state_is_an_object_even_if_it_repeats(state: State, name: str, reason: str | None) -> None:
    lines = JsonLines()

    told = {"type": "state", "state": name, "reason": reason}
    assert [told, told] == objects(lines.turned(state)) + objects(lines.turned(state))


def test_an_object_is_one_line_that_does_not_control_the_terminal() -> None:
    [line] = JsonLines().begun(KEY, {"a": "\x1b[2J\n"})

    assert line.isprintable()
