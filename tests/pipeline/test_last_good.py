"""The last good content of broken files: earlier contents of the source are tried until one can be parsed."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from vortexd.core.errors import SourceError
from vortexd.core.model import Files, Former, Tree
from vortexd.pipeline import last_good as module
from vortexd.pipeline.last_good import LastGood
from vortexd.pipeline.parsing import parse_file
from vortexd.resolve.formats import Document
from vortexd.resolve.tree import ParsedTree, parse_tree
from vortexd.settings.formats import FormatSettings

from ..fakes import FakePast

LIMITS = FormatSettings()


class Filling:
    """The stage, with a thread that is none; it notes what is parsed."""

    def __init__(self) -> None:
        self.parsed: list[bytes] = []
        self.stage = LastGood(self._run)

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        await trio.lowlevel.checkpoint()
        self.parsed.append(arguments[1])
        return function(*arguments)

    async def fill(self, files: Files, before: ParsedTree | None = None, limits: FormatSettings = LIMITS) -> ParsedTree:
        parsed = parse_tree(Tree({"main": files}), limits, before)
        return await self.stage.fill(parsed, before, limits)


async def test_the_newest_content_that_parses_is_taken() -> None:
    past = FakePast({"a.yml": [b"a: [", b"a: [[", b"a: 1", b"a: 0"]})
    files = (await Filling().fill(Files({"a.yml": b"["}, past=past))).labels["main"]

    assert {"a": 1} == files.documents["a.yml"][0].values
    assert Former(b"a: 1", "c2") == files.fallbacks["a.yml"].former
    assert [("a.yml", 3)] == past.asked


async def test_a_file_that_was_absent_before_it_broke_is_left_out() -> None:
    past = FakePast({"a.yml": [b"a: [", None, b"a: 0"]})
    files = (await Filling().fill(Files({"a.yml": b"["}, past=past))).labels["main"]

    assert Former(None, "c1") == files.fallbacks["a.yml"].former
    assert {} == files.documents


@pytest.mark.parametrize("contents", [[], [b"a: [", b"a: [["]])
async def test_a_file_without_a_good_past_has_no_fallback(contents: list[bytes | None]) -> None:
    files = (await Filling().fill(Files({"a.yml": b"["}, past=FakePast({"a.yml": contents})))).labels["main"]

    assert {} == files.fallbacks
    assert {"a.yml"} == files.broken.keys()


async def test_files_that_are_sound_and_sources_without_a_past_are_left_alone() -> None:
    past = FakePast({"a.yml": [b"a: 0"]})
    filling = Filling()
    sound = parse_tree(Tree({"main": Files({"a.yml": b"a: 1"}, past=past)}), LIMITS)
    broken = parse_tree(Tree({"main": Files({"a.yml": b"["})}), LIMITS)

    for parsed in (sound, broken):
        assert parsed.labels["main"] is (await filling.stage.fill(parsed, None, LIMITS)).labels["main"]
    assert [] == past.asked


async def test_what_is_served_stands_unless_the_source_decides_alone() -> None:
    before = parse_tree(Tree({"main": Files({"a.yml": b"a: 5"})}), LIMITS)
    for is_authoritative, expected in ((False, {"a": 5}), (True, {"a": 1})):
        past = FakePast({"a.yml": [b"a: 1"]}, is_authoritative=is_authoritative)
        files = (await Filling().fill(Files({"a.yml": b"["}, past=past), before)).labels["main"]

        assert expected == files.documents["a.yml"][0].values


async def test_a_source_that_decides_alone_takes_away_a_fallback_that_it_does_not_know() -> None:
    before = parse_tree(Tree({"main": Files({"a.yml": b"a: 5"})}), LIMITS)
    files = (await Filling().fill(Files({"a.yml": b"["}, past=FakePast({}, is_authoritative=True)), before)).labels[
        "main"
    ]

    assert ({}, {}) == (files.fallbacks, files.documents)


async def test_each_layer_asks_its_own_source() -> None:
    one, two = FakePast({"a.yml": [b"a: 1"]}), FakePast({"a.yml": [b"b: 2"]})
    files = Files({"a.yml": b"["}, root="1/", past=one, others=(Files({"a.yml": b"["}, root="2/", past=two),))
    first, second = (await Filling().fill(files)).labels["main"].layers

    assert [{"a": 1}, {"b": 2}] == [each.documents["a.yml"][0].values for each in (first, second)]


async def test_labels_that_are_as_they_were_are_not_looked_at_again() -> None:
    past = FakePast({"a.yml": [b"a: 1"]}, is_authoritative=True)
    files = Files({"a.yml": b"["}, past=past)
    filling = Filling()
    before = await filling.fill(files)
    after = await filling.fill(files, before)

    assert before.labels["main"] is after.labels["main"]
    assert 1 == len(past.asked)


async def test_a_content_that_was_tried_is_not_parsed_again_unless_the_bounds_change() -> None:
    past = FakePast({"a.yml": [b"a: [", b"a: 1"]}, is_authoritative=True)
    filling = Filling()
    for content in (b"[", b"[["):
        await filling.fill(Files({"a.yml": content}, past=past))
    assert [b"a: [", b"a: 1"] == filling.parsed

    await filling.fill(Files({"a.yml": b"["}, past=past), None, attrs.evolve(LIMITS, nodes=50))
    assert [b"a: [", b"a: 1"] * 2 == filling.parsed


async def test_former_contents_are_judged_by_the_bounds_in_force() -> None:
    past = FakePast({"a.yml": [b"a: {b: {c: 1}}", b"a: 0"]}, is_authoritative=True)
    filling = Filling()
    for limits, expected in ((LIMITS, {"a.b.c": 1}), (attrs.evolve(LIMITS, depth=2), {"a": 0}), (LIMITS, {"a.b.c": 1})):
        files = (await filling.fill(Files({"a.yml": b"["}, past=past), None, limits)).labels["main"]

        assert expected == files.documents["a.yml"][0].values


async def test_of_several_layers_those_that_are_sound_stay_the_same_objects() -> None:
    past = FakePast({"a.yml": [b"a: 1"]})
    other = Files({"a.yml": b"["}, root="2/", past=past)
    sound = Files({"a.yml": b"a: 2"}, root="2/")
    parsed = parse_tree(
        Tree(
            {"one": Files({"b.yml": b"b: 1"}, root="1/", others=(other,)), "two": Files({}, root="1/", others=(sound,))}
        ),
        LIMITS,
    )
    filled = await Filling().stage.fill(parsed, None, LIMITS)

    assert parsed.labels["two"] is filled.labels["two"]
    assert parsed.labels["one"].documents is filled.labels["one"].documents
    assert {"a": 1} == filled.labels["one"].others[0].documents["a.yml"][0].values


async def test_a_former_content_is_parsed_where_any_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []

    def recorded(path: str, content: bytes, limits: FormatSettings) -> tuple[Document, ...]:
        parsed.append((path, content, limits))
        return parse_file(path, content, limits)

    monkeypatch.setattr(module, "parse_file", recorded)
    limits = attrs.evolve(LIMITS, nodes=9)
    await Filling().fill(Files({"a.yml": b"["}, past=FakePast({"a.yml": [b"a: 1"]})), limits=limits)

    assert [("a.yml", b"a: 1", limits)] == parsed


async def test_a_past_that_cannot_be_read_leaves_what_is_served() -> None:
    before = parse_tree(Tree({"main": Files({"a.yml": b"a: 5"}, root="r/")}), LIMITS)
    past = FakePast({"a.yml": [b"a: 1"]}, is_authoritative=True)
    past.failure = SourceError("the mirror is gone")
    with capture_logs() as logs:
        files = (await Filling().fill(Files({"a.yml": b"["}, past=past, root="r/"), before)).labels["main"]

    assert {"a": 5} == files.documents["a.yml"][0].values
    [told] = logs
    assert ("last good content not read", "main", "r/", "the mirror is gone") == (
        told["event"],
        told["label"],
        told["source"],
        told["reason"],
    )


class Endless(FakePast):
    async def contents(
        self, path: str, passed_over: Callable[[str], bool] = lambda _: False
    ) -> AsyncGenerator[Former, None]:
        await trio.sleep_forever()
        yield Former(b"")


async def test_all_lookups_together_have_a_deadline(autojump_clock: MockClock) -> None:
    before = parse_tree(Tree({"main": Files({"a.yml": b"a: 5"})}), LIMITS)
    began = trio.current_time()
    with capture_logs() as logs:
        files = (await Filling().fill(Files({"a.yml": b"["}, past=Endless({}, is_authoritative=True)), before)).labels[
            "main"
        ]

    assert {"a": 5} == files.documents["a.yml"][0].values
    assert module._SECONDS == trio.current_time() - began
    assert ["last good content not found in time"] == [each["event"] for each in logs]


# What is left for later.


class Slow(FakePast):
    """Takes a second for each content."""

    async def contents(
        self, path: str, passed_over: Callable[[str], bool] = lambda _: False
    ) -> AsyncGenerator[Former, None]:
        async with aclosing(super().contents(path, passed_over)) as formers:
            async for former in formers:
                await trio.sleep(1)
                yield former


async def test_a_file_with_a_long_past_keeps_no_other_one_waiting(autojump_clock: MockClock) -> None:
    past = Slow({"a.yml": [b"[%d" % number for number in range(100)], "b.yml": [b"[", b"b: 1"]}, is_authoritative=True)
    filling = Filling()
    with capture_logs() as logs:
        files = (await filling.fill(Files({"a.yml": b"[", "b.yml": b"["}, past=past))).labels["main"]

    assert {"b.yml"} == files.fallbacks.keys()
    assert frozenset({"main"}) == filling.stage.incomplete
    assert [["main"]] == [each["labels"] for each in logs]


async def test_what_was_not_found_in_time_is_found_by_going_on_from_there(autojump_clock: MockClock) -> None:
    past = Slow({"a.yml": [*(b"[%d" % number for number in range(12)), b"a: 1"]}, is_authoritative=True)
    filling = Filling()
    with capture_logs():
        parsed = await filling.fill(Files({"a.yml": b"["}, past=past))
        rounds = 0
        while filling.stage.incomplete:
            # A publication in between doesn't look again by itself.
            assert parsed.labels["main"] is (await filling.stage.fill(parsed, parsed, LIMITS)).labels["main"]
            assert filling.stage.incomplete
            parsed = await filling.stage.fill(parsed, parsed, LIMITS, again=True)
            rounds += 1
            assert rounds < 9

    assert {"a": 1} == parsed.labels["main"].documents["a.yml"][0].values
    # Each content was parsed once.
    assert 13 == len(filling.parsed) == len(set(filling.parsed))


async def test_a_lookup_that_failed_is_made_good_when_it_is_asked_for_again() -> None:
    past = FakePast({"a.yml": [b"a: 1"], "b.yml": [b"b: 1"]}, is_authoritative=True)
    filling = Filling()
    past.failure = SourceError("the mirror is gone")
    with capture_logs():
        parsed = await filling.fill(Files({"a.yml": b"[", "b.yml": b"["}, past=past))
    assert ({}, frozenset({"main"})) == (parsed.labels["main"].fallbacks, filling.stage.incomplete)

    past.failure = None
    parsed = await filling.stage.fill(parsed, parsed, LIMITS, again=True)
    assert {"a.yml", "b.yml"} == set(parsed.labels["main"].fallbacks)
    assert frozenset() == filling.stage.incomplete


async def test_labels_that_are_gone_are_not_incomplete_any_more() -> None:
    past = FakePast({"a.yml": [b"a: 1"]}, is_authoritative=True)
    past.failure = SourceError("the mirror is gone")
    filling = Filling()
    with capture_logs():
        parsed = await filling.fill(Files({"a.yml": b"["}, past=past))
    await filling.stage.fill(ParsedTree({}, "main"), parsed, LIMITS)

    assert frozenset() == filling.stage.incomplete
