"""The cache: clients that invent keys can't fill it."""

from vortexd.core.cache import Cache


def cache() -> Cache[str, int]:
    return Cache(max_bytes=80, max_entries=16)


def test_what_was_used_last_stays_longest() -> None:
    kept = cache()
    for name in ("a", "b", "c", "d"):
        kept.put(name, 1, 20, is_known=True)
    kept.get("a")
    kept.put("e", 1, 20, is_known=True)

    assert [True, False, True] == [kept.get(name) is not None for name in ("a", "b", "e")]


def test_L04_what_is_not_known_pushes_out_only_its_like() -> None:
    kept = cache()
    kept.put("known", 1, 80, is_known=True)
    for number in range(1_000):
        kept.put(f"made up {number}", number, 1, is_known=False)

    assert 1 == kept.get("known")
    assert 999 == kept.get("made up 999")
    assert 3 == len(kept)


def test_what_is_larger_than_its_part_is_not_kept_and_neither_is_what_was_there() -> None:
    kept = cache()
    kept.put("a", 1, 10, is_known=True)
    kept.put("a", 2, 81, is_known=True)

    assert kept.get("a") is None


def test_a_value_moves_to_the_part_it_belongs_to_and_room_is_given_back() -> None:
    kept = cache()
    kept.put("a", 1, 5, is_known=False)
    kept.put("a", 2, 5, is_known=True)
    kept.put("b", 3, 10, is_known=False)

    assert [2, 3] == [kept.get("a"), kept.get("b")]
    kept.clear()
    kept.put("c", 4, 80, is_known=True)
    assert (1, 4) == (len(kept), kept.get("c"))
