"""An object that follows a view: replaced at each change that binds, kept at each change that doesn't, and acknowledged."""

import json
import logging
from typing import Any

import attrs
import pytest

from vortexd.client.bound import Bound, Rejection, attempt
from vortexd.client.change import Change
from vortexd.client.client_state import Ack
from vortexd.client.problem import BindError
from vortexd.client.view import View

from .said import KEY
from .test_origins import explanation


@attrs.frozen
class Pool:
    size: int = 0
    name: str = ""

    def __attrs_post_init__(self) -> None:
        if self.name == "broken":
            raise RuntimeError("a mistake in the model")


class Following:
    """A bound view, with the acknowledgements that it sends and the objects that it applies."""

    def __init__(self, first: dict[str, Any] | None, model: type = Pool) -> None:
        self.acks: list[Ack] = []
        self.applied: list[Any] = []
        self.refusal: Exception | None = None
        self.view = View(0.0)
        self.view.attach(lambda _, ack: self.acks.append(ack))
        self.show("v0", first)
        self.live: Bound[Any] = Bound(self.view, model, "pool", self._apply)

    def _apply(self, value: Any) -> None:
        if self.refusal:
            raise self.refusal
        self.applied.append((value, self.live._shown))

    def show(self, version: str | None, pool: object) -> None:
        document = None if version is None else {"pool": pool}
        self.view.change(Change(KEY, None, version, document), is_main=True)

    def becomes(self, version: str | None, pool: object) -> Rejection | None:
        self.show(version, pool)
        if rejection := self.live.refresh():
            self.live.reject(rejection)
        return rejection


@pytest.fixture
def following() -> Following:
    following = Following({"size": 1})
    assert following.live.refresh() is None
    return following


def test_the_first_object_is_applied_and_acknowledged(following: Following) -> None:
    assert (Pool(1), "v0", None) == (following.live.value, following.live.version, following.live.error)
    assert [Ack("v0", "applied")] == following.acks
    assert [(Pool(1), None)] == following.applied


def test_before_the_first_object_there_is_none() -> None:
    live = Following({"size": 1}).live

    with pytest.raises(RuntimeError, match="before the block is entered"):
        live.value  # noqa: B018 - it is the question
    assert not live.is_current


def test_a_change_replaces_the_object_as_a_whole_after_it_was_applied(following: Following) -> None:
    before = following.live.value

    assert following.becomes("v1", {"size": 2}) is None
    assert (Pool(2), "v1", Pool(1)) == (following.live.value, following.live.version, before)
    assert (Pool(2), (Pool(1), "v0")) == following.applied[-1]
    assert [Ack("v0", "applied"), Ack("v1", "applied")] == following.acks


def test_without_a_change_nothing_is_done_again(following: Following) -> None:
    assert following.live.is_current
    assert following.live.refresh() is None
    assert 1 == len(following.acks)
    following.show("v1", {"size": 2})
    assert not following.live.is_current


def test_an_equal_object_isnt_replaced_or_applied_and_its_version_is_acknowledged(following: Following) -> None:
    before = following.live.value

    assert following.becomes("v1", {"size": "1"}) is None
    assert following.live.value is before
    assert "v1" == following.live.version
    assert 1 == len(following.applied)
    assert Ack("v1", "applied") == following.acks[-1]


def test_a_change_that_doesnt_bind_keeps_the_object_and_is_reported(
    following: Following, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "vortexd.client")
    following.becomes("v1", {"size": "ten"})

    assert (Pool(1), "v0") == (following.live.value, following.live.version)
    assert 'pool.size: "ten" isn\'t an integer' == str(following.live.error)
    assert Ack("v1", "rejected", "pool.size: isn't an integer") == following.acks[-1]
    assert ["version v1 isn't used for Pool: pool.size: isn't an integer"] == caplog.messages
    assert "<Bound Pool v0 rejected>" == repr(following.live)


def test_the_next_change_that_binds_ends_the_error(following: Following) -> None:
    following.becomes("v1", {"size": "ten"})
    following.becomes("v2", {"size": 2})

    assert (Pool(2), None) == (following.live.value, following.live.error)
    assert Ack("v2", "applied") == following.acks[-1]
    assert "<Bound Pool v2>" == repr(following.live)


def test_the_way_back_to_the_shown_version_ends_the_error_and_applies_nothing(following: Following) -> None:
    following.becomes("v1", {"size": "ten"})
    following.becomes("v0", {"size": 1})

    assert following.live.error is None
    assert 1 == len(following.applied)
    assert Ack("v0", "applied") == following.acks[-1]


def test_a_configuration_that_ends_keeps_the_object_and_has_no_version_to_acknowledge(following: Following) -> None:
    rejection = following.becomes(None, None)

    assert rejection is not None
    assert rejection.wanted is None
    assert Pool(1) == following.live.value
    assert "the configuration: the server no longer has the configuration" == str(following.live.error)
    assert 1 == len(following.acks)


def test_a_server_without_the_configuration_gives_the_defaults_at_the_start() -> None:
    following = Following(None)
    following.show(None, None)

    assert following.live.refresh() is None
    assert (Pool(), None, []) == (following.live.value, following.live.version, following.acks)


@pytest.mark.parametrize("refusal", [RuntimeError("hunter2"), ValueError("hunter2")])
def test_an_object_that_cant_be_applied_is_rejected_without_the_text_of_the_error(
    following: Following, caplog: pytest.LogCaptureFixture, refusal: Exception
) -> None:
    following.refusal = refusal
    following.becomes("v1", {"size": 2})

    assert Pool(1) == following.live.value
    assert Ack("v1", "rejected", f"pool: couldn't be applied: {type(refusal).__name__}") == following.acks[-1]
    assert "the settings of version v1 couldn't be applied" == caplog.messages[0]
    assert refusal is caplog.records[0].exc_info[1]  # type: ignore[index]


def test_a_mistake_in_a_model_keeps_the_object(following: Following, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr("vortexd.client.bound.bind", fail)
    following.becomes("v1", {"size": 2})

    assert Pool(1) == following.live.value
    assert "pool: Pool failed: RuntimeError" == str(following.live.error)


def test_at_the_start_mistakes_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    following = Following({"size": 1})
    following.refusal = OSError("no")
    with pytest.raises(OSError, match="no"):
        following.live.refresh()
    with pytest.raises(TypeError):
        Following({"size": 1}, dict).live.refresh()


def test_a_first_document_that_doesnt_bind_is_a_rejection() -> None:
    rejection = Following({"size": "ten"}).live.refresh()

    assert rejection is not None
    assert ("v0", "pool.size") == (rejection.version, rejection.wanted)


def test_one_attempt_gives_an_object_or_a_rejection() -> None:
    assert Pool(1) == attempt(Following({"size": 1}).view, Pool, "pool")
    rejection = attempt(Following({"size": "ten"}).view, Pool, "pool")
    assert isinstance(rejection, Rejection)
    assert "v0" == rejection.version
    assert Pool() == attempt(View(0.0), Pool, "pool")


def test_a_rejection_takes_the_places_of_its_version_alone() -> None:
    found = attempt(Following({"size": "ten"}).view, Pool, "pool")
    assert isinstance(found, Rejection)
    keys = [{"key": "pool.size", "layer": 0, "held_by": [{"outcome": "wins", "line": 3}]}]

    def located(version: str) -> BindError:
        return found.located(json.dumps(explanation(version=version, keys=keys)).encode()).error

    assert 'pool.size: "ten" isn\'t an integer (shop.yml:3)' == str(located("v0"))
    assert 'pool.size: "ten" isn\'t an integer' == str(located("v9"))
    assert 'pool.size: "ten" isn\'t an integer' == str(found.located(None).error)
