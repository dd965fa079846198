"""`vortexctl wait`: when it ends, with which status, and its output."""

import json
import time
from typing import Any

import attrs
import pytest

from vortexd.cluster.questions import DEADLINE
from vortexd.ctl import cli
from vortexd.ctl.instances import Fleet
from vortexd.ctl.server import Server, TooSlow, Unreachable
from vortexd.ctl.wait import Goal, Waiting
from vortexd.process.peers import ANSWER_TIMEOUT

from .answering import Answering, Said, answering
from .test_fleet import AWAY, ETCD, FORGET, STORE_AWAY, UNKNOWN, UNLISTED, instance, key, node, page

REJECTED = instance("b", "rejected", ack={"version": "v2", "status": "rejected", "error": "no room", "at": ""})


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between requests. The clock jumps over them."""
    found: list[float] = []
    monotonic = time.monotonic
    monkeypatch.setattr(time, "sleep", found.append)
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + sum(found))
    return found


def wait(*answers: Said, more: tuple[str, ...] = ("--timeout", "10s")) -> tuple[int, Answering]:
    with answering(*answers) as server:
        status = cli.main(["wait", "--server", server.url, "--app", "billing", "--profile", "prod", *more])
        return status, server


@pytest.mark.parametrize(
    ("goal", "keys", "expected"),
    [
        (Goal(), [key(connected=2, applied=2)], True),
        (Goal(), [key(connected=2, applied=1)], False),
        (Goal(percent=50), [key(connected=2, applied=1)], True),
        (Goal(percent=100), [key(connected=100_000, applied=99_999)], False),
        (Goal(), [], False),
        (Goal(), [key(gone=3)], False),
        (Goal(least=0), [], True),
        (Goal(least=3), [key(connected=2, applied=2)], False),
        (Goal(version="v2"), [key(connected=1, applied=1)], True),
        (Goal(version="v1"), [key(connected=1, applied=1)], False),
        (Goal(not_version="v1"), [key(connected=1, applied=1)], True),
        (Goal(not_version="v2"), [key(connected=1, applied=1)], False),
        (Goal(), [key(connected=1, applied=1), key(version=None, gone=1)], True),
        (Goal(percent=0, least=0), [key(connected=1, version=None)], False),
        (Goal(), [key(connected=1, applied=1), key(connected=1)], False),
        (Goal(percent=50), [key(connected=1, applied=1), key(connected=1)], True),
        (Goal(version="v2"), [key(connected=1, applied=1), key(connected=1, applied=1, version="v3")], False),
    ],
)
def test_the_goal_is_reached_by_those_who_are_connected(goal: Goal, keys: list[dict[str, Any]], expected: bool) -> None:
    assert expected == goal.is_reached(Fleet(tuple(keys), is_whole=True))


def test_the_goal_is_not_reached_while_a_worker_has_not_answered() -> None:
    assert not Goal().is_reached(Fleet((key(connected=1, applied=1),), is_whole=False))


def test_a_rejected_version_that_is_not_waited_for_ends_nothing() -> None:
    fleet = Fleet((key(connected=1, rejected=1),), is_whole=True)

    assert Goal().is_lost(fleet)
    assert not Goal(version="v3").is_lost(fleet)
    assert not Goal(not_version="v2").is_lost(fleet)
    assert not Goal(fails_early=False).is_lost(fleet)


def test_it_ends_with_0_once_all_have_applied_it(capsys: pytest.CaptureFixture[str]) -> None:
    status, server = wait(page(), page(key(connected=2, applied=1)), page(key(connected=2, applied=2)))

    assert (0, 3) == (status, len(server.asked))
    assert "billing:prod:main  v2  2 of 2 applied (100 %)\n" == capsys.readouterr().out
    assert "/api/v1/fleet?app=billing&profile=prod&state=rejected&limit=1000" == server.asked[0]


def test_it_asks_once_a_second_and_at_the_end_of_the_time(pauses: list[float]) -> None:
    status, server = wait(page(), more=("--timeout", "2500ms"))

    # The fifth request asks for the silent instances.
    states = ["rejected"] * 4 + ["silent"]
    assert (1, states) == (status, [each.partition("state=")[2].partition("&")[0] for each in server.asked])
    assert [1.0, 1.0] == pauses[:2]
    # The requests take a little time, too.
    assert 0.0 < pauses[2] < 0.5
    assert 3 == len(pauses)


def test_it_ends_with_1_at_once_where_one_has_rejected_it_and_says_who_and_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, server = wait(page(key(REJECTED, connected=2, rejected=1, silent=1)))

    assert (1, 1) == (status, len(server.asked))
    assert [
        "vortexctl: billing:prod:main  v2  0 of 2 applied (0 %), 1 rejected, 1 silent",
        "vortexctl: rejected by b (billing:prod:main): no room",
    ] == capsys.readouterr().err.splitlines()


def test_a_rejection_may_be_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    rejected = page(key(REJECTED, connected=2, applied=1, rejected=1))
    status, _ = wait(rejected, more=("--ignore-rejected", "--percent", "50", "--timeout", "10s"))

    assert 0 == status


def test_it_ends_with_1_when_the_time_is_over_and_says_who_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    silent = [instance(f"host-{number}", "silent") for number in range(25)]
    counted = key(*silent, connected=26, applied=1, silent=25)
    status, server = wait(page(counted), more=("--timeout", "0"))

    told = capsys.readouterr().err.splitlines()
    assert 1 == status
    assert told[-1].startswith("vortexctl: silent: host-0, host-1, ")
    assert told[-1].endswith("host-19 and 5 more")
    assert "state=silent" in server.asked[-1]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (page(), "no instance is connected"),
        (page(key(connected=1, applied=1), workers_silent=1), "a worker of the server hasn't answered"),
        (page(key(connected=1, applied=1, version="v9")), "which isn't the expected version"),
    ],
)
def test_the_reason_is_said(answer: Said, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = wait(answer, more=("--timeout", "0", "--version", "v2"))

    assert 1 == status
    assert text in capsys.readouterr().err


def test_a_server_that_is_away_for_a_while_is_asked_again(capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = wait((503, {"message": "starting"}), page(key(connected=1, applied=1)))

    assert 0 == status


def test_a_server_that_is_away_in_the_end_is_3(capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = wait(page(), (503, {"message": "stopping"}), more=("--timeout", "50ms"))

    assert 3 == status
    assert "answered 503: stopping" in capsys.readouterr().err


def test_a_server_that_refuses_is_3_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    status, server = wait((403, {"message": "the token doesn't allow this"}))

    assert (3, 1) == (status, len(server.asked))


def test_the_fleet_in_the_end_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    wait(page(key(connected=1, applied=1)), more=("--json",))
    said = json.loads(capsys.readouterr().out)

    assert (True, 100.0) == (said["reached"], said["keys"][0]["percent"])


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--app", "a"],
        ["--app", "a", "--profile", "b", "--percent", "101"],
        ["--app", "a", "--profile", "b", "--percent", "nan"],
        ["--app", "a", "--profile", "b", "--min", "-1"],
        ["--app", "a", "--profile", "b", "--timeout", "soon"],
    ],
)
def test_a_wrong_command_line_is_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["wait", *arguments])

    assert 2 == caught.value.code


@pytest.mark.parametrize("option", ["--percent", "--min"])
def test_what_is_no_number_is_said_in_words_of_people(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["wait", "--app", "a", "--profile", "b", option, "many"])

    assert f"argument {option}: must be a " in capsys.readouterr().err


# A cluster.


@pytest.mark.parametrize("percent", ["100", "10"])
def test_while_a_node_is_silent_the_wait_goes_on_and_names_it(percent: str, capsys: pytest.CaptureFixture[str]) -> None:
    counted = key(connected=3, applied=3) | {"percent": 99.99}
    status, server = wait(
        page(counted, nodes=[node("a"), AWAY, UNKNOWN, UNLISTED], nodes_silent=2),
        more=("--timeout", "2s", "--percent", percent),
    )

    assert (1, 3) == (status, sum("state=rejected" in each for each in server.asked))
    printed = capsys.readouterr()
    assert "" == printed.out
    assert [
        "vortexctl: billing:prod:main  v2  3 of 3 applied (99.99 %, because a node's instances are unknown)",
        f"vortexctl: node b: it is away; its counts are those of 2030-01-01T00:00:00Z{FORGET}",
        "vortexctl: node c: no \\x1b route; its instances aren't counted",
    ] == printed.err.splitlines()


@pytest.mark.parametrize(("left", "expected"), [("0", 5.0), ("4s", 5.0), ("7s", 7.0), ("10m", 10.0)])
def test_a_request_has_enough_time_for_a_server_that_waits_for_a_silent_node(
    left: str, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server asks its workers twice, for a second each, and the other nodes for 2 seconds."""
    found: list[float] = []
    look = Waiting.look

    def looked(self: Waiting, timeout: float) -> bool | None:
        found.append(timeout)
        return look(self, timeout)

    monkeypatch.setattr(Waiting, "look", looked)
    wait(page(key(connected=1, applied=1)), page(key(connected=1, applied=1)), more=("--timeout", left))

    assert [pytest.approx(expected, abs=0.5)] == found[:1]
    assert 2 * ANSWER_TIMEOUT + DEADLINE < min(found)


@pytest.mark.parametrize(("applied", "expected"), [(1, 0), (0, 1)])
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_server_without_etcd_is_a_warning(
    applied: int, expected: int, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    status, _ = wait(page(key(connected=1, applied=applied), store=STORE_AWAY), more=("--timeout", "0", *more))

    assert expected == status
    assert f"vortexctl: warning: {ETCD}" == capsys.readouterr().err.splitlines()[0]


BEHIND = {"behind": True}


def test_a_server_that_is_behind_has_not_the_version_to_wait_for(capsys: pytest.CaptureFixture[str]) -> None:
    former = key(REJECTED, connected=2, applied=1, rejected=1) | BEHIND
    status, server = wait(page(former), page(key(connected=2, applied=2, version="v3") | {"behind": False}))

    assert (0, 2) == (status, len(server.asked))
    assert "billing:prod:main  v3  2 of 2 applied (100 %)\n" == capsys.readouterr().out


def test_a_server_that_stays_behind_is_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    status, _ = wait(page(key(connected=1, applied=1) | BEHIND), more=("--timeout", "0", "--version", "v2"))

    assert 1 == status
    assert [
        "vortexctl: billing:prod:main  v2  1 of 1 applied (100 %)",
        "vortexctl: the server is behind for billing:prod:main: another node of its cluster has a newer version",
    ] == capsys.readouterr().err.splitlines()


def test_a_key_without_instances_holds_up_nothing_if_it_is_behind() -> None:
    status, _ = wait(page(key(connected=1, applied=1), key(gone=1) | BEHIND), more=("--timeout", "0"))
    assert 0 == status


SILENT_WORKER = page(key(connected=1, applied=1), workers_silent=1)
WHOLE = page(key(connected=2, applied=1))


@pytest.mark.parametrize(
    ("before", "error", "expected"),
    [
        (SILENT_WORKER, TooSlow, 1),
        (page(key(connected=1), nodes=[UNKNOWN], nodes_silent=1), TooSlow, 1),
        (SILENT_WORKER, Unreachable, 3),
        (WHOLE, TooSlow, 3),
    ],
)
def test_a_request_that_is_slow_at_the_end_is_blamed_on_the_worker_or_node_that_was_silent_before(
    before: Said,
    error: type[Unreachable],
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    get, seen = Server.get, list[str]()

    def answered(self: Server, path: str, parameters: Any = ()) -> Any:
        seen.append(path)
        if len(seen) > 1:
            raise error("it is slow")
        return get(self, path, parameters)

    monkeypatch.setattr(Server, "get", answered)
    status, _ = wait(before, more=("--timeout", "1s"))

    assert (expected, 2) == (status, len(seen))
    said = capsys.readouterr().err
    assert "it is slow" in said
    assert (expected == 1) == ("hasn't answered" in said or "no \\x1b route" in said)


def test_a_node_without_an_address_does_not_hold_up_the_wait() -> None:
    status, _ = wait(page(key(connected=1, applied=1), nodes=[node("a"), UNLISTED], nodes_silent=0))
    assert 0 == status


def test_a_version_that_does_not_come_is_explained_by_a_pin_or_the_gate(capsys: pytest.CaptureFixture[str]) -> None:
    fleet = page(*(key(connected=1, silent=1) for _ in range(5)))
    headers = {"Vortexd-Pinned": "true", "X-Vortex-Held-Back": '"main";state="c2"'}
    status, server = wait(fleet, (304, "", headers), page(), more=("--version", "v9", "--timeout", "0"))

    told = capsys.readouterr().err
    assert (1, ["/billing/prod/main"]) == (status, server.asked[1:2])
    assert "vortexctl: this configuration is pinned until somebody lifts the pin" in told
    assert "vortexctl: this configuration may be old: the server's gate holds back state c2 of label main" in told


def test_at_most_three_configurations_are_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    keys = [{**key(connected=1, silent=1), "profile": f"p{number}"} for number in range(5)]
    _, server = wait(page(*keys), (403, {"message": "no"}), more=("--version", "v9", "--timeout", "0"))

    assert [f"/billing/p{number}/main" for number in range(3)] == server.asked[1:4]
    assert "state=silent" in server.asked[4]


# During a roll-out.


def rolling(target: str = "v3", phase: str = "running", **counts: Any) -> dict[str, Any]:
    return key(**counts) | {"target": target, "rollout": phase}


@pytest.mark.parametrize(
    "goal", [Goal(), Goal(version="v2"), Goal(version="v3"), Goal(not_version="v1"), Goal(percent=0, least=0)]
)
@pytest.mark.parametrize("counts", [{"connected": 1, "applied": 1}, {"connected": 1, "rejected": 1}, {"gone": 1}])
@pytest.mark.parametrize("phase", ["waiting", "running"])
def test_no_goal_is_reached_or_lost_while_a_key_is_in_a_roll_out(
    goal: Goal, counts: dict[str, Any], phase: str
) -> None:
    fleet = Fleet((key(connected=1, applied=1), rolling(phase=phase, **counts)), is_whole=True)

    assert (False, False) == (goal.is_reached(fleet), goal.is_lost(fleet))


def test_a_server_that_names_no_phase_has_a_roll_out_that_goes_on() -> None:
    former = rolling(connected=1, applied=1)
    del former["rollout"]
    fleet = Fleet((former,), is_whole=True)

    assert (False, False) == (Goal().is_reached(fleet), Goal().is_lost(fleet))


@pytest.mark.parametrize("phase", ["halted", "aborted"])
@pytest.mark.parametrize("goal", [Goal(), Goal(version="v3"), Goal(not_version="v2"), Goal(percent=0, least=0)])
@pytest.mark.parametrize("counts", [{"connected": 1, "applied": 1}, {"connected": 1, "rejected": 1}, {"gone": 1}])
def test_a_roll_out_that_has_stopped_ends_the_wait(goal: Goal, counts: dict[str, Any], phase: str) -> None:
    fleet = Fleet((key(connected=1, applied=1), rolling(phase=phase, **counts)), is_whole=True)

    assert (False, True) == (goal.is_reached(fleet), goal.is_lost(fleet))
    assert not attrs.evolve(goal, fails_early=False).is_lost(fleet)


@pytest.mark.parametrize("phase", ["halted", "aborted"])
def test_after_a_halt_the_old_version_can_be_waited_for_by_its_name(phase: str) -> None:
    goal = Goal(version="v2")
    back = Fleet((rolling(phase=phase, connected=2, applied=2),), is_whole=True)
    not_yet = Fleet((rolling(phase=phase, connected=2, applied=1),), is_whole=True)
    rejected = Fleet((rolling(phase=phase, connected=2, applied=1, rejected=1),), is_whole=True)

    assert (True, False) == (goal.is_reached(back), goal.is_lost(back))
    assert (False, False) == (goal.is_reached(not_yet), goal.is_lost(not_yet))
    assert (False, True) == (goal.is_reached(rejected), goal.is_lost(rejected))


@pytest.mark.parametrize("phase", ["halted", "aborted"])
def test_a_roll_out_that_stops_during_the_wait_is_its_reason(phase: str, capsys: pytest.CaptureFixture[str]) -> None:
    during = page(rolling(connected=2, applied=2))
    after = page(rolling(phase=phase, connected=2, applied=2))
    status, server = wait(during, after, after)

    assert 1 == status
    assert [
        "vortexctl: billing:prod:main is in a roll-out from version v2 to v3; waiting for its end",
        f"vortexctl: billing:prod:main  v2  2 of 2 applied (100 %); roll-out to v3 {phase}",
        f"vortexctl: the roll-out of billing:prod:main from version v2 to v3 is {phase}",
    ] == capsys.readouterr().err.splitlines()
    assert ["/api/v1/fleet"] * 2 == [each.partition("?")[0] for each in server.asked]


def test_it_says_once_that_it_waits_for_the_end_of_each_roll_out(capsys: pytest.CaptureFixture[str]) -> None:
    during = page(rolling(connected=2, applied=2))
    other = page(rolling("v4\x1b", connected=2, applied=2))
    after = page(key(version="v4", connected=2, applied=2))
    status, server = wait(during, during, other, during, after)

    said = capsys.readouterr()
    assert (0, 5) == (status, len(server.asked))
    assert [
        "vortexctl: billing:prod:main is in a roll-out from version v2 to v3; waiting for its end",
        "vortexctl: billing:prod:main is in a roll-out from version v2 to v4\\x1b; waiting for its end",
    ] == said.err.splitlines()
    assert "billing:prod:main  v4  2 of 2 applied (100 %)\n" == said.out


def test_a_roll_out_that_lasts_longer_than_the_wait_is_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    status, server = wait(page(rolling(connected=2, applied=2)), more=("--timeout", "0"))

    assert 1 == status
    assert [
        "vortexctl: billing:prod:main is in a roll-out from version v2 to v3; waiting for its end",
        "vortexctl: billing:prod:main  v2  2 of 2 applied (100 %); roll-out to v3 running",
        "vortexctl: billing:prod:main is in a roll-out from version v2 to v3",
    ] == capsys.readouterr().err.splitlines()
    # The server isn't asked for pins and the gate: the roll-out is the reason.
    assert ["/api/v1/fleet"] * 2 == [each.partition("?")[0] for each in server.asked]
