"""Facts about the list of nodes: who is there, who is away and for how long, and who leads."""

from collections.abc import Callable

import attrs
import pytest
from structlog.testing import capture_logs

from vortexd.cluster.engine import Entry, Event
from vortexd.cluster.keys import Keys
from vortexd.cluster.records import Member
from vortexd.cluster.roster import Roster
from vortexd.cluster.warnings import RecordWarnings
from vortexd.core.model import ClusterMember

KEYS = Keys("c")


def record(node: str, state: str = "serving") -> Member:
    return Member(node, f"http://{node}", "2030", "1.0", state)


def entry(key: str, value: bytes = b"p", revision: int = 1) -> Entry:
    return Entry(key, value, revision, revision)


def put(key: str, value: bytes = b"p", revision: int = 2) -> Event:
    return Event(key, entry(key, value, revision), revision)


def gone(key: str) -> Event:
    return Event(key, None, 3)


@attrs.define
class Stage:
    now: float = 50.0
    roster: Roster = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.roster = Roster(KEYS, lambda: self.now, RecordWarnings())

    def states(self) -> dict[str, str]:
        return {each.node: each.state for each in self.roster.members()}


@pytest.fixture
def stage() -> Stage:
    return Stage()


def node(name: str, state: str = "serving") -> list[Entry]:
    return [entry(KEYS.member(name), record(name, state).encoded()), entry(KEYS.alive(name))]


def test_a_reading_names_all_nodes_in_order_with_what_they_say_of_themselves(stage: Stage) -> None:
    stage.roster.read([*node("b", "draining"), *node("a"), node("c")[0], entry(KEYS.leader, b"a")])
    assert stage.roster.members() == (
        ClusterMember("a", "serving", "1.0", "http://a", "2030"),
        ClusterMember("b", "draining", "1.0", "http://b", "2030"),
        ClusterMember("c", "away", "1.0", "http://c", "2030", 0.0),
    )
    assert stage.roster.leader == "a"
    assert stage.roster.entry(KEYS.leader) == entry(KEYS.leader, b"a")


def test_a_new_reading_replaces_the_former_one(stage: Stage) -> None:
    stage.roster.read([*node("a"), entry(KEYS.leader, b"a")])
    stage.roster.read(node("b"))
    assert stage.states() == {"b": "serving"}
    assert stage.roster.leader is None
    assert stage.roster.entry(KEYS.alive("a")) is None


def test_events_bring_nodes_and_take_them_away(stage: Stage) -> None:
    stage.roster.read(node("a"))
    stage.roster.take([put(KEYS.member("b"), record("b").encoded()), put(KEYS.alive("b")), put(KEYS.leader, b"b")])
    assert stage.states() == {"a": "serving", "b": "serving"}
    assert stage.roster.leader == "b"
    stage.roster.take([put(KEYS.member("b"), record("b", "draining").encoded())])
    assert stage.states() == {"a": "serving", "b": "draining"}
    stage.roster.take([gone(KEYS.member("b")), gone(KEYS.alive("b")), gone(KEYS.leader)])
    assert stage.states() == {"a": "serving"}
    assert stage.roster.leader is None


def test_a_node_without_a_sign_of_life_is_away_since_that_was_noticed(stage: Stage) -> None:
    stage.roster.read(node("a"))
    stage.now = 60.0
    stage.roster.take([gone(KEYS.alive("a"))])
    stage.now = 65.0
    stage.roster.take([put(KEYS.leader, b"b")])
    stage.now = 70.5
    assert stage.roster.away == {"a": 10.5}
    [member] = stage.roster.members()
    assert (member.state, member.away_for) == ("away", 10.5)
    stage.roster.read([node("a")[0]])
    assert stage.roster.away == {"a": 10.5}
    stage.roster.take([put(KEYS.alive("a"))])
    assert stage.roster.away == {}
    assert stage.states() == {"a": "serving"}


def test_a_node_that_was_back_in_between_is_away_anew(stage: Stage) -> None:
    stage.roster.read([node("a")[0]])
    stage.now = 60.0
    # It wrote its record again when it was back, which a broken watch didn't report.
    stage.roster.read([entry(KEYS.member("a"), record("a").encoded(), 9)])
    assert stage.roster.away == {"a": 0.0}


def test_a_sign_of_life_without_a_record_is_no_node(stage: Stage) -> None:
    stage.roster.read([entry(KEYS.alive("a"))])
    assert stage.roster.members() == ()
    assert stage.roster.away == {}
    assert stage.roster.entry(KEYS.alive("a")) is not None


def test_entries_of_other_kinds_are_passed_over(stage: Stage) -> None:
    stage.roster.read([entry(KEYS.hint("a")), entry(KEYS.prefix + "secret"), *node("a")])
    stage.roster.take([put(KEYS.hint("a")), gone(KEYS.hint("a"))])
    assert stage.states() == {"a": "serving"}
    assert stage.roster.entry(KEYS.hint("a")) is None
    assert stage.roster.entry(KEYS.prefix + "secret") is None


def test_a_record_that_can_not_be_read_is_one_warning_and_no_node(stage: Stage) -> None:
    newer = record("b").encoded().replace(b'"format":1', b'"format":2')
    with capture_logs() as logs:
        stage.roster.read([*node("a"), entry(KEYS.member("b"), newer), entry(KEYS.alive("b"))])
        stage.roster.take([put(KEYS.member("b"), newer)])
        assert stage.states() == {"a": "serving"}
        stage.roster.take([put(KEYS.member("a"), b"garbage")])
        assert stage.states() == {}
        stage.roster.take([put(KEYS.member("a"), record("a").encoded())])
        assert stage.states() == {"a": "serving"}
        stage.roster.take([put(KEYS.member("a"), b"garbage")])
    assert [(each["key"], each["reason"][:13]) for each in logs] == [
        (KEYS.member("b"), "its format is"),
        (KEYS.member("a"), "it isn't JSON"),
        (KEYS.member("a"), "it isn't JSON"),
    ]


def test_a_record_that_was_deleted_is_warned_of_again_when_it_is_back(stage: Stage) -> None:
    with capture_logs() as logs:
        stage.roster.take([put(KEYS.member("a"), b"garbage")])
        stage.roster.take([gone(KEYS.member("a"))])
        stage.roster.take([put(KEYS.member("a"), b"garbage")])
    assert len(logs) == 2


def test_a_leader_with_any_bytes_as_its_name_is_no_node(stage: Stage) -> None:
    stage.roster.read([entry(KEYS.leader, b"\xff")])
    assert stage.roster.leader is None
    assert stage.roster.entry(KEYS.leader) is not None


def test_a_publisher_is_a_node_that_serves_and_says_that_it_publishes(stage: Stage) -> None:
    def published(name: str, state: str = "serving") -> list[Entry]:
        member = attrs.evolve(record(name, state), publishes=True)
        return [entry(KEYS.member(name), member.encoded()), entry(KEYS.alive(name))]

    stage.roster.read(node("a"))
    assert not stage.roster.has_publisher
    stage.roster.read([*node("a"), *published("b")])
    assert stage.roster.has_publisher
    stage.roster.take([gone(KEYS.alive("b"))])
    assert not stage.roster.has_publisher
    stage.roster.read(published("b", "draining"))
    assert not stage.roster.has_publisher


def test_the_nodes_are_steady_since_the_last_change_of_their_processes_or_states(stage: Stage) -> None:
    def steady_after(act: Callable[[], None]) -> float:
        """Return the seconds that the roster counts three seconds after an act."""
        act()
        stage.now += 3.0
        return stage.roster.steady_for

    def take(*events: Event) -> float:
        return steady_after(lambda: stage.roster.take(events))

    stage.now += 4.0
    assert stage.roster.steady_for == 4.0
    assert steady_after(lambda: stage.roster.read([*node("a"), *node("b")])) == 3.0
    assert steady_after(lambda: stage.roster.read([*node("a"), *node("b")])) == 6.0
    # A hint, the leader and an address change nothing.
    assert take(put(KEYS.leader, b"a"), put(KEYS.hint("a"))) == 9.0
    moved = attrs.evolve(record("b"), address="http://other")
    assert take(put(KEYS.member("b"), moved.encoded())) == 12.0
    assert take(put(KEYS.alive("b"))) == 15.0

    assert take(put(KEYS.alive("b"), b"another process")) == 3.0
    assert take(put(KEYS.member("b"), record("b", "draining").encoded())) == 3.0
    assert take(gone(KEYS.alive("b"))) == 3.0
    assert take() == 6.0
    assert take(gone(KEYS.member("b"))) == 3.0
    assert take(*(put(each.key, each.value) for each in node("c"))) == 3.0
    assert steady_after(lambda: stage.roster.read(node("a"))) == 3.0
