"""`vortexctl explain`: which layers hold a key, which layer wins, and where."""

import json
from typing import Any

import pytest

from vortexd.ctl import cli

from .answering import Said, answering


def layer(file: str | None, **members: Any) -> dict[str, Any]:
    name = f"file:/config/{file}" if file else "overrides"
    return {"name": name, "file": file, "document": None, "on_profile": None, "active": True, **members}


def held(number: int, value: Any, outcome: str = "wins", **members: Any) -> dict[str, Any]:
    found = {"layer": number, "line": 3, "column": 5, "value": value, "outcome": outcome, "by": None, "cipher": None}
    return {**found, **members}


LAYERS = [
    layer("shop-prod.yml"),
    layer("shop.yml", document=1, on_profile="prod | eu", active=False),
    layer("shop.yml", document=0),
    layer(None),
]
KEYS = [
    {"key": "pool.size", "layer": 0, "value": 20, "held_by": [held(0, 20), held(2, 10, "overridden", by=0)]},
    {"key": "secret", "layer": None, "held_by": [{**held(2, None, "unreadable", cipher="failed")}]},
    {"key": "word", "layer": 3, "value": "\x1b[2J", "held_by": [held(3, "\x1b[2J", line=None, column=None)]},
]
PROFILES = [
    {"name": "eu", "because": "spring.profiles.include", "place": None},
    {"name": "prod", "because": None, "place": None},
]
SOURCE: dict[str, object] = {"root": "file:/config/", "revision": "abc", "origin": None, "profiles": PROFILES}
SAID = {
    "app": "shop",
    "profile": "prod",
    "label": "main",
    "version": "0" * 16,
    "sources": [SOURCE],
    "layers": LAYERS,
    "keys": KEYS,
}
HEAD = f"shop:prod:main  {'0' * 16}"


def explain(capsys: pytest.CaptureFixture[str], said: Said, *arguments: str) -> tuple[int, list[str], str, list[str]]:
    with answering(said) as server:
        status = cli.main(["explain", "--server", server.url, "shop", "prod", *arguments])
    printed = capsys.readouterr()
    return status, printed.out.splitlines(), printed.err, server.asked


def test_the_newest_commit_of_each_source_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    origin = {"commit": "0123456789abcdef", "author": "A\x1bnn", "time": "2030-01-01T00:00:00Z"}
    sources = [{**SOURCE, "origin": origin}, {**SOURCE, "origin": None}]
    _, lines, _, _ = explain(capsys, (200, {**SAID, "sources": sources}))

    assert "last changed by A\\x1bnn at 2030-01-01T00:00:00Z in commit 0123456789ab" == lines[1]
    assert not any("last changed" in line for line in lines[2:])


def test_each_key_is_a_line_with_its_value_and_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    status, lines, _, asked = explain(capsys, (200, SAID))

    assert (0, ["/api/v1/explain/shop/prod"]) == (status, asked)
    assert lines == [
        HEAD,
        "pool.size  20           shop-prod.yml:3:5",
        "secret     not served",
        'word       "\\u001b[2J"  overrides',
    ]


def test_a_key_that_is_asked_for_has_a_line_for_each_layer(capsys: pytest.CaptureFixture[str]) -> None:
    status, lines, _, asked = explain(capsys, (200, {**SAID, "keys": KEYS[:2]}), "pool", "secret", "--label", "main")

    assert (0, ["/api/v1/explain/shop/prod/main?key=pool&key=secret"]) == (status, asked)
    assert lines == [
        HEAD,
        "",
        "pool.size = 20",
        "  wins        shop-prod.yml:3:5  20",
        "  overridden  shop.yml:3:5       10  by shop-prod.yml",
        "",
        "secret",
        "  unreadable  shop.yml:3:5  null    failed",
    ]


def test_layers_are_shown_with_what_makes_them_count(capsys: pytest.CaptureFixture[str]) -> None:
    _, lines, _, _ = explain(capsys, (200, SAID), "--layers")

    assert lines == [
        HEAD,
        "file:/config/  abc",
        "  profiles, the strongest last: eu (by spring.profiles.include), prod",
        "shop-prod.yml",
        "shop.yml (document #1)  for the profiles prod | eu, not active",
        "shop.yml (document #0)",
        "overrides",
    ]


def test_json_is_what_the_server_says(capsys: pytest.CaptureFixture[str]) -> None:
    _, (line,), _, _ = explain(capsys, (200, SAID), "--json")

    assert SAID == json.loads(line)
    assert line.isprintable()


def test_the_winner_stands_out_in_colour(capsys: pytest.CaptureFixture[str]) -> None:
    _, lines, _, _ = explain(capsys, (200, {**SAID, "keys": KEYS[:1]}), "pool", "--color", "always")

    assert lines[3].strip().startswith("\x1b[32mwins")
    assert lines[4].strip().startswith("\x1b[2moverridden")


def test_a_key_that_no_layer_holds_is_1_and_names_those_near_it(capsys: pytest.CaptureFixture[str]) -> None:
    with answering((200, {**SAID, "keys": []}), (200, SAID)) as server:
        status = cli.main(["explain", "--server", server.url, "shop", "prod", "pol.size"])

    assert (1, "vortexctl: error: no layer holds pol.size; similar key: pool.size\n") == (
        status,
        capsys.readouterr().err,
    )


@pytest.mark.parametrize("said", [{}, [], {**SAID, "keys": [{"key": "a", "layer": 9}]}, {**SAID, "layers": []}])
def test_what_no_vortexd_says_is_3(said: Any, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines, told, _ = explain(capsys, (200, said))

    assert (3, []) == (status, lines)
    assert "doesn't answer as a vortexd of this version does" in told


# Broken files.

BROKEN = {"label": "main", "file": "shop.yml", "line": 3, "column": 5, "reason": "a bracket is missing"}


@pytest.mark.parametrize(
    ("members", "end"),
    [
        (
            {"served": "last_good", "last_good": "0123456789abcdef"},
            "its last good content is served (of commit 0123456789ab)",
        ),
        ({"served": "last_good", "last_good": None}, "its last good content is served"),
        ({"served": "without", "last_good": None}, "the server leaves it out"),
    ],
)
def test_a_broken_file_is_named_with_what_is_served_in_its_place(
    capsys: pytest.CaptureFixture[str], members: dict[str, Any], end: str
) -> None:
    _, lines, _, _ = explain(capsys, (200, SAID | {"broken": [BROKEN | members]}))

    assert [HEAD, f"shop.yml:3:5 is broken: a bracket is missing; {end}"] == lines[:2]


def test_a_place_that_is_not_known_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    broken = BROKEN | {"line": None, "column": None, "served": "without", "last_good": None}
    _, lines, _, _ = explain(capsys, (200, SAID | {"broken": [broken]}))

    assert lines[1].startswith("shop.yml is broken")


def test_a_layer_of_a_broken_file_says_that_it_is_old(capsys: pytest.CaptureFixture[str]) -> None:
    old = [layer("shop.yml", last_good=True), layer("shop-prod.yml", last_good=False)]
    _, lines, _, _ = explain(capsys, (200, SAID | {"layers": old, "keys": []}), "--layers")

    assert ["shop.yml       its last good content, because the file is broken", "shop-prod.yml"] == lines[3:]


def test_an_application_that_no_file_is_named_after_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    status, lines, told, _ = explain(capsys, (200, SAID, {"X-Vortex-Without-Files": "shop"}))

    assert (0, HEAD) == (status, lines[0])
    assert "vortexctl: warning: no file is named after shop; only the files for all applications apply\n" == told


def test_a_pinned_configuration_has_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    _, _, err, _ = explain(capsys, (200, SAID, {"Vortexd-Pinned": "true"}))

    why = "this configuration is pinned until somebody lifts the pin, so it doesn't follow its source"
    assert f"vortexctl: warning: {why}; see vortexctl pins\n" == err
