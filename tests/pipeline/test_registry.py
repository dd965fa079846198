"""The registry: the subscribers of each key and pattern."""

from random import Random

import pytest

from vortexd.core.model import Key
from vortexd.core.patterns import Pattern, parse_pattern
from vortexd.pipeline.matching import STEP
from vortexd.pipeline.registry import Registry

ONE, TWO = Key("shop", "dev", "main"), Key("shop", "prod", "main")


def registry(*known: Key) -> Registry[str]:
    made: Registry[str] = Registry()
    for key in known:
        made.appear(key)
    return made


def test_subscribers_come_in_the_order_of_arrival_each_once() -> None:
    wanted = registry(ONE)
    wanted.add("b", ONE)
    wanted.add("a", ONE)
    wanted.add("b", ONE)
    wanted.subscribe("a", parse_pattern("shop"))
    wanted.subscribe("c", parse_pattern("*"))

    assert ["b", "a", "c"] == list(wanted.subscribers(ONE))
    assert wanted.is_wanted(ONE)


def test_what_is_discarded_is_gone_and_twice_is_once() -> None:
    wanted = registry()
    wanted.add("a", ONE)
    for _ in range(2):
        wanted.discard("a", ONE)
        wanted.unsubscribe("a", parse_pattern("*"))

    assert [] == list(wanted.subscribers(ONE))
    assert not wanted.is_wanted(ONE)


def test_a_pattern_matches_what_is_known_now_and_what_becomes_known() -> None:
    wanted = registry(ONE)

    assert [ONE] == list(wanted.subscribe("a", parse_pattern("sh*:*")))
    wanted.appear(TWO)
    assert ["a"] == list(wanted.subscribers(TWO))
    wanted.vanish(TWO)
    assert [] == list(wanted.subscribers(TWO))
    wanted.unsubscribe("a", parse_pattern("sh*:*"))
    assert [] == list(wanted.subscribers(ONE))


def test_a_second_subscriber_of_a_pattern_is_told_the_same_keys() -> None:
    wanted = registry(ONE, TWO)
    wanted.subscribe("a", parse_pattern("*:prod"))

    assert [TWO] == list(wanted.subscribe("b", parse_pattern("*:prod")))
    assert ["a", "b"] == list(wanted.subscribers(TWO))


def test_several_patterns_at_once_are_told_each_key_once() -> None:
    wanted = registry(ONE, TWO)

    assert [ONE, TWO] == wanted.subscribe("a", parse_pattern("shop"), parse_pattern("*:prod"), parse_pattern("*"))
    assert [TWO] == wanted.matches(parse_pattern("*:prod"), parse_pattern("none"), parse_pattern("*d"))
    wanted.unsubscribe("a", parse_pattern("shop"), parse_pattern("*"))
    assert ([], ["a"]) == (list(wanted.subscribers(ONE)), list(wanted.subscribers(TWO)))


def test_a_pattern_goes_with_its_last_subscriber() -> None:
    wanted = registry(ONE)
    pattern = parse_pattern("*")
    assert not wanted.has_patterns
    wanted.subscribe("a", pattern)
    wanted.subscribe("b", pattern)
    wanted.subscribe("b", pattern)
    wanted.unsubscribe("a", pattern)
    assert ["b"] == list(wanted.subscribers(ONE))
    assert wanted.has_patterns
    assert ([], False) == wanted.unmatched(10)
    wanted.unsubscribe("b", pattern)

    assert not wanted.is_matched(ONE)
    assert not wanted.has_patterns
    assert ([ONE], False) == wanted.unmatched(10)
    assert ([], False) == wanted.unmatched(10)


def test_who_never_subscribed_takes_nothing_from_those_who_did() -> None:
    wanted = registry(ONE)
    wanted.subscribe("a", parse_pattern("*"))
    wanted.unsubscribe("b", parse_pattern("*"))
    wanted.replace("b", "c", [parse_pattern("*"), parse_pattern("none")])

    assert ["a"] == list(wanted.subscribers(ONE))


def test_one_takes_anothers_place_in_what_both_want() -> None:
    wanted = registry(ONE)
    patterns = [parse_pattern("*"), parse_pattern("shop")]
    wanted.subscribe("old", *patterns)
    wanted.subscribe("other", patterns[0])
    wanted.replace("old", "new", patterns)

    assert {"other", "new"} == set(wanted.subscribers(ONE))
    wanted.unsubscribe("old", *patterns)
    assert {"other", "new"} == set(wanted.subscribers(ONE))
    wanted.unsubscribe("new", *patterns)
    assert ["other"] == list(wanted.subscribers(ONE))


def test_what_is_not_known_is_matched_by_nothing() -> None:
    wanted = registry()
    wanted.subscribe("a", parse_pattern("*"))
    with wanted.ahead(keys=[ONE]) as steps:
        assert [] == list(steps)
        assert (False, False, False) == (wanted.is_known(ONE), wanted.is_matched(ONE), wanted.is_wanted(ONE))
        assert [] == list(wanted.subscribers(ONE))
        assert [] == wanted.matches(parse_pattern("*")) == list(wanted)
        assert [] == wanted.subscribe("b", parse_pattern("sh*"))
        assert wanted.would_match(ONE)
        wanted.appear(ONE)
        assert ["a", "b"] == list(wanted.subscribers(ONE))
        wanted.vanish(ONE)
        assert (False, False, False) == (wanted.is_known(ONE), wanted.is_matched(ONE), wanted.is_wanted(ONE))
        assert [] == list(wanted.subscribers(ONE))
        assert [] == wanted.matches(parse_pattern("*")) == list(wanted)
        wanted.vanish(ONE)
    assert not wanted.is_known(ONE)


def test_whether_a_key_would_be_matched_is_asked_of_patterns_that_somebody_wants() -> None:
    wanted = registry()
    with wanted.ahead(patterns=[parse_pattern("*")]) as steps:
        assert [] == list(steps)
        assert not wanted.would_match(ONE)
        wanted.subscribe("a", parse_pattern("*:dev"))
    assert (True, False) == (wanted.would_match(ONE), wanted.would_match(TWO))


def test_a_key_that_lost_a_pattern_and_is_still_matched_is_not_unmatched() -> None:
    wanted = registry(ONE, TWO)
    wanted.subscribe("a", parse_pattern("*"), parse_pattern("*:prod"))
    wanted.unsubscribe("a", parse_pattern("*"))

    assert ([ONE], False) == wanted.unmatched(2)


def test_so_many_keys_are_looked_at_and_the_others_later() -> None:
    keys = [Key(f"app{number}", "dev", "main") for number in range(5)]
    wanted = registry(*keys)
    wanted.subscribe("a", parse_pattern("*"))
    wanted.unsubscribe("a", parse_pattern("*"))
    wanted.vanish(keys[1])

    assert (keys[:1], True) == wanted.unmatched(1)
    assert (keys[2:4], True) == wanted.unmatched(2)
    assert (keys[4:], False) == wanted.unmatched(1)
    assert ([], False) == wanted.unmatched(1)


def test_of_some_keys_those_that_no_pattern_matches_are_found_known_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    known, gone = Key("shop", "dev", "next"), Key("gone", "dev", "main")
    wanted = registry(ONE, TWO, known)
    wanted.subscribe("a", parse_pattern("*:prod"), parse_pattern("gone"))

    keys = [ONE, TWO, known, gone, Key("elsewhere", "dev", "main")]
    tried = counted(monkeypatch)
    assert [ONE, known, keys[4]] == wanted.unmatched_by(keys, [parse_pattern("*:prod"), parse_pattern("gone")])
    # Two keys aren't known: each is tried by both patterns. Known keys are looked up.
    assert 4 == len(tried)
    assert keys == wanted.unmatched_by(keys, [])


# Ahead.


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Pattern]:
    """The patterns that are tried from now on, one for each trial."""
    tried: list[Pattern] = []
    matches = Pattern.matches

    def counting(pattern: Pattern, key: Key) -> bool:
        tried.append(pattern)
        return matches(pattern, key)

    monkeypatch.setattr(Pattern, "matches", counting)
    return tried


def test_what_is_done_ahead_leaves_nothing_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [Key(f"app{number}", "dev", "main") for number in range(1_000)]
    wanted = registry(*keys)
    patterns = [parse_pattern("*1*"), parse_pattern("app*"), parse_pattern("app7")]
    tried = counted(monkeypatch)
    with wanted.ahead(patterns=patterns) as steps:
        sizes = []
        before = 0
        for _ in steps:
            sizes.append(len(tried) - before)
            before = len(tried)
        sizes.append(len(tried) - before)
        assert 271 + 1_000 + 1 == sum(sizes)
        # A step isn't longer than it may be, and not much shorter.
        assert max(sizes) <= STEP / 16
        assert min(sizes[:-1]) > STEP / 34
        tried.clear()
        assert keys == wanted.subscribe("a", *patterns)
        wanted.appear(ONE)
    assert [] == tried
    assert ["a"] == list(wanted.subscribers(keys[0]))


def test_a_key_is_matched_ahead_and_only_against_patterns_whose_text_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found: each new key was tried against each of 64,000 globs, on the loop."""
    wanted = registry()
    for client in range(100):
        wanted.subscribe(f"{client}", *(parse_pattern(f"*a{client:03}*b{each}*c*") for each in range(64)))
    new = Key("a042-b7-c", "dev", "main")
    tried = counted(monkeypatch)
    with wanted.ahead(keys=[new]) as steps:
        for _ in steps:
            pass
        assert 64 == len(tried)
        tried.clear()
        wanted.appear(new)
    assert [] == tried
    assert ["42"] == list(wanted.subscribers(new))


def test_many_lines_that_cost_nothing_take_steps_too() -> None:
    wanted = registry()
    keys = [Key(f"app{number}", "dev", "main") for number in range(1_000)]
    with wanted.ahead(keys=keys) as steps:
        assert 1_000 // (STEP // 64) == sum(1 for _ in steps)


def test_what_comes_and_goes_between_the_steps_is_right_in_the_end() -> None:
    keys = [Key(f"app{number}", "dev", "main") for number in range(1_000)]
    wanted = registry(*keys)
    pattern = parse_pattern("*p*")
    with wanted.ahead(patterns=[pattern]) as steps:
        next(steps)
        wanted.vanish(keys[0])
        wanted.vanish(keys[999])
        wanted.appear(late := Key("app-late", "dev", "main"))
        wanted.appear(keys[0])
        assert {*keys[:999], late} == set(wanted.subscribe("a", pattern))
        # Somebody else who wants the same finds it done, or does the rest.
        for _ in steps:
            pass
    assert ["a"] == list(wanted.subscribers(late))
    assert [] == list(wanted.subscribers(keys[999]))


def test_who_leaves_before_the_end_leaves_nothing_behind() -> None:
    wanted = registry(*(Key(f"app{number}", "dev", "main") for number in range(1_000)))
    with pytest.raises(ZeroDivisionError), wanted.ahead(patterns=[parse_pattern("*p*")], keys=[ONE]) as steps:
        next(steps)
        raise ZeroDivisionError
    assert not wanted.has_patterns
    assert 1_000 == len(list(wanted))
    with wanted.ahead(patterns=[parse_pattern("*p*")]):
        assert not wanted.has_patterns


def test_two_who_do_the_same_ahead_share_the_work_and_neither_takes_it_away(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = registry(*(Key(f"app{number}", "dev", "main") for number in range(1_000)))
    pattern = parse_pattern("*p*")
    tried = counted(monkeypatch)
    with wanted.ahead(patterns=[pattern]) as others:
        next(others)
        with wanted.ahead(patterns=[pattern]) as steps:
            for _ in steps:
                pass
            wanted.subscribe("a", pattern)
        wanted.unsubscribe("a", pattern)
        assert wanted.has_patterns
        assert 1_000 == len(wanted.subscribe("b", pattern))
    assert 1_000 == len(tried)


def test_the_index_finds_what_trying_every_pattern_finds() -> None:
    random = Random(7)
    parts = ["a", "ab", "abc", "b", "*", "a*", "*b", "a*c", "*bc*", "*c"]
    patterns = {f"{number}": parse_pattern(":".join(random.choice(parts) for _ in range(3))) for number in range(300)}
    keys = [
        Key(one, two, three) for one in ("a", "ab", "abc", "a,ab") for two in ("a", "abc") for three in ("b", "abc")
    ]
    wanted = registry(*keys[::2])
    # Half of them ahead, while keys come, go and come again.
    with wanted.ahead(patterns=list(patterns.values())[::2], keys=keys[1::4]) as steps:
        for number, _ in enumerate(steps):
            key = keys[number % len(keys)]
            wanted.vanish(key) if wanted.is_known(key) else wanted.appear(key)
        for name, pattern in patterns.items():
            assert {key for key in wanted if pattern.matches(key)} == set(wanted.matches(pattern))
            wanted.subscribe(name, pattern)
    for key in keys:
        wanted.appear(key)
    for name in list(patterns)[::3]:
        wanted.unsubscribe(name, patterns.pop(name))

    for key in keys:
        assert {name for name, pattern in patterns.items() if pattern.matches(key)} == set(wanted.subscribers(key))


def test_doubtful_keys_are_checked_although_no_pattern_has_lost_a_subscriber() -> None:
    one, other, unknown = (Key(name, "dev", "main") for name in ("one", "other", "unknown"))
    wanted = registry(one, other)
    wanted.subscribe("a", parse_pattern("other"))
    assert ([], False) == wanted.unmatched(10)
    wanted.doubt([one, other, unknown])

    assert ([one], False) == wanted.unmatched(10)
    assert ([], False) == wanted.unmatched(10)
