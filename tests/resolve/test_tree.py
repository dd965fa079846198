import pytest

from vortexd.model import Files, Tree
from vortexd.resolve.tree import is_configuration, location_of, parse_tree, touched_by

from .support import LIMITS


def tree(contents: dict[str, bytes], unreadable: dict[str, str] | None = None) -> Tree:
    return Tree({"main": Files(contents, unreadable or {})})


def test_a_broken_file_is_an_entry_and_the_others_are_parsed() -> None:
    files = parse_tree(tree({"a.yml": b"a: 1", "b.yml": b"b: ["}), LIMITS).labels["main"]

    assert ["a.yml"] == list(files.documents)
    assert ["b.yml"] == list(files.broken)
    assert files.broken["b.yml"].__traceback__ is None


def test_an_unreadable_configuration_file_is_broken_with_its_reason() -> None:
    unreadable = {"a.yml": "permission denied", "key.pem": "permission denied"}

    files = parse_tree(tree({"a.yml": b"a: 1"}, unreadable), LIMITS).labels["main"]

    assert {} == files.documents
    assert ["a.yml: permission denied"] == [str(error) for error in files.broken.values()]


def test_files_with_the_same_bytes_are_taken_over() -> None:
    before = parse_tree(tree({"a.yml": b"a: 1", "b.yml": b"b: [", "c.yml": b"c: 1"}), LIMITS)

    after = parse_tree(tree({"a.yml": b"a: 1", "b.yml": b"b: [", "c.yml": b"c: 2"}), LIMITS, before).labels["main"]

    former = before.labels["main"]
    assert after.documents["a.yml"] is former.documents["a.yml"]
    assert after.broken["b.yml"] is former.broken["b.yml"]
    assert {"c": 2} == after.documents["c.yml"][0].values


def test_a_file_that_has_become_readable_with_the_same_bytes_is_parsed() -> None:
    before = parse_tree(tree({"a.yml": b"a: 1"}, {"a.yml": "changed while it was read"}), LIMITS)

    after = parse_tree(tree({"a.yml": b"a: 1"}), LIMITS, before).labels["main"]

    assert ["a.yml"] == list(after.documents)
    assert {} == after.broken


def test_labels_share_what_is_the_same_file() -> None:
    parsed = parse_tree(Tree({"x": Files({"a.yml": b"a: 1"}), "y": Files({"a.yml": b"a: 1"})}, "y"), LIMITS)

    assert parsed.labels["x"].documents["a.yml"] is parsed.labels["y"].documents["a.yml"]
    assert "y" == parsed.default_label


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.yml", True),
        ("foo/app.toml", True),
        (".a.yml", False),
        (".git/a.yml", False),
        ("foo/.b/a.yml", False),
        ("a.txt", False),
        ("yml", False),
    ],
)
def test_configuration_files_have_a_known_extension_and_nothing_hidden(path: str, expected: bool) -> None:
    assert expected == is_configuration(path, ("",))


def test_files_outside_the_locations_are_no_configuration() -> None:
    assert not is_configuration("a.yml", ("prod/",))
    assert is_configuration("prod/a.yml", ("prod/",))
    assert is_configuration(".hidden/a.yml", (".hidden/",))


def test_a_path_lies_in_the_longest_location() -> None:
    assert "prod/" == location_of("prod/a.yml", ("", "prod/"))
    assert "" == location_of("production/a.yml", ("", "prod/"))
    assert location_of("a.yml", ("prod/",)) is None


@pytest.mark.parametrize(
    ("path", "applications"),
    [
        ("a-b-c.yml", {"a-b-c", "a-b", "a"}),
        ("application.yml", {"application"}),
        ("application-dev.yml", {"application", "application-dev"}),
        ("prod/a-b.yml", {"a", "a-b"}),
        ("foo-x/app-dev.yml", {"foo-x/app", "foo-x/app-dev"}),
        ("prod/foo/app.yml", {"foo/app"}),
        ("a.b-c.yml", {"a.b", "a.b-c"}),
    ],
)
def test_a_file_touches_every_application_it_can_be_for(path: str, applications: set[str]) -> None:
    assert applications == touched_by(path, Files({}, locations=("", "prod/")))
