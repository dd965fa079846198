"""Objects of attrs, dataclasses and pydantic from documents, and all problems of those that don't fit."""

import builtins
import datetime
from collections.abc import Callable
from typing import Any

import attrs
import pydantic
import pydantic.dataclasses
import pytest

from vortexd.client.binding import bind
from vortexd.client.problem import BindError

from .models import MODELS, Color, Level, OfAttrs, OfPydantic

each_kind = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
LEAST: dict[str, Any] = {"pool": {"size": 5}, "is_new": True}


def texts(document: dict[str, Any], model: Any, prefix: str = "") -> list[str]:
    with pytest.raises(BindError) as raised:
        bind(document, model, prefix)
    return str(raised.value).split("\n")


@each_kind
def test_fields_that_a_document_leaves_out_have_their_defaults(model: Any) -> None:
    found = bind(LEAST, model)

    assert (5, datetime.timedelta(seconds=1), True) == (found.pool.size, found.pool.timeout, found.is_new)
    assert ([], Color.RED, None) == (found.hosts, found.color, found.limit)


@each_kind
def test_nested_models_lists_and_mappings_are_bound(model: Any) -> None:
    more = {"pools": {"x-y": {"size": 1}}, "servers": [{"size": 2}, {"size": 3}], "pair": [1, "b"], "raw": {"a": [1]}}
    found = bind(LEAST | more, model)

    assert {"x-y": 1} == {name: pool.size for name, pool in found.pools.items()}
    assert [2, 3] == [server.size for server in found.servers]
    assert (1, "b") == found.pair
    assert {"a": [1]} == found.raw


@each_kind
def test_texts_of_properties_files_become_values(model: Any) -> None:
    found = bind(
        {
            "POOL": {"Size": "5", "timeout": "500ms"},
            "is-new": "yes",
            "hosts": "a, b",
            "color": "dark-blue",
            "level": "2",
            "limit": "",
            "ratio": "0.5",
            "pair": "1,b",
        },
        model,
    )

    assert (5, datetime.timedelta(milliseconds=500), True) == (found.pool.size, found.pool.timeout, found.is_new)
    assert (["a", "b"], Color.DARK_BLUE, Level.HIGH) == (found.hosts, found.color, found.level)
    assert (None, 0.5, (1, "b")) == (found.limit, found.ratio, found.pair)


@each_kind
def test_a_prefix_names_the_mapping_of_the_fields(model: Any) -> None:
    assert 5 == bind({"my.app": {"settings": LEAST}}, model, "my.app.settings").pool.size


@each_kind
def test_a_prefix_without_content_means_defaults_and_names_missing_values(model: Any) -> None:
    assert ["app.pool: is missing", "app.is_new: is missing"] == texts({"other": 1}, model, "app")


@each_kind
def test_a_prefix_that_is_a_value_is_a_problem(model: Any) -> None:
    assert ["app: isn't a mapping"] == texts({"app": 7}, model, "app")


@each_kind
def test_all_problems_are_reported_at_once_by_the_names_of_the_document(model: Any) -> None:
    bad = {
        "Pool": {"SIZE": "ten"},
        "IsNew": "perhaps",
        "hosts": {"a": 1},
        "limit": 1.5,
        "ratio": "x",
        "pools": {"x-y": {"sizes": 1}, "z": 3},
        "servers": [{"size": 2}, 3, {"Size": "q"}],
    }

    assert {
        'app.Pool.SIZE: "ten" isn\'t an integer',
        'app.IsNew: "perhaps" isn\'t true or false',
        "app.hosts: isn't a list",
        "app.limit: 1.5 isn't an integer",
        'app.ratio: "x" isn\'t a number',
        "app.pools.x-y.size: is missing",
        "app.pools.z: isn't a mapping",
        "app.servers[1]: isn't a mapping",
        'app.servers[2].Size: "q" isn\'t an integer',
    } == set(texts({"app": bad}, model, "app"))


def test_enumerations_and_literals_name_the_choices() -> None:
    bad = LEAST | {"color": "x", "level": 3, "mode": "z"}

    assert [
        'color: "x" isn\'t one of r, db',
        "level: 3 isn't one of 1, 2",
        'mode: "z" isn\'t one of a, b',
    ] == texts(bad, OfAttrs)
    assert [
        "color: \"x\" is refused: Input should be 'r' or 'db'",
        "level: 3 is refused: Input should be 1 or 2",
        "mode: \"z\" is refused: Input should be 'a' or 'b'",
    ] == texts(bad, OfPydantic)


def reason(document: dict[str, Any], model: Any) -> str:
    with pytest.raises(BindError) as raised:
        bind(document, model)
    return raised.value.reason


@each_kind
def test_the_reason_for_other_people_quotes_no_value(model: Any) -> None:
    bad = LEAST | {"limit": "hunter2", "color": "hunter2", "mode": "hunter2"}

    assert "hunter2" not in reason(bad, model)
    assert "limit: isn't an integer" in reason(bad, model)


@attrs.frozen
class Checked:
    name: str = attrs.field(default="", validator=attrs.validators.matches_re("[a-z]*"))

    @name.validator
    def _check(self, _: object, value: str) -> None:
        if value == "hunter":
            raise ValueError("hunter is forbidden")


class CheckedByPydantic(pydantic.BaseModel):
    name: str = ""
    number: int = pydantic.Field(default=0, ge=0)

    @pydantic.field_validator("name")
    @classmethod
    def _check(cls, value: str) -> str:
        if value == "hunter":
            raise ValueError("hunter is forbidden")
        return value


@pytest.mark.parametrize(
    ("model", "text"),
    [(Checked, "hunter is forbidden"), (CheckedByPydantic, "name: is refused: Value error, hunter is forbidden")],
)
def test_the_text_of_a_models_own_validator_stays_in_the_program(model: Any, text: str) -> None:
    assert text in texts({"name": "hunter"}, model)[0]
    assert "is refused by its model" in reason({"name": "hunter"}, model)
    assert "hunter" not in reason({"name": "hunter"}, model)


def test_a_validator_of_attrs_names_its_field_if_it_can() -> None:
    assert "name: is refused: 'name' must match regex" in texts({"name": "A"}, Checked)[0]


def test_texts_of_pydantic_itself_are_for_everybody() -> None:
    assert "number: is refused: Input should be greater than or equal to 0" == reason({"number": -1}, CheckedByPydantic)


class Tagged(pydantic.BaseModel):
    class One(pydantic.BaseModel):
        kind: str = "one"

    value: int | bool | list[int] = 0


def test_the_members_of_a_union_arent_a_part_of_the_key() -> None:
    assert {"value"} == {line.partition(":")[0] for line in texts({"value": "x"}, Tagged)}


class Aliased(pydantic.BaseModel):
    pool_size: int = pydantic.Field(alias="maxPool")
    other: int = pydantic.Field(default=0, validation_alias=pydantic.AliasChoices("one", "two"))


def test_a_name_of_pydantic_counts_as_the_name_of_its_field() -> None:
    assert 1 == bind({"max-pool": 1}, Aliased).pool_size
    assert 1 == bind({"pool-size": 1}, Aliased).pool_size
    assert ["maxPool: is missing"] == texts({}, Aliased)
    assert 2 == bind({"maxPool": 1, "two": 2}, Aliased).other


@pydantic.dataclasses.dataclass
class PydanticDataclass:
    pool_size: int


def test_a_dataclass_of_pydantic_is_validated_by_pydantic() -> None:
    assert 1 == bind({"pool-size": "1"}, PydanticDataclass).pool_size
    assert ['pool-size: "x" isn\'t an integer'] == texts({"pool-size": "x"}, PydanticDataclass)


class Strict(pydantic.BaseModel, extra="forbid"):
    size: int = 0


def test_unknown_names_are_left_to_the_model() -> None:
    assert ["more: is refused: Extra inputs are not permitted"] == texts({"Size": 1, "more": 2}, Strict)


@pytest.mark.parametrize("model", [dict, int, "text", None])
def test_other_classes_are_a_mistake_of_the_program(model: Any) -> None:
    with pytest.raises(TypeError, match=r"isn't a class of attrs, dataclasses or pydantic$"):
        bind({}, model)


@attrs.frozen
class Impossible:
    run: Callable[[], int]


def test_a_type_that_cattrs_cant_make_is_a_mistake_of_the_program() -> None:
    with pytest.raises(TypeError, match="Callable"):
        bind({"run": 1}, Impossible)


def test_without_cattrs_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "structuring":
            raise ModuleNotFoundError("No module named 'cattrs'", name="cattrs")
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"vortexd-client\[bind\]$"):
        bind(LEAST, OfAttrs)
    assert 5 == bind(LEAST, OfPydantic).pool.size
