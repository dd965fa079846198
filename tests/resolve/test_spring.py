import pytest

from vortexd.core.errors import ResolveError
from vortexd.core.model import Edits, Files, Former, Key, Origin, Tree
from vortexd.resolve.formats import EXTENSIONS
from vortexd.resolve.spring import property_sources, selection
from vortexd.resolve.tree import Fallback, parse_tree

from .support import LIMITS, parsed_files, source_names


def test_the_last_profile_wins_and_application_profile_beats_application() -> None:
    names = [
        "application",
        "application-dev1",
        "application-dev2",
        "service1",
        "service1-dev1",
        "service1-dev2",
        "other",
    ]
    files = parsed_files({f"{name}.yml": "a: 1" for name in names})

    expected = ["service1-dev2", "application-dev2", "service1-dev1", "application-dev1", "service1", "application"]
    assert [f"{name}.yml" for name in expected] == source_names(files, "service1", "dev1,dev2")


def test_the_last_application_wins_and_application_is_the_weakest() -> None:
    files = parsed_files(
        {f"{name}.yml": "a: 1" for name in ("application", "x", "y", "x-dev", "y-dev", "application-dev")}
    )

    expected = ["y-dev.yml", "x-dev.yml", "application-dev.yml", "y.yml", "x.yml", "application.yml"]
    assert expected == source_names(files, "x,y", "dev")
    assert ["application-dev.yml", "application.yml"] == source_names(files, "application", "dev")


def test_a_location_beats_a_name() -> None:
    files = parsed_files({"foo.properties": "a=1", "label/application.properties": "a=2"}, ("", "label/"))

    assert ["label/application.properties", "foo.properties"] == source_names(files, "foo")


def test_all_extensions_of_a_name_count_in_their_order() -> None:
    files = parsed_files(
        {"a.toml": "a=1", "a.json": '{"a":1}', "a.yaml": "a: 1", "a.yml": "a: 1", "a.properties": "a=1", "a.xml": "x"}
    )

    assert ["a.properties", "a.yml", "a.yaml", "a.json", "a.toml"] == source_names(files, "a")


def test_later_documents_win_and_have_numbers_in_their_names() -> None:
    files = parsed_files({"a.yml": "a: 1\n---\na: 2\n", "application.yml": "a: 0\n---\n"})

    assert ["a.yml (document #1)", "a.yml (document #0)", "application.yml"] == source_names(files, "a")


def test_a_document_for_a_profile_keeps_its_place_in_its_file() -> None:
    text = "a: 1\n---\nspring.config.activate.on-profile: dev\na: 2\n---\na: 3\n"
    files = parsed_files({"a.yml": text, "application-dev.yml": "a: 4"})

    expected = ["application-dev.yml", "a.yml (document #2)", "a.yml (document #1)", "a.yml (document #0)"]
    assert expected == source_names(files, "a", "dev")
    assert ["a.yml (document #2)", "a.yml (document #0)"] == source_names(files, "a")


def test_default_is_a_profile_like_any_other() -> None:
    files = parsed_files(
        {"a.yml": "spring.config.activate.on-profile: default", "a-default.yml": "a: 1", "application.yml": "a: 0"}
    )

    assert ["a-default.yml", "a.yml", "application.yml"] == source_names(files, "a")
    assert ["application.yml"] == source_names(files, "a", "dev")


def test_an_application_without_files_has_no_sources() -> None:
    assert [] == source_names(parsed_files({"b.yml": "a: 1"}), "a", "dev")


def test_an_application_may_lie_in_a_directory_but_a_location_is_none() -> None:
    files = parsed_files(
        {"foo/app.yml": "a: 1", "foo/app-dev.yml": "a: 1", "prod/x.yml": "a: 1", "prod/foo/app.yml": "a: 1"},
        ("", "prod/"),
    )

    assert ["foo/app-dev.yml", "prod/foo/app.yml", "foo/app.yml"] == source_names(files, "foo/app", "dev")
    assert ["prod/x.yml"] == source_names(files, "x")
    assert [] == source_names(files, "prod/x")


def test_a_hyphen_parts_application_and_profile_at_any_place() -> None:
    files = parsed_files({"a-b-c.yml": "a: 1"})

    for application, profile in [("a-b-c", "default"), ("a-b", "c"), ("a", "b-c")]:
        assert ["a-b-c.yml"] == source_names(files, application, profile)


def test_sources_carry_values_and_origins() -> None:
    (source,) = property_sources([parsed_files({"a.yml": "a: {b: 1}"})], Key("a", "default", "main"))

    assert ("file:/c/a.yml", {"a.b": 1}, {"a.b": (1, 8)}) == (source.name, source.values, source.origins)


def test_a_group_brings_its_members_which_beat_its_name() -> None:
    text = "spring.profiles.group: {prod: [db, mq], mq: tls}"
    files = parsed_files({"application.yml": text, **{f"a-{name}.yml": "a: 1" for name in ("prod", "db", "mq", "tls")}})

    assert ["a-tls.yml", "a-mq.yml", "a-db.yml", "a-prod.yml", "application.yml"] == source_names(files, "a", "prod")


def test_included_profiles_are_stronger_than_those_asked_for() -> None:
    files = parsed_files(
        {
            "a.yml": "spring.profiles.include: common, base",
            "a-common.yml": "a: 1",
            "a-base.yml": "a: 1",
            "a-dev.yml": "a: 1",
        }
    )

    assert ["a-base.yml", "a-common.yml", "a-dev.yml", "a.yml"] == source_names(files, "a", "dev")
    assert ["a-base.yml", "a-dev.yml", "a-common.yml", "a.yml"] == source_names(files, "a", "common,dev")


def test_include_and_group_do_nothing_for_the_default_profile() -> None:
    files = parsed_files(
        {"a.yml": "spring.profiles: {include: common, group: {default: x}}", "a-common.yml": "a: 1", "a-x.yml": "a: 1"}
    )

    assert ["a.yml"] == source_names(files, "a")


def test_expanded_profiles_activate_documents() -> None:
    text = "spring.profiles.group.prod: db\n---\nspring.config.activate.on-profile: db\na: 1"

    assert ["a.yml (document #1)", "a.yml (document #0)"] == source_names(parsed_files({"a.yml": text}), "a", "prod")


def test_groups_may_name_each_other_in_a_circle() -> None:
    files = parsed_files({"a.yml": "spring.profiles.group: {x: y, y: x}", "a-x.yml": "a: 1", "a-y.yml": "a: 1"})

    assert ["a-y.yml", "a-x.yml", "a.yml"] == source_names(files, "a", "x")


@pytest.mark.parametrize("key", ["active", "include", "default", "include[0]"])
def test_a_file_for_a_profile_cannot_say_which_profiles_are_active(key: str) -> None:
    files = parsed_files(
        {"a-dev.properties": f"spring.profiles.{key}=x", "a-default.properties": f"spring.profiles.{key}=x"}
    )

    with pytest.raises(ResolveError, match=r"^a-dev.properties: spring.profiles.*move it"):
        source_names(files, "a", "dev")
    assert ["a-default.properties"] == source_names(files, "a")


def test_a_document_for_a_profile_cannot_say_which_profiles_are_active() -> None:
    files = parsed_files({"a.yml": "spring.config.activate.on-profile: dev\nspring.profiles.include: x"})

    with pytest.raises(ResolveError):
        source_names(files, "a", "dev")
    assert [] == source_names(files, "a", "prod")


def test_included_profiles_must_be_names_and_few() -> None:
    with pytest.raises(ResolveError, match="isn't a valid name of a profile"):
        source_names(parsed_files({"a.yml": "spring.profiles.include: ../x"}), "a", "dev")
    many = ",".join(f"p{n}" for n in range(16))
    groups = "".join(f"spring.profiles.group.p{n}: {','.join(f'p{n}x{m}' for m in range(8))}\n" for n in range(16))
    with pytest.raises(ResolveError, match="more than 64 profiles"):
        source_names(parsed_files({"a.yml": groups}), "a", many)


# Imports.


def test_what_is_imported_goes_before_what_imports_it_the_last_import_first() -> None:
    files = parsed_files(
        {
            "a.yml": "spring.config.import: [x.yml, 'optional:sub/y.properties; none.yml']",
            "x.yml": "spring.config.import: sub/z.yml",
            "sub/y.properties": "b=1",
            "sub/z.yml": "spring.config.import: ../x.yml, a.yml",
            "sub/a.yml": "c: 1",
            "application.yml": "d: 1",
        }
    )

    expected = ["sub/y.properties", "sub/a.yml", "sub/z.yml", "x.yml", "a.yml", "application.yml"]
    assert expected == source_names(files, "a", "default")


def test_each_document_has_its_own_imports_and_those_that_do_not_count_import_nothing() -> None:
    files = parsed_files(
        {
            "a.yml": "spring.config.import: x.yml\n---\nb: 1\n---\n"
            "spring.config: {import: y.yml, activate.on-profile: prod}",
            "x.yml": "c: 1",
            "y.yml": "d: 1",
        }
    )

    first, second, third = (f"a.yml (document #{number})" for number in range(3))
    assert [second, "x.yml", first] == source_names(files, "a", "dev")
    assert ["y.yml", third, second, "x.yml", first] == source_names(files, "a", "prod")


def test_the_files_for_profiles_of_an_import_go_before_it() -> None:
    files = parsed_files(
        {"a.yml": "spring.config.import: x.yml, y.yml"}
        | {f"{name}{suffix}.yml": "c: 1" for name in "xy" for suffix in ("", "-dev", "-eu")}
    )

    expected = ["y-eu.yml", "y-dev.yml", "x-eu.yml", "x-dev.yml", "y.yml", "x.yml", "a.yml"]
    assert expected == source_names(files, "a", "dev,eu")


def test_what_is_imported_for_a_profile_goes_above_what_is_not_for_any() -> None:
    files = parsed_files(
        {"a.yml": "spring.config.import: x.yml", "a-dev.yml": "own: 1"}
        | dict.fromkeys(["x-dev.yml", "y.yml", "y-dev.yml"], "b: 1")
        | {"x.yml": "spring.config.import: y.yml"}
    )

    # y-dev.yml is imported by x.yml, so its place is above what a.yml, which imports that one, imports.
    expected = ["x-dev.yml", "a-dev.yml", "y-dev.yml", "y.yml", "x.yml", "a.yml"]
    assert expected == source_names(files, "a", "dev")


def test_an_import_may_include_profiles() -> None:
    files = parsed_files(
        {"a.yml": "spring.config.import: x.yml", "x.yml": "spring.profiles.include: eu", "a-eu.yml": "b: 1"}
    )

    assert ["a-eu.yml", "x.yml", "a.yml"] == source_names(files, "a", "dev")


def test_what_is_there_already_is_not_imported() -> None:
    files = parsed_files({"a.yml": "spring.config.import: application.yml, a.yml", "application.yml": "b: 1"})

    assert ["a.yml", "application.yml"] == source_names(files, "a", "default")


@pytest.mark.parametrize(
    "place",
    [
        "/x.yml",
        "../c/x.yml",
        "../x.yml",
        "file:x.yml",
        "file:///c/x.yml",
        "classpath:x.yml",
        "configserver:",
        "optional:http://169.254.169.254/x.yml",
        ".",
        "./",
        "x",
        "x.txt",
        "x.yml[.yml]",
        "${x}.yml",
        "*.yml",
    ],
)
def test_P01_nothing_but_files_of_the_same_source_is_imported(place: str) -> None:
    files = parsed_files({"a.properties": f"spring.config.import={place}", "x.yml": "b: 1", "x.txt": "c"})

    assert ["a.properties"] == source_names(files, "a", "default")


def test_more_files_than_anybody_imports_are_an_error() -> None:
    names = [f"x{number}.yml" for number in range(65)]
    files = parsed_files({"a.yml": f"spring.config.import: [{', '.join(names)}]"} | dict.fromkeys(names, "b: 1"))

    with pytest.raises(ResolveError, match="more than 64 files"):
        source_names(files, "a", "default")


@pytest.mark.parametrize("broken", ["x.yml", "x-dev.yml", "y.yml"])
def test_a_broken_import_touches_who_imports_it(broken: str) -> None:
    contents = {"a.yml": "spring.config.import: x.yml", "x.yml": "spring.config.import: y.yml", "b.yml": "c: 1"}
    files = parsed_files(contents | {broken: "a: [1"})

    assert [broken] == selection(files, Key("a", "dev", "main")).broken
    assert [] == selection(files, Key("b", "dev", "main")).broken


# Which files a key depends on.


def test_a_key_reads_the_files_of_its_own_profiles_and_no_others() -> None:
    files = parsed_files({"a.yml": "b: 1"})
    chosen = selection(files, Key("a", "dev", "main"))

    names = ("a", "application", "a-dev", "application-dev")
    assert {f"{name}.{extension}" for name in names for extension in EXTENSIONS} == set(chosen.reads)
    assert len(set(chosen.reads)) == len(chosen.reads)


@pytest.mark.parametrize(
    ("broken", "profiles"),
    [
        ("a.yml", {"default", "dev", "prod"}),
        ("application.yml", {"default", "dev", "prod"}),
        ("a-dev.yml", {"dev"}),
        ("application-dev.yml", {"dev"}),
        ("a-extra.yml", {"prod"}),
        ("a-member.yml", {"prod"}),
        ("b.yml", set()),
    ],
)
def test_a_broken_file_touches_the_profiles_that_read_it(broken: str, profiles: set[str]) -> None:
    contents = {"a.yml": "spring.profiles.group.prod: [extra, member]", "b.yml": "c: 1"}
    # Without its own content no file names a group.
    groups = {"application.yaml": "spring.profiles.group.prod: [extra, member]"}
    files = parsed_files(groups | contents | {broken: "a: [1"})

    found = {name for name in ("default", "dev", "prod") if selection(files, Key("a", name, "main")).broken}
    assert profiles == found


def test_a_key_that_reads_a_broken_file_without_a_fallback_has_a_fault() -> None:
    files = parsed_files({"a.yml": "b: 1", "a-dev.yml": "a: [1"})
    chosen = selection(files, Key("a", "dev", "main"))

    assert chosen.fault is files.broken["a-dev.yml"]
    assert selection(files, Key("a", "prod", "main")).fault is None
    with_fallback = files.with_fallbacks({"a-dev.yml": Fallback((), Former(None))})
    assert selection(with_fallback, Key("a", "dev", "main")).fault is None
    assert ["a-dev.yml"] == selection(with_fallback, Key("a", "dev", "main")).broken


def test_the_origin_of_a_key_is_the_newest_commit_that_changed_a_file_it_reads() -> None:
    first, second, third = (Origin(name, "Ann", "") for name in "abc")
    edits = {"a.yml": (1, first), "a-dev.yml": (3, second), "b.yml": (5, third)}
    files = Files({"a.yml": b"b: 1", "b.yml": b"b: 1"}, edits=Edits(5, edits), origin=third)
    parsed = parse_tree(Tree({"main": files}), LIMITS).labels["main"]

    # A deleted file counts: that it is gone is part of what the key is.
    assert second == selection(parsed, Key("a", "dev", "main")).origin
    assert first == selection(parsed, Key("a", "prod", "main")).origin
    assert third == selection(parsed, Key("b", "dev", "main")).origin
    assert selection(parsed, Key("c", "dev", "main")).origin is None


def test_a_source_that_knows_no_edits_has_one_origin_for_all() -> None:
    origin = Origin("a", "Ann", "")
    parsed = parse_tree(Tree({"main": Files({"a.yml": b"b: 1"}, origin=origin)}), LIMITS).labels["main"]

    assert origin == selection(parsed, Key("c", "dev", "main")).origin


@pytest.mark.parametrize(("distance", "is_known"), [(999, True), (1_000, False)])
def test_edits_count_within_a_thousand_commits(distance: int, is_known: bool) -> None:
    origin = Origin("a", "Ann", "")

    assert (origin if is_known else None) == Edits(5 + distance, {"a.yml": (5, origin)}).last(["x.yml", "a.yml"])
