"""[fleet]: its defaults, its limits, and the applications that have metrics of their own."""

import pytest

from vortexd.settings.fleet import FleetSettings

from .sections import assert_seconds, assert_whole, problems, read, waiting


def test_by_default_no_application_has_metrics_of_its_own() -> None:
    expected = FleetSettings(instances=100_000, keys=100, gone=10_000, forget_after=900.0, applications=())

    assert expected == read(FleetSettings)


@pytest.mark.parametrize(("key", "high"), [("instances", 10_000_000), ("keys", 100_000), ("gone", 1_000_000)])
def test_a_count_has_a_range(key: str, high: int) -> None:
    assert_whole(FleetSettings, key, 0, high)


def test_an_instance_is_forgotten_at_once_or_within_a_day() -> None:
    assert_seconds(FleetSettings, "forget_after", 0, 86_400)


def test_applications_are_named_as_clients_ask_for_them() -> None:
    names = ("orders", "team/orders", "orders,application", "a.b-c_d")

    assert names == read(FleetSettings, f"applications = {list(names)}").applications


@pytest.mark.parametrize("name", ["", "a b", "-a", "a..b", "/a", "a,", "team(_)orders", "*", "größe"])
def test_a_name_that_no_client_can_ask_for_is_refused(name: str) -> None:
    expected = {"applications[1]": "must be the name of an application, as clients ask for it"}

    assert expected == problems(FleetSettings, f'applications = ["orders", "{name}"]')


def test_a_reload_applies_every_key() -> None:
    assert set() == waiting(FleetSettings)
