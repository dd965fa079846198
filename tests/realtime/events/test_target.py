import pytest

from vortexd.core.generation import Generation
from vortexd.core.patterns import parse_pattern
from vortexd.realtime.events.target import EventsTarget, at, parse_events_target
from vortexd.realtime.handshake import Refusal

GENERATION = Generation.parse("e.7")


def parse(query: str = "", last: str | None = None, path: str = "orders/dev", most: int = 3) -> EventsTarget:
    return parse_events_target(path.split("/"), query, last, most)


@pytest.mark.parametrize(("query", "name"), [("", ""), ("label=main", ""), ("instance=", ""), ("instance=one", "one")])
def test_a_stream_without_a_name_only_watches(query: str, name: str) -> None:
    assert name == parse(query).target.instance


def test_the_query_has_the_names_of_a_handshake() -> None:
    found = parse("label=main&last_version=1f&instance=a&sent_on=1&token=x").target

    assert ("orders", "dev", "main", "1f", "a") == (
        *(found.application, found.profile, found.label, found.last_version, found.instance),
    )
    assert found.is_sent_on


def test_a_plain_request_has_nothing_else() -> None:
    found = parse()

    assert ((), None, None, None) == (found.patterns, found.cursor, found.target.last_version, found.target.label)


def test_segments_are_decoded_once() -> None:
    assert "a/b" == parse(path="a(_)b/dev").target.application
    assert "orders" == parse(path="%6frders/dev").target.application


@pytest.mark.parametrize("path", ["orders", "orders/dev/main", "orders/dev/"])
def test_another_path_is_not_found(path: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse(path=path)
    assert 404 == refused.value.status


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("label=..", "orders/dev"),
        ("label=a&label=b", "orders/dev"),
        ("last_version=" + "x" * 65, "orders/dev"),
        ("generation=" + "1" * 65, "orders/dev"),
        ("instance=%0a", "orders/dev"),
        ("label=%ff", "orders/dev"),
        ("pattern=%ff", "orders/dev"),
        ("%ff=1", "orders/dev"),
        ("pattern=", "orders/dev"),
        ("pattern=a:b:c:d", "orders/dev"),
        ("pattern=a&pattern=b&pattern=c&pattern=d", "orders/dev"),
        ("last_event_id=%ff", "orders/dev"),
        ("", "../dev"),
        ("", "orders/%ff"),
        ("", "/dev"),
    ],
)
def test_what_is_not_valid_is_refused(query: str, path: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse(query, path=path)
    assert 400 == refused.value.status


def test_patterns_may_occur_several_times_and_count_once() -> None:
    found = parse("pattern=b*&label=main&p%61ttern=a:dev&pattern=b*&pattern=b*:*&pattern=b*")

    assert (parse_pattern("b*"), parse_pattern("a:dev")) == found.patterns
    assert "main" == found.target.label


def test_the_header_counts_before_the_query_and_both_before_the_last_version() -> None:
    assert "h" == parse("last_version=v&last_event_id=q", "h").target.last_version
    assert "q" == parse("last_version=v&last_event_id=q").target.last_version
    assert "v" == parse("last_version=v&last_event_id=", "").target.last_version


@pytest.mark.parametrize(("length", "is_known"), [(64, True), (65, False), (5_000, False)])
def test_an_id_of_another_form_is_no_version(length: int, is_known: bool) -> None:
    found = parse("last_version=v", "x" * length)

    assert ("x" * length if is_known else None) == found.target.last_version
    assert found.cursor is None


def test_with_patterns_the_id_is_a_cursor_and_the_target_is_that_of_the_query() -> None:
    query = "pattern=b*&last_version=v&generation=" + str(GENERATION)
    for found, cursor in ((parse(query, "cursor"), "cursor"), (parse(query), None)):
        assert (cursor, "v", GENERATION) == (found.cursor, found.target.last_version, found.target.generation)


def test_a_generation_belongs_to_the_version_in_the_query() -> None:
    query = "last_version=v&generation=" + str(GENERATION)

    assert GENERATION == parse(query).target.generation == parse(query, "v").target.generation
    assert parse(query, "w").target.generation is None
    assert parse(query, "v" * 65).target.generation is None
    assert parse("generation=" + str(GENERATION), "w").target.generation is None


@pytest.mark.parametrize(("version", "generation"), [("v", GENERATION), ("w", None), (None, None)])
def test_so_it_does_for_a_version_that_a_cursor_names(version: str | None, generation: Generation | None) -> None:
    found = at(parse("pattern=b*&last_version=v&sent_on=1&generation=" + str(GENERATION), "cursor").target, version)

    assert (version, generation) == (found.last_version, found.generation)
    assert found.is_sent_on
