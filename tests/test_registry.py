"""The registry: who wants what."""

from random import Random

from vortexd.model import Key
from vortexd.patterns import parse_pattern
from vortexd.registry import NOTHING_FOUND, Registry, find

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


def test_the_index_finds_what_trying_every_pattern_finds() -> None:
    random = Random(7)
    parts = ["a", "ab", "abc", "b", "*", "a*", "*b", "a*c"]
    patterns = {f"{number}": parse_pattern(":".join(random.choice(parts) for _ in range(3))) for number in range(300)}
    keys = [
        Key(one, two, three) for one in ("a", "ab", "abc", "a,ab") for two in ("a", "abc") for three in ("b", "abc")
    ]
    wanted = registry(*keys[::2])
    # Half of them ahead, as of a moment after which keys come, go and come again.
    found = find(list(patterns.values())[::2], NOTHING_FOUND, *wanted.later(NOTHING_FOUND))
    for key in (*keys[:6:2], *keys[1:7:2]):
        wanted.vanish(key)
    wanted.appear(keys[0])
    wanted.appear(keys[1])
    found = find(found.keys, found, *wanted.later(found))
    wanted.appear(keys[2])
    for name, pattern in patterns.items():
        assert {key for key in wanted if pattern.matches(key)} == set(wanted.matches(pattern, found))
        wanted.subscribe(name, pattern, found)
    for key in keys:
        wanted.appear(key)
    for name in list(patterns)[::3]:
        wanted.unsubscribe(name, patterns.pop(name))

    for key in keys:
        assert {name for name, pattern in patterns.items() if pattern.matches(key)} == set(wanted.subscribers(key))


def test_what_was_found_ahead_leaves_only_later_keys_to_try() -> None:
    wanted = registry(*(Key(f"app{number}", "dev", "main") for number in range(1_000)))
    patterns = [parse_pattern("*1"), parse_pattern("*2"), parse_pattern("app3")]

    assert 2_001 == wanted.effort(patterns)
    found = find(patterns, NOTHING_FOUND, *wanted.later(NOTHING_FOUND))
    assert 0 == wanted.effort(patterns, found)
    wanted.appear(ONE)
    assert 3 == wanted.effort(patterns, found)
    found = find(patterns, found, *wanted.later(found))
    assert 0 == wanted.effort(patterns, found)
    wanted.subscribe("a", patterns[0], found)
    assert 1_001 + 1 == wanted.effort(patterns)
