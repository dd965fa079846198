"""Facts about the fleet of the other nodes: counts from the store, answers of the nodes, and nodes that are away."""

from collections.abc import Mapping
from typing import Any

import attrs
import orjson
import pytest
from structlog.testing import capture_logs

from vortexd.cluster import summaries
from vortexd.cluster.engine import Entry, Event
from vortexd.cluster.fleet import FLEET_PATH, ClusterFleet
from vortexd.cluster.keys import Keys
from vortexd.cluster.questions import Answers, Questions
from vortexd.cluster.records import Member
from vortexd.cluster.roster import Roster
from vortexd.cluster.store_state import StoreState
from vortexd.cluster.warnings import RecordWarnings
from vortexd.core.model import Key
from vortexd.fleet import Ack, KeyState, NodePages, NodeView, Page, Question, Seen
from vortexd.settings.cluster import ClusterSettings

KEYS = Keys("c")
A, B = Key("a", "prod", "main"), Key("b", "prod", "main")
QUESTION = Question((A, B))
NOW = 1e9


def state(key: Key = A, connected: int = 3, *seen: Seen) -> KeyState:
    return KeyState(key, "v1", 5.0, connected, 2, 1, 4, 1, seen)


def replaced(count: str, value: Any) -> KeyState:
    return attrs.evolve(state(), **{count: value})


def part(*states: KeyState) -> bytes:
    [made] = summaries.split(summaries.encode(states))
    return made


def answer(*states: KeyState, silent: object = 0) -> bytes:
    return orjson.dumps({"workers_silent": silent, "page": orjson.loads(Page(states).to_json())})


class FakeQuestions(Questions):
    """Answers as a test wants it."""

    def __init__(self) -> None:
        super().__init__(KEYS, "me", lambda: ClusterSettings(), RecordWarnings())
        self.found = Answers({}, {})
        self.asked: list[tuple[Mapping[str, str], str, bytes]] = []

    async def ask(self, nodes: Mapping[str, str], path: str, body: bytes) -> Answers:
        self.asked.append((nodes, path, body))
        return self.found


@attrs.define(eq=False)
class Stage:
    """The view of node "me": it reads the store whenever a test changes it."""

    now: float = NOW
    monotonic: float = 0.0
    entries: dict[str, Entry] = attrs.field(factory=dict)
    revision: int = 1
    questions: FakeQuestions = attrs.field(factory=FakeQuestions)
    roster: Roster = attrs.field(init=False)
    state: StoreState = attrs.field(init=False)
    fleet: ClusterFleet = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        warnings = RecordWarnings()
        self.roster = Roster(KEYS, lambda: self.monotonic, warnings)
        self.state = StoreState(lambda: self.now)
        self.state.worked("watch", has_read=True)
        self.fleet = ClusterFleet(KEYS, "me", self.roster, self.state, self.questions, warnings, lambda: self.now)
        self.node("me")

    def node(self, name: str, address: str = "http://x", state: str = "serving", lease: str = "1") -> None:
        self.put(KEYS.member(name), Member(name, address, "2030", "1", state).encoded())
        self.put(KEYS.alive(name), b"p", lease)

    def put(self, key: str, value: bytes, lease: str = "") -> None:
        self.revision += 1
        self.entries[key] = Entry(key, value, self.revision, self.revision, lease)
        self._take(Event(key, self.entries[key], self.revision))

    def summary(self, name: str, number: int, *states: KeyState, lease: str = "1") -> None:
        self.put(KEYS.summary(name, number), part(*states), lease)

    def delete(self, *keys: str) -> None:
        self.revision += 1
        for key in keys:
            del self.entries[key]
        self._take(*(Event(key, None, self.revision) for key in keys))

    def _take(self, *events: Event) -> None:
        self.roster.take(events)
        self.fleet.take(events)

    def end_lease(self, lease: str) -> None:
        self.delete(*[key for key, each in self.entries.items() if each.lease == lease])

    def read(self) -> None:
        self.roster.read(self.entries.values())
        self.fleet.read(self.entries.values())

    async def pages(self, question: Question = QUESTION) -> NodePages:
        return await self.fleet.pages(question)


@pytest.fixture
def stage() -> Stage:
    made = Stage()
    made.read()
    return made


ME = NodeView("me", "serving")


async def test_before_the_store_was_read_no_count_is_whole() -> None:
    stage = Stage()
    reason = "it hasn't read the cluster's store yet, so it knows no other node"
    assert NodePages((NodeView("me", "serving", "current", None, reason, is_whole=False),), ()) == await stage.pages()
    assert [] == stage.questions.asked


async def test_a_node_alone_asks_nobody(stage: Stage) -> None:
    assert NodePages((ME,), ()) == await stage.pages()
    assert [({}, FLEET_PATH, QUESTION.to_json().encode())] == stage.questions.asked


async def test_nodes_are_asked_if_they_have_an_address_and_are_there(stage: Stage) -> None:
    stage.node("b", "http://b")
    stage.node("c", "")
    stage.node("d", "http://d", "draining")
    stage.node("e", "http://e", lease="9")
    stage.end_lease("9")
    await stage.pages()
    [(asked, _, _)] = stage.questions.asked
    assert {"b": "http://b"} == asked


async def test_the_answer_of_a_node_is_its_page_whatever_its_summary_says(stage: Stage) -> None:
    seen = Seen("host", "id", "applied", 1.0, None)
    stage.node("b")
    stage.summary("b", 0, state(A, 99))
    stage.questions.found = Answers({"b": answer(state(A, 3, seen))}, {})

    found = await stage.pages()
    assert (NodeView("b", "serving"), ME) == found.nodes
    assert (Page((state(A, 3, seen),)),) == found.pages


async def test_an_answer_has_what_was_acknowledged_before_a_restart(stage: Stage) -> None:
    seen = Seen("host", "id", "gone", 1.0, None, before_restart=Ack("v", "applied", None, 253_402_300_799))
    stage.node("b")
    counted = attrs.evolve(state(A, 3, seen), before_restart=1)
    stage.questions.found = Answers({"b": answer(counted)}, {})

    assert (Page((counted,)),) == (await stage.pages()).pages


async def test_a_node_with_a_silent_worker_is_not_whole(stage: Stage) -> None:
    stage.node("b")
    stage.questions.found = Answers({"b": answer(state(), silent=1)}, {})
    found = await stage.pages()
    view = NodeView("b", "serving", reason="a worker of it hasn't answered", is_whole=False)
    assert (view, (Page((state(),)),)) == (found.nodes[0], found.pages)


async def test_keys_that_were_not_asked_for_are_left_out(stage: Stage) -> None:
    stage.node("b")
    stage.questions.found = Answers({"b": answer(state(A), state(B))}, {})
    assert (Page((state(B),)),) == (await stage.pages(Question((B,)))).pages


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"workers_silent":0,"page":{}}',
        b'{"workers_silent":0,"page":7}',
        answer(silent="x"),
        answer(silent=None),
        *(
            answer(replaced(name, count))
            for name in ("connected", "applied", "rejected", "gone", "unlisted", "away", "before_restart")
            for count in (-1, 2**53 + 1, 1e300)
        ),
        answer(attrs.evolve(state(), connected=2, applied=2, rejected=1)),
        answer(attrs.evolve(state(), connected=2, applied=0, rejected=0, unlisted=3)),
        answer(attrs.evolve(state(), instances=(Seen("i", "1", "silent", 1e300, None),))),
        answer(attrs.evolve(state(), instances=(Seen("i", "1", "applied", 1.0, Ack("v", "applied", None, -1e15)),))),
        answer(
            attrs.evolve(
                state(),
                instances=(
                    Seen("i", "1", "gone", 1.0, None, before_restart=Ack("v", "applied", None, 253_402_300_800)),
                ),
            )
        ),
    ],
)
async def test_an_answer_that_can_not_be_read_is_one_warning_and_none(stage: Stage, body: bytes) -> None:
    stage.node("b")
    stage.summary("b", 0, state())
    stage.questions.found = Answers({"b": body}, {})
    with capture_logs() as logs:
        await stage.pages()
        found = await stage.pages()
    view = NodeView("b", "serving", "last", NOW, "its answer can't be read", is_whole=False)
    assert (view, (Page((state(),)),)) == (found.nodes[0], found.pages)
    assert [("cluster record unusable", "the answer of b")] == [(each["event"], each["key"]) for each in logs]
    stage.questions.found = Answers({"b": answer()}, {})
    await stage.pages()
    stage.questions.found = Answers({"b": body}, {})
    with capture_logs() as logs:
        await stage.pages()
    assert 1 == len(logs)


async def test_a_node_that_does_not_answer_has_its_last_counts_as_of_their_arrival(stage: Stage) -> None:
    stage.node("b")
    stage.now += 7
    stage.summary("b", 0, state())
    stage.now += 100
    stage.questions.found = Answers({}, {"b": "no route"})
    found = await stage.pages()
    assert NodeView("b", "serving", "last", NOW + 7, "no route", is_whole=False) == found.nodes[0]
    assert (Page((state(),)),) == found.pages


async def test_a_node_that_does_not_answer_and_has_no_summary_is_not_counted(stage: Stage) -> None:
    stage.node("b")
    stage.questions.found = Answers({}, {"b": "no route"})
    found = await stage.pages()
    assert (NodeView("b", "serving", "unknown", None, "no route", is_whole=False), ()) == (found.nodes[0], found.pages)


@pytest.mark.parametrize("address", ["http://b", ""])
async def test_a_node_that_drains_is_not_whole(stage: Stage, address: str) -> None:
    stage.node("b", address, "draining")
    stage.summary("b", 0, state())
    found = await stage.pages()
    view = NodeView("b", "draining", "last", NOW, "it drains", is_whole=False)
    assert (view, (Page((state(),)),)) == (found.nodes[0], found.pages)


async def test_a_node_without_an_address_is_counted_from_its_summary(stage: Stage) -> None:
    stage.node("b", "")
    reason = "it advertises no address; set its cluster.advertise"
    assert NodeView("b", "serving", "unknown", None, reason, is_whole=False) == (await stage.pages()).nodes[0]
    stage.summary("b", 0, state())
    found = await stage.pages()
    assert (NodeView("b", "serving", "current", None, reason), (Page((state(),)),)) == (found.nodes[0], found.pages)


async def test_while_the_store_is_away_the_summary_of_a_node_without_an_address_is_an_old_one(stage: Stage) -> None:
    stage.node("b", "")
    stage.summary("b", 0, state())
    stage.state.failed("watch", "gone")
    [view, _] = (await stage.pages()).nodes
    assert (
        NodeView("b", "serving", "last", NOW, "it advertises no address; set its cluster.advertise", is_whole=False)
        == view
    )


@pytest.mark.parametrize("reads", [False, True])
async def test_the_last_counts_of_a_node_that_is_away_are_away(stage: Stage, reads: bool) -> None:
    stage.node("b", lease="2")
    stage.summary("b", 0, state(A, 3), lease="2")
    stage.summary("b", 1, state(B, 5), lease="2")
    stage.end_lease("2")
    stage.monotonic, stage.now = 30.4, NOW + 30.8
    if reads:
        stage.read()
    found = await stage.pages()
    assert NodeView("b", "away", "last", NOW, "it is away", is_whole=False) == found.nodes[0]
    [page] = found.pages
    assert [(A, 0, 3), (B, 0, 5)] == [(each.key, each.connected, each.away) for each in page.keys]
    assert {A, B} == stage.fleet.keys()


@pytest.mark.parametrize("reads", [False, True])
async def test_the_last_counts_of_a_node_that_is_away_are_as_old_as_its_last_summary(stage: Stage, reads: bool) -> None:
    stage.node("b", lease="2")
    stage.summary("b", 0, state(A, 3), lease="2")
    stage.now = NOW + 20
    stage.summary("b", 0, state(A, 4), lease="2")
    stage.monotonic, stage.now = 40.0, NOW + 40
    if reads:
        stage.read()
    stage.monotonic, stage.now = 60.0, NOW + 60
    stage.end_lease("2")
    stage.monotonic, stage.now = 90.4, NOW + 90.8
    assert NodeView("b", "away", "last", NOW + 20, "it is away", is_whole=False) == (await stage.pages()).nodes[0]


async def test_a_summary_that_has_changed_between_two_readings_is_as_old_as_the_second(stage: Stage) -> None:
    stage.node("b", lease="2")
    stage.summary("b", 0, state(A, 3), lease="2")
    key = KEYS.summary("b", 0)
    stage.entries[key] = attrs.evolve(stage.entries[key], modified=stage.revision + 1, value=part(state(A, 4)))
    stage.now = NOW + 20
    stage.read()
    stage.questions.found = Answers({}, {"b": "no route"})
    assert NodeView("b", "serving", "last", NOW + 20, "no route", is_whole=False) == (await stage.pages()).nodes[0]


async def test_a_node_that_went_away_before_this_one_started_is_not_counted(stage: Stage) -> None:
    stage.put(KEYS.member("b"), Member("b", "", "2030", "1", "serving").encoded())
    found = await stage.pages()
    assert (NodeView("b", "away", "unknown", None, "it is away", is_whole=False), ()) == (found.nodes[0], found.pages)


@pytest.mark.parametrize("reads", [False, True])
async def test_a_node_that_is_forgotten_has_no_counts_any_more(stage: Stage, reads: bool) -> None:
    stage.node("b", lease="2")
    stage.summary("b", 0, state(), lease="2")
    stage.end_lease("2")
    stage.delete(KEYS.member("b"))
    if reads:
        stage.read()
    assert (NodePages((ME,), ()), set()) == (await stage.pages(), stage.fleet.keys())


async def test_a_node_that_drains_and_leaves_has_no_counts_any_more(stage: Stage) -> None:
    stage.node("b", lease="2")
    stage.summary("b", 0, state(), lease="2")
    stage.delete(KEYS.member("b"))
    stage.end_lease("2")
    assert (NodePages((ME,), ()), set()) == (await stage.pages(), stage.fleet.keys())


@pytest.mark.parametrize("reads", [False, True])
async def test_a_part_that_a_living_node_has_deleted_is_gone(stage: Stage, reads: bool) -> None:
    stage.node("b", "")
    stage.summary("b", 0, state(A))
    stage.summary("b", 1, state(B))
    await stage.pages()
    stage.delete(KEYS.summary("b", 1))
    if reads:
        stage.read()
    assert {A} == stage.fleet.keys()
    stage.delete(KEYS.summary("b", 0))
    if reads:
        stage.read()
    assert "unknown" == (await stage.pages()).nodes[0].counts


async def test_the_first_part_of_a_new_process_replaces_all_parts_of_the_former(stage: Stage) -> None:
    stage.node("b", "", lease="2")
    stage.summary("b", 0, state(A), lease="2")
    stage.summary("b", 1, state(B), lease="2")
    stage.end_lease("2")
    stage.node("b", "", lease="3")
    assert {A, B} == stage.fleet.keys()
    stage.summary("b", 0, lease="3")
    assert set() == stage.fleet.keys()


async def test_a_key_in_two_parts_counts_as_the_newer_one_has_it(stage: Stage) -> None:
    stage.node("b", "")
    stage.summary("b", 1, state(A, 5))
    stage.summary("b", 0, state(A, 7))
    [page] = (await stage.pages()).pages
    assert [7] == [each.connected for each in page.keys]


async def test_a_summary_that_can_not_be_read_is_one_warning(stage: Stage) -> None:
    stage.node("b", "")
    stage.summary("b", 0, state(A))
    stage.put(KEYS.summary("b", 1), b'{"format":2}', "1")
    with capture_logs() as logs:
        assert {A} == stage.fleet.keys()
        stage.summary("b", 0, state(B))
        assert {B} == stage.fleet.keys()
    assert [("cluster record unusable", KEYS.summary("b", 1))] == [(each["event"], each["key"]) for each in logs]
    stage.summary("b", 1, state(A))
    assert {A, B} == stage.fleet.keys()
    stage.put(KEYS.summary("b", 1), b'{"format":2}', "1")
    with capture_logs() as logs:
        stage.fleet.keys()
    assert 1 == len(logs)


async def test_a_part_that_was_deleted_is_warned_of_again_when_it_is_back(stage: Stage) -> None:
    stage.node("b", "")
    with capture_logs() as logs:
        for _ in range(2):
            stage.put(KEYS.summary("b", 0), b"", "1")
            stage.fleet.keys()
            stage.delete(KEYS.summary("b", 0))
    assert 2 == len(logs)


async def test_this_nodes_own_summary_and_other_entries_are_passed_over(stage: Stage) -> None:
    stage.summary("me", 0, state())
    stage.put(KEYS.hint("b"), b"x")
    assert (NodePages((ME,), ()), set()) == (await stage.pages(), stage.fleet.keys())
