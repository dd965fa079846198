"""`vortexctl fleet`: its requests and its output."""

import json
from typing import Any

import pytest

from vortexd.ctl import cli
from vortexd.ctl.fleet import ago, summary

from .answering import answering


def instance(name: str, state: str, **members: Any) -> dict[str, Any]:
    return {
        "name": name,
        "connection": f"id-{name}",
        "state": state,
        "since": "2026-01-01T00:00:00.000Z",
        "ack": None,
        "shares_name": False,
    } | members


def key(*instances: dict[str, Any], app: str = "billing", version: str | None = "v2", **counts: int) -> dict[str, Any]:
    counted = dict.fromkeys(("connected", "applied", "rejected", "silent", "gone", "unlisted"), 0) | counts
    percent = counted["applied"] * 10_000 // counted["connected"] / 100 if counted["connected"] else None
    return {
        "app": app,
        "profile": "prod",
        "label": "main",
        "version": version,
        "counts": counted,
        "percent": percent,
        "instances": list(instances),
    }


def page(*keys: dict[str, Any], next: str | None = None, **members: Any) -> tuple[int, dict[str, Any]]:
    return 200, {"keys": list(keys), "next": next, **members}


def test_a_table_says_who_is_how_and_why(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_767_225_600.0 + 90)
    refusal = {"version": "v2", "status": "rejected", "error": "no\x1b[2J room", "at": ""}
    former = {"version": "v1", "status": "applied", "error": None, "at": ""}
    shown = key(
        instance("a:1", "applied", ack={**former, "version": "v2"}),
        instance("b", "rejected", ack=refusal),
        instance("c", "silent", ack=former, shares_name=True),
        connected=3,
        applied=1,
        rejected=1,
        silent=1,
    )
    with answering(page(shown, key(app="shop", version=None, gone=2))) as server:
        status = cli.main(["fleet", "--server", server.url])

    assert 0 == status
    assert [
        "billing:prod:main  v2  1 of 3 applied (33.33 %), 1 rejected, 1 silent",
        "  a:1  applied   1 m",
        "  b    rejected  1 m  no\\x1b[2J room",
        "  c    silent    1 m  applied v1; same name as another, connection id-c",
        "",
        "shop:prod:main  -  0 of 0 applied, 2 gone",
    ] == capsys.readouterr().out.splitlines()


def test_pages_become_one_and_keys_are_asked_for_by_their_parts(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = key(instance("a", "silent"), connected=2), key(instance("b", "silent"), connected=2)
    with answering(page(first, next="c1"), page(second, next="c2"), page(second)) as server:
        arguments = ["--app", "billing", "--profile", "prod", "--state", "silent", "--json"]
        status = cli.main(["fleet", "--server", server.url, *arguments])

    said = json.loads(capsys.readouterr().out)
    assert (0, True, ["a", "b", "b"]) == (
        status,
        said["complete"],
        [each["name"] for each in said["keys"][0]["instances"]],
    )
    asked = "/api/v1/fleet?app=billing&profile=prod&state=silent&limit=1000"
    assert [asked, f"{asked}&after=c1", f"{asked}&after=c2"] == server.asked


def test_only_keys_ask_for_no_instances(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(page(key(connected=1), key(app="shop", connected=2), workers_silent=1)) as server:
        cli.main(["fleet", "--server", server.url, "--keys"])

    assert ["/api/v1/fleet?limit=1000&state=none"] == server.asked
    assert [
        "billing:prod:main  v2  0 of 1 applied (0 %)",
        "shop:prod:main  v2  0 of 2 applied (0 %)",
        "a worker of the server hasn't answered: its instances are missing",
    ] == capsys.readouterr().out.splitlines()


def test_nobody_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(page()) as server:
        cli.main(["fleet", "--server", server.url])

    assert "no instances\n" == capsys.readouterr().out


@pytest.mark.parametrize("said", [{}, [], {"keys": [{}], "next": None}, {"keys": 7, "next": None}])
def test_an_answer_that_is_none_is_status_3(said: object, capsys: pytest.CaptureFixture[str]) -> None:
    with answering((200, said)) as server:
        assert 3 == cli.main(["fleet", "--server", server.url])

    assert "is it a vortexd?" in capsys.readouterr().err


def test_a_refusal_is_one_line_and_status_3(capsys: pytest.CaptureFixture[str]) -> None:
    with answering((403, {"message": "the token doesn't allow this"})) as server:
        assert 3 == cli.main(["fleet", "--server", server.url])

    assert f"vortexctl: error: {server.url} answered 403: the token doesn't allow this\n" == capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 s"), (59.9, "59 s"), (60, "1 m"), (7_300, "2 h"), (200_000, "2 d")]
)
def test_a_time_span_is_told_in_its_largest_unit(seconds: float, text: str) -> None:
    assert text == ago(seconds)


# A cluster.


def node(name: str, **members: object) -> dict[str, Any]:
    return {
        "name": name,
        "state": "serving",
        "silent": False,
        "counts": "current",
        "as_of": None,
        "reason": None,
    } | members


AWAY = node("b", state="away", silent=True, counts="last", as_of="2030-01-01T00:00:00Z", reason="it is away")
UNKNOWN = node("c", silent=True, counts="unknown", reason="no \x1b route")
UNLISTED = node("d", reason="it advertises no address; set its cluster.advertise")


FORGET = "; if it won't come back: vortexctl cluster forget b"


def test_nodes_whose_instances_are_not_listed_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [node("a"), AWAY, UNKNOWN, UNLISTED]
    with answering(
        page(key(connected=3, applied=3, away=2) | {"percent": 60.0}, nodes=nodes, nodes_silent=2)
    ) as server:
        assert 0 == cli.main(["fleet", "--server", server.url])

    assert [
        "billing:prod:main  v2  3 of 3 applied (60 % of 5, with those away), 2 away",
        f"node b: it is away; its counts are those of 2030-01-01T00:00:00Z{FORGET}",
        "node c: no \\x1b route; its instances aren't counted",
        "node d: it advertises no address; set its cluster.advertise",
    ] == capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(("nodes", "complete"), [([node("a"), UNLISTED], True), ([node("a"), AWAY], False)])
def test_json_has_the_nodes_and_is_complete_only_if_none_is_silent(
    nodes: list[dict[str, Any]], complete: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(page(nodes=nodes, nodes_silent=0)) as server:
        cli.main(["fleet", "--json", "--server", server.url])
    assert {"keys": [], "complete": complete, "nodes": nodes} == json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("counts", "percent", "text"),
    [
        ({"connected": 4, "applied": 3}, 75.0, "3 of 4 applied (75 %)"),
        ({"connected": 3, "applied": 3, "away": 0}, 100.0, "3 of 3 applied (100 %)"),
        ({"connected": 3, "applied": 3, "away": 1}, 75.0, "3 of 3 applied (75 % of 4, with those away), 1 away"),
        ({"away": 2}, 0.0, "0 of 0 applied (0 % of 2, with those away), 2 away"),
        ({"gone": 1}, None, "0 of 0 applied, 1 gone"),
        (
            {"connected": 3, "applied": 3},
            99.99,
            "3 of 3 applied (99.99 %, because a node's instances are unknown)",
        ),
        ({"connected": 50_000, "applied": 49_999}, 99.99, "49999 of 50000 applied (99.99 %)"),
    ],
)
def test_a_percentage_says_what_it_counts(counts: dict[str, Any], percent: float | None, text: str) -> None:
    assert f"billing:prod:main  v2  {text}" == summary(key(**counts) | {"percent": percent})


def test_a_roll_out_is_in_the_line_of_its_key() -> None:
    rolling = key(connected=2, applied=1) | {"percent": 50.0, "target": "v3"}

    assert "billing:prod:main  v2  1 of 2 applied (50 %); roll-out to v3 halted" == summary(
        rolling | {"rollout": "halted"}
    )
    # A server of before names no phase.
    assert summary(rolling).endswith("; roll-out to v3 running")


STORE_AWAY = {"status": "AWAY", "since": "2030-01-01T00:00:00.000Z"}
ETCD = "the server can't use etcd since 2030-01-01T00:00:00.000Z: nodes and counts may have changed meanwhile"


def test_a_server_without_etcd_says_so_even_if_only_one_page_does(capsys: pytest.CaptureFixture[str]) -> None:
    pages = (
        page(key(connected=1, applied=1), next="2", nodes=[node("a")], store=STORE_AWAY),
        page(nodes=[node("a")], store={"status": "UP", "since": "2031-01-01T00:00:00.000Z"}),
    )
    with answering(*pages) as server:
        cli.main(["fleet", "--server", server.url])
    assert ["billing:prod:main  v2  1 of 1 applied (100 %)", ETCD] == capsys.readouterr().out.splitlines()
    with answering(*pages) as server:
        cli.main(["fleet", "--json", "--server", server.url])
    assert "2030-01-01T00:00:00.000Z" == json.loads(capsys.readouterr().out)["store_away_since"]


def test_a_server_with_etcd_does_not_mention_it(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(page(nodes=[node("a")], store={"status": "UP", "since": "x"})) as server:
        cli.main(["fleet", "--server", server.url])
        cli.main(["fleet", "--json", "--server", server.url])
    assert "etcd" not in (said := capsys.readouterr().out)
    assert "store_away_since" not in said


def test_what_was_acknowledged_before_a_restart_is_said_to_be_that(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1_767_225_600.0 + 90)
    applied = {"version": "v2", "status": "applied", "error": None, "at": ""}
    rejected = {"version": "v1", "status": "rejected", "error": "no\x1b[2J room", "at": ""}
    shown = key(
        instance("a", "silent", before_restart=applied),
        instance("b", "gone", before_restart=rejected, shares_name=True),
        connected=1,
        silent=1,
        gone=1,
        before_restart=2,
    )
    with answering(page(shown)) as server:
        cli.main(["fleet", "--server", server.url])

    assert [
        "billing:prod:main  v2  0 of 1 applied (0 %), 1 silent, 1 gone, 2 acknowledged only before the server's restart",
        "  a  silent  1 m  applied v2 before the server's restart",
        "  b  gone    1 m  rejected v1 before the server's restart: no\\x1b[2J room; same name as another, connection id-b",
    ] == capsys.readouterr().out.splitlines()
