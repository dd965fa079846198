"""The log of a publication: each new fault is logged once."""

from typing import Any

import attrs
import pytest
from structlog.testing import capture_logs

from vortexd.core.errors import ResolveError
from vortexd.core.model import BrokenFile, Files, Key, Served, Tree
from vortexd.pipeline.publication_log import CONSEQUENCES, report_broken, report_empty, report_failures
from vortexd.pipeline.served import ServedState
from vortexd.pipeline.state import State
from vortexd.resolve.tree import parse_tree
from vortexd.settings.formats import FormatSettings

from ..wiring import served_state

SHOP = Key("shop", "dev", "main")


class Counted:
    def __init__(self) -> None:
        self.counts: list[tuple[int, int]] = []

    def broken_files(self, count: int, unserved: int) -> None:
        self.counts.append((count, unserved))


def served(**contents: bytes) -> ServedState:
    files = Files({f"{name}.yml": content for name, content in contents.items()}, root="file:/c/")
    return served_state(State(parse_tree(Tree({"main": files}), FormatSettings()).labels, "main"))


def broken(before: ServedState | None, now: ServedState) -> tuple[list[Any], list[tuple[int, int]]]:
    counted = Counted()
    with capture_logs() as logs:
        report_broken(before, now, counted)
    return [(each["event"], each["log_level"], each["file"]) for each in logs], counted.counts


def test_a_broken_file_is_logged_once_and_again_when_its_reason_is_another() -> None:
    first, other = served(shop=b"a: ["), served(shop=b"a: 1\na: [")
    event = ("configuration file broken", "warning", "shop.yml")

    assert ([event], [(1, 1)]) == broken(None, first)
    assert ([], [(1, 1)]) == broken(first, first)
    assert ([event], [(1, 1)]) == broken(first, other)


def test_a_file_that_is_sound_again_and_one_that_is_gone_have_events_of_their_own() -> None:
    before = served(shop=b"a: [", cart=b"b: [")
    events, counts = broken(before, served(shop=b"a: 1"))

    assert {
        ("configuration file sound again", "info", "shop.yml"),
        ("broken configuration file gone", "info", "cart.yml"),
    } == set(events)
    assert [(0, 0)] == counts


@pytest.mark.parametrize(("kind", "unserved"), [(Served.LAST_GOOD, 0), (Served.WITHOUT, 0), (Served.NOTHING, 1)])
def test_the_consequence_and_the_last_good_revision_are_named(kind: Served, unserved: int) -> None:
    now = served(shop=b"a: [")
    [(name, file)] = now.broken.items()
    for revision in (None, "c1"):
        one: BrokenFile = attrs.evolve(file, served=kind, revision=revision)
        counted = Counted()
        with capture_logs() as logs:
            report_broken(None, attrs.evolve(now, broken={name: one}), counted)

        assert CONSEQUENCES[kind] == logs[0]["consequence"]
        assert revision == logs[0].get("last_good")
        assert ("last_good" in logs[0]) == (revision is not None)
        assert [(1, unserved)] == counted.counts


def failures(before: ServedState | None, now: ServedState) -> list[str]:
    with capture_logs() as logs:
        report_failures(before, now)
    return [each["reason"] for each in logs if each["event"] == "configuration not resolved"]


def test_a_key_that_fails_is_logged_once_for_each_reason() -> None:
    sound = served(shop=b"a: 1")
    one, other = (attrs.evolve(sound, failures={SHOP: str(ResolveError(reason))}) for reason in ("one", "other"))

    assert ["one"] == failures(None, one)
    assert ["one"] == failures(sound, one)
    assert [] == failures(one, one)
    assert ["other"] == failures(one, other)
    assert [] == failures(other, sound)


def empty(before: ServedState | None, now: ServedState) -> list[str]:
    with capture_logs() as logs:
        report_empty(before, now)
    assert all(each["event"] == "no configuration" and each["log_level"] == "warning" for each in logs)
    return [each["source"] for each in logs]


def test_an_empty_source_is_logged_when_it_becomes_empty() -> None:
    none, some = served(), served(shop=b"a: 1")

    assert ["file:/c/"] == empty(None, none)
    assert [] == empty(none, none)
    assert [] == empty(none, some)
    assert ["file:/c/"] == empty(some, none)
