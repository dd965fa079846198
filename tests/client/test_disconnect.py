import pytest

from vortexd.client.disconnect import Disconnect, closed, refused
from vortexd.protocol.close import CloseReason


@pytest.mark.parametrize("reason", list(CloseReason))
def test_known_codes_mean_what_the_page_says(reason: CloseReason) -> None:
    assert reason.may_return == closed(reason.code).may_return


def test_only_a_server_that_is_behind_sends_a_client_on() -> None:
    assert [CloseReason.BEHIND] == [reason for reason in CloseReason if closed(reason.code).is_behind]
    assert Disconnect("4421 another server has a newer state", True, 300, is_behind=True) == closed(4421, "", 300)
    assert not any(each.is_behind for each in (closed(4420), closed(4422), closed(1005), refused(503), Disconnect("x")))


@pytest.mark.parametrize(
    ("code", "may_return"),
    [
        (4000, True),
        (4399, True),
        (4400, False),
        (4499, False),
        (4500, True),
        (4999, True),
        (1012, False),
        (3000, False),
    ],
)
def test_codes_of_the_future_are_judged_by_their_range(code: int, may_return: bool) -> None:
    assert may_return == closed(code).may_return


def test_an_end_without_a_code_is_a_broken_connection() -> None:
    assert closed(1006) == closed(1005, "x")
    assert closed(1005).may_return


def test_only_a_token_that_was_not_accepted_asks_for_another() -> None:
    assert [True, False, True, False] == [
        each.is_token for each in (closed(4401), closed(4403), refused(401), refused(403))
    ]


@pytest.mark.parametrize(
    ("status", "may_return"),
    [
        (400, False),
        (401, False),
        (403, False),
        (404, False),
        (426, False),
        (408, True),
        (429, True),
        (500, True),
        (503, True),
    ],
)
def test_refusals_that_time_mends_are_tried_again(status: int, may_return: bool) -> None:
    assert may_return == refused(status).may_return


def test_retry_after_is_what_the_server_asked_for() -> None:
    assert 7_000 == refused(503, "7").reconnect_after_ms


@pytest.mark.parametrize("value", ["-1", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", "", "1.5"])
def test_what_is_no_number_of_seconds_is_ignored(value: str) -> None:
    assert refused(503, value).reconnect_after_ms is None


def test_the_reason_of_a_refusal_is_one_printable_line() -> None:
    assert "refused with 403 no\\x1b[2J\\nway" == refused(403, body=b'{"message": "no\\u001b[2J\\nway"}').reason
    assert "refused with 502" == refused(502, body=b"<html>").reason


def test_a_label_that_was_there_before_may_be_again() -> None:
    assert not refused(404).may_return
    assert refused(404, existed_before=True).may_return
