import pytest

from vortexd.core.model import Edits, Files, Key, Origin
from vortexd.shelf.layers import labels_members, optional, parse_labels, seconds, text

KEY = Key("shop", "prod", "main,x")
ORIGIN = Origin("c" * 40, "ada", "2026-01-01T00:00:00Z")
LABELS = (
    (
        Files(
            {"shop.yml": b"\xff\x00"},
            root="file:/c/",
            locations=("", "a/"),
            revision="r1",
            origin=ORIGIN,
            applications=("shop*",),
            group=2,
            edits=Edits(0, {"shop.yml": (0, ORIGIN)}),
        ),
        Files({}),
    ),
    (),
)


def test_the_files_of_a_key_come_back_as_they_were() -> None:
    found = parse_labels(labels_members(LABELS), KEY)

    assert [len(each) for each in found] == [2, 0]
    for one, other in zip(found[0], LABELS[0], strict=True):
        assert [
            getattr(one, name)
            for name in ("contents", "root", "locations", "revision", "origin", "applications", "group")
        ] == [
            getattr(other, name)
            for name in ("contents", "root", "locations", "revision", "origin", "applications", "group")
        ]
    assert found[0][0].edits is not None
    assert dict(found[0][0].edits.by_path) == {"shop.yml": (0, ORIGIN)}
    assert found[0][1].edits is None


def test_each_label_of_the_key_has_files() -> None:
    with pytest.raises(ValueError, match="other labels"):
        parse_labels(labels_members(LABELS[:1]), KEY)


def test_a_group_is_a_number() -> None:
    members = labels_members(LABELS)
    members[0][0]["group"] = "2"
    with pytest.raises(TypeError):
        parse_labels(members, KEY)


@pytest.mark.parametrize("content", ["%%", "YQ", 7])
def test_contents_are_base64(content: object) -> None:
    members = labels_members(LABELS)
    members[0][0]["contents"] = {"shop.yml": content}
    with pytest.raises((ValueError, TypeError)):
        parse_labels(members, KEY)


def test_texts_and_times_are_checked() -> None:
    assert (text("a"), optional(None), optional("b"), seconds(7)) == ("a", None, "b", 7.0)
    for check, value in ((text, 7), (optional, 7), (seconds, "7"), (seconds, True)):
        with pytest.raises(TypeError):
            check(value)


@pytest.mark.parametrize("value", [-1, 253_402_300_800, float("nan")])
def test_a_time_is_one_that_a_date_can_be_written_for(value: float) -> None:
    with pytest.raises(ValueError, match="no time"):
        seconds(value)
