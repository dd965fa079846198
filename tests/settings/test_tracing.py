"""[tracing]: the addresses that a collector may have."""

import pytest

from vortexd.settings.tracing import TracingSettings

from .sections import problems, read, waiting


def test_by_default_there_is_no_collector() -> None:
    assert TracingSettings(endpoint="") == read(TracingSettings)


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "http://127.0.0.1:4318/v1/traces",
        "https://otel.example",
        "https://otel-1.example_net:443/",
        "http://[::1]:4318/v1/traces?a=b",
    ],
)
def test_a_collector_has_an_http_address(endpoint: str) -> None:
    assert endpoint == read(TracingSettings, f'endpoint = "{endpoint}"').endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "127.0.0.1:4318",
        "grpc://otel.example",
        "HTTP://otel.example",
        "http://",
        "http:///v1/traces",
        "http://user:secret@otel.example/",
        "http://otel.example/a b",
        "http://otel.example/\\u007f",
        "http://otel.example\\n",
        "http://größe.example/",
        " ",
    ],
)
def test_another_address_is_refused_without_repeating_it(endpoint: str) -> None:
    expected = {"endpoint": "must be the http:// or https:// address of a collector, or empty"}

    assert expected == problems(TracingSettings, f'endpoint = "{endpoint}"')


def test_a_change_waits_for_a_restart() -> None:
    assert {"endpoint"} == waiting(TracingSettings)
