"""Waiting for a version of one configuration: the requests, the bound, and why it isn't served."""

import pytest

from vortexd.ctl.errors import CtlError
from vortexd.ctl.server import Answer, Refused, Server, Unreachable
from vortexd.ctl.serving import Pushed, Served, Serving

PUSHED = Pushed("team/billing", "prod", "main", "1" * 16, "c0ffee" * 7)
NEW, OLD = {"x-vortex-version": "1" * 16}, {"x-vortex-version": "0" * 16}
STILL = (
    f"the server serves version {'0' * 16}; to see the newest commit, run: "
    "vortexctl history team/billing prod --label main --limit 1"
)
HELD = {**OLD, "x-vortex-held-back": f'"main";state="{PUSHED.commit}";key="x"'}
HELD_OTHER = {**OLD, "x-vortex-held-back": f'"main";state="{"beef" * 10}";key="x"'}
PINNED = {**OLD, "vortexd-pinned": "true"}


class Fake(Server):
    """A server with prepared answers, and a clock that only sleeping moves. It repeats the last answer."""

    def __init__(self, *answers: dict[str, str] | CtlError, takes: float = 0.0) -> None:
        super().__init__("http://a")
        self.answers = list(answers)
        self.takes = takes
        self.time = 100.0
        self.asked: list[tuple[str, float, float]] = []

    def get(self, path: str, *_: object, **__: object) -> Answer:
        self.asked.append((path, self.time - 100, self.timeout))
        self.time += self.takes
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, CtlError):
            raise answer
        return Answer(200, answer, b"")

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.time += seconds

    def served(self, seconds: float) -> Served:
        return Serving(self, PUSHED, now=lambda: self.time, sleep=self.sleep).wait(seconds)


def test_the_version_is_waited_for_with_four_requests_a_second() -> None:
    server = Fake(OLD, OLD, NEW)

    assert Served(True) == server.served(30)
    assert ["/team(_)billing/prod/main"] * 3 == [path for path, _, _ in server.asked]
    assert [0, 0.25, 0.5] == [time for _, time, _ in server.asked]


def test_the_wait_ends_at_its_bound_with_a_last_request() -> None:
    server = Fake(OLD)

    assert Served(False, STILL) == server.served(0.6)
    assert [0, 0.25, 0.5, 0.6] == [round(time, 6) for _, time, _ in server.asked]


def test_no_request_takes_longer_than_the_rest_of_the_wait_or_a_second() -> None:
    server = Fake(OLD, takes=5)
    server.served(14)

    assert [10, 8.75, 3.5] == [timeout for _, _, timeout in server.asked]
    server = Fake(OLD)
    server.served(0.1)
    assert [1, 1] == [timeout for _, _, timeout in server.asked]


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (HELD, "the gate holds it back; to see why, run: vortexctl gate"),
        (PINNED, "team/billing:prod:main is pinned; to lift the pin, run: vortexctl unpin team/billing:prod:main"),
        ({**PINNED, **HELD}, "the gate holds it back; to see why, run: vortexctl gate"),
    ],
)
def test_a_refusal_of_the_gate_and_a_pin_end_the_wait(headers: dict[str, str], reason: str) -> None:
    server = Fake(OLD, headers)

    assert Served(False, reason) == server.served(30)
    assert 2 == len(server.asked)


@pytest.mark.parametrize("headers", [HELD, PINNED, HELD_OTHER])
def test_a_version_that_is_served_nevertheless_is_reached(headers: dict[str, str]) -> None:
    assert Served(True) == Fake({**headers, **NEW}).served(30)


def test_another_state_that_is_held_back_may_be_replaced_soon() -> None:
    assert Served(True) == Fake(HELD_OTHER, NEW).served(30)
    assert Fake(HELD_OTHER).served(1) == Served(
        False, "the gate holds back another state of main; to see why, run: vortexctl gate"
    )


def test_an_answer_without_a_version_is_waited_on() -> None:
    reason = "the server serves another version; to see the newest commit, run: "

    assert Fake({}).served(1).reason.startswith(reason)


def test_a_server_that_is_away_is_asked_again() -> None:
    away = Unreachable("it is away")

    assert Served(True) == Fake(away, away, NEW).served(30)
    assert Served(False, "it isn't known whether the server serves it, because it is away") == Fake(away).served(1)
    assert Served(False, STILL) == Fake(away, OLD).served(1)


def test_a_refusal_ends_the_wait() -> None:
    server = Fake(Refused("the token doesn't allow this", 403))

    assert not (served := server.served(30)).is_reached
    assert "it isn't known whether the server serves it, because the token doesn't allow this" == served.reason
    assert 1 == len(server.asked)
