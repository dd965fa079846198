"""Roll-outs in the pipeline: which version a key and its candidate have, and what is published when, for whom."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs
import pytest
from structlog.testing import capture_logs

from vortexd.core.candidate import candidate_of
from vortexd.core.model import Files, Key, Origin, Tree
from vortexd.core.patterns import parse_pattern
from vortexd.core.term import Term
from vortexd.pins.pin import Pin
from vortexd.pipeline.state import overrides_of
from vortexd.pipeline.tracks import Held
from vortexd.rollouts.rollout import PLACES, Beginning, Plan, Rollout, Status

from ..wiring import Wired

SHOP = Key("shop", "default", "main")
OTHER = Key("other", "default", "main")
CANDIDATE = candidate_of(SHOP)
PLAN = Plan((50, 100))


def files(text: str, trailers: Mapping[str, tuple[str, ...]] | None = None, **others: str) -> Files:
    contents = {"shop.yml": text, **{f"{name}.yml": other for name, other in others.items()}}
    encoded = {path: content.encode() for path, content in contents.items()}
    return Files(encoded, root="file:/c/", revision=text, trailers=trailers or {})


def tree(text: str = "a: 1", trailers: Mapping[str, tuple[str, ...]] | None = None, **others: str) -> Tree:
    return Tree({"main": files(text, trailers, **others)}, "main")


class Policy:
    """Paces every change of `shop`, and notes what has begun."""

    def __init__(self, plan: Plan | None = PLAN, *, is_on: bool = True) -> None:
        self.is_on = is_on
        self.beginnings: list[Beginning] = []
        self.asked: list[tuple[Key, list[str]]] = []
        self._plan = plan

    def plan(self, key: Key, trailers: Sequence[str]) -> Plan | None:
        self.asked.append((key, list(trailers)))
        return self._plan if key.application == "shop" and (self.is_on or trailers) else None

    def begun(self, beginnings: Sequence[Beginning]) -> None:
        self.beginnings += beginnings

    def record(self, number: int = -1, **more: Any) -> Rollout:
        """The roll-out of something that has begun."""
        begun = self.beginnings[number]
        return record_of(begun, **more)


def record_of(begun: Beginning, **more: Any) -> Rollout:
    known = attrs.asdict(begun, recurse=False)
    status = Status.DONE if begun.target == begun.stable else Status.RUNNING
    rest = {"id": begun.target, "step": 0, "reach": None, "status": status, "reason": "", "by": ""}
    return Rollout(**{**known, **rest, "began": 0.0, "counted": 0.0, "stepped": 0.0, "revision": 0, **more})


class Subscribed:
    """Notes the documents that it gets."""

    name = "reader"

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self.deliveries: list[Any] = []

    def deliver(self, delivery: Any) -> None:
        self.deliveries.append(delivery)

    @property
    def values(self) -> list[Any]:
        """The values of the changes, one each."""
        return [json.loads(each.payload)["diff"][0]["value"] for each in self.deliveries]


class Paced(Wired):
    """A pipeline with a policy, whose moves are noted."""

    def __init__(self, policy: Policy | None = None, **more: Any) -> None:
        super().__init__(**more)
        self.policy = policy or Policy()
        self.moves: list[tuple[Collection[Key], Any]] = []
        self.publisher.pace_by(self.policy)
        self.publisher.retrack_by(self._moved)

    async def _moved(self, keys: Collection[Key]) -> None:
        self.moves.append((list(keys), self.version(CANDIDATE)))

    def version(self, key: Key = SHOP) -> Any:
        """The value that a key has, or None."""
        config = self.store.find(key)
        return config.document.get("a") if config is not None else None

    @property
    def both(self) -> tuple[Any, Any]:
        """The values of the key and of its candidate."""
        return self.version(), self.version(CANDIDATE)

    async def held(self, key: Key = SHOP) -> Subscribed:
        await self.reader.read(key)
        self.pipeline.hold(key)
        subscribed = Subscribed()
        self.registry.add(subscribed, key)
        return subscribed


async def begun(policy: Policy | None = None, **more: Any) -> tuple[Paced, Subscribed]:
    """A pipeline in which the change from 1 to 2 is held back."""
    whole = Paced(policy, **more)
    await whole.publisher.publish(tree("a: 1", other="a: 1"))
    subscribed = await whole.held()
    await whole.publisher.publish(tree("a: 2", other="a: 2"))
    return whole, subscribed


# A change is held back.


async def test_a_change_is_held_back_and_its_candidate_has_it() -> None:
    whole, subscribed = await begun()

    assert whole.both == (1, 2)
    assert subscribed.deliveries == []
    [beginning] = whole.policy.beginnings
    stable, candidate = whole.store.find(SHOP), whole.store.find(CANDIDATE)
    assert stable is not None
    assert candidate is not None
    assert (beginning.key, beginning.stable, beginning.target) == (SHOP, stable.version, candidate.version)
    assert (beginning.plan, beginning.commit) == (PLAN, "a: 2")
    assert [[dict(layer.contents) for layer in each] for each in beginning.labels] == [[{"shop.yml": b"a: 1"}]]


async def test_nobody_has_a_candidate_before_it_is_recorded() -> None:
    whole, _ = await begun()

    assert whole.tracks.change(SHOP) == Held(whole.policy.beginnings[0].target, "waiting")
    assert whole.tracks.track(SHOP, "one", wants_candidate=True) is SHOP


async def test_a_beginning_names_the_commit_and_its_author() -> None:
    whole = Paced()
    await whole.publisher.publish(tree("a: 1"))
    await whole.held()
    from vortexd.core.model import Edits

    edits = Edits(1, {"shop.yml": (1, Origin("c" * 40, "ada", "2026-01-01T00:00:00Z"))})
    new = attrs.evolve(files("a: 2"), edits=edits)
    await whole.publisher.publish(Tree({"main": new}, "main"))

    [beginning] = whole.policy.beginnings
    assert (beginning.commit, beginning.author) == ("c" * 40, "ada")


async def test_only_keys_with_a_plan_are_held_back() -> None:
    whole = Paced()
    await whole.publisher.publish(tree("a: 1", other="a: 1"))
    subscribed = await whole.held(OTHER)
    await whole.publisher.publish(tree("a: 2", other="a: 2"))

    assert subscribed.values == [2]
    assert whole.policy.beginnings == []
    assert whole.tracks.change(SHOP) is None


async def test_a_key_that_nobody_uses_has_no_roll_out() -> None:
    whole = Paced()
    await whole.publisher.publish(tree("a: 1"))
    await whole.publisher.publish(tree("a: 2"))

    assert (await whole.reader.read(SHOP)).document == {"a": 2}
    assert whole.policy.beginnings == []


async def test_a_key_that_appears_or_ends_has_no_roll_out() -> None:
    whole, _ = Paced(), None
    await whole.publisher.publish(Tree({"main": files("a: 1"), "x": files("a: 1")}, "main"))
    key = attrs.evolve(SHOP, label="x")
    await whole.held(key)
    await whole.publisher.publish(tree("a: 1"))
    assert whole.version(key) is None
    await whole.publisher.publish(Tree({"main": files("a: 1"), "x": files("a: 2")}, "main"))

    assert whole.version(key) == 2
    assert whole.policy.beginnings == []


async def test_a_publication_that_does_not_change_the_document_leaves_the_roll_out_alone() -> None:
    whole, _ = await begun()
    await whole.publisher.roll_by([whole.policy.record(reach=PLACES)])
    rollout = whole.tracks.rollout(SHOP)
    whole.moves.clear()
    await whole.publisher.publish(tree("a: 2", other="a: 3"))

    assert whole.both == (1, 2)
    assert whole.tracks.rollout(SHOP) is rollout
    assert len(whole.policy.beginnings) == 1
    assert whole.moves == []


async def test_patterns_match_the_stable_version_alone() -> None:
    whole = Paced()
    await whole.publisher.publish(tree("a: 1"))
    await whole.held()
    watching = Subscribed()
    keys = await whole.pipeline.subscribe(watching, [parse_pattern("shop:*:*")], 9)
    await whole.publisher.publish(tree("a: 2"))
    await whole.publisher.roll_by([whole.policy.record(reach=PLACES)])

    assert list(keys) == [SHOP]
    assert watching.deliveries == []
    assert list(whole.registry.subscribers(CANDIDATE)) == []
    await whole.publisher.roll_by([whole.policy.record(status=Status.DONE, reach=None)])
    assert watching.values == [2]


async def test_the_candidate_is_no_key_that_people_see() -> None:
    whole, _ = await begun()

    assert list(whole.store) == [SHOP]
    assert list(await whole.reader.keys()) == [OTHER, SHOP]


# Trailers.


async def test_a_trailer_of_a_new_commit_is_passed_to_the_policy() -> None:
    whole = Paced(Policy(is_on=False))
    await whole.publisher.publish(tree("a: 1", {"c1": ("9,100",)}))
    await whole.held()
    await whole.publisher.publish(tree("a: 2", {"c1": ("9,100",), "c2": ("5,100",)}))

    assert whole.both == (1, 2)
    assert (SHOP, ["5,100"]) in whole.policy.asked


async def test_without_a_rule_and_a_trailer_the_module_is_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "vortexd.pipeline.pacing", None)
    whole, subscribed = await begun(Policy(is_on=False))
    await whole.publisher.roll_by([])

    assert subscribed.values == [2]
    assert whole.policy.asked == []


# Records.


async def test_a_record_lets_the_instances_that_it_reaches_have_the_candidate() -> None:
    whole, subscribed = await begun()
    await whole.publisher.roll_by([whole.policy.record(reach=PLACES)])

    assert whole.tracks.track(SHOP, "one") == CANDIDATE
    assert whole.moves == [([SHOP], 2)]
    assert whole.both == (1, 2)
    assert subscribed.deliveries == []


@pytest.mark.parametrize("status", [Status.HALTED, Status.ABORTED])
async def test_a_roll_out_that_is_halted_gives_all_instances_the_stable_version(status: Status) -> None:
    whole, _ = await begun()
    await whole.publisher.roll_by([whole.policy.record(reach=PLACES)])
    await whole.publisher.roll_by([whole.policy.record(reach=None, status=status, revision=1)])

    assert whole.tracks.track(SHOP, "one", wants_candidate=True) is SHOP
    assert [keys for keys, _ in whole.moves] == [[SHOP], [SHOP]]
    assert whole.both == (1, 2)
    # The fleet shows that there is a change which no instance has.
    assert whole.tracks.change(SHOP) == Held(whole.policy.beginnings[0].target, status.value)


async def test_a_recorded_change_waits_until_its_step_begins() -> None:
    whole, _ = await begun()
    await whole.publisher.roll_by([whole.policy.record(reach=None)])

    assert whole.tracks.change(SHOP) == Held(whole.policy.beginnings[0].target, "waiting")


async def test_a_change_after_a_halt_waits_although_the_roll_out_of_the_one_before_has_stopped() -> None:
    whole, _ = await begun()
    await whole.publisher.roll_by([whole.policy.record(reach=None, status=Status.HALTED)])
    await whole.publisher.publish(tree("a: 3"))

    last = whole.policy.beginnings[-1].target
    assert last != whole.policy.beginnings[0].target
    assert whole.tracks.change(SHOP) == Held(last, "waiting")


@pytest.mark.parametrize("status", [Status.HALTED, Status.ABORTED, Status.DONE])
async def test_a_reach_counts_only_while_the_roll_out_runs(status: Status) -> None:
    whole, _ = await begun()
    await whole.publisher.roll_by([whole.policy.record(reach=PLACES, status=status)])

    assert whole.tracks.track(SHOP, "one") is SHOP


async def test_at_the_end_all_clients_have_the_target_and_nothing_is_left() -> None:
    whole, subscribed = await begun()
    running = whole.policy.record(reach=PLACES)
    await whole.publisher.roll_by([running])
    done = attrs.evolve(running, status=Status.DONE, stable=running.target, reach=None, labels=((files("a: 2"),),))
    await whole.publisher.roll_by([done])

    assert subscribed.values == [2]
    assert whole.both == (2, None)
    assert CANDIDATE not in whole.store
    assert whole.tracks.change(SHOP) is None
    assert whole.store.state is not None
    assert not whole.store.state.stable
    assert len(whole.policy.beginnings) == 1


async def test_connections_move_after_the_target_was_committed_and_before_the_candidate_ends() -> None:
    whole, _ = await begun()
    await whole.publisher.roll_by([whole.policy.record(reach=PLACES)])
    whole.moves.clear()
    seen: list[tuple[Any, Any]] = []

    async def moved(_: Collection[Key]) -> None:
        seen.append(whole.both)

    whole.publisher.retrack_by(moved)
    await whole.publisher.roll_by([whole.policy.record(reach=None, status=Status.DONE)])

    assert seen == [(2, 2)]


async def test_a_change_that_comes_back_to_the_stable_version_ends_the_roll_out() -> None:
    whole, subscribed = await begun()
    await whole.publisher.roll_by([whole.policy.record(reach=PLACES)])
    reached = Subscribed()
    whole.registry.add(reached, CANDIDATE)
    await whole.publisher.publish(tree("a: 1"))

    assert reached.values == [1]
    assert subscribed.deliveries == []
    assert whole.both == (1, None)
    assert whole.tracks.change(SHOP) is None
    over = whole.policy.beginnings[-1]
    assert over.stable == over.target == whole.policy.beginnings[0].stable


async def test_another_change_begins_again_from_the_stable_version_and_nobody_has_a_third_one() -> None:
    whole, subscribed = await begun()
    await whole.publisher.roll_by([whole.policy.record(reach=PLACES)])
    whole.moves.clear()
    await whole.publisher.publish(tree("a: 3"))

    assert whole.both == (1, 3)
    # All connections had left the candidate before it changed.
    assert whole.moves == [([SHOP], 2)]
    assert whole.tracks.track(SHOP, "one", wants_candidate=True) is SHOP
    first, second = whole.policy.beginnings
    assert (first.stable, second.stable) == (first.stable, first.stable)
    assert second.target != first.target
    assert second.labels == first.labels
    assert subscribed.deliveries == []


async def test_a_record_of_another_target_reaches_nobody_until_this_worker_has_it() -> None:
    whole, _ = await begun()
    first = whole.policy.record(reach=PLACES)
    await whole.publisher.publish(tree("a: 3"))
    await whole.publisher.roll_by([first])
    assert whole.tracks.track(SHOP, "one") is SHOP
    await whole.publisher.roll_by([whole.policy.record(reach=PLACES)])

    assert whole.tracks.track(SHOP, "one") == CANDIDATE
    assert whole.both == (1, 3)


async def test_a_worker_that_reads_the_change_later_follows_the_record_and_begins_nothing() -> None:
    whole, _ = await begun()
    record = whole.policy.record(reach=PLACES)
    late = Paced()
    await late.publisher.publish(tree("a: 1"))
    subscribed = await late.held()
    await late.publisher.roll_by([record])
    assert (late.both, late.tracks.track(SHOP, "one")) == ((1, 1), SHOP)
    await late.publisher.publish(tree("a: 2"))

    assert late.both == (1, 2)
    assert late.tracks.track(SHOP, "one") == CANDIDATE
    assert late.policy.beginnings == []
    assert subscribed.deliveries == []


async def test_a_worker_that_reads_the_change_after_the_end_gives_it_to_all_at_once() -> None:
    whole, _ = await begun()
    running = whole.policy.record()
    done = attrs.evolve(running, status=Status.DONE, stable=running.target, labels=((files("a: 2"),),))
    late = Paced()
    await late.publisher.publish(tree("a: 1"))
    subscribed = await late.held()
    await late.publisher.roll_by([done])
    assert late.both == (1, None)
    await late.publisher.publish(tree("a: 2"))

    assert subscribed.values == [2]
    assert late.policy.beginnings == []


async def test_a_revert_that_another_worker_reads_first_gives_nobody_the_candidate() -> None:
    whole, subscribed = await begun()
    running = whole.policy.record(reach=PLACES)
    await whole.publisher.roll_by([running])
    over = attrs.evolve(running, status=Status.DONE, target=running.stable, reach=None)
    await whole.publisher.roll_by([over])
    before, track = whole.both, whole.tracks.track(SHOP, "one", wants_candidate=True)
    await whole.publisher.publish(tree("a: 1"))

    assert (before, track) == ((1, 2), SHOP)
    assert whole.both == (1, None)
    assert subscribed.deliveries == []
    assert len(whole.policy.beginnings) == 1


async def test_a_worker_that_has_not_read_the_target_at_the_end_serves_it_from_the_record() -> None:
    whole, _ = await begun()
    running = whole.policy.record(reach=PLACES)
    done = attrs.evolve(running, status=Status.DONE, stable=running.target, reach=None, labels=((files("a: 2"),),))
    late = Paced()
    await late.publisher.publish(tree("a: 1"))
    subscribed = await late.held()
    await late.publisher.roll_by([running])
    await late.publisher.roll_by([done])
    before = late.both
    await late.publisher.publish(tree("a: 2"))

    assert (before, late.both) == ((2, 1), (2, None))
    assert subscribed.values == [2]
    assert late.policy.beginnings == []
    assert late.tracks.change(SHOP) is None


async def test_the_files_of_the_record_decide_at_the_end_if_this_worker_makes_another_version_of_them() -> None:
    """Two servers may have other overrides for a moment."""
    whole, subscribed = await begun()
    running = whole.policy.record(reach=PLACES)
    await whole.publisher.roll_by([running])
    other = attrs.evolve(running, target="e" * 16, stable="e" * 16, labels=((files("a: 2"),),))
    await whole.publisher.roll_by([attrs.evolve(other, status=Status.DONE, reach=None)])

    assert whole.both == (2, None)
    assert subscribed.values == [2]


async def test_the_end_of_a_roll_out_leaves_the_next_change_held_back() -> None:
    """Another worker has ended the roll-out to 2, and this one has read 3 already."""
    whole, subscribed = await begun()
    running = whole.policy.record(reach=PLACES)
    await whole.publisher.roll_by([running])
    await whole.publisher.publish(tree("a: 3"))
    done = attrs.evolve(running, status=Status.DONE, stable=running.target, reach=None, labels=((files("a: 2"),),))
    await whole.publisher.roll_by([done])

    assert whole.both == (2, 3)
    assert subscribed.values == [2]
    assert whole.tracks.change(SHOP) == Held(whole.policy.beginnings[-1].target, "waiting")


async def test_a_record_that_is_gone_ends_the_roll_out() -> None:
    whole, subscribed = await begun()
    await whole.publisher.roll_by([whole.policy.record(reach=PLACES)])
    await whole.publisher.roll_by([])

    assert subscribed.values == [2]
    assert whole.both == (2, None)


async def test_what_is_not_recorded_yet_survives_the_records_of_other_keys() -> None:
    whole, subscribed = await begun()
    await whole.publisher.roll_by([])

    assert whole.both == (1, 2)
    assert subscribed.deliveries == []


# Restarts.


async def restarted(record: Rollout, text: str, **more: Any) -> Paced:
    whole = Paced(**more)
    await whole.publisher.roll_by([record])
    await whole.publisher.publish(tree(text, other="a: 1"))
    return whole


async def test_after_a_restart_a_roll_out_goes_on() -> None:
    whole, _ = await begun()
    after = await restarted(whole.policy.record(reach=PLACES), "a: 2")

    assert after.both == (1, 2)
    assert after.tracks.track(SHOP, "one") == CANDIDATE
    assert after.policy.beginnings == []
    assert (await after.reader.read(SHOP)).document == {"a": 1}


async def test_after_a_restart_a_halted_roll_out_stays_halted() -> None:
    whole, _ = await begun()
    after = await restarted(whole.policy.record(status=Status.HALTED), "a: 2")

    assert after.both == (1, 2)
    assert after.tracks.track(SHOP, "one", wants_candidate=True) is SHOP


async def test_a_change_that_came_during_a_restart_is_held_back() -> None:
    whole, _ = await begun()
    begun_ = whole.policy.beginnings[0]
    done = record_of(attrs.evolve(begun_, target=begun_.stable))
    after = await restarted(done, "a: 2")

    assert after.both == (1, 2)
    [beginning] = after.policy.beginnings
    assert (beginning.stable, beginning.target) == (begun_.stable, begun_.target)


async def test_a_restart_without_a_change_begins_nothing() -> None:
    whole, _ = await begun()
    begun_ = whole.policy.beginnings[0]
    after = await restarted(record_of(attrs.evolve(begun_, target=begun_.stable)), "a: 1")

    before = after.both
    assert after.policy.beginnings == []
    assert after.tracks.change(SHOP) is None
    # It is held, so the next change is held back although nobody has asked for the key.
    await after.publisher.publish(tree("a: 2"))
    assert (before, after.both) == ((1, None), (1, 2))


async def test_a_change_of_the_candidate_during_a_restart_begins_again() -> None:
    whole, _ = await begun()
    record = whole.policy.record(reach=PLACES)
    after = await restarted(record, "a: 3")

    assert after.both == (1, 3)
    [beginning] = after.policy.beginnings
    assert (beginning.stable, beginning.plan) == (record.stable, record.plan)
    assert after.tracks.track(SHOP, "one") is SHOP


async def test_a_revert_during_a_restart_ends_the_roll_out() -> None:
    whole, _ = await begun()
    after = await restarted(whole.policy.record(reach=PLACES), "a: 1")

    assert after.both == (1, None)
    [over] = after.policy.beginnings
    assert over.stable == over.target


async def test_other_overrides_after_a_restart_begin_nothing() -> None:
    whole, _ = await begun()
    begun_ = whole.policy.beginnings[0]
    after = Paced()
    await after.publisher.resolve_by(None, overrides_of({"b": "7"}))
    await after.publisher.roll_by([record_of(attrs.evolve(begun_, target=begun_.stable))])
    await after.publisher.publish(tree("a: 1"))

    assert after.policy.beginnings == []
    assert (await after.reader.read(SHOP)).document == {"a": 1, "b": "7"}


# Pins, overrides, the gate, and failures.


def pin(text: str) -> Pin:
    return Pin("p1", SHOP, "0" * 16, None, "incident", "ada", Term(0.0), ((files(text),),))


async def test_a_pin_counts_for_all_clients_at_once_and_ends_the_roll_out() -> None:
    whole, subscribed = await begun()
    await whole.publisher.roll_by([whole.policy.record(reach=PLACES)])
    await whole.publisher.pin_by([pin("a: 7")])

    assert subscribed.values == [7]
    assert whole.both == (7, None)
    assert whole.tracks.change(SHOP) is None
    assert whole.policy.beginnings[-1].target == whole.policy.beginnings[-1].stable


async def test_a_change_under_a_pin_begins_nothing() -> None:
    whole = Paced()
    await whole.publisher.publish(tree("a: 1"))
    await whole.held()
    await whole.publisher.pin_by([pin("a: 1")])
    await whole.publisher.publish(tree("a: 2"))

    assert whole.version() == 1
    assert whole.policy.beginnings == []


async def test_the_end_of_a_pin_is_a_change_that_is_held_back() -> None:
    whole = Paced()
    await whole.publisher.publish(tree("a: 1"))
    subscribed = await whole.held()
    await whole.publisher.pin_by([pin("a: 1")])
    await whole.publisher.publish(tree("a: 2"))
    await whole.publisher.pin_by([])

    assert whole.both == (1, 2)
    assert subscribed.deliveries == []
    assert [each.target != each.stable for each in whole.policy.beginnings] == [True]


async def test_other_overrides_count_for_both_versions_and_the_roll_out_begins_again() -> None:
    whole, _ = await begun()
    await whole.publisher.roll_by([whole.policy.record(reach=PLACES)])
    await whole.publisher.resolve_by(None, overrides_of({"b": "7"}))

    assert whole.both == (1, 2)
    stable, candidate = whole.store.find(SHOP), whole.store.find(CANDIDATE)
    assert stable is not None
    assert candidate is not None
    assert (stable.document["b"], candidate.document["b"]) == ("7", "7")
    last = whole.policy.beginnings[-1]
    assert (last.stable, last.target) == (stable.version, candidate.version)
    assert whole.tracks.track(SHOP, "one") is SHOP


async def test_the_two_versions_know_each_other_so_a_move_is_a_diff() -> None:
    whole, _ = await begun()
    stable, candidate = whole.store.find(SHOP), whole.store.find(CANDIDATE)
    assert stable is not None
    assert candidate is not None
    there = await whole.pipeline.catch_up(CANDIDATE, stable.version)
    back = await whole.pipeline.catch_up(SHOP, candidate.version)

    assert [json.loads(each.payload)["diff"][0]["value"] for each in (there, back)] == [2, 1]
    assert (there.new_version, back.new_version) == (candidate.version, stable.version)


async def test_a_broken_candidate_keeps_its_last_good_content() -> None:
    whole, _ = await begun()
    await whole.publisher.roll_by([whole.policy.record(reach=PLACES)])
    with capture_logs():
        await whole.publisher.publish(tree("a: ["))

    assert whole.both == (1, 2)
    assert whole.tracks.track(SHOP, "one") == CANDIDATE


async def test_the_end_of_the_label_ends_both() -> None:
    whole, subscribed = await begun()
    await whole.publisher.roll_by([whole.policy.record(reach=PLACES)])
    await whole.publisher.publish(Tree({"x": files("a: 1")}, "x"))

    assert whole.both == (None, None)
    assert [each.new_version for each in subscribed.deliveries] == [None]
    assert whole.tracks.change(SHOP) is None


async def test_the_stable_version_has_the_commit_of_its_files() -> None:
    whole, _ = await begun()
    stable, candidate = whole.store.find(SHOP), whole.store.find(CANDIDATE)

    assert stable is not None
    assert candidate is not None
    assert (stable.is_stable, candidate.is_stable) == (True, False)
    assert (stable.revision, candidate.revision) == ("a: 1", "a: 2")


async def test_other_limits_parse_the_files_of_the_stable_version_anew() -> None:
    from vortexd.settings.formats import FormatSettings

    whole, _ = await begun()
    await whole.publisher.roll_by([whole.policy.record(reach=PLACES)])
    await whole.publisher.parse_by(FormatSettings(depth=9))

    assert whole.both == (1, 2)
    assert whole.tracks.track(SHOP, "one") == CANDIDATE
    assert len(whole.policy.beginnings) == 1


async def test_a_former_document_whose_files_are_not_known_is_replaced_for_all_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = Paced()
    await whole.publisher.publish(tree("a: 1"))
    subscribed = await whole.held()
    monkeypatch.setattr("vortexd.pipeline.pacing.files_of", lambda *_: ((files("a: 9"),),))
    with capture_logs() as logs:
        await whole.publisher.publish(tree("a: 2"))

    assert subscribed.values == [2]
    assert whole.policy.beginnings == []
    [event] = [each for each in logs if each["event"] == "roll-out not possible"]
    assert (event["log_level"], event["key"]) == ("warning", "shop:default:main")
