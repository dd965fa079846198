"""The registry: who wants what."""

from random import Random

from vortexd.model import Key
from vortexd.patterns import parse_pattern
from vortexd.registry import Registry

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
    for name, pattern in patterns.items():
        wanted.subscribe(name, pattern)
    for key in keys:
        wanted.appear(key)
    for name in list(patterns)[::3]:
        wanted.unsubscribe(name, patterns.pop(name))

    for key in keys:
        assert {name for name, pattern in patterns.items() if pattern.matches(key)} == set(wanted.subscribers(key))
