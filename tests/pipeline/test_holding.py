"""Single applications that the gate holds back, while the others of their label are published."""

import json
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from vortexd.core.errors import FormatError
from vortexd.core.model import Files, Key, Tree
from vortexd.core.patterns import parse_pattern
from vortexd.core.term import Term
from vortexd.gate.decision import Kind, Person
from vortexd.gate.finding import Failure, Refusal
from vortexd.gate.gate import Rules
from vortexd.gate.schemas import Schema
from vortexd.pins.pin import Pin
from vortexd.pipeline.holding import is_of
from vortexd.settings.formats import FormatSettings

from ..wiring import Wired
from .test_gated import Memory, documents, events, files, in_process, judged, trees

__all__ = ["in_process", "judged"]  # fixtures

A = Key("a", "default", "main")
B = Key("b", "default", "main")
C = Key("c", "default", "main")
ADA = Person("ada", "token", "192.0.2.1")
PORT = {"properties": {"port": {"type": "integer"}}}


def rules(pattern: str = "*", schema: Any = PORT, **more: Any) -> Rules:
    schemas = {} if schema is None else {"s.json": Schema("s.json", json.dumps(schema), "/etc/s.json")}
    return Rules((parse_pattern(pattern),), schemas, **{"is_by_application": True, **more})


def tree(revision: str | None = None, /, **contents: str) -> Tree:
    return trees(main=files(revision, **contents))


def with_schemas(revision: str, schemas: dict[str, Any], **contents: str) -> Tree:
    found = files(revision, **contents)
    more = {f"{name}.schema.json": json.dumps(each).encode() for name, each in schemas.items()}
    return trees(main=attrs.evolve(found, contents={**found.contents, **more}))


class Subscribed:
    """Notes what is delivered."""

    def __init__(self) -> None:
        self.deliveries: list[Any] = []

    def deliver(self, delivery: object) -> None:
        self.deliveries.append(delivery)


def held(whole: Wired, label: str = "main") -> set[str]:
    assert whole.store.state is not None
    return {str(key) for key in whole.store.state.held.get(label, ())}


def applications(whole: Wired, label: str = "main") -> tuple[str, ...]:
    return whole.reader.refusals[label].applications


async def broken(whole: Wired | None = None) -> Wired:
    """Application a broke the rules with c2, and b didn't."""
    whole = whole or Wired(rules=[rules()], now=lambda: 7.0)
    await whole.publisher.publish(tree("c1", a="port: 1", a_prod="x: 1", b="port: 1"))
    await whole.publisher.publish(tree("c2", a="port: hunter2", a_prod="x: 2", b="port: 2", c="port: 2"))
    return whole


A_PROD = attrs.evolve(A, profile="prod")


async def test_the_refused_application_keeps_its_files_and_others_are_published() -> None:
    with capture_logs() as logs:
        whole = await broken()

    found = await documents(whole, A, A_PROD, B, C)
    assert [{"port": 1}, {"port": 1, "x": 1}, {"port": 2}, {"port": 2}] == found
    assert ["c1", "c2"] == [(await whole.reader.read(key)).revision for key in (A, B)]
    assert {"a:default:main", "a:prod:main"} == held(whole)
    refusal = whole.reader.refusals["main"]
    assert ("main", "c2", 2, None, 7.0, ("a",)) == (
        refusal.label,
        refusal.state,
        refusal.count,
        refusal.failure,
        refusal.since,
        refusal.applications,
    )
    [event] = events(logs, "applications held back", "label held back")
    assert {
        "event": "applications held back",
        "log_level": "warning",
        "label": "main",
        "state": "c2",
        "applications": ["a"],
        "applications_count": 1,
        "findings": [*map(str, refusal.findings)],
        "findings_count": 2,
        "consequence": "their keys keep their former state; other applications and labels are published",
    } == event
    assert "hunter2" not in str(logs)
    metrics = whole.metrics.render()
    assert b"vortexd_labels_held_back 1.0" in metrics
    assert b"vortexd_applications_held_back 1.0" in metrics
    decision = whole.decisions[-1]
    assert (Kind.REFUSED, "c2", ("a",)) == (decision.kind, decision.state, decision.applications)


async def test_only_keys_that_are_held_back_say_so_and_name_their_own_application() -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(tree("c1", a="port: 1", b="port: 1", c="port: 1"))
    await whole.publisher.publish(tree("c2", a="port: x", b="port: x", c="port: 2"))

    [refusal] = whole.reader.refusals_for(A)
    assert ("a",) == refusal.applications
    assert {"a"} == {each.key.application for each in refusal.findings}
    assert [] == whole.reader.refusals_for(C)
    assert [] == whole.reader.refusals_for(attrs.evolve(A, label="dev"))
    assert ("a", "b") == applications(whole)


async def test_subscribers_of_the_refused_application_get_nothing_and_others_get_their_change() -> None:
    whole, a, b = Wired(rules=[rules()]), Subscribed(), Subscribed()
    await whole.publisher.publish(tree(a="port: 1", b="port: 1"))
    for key, subscriber in ((A, a), (B, b)):
        whole.pipeline.hold(key)
        whole.registry.add(subscriber, key)
    await whole.publisher.publish(tree(a="port: x", b="port: 2"))
    assert (0, 1) == (len(a.deliveries), len(b.deliveries))
    await whole.publisher.publish(tree(a="port: 3", b="port: 2"))

    assert (1, 1) == (len(a.deliveries), len(b.deliveries))
    assert [{"port": 3}, {"port": 2}] == await documents(whole, A, B)


async def test_a_later_publication_that_mends_the_application_frees_all_its_keys() -> None:
    whole = await broken()
    with capture_logs() as logs:
        # a-prod.yml isn't altered by c3, but c2 has altered it.
        await whole.publisher.publish(tree("c3", a="port: 3", a_prod="x: 2", b="port: 2", c="port: 2"))

    assert [{"port": 3}, {"port": 3, "x": 2}] == await documents(whole, A, A_PROD)
    assert {} == whole.reader.refusals
    assert set() == held(whole)
    assert "c3" == (await whole.reader.read(A)).revision
    [event] = events(logs, "applications no longer held back", "label no longer held back")
    assert ("applications no longer held back", "c3", ["a"]) == (event["event"], event["state"], event["applications"])
    assert (Kind.RELEASED, ("a",)) == (whole.decisions[-1].kind, whole.decisions[-1].applications)
    assert b"vortexd_applications_held_back 0.0" in whole.metrics.render()


async def test_going_back_to_the_former_files_frees_the_application() -> None:
    whole = await broken()
    await whole.publisher.publish(tree("c3", a="port: 1", a_prod="x: 1", b="port: 2"))

    assert {} == whole.reader.refusals
    assert ["c3", "c3"] == [(await whole.reader.read(key)).revision for key in (A, B)]


async def test_a_broken_application_stays_held_back_while_others_go_on() -> None:
    whole = await broken()
    for number in (3, 4):
        new = tree(f"c{number}", a="port: hunter2", a_prod="x: 2", b=f"port: {number}")
        await whole.publisher.publish(new)
        assert [{"port": 1}, {"port": 1, "x": 1}, {"port": number}] == await documents(whole, A, A_PROD, B)
        assert (f"c{number}", ("a",)) == (
            whole.reader.refusals["main"].state,
            applications(whole),
        )


async def test_each_application_keeps_the_files_that_it_was_served_from_last() -> None:
    whole = await broken()
    await whole.publisher.publish(tree("c3", a="port: x", a_prod="x: 2", b="port: x", c="port: 3"))

    assert [{"port": 1}, {"port": 2}, {"port": 3}] == await documents(whole, A, B, C)
    assert ["c1", "c2", "c3"] == [(await whole.reader.read(key)).revision for key in (A, B, C)]
    assert ("a", "b") == applications(whole)
    await whole.publisher.publish(tree("c4", a="port: 4", a_prod="x: 2", b="port: x", c="port: 4"))

    assert [{"port": 4}, {"port": 2}, {"port": 4}] == await documents(whole, A, B, C)
    assert ("b",) == applications(whole)


async def test_the_same_files_are_not_judged_again(judged: list[str]) -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(tree("c1", a="port: 1", b="port: 1"))
    bad = tree("c2", a="port: x", b="port: 2")
    await whole.publisher.publish(bad)
    before = whole.store.state
    judged.clear()
    await whole.publisher.publish(attrs.evolve(bad, labels={**bad.labels, "dev": files(c="port: 1")}))

    assert ["c:default:dev"] == judged
    assert before is not None
    assert whole.store.state is not None
    assert before.held["main"] is whole.store.state.held["main"]
    assert [{"port": 1}, {"port": 2}] == await documents(whole, A, B)
    assert ("a",) == applications(whole)


async def test_a_finding_of_a_gate_for_labels_holds_back_the_whole_label() -> None:
    whole = Wired(rules=[rules("a"), rules("b", is_by_application=False)])
    await whole.publisher.publish(tree(a="port: 1", b="port: 1", c="port: 1"))
    await whole.publisher.publish(tree(a="port: x", b="port: x", c="port: 2"))

    assert [{"port": 1}, {"port": 1}, {"port": 1}] == await documents(whole, A, B, C)
    assert () == applications(whole)
    assert 2 == whole.reader.refusals["main"].count
    assert set() == held(whole)
    assert [whole.reader.refusals["main"].label] == [each.label for each in whole.reader.refusals_for(C)]


async def test_a_whole_label_is_held_back_with_its_applications_as_they_were() -> None:
    whole = Wired(rules=[rules("a"), rules("b", is_by_application=False)])
    await whole.publisher.publish(tree("c1", a="port: 1", b="port: 1", c="port: 1"))
    second = tree("c2", a="port: x", b="port: 2", c="port: 2")
    await whole.publisher.publish(second)
    await whole.publisher.publish(tree("c3", a="port: x", b="port: x", c="port: 3"))
    assert [{"port": 1}, {"port": 2}, {"port": 2}] == await documents(whole, A, B, C)
    assert () == applications(whole)
    # Its files are served already, but not those of a.
    await whole.publisher.publish(second)
    assert [{"port": 1}, {"port": 2}, {"port": 2}] == await documents(whole, A, B, C)
    assert ("a",) == applications(whole)


async def test_what_the_gate_cannot_judge_holds_back_the_whole_label(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = await broken()
    with monkeypatch.context() as patched:

        def fails(*_: object) -> Any:
            raise Failure("can't judge")

        patched.setattr("vortexd.gate.judge.Judge.findings", fails)
        await whole.publisher.publish(tree("c3", a="port: 3", a_prod="x: 2", b="port: 3", c="port: 2"))

    refusal = whole.reader.refusals["main"]
    assert ("can't judge", ()) == (refusal.failure, refusal.applications)
    assert [{"port": 1}, {"port": 2}] == await documents(whole, A, B)


async def test_a_new_label_is_held_back_as_a_whole() -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(tree(a="port: 1"))
    await whole.publisher.publish(trees(main=files(a="port: 1"), dev=files(a="port: x", b="port: 1")))

    assert () == applications(whole, "dev")
    assert whole.store.state is not None
    assert {"main"} == whole.store.state.labels.keys()


async def test_a_state_that_changes_a_schema_is_held_back_as_a_whole() -> None:
    """So a commit can't delete the gate of an application that is held back."""
    whole = Wired(rules=[rules(schema=None, has_source_schemas=True)])
    await whole.publisher.publish(with_schemas("c1", {"a": PORT}, a="port: 1", b="port: 1"))
    await whole.publisher.publish(with_schemas("c2", {}, a="port: x", b="port: 2"))
    assert () == applications(whole)
    await whole.publisher.publish(with_schemas("c3", {"a": PORT}, a="port: x", b="port: 3"))
    assert ("a",) == applications(whole)
    assert [{"port": 1}, {"port": 3}] == await documents(whole, A, B)
    await whole.publisher.publish(with_schemas("c4", {}, a="port: x", b="port: 4"))
    assert () == applications(whole)
    assert [{"port": 1}, {"port": 3}] == await documents(whole, A, B)
    # If no section reads the schemas in the source, they are no schemas.
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(with_schemas("c1", {"a": PORT}, a="port: 1"))
    await whole.publisher.publish(with_schemas("c2", {}, a="port: x"))
    assert ("a",) == applications(whole)


async def test_an_unusable_schema_holds_back_the_whole_label() -> None:
    whole = Wired(rules=[rules(schema=None, has_source_schemas=True)])
    await whole.publisher.publish(with_schemas("c1", {"a": PORT}, a="port: 1", b="port: 1"))
    await whole.publisher.publish(with_schemas("c2", {"a": PORT, "b": []}, a="port: x", b="port: 2"))

    assert () == applications(whole)
    assert [{"port": 1}, {"port": 1}] == await documents(whole, A, B)


async def test_an_administrator_lets_the_applications_through() -> None:
    whole = await broken()
    with capture_logs() as logs:
        await whole.publisher.let_through("main", "c2", ADA, "incident 7")

    assert [{"port": "hunter2"}, {"port": 2}] == await documents(whole, A, B)
    assert {} == whole.reader.refusals
    assert set() == held(whole)
    [event] = events(logs, "gate overridden")
    assert ["a"] == event["applications"]
    decision = whole.decisions[-1]
    assert (Kind.OVERRIDDEN, ADA, ("a",)) == (decision.kind, decision.person, decision.applications)


async def test_the_keys_of_the_application_stay_listed_as_they_were() -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(tree(a="port: 1", a_prod="x: 1", b="port: 1"))
    await whole.publisher.publish(tree(a="port: x", a_dev="x: 1", b="port: 1", b_dev="x: 1"))
    listed = {"a:default:main", "a:prod:main", "b:default:main", "b:dev:main"}
    assert listed == {str(key) for key in await whole.reader.keys()}
    names = whole.reader.names_in("main")
    assert {"a", "b"} == names.applications
    assert {"default", "prod", "dev"} == names.profiles
    assert {"a-prod", "a-dev", "b-dev"} <= names.beginnings
    await whole.publisher.publish(tree(a="port: 2", a_dev="x: 1", b="port: 1", b_dev="x: 1"))

    now = {"a:default:main", "a:dev:main", "b:default:main", "b:dev:main"}
    assert now == {str(key) for key in await whole.reader.keys()}


async def test_a_new_application_that_is_refused_is_not_listed() -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(tree(b="port: 1"))
    await whole.publisher.publish(tree(a="port: x", b="port: 2"))

    assert ["b:default:main"] == [str(key) for key in await whole.reader.keys()]
    assert [{"port": 2}] == await documents(whole, B)
    assert ("a",) == applications(whole)


async def test_a_key_that_is_asked_for_later_is_judged_at_its_first_read() -> None:
    """It is read from the new files, which the other applications are served from, too."""
    whole, late = await broken(), attrs.evolve(A, profile="late")
    with pytest.raises(FormatError, match="refused by the gate: type of s.json at /port"):
        await whole.reader.read(late)
    await whole.publisher.publish(tree("c3", a="port: 3", a_prod="port: x", b="port: 3"))
    assert ("a",) == applications(whole)
    assert [{"port": 3}] == await documents(whole, late)


async def test_a_key_in_use_without_files_of_its_own_keeps_its_files() -> None:
    whole, used = Wired(rules=[rules()]), attrs.evolve(A, profile="late")
    await whole.publisher.publish(tree(a="port: 1", b="port: 1"))
    await whole.reader.read(used)
    whole.pipeline.hold(used)
    await whole.publisher.publish(tree(a="port: x", b="port: 2"))

    assert [{"port": 1}] == await documents(whole, used)
    assert "a:late:main" in held(whole)


async def test_a_key_of_several_labels_keeps_the_files_of_the_label_that_is_refused() -> None:
    # The key itself breaks no rule, but another one of its application does.
    whole, several = Wired(rules=[rules("a:prod:main")]), attrs.evolve(A, label="main,dev")
    await whole.publisher.publish(trees(main=files(a="x: 1", a_prod="port: 1"), dev=files(application="y: 1")))
    await whole.reader.read(several)
    whole.pipeline.hold(several)
    await whole.publisher.publish(trees(main=files(a="x: 2", a_prod="port: x"), dev=files(application="y: 2")))

    assert [{"x": 1, "y": 2}] == await documents(whole, several)
    assert {"main"} == whole.reader.refusals.keys()
    assert set() == held(whole, "dev")


async def test_a_key_of_several_labels_that_is_refused_keeps_the_files_of_each_altered_label() -> None:
    schema = {"not": {"required": ["x", "y"]}}
    whole, several = Wired(rules=[rules(schema=schema)]), attrs.evolve(A, label="main,dev")
    await whole.publisher.publish(trees(main=files(a="x: 1"), dev=files(application="z: 1", b="port: 1")))
    await whole.reader.read(several)
    whole.pipeline.hold(several)
    await whole.publisher.publish(trees(main=files(a="x: 1"), dev=files(application="y: 1", b="port: 2")))

    assert {"dev"} == whole.reader.refusals.keys()
    dev = attrs.evolve(B, label="dev")
    assert [{"x": 1, "z": 1}, {"port": 2, "y": 1}] == await documents(whole, several, dev)
    assert {"a:default:main,dev"} == held(whole, "dev")


async def test_refusals_of_several_verdicts_about_one_label_count_together() -> None:
    whole, several = Wired(rules=[rules()]), Key("b", "default", "main,dev")
    await whole.publisher.publish(trees(main=files(a="port: 1", b="x: 1"), dev=files(b="y: 1", application="port: 1")))
    await whole.reader.read(several)
    whole.pipeline.hold(several)
    await whole.publisher.publish(trees(main=files(a="port: x", b="x: 2"), dev=files(b="y: 1", application="port: x")))

    assert {"main": ("a", "b"), "dev": ("b",)} == {
        label: each.applications for label, each in whole.reader.refusals.items()
    }
    assert [2, 2] == [whole.reader.refusals[label].count for label in ("main", "dev")]


async def test_a_command_that_refuses_holds_back_what_it_has_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    async def refuses(command: Any, configs: Any, seconds: float) -> bool:
        asked.append(sorted(str(each.key) for each in configs))
        return not any(b"bad" in each.body for each in configs)

    monkeypatch.setattr("vortexd.gate.command.accepts", refuses)
    whole = Wired(rules=[rules("b", None, command=("judge",)), rules("c", None, command=("judge",))])
    await whole.publisher.publish(tree(a="x: 1", b="x: 1", b_dev="y: 1", c="x: 1"))
    await whole.publisher.publish(tree(a="x: 2", b="x: bad", b_dev="y: 1", c="x: 2"))

    assert [{"x": 2}, {"x": 1}, {"x": 2}] == await documents(whole, A, B, C)
    assert ("b",) == applications(whole)


def pin(text: str) -> Pin:
    layer = Files({"a.yml": text.encode()}, root="file:/c/")
    return Pin("1", A, "v", None, "ada", "why", Term(0.0), ((layer,),))


async def test_a_pin_is_stronger_than_the_gate_and_its_end_serves_what_is_held() -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(tree(a="port: 1", b="port: 1"))
    await whole.publisher.pin_by([pin("port: 7")])
    await whole.publisher.publish(tree(a="port: x", b="port: 2"))
    assert [{"port": 7}, {"port": 2}] == await documents(whole, A, B)
    assert ("a",) == applications(whole)
    await whole.publisher.pin_by([])

    assert [{"port": 1}] == await documents(whole, A)


async def test_the_last_whole_state_is_remembered() -> None:
    memory = Memory()
    whole = Wired(rules=[rules()], accepted=memory)
    first = trees(main=files("c1", a="port: 1", b="port: 1"), dev=files("d1", a="port: 1"))
    await whole.publisher.publish(first)
    await whole.publisher.publish(
        trees(main=files("c2", a="port: x", b="port: 2"), dev=(dev := files("d2", a="port: 2")))
    )
    assert {"main": first.labels["main"], "dev": dev} == memory.noted[-1]
    await whole.publisher.publish(trees(main=files("c3", a="port: x", b="port: 3"), dev=dev))
    assert {"main": first.labels["main"], "dev": dev} == memory.noted[-1]
    last = trees(main=files("c4", a="port: 4", b="port: 3"), dev=dev)
    await whole.publisher.publish(last)

    assert last.labels == memory.noted[-1]


async def test_after_a_restart_the_application_has_the_remembered_files() -> None:
    memory = Memory(main=(first := files("c1", a="port: 1", b="port: 1")))
    whole = Wired(rules=[rules()], accepted=memory)
    await whole.publisher.publish(tree("c3", a="port: x", b="port: 3"))

    assert [{"port": 1}, {"port": 3}] == await documents(whole, A, B)
    assert ("a",) == applications(whole)
    assert {"main": first} == memory.noted[-1]
    await whole.publisher.publish(tree("c4", a="port: 4", b="port: 3"))
    assert [{"port": 4}] == await documents(whole, A)


async def test_a_label_that_comes_later_begins_with_its_remembered_files_beside_what_is_held() -> None:
    memory = Memory(dev=files("d1", a="port: 1", b="port: 1"))
    whole = await broken(Wired(rules=[rules()], accepted=memory))
    state = whole.store.state
    assert state is not None
    main = whole.store.served.tree.labels["main"]  # type: ignore[union-attr]
    await whole.publisher.publish(trees(main=main, dev=files("d2", a="port: x", b="port: 2")))

    dev = [attrs.evolve(key, label="dev") for key in (A, B)]
    assert [{"port": 1}, {"port": 2}, {"port": 1}, {"port": 2}] == await documents(whole, A, B, *dev)
    assert {"main", "dev"} == whole.reader.refusals.keys()
    listed = {str(key) for key in await whole.reader.keys()}
    assert {"a:default:main", "a:prod:main", "a:default:dev"} <= listed


async def test_other_rules_free_what_they_accept() -> None:
    whole = await broken()
    await whole.publisher.judge_by([rules("b")])
    assert [{"port": "hunter2"}, {"port": 2}] == await documents(whole, A, B)
    assert {} == whole.reader.refusals
    whole = await broken()
    await whole.publisher.judge_by([])

    assert [{"port": "hunter2"}, {"port": 2}] == await documents(whole, A, B)
    assert set() == held(whole)
    await whole.publisher.judge_by([rules()])
    assert {"main"} == whole.publisher.standing.keys()


async def test_rules_for_labels_hold_back_the_whole_label_from_now_on() -> None:
    whole = await broken()
    await whole.publisher.judge_by([rules(is_by_application=False)])

    # What is served already stays.
    assert [{"port": 1}, {"port": 2}] == await documents(whole, A, B)
    assert () == applications(whole)


async def test_other_limits_and_encryption_keys_leave_the_application_held_back() -> None:
    whole = await broken()
    await whole.publisher.parse_by(FormatSettings(depth=7))
    assert [{"port": 1}, {"port": 2}] == await documents(whole, A, B)
    await whole.publisher.resolve_by(None)

    assert [{"port": 1}, {"port": 2}] == await documents(whole, A, B)
    assert {"a:default:main", "a:prod:main"} == held(whole)


async def test_explanations_and_files_are_those_that_are_served() -> None:
    whole = await broken()
    explanation, version = await whole.reader.explain(A)
    assert (await whole.reader.read(A)).version == version
    assert "hunter2" not in str(explanation)
    [layer] = await whole.reader.files(A)
    assert b"port: 1" == layer.files.contents["a.yml"]


async def test_a_label_that_is_gone_takes_what_is_held_with_it() -> None:
    whole = await broken()
    await whole.publisher.publish(trees(dev=files(b="port: 1")))

    assert whole.store.state is not None
    assert {} == whole.store.state.held
    assert {} == whole.reader.refusals


async def test_a_broken_file_of_held_keys_is_no_broken_file_of_the_label() -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(tree(a="port: 1", b="port: 1"))
    await whole.publisher.publish(tree(a="port: [", b="port: 1"))
    assert ["a.yml"] == [each.path for each in whole.reader.broken_for(A)]
    await whole.publisher.publish(tree(a="port: x", b="port: ["))

    assert [("b.yml", 1)] == [(each.file.path, each.count) for each in await whole.reader.held_back()]
    assert ["a.yml"] == [each.path for each in whole.reader.broken_for(A)]
    assert [{"port": 1}] == await documents(whole, A)


async def test_without_a_refusal_nothing_is_held_and_no_metric_says_so() -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(tree(a="port: 1"))
    await whole.publisher.publish(tree(a="port: 2"))

    assert whole.store.state is not None
    assert not whole.store.state.held
    assert b"applications_held_back" not in whole.metrics.render()


@pytest.mark.parametrize(("application", "is_one"), [("a", True), ("b,a", True), ("b", False), ("aa", False)])
def test_a_key_with_several_names_belongs_to_each_of_them(application: str, is_one: bool) -> None:
    assert is_one == is_of(Key(application, "default", "main"), ("a",))
    assert is_of(Key("b,a", "default", "main"), ("b,a",))
    assert not is_of(Key("a", "default", "main"), ("b,a",))


def test_a_refusal_of_applications_is_another_one_than_that_of_the_label() -> None:
    assert Refusal("main", "c1", (), 1) != Refusal("main", "c1", (), 1, applications=("a",))


async def test_a_label_that_a_later_round_refuses_is_held_back_as_a_whole() -> None:
    """Only with the former files of dev, the key of both labels breaks a rule. Then main is to blame, too."""
    depends = {"dependentRequired": {"new": ["base"]}}
    by_label = [rules("c", is_by_application=False), rules("b", depends, is_by_application=False)]
    whole, several = Wired(rules=[rules("a"), *by_label]), attrs.evolve(B, label="main,dev")
    await whole.publisher.publish(
        trees(main=files(a="port: 1", application="x: 1"), dev=files(c="port: 1", b_x="z: 1"))
    )
    await whole.reader.read(several)
    whole.pipeline.hold(several)
    await whole.publisher.publish(
        trees(main=files(a="port: x", application="new: 1"), dev=files(c="port: x", b="base: 1"))
    )

    assert {"main": (), "dev": ()} == {label: each.applications for label, each in whole.reader.refusals.items()}
    assert ["a", "b"] == sorted(each.key.application for each in whole.reader.refusals["main"].findings)
    assert 2 == whole.reader.refusals["main"].count
    assert set() == held(whole)
    assert [{"port": 1, "x": 1}, {"x": 1}] == await documents(whole, A, several)


async def test_a_publication_that_is_cancelled_holds_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(tree(a="port: 1", b="port: 1"))
    bad = tree(a="port: x", b="port: 2")
    with monkeypatch.context() as patched, trio.CancelScope() as scope:

        async def cancelled(_: Tree) -> None:
            scope.cancel()
            await trio.lowlevel.checkpoint()

        patched.setattr(whole.order, "settle", cancelled)
        await whole.publisher.publish(bad)
    assert scope.cancelled_caught
    await whole.publisher.publish(bad)

    assert [{"port": 1}, {"port": 2}] == await documents(whole, A, B)


async def test_a_key_whose_former_files_break_the_rules_too_keeps_its_document() -> None:
    whole = Wired(rules=[rules()])
    late, other = attrs.evolve(A, profile="late"), attrs.evolve(B, profile="late")
    # This was served before the gate.
    await whole.publisher.publish(tree(a="port: x", b="port: 1"))
    await whole.publisher.pin_by([attrs.evolve(pin("port: 7"), key=late), attrs.evolve(pin("port: 7"), key=other)])
    for key in (late, other):
        await whole.reader.read(key)
        whole.pipeline.hold(key)
    await whole.publisher.pin_by([])
    # Nothing can be held back, so only the key that is refused keeps the document of its pin.
    assert [{"port": 7}, {"port": 1}] == await documents(whole, late, other)
    with trio.fail_after(10):
        await whole.publisher.publish(tree(a="port: y", b="port: 2"))

    assert [{"port": 7}, {"port": 2}] == await documents(whole, late, other)
    assert ("a",) == applications(whole)


async def test_another_label_leaves_the_list_of_what_is_held() -> None:
    whole = Wired(rules=[rules()], accepted=Memory(dev=files(c="port: 1")))
    await whole.publisher.publish(tree(a="port: 1", a_prod="x: 1", b="port: 1"))
    main = files(a="port: x", a_new="x: 1", b="port: 1")
    await whole.publisher.publish(trees(main=main))
    for dev in (files(c="port: 2"), files(c="port: 3")):
        await whole.publisher.publish(trees(main=main, dev=dev))
        listed = {str(key) for key in await whole.reader.keys()}
        assert {"a:default:main", "a:prod:main", "b:default:main", "c:default:dev"} == listed


async def test_what_a_key_gets_of_former_and_new_files_is_judged() -> None:
    schema = PORT | {"not": {"required": ["old", "new"]}}
    whole, several = Wired(rules=[rules(schema=schema)]), attrs.evolve(A, label="main,dev")
    await whole.publisher.publish(
        trees(main=files(a="old: 1", a_prod="port: 1"), dev=files(application="z: 1", b="port: 1"))
    )
    await whole.reader.read(several)
    whole.pipeline.hold(several)
    await whole.publisher.publish(
        trees(main=files(a="x: 1", a_prod="port: x"), dev=files(application="new: 1", b="port: 2"))
    )

    assert [{"old": 1, "z": 1}] == await documents(whole, several)
    assert {"main", "dev"} == whole.reader.refusals.keys()
    assert [{"port": 2, "new": 1}] == await documents(whole, attrs.evolve(B, label="dev"))


async def test_the_history_of_a_key_ends_with_the_files_that_are_served() -> None:
    whole = await broken(Wired(rules=[rules()], commits=NoCommits()))
    _, ((a,),) = await whole.reader._key_history(A)
    _, ((b,),) = await whole.reader._key_history(B)

    assert ["c1", "c2"] == [a.files.revision, b.files.revision]


class NoCommits:
    """Has no commits."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)
