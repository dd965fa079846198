"""Facts about the fields that several kinds of source share: they are alike in all kinds, and what conflicts."""

from typing import Any

import attrs
import pytest

from vortexd.source.fields import wait_conflicts
from vortexd.source.files.settings import FilesSettings
from vortexd.source.kinds import KINDS


def field(kind: str, name: str) -> "attrs.Attribute[Any]":
    found: attrs.Attribute[Any] = attrs.fields_dict(KINDS[kind])[name]
    return found


@pytest.mark.parametrize(
    ("name", "default", "rule", "kinds"),
    [
        ("file_bytes", 10_485_760, "a whole number from 1024 to", "files git etcd published"),
        ("total_bytes", 268_435_456, "a whole number from 1024 to", "files git etcd published"),
        ("files", 20_000, "a whole number from 1 to 10000000", "files git etcd published"),
        ("max_staleness", 0.0, "a number of seconds from 0 to 86400", "files git etcd published"),
        ("label_directories", False, "", "files etcd"),
        ("default_label", "main", "a label: letters, digits,", "files etcd"),
        ("max_wait", 1.0, "a number of seconds from 0 to 86400", "files etcd"),
    ],
)
def test_a_shared_setting_has_one_default_and_one_rule(name: str, default: object, rule: str, kinds: str) -> None:
    for kind in kinds.split():
        found = field(kind, name)
        allowed = found.metadata["rule"].allowed if "rule" in found.metadata else ""
        assert (default, True) == (found.default, allowed.startswith(rule))
        assert bool(rule) == bool(allowed)


def test_the_text_of_a_shared_setting_is_that_of_its_kind() -> None:
    docs = {kind: field(kind, "max_staleness").metadata["text"].doc for kind in KINDS}
    assert docs == {
        "files": "Seconds without a successful scan after which `/ready` answers 503. 0 means never.",
        "git": "Seconds without a successful fetch after which `/ready` answers 503. 0 means never.",
        "etcd": "Seconds without etcd after which `/ready` answers 503. 0 means never.",
        "published": "Seconds without a readable version after which `/ready` answers 503. 0 means never.",
    }
    for kind, place in (("files", "directory"), ("etcd", "prefix")):
        assert f"further labels, the {place} contributes to those" in field(kind, "default_label").metadata["text"].doc


@pytest.mark.parametrize(
    ("table", "conflicts"),
    [
        ({}, False),
        ({"quiet": 1.0}, False),
        ({"quiet": 1.1}, True),
        ({"quiet": 2, "max_wait": 2}, False),
        ({"max_wait": 0.05}, True),
        ({"max_wait": 0.1}, False),
        ({"quiet": "2"}, False),
        ({"quiet": 2, "max_wait": "1"}, False),
        ({"quiet": True, "max_wait": 0}, False),
    ],
)
def test_the_longest_wait_must_not_be_less_than_the_quiet_time(table: dict[str, Any], conflicts: bool) -> None:
    expected = [("max_wait", "must not be less than quiet")] if conflicts else []
    assert expected == [*wait_conflicts(table, FilesSettings())]
