"""The source for pydantic-settings, beside arguments and environment variables."""

from typing import Any

import pydantic
import pytest
from pydantic_settings import BaseSettings, SettingsConfigDict

from vortexd.client.change import Change
from vortexd.client.pydantic_settings import VortexSettingsSource
from vortexd.client.view import View

from .said import KEY


class Pool(pydantic.BaseModel):
    max_size: int = 1
    name: str = ""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SHOP_", env_nested_delimiter="__")
    pool: Pool = Pool()
    hosts: list[str] = []
    short: str = pydantic.Field(default="", alias="longName")

    @classmethod
    def settings_customise_sources(cls, settings_cls: Any, **sources: Any) -> Any:  # type: ignore[override]
        return sources["init_settings"], sources["env_settings"], VortexSettingsSource(settings_cls, view, PREFIX)


view = View(0.0)
PREFIX = "app"


def settings(app: object, **arguments: Any) -> Settings:
    view.begin(Change(KEY, None, "v1", {"app": app, "unknown": 1}))
    return Settings(**arguments)


def test_values_come_from_the_configuration_by_relaxed_names_and_unknown_ones_are_left_out() -> None:
    found = settings({"Pool": {"max-size": "5"}, "hosts": "a, b", "long-name": "x", "more": 7})

    assert (5, ["a", "b"], "x") == (found.pool.max_size, found.hosts, found.short)


def test_stronger_sources_replace_single_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_POOL__MAX_SIZE", "7")
    found = settings({"pool": {"maxSize": 5, "name": "x"}, "hosts": ["a"]}, hosts=["b"])

    assert (7, "x", ["b"]) == (found.pool.max_size, found.pool.name, found.hosts)


@pytest.mark.parametrize("app", [{}, "", None])
def test_without_values_the_defaults_count(app: object) -> None:
    assert Pool() == settings(app).pool


def test_a_missing_prefix_means_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PREFIX", "nowhere.at.all")

    assert Pool() == settings({"pool": {"max_size": 5}}).pool


def test_without_a_prefix_the_whole_document_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PREFIX", "")
    view.begin(Change(KEY, None, "v1", {"pool": {"max_size": 5}, "unknown": 1}))

    assert 5 == Settings().pool.max_size


@pytest.mark.parametrize("app", [7, "x", [1]])
def test_a_prefix_that_is_a_value_is_an_error(app: object) -> None:
    with pytest.raises(ValueError, match=r"^app: isn't a mapping$"):
        settings(app)


def test_what_doesnt_fit_is_pydantics_own_error() -> None:
    with pytest.raises(pydantic.ValidationError) as raised:
        settings({"Pool": 7, "hosts": {"a": 1}, "longName": 3})

    assert {("pool",), ("hosts",), ("longName",)} == {error["loc"] for error in raised.value.errors()}


def test_a_single_field_can_be_asked_for() -> None:
    view.begin(Change(KEY, None, "v1", {"app": {"long-name": "x"}}))
    source = VortexSettingsSource(Settings, view, "app")

    assert ("x", "longName", False) == source.get_field_value(Settings.model_fields["short"], "short")
    assert (None, "hosts", False) == source.get_field_value(Settings.model_fields["hosts"], "hosts")
