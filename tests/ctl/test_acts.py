"""Requests that change something: what an old server, a missing right and a broken connection mean for them."""

from typing import Any

import pytest

from vortexd.auth.principal import Forbidden
from vortexd.ctl import acts
from vortexd.ctl.acts import endpoint, other, post, unknown_outcome
from vortexd.ctl.errors import CtlError
from vortexd.ctl.server import Refused, Server, TooSlow, Unreachable

from .answering import Said, answering

SERVER = Server("http://a")
OLD = "http://a has no /x: this vortexd is older than this vortexctl, so update it; or see --server"


def raised(error: Exception, rights: str = acts.ADMIN) -> str:
    with pytest.raises(CtlError) as caught, endpoint(SERVER, "/x", rights):
        raise error
    assert 3 == caught.value.status
    return str(caught.value)


def test_a_server_without_the_path_is_too_old() -> None:
    assert raised(Refused("no", 404, acts.MISSING)) == OLD
    assert raised(Refused("no", 404, "no such key")) == "no"
    assert raised(Refused("no", 400, acts.MISSING)) == "no"


def test_a_token_without_the_right_is_told_which_right() -> None:
    assert raised(Refused("no", 403, acts.NO_RIGHT)) == "no: it needs the right admin; see --token-file"
    assert (
        raised(Refused("no", 403, acts.NO_RIGHT), "the right read") == "no: it needs the right read; see --token-file"
    )
    assert raised(Refused("no", 403, "push is off")) == "no"
    assert raised(Refused("no", 409, acts.NO_RIGHT)) == "no"


def test_a_refusal_stays_a_refusal() -> None:
    with pytest.raises(Refused) as caught, endpoint(SERVER, "/x"):
        raise Refused("no", 403, acts.NO_RIGHT)

    assert (403, acts.NO_RIGHT) == (caught.value.code, caught.value.reason)


def test_the_texts_are_those_of_the_server() -> None:
    # tests/system/test_going_back.py compares the other text with a real server's.
    assert acts.NO_RIGHT == str(Forbidden())


def outcome(error: Exception) -> str:
    with pytest.raises(CtlError) as caught, unknown_outcome(SERVER, "it has happened", "vortexctl pins"):
        raise error
    return str(caught.value)


def test_after_a_broken_connection_the_outcome_is_unknown() -> None:
    end = ". It isn't known whether it has happened. To find out, run: vortexctl pins"

    assert outcome(Unreachable("it broke", may_have_acted=True)) == f"it broke{end}"
    assert outcome(TooSlow("it took long; try again later", may_have_acted=True)) == (
        f"http://a didn't answer within 10 s{end}"
    )


@pytest.mark.parametrize("error", [Unreachable("refused"), TooSlow("too slow"), Refused("no", 409), CtlError("no")])
def test_other_errors_stay_as_they_are(error: CtlError) -> None:
    with pytest.raises(CtlError) as caught, unknown_outcome(SERVER, "it has happened", "vortexctl pins"):
        raise error

    assert error is caught.value


def test_after_ctrl_c_the_outcome_is_unknown_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), unknown_outcome(SERVER, "it has happened", "vortexctl \x1b"):
        raise KeyboardInterrupt

    text = "vortexctl: It isn't known whether it has happened. To find out, run: vortexctl \\x1b\n"
    assert ("", text) == capsys.readouterr()


def read(answer: Any) -> Any:
    return answer["b"] if answer is not None else "none"


def sent(*answers: Said) -> object:
    with answering(*answers) as server:
        try:
            return post(Server(server.url), "/x", {"a": 1}, read, act="it has happened", look="vortexctl pins")
        finally:
            assert (["POST /x"], [{"a": 1}]) == (server.asked, server.bodies)


def test_the_answer_is_json_or_nothing() -> None:
    assert 2 == sent((201, {"b": 2}))
    assert "none" == sent((204, ""))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ((404, {"message": acts.MISSING}), "this vortexd is older"),
        ((403, {"message": acts.NO_RIGHT}), "it needs the right admin"),
        ((0, ""), "It isn't known whether it has happened"),
        ((502, "<html>"), "It isn't known whether it has happened"),
        ((503, {"message": "the disk is full"}), r"answered 503: the disk is full$"),
        ((201, "<html>"), "It isn't known whether it has happened"),
        ((201, '{"a"'), "doesn't answer as a vortexd of this version does; see --server. It isn't known whether"),
        ((201, {}), "It isn't known whether it has happened"),
        ((201, []), "It isn't known whether it has happened"),
        ((201, "[" * 100_000), "It isn't known whether it has happened"),
    ],
)
def test_each_error_is_explained(answer: Said, text: str) -> None:
    with pytest.raises(CtlError, match=text):
        sent(answer)


def test_another_answer_names_the_server() -> None:
    assert str(other(SERVER)) == "http://a doesn't answer as a vortexd of this version does; see --server"
