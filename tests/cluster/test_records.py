"""Facts about records: what is written can be read, and everything else is refused with a reason."""

from typing import Any

import attrs
import orjson
import pytest

from vortexd.cluster.records import (
    FORMAT,
    HINT_BYTES,
    LONGEST_TEXT,
    MEMBER_BYTES,
    MOST_ITEMS,
    Hint,
    Member,
    Push,
    Unusable,
    bounded_push,
    fitted,
    is_bounded,
)

MEMBER = Member("a", "https://a:1", "2030-01-01T00:00:00Z", "1.0", "serving")
HINT = Hint("p-1", Push(("https://git/a", "git@b:c"), ("refs/heads/größe",)), {"git:x": "s1"}, 12.5)


def changed(record: Member | Hint, **members: Any) -> bytes:
    return orjson.dumps(orjson.loads(record.encoded()) | members)


@pytest.mark.parametrize("record", [MEMBER, attrs.evolve(MEMBER, address="", state="draining")])
def test_a_member_is_read_as_it_was_written(record: Member) -> None:
    assert Member.parse(record.encoded()) == record


@pytest.mark.parametrize(
    "record", [HINT, Hint("p-1"), Hint("p-1", Push()), Hint("p-2", None, {"a": "b"}), Hint("p-3", Push(("a",), ()))]
)
def test_a_hint_is_read_as_it_was_written(record: Hint) -> None:
    assert Hint.parse(record.encoded()) == record


def test_a_record_has_its_format_number_and_the_members_of_the_design() -> None:
    assert orjson.loads(MEMBER.encoded()) == {
        "format": 1,
        "node": "a",
        "address": "https://a:1",
        "started": "2030-01-01T00:00:00Z",
        "version": "1.0",
        "state": "serving",
    }
    assert orjson.loads(HINT.encoded()) == {
        "format": 1,
        "id": "p-1",
        "addresses": ["https://git/a", "git@b:c"],
        "refs": ["refs/heads/größe"],
        "sources": {"git:x": "s1"},
        "at": 12.5,
    }


def test_a_hint_names_the_process_that_wrote_it() -> None:
    assert HINT.process == "p"


def test_members_that_a_later_version_adds_are_ignored() -> None:
    assert Member.parse(changed(MEMBER, zone="x")) == MEMBER
    assert Hint.parse(changed(HINT, urgent=True)) == HINT


@pytest.mark.parametrize("parse", [Member.parse, Hint.parse])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it isn't JSON"),
        (b"\xff", "it isn't JSON"),
        (b"{", "it isn't JSON"),
        (b"[1]", "it has no format number"),
        (b"{}", "it has no format number"),
        (b'{"format": "1"}', "it has no format number"),
        (b'{"format": true}', "it has no format number"),
        (b'{"format": 2}', "its format is 2, and this version reads 1; another version wrote it"),
        (b'{"format": 0}', "its format is 0, and this version reads 1; another version wrote it"),
    ],
)
def test_garbage_and_other_formats_are_refused(parse: Any, data: bytes, reason: str) -> None:
    with pytest.raises(Unusable) as caught:
        parse(data)
    assert str(caught.value) == reason
    assert FORMAT == 1


@pytest.mark.parametrize(
    ("members", "name"),
    [
        ({"node": 7}, "node"),
        ({"address": None}, "address"),
        ({"version": "x" * (LONGEST_TEXT + 1)}, "version"),
        ({"started": "a\nb"}, "started"),
        ({"state": []}, "state"),
    ],
)
def test_a_member_with_another_kind_of_value_is_refused(members: dict[str, Any], name: str) -> None:
    with pytest.raises(Unusable, match=f"its member {name} isn't a text of at most 512 characters"):
        Member.parse(changed(MEMBER, **members))


def test_a_member_in_an_unknown_state_is_refused() -> None:
    with pytest.raises(Unusable, match="its state is unknown"):
        Member.parse(changed(MEMBER, state="asleep"))


def test_a_member_that_lacks_a_value_is_refused() -> None:
    with pytest.raises(Unusable, match="its member address"):
        Member.parse(b'{"format": 1, "node": "a"}')


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"id": 1}, "its member id isn't"),
        ({"addresses": "a"}, "its member addresses isn't a list"),
        ({"addresses": [1]}, "its member addresses isn't a list"),
        ({"refs": ["x" * (LONGEST_TEXT + 1)]}, "its member refs isn't a list"),
        ({"refs": ["x"] * (MOST_ITEMS + 1)}, "its member refs isn't a list"),
        ({"refs": None}, "it has addresses without refs, or refs without addresses"),
        ({"addresses": None}, "it has addresses without refs, or refs without addresses"),
        ({"sources": []}, "its member sources isn't a table"),
        ({"sources": {"a": 1}}, "its member sources isn't a table"),
        ({"sources": {"x" * (LONGEST_TEXT + 1): "a"}}, "its member sources isn't a table"),
        ({"sources": {"a": "x" * (LONGEST_TEXT + 1)}}, "its member sources isn't a table"),
        ({"sources": {str(number): "a" for number in range(MOST_ITEMS + 1)}}, "its member sources isn't a table"),
        ({"at": "now"}, "its member at isn't a number"),
        ({"at": True}, "its member at isn't a number"),
        ({"at": None}, "its member at isn't a number"),
        ({"at": 1e300}, "its member at isn't a number"),
        ({"at": 2**53 + 1}, "its member at isn't a number"),
        ({"at": -(2**53) - 1}, "its member at isn't a number"),
    ],
)
def test_a_hint_with_another_kind_of_value_is_refused(members: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        Hint.parse(changed(HINT, **members))


def test_values_at_the_limits_are_accepted() -> None:
    assert Hint.parse(changed(HINT, at=2**53)).at == 2.0**53
    text = "x" * LONGEST_TEXT
    assert Member.parse(changed(MEMBER, version=text)).version == text
    hint = Hint.parse(
        changed(
            HINT, refs=[text] + ["y"] * (MOST_ITEMS - 1), sources={f"{number:0512}": text for number in range(16)}, at=7
        )
    )
    assert hint.push is not None
    assert (len(hint.push.refs), len(hint.sources), hint.at) == (MOST_ITEMS, 16, 7.0)


@pytest.mark.parametrize(("record", "limit"), [(MEMBER, MEMBER_BYTES), (HINT, HINT_BYTES)])
def test_a_record_has_a_largest_size(record: Member | Hint, limit: int) -> None:
    data = record.encoded()
    assert type(record).parse(data + b" " * (limit - len(data))) == record
    with pytest.raises(Unusable, match=f"it is longer than {limit} bytes"):
        type(record).parse(data + b" " * (limit - len(data) + 1))


# What is written fits.


def test_the_lists_of_a_webhook_become_any_if_they_are_too_large() -> None:
    many = [f"refs/heads/{number}" for number in range(MOST_ITEMS)]
    assert bounded_push(["a", "a", "b"], many) == Push(("a", "b"), tuple(many))
    assert bounded_push(["a"], [*many, "one more"]) == Push(("a",), ())
    assert bounded_push(["x" * LONGEST_TEXT], ["x" * (LONGEST_TEXT + 1)]) == Push(("x" * LONGEST_TEXT,), ())
    # The name of a ref may be any bytes.
    assert bounded_push(["a"], ["refs/heads/\udcff"]) == Push(("a",), ())


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (Push(("a",), ("r",)), Push(("b", "a"), ("s",)), Push(("a", "b"), ("r", "s"))),
        (Push((), ("r",)), Push(("a",), ("s",)), Push((), ("r", "s"))),
        (Push(("a",), ("r",)), Push(("a",), ()), Push(("a",), ())),
        (
            Push(tuple(map(str, range(40))), ("r",)),
            Push(tuple(map(str, range(100, 125))), ("r",)),
            Push((), ("r",)),
        ),
    ],
)
def test_two_webhooks_together_concern_everything_that_either_concerns(one: Push, other: Push, both: Push) -> None:
    assert one | other == both


def test_a_hint_that_is_too_large_concerns_every_source() -> None:
    texts = tuple(f"{number:0512}" for number in range(MOST_ITEMS))
    assert fitted(HINT) is HINT
    for large in (
        attrs.evolve(HINT, push=Push(texts, texts), sources={}),
        attrs.evolve(HINT, sources={str(number): "s" for number in range(MOST_ITEMS + 1)}),
        attrs.evolve(HINT, sources={"x" * (LONGEST_TEXT + 1): "s"}),
        attrs.evolve(HINT, sources={"x": "\udcff"}),
    ):
        small = fitted(large)
        assert small == attrs.evolve(HINT, push=Push(), sources={})
        assert Hint.parse(small.encoded()) == small
    most = attrs.evolve(HINT, sources={str(number): "s" for number in range(MOST_ITEMS)})
    assert fitted(most) is most


def test_a_hint_of_the_largest_size_is_kept() -> None:
    hint = attrs.evolve(HINT, push=Push(tuple("é" * 256 + f"{number:0255}" for number in range(MOST_ITEMS)), ()))
    room = HINT_BYTES - len(hint.encoded())
    names = tuple(f"{number:0511}" for number in range(room // 514))
    hint = attrs.evolve(hint, push=Push(hint.push.addresses if hint.push else (), names))
    hint = attrs.evolve(hint, id="p-" + "1" * (HINT_BYTES - len(hint.encoded()) + 1))
    assert len(hint.encoded()) == HINT_BYTES
    assert fitted(hint) is hint
    assert fitted(attrs.evolve(hint, id=hint.id + "1")) != hint


@pytest.mark.parametrize(
    ("texts", "expected"),
    [((), True), (("a" * LONGEST_TEXT,), True), (("a" * (LONGEST_TEXT + 1),), False), (("a", "\ud800"), False)],
)
def test_texts_are_bounded_and_can_be_written(texts: tuple[str, ...], expected: bool) -> None:
    assert is_bounded(*texts) is expected


def test_a_member_that_publishes_says_so_and_others_are_as_former_versions_wrote_them() -> None:
    publishing = attrs.evolve(MEMBER, publishes=True)
    assert orjson.loads(publishing.encoded())["publishes"] is True
    assert Member.parse(publishing.encoded()) == publishing
    assert "publishes" not in orjson.loads(MEMBER.encoded())
    for value in (False, None, 1, "true"):
        assert Member.parse(changed(MEMBER, publishes=value)) == MEMBER
