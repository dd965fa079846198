"""Matching: each pair of a key and a pattern is tried once, in steps of bounded effort. Numbers that are used again have no old matches."""

from collections.abc import Iterator
from random import Random

import pytest

from vortexd.core.model import Key
from vortexd.core.patterns import Pattern, parse_pattern
from vortexd.pipeline.matching import _SWEEP_AFTER, _SWEEP_LINES, STEP, KeyLine, Line, Matching, PatternLine, numbers_of


def key(application: str, profile: str = "dev", label: str = "main") -> Key:
    return Key(application, profile, label)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Pattern, Key]]:
    """The pairs that were tried, in order."""
    pairs: list[tuple[Pattern, Key]] = []
    matches = Pattern.matches

    def counting(pattern: Pattern, key: Key) -> bool:
        pairs.append((pattern, key))
        return matches(pattern, key)

    monkeypatch.setattr(Pattern, "matches", counting)
    return pairs


def claimed_key(matching: Matching, name: Key) -> KeyLine:
    line = matching.claim_key(name)
    matching.finish(line)
    return line


def claimed_pattern(matching: Matching, text: str) -> PatternLine:
    line = matching.claim_pattern(parse_pattern(text))
    matching.finish(line)
    return line


@pytest.mark.parametrize("numbers", [0, 1, 2, 0b1011, 1 << 300, (1 << 300) - 1])
def test_a_set_is_read_from_the_lowest_member_on(numbers: int) -> None:
    assert [number for number in range(301) if numbers >> number & 1] == list(numbers_of(numbers))


@pytest.mark.parametrize("is_key_first", [True, False])
def test_each_side_has_the_other_in_its_set_whichever_came_first(is_key_first: bool) -> None:
    matching = Matching()
    if is_key_first:
        one, other = claimed_key(matching, key("shop")), claimed_pattern(matching, "*h*")
    else:
        other, one = claimed_pattern(matching, "*h*"), claimed_key(matching, key("shop"))
    claimed_pattern(matching, "*cart*")

    assert ([other.number], [one.number]) == (list(numbers_of(one.cells)), list(numbers_of(other.cells)))


def test_each_pair_is_tried_once_and_only_where_the_text_of_the_pattern_is_in_the_name(
    tried: list[tuple[Pattern, Key]],
) -> None:
    matching = Matching()
    for number in range(100, 200):
        claimed_key(matching, key(f"app{number}"))
    assert [] == tried
    claimed_pattern(matching, "*p117*")
    claimed_pattern(matching, "app118")
    claimed_pattern(matching, "*p1*")
    assert 1 + 1 + 100 == len(tried)
    tried.clear()
    claimed_key(matching, key("app117-2"))

    assert [("*p117*", "app117-2"), ("*p1*", "app117-2")] == [(a.application, b.application) for a, b in tried]


@pytest.mark.parametrize(
    "text", ["*{number}*", "a{number}*", "*-{number}", "*:*{number}*", "*:p{number}", "*:*:*{number}"]
)
def test_the_index_leaves_one_of_a_thousand_patterns_to_try(tried: list[tuple[Pattern, Key]], text: str) -> None:
    matching = Matching()
    for number in range(1_000, 2_000):
        claimed_pattern(matching, text.format(number=number))
    line = claimed_key(matching, key("a1234-1234", "p1234", "l1234"))

    assert 1 == len(tried)
    assert 1 == line.cells.bit_count()


def test_patterns_with_common_text_are_told_apart_by_the_longest_piece(tried: list[tuple[Pattern, Key]]) -> None:
    """What was found: many globs `*a{i}*b{j}*c*`, and many names."""
    matching = Matching()
    for number in range(100):
        for other in range(10):
            claimed_pattern(matching, f"*a{100 + number}*b{other}*c*")
    claimed_key(matching, key("a142-b3-c"))

    assert {"*a142*"} == {pattern.application[:6] for pattern, _ in tried}
    assert 10 == len(tried)


def test_a_piece_of_the_application_goes_before_longer_ones_of_the_other_parts(
    tried: list[tuple[Pattern, Key]],
) -> None:
    matching = Matching()
    claimed_pattern(matching, "*shop*:production:release-1")
    claimed_pattern(matching, "*sh*:production:release-1")
    claimed_key(matching, key("cart", "production", "release-1"))

    assert ["*sh*"] == [pattern.application for pattern, _ in tried]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("*", ["shop", "a"]),
        ("sh*", ["shop", "sh"]),
        ("shop", ["shop"]),
        ("*p", ["shop"]),
        ("*:dev", ["shop", "a", "sh"]),
        ("a*:production", ["a"]),
        ("a*:*:release-1", ["a"]),
        ("*a*:*prod*:*1", ["a"]),
        ("*b*", []),
    ],
)
def test_the_piece_that_finds_a_pattern_hides_no_match(text: str, names: list[str]) -> None:
    profile, label = "production" if "prod" in text else "dev", "release-1" if "1" in text else "main"
    matching = Matching()
    pattern = claimed_pattern(matching, text)
    lines = [claimed_key(matching, key(name, profile, label)) for name in names]

    assert {line.number for line in lines} == set(numbers_of(pattern.cells))


def test_of_several_applications_each_has_to_match() -> None:
    matching = Matching()
    first, both = claimed_pattern(matching, "*shop*"), claimed_pattern(matching, "*o*")
    claimed_key(matching, key("shop,core"))

    assert (0, 1) == (first.cells.bit_count(), both.cells.bit_count())


# Steps.


def many(count: int) -> Matching:
    matching = Matching()
    for number in range(count):
        claimed_key(matching, key(f"app{number}"))
    return matching


def test_a_step_stops_at_its_effort_and_the_next_goes_on_behind_it(tried: list[tuple[Pattern, Key]]) -> None:
    matching = many(1_000)
    line = matching.claim_pattern(parse_pattern("*p*"))
    # A look and a trial of each key.
    assert 17 == matching.decide(line, 1)
    assert 34 == matching.decide(line, 18)
    assert 34 == matching.decide(line, 34)
    assert [f"app{number}" for number in range(5)] == [name.application for _, name in tried]
    steps = 0
    while line.undecided:
        assert matching.decide(line, STEP) <= STEP + 16
        steps += 1

    assert [f"app{number}" for number in range(1_000)] == [name.application for _, name in tried]
    assert steps == -(-995 * 17 // STEP)
    assert 1_000 == line.cells.bit_count()
    assert 0 == matching.decide(line, STEP)


def test_keys_without_the_text_cost_a_look_each() -> None:
    matching = many(1_000)
    line = matching.claim_pattern(parse_pattern("*none*"))

    assert 1_000 == matching.decide(line, STEP)
    assert 0 == line.undecided == line.cells


def test_a_new_key_is_tried_in_steps_too(tried: list[tuple[Pattern, Key]]) -> None:
    matching = Matching()
    for number in range(100):
        claimed_pattern(matching, f"*app*:*:{'*'.join(str(number))}*")
    line = matching.claim_key(key("app"))
    assert 17 == matching.decide(line, 17)
    assert 1 == len(tried)
    matching.finish(line)

    assert 100 == len(tried)


def test_what_comes_between_the_steps_is_decided_by_whichever_came_later(tried: list[tuple[Pattern, Key]]) -> None:
    matching = many(10)
    slow = matching.claim_pattern(parse_pattern("*p*"))
    matching.decide(slow, 1)
    late = claimed_key(matching, key("app-late"))
    gone = matching.key(key("app5"))
    assert gone is not None
    matching.release(gone)
    matching.finish(slow)

    assert slow.cells >> late.number & 1
    assert not slow.cells >> gone.number & 1
    assert 10 == len(tried) == slow.cells.bit_count()


# Claims and numbers.


def test_a_line_lasts_until_its_last_claim_is_released() -> None:
    matching = Matching()
    pattern, name = parse_pattern("*o*"), key("shop")
    lines = [(matching.claim_pattern(pattern), matching.claim_key(name)) for _ in range(2)]
    assert lines[0] == lines[1]
    for number, (one, other) in enumerate(lines):
        assert (1, one, other) == (len(matching), matching.pattern(pattern), matching.key(name)), number
        matching.release(one)
        matching.release(other)

    assert (0, None, None) == (len(matching), matching.pattern(pattern), matching.key(name))
    assert matching.key_at(other.number) is None


def test_nothing_is_left_of_lines_that_are_gone() -> None:
    matching = Matching()
    lines: list[Line] = [claimed_pattern(matching, text) for text in ("*shop*", "*:prod*", "shop", "sh*:*:main", "*")]
    lines += [claimed_key(matching, key(name)) for name in ("shop", "cart")]
    for line in lines:
        matching.release(line)

    assert ({}, {}, {}, {}) == (matching._by_key, matching._by_pattern, matching._by_name, matching._by_piece)
    assert [{}, {}, {}, {}] == [dict(each) for each in matching._lengths]
    assert 0 == matching._keys.live == matching._patterns.live


def test_numbers_are_handed_out_again_after_a_sweep_the_lowest_first() -> None:
    matching = Matching()
    claimed_key(matching, key("stays"))
    lines = [claimed_pattern(matching, f"*{number}*") for number in range(_SWEEP_AFTER)]
    for line in lines[1:]:
        matching.release(line)
    # One short of a sweep.
    assert _SWEEP_AFTER == claimed_pattern(matching, "*new*").number
    matching.release(lines[0])

    assert [0, 1, 2] == [claimed_pattern(matching, f"*newer{number}*").number for number in range(3)]


def test_a_number_that_is_handed_out_again_brings_none_of_its_former_matches_along() -> None:
    matching = Matching()
    stays = [claimed_key(matching, key(f"stays{number}")) for number in range(200)]
    for _ in range(5):
        lines = [claimed_pattern(matching, f"*tay*:*{'v' * (number % 3)}:*m*{number}*") for number in range(100)]
        matched = [claimed_pattern(matching, f"*tays{number}*") for number in range(100)]
        for line in (*lines, *matched):
            matching.release(line)
    strangers = [claimed_pattern(matching, f"*none{number}*") for number in range(400)]

    live = matching._patterns.live
    assert all(not line.cells & live for line in stays)
    assert all(not line.cells for line in strangers)
    # As many numbers as there were at once, and those that a sweep needs.
    assert len(matching._patterns.lines) < 1_000


@pytest.mark.parametrize("count", [2 * _SWEEP_LINES, 2 * _SWEEP_LINES + 1, 10 * _SWEEP_LINES])
def test_a_sweep_visits_a_bounded_number_of_lines_with_each_line_that_comes_or_goes(count: int) -> None:
    matching = many(count)
    lines = [claimed_pattern(matching, f"*app{number}*") for number in range(_SWEEP_AFTER)]
    # The last of these begins the sweep.
    for line in lines:
        matching.release(line)
    rounds = -(-count // _SWEEP_LINES)
    numbers = [claimed_pattern(matching, f"*none{number}*").number for number in range(rounds - 1)]

    assert [*range(_SWEEP_AFTER, _SWEEP_AFTER + rounds - 1)] == numbers
    assert 0 == claimed_pattern(matching, "*another*").number
    assert 0 == sum(bool(line.cells) for line in matching._keys.lines if line is not None)


def test_the_numbers_of_keys_come_back_too() -> None:
    matching = Matching()
    stays = claimed_pattern(matching, "*")
    for line in [claimed_key(matching, key(f"app{number}")) for number in range(_SWEEP_AFTER)]:
        matching.release(line)

    assert 0 == stays.cells == claimed_key(matching, key("new")).number


def test_what_is_given_back_during_a_sweep_waits_for_the_next_one() -> None:
    matching = many(1_000)
    lines = [claimed_pattern(matching, f"*app{number}*") for number in range(_SWEEP_AFTER)]
    late = claimed_pattern(matching, "*p9*")
    for line in (*lines, late):
        matching.release(line)
    numbers = [claimed_pattern(matching, f"*none{number}*").number for number in range(200)]

    assert late.number not in numbers


def random_changes(random: Random) -> Iterator[tuple[str, str]]:
    letters = "ab*"
    for _ in range(3_000):
        is_key = random.random() < 0.5
        text = ":".join("".join(random.choice(letters) for _ in range(random.randint(1, 3))) for _ in range(3))
        yield ("key", text.replace("*", "c")) if is_key else ("pattern", text)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_comes_and_goes_the_sets_say_what_trying_every_pair_says(seed: int) -> None:
    random = Random(seed)
    matching = Matching()
    lines: list[KeyLine | PatternLine] = []
    for kind, text in random_changes(random):
        if kind == "key":
            lines.append(matching.claim_key(Key(*text.split(":"))))
        else:
            lines.append(matching.claim_pattern(parse_pattern(text)))
        if random.random() < 0.5:
            matching.decide(random.choice(lines), random.randint(1, 100))
        if len(lines) > 60 or random.random() < 0.4:
            matching.release(lines.pop(random.randrange(len(lines))))
    for line in lines:
        matching.finish(line)
    keys = {line for line in lines if isinstance(line, KeyLine)}
    patterns = {line for line in lines if isinstance(line, PatternLine)}
    assert len(keys) > 5
    assert len(patterns) > 5

    for one in keys:
        expected = {each.number for each in patterns if each.item.matches(one.item)}
        assert expected == set(numbers_of(one.cells & matching._patterns.live))
    for other in patterns:
        expected = {each.number for each in keys if other.item.matches(each.item)}
        assert expected == set(numbers_of(other.cells & matching._keys.live))
