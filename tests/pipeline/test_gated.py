"""Publications that the gate judges: what is held back, what stays, and what is judged when it is first read."""

import json
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import trio
from structlog.testing import capture_logs

from vortexd.core.errors import FormatError, RefusedLabel, RemoteError, ResolveError, UnknownLabel
from vortexd.core.model import Files, Key, PropertySource, Tree
from vortexd.core.patterns import parse_pattern
from vortexd.encryption.decryptor import Decryptor
from vortexd.gate import validation
from vortexd.gate.decision import Decision, Kind, Person
from vortexd.gate.finding import Failure, Refusal
from vortexd.gate.gate import Rules
from vortexd.gate.judge import Judge
from vortexd.gate.schemas import Schema
from vortexd.pipeline import publisher as module
from vortexd.pipeline.gated import state_of
from vortexd.settings.formats import FormatSettings

from ..fakes import wait_until
from ..wiring import Wired

BILLING = Key("billing", "prod", "main")
SHOP = Key("shop", "default", "main")
ADA = Person("ada", "token", "192.0.2.1")
PORT = {"properties": {"port": {"type": "integer"}}}


class InProcess:
    """Validates in this process."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def ask(self, request: Any, content: bytes = b"") -> Iterator[Any]:
        return validation.work(request, content)

    def close(self) -> None:
        pass

    kill = close


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vortexd.gate.judge.Isolated", InProcess)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that were validated, in order."""
    found: list[str] = []
    findings = Judge.findings

    def noting(judge: Judge, schemas: Any, checks: Any) -> Any:
        found.extend(str(each.config.key) for each in checks)
        return findings(judge, schemas, checks)

    monkeypatch.setattr(Judge, "findings", noting)
    return found


def rules(schema: Any = PORT, pattern: str = "*", **more: Any) -> Rules:
    schemas = {} if schema is None else {"s.json": Schema("s.json", json.dumps(schema), "/etc/s.json")}
    return Rules((parse_pattern(pattern),), schemas, **more)


def tree(revision: str | None = None, /, *, label: str = "main", **contents: str) -> Tree:
    return trees(**{label: files(revision, **contents)})


def files(revision: str | None = None, /, **contents: str) -> Files:
    named = {name.replace("_", "-") + ".yml": text.encode() for name, text in contents.items()}
    return Files(named, root="file:/c/", revision=revision)


def trees(**labels: Files) -> Tree:
    return Tree(labels, "main")


async def documents(whole: Wired, *keys: Key) -> list[Any]:
    return [(await whole.reader.read(key)).document for key in keys]


class Memory:
    """The accepted states of an earlier process, and those that were noted."""

    def __init__(self, **labels: Files) -> None:
        self.labels = labels
        self.noted: list[Any] = []
        self.refused: Any = {}

    def note(self, labels: Any) -> None:
        self.noted.append(labels)

    def forget(self) -> None:
        self.noted.append("forgotten")

    def note_refused(self, refused: Any) -> None:
        self.refused = refused

    async def recall_refused(self) -> Any:
        await trio.lowlevel.checkpoint()
        return self.refused

    async def recall(self, label: str, newest: Files) -> Files | None:
        await trio.lowlevel.checkpoint()
        found = self.labels.get(label)
        return newest if found is not None and found.contents == newest.contents else found


def events(logs: Any, *names: str) -> list[Any]:
    return [each for each in logs if each["event"] in names]


async def test_a_refused_label_keeps_its_files_and_says_why() -> None:
    whole = Wired(rules=[rules()], now=lambda: 7.0)
    await whole.publisher.publish(tree("c1", billing_prod="port: 1", shop="a: 1"))
    before = whole.store.served
    bad = tree("c2", billing_prod="x: 1\nport: hunter2", shop="a: 2", other="a: 3")
    with capture_logs() as logs:
        await whole.publisher.publish(bad)

    served = whole.store.served
    assert served is not None
    assert before is not None
    assert [{"port": 1}, {"a": 1}] == await documents(whole, Key("billing-prod", "default", "main"), SHOP)
    assert before.tree.labels == served.tree.labels
    assert before.listing.keys is served.listing.keys
    refusal = served.refusals["main"]
    assert ("main", "c2", 1, None, 7.0) == (
        refusal.label,
        refusal.state,
        refusal.count,
        refusal.failure,
        refusal.since,
    )
    assert "billing-prod:default:main: type of s.json at /port (billing-prod.yml:2)" == str(refusal.findings[0])
    [event] = events(logs, "label held back")
    assert {
        "event": "label held back",
        "log_level": "warning",
        "label": "main",
        "state": "c2",
        "findings": [str(refusal.findings[0])],
        "findings_count": 1,
        "consequence": "its keys keep their former state; other labels are published",
    } == event
    assert "hunter2" not in str(logs)
    assert b"vortexd_labels_held_back 1.0" in whole.metrics.render()
    # A client that may read one key isn't told about another, not even of the same application.
    about = Key("billing-prod", "default", "main")
    without = [attrs.evolve(refusal, findings=())]
    assert without == whole.reader.refusals_for(SHOP)
    assert without == whole.reader.refusals_for(attrs.evolve(about, profile="dev"))
    assert without == whole.reader.refusals_for(attrs.evolve(about, profile="default,dev"))
    assert without == whole.reader.refusals_for(attrs.evolve(about, application="shop,billing-prod"))
    assert [refusal] == whole.reader.refusals_for(about)
    assert [refusal] == whole.reader.refusals_for(attrs.evolve(about, label="dev,main"))
    assert [] == whole.reader.refusals_for(attrs.evolve(SHOP, label="dev"))


async def test_other_labels_are_published() -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(trees(main=files(shop="port: 1"), dev=files(shop="port: 1")))
    await whole.publisher.publish(trees(main=files(shop="port: x"), dev=files(shop="port: 2")))

    assert [{"port": 1}, {"port": 2}] == await documents(whole, SHOP, attrs.evolve(SHOP, label="dev"))
    assert {"main"} == whole.reader.refusals.keys()


async def test_what_is_published_is_logged_with_the_number_of_labels_that_are_held_back() -> None:
    whole = Wired(rules=[rules()])
    found = []
    for texts in (("1", "1", "1"), ("1", "x", "2"), ("x", "y", "3"), ("4", "4", "4")):
        labels = zip(("main", "dev", "qa"), texts, strict=True)
        with capture_logs() as logs:
            await whole.publisher.publish(trees(**{label: files(shop=f"port: {text}") for label, text in labels}))
        [event] = events(logs, "configuration published")
        found.append(event.get("labels_held_back"))

    assert [None, 1, 2, None] == found


async def test_a_corrected_label_is_published_and_that_is_logged() -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(tree("c1", shop="port: 1"))
    await whole.publisher.publish(tree("c2", shop="port: x"))
    with capture_logs() as logs:
        await whole.publisher.publish(tree("c3", shop="port: 3"))

    assert [{"port": 3}] == await documents(whole, SHOP)
    assert {} == whole.reader.refusals
    assert [{"event": "label no longer held back", "log_level": "info", "label": "main", "state": "c3"}] == events(
        logs, "label no longer held back"
    )


async def test_a_label_that_goes_back_is_no_longer_held_back() -> None:
    whole, first = Wired(rules=[rules()]), tree("c1", shop="port: 1")
    await whole.publisher.publish(first)
    await whole.publisher.publish(tree("c2", shop="port: x"))
    await whole.publisher.publish(first)

    assert {} == whole.reader.refusals


async def test_subscribers_get_nothing_of_a_refused_state() -> None:
    whole = Wired(rules=[rules()])
    deliveries: list[Any] = []

    class Subscribed:
        def deliver(self, delivery: object) -> None:
            deliveries.append(delivery)

    await whole.publisher.publish(tree(shop="port: 1"))
    whole.pipeline.hold(SHOP)
    whole.registry.add(Subscribed(), SHOP)
    await whole.publisher.publish(tree(shop="port: x"))
    assert [] == deliveries
    await whole.publisher.publish(tree(shop="port: 2"))

    assert 1 == len(deliveries)


async def test_keys_that_are_only_judged_are_no_changes() -> None:
    done: list[int] = []
    whole = Wired(rules=[rules()], on_publication=lambda publication: done.append(publication.changes))
    await whole.publisher.publish(tree(shop="port: 1", billing="port: 1"))
    whole.pipeline.hold(SHOP)
    await whole.publisher.publish(tree(shop="port: 2", billing="port: 2"))
    await whole.publisher.publish(tree(shop="port: 2", billing="port: 3"))

    assert [0, 1, 0] == done
    assert [SHOP] == [*whole.store]
    assert [{"port": 2}, {"port": 3}] == await documents(whole, SHOP, attrs.evolve(SHOP, application="billing"))


async def test_only_keys_that_change_are_judged(judged: list[str]) -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(tree(shop="port: 1", billing="port: 1", billing_prod="a: 1"))
    judged.clear()
    await whole.publisher.publish(tree(shop="port: 1", billing="port: 1", billing_prod="a: 2"))
    assert ["billing:prod:main"] == judged
    judged.clear()
    await whole.publisher.publish(tree(shop="port: 1", billing="port: 2", billing_prod="a: 2", new="a: 1"))
    assert ["billing:default:main", "billing:prod:main", "new:default:main"] == sorted(judged)
    judged.clear()
    # The same document in another form is no change.
    await whole.publisher.publish(tree(shop="port:   1", billing="port: 2", billing_prod="a: 2", new="a: 1"))
    assert [] == judged


async def test_keys_that_no_section_names_are_not_judged(judged: list[str]) -> None:
    whole = Wired(rules=[rules(pattern="billing")])
    await whole.publisher.publish(tree(shop="port: 1"))
    await whole.publisher.publish(tree(shop="port: x", billing="port: 1"))

    assert ["billing:default:main"] == judged
    assert [{"port": "x"}] == await documents(whole, SHOP)


async def test_a_key_in_use_without_files_of_its_own_is_judged() -> None:
    whole, key = Wired(rules=[rules(pattern="ghost")]), Key("ghost", "dev", "main")
    await whole.publisher.publish(tree(application="port: 1", shop="a: 1"))
    await whole.reader.read(key)
    whole.pipeline.hold(key)
    await whole.publisher.publish(tree(application="port: x", shop="a: 1"))

    assert ["ghost:dev:main"] == [str(each.key) for each in whole.reader.refusals["main"].findings]
    assert [{"port": 1}] == await documents(whole, key)


async def test_a_key_of_several_labels_is_judged_again_if_one_of_them_is_held_back() -> None:
    """Its document is made of the former files of one label, and the new files of the other."""
    schema = {"properties": {"port": {"type": "integer"}}, "dependentRequired": {"new": ["base"]}}
    whole, key = Wired(rules=[rules(schema, "mixed"), rules(PORT, "shop")]), Key("mixed", "default", "main,dev")
    before = trees(main=files(shop="a: 1", mixed="a: 1"), dev=files(other="b: 1"))
    await whole.publisher.publish(before)
    await whole.reader.read(key)
    whole.pipeline.hold(key)
    # On its own, each label is right, and `mixed` is right from both new labels.
    after = trees(main=files(shop="port: x", mixed="a: 1\nbase: 1"), dev=files(application="new: 1", other="b: 1"))
    await whole.publisher.publish(after)

    assert {"main", "dev"} == whole.reader.refusals.keys()
    assert [{"a": 1}] == await documents(whole, key)


async def test_decrypted_values_are_judged() -> None:
    class Opening(Decryptor):
        def __init__(self) -> None:
            pass

        def opened(self, sources: Any) -> Any:
            opened: dict[Any, Any] = {"{cipher}1": 1, "{cipher}x": "hunter2"}
            return tuple(
                attrs.evolve(
                    each, values={key: opened[value] for key, value in each.values.items()}, encrypted=each.values
                )
                for each in sources
            )

        def take_failures(self) -> list[Any]:
            return []

    whole = Wired(rules=[rules()], decryptor=Opening())
    await whole.publisher.publish(tree(shop="port: '{cipher}1'"))
    assert {} == whole.publisher.gated.standing
    await whole.publisher.publish(tree(shop="port: '{cipher}x'"))

    assert ["/port"] == [each.pointer for each in whole.reader.refusals["main"].findings]


async def test_a_placeholder_is_judged_as_it_is_served() -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(tree(shop="port: 1"))
    await whole.publisher.publish(tree(shop="port: ${PORT}"))

    assert {"main"} == whole.reader.refusals.keys()


async def test_a_new_label_that_is_refused_is_not_served() -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(trees(main=files(shop="port: 1")))
    with capture_logs() as logs:
        await whole.publisher.publish(trees(main=files(shop="port: 2"), dev=files(shop="port: x")))

    assert [{"port": 2}] == await documents(whole, SHOP)
    assert {"dev"} == whole.reader.refusals.keys()
    with pytest.raises(RefusedLabel) as caught:
        await whole.reader.read(attrs.evolve(SHOP, label="dev"))
    assert (503, "the gate holds this label back, and no earlier state of it is known") == (
        caught.value.status,
        caught.value.reason,
    )
    assert "shop:default:dev" in caught.value.details["X-Vortex-Held-Back"]
    # A client that asks for another application isn't told about this one.
    with pytest.raises(RefusedLabel) as caught:
        await whole.reader.read(Key("billing", "default", "main,dev"))
    assert "shop" not in caught.value.details["X-Vortex-Held-Back"]
    assert "shop" not in caught.value.reason
    [event] = events(logs, "label held back")
    assert "it isn't served, because it has no earlier state; other labels are published" == event["consequence"]
    await whole.publisher.publish(trees(main=files(shop="port: 2"), dev=files(shop="port: 3")))
    assert [{"port": 3}] == await documents(whole, attrs.evolve(SHOP, label="dev"))


async def test_a_label_that_is_gone_is_not_held_back() -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(trees(main=files(shop="port: 1"), dev=files(shop="port: 1")))
    await whole.publisher.publish(trees(main=files(shop="port: 1"), dev=files(shop="port: x")))
    await whole.publisher.publish(trees(main=files(shop="port: 1")))

    assert {} == whole.reader.refusals
    with pytest.raises(UnknownLabel):
        await whole.reader.read(attrs.evolve(SHOP, label="dev"))


async def test_a_state_that_is_held_back_is_judged_once(judged: list[str]) -> None:
    whole, bad = Wired(rules=[rules()]), files("c2", shop="port: x")
    await whole.publisher.publish(trees(main=files(shop="port: 1"), dev=files(shop="port: 1")))
    await whole.publisher.publish(trees(main=bad, dev=files(shop="port: 2")))
    refusal = whole.reader.refusals["main"]
    judged.clear()
    with capture_logs() as logs:
        await whole.publisher.publish(trees(main=bad, dev=files(shop="port: 3")))

    assert ["shop:default:dev"] == judged
    assert refusal is whole.reader.refusals["main"]
    assert [] == events(logs, "label held back", "label no longer held back")


async def test_a_further_state_that_is_refused_is_reported_with_its_own_time() -> None:
    now = iter(range(100))
    whole = Wired(rules=[rules()], now=lambda: float(next(now)))
    await whole.publisher.publish(tree("c1", shop="port: 1"))
    await whole.publisher.publish(tree("c2", shop="port: x"))
    first = whole.reader.refusals["main"]
    with capture_logs() as logs:
        await whole.publisher.publish(tree("c3", shop="port: y"))

    assert ["c3"] == [each["state"] for each in events(logs, "label held back")]
    assert whole.reader.refusals["main"].since > first.since


# A gate that can't judge.


async def test_a_gate_that_cannot_judge_refuses_and_tries_again(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    done = trio.Event()
    whole = Wired(rules=[rules()], on_publication=lambda _: done.set())
    await whole.publisher.publish(tree("c1", shop="port: 1"))

    def failing(*_: object) -> Any:
        raise Failure("can't validate: it hangs")

    findings = Judge.findings
    monkeypatch.setattr(Judge, "findings", failing)
    with capture_logs() as logs:
        await whole.publisher.publish(tree("c2", shop="port: 2"))
    assert [{"port": 1}] == await documents(whole, SHOP)
    assert "can't validate: it hangs" == whole.reader.refusals["main"].failure
    assert ["the gate can't validate: it hangs"] == [each["failure"] for each in events(logs, "label held back")]
    since = whole.reader.refusals["main"].since

    monkeypatch.setattr(module, "_AGAIN", 0.0)
    nursery.start_soon(whole.publisher.run)
    done = trio.Event()
    await done.wait()
    assert since == whole.reader.refusals["main"].since
    monkeypatch.setattr(Judge, "findings", findings)
    while whole.reader.refusals:
        done = trio.Event()
        await done.wait()

    assert [{"port": 2}] == await documents(whole, SHOP)


@pytest.mark.parametrize("begin", ["publish", "judge_by", "resolve_by"])
async def test_what_could_not_be_examined_is_not_said_to_break_the_rules_and_examined_again(
    begin: str, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = []

    def failing(*_: object) -> Any:
        failures.append(1)
        raise Failure("can't start the command judge: no such file or directory")

    findings = Judge.findings
    if begin == "publish":
        monkeypatch.setattr(Judge, "findings", failing)
    whole = Wired(rules=[rules()])
    with capture_logs() as logs:
        await whole.publisher.publish(tree("c1", shop="port: x"))
        monkeypatch.setattr(Judge, "findings", failing)
        if begin == "judge_by":
            await whole.publisher.judge_by([rules()])
        elif begin == "resolve_by":
            await whole.publisher.resolve_by(None)
    assert {"main"} == whole.publisher.gated.unexamined
    assert (0, ()) == (whole.publisher.standing["main"].count, whole.publisher.standing["main"].findings)
    [event] = events(logs, "served configuration not judged")
    assert {
        "event": "served configuration not judged",
        "log_level": "warning",
        "label": "main",
        "failure": "the gate can't start the command judge: no such file or directory",
        "consequence": "it stays served; the gate judges it again in 5 to 60 s",
    } == event
    monkeypatch.setattr(module, "_AGAIN", 0.0)
    failures.clear()
    with capture_logs() as logs:
        nursery.start_soon(whole.publisher.run)
        await wait_until(lambda: len(failures) > 1)
        monkeypatch.setattr(Judge, "findings", findings)
        await wait_until(lambda: not whole.publisher.gated.unexamined)

    # That it still can't judge isn't reported again. Nothing is published for it.
    assert [] == events(logs, "served configuration not judged", "configuration published")
    assert 1 == len(events(logs, "served configuration breaks the gate's rules"))
    assert 1 == whole.publisher.standing["main"].count


# Schemas in the source.


def with_schema(text: str, revision: str | None = None, /, **contents: str) -> Tree:
    made = files(revision, **contents)
    return trees(main=attrs.evolve(made, contents={**made.contents, "shop.schema.json": text.encode()}))


async def test_a_commit_cannot_delete_its_own_gate() -> None:
    whole = Wired(rules=[rules(None, has_source_schemas=True)])
    await whole.publisher.publish(with_schema(json.dumps(PORT), shop="port: 1"))
    former = "shop:default:main: type of shop.schema.json of the served state at /port (shop.yml:1)"
    for changed in (tree(shop="port: x"), with_schema("{}", shop="port: x")):
        await whole.publisher.publish(changed)
        assert [{"port": 1}] == await documents(whole, SHOP)
        assert [former] == [str(each) for each in whole.reader.refusals["main"].findings]
    # If the new state has the same schema, the author finds it there.
    await whole.publisher.publish(with_schema(json.dumps(PORT), shop="port: y"))
    assert [former.replace(" of the served state", "")] == [
        str(each) for each in whole.reader.refusals["main"].findings
    ]
    # In two steps it is possible.
    await whole.publisher.publish(with_schema("{}", shop="port: 1"))
    await whole.publisher.publish(with_schema("{}", shop="port: x"))
    assert [{"port": "x"}] == await documents(whole, SHOP)


async def test_a_commit_with_a_schema_that_cannot_be_used_is_refused() -> None:
    whole = Wired(rules=[rules(None, has_source_schemas=True)])
    await whole.publisher.publish(with_schema("{}", shop="port: 1"))
    await whole.publisher.publish(with_schema('{\n"type": "strin"}', shop="port: 2"))

    why = "shop.schema.json can't be used: there is no such type (shop.schema.json:2)"
    assert [f"shop:default:main: {why}"] == [str(each) for each in whole.reader.refusals["main"].findings]
    assert [{"port": 1}] == await documents(whole, SHOP)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"const": "hunter2"', "not JSON: the text ends too soon"),
        ('["hunter2"]', "a schema must be an object"),
        ('{"$ref": "hunter2.json"}', "it refers to a schema that isn't configured"),
        ('{"$ref": "#/$defs/hunter2"}', "it refers to a place that doesn't exist"),
        (
            '{"$schema": "http://json-schema.org/draft-07/schema#"}',
            "only the draft https://json-schema.org/draft/2020-12/schema is supported",
        ),
        ('{"pattern": "hunter2("}', "its format can't be used"),
        ('{"type": "hunter2"}', "there is no such type"),
        ('{"properties": {"type": {"type": ["string", 1]}}}', "there is no such type"),
        ('{"properties": {"type": "hunter2"}}', "its type isn't that of a schema"),
    ],
)
async def test_a_schema_that_cannot_be_used_says_why_without_a_value(text: str, reason: str) -> None:
    whole = Wired(rules=[rules(None, has_source_schemas=True)])
    await whole.publisher.publish(with_schema("{}", shop="port: 1"))
    with capture_logs() as logs:
        await whole.publisher.publish(with_schema(text, shop="port: 2"))

    [finding] = whole.reader.refusals["main"].findings
    assert (reason, f"shop.schema.json can't be used: {reason}") == (finding.problem, finding.reason)
    assert reason in str(events(logs, "label held back"))
    assert "hunter2" not in str(logs)


async def test_a_new_schema_that_the_served_files_break_is_reported_at_once(judged: list[str]) -> None:
    whole = Wired(rules=[rules(None, has_source_schemas=True)])
    dev = files("d1", shop="port: x")
    await whole.publisher.publish(trees(main=with_schema("{}", "c1", shop="port: hunter2").labels["main"], dev=dev))
    judged.clear()
    with capture_logs() as logs:
        await whole.publisher.publish(
            trees(main=with_schema(json.dumps(PORT), "c2", shop="port: hunter2").labels["main"], dev=dev)
        )

    assert {} == whole.reader.refusals
    assert ["main"] == [*whole.publisher.standing]
    verdict = whole.publisher.standing["main"]
    assert ["shop:default:main: type of shop.schema.json at /port (shop.yml:1)"] == [*map(str, verdict.findings)]
    [event] = events(logs, "served configuration breaks the gate's rules")
    assert ("main", 1, [str(verdict.findings[0])]) == (event["label"], event["findings_count"], event["findings"])
    assert "hunter2" not in str(logs)
    assert [Decision(Kind.STANDING, "main", "c2", verdict.findings, 1)] == whole.decisions
    # Other labels aren't judged.
    assert ["shop:default:main"] == judged
    judged.clear()
    whole.decisions.clear()
    with capture_logs() as logs:
        again = with_schema(json.dumps(PORT | {"title": "Shop"}), "c3", shop="port: hunter2")
        await whole.publisher.publish(trees(main=again.labels["main"], dev=dev))
    # The same findings aren't reported again.
    assert [] == events(logs, "served configuration breaks the gate's rules")
    assert ["shop:default:main"] == judged
    assert ([], ["main"]) == (whole.decisions, [*whole.publisher.standing])
    with capture_logs() as logs:
        await whole.publisher.publish(trees(main=with_schema("{}", "c4", shop="port: hunter2").labels["main"], dev=dev))
    assert ({}, []) == (whole.publisher.standing, events(logs, "served configuration breaks the gate's rules"))


async def test_schemas_in_the_source_that_no_section_uses_are_not_examined(judged: list[str]) -> None:
    whole = Wired(rules=[rules({}, "shop")])
    await whole.publisher.publish(with_schema("{}", "c1", shop="port: x"))
    judged.clear()
    await whole.publisher.publish(with_schema(json.dumps(PORT), "c2", shop="port: x"))

    assert ([], {}) == (judged, whole.publisher.standing)


async def test_a_commit_that_keeps_the_schemas_examines_nothing_again(judged: list[str]) -> None:
    whole = Wired(rules=[rules(None, has_source_schemas=True)])
    await whole.publisher.publish(with_schema(json.dumps(PORT), "c1", shop="port: 1", other="a: 1"))
    judged.clear()
    await whole.publisher.publish(with_schema(json.dumps(PORT), "c2", shop="port: 1", other="a: 2"))

    assert [] == judged


async def test_a_schema_is_no_application() -> None:
    whole = Wired()
    await whole.publisher.publish(with_schema("{}", shop="port: 1"))

    assert [SHOP] == [*await whole.reader.keys()]


# What is served already.


async def test_at_the_start_what_breaks_the_rules_is_served_and_reported() -> None:
    whole = Wired(rules=[rules()])
    with capture_logs() as logs:
        await whole.publisher.publish(tree(shop="port: hunter2", billing="port: 1"))

    assert [{"port": "hunter2"}] == await documents(whole, SHOP)
    assert {} == whole.reader.refusals
    [event] = events(logs, "served configuration breaks the gate's rules")
    assert ("main", 1) == (event["label"], event["findings_count"])
    assert ["shop:default:main: type of s.json at /port (shop.yml:1)"] == event["findings"]
    assert "hunter2" not in str(logs)
    assert 1 == whole.publisher.gated.standing["main"].count


async def test_what_stays_may_stay_as_long_as_it_does_not_change() -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(tree(shop="port: x", billing="port: y"))
    await whole.publisher.publish(tree(shop="port: x", billing="port: y", other="a: 1"))
    assert {} == whole.reader.refusals
    await whole.publisher.publish(tree(shop="port: 1", billing="port: y", other="a: 1"))
    assert ["billing"] == [each.key.application for each in whole.publisher.gated.standing["main"].findings]
    assert 1 == whole.publisher.gated.standing["main"].count
    await whole.publisher.publish(tree(shop="port: 1", billing="port: z", other="a: 1"))
    assert {"main"} == whole.reader.refusals.keys()
    await whole.publisher.publish(tree(shop="port: 1", billing="port: 2", other="a: 1"))
    assert {} == whole.publisher.gated.standing


async def test_what_is_gone_does_not_stand() -> None:
    whole = Wired(rules=[rules()])
    first = trees(main=files(shop="port: x", billing="port: y"), dev=files(shop="port: x"), qa=files(shop="port: x"))
    await whole.publisher.publish(first)
    assert {"main", "dev", "qa"} == whole.publisher.standing.keys()
    # A file of one label is gone, and another label.
    await whole.publisher.publish(trees(main=files(billing="port: y"), qa=first.labels["qa"]))
    assert {"main", "qa"} == whole.publisher.standing.keys()
    assert ["billing"] == [each.key.application for each in whole.publisher.standing["main"].findings]
    await whole.publisher.publish(trees(main=files(other="a: 1"), qa=first.labels["qa"]))
    assert {"qa"} == whole.publisher.standing.keys()


async def test_a_key_of_several_labels_does_not_stand_once_one_of_them_is_gone() -> None:
    whole, key = Wired(), Key("shop", "default", "main,dev")
    await whole.publisher.publish(trees(main=files(shop="port: x"), dev=files(a="a: 1")))
    await whole.reader.read(key)
    whole.pipeline.hold(key)
    await whole.publisher.judge_by([rules()])
    assert {"main", "main,dev"} == whole.publisher.standing.keys()
    await whole.publisher.publish(trees(main=files(shop="port: x")))

    assert {"main"} == whole.publisher.standing.keys()


async def test_what_stands_is_the_same_after_a_restart_whatever_was_let_through() -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(tree("c1", shop="port: x", billing="port: 1"))
    bad = tree("c2", shop="port: x", billing="port: y", more="port: z")
    await whole.publisher.publish(bad)
    await whole.publisher.let_through("main", "c2", ADA, "why")
    later = Wired(rules=[rules()])
    await later.publisher.publish(bad)

    verdict = whole.publisher.standing["main"]
    assert ["billing", "more", "shop"] == [each.key.application for each in verdict.findings]
    assert later.publisher.standing == whole.publisher.standing


async def test_findings_that_are_not_among_the_first_are_known_once_others_are_corrected() -> None:
    whole = Wired(rules=[rules()])
    wrong = {f"a{number:02}": "port: x" for number in range(22)}
    await whole.publisher.publish(tree(**wrong))
    assert (22, 20) == (whole.publisher.standing["main"].count, len(whole.publisher.standing["main"].findings))
    await whole.publisher.publish(tree(**{**wrong, "a00": "port: 1", "a21": "port: 1"}))

    assert (20, 20) == (whole.publisher.standing["main"].count, len(whole.publisher.standing["main"].findings))


async def test_what_stands_is_examined_only_where_it_changes(judged: list[str]) -> None:
    whole = Wired(rules=[rules()])
    main = files(shop="port: x")
    await whole.publisher.publish(trees(main=main, dev=files(billing="port: 1")))
    judged.clear()
    await whole.publisher.publish(trees(main=main, dev=files(billing="port: 2")))

    assert (["billing:default:dev"], ["main"]) == (judged, [*whole.publisher.standing])


async def test_stricter_rules_leave_what_is_served_and_report_it(judged: list[str]) -> None:
    whole = Wired()
    await whole.publisher.publish(tree(shop="port: x", billing="port: 1"))
    with capture_logs() as logs:
        await whole.publisher.judge_by([rules()])

    assert [{"port": "x"}] == await documents(whole, SHOP)
    assert 1 == len(events(logs, "served configuration breaks the gate's rules"))
    assert {"billing:default:main", "shop:default:main"} == {*judged}
    with capture_logs() as logs:
        await whole.publisher.judge_by([rules()])
    assert [] == events(logs, "served configuration breaks the gate's rules")
    await whole.publisher.publish(tree(shop="port: x", billing="port: y"))
    assert {"main"} == whole.reader.refusals.keys()


async def test_looser_rules_let_through_what_was_held_back() -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(tree(shop="port: 1"))
    await whole.publisher.publish(tree(shop="port: x"))
    await whole.publisher.judge_by([rules({})])
    assert [{"port": "x"}] == await documents(whole, SHOP)
    await whole.publisher.judge_by([])
    await whole.publisher.publish(tree(shop="port: y"))

    assert [{"port": "y"}] == await documents(whole, SHOP)
    assert {} == whole.publisher.gated.standing


async def test_rules_that_come_before_the_first_tree_judge_it() -> None:
    whole = Wired()
    await whole.publisher.judge_by([rules()])
    await whole.publisher.publish(tree(shop="port: x"))

    assert {"main"} == whole.publisher.gated.standing.keys()


async def test_overrides_of_the_operator_are_not_held_back_but_reported() -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(tree(shop="port: 1"))
    await whole.publisher.resolve_by(None, PropertySource("overrides", {"port": "x"}, {}))

    assert [{"port": "x"}] == await documents(whole, SHOP)
    assert ["overrides"] == [each.file for each in whole.publisher.gated.standing["main"].findings]


async def test_other_limits_of_parsing_publish_what_the_sources_have_and_not_what_is_served(judged: list[str]) -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(tree("c1", shop="port: 1"))
    await whole.publisher.publish(tree("c2", shop="port: x"))
    await whole.publisher.parse_by(FormatSettings(nodes=50))

    assert ["c2"] == [each.state for each in whole.reader.refusals.values()]
    assert [{"port": 1}] == await documents(whole, SHOP)


# Decisions, for the audit log.


def decided(whole: Wired) -> list[Any]:
    """The decisions since the last call: kind, label and state."""
    found = [(each.kind, each.label, each.state) for each in whole.decisions]
    whole.decisions.clear()
    return found


async def test_each_decision_is_handed_over_once() -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(trees(main=files("c1", shop="port: 1"), dev=files("d1", shop="port: 1")))
    assert [] == decided(whole)
    bad, dev = files("c2", shop="port: x"), files("d2", shop="port: 2")
    await whole.publisher.publish(trees(main=bad, dev=dev))
    [refused, accepted] = whole.decisions
    assert (Kind.ACCEPTED, "dev", "d2") == (accepted.kind, accepted.label, accepted.state)
    refusal = whole.reader.refusals["main"]
    assert Decision(Kind.REFUSED, "main", "c2", refusal.findings, 1) == refused
    whole.decisions.clear()
    # What is held back already isn't decided again, and unchanged documents aren't judged.
    await whole.publisher.publish(trees(main=bad, dev=files("d3", shop="port:  2")))
    assert [] == decided(whole)
    await whole.publisher.publish(trees(main=files("c3", shop="port: 3"), dev=dev))
    assert [(Kind.RELEASED, "main", "c3")] == decided(whole)
    await whole.publisher.publish(trees(main=bad, dev=dev))
    decided(whole)
    await whole.publisher.publish(trees(dev=dev))
    assert [(Kind.RELEASED, "main", None)] == decided(whole)


async def test_a_label_that_the_gate_could_not_judge_is_a_decision_of_its_own_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(tree("c1", shop="port: 1"))

    def failing(*_: object) -> Any:
        raise Failure("can't validate: it hangs")

    monkeypatch.setattr(Judge, "findings", failing)
    for _ in range(2):
        await whole.publisher.publish(tree("c2", shop="port: 2"))

    assert [Decision(Kind.UNJUDGED, "main", "c2", failure="can't validate: it hangs")] == whole.decisions


async def test_an_exception_is_a_decision_of_the_administrator_at_the_worker_that_was_asked() -> None:
    for ask in ("let_through", "let_through_soon"):
        whole = Wired(rules=[rules()])
        await whole.publisher.publish(tree("c1", shop="port: 1"))
        bad = tree("c2", shop="port: x")
        await whole.publisher.publish(bad)
        whole.decisions.clear()
        findings = whole.reader.refusals["main"].findings
        if ask == "let_through":
            await whole.publisher.let_through("main", "c2", ADA, "an incident")
        else:
            whole.publisher.let_through_soon("main", "c2", ADA, "an incident")
            await whole.publisher.publish(bad)
        person = ADA if ask == "let_through" else None

        assert [
            Decision(Kind.OVERRIDDEN, "main", "c2", findings, 1, person=person, reason="an incident")
        ] == whole.decisions
        assert [{"port": "x"}] == await documents(whole, SHOP)


async def test_a_label_that_is_held_back_at_the_start_is_a_decision() -> None:
    whole = Wired(rules=[rules()], accepted=Memory(main=files("c1", shop="port: 1"), dev=files("c1", shop="port: 1")))
    await whole.publisher.publish(trees(main=files("c2", shop="port: x"), dev=files("c2", shop="port: 2")))

    assert [(Kind.REFUSED, "main", "c2"), (Kind.ACCEPTED, "dev", "c2")] == decided(whole)


async def test_without_a_gate_there_is_no_decision() -> None:
    whole = Wired()
    await whole.publisher.publish(tree(shop="port: 1"))
    await whole.publisher.publish(tree(shop="port: 2"))

    assert [] == whole.decisions


# A restart.


async def test_after_a_restart_a_refused_label_is_served_from_its_accepted_files() -> None:
    memory = Memory(main=files("c1", shop="port: 1", other="a: 1"), dev=files("c1", shop="port: 1"))
    whole = Wired(rules=[rules()], accepted=memory, now=lambda: 7.0)
    with capture_logs() as logs:
        await whole.publisher.publish(
            trees(
                main=files("c2", shop="port: hunter2", other="a: 2", new="a: 1"),
                dev=files("c2", shop="port: 2"),
                fresh=files("c2", shop="port: x"),
            )
        )

    dev, fresh = (attrs.evolve(SHOP, label=label) for label in ("dev", "fresh"))
    assert [{"port": 1}, {"port": 2}, {"port": "x"}] == await documents(whole, SHOP, dev, fresh)
    assert [{"a": 1}] == await documents(whole, Key("other", "default", "main"))
    served = whole.store.served
    assert served is not None
    assert Key("new", "default", "main") not in served.listing.keys
    refusal = whole.reader.refusals["main"]
    assert ("c2", 1, 7.0) == (refusal.state, refusal.count, refusal.since)
    assert ["c2"] == [each["state"] for each in events(logs, "label held back")]
    # The label that isn't remembered is served and reported, as ever.
    assert {"main"} == whole.reader.refusals.keys()
    assert {"fresh"} == whole.publisher.gated.standing.keys()
    assert ["fresh"] == [each["label"] for each in events(logs, "served configuration breaks the gate's rules")]
    assert [served.tree.labels] == memory.noted
    assert "hunter2" not in str(logs)

    await whole.publisher.publish(trees(main=files("c3", shop="port: 3"), dev=files("c2", shop="port: 2")))
    assert {} == whole.reader.refusals
    assert [{"port": 3}] == await documents(whole, SHOP)


async def test_after_a_restart_a_state_that_keeps_the_rules_is_published_at_once() -> None:
    whole = Wired(rules=[rules()], accepted=Memory(main=files("c1", shop="port: 1")))
    await whole.publisher.publish(tree("c2", shop="port: 2"))

    assert {} == whole.reader.refusals
    assert [{"port": 2}] == await documents(whole, SHOP)
    await whole.publisher.publish(tree("c3", shop="port: x"))
    assert [{"port": 2}] == await documents(whole, SHOP)


async def test_after_a_restart_the_accepted_state_stays_served_although_it_breaks_the_rules(judged: list[str]) -> None:
    memory = Memory(main=files("c1", shop="port: x"), dev=files("c1", shop="port: x", other="a: 1"))
    whole = Wired(rules=[rules()], accepted=memory)
    await whole.publisher.publish(
        trees(main=files("c1", shop="port: x"), dev=files("c2", shop="port: x", other="a: 2"))
    )

    assert {} == whole.reader.refusals
    assert {"main", "dev"} == whole.publisher.gated.standing.keys()
    # Only the key that has changed is judged before the publication. Then all are examined once.
    assert "other:default:dev" == judged[0]
    assert 4 == len(judged)
    await whole.publisher.publish(trees(main=files("c1", shop="port: y"), dev=files("c2", shop="port: y")))
    assert {"main", "dev"} == whole.reader.refusals.keys()


async def test_after_a_restart_with_the_accepted_files_nothing_is_judged_before_the_publication(
    judged: list[str],
) -> None:
    whole = Wired(rules=[rules()], accepted=Memory(main=files(shop="port: x")))
    await whole.publisher.publish(tree(shop="port: x"))

    assert ["shop:default:main"] == judged
    assert {} == whole.reader.refusals


async def test_after_a_restart_a_gate_that_cannot_judge_refuses_and_tries_again(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    done = trio.Event()
    whole = Wired(
        rules=[rules()], accepted=Memory(main=files("c1", shop="port: 1")), on_publication=lambda _: done.set()
    )

    def failing(*_: object) -> Any:
        raise Failure("can't validate: it hangs")

    with monkeypatch.context() as patched:
        patched.setattr(Judge, "findings", failing)
        await whole.publisher.publish(tree("c2", shop="port: 2"))
        assert [{"port": 1}] == await documents(whole, SHOP)
        assert "can't validate: it hangs" == whole.reader.refusals["main"].failure
    monkeypatch.setattr(module, "_AGAIN", 0.0)
    done = trio.Event()
    nursery.start_soon(whole.publisher.run)
    await done.wait()

    assert [{"port": 2}] == await documents(whole, SHOP)


async def test_after_a_restart_a_commit_cannot_delete_the_gate_of_the_accepted_state() -> None:
    accepted = with_schema(json.dumps(PORT), shop="port: 1").labels["main"]
    whole = Wired(rules=[rules(None, has_source_schemas=True)], accepted=Memory(main=accepted))
    await whole.publisher.publish(tree(shop="port: x"))

    assert [{"port": 1}] == await documents(whole, SHOP)
    assert {"main"} == whole.reader.refusals.keys()


async def test_after_a_restart_a_broken_accepted_file_is_not_replaced_by_refused_content() -> None:
    whole = Wired(rules=[rules()], accepted=Memory(main=files("c1", shop="port: [", other="a: 1")))
    await whole.publisher.publish(tree("c2", shop="port: x", other="a: 2"))

    assert [{"a": 1}] == await documents(whole, Key("other", "default", "main"))
    with pytest.raises(FormatError):
        await whole.reader.read(SHOP)


async def test_after_a_restart_an_administrator_can_let_the_refused_state_through() -> None:
    whole = Wired(rules=[rules()], accepted=Memory(main=files("c1", shop="port: 1")))
    await whole.publisher.publish(tree("c2", shop="port: x"))
    await whole.publisher.let_through("main", "c2", ADA, "why")

    assert [{"port": "x"}] == await documents(whole, SHOP)
    assert {} == whole.reader.refusals


async def test_a_label_that_is_read_later_also_begins_with_its_accepted_files(judged: list[str]) -> None:
    """A git source reads some labels only when a client asks for them."""
    memory = Memory(
        dev=files("c1", shop="port: 1", odd="port: x"),
        old=files("c1", shop="port: x"),
        good=files("c1", shop="port: 1"),
    )
    whole = Wired(rules=[rules()], accepted=memory)
    main = files("c1", shop="port: 1")
    await whole.publisher.publish(trees(main=main))
    deliveries: list[Any] = []
    key = attrs.evolve(SHOP, label="dev")
    judged.clear()
    with capture_logs() as logs:
        await whole.publisher.publish(
            trees(
                main=main,
                dev=files("c2", shop="port: y", odd="port: x"),
                old=files("c1", shop="port: x"),
                good=files("c2", shop="port: 2"),
                new=files("c2", shop="port: x"),
            )
        )

    assert "shop:default:main" not in judged
    assert [{"port": 1}, {"port": "x"}] == await documents(whole, key, attrs.evolve(SHOP, label="old"))
    assert [{"port": 2}] == await documents(whole, attrs.evolve(SHOP, label="good"))
    # A label that isn't remembered isn't served if it is refused.
    assert {"dev", "new"} == whole.reader.refusals.keys()
    with pytest.raises(RefusedLabel):
        await whole.reader.read(attrs.evolve(SHOP, label="new"))
    assert {"dev", "old"} == whole.publisher.gated.standing.keys()
    standing = events(logs, "served configuration breaks the gate's rules")
    assert ["dev", "old"] == sorted(each["label"] for each in standing)
    assert [] == deliveries
    await whole.publisher.publish(trees(main=main, dev=files("c3", shop="port: 3", odd="port: x")))
    assert [{"port": 3}] == await documents(whole, key)


async def test_what_is_served_is_remembered_and_forgotten_once_there_is_no_gate() -> None:
    memory = Memory()
    whole = Wired(accepted=memory)
    await whole.publisher.publish(tree("c1", shop="port: x"))
    assert [] == memory.noted
    await whole.publisher.judge_by([rules()])
    assert whole.store.served is not None
    first = whole.store.served.tree.labels
    assert first is memory.noted[-1]
    await whole.publisher.publish(tree("c2", shop="port: y"))
    assert ["c1"] == [each.revision for each in memory.noted[-1].values()]
    await whole.publisher.let_through("main", "c2", ADA, "why")
    assert ["c2"] == [each.revision for each in memory.noted[-1].values()]
    await whole.publisher.judge_by([])
    count = len(memory.noted)
    assert ["forgotten"] == memory.noted[-1:]
    await whole.publisher.publish(tree("c3", shop="port: z"))

    assert count == len(memory.noted)


async def test_after_a_restart_a_refusal_keeps_its_time_and_is_no_new_decision() -> None:
    memory = Memory(main=files("c1", shop="port: 1"))
    bad = tree("c2", shop="port: x")
    for now, kinds in ((7.0, [Kind.REFUSED]), (8.0, []), (9.0, [])):
        whole = Wired(rules=[rules()], accepted=memory, now=lambda now=now: now)  # type: ignore[misc]
        with capture_logs() as logs:
            await whole.publisher.publish(bad)
        assert (7.0, kinds) == (whole.reader.refusals["main"].since, [each.kind for each in whole.decisions])
        assert {"main": ("c2", 7.0)} == memory.refused
        # The log of each process has it.
        assert 1 == len(events(logs, "label held back"))
    # Another state is another decision, also if the first one comes back afterwards.
    whole = Wired(rules=[rules()], accepted=memory, now=lambda: 10.0)
    for state in ("c3", "c2"):
        await whole.publisher.publish(tree(state, shop="port: x", other=f"a: {state}"))
        assert (state, 10.0) == (whole.reader.refusals["main"].state, whole.reader.refusals["main"].since)
    assert [Kind.REFUSED, Kind.REFUSED] == [each.kind for each in whole.decisions]
    await whole.publisher.publish(tree("c4", shop="port: 4"))
    assert {} == memory.refused


async def test_what_could_not_be_judged_is_recorded_by_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> Any:
        raise Failure("can't validate: it hangs")

    monkeypatch.setattr(Judge, "findings", failing)
    memory = Memory(main=files("c1", shop="port: 1"))
    for _ in range(2):
        whole = Wired(rules=[rules()], accepted=memory)
        await whole.publisher.publish(tree("c2", shop="port: 2"))
        assert ([Kind.UNJUDGED], {}) == ([each.kind for each in whole.decisions], memory.refused)


async def test_a_refusal_of_a_label_that_is_read_later_is_remembered_until_then() -> None:
    memory = Memory(dev=files("d1", shop="port: 1"))
    memory.refused = {"dev": ("d2", 7.0)}
    whole = Wired(rules=[rules()], accepted=memory, now=lambda: 8.0)
    await whole.publisher.publish(tree("c1", shop="port: 1"))
    assert {"dev": ("d2", 7.0)} == memory.refused
    both = trees(main=files("c1", shop="port: 1"), dev=files("d2", shop="port: x"))
    await whole.publisher.publish(both)

    assert (7.0, []) == (whole.reader.refusals["dev"].since, whole.decisions)
    assert {"dev": ("d2", 7.0)} == memory.refused


async def test_without_a_gate_nothing_is_recalled() -> None:
    whole = Wired(accepted=Memory(main=files("c1", shop="port: 1")))
    await whole.publisher.publish(tree("c2", shop="port: x"))

    assert [{"port": "x"}] == await documents(whole, SHOP)


# Keys that are first read later.


async def test_a_key_that_is_read_first_is_judged_then_and_answered_like_one_with_a_broken_file(
    judged: list[str],
) -> None:
    schema = {"properties": {"port": {"type": "integer"}}, "required": ["name"]}
    whole = Wired(rules=[rules(schema, "ghost")])
    await whole.publisher.publish(tree(application="port: hunter2", shop="a: 1"))
    key = Key("ghost", "dev", "main")
    for _ in range(2):
        with pytest.raises(FormatError) as caught:
            await whole.reader.read(key)
        assert "application.yml: refused by the gate: required of s.json at /name" in str(caught.value).replace(
            ":1", ""
        )
        with pytest.raises(ResolveError, match="^the gate hasn't judged this key yet; ask again$"):
            whole.pipeline.hold(key)

    assert ["ghost:dev:main"] == judged
    assert "hunter2" not in str(caught.value)
    await whole.publisher.publish(tree(application="port: 1\nname: x", shop="a: 1"))
    assert [{"port": 1, "name": "x"}] == await documents(whole, key)
    whole.pipeline.hold(key)
    assert {"port": 1, "name": "x"} == whole.key_usage.find(key).document  # type: ignore[union-attr]


async def test_a_key_that_cannot_be_judged_is_not_served_and_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, key = Wired(rules=[rules(pattern="ghost")]), Key("ghost", "dev", "main")
    await whole.publisher.publish(tree(application="port: 1", shop="a: 1"))
    findings = Judge.findings

    def failing(*_: object) -> Any:
        raise Failure("can't validate: it hangs")

    monkeypatch.setattr(Judge, "findings", failing)
    with pytest.raises(ResolveError, match="^the gate can't validate: it hangs$"):
        await whole.reader.read(key)
    monkeypatch.setattr(Judge, "findings", findings)

    assert [{"port": 1}] == await documents(whole, key)


async def test_a_key_that_the_publications_judge_is_not_judged_when_it_is_read(judged: list[str]) -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(tree(shop="port: x"))
    judged.clear()

    assert [{"port": "x"}] == await documents(whole, SHOP)
    assert [] == judged


async def test_other_rules_count_for_keys_that_are_read_from_then_on() -> None:
    whole, key = Wired(rules=[rules(pattern="ghost")]), Key("ghost", "dev", "main")
    await whole.publisher.publish(tree(application="port: x", shop="a: 1"))
    with pytest.raises(FormatError):
        await whole.reader.read(key)
    await whole.publisher.judge_by([rules({}, "ghost")])

    assert [{"port": "x"}] == await documents(whole, key)


async def test_a_key_that_comes_into_use_during_a_publication_waits_for_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The publication can't judge it any more, so it keeps the configuration that was judged."""
    whole, key = Wired(rules=[rules(pattern="ghost")]), Key("ghost", "dev", "main")
    await whole.publisher.publish(tree(application="port: 1", shop="a: 1"))
    await whole.reader.read(key)
    begin = whole.store.commit

    def committing(staged: Any) -> Any:
        if key not in whole.store:
            whole.pipeline.hold(key)
        return begin(staged)

    monkeypatch.setattr(whole.store, "commit", committing)
    await whole.publisher.publish(tree(application="port: x", shop="a: 1"))
    assert [{"port": 1}] == await documents(whole, key)
    assert {key: "the gate hasn't judged its new configuration yet"} == dict(whole.store.served.failures)  # type: ignore[union-attr]
    assert whole.publisher._incomplete.is_set()
    await whole.publisher.publish(tree(application="port: 3", shop="a: 1"))

    assert [{"port": 3}] == await documents(whole, key)


# Exceptions.


async def test_an_administrator_lets_one_state_through_and_that_is_logged() -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(tree("c1", shop="port: 1"))
    await whole.publisher.publish(tree("c2", shop="port: hunter2"))
    with capture_logs() as logs:
        await whole.publisher.let_through("main", "c2", ADA, "an incident")

    assert [{"port": "hunter2"}] == await documents(whole, SHOP)
    assert {} == whole.reader.refusals
    [event] = events(logs, "gate overridden")
    assert {
        "event": "gate overridden",
        "log_level": "warning",
        "label": "main",
        "state": "c2",
        "by": "ada",
        "reason": "an incident",
        "findings": ["shop:default:main: type of s.json at /port (shop.yml:1)"],
        "findings_count": 1,
        "consequence": "clients get this state although it breaks the rules",
    } == event
    assert [] == events(logs, "label no longer held back")
    assert "hunter2" not in str(event)
    assert 1 == whole.publisher.gated.standing["main"].count
    await whole.publisher.publish(tree("c3", shop="port: y"))
    assert ["c3"] == [each.state for each in whole.reader.refusals.values()]


@pytest.mark.parametrize(("label", "state", "status"), [("main", "c1", 409), ("dev", "c2", 404)])
async def test_only_the_state_that_is_held_back_can_be_let_through(label: str, state: str, status: int) -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(tree("c1", shop="port: 1"))
    await whole.publisher.publish(tree("c2", shop="port: x"))
    with pytest.raises(RemoteError) as caught:
        await whole.publisher.let_through(label, state, ADA, "why")

    assert status == caught.value.status
    assert [{"port": 1}] == await documents(whole, SHOP)


async def test_an_exception_holds_for_one_publication() -> None:
    whole = Wired(rules=[rules()])
    await whole.publisher.publish(tree("c1", shop="port: 1"))
    bad = tree("c2", shop="port: x")
    await whole.publisher.publish(bad)
    await whole.publisher.let_through("main", "c2", ADA, "why")
    await whole.publisher.publish(tree("c3", shop="port: 3"))
    await whole.publisher.publish(bad)

    assert {"main"} == whole.reader.refusals.keys()


def test_a_state_is_named_by_its_commit_or_by_its_files() -> None:
    one, other = files(shop="a: 1"), files(shop="a: 2")

    assert "c1" == state_of(files("c1", shop="a: 1"))
    assert 16 == len(state_of(one))
    assert state_of(one) == state_of(files(shop="a: 1"))
    assert state_of(one) != state_of(other)
    assert state_of(attrs.evolve(one, unreadable={"x.yml": "why"})) != state_of(one)
    # The commit of one source doesn't name the state of several.
    several = attrs.evolve(files("c1", shop="a: 1"), others=(one,))
    assert "c1" != state_of(several) != state_of(attrs.evolve(several, others=(other,)))
    assert Refusal("main", state_of(one), (), 0) == Refusal("main", state_of(one), (), 0)
