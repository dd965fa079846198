"""The judgement of a roll-back: which documents the gate sees, and what its verdicts become."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
import trio

from vortexd.core.errors import RemoteError
from vortexd.core.model import Config, Key, Tree
from vortexd.core.term import Term
from vortexd.gate.finding import MOST_FINDINGS, Finding
from vortexd.gate.gate import PublicationGate, Verdict
from vortexd.pins.pin import Pin, Pinned
from vortexd.pipeline.rollback.judgement import check_accepted, judged
from vortexd.pipeline.rollback.target import Reader
from vortexd.pipeline.state import State
from vortexd.resolve.tree import ParsedFiles, parse_tree
from vortexd.settings.formats import FormatSettings

from .branches import ROOT, SHOP, files_of, past_of, states_of

FINDING = Finding(SHOP, "/a", "minimum", "shop.schema.json", "shop.yml", 1)
CART = Key("cart", "dev", "main")
BOTH = Key("shop", "dev", "main,main")
NOW, THEN = {"shop.yml": "a: 2", "cart.yml": "c: 1"}, {"shop.yml": "a: 1", "cart.yml": "c: 1"}


class Gate:
    """A gate that judges all keys but those of one application. Notes the keys that it judges."""

    def __init__(self, verdicts: Mapping[str, Verdict], but: str = "") -> None:
        self.verdicts = verdicts
        self.but = but
        self.judged: list[Key] = []

    def judges(self, key: Key) -> bool:
        return key.application != self.but

    async def judge(
        self, configs: Sequence[Config], served: Mapping[str, ParsedFiles], new: Mapping[str, ParsedFiles]
    ) -> dict[str, Verdict]:
        await trio.lowlevel.checkpoint()
        contents = (each["main"].files.contents["shop.yml"] for each in (served, new))
        assert (b"a: 2", b"a: 1") == tuple(contents)
        self.judged += (each.key for each in configs)
        return {each.key.label: self.verdicts[each.key.label] for each in configs}


def state_of(texts: Mapping[str, str]) -> State:
    return State(parse_tree(Tree({"main": files_of(texts)}, "main"), FormatSettings()).labels, "main")


async def verdict_of(gate: Gate, *keys: Key, served: State | None = None, tick: Any = lambda: None) -> Verdict:
    """The verdict about a roll-back from `NOW` to `THEN`, in which these keys change."""
    states = states_of({"main": files_of(NOW)})
    after = states.at(past_of(THEN, 1), repairs=True)
    reader = Reader(cast(Any, None), ROOT, states, trio.CapacityLimiter(1))
    changed = [after.resolve(key) for key in keys]
    return await judged(cast(PublicationGate, gate), served or state_of(NOW), after, changed, reader, tick)


async def test_only_documents_that_are_not_served_are_judged() -> None:
    gate = Gate({"main": Verdict()})

    assert (await verdict_of(gate, SHOP, CART)).accepts
    assert [SHOP] == gate.judged


async def test_keys_without_a_rule_are_not_judged() -> None:
    gate = Gate({"main": Verdict((FINDING,), 1)}, but="shop")

    assert Verdict() == await verdict_of(gate, SHOP)
    assert [] == gate.judged


async def test_the_document_of_a_pin_does_not_count_as_served() -> None:
    """The pin ends, and then the other document would hold the label back."""
    then = state_of(THEN).labels["main"]
    pin = Pin("p1", SHOP, "0" * 16, None, "why", "ada", Term(1.0, None), ())
    gate = Gate({"main": Verdict()})
    await verdict_of(gate, SHOP, served=state_of(NOW).with_pins({SHOP: Pinned(pin, ((then,),), FormatSettings())}))

    assert [SHOP] == gate.judged


async def test_a_key_that_can_not_be_resolved_now_is_judged() -> None:
    gate = Gate({"main": Verdict()})
    await verdict_of(gate, SHOP, served=state_of({"shop.yml": "a: 2", "shop-dev.yml": "b: ["}))

    assert [SHOP] == gate.judged


async def test_the_verdicts_about_all_labels_become_one() -> None:
    many = (FINDING,) * MOST_FINDINGS
    gate = Gate({"main": Verdict((FINDING,), 3), "main,main": Verdict(many, 30, "took too long")})
    verdict = await verdict_of(gate, SHOP, BOTH)

    assert Verdict(many, 33, "took too long") == verdict


async def test_the_comparison_ends_with_the_time() -> None:
    def late() -> None:
        raise RemoteError("too late", 503)

    with pytest.raises(RemoteError, match="too late"):
        await verdict_of(Gate({"main": Verdict()}), SHOP, tick=late)


@pytest.mark.parametrize(("count", "text"), [(1, ""), (2, " and 1 more finding"), (4, " and 3 more findings")])
def test_an_error_names_the_first_finding_and_the_number_of_the_others(count: int, text: str) -> None:
    with pytest.raises(RemoteError) as caught:
        check_accepted(Verdict((FINDING,), count, "failed as well"))

    assert (409, f"the gate would hold the commit back: {FINDING}{text}; nothing was pushed") == (
        caught.value.status,
        caught.value.reason,
    )


def test_a_gate_that_could_not_judge_is_an_error_that_passes() -> None:
    with pytest.raises(RemoteError) as caught:
        check_accepted(Verdict(failure="took too long"))

    assert (503, {"Retry-After": "1"}, "the gate took too long; nothing was pushed, so try again") == (
        caught.value.status,
        caught.value.headers,
        caught.value.reason,
    )


def test_without_a_refusal_there_is_no_error() -> None:
    check_accepted(None)
    check_accepted(Verdict())
