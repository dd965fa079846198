"""The gate: which sections judge a key, whose schemas count, and what a failure means for other labels."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from vortexd.core.model import Config, Files, Key, PropertySource
from vortexd.core.patterns import parse_pattern
from vortexd.core.version import encode, version_of
from vortexd.gate.finding import MOST_FINDINGS, Failure, Finding
from vortexd.gate.gate import PublicationGate, Rules, Verdict
from vortexd.gate.judge import Judge
from vortexd.gate.schemas import Schema
from vortexd.resolve.tree import ParsedFiles

NEEDS_PORT = {"required": ["port"], "properties": {"port": {"type": "integer"}}}


NOTHING: Any = {"not": {}}


def config(application: str, document: dict[str, Any], label: str = "main") -> Config:
    body = encode(document)
    source = PropertySource(f"file:/c/{application}.yml", document, {})
    return Config(Key(application, "prod", label), version_of(body), body, (source,))


def rules(*patterns: str, schema: Any = None, **more: Any) -> Rules:
    schemas = {} if schema is None else {"s.json": Schema("s.json", json.dumps(schema), "/etc/s.json")}
    return Rules(tuple(map(parse_pattern, patterns or ("*",))), schemas, seconds=30.0, **more)


def files(**schemas: Any) -> ParsedFiles:
    contents = {f"{name}.schema.json": json.dumps(each).encode() for name, each in schemas.items()}
    return ParsedFiles(Files(contents, root="file:/c/"), {}, {})


@pytest.fixture
async def gate() -> AsyncIterator[PublicationGate]:
    made = PublicationGate()
    yield made
    await made.replace(())


def places(verdict: Verdict) -> list[tuple[str, str, str]]:
    return [(str(each.key), each.pointer, each.keyword) for each in verdict.findings]


async def test_a_gate_without_sections_judges_nothing(gate: PublicationGate) -> None:
    assert not gate.judges(Key("a", "b", "c"))
    assert {"main": Verdict()} == await gate.judge([config("a", {})])
    assert Verdict() == await gate.unusable(None, files(a="x"), "main")
    assert {} == await gate.judge([])


async def test_a_key_must_pass_all_sections_that_name_it(gate: PublicationGate) -> None:
    await gate.replace([rules("billing", schema=NEEDS_PORT), rules("*", schema={"required": ["name"]})])
    assert gate.judges(Key("shop", "x", "y"))
    found = await gate.judge([config("billing", {}), config("shop", {}), config("good", {"name": 1})])

    assert [
        ("billing:prod:main", "/port", "required"),
        ("billing:prod:main", "/name", "required"),
        ("shop:prod:main", "/name", "required"),
    ] == places(found["main"])
    assert not found["main"].accepts
    assert 3 == found["main"].count


async def test_only_named_applications_are_judged(gate: PublicationGate) -> None:
    await gate.replace([rules("billing", schema=NEEDS_PORT)])

    assert not gate.judges(Key("shop", "x", "y"))
    assert (await gate.judge([config("shop", {})]))["main"].accepts


async def test_each_label_has_a_verdict_of_its_own(gate: PublicationGate) -> None:
    await gate.replace([rules(schema=NEEDS_PORT)])
    found = await gate.judge([config("a", {}, "dev"), config("a", {"port": 1}, "main")])

    assert [False, True] == [found[label].accepts for label in ("dev", "main")]


async def test_the_findings_are_bounded_and_all_are_counted(gate: PublicationGate) -> None:
    await gate.replace([rules(schema=NEEDS_PORT)])
    found = (await gate.judge([config(f"a{number}", {}) for number in range(MOST_FINDINGS + 1)]))["main"]

    assert (MOST_FINDINGS, MOST_FINDINGS + 1) == (len(found.findings), found.count)


async def test_a_gate_that_fails_refuses_this_label_and_no_other(
    gate: PublicationGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    await gate.replace([rules(command=("judge",))])

    async def accepts(command: Any, configs: Any, seconds: float) -> bool:
        if configs[0].key.label == "dev":
            raise Failure("can't judge: it hangs")
        return True

    monkeypatch.setattr("vortexd.gate.command.accepts", accepts)
    found = await gate.judge([config("a", {}, "dev"), config("a", {}, "main")])

    assert {"dev": Verdict(failure="can't judge: it hangs"), "main": Verdict()} == found
    assert not found["dev"].accepts


async def test_a_command_that_refuses_names_each_key_of_its_section_once_for_each_label(
    gate: PublicationGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    await gate.replace([rules("a*", command=("/bin/judge", "-x"), schema={})])
    asked = []

    async def accepts(command: Any, configs: Any, seconds: float) -> bool:
        asked.append((command, [str(each.key) for each in configs], seconds))
        return False

    monkeypatch.setattr("vortexd.gate.command.accepts", accepts)
    found = await gate.judge([config("a", {}), config("a2", {}), config("b", {}), config("a", {}, "dev")])

    assert [
        (("/bin/judge", "-x"), ["a:prod:main", "a2:prod:main"], 30.0),
        (("/bin/judge", "-x"), ["a:prod:dev"], 30.0),
    ] == asked
    assert Finding(Key("a", "prod", "main"), "", "command", "judge") == found["main"].findings[0]
    assert (2, 1) == (found["main"].count, found["dev"].count)


async def test_a_refusal_by_application_names_each_refused_key_however_many_there_are(gate: PublicationGate) -> None:
    integer = {"properties": {"x": {"type": "integer"}}}
    await gate.replace([rules("*", schema=integer, is_by_application=True)])
    many = [config(f"a{number}", {"x": f"{number}"}) for number in range(30)]
    found = await gate.judge([*many, config("good", {"x": 1})])

    verdict = found["main"]
    assert {each.key for each in many} == verdict.keys
    assert (30, 20) == (verdict.count, len(verdict.findings))
    assert verdict.refuses(many[29].key)
    assert not verdict.refuses(Key("good", "prod", "main"))


@pytest.mark.parametrize("first", [True, False])
async def test_one_finding_of_a_gate_for_labels_is_enough_for_the_label(gate: PublicationGate, first: bool) -> None:
    sections = [rules("a", schema=NOTHING, is_by_application=True), rules("b", schema=NOTHING)]
    await gate.replace(sections if first else sections[::-1])
    found = await gate.judge([config("a", {}), config("b", {}), config("a", {}, "dev")])

    assert (frozenset(), 2) == (found["main"].keys, found["main"].count)
    assert found["main"].refuses(Key("c", "prod", "main"))
    assert {Key("a", "prod", "dev")} == found["dev"].keys
    assert not Verdict().refuses(Key("a", "prod", "main"))


async def test_a_gate_that_fails_after_a_finding_names_no_application(
    gate: PublicationGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def accepts(*_: Any) -> bool:
        raise Failure("can't judge")

    monkeypatch.setattr("vortexd.gate.command.accepts", accepts)
    await gate.replace([rules("a", schema=NOTHING, is_by_application=True, command=("judge",))])

    assert (frozenset(), 1) == ((found := (await gate.judge([config("a", {})]))["main"]).keys, found.count)


async def test_the_schemas_of_the_served_state_count(gate: PublicationGate) -> None:
    await gate.replace([rules(has_source_schemas=True)])
    served, new = {"main": files(billing=NEEDS_PORT)}, {"main": files()}

    found = await gate.judge([config("billing", {}), config("shop", {})], served, new)
    assert [("billing:prod:main", "/port", "required")] == places(found["main"])
    assert "billing.yml" == found["main"].findings[0].file
    assert (await gate.judge([config("billing", {})], new, served))["main"].accepts
    # A new label has no served state, so its own schemas count.
    assert (await gate.judge([config("billing", {}, "dev")], served, new | {"dev": files()}))["dev"].accepts
    assert not (await gate.judge([config("billing", {}, "dev")], new, new | {"dev": served["main"]}))["dev"].accepts


async def test_the_schemas_in_the_source_count_only_if_a_section_says_so(gate: PublicationGate) -> None:
    await gate.replace([rules(schema={})])
    served = {"main": files(billing=NEEDS_PORT)}

    assert (await gate.judge([config("billing", {})], served, served))["main"].accepts
    assert Verdict() == await gate.unusable(None, files(a={"type": 1}), "main")


async def test_schemas_in_the_source_that_cannot_be_used_are_findings(gate: PublicationGate) -> None:
    await gate.replace([rules(has_source_schemas=True)])
    before, after = files(a={}), files(a={"type": "strin"}, b={})
    found = await gate.unusable(before, after, "main")

    key, problem = Key("a", "default", "main"), "there is no such type"
    assert Verdict((Finding(key, "", "schema", "a.schema.json", "a.schema.json", 1, problem),), 1) == found
    assert Verdict() == await gate.unusable(after, after, "main")
    assert not (await gate.unusable(None, after, "main")).accepts
    assert Verdict() == await gate.unusable(before, files(b={}), "main")
    assert Verdict() == await gate.unusable(before, files(), "main")


async def test_a_schema_in_the_source_that_is_no_text_is_a_finding(gate: PublicationGate) -> None:
    await gate.replace([rules(has_source_schemas=True)])
    after = ParsedFiles(Files({"a.schema.json": b"\xff"}), {}, {})

    assert [("a:default:main", "", "schema")] == places(await gate.unusable(None, after, "main"))


async def test_schemas_that_cannot_be_examined_are_refused(
    gate: PublicationGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    await gate.replace([rules(has_source_schemas=True)])

    def failing(*_: Any) -> Any:
        raise Failure("can't validate")

    monkeypatch.setattr(Judge, "problems", failing)
    assert Verdict(failure="can't validate") == await gate.unusable(None, files(a={}), "main")


async def test_a_cancelled_judge_is_killed_and_the_next_call_gets_another(
    gate: PublicationGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    await gate.replace([rules(schema={})])
    killed: list[object] = []
    blocked, begun = trio.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    def findings(judge: Any, *_: Any) -> Any:
        trio.from_thread.run_sync(begun.set, trio_token=token)
        trio.from_thread.run(blocked.wait, trio_token=token)
        return [], 0

    def kill(judge: Any) -> None:
        killed.append(judge)

    monkeypatch.setattr(Judge, "findings", findings)
    monkeypatch.setattr(Judge, "kill", kill)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gate.judge, [config("a", {})])
        await begun.wait()
        judge = next(iter(gate._judges.values()))
        nursery.cancel_scope.cancel()
    blocked.set()

    assert [judge] == killed
    assert {} == gate._judges


async def test_other_rules_end_the_processes_that_they_no_longer_need(
    gate: PublicationGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    await gate.replace([rules(schema={})])
    await gate.judge([config("a", {})])
    judge = next(iter(gate._judges.values()))
    await gate.replace([rules(schema=NEEDS_PORT)])
    assert judge is next(iter(gate._judges.values()))
    assert not (await gate.judge([config("a", {})]))["main"].accepts
    await gate.replace([])

    assert {} == gate._judges
    assert () == gate.rules
    assert judge._isolated._process is None
