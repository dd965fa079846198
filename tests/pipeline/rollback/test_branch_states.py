"""The state at a commit of a branch: which files it has, what replaces broken ones, and links."""

import attrs
import pytest

from vortexd.core.errors import FormatError
from vortexd.core.model import Files, Key, PropertySource
from vortexd.pipeline.rollback import branch_states as module

from .branches import SHOP, files_of, past_of, states_of


def body(state: module.BranchState, key: Key = SHOP) -> bytes:
    return state.resolve(key).body


def test_a_commit_takes_the_place_of_the_files_of_its_branch_alone() -> None:
    other = Files({"shop.yml": b"o: 1"}, root="file:/o/", group=1)
    served = {"main": files_of({"shop.yml": "a: 2"}, others=(other,)), "dev": files_of({"shop.yml": "a: 3"})}
    state = states_of(served).at(past_of({"shop.yml": "a: 1"}, 1), repairs=False)

    assert b'{"a":1,"o":1}' == body(state)
    assert b'{"a":3}' == body(state, Key("shop", "dev", "dev"))
    assert [layer.files.root for layer in state.layers(SHOP)] == ["git:/a/"]
    assert [] == state.layers(Key("shop", "dev", "dev"))


def test_both_sources_of_one_repository_have_the_files_of_the_commit() -> None:
    second = files_of({"x/shop.yml": "b: 2"}, locations=("x/",), group=1)
    served = {"main": files_of({"shop.yml": "a: 2"}, others=(second,))}
    state = states_of(served).at(past_of({"shop.yml": "a: 1", "x/shop.yml": "b: 1"}, 1), repairs=False)

    assert b'{"a":1,"b":1}' == body(state)


def test_the_overrides_and_the_default_label_are_those_that_are_served() -> None:
    overrides = PropertySource("overrides", {"a": "9"}, {})
    states = states_of({"main": files_of({"shop.yml": "a: 2"})}, overrides=overrides)
    state = states.at(past_of({"shop.yml": "a: 1\nb: 1"}, 1), repairs=False)

    assert b'{"a":"9","b":1}' == body(state)
    assert "main" == state.state.default_label


def test_served_content_replaces_a_broken_file_only_if_it_is_asked_for() -> None:
    states = states_of({"main": files_of({"shop.yml": "a: 2"})})
    past = past_of({"shop.yml": "["}, 9)

    repaired = states.at(past, repairs=True)
    assert b'{"a":2}' == body(repaired)
    assert ["shop.yml"] == repaired.broken(SHOP)
    assert not repaired.is_at(SHOP, repaired.resolve(SHOP).version)
    with pytest.raises(FormatError):
        states.at(past, repairs=False).resolve(SHOP)
    assert states.at(past, repairs=False).resolved(SHOP) is None


def test_a_sound_state_is_at_its_version_alone() -> None:
    state = states_of({"main": files_of({})}).at(past_of({"shop.yml": "a: 1", "cart.yml": "["}, 1), repairs=False)

    assert state.is_at(SHOP, state.resolve(SHOP).version)
    assert not state.is_at(SHOP, "0" * 16)
    assert not state.is_at(Key("cart", "dev", "main"), "0" * 16)


def test_a_file_is_parsed_once_however_many_states_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    def counted(path: str, *more: object) -> tuple[object, ...]:
        parsed.append(path)
        if path == "bad.yml":
            raise FormatError(path, "bad")
        return ()

    states = states_of({"main": files_of({})})
    head = states.at(past_of({}, 9), repairs=True)
    monkeypatch.setattr(module, "parse", counted)
    for _ in range(3):
        states.changed(head, {"shop.yml": b"a: 1", "bad.yml": b"["})

    assert ["bad.yml", "shop.yml"] == sorted(parsed)


def test_a_change_replaces_creates_and_deletes() -> None:
    states = states_of({"main": files_of({})})
    head = states.at(past_of({"shop.yml": "a: 1", "application.yml": "b: 1"}, 9), repairs=True)
    changed = states.changed(head, {"shop.yml": b"a: 2", "application.yml": None, "shop-dev.yml": b"c: 1"})

    assert b'{"a":2,"c":1}' == body(changed)
    assert b'{"a":1,"b":1}' == body(head)


def test_a_change_makes_an_unreadable_file_readable() -> None:
    past = past_of({}, 9)
    past = attrs.evolve(past, files=attrs.evolve(past.files, unreadable={"shop.yml": "too large"}))
    states = states_of({"main": files_of({})})
    head = states.at(past, repairs=False)

    assert ["shop.yml"] == head.broken(SHOP)
    assert [] == states.changed(head, {"shop.yml": b"a: 1"}).broken(SHOP)


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ({"a.yml": b"new"}, {"link.yml": b"new", "far.yml": b"new"}),
        ({"a.yml": None}, {"link.yml": None, "far.yml": None}),
        ({"link.yml": b"own"}, {"far.yml": b"own"}),
        ({"link.yml": b"own", "a.yml": b"new"}, {"far.yml": b"own"}),
        ({"other.yml": b"x"}, {}),
    ],
)
def test_links_have_the_content_at_the_nearest_change(
    contents: dict[str, bytes | None], expected: dict[str, bytes | None]
) -> None:
    ways = {"link.yml": ("link.yml", "a.yml"), "far.yml": ("far.yml", "link.yml", "a.yml")}

    assert expected == module._through_links(contents, ways)


def test_the_paths_that_decide_are_those_that_a_key_reads_and_those_behind_its_links() -> None:
    ways = {"shop.yml": ("shop.yml", "d/e/a.yml"), "cart.yml": ("cart.yml", "f.yml")}
    past = past_of({"shop.yml": "a: 1", "cart.yml": "b: 1", "d/e/a.yml": "a: 1"}, 1, ways)
    deciding = states_of({"main": files_of({})}).at(past, repairs=False).deciding(SHOP)

    assert deciding is not None
    assert {"shop.yml", "shop-dev.json", "application.yml", "d", "d/e", "d/e/a.yml"} <= deciding
    assert deciding.isdisjoint(["cart.yml", "f.yml"])


@pytest.mark.parametrize("locations", [("{application}/",), ("*/",)])
def test_with_patterns_in_search_paths_every_path_decides(locations: tuple[str, ...]) -> None:
    states = states_of({"main": files_of({}, locations=locations)})

    assert states.at(past_of({"shop.yml": "a: 1"}, 1), repairs=False).deciding(SHOP) is None


def test_if_the_profiles_can_not_be_found_out_every_path_decides() -> None:
    past = past_of({"shop.yml": "spring.profiles.include: '..'"}, 1)
    state = states_of({"main": files_of({})}).at(past, repairs=False)

    assert (None, None) == (state.reads(SHOP), state.deciding(SHOP))
