"""The choice of the media type, and the contents of both media types."""

import json

import pytest

from tests.fakes import KEY
from vortexd.core.model import OVERRIDES, Config, PropertySource
from vortexd.http.spring.config_request import ConfigRequest, Form
from vortexd.http.spring.environment import V2, environment, media_type, wants_bytes

WANTED = ConfigRequest(Form.ENVIRONMENT, "orders", "dev")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        (V2, V2),
        (f"{V2}, application/json", V2),
        (f"application/json, {V2}", "application/json"),
        (f"application/json;q=0.5, {V2}", V2),
        (f"{V2};q=0.1, */*", "application/json"),
        (f"{V2};q=0, application/*;q=0.2", "application/json"),
        (f"{V2};q=0", None),
        ("application/json;q=nonsense", "application/json"),
        ("application/xml", None),
        ("application/*+json", V2),
        ("Application/*+JSON;q=0.1, application/json;q=0.2", "application/json"),
        ("application/*+json;q=0", None),
        (f"application/*+json, {V2};q=0", None),
        (f"application/*+json;q=0.1, {V2};q=0, application/json;q=0.01", "application/json"),
        (f"application/*+json;q=0.2, {V2};q=0.1, application/json;q=0.15", V2),
        ("text/*+json", None),
        ("application/*+xml", None),
    ],
)
def test_what_is_accepted_decides_between_the_forms(accept: str | None, form: str | None) -> None:
    assert form == media_type(accept)


@pytest.mark.parametrize(
    ("accept", "is_wanted"),
    [
        (None, False),
        ("*/*", False),
        ("application/octet-stream", True),
        ("text/plain, Application/Octet-Stream;q=0.1", True),
        ("application/octet-stream;q=0, */*", False),
    ],
)
def test_who_names_bytes_gets_bytes(accept: str | None, is_wanted: bool) -> None:
    assert is_wanted == wants_bytes(accept)


def test_a_decrypted_value_is_bare_and_overrides_come_from_the_server() -> None:
    sources = (
        PropertySource(OVERRIDES, {"a": "1"}, {}),
        PropertySource("file:/c/orders.yml", {"b": "secret", "c": 2}, {"c": (2, 4)}),
    )

    made = json.loads(environment(Config(KEY, "v", b"{}", sources), WANTED, V2))

    assert [
        {"name": "overrides", "source": {"a": {"value": "1", "origin": "Config server overrides"}}},
        {"name": "file:/c/orders.yml", "source": {"b": "secret", "c": {"value": 2, "origin": "2:4"}}},
    ] == made["propertySources"]


def test_a_commit_has_a_state_and_a_directory_has_none() -> None:
    plain = json.loads(environment(Config(KEY, "v", b"{}", ()), WANTED))
    commit = json.loads(environment(Config(KEY, "v", b"{}", (), revision="c0ffee"), WANTED))

    assert [(None, None), ("c0ffee", "")] == [(each["version"], each["state"]) for each in (plain, commit)]
