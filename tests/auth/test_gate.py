"""The gate: the order of its checks, wrong tokens, and clients that stay admitted after a reload."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from vortexd.auth import (
    ALL_RIGHTS,
    Authority,
    Forbidden,
    Gate,
    Right,
    Tokens,
    TooManyFailures,
    Unauthorized,
    digest_of,
    load_tokens,
)
from vortexd.auth.certificates import Certificates, load_certificates
from vortexd.core.errors import RemoteError
from vortexd.core.model import Key, Names
from vortexd.core.patterns import Pattern, parse_pattern
from vortexd.net.client_certificate import ClientCertificate, NameKind
from vortexd.net.proxies import Sender
from vortexd.settings.auth import AuthSettings
from vortexd.settings.server import Address

from .conftest import NOW

LOOPBACK = (Address("127.0.0.1", 8888),)
EVERYWHERE = (Address("0.0.0.0", 8888),)
PEER = Sender("192.0.2.1")
TOKEN = "vt_" + "c" * 43
KEY = Key("shop", "dev", "main")
OPEN = Authority(anonymous=ALL_RIGHTS)


class Clocks:
    """The clocks of a gate, which a test turns by hand."""

    def __init__(self) -> None:
        self.epoch = NOW
        self.monotonic = 0.0


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def authority(rest: str = "", token: str = TOKEN, rights: str = '["read"]') -> Authority:
    """An authority of one token, which may use its rights on shop."""
    entry = f'[[token]]\nname = "ci"\nsha256 = "{digest_of(token)}"\nrights = {rights}\npatterns = ["shop:*"]\n{rest}\n'
    return Authority(Tokens(load_tokens(entry, "tokens.toml")))


def make_gate(
    judge: Authority,
    clocks: Clocks,
    settings: AuthSettings | None = None,
    bound: Sequence[Address] = LOOPBACK,
    pages: str | None = None,
) -> Gate:
    return Gate(settings or AuthSettings(), judge, bound, lambda: clocks.epoch, lambda: clocks.monotonic, pages)


def bearer(token: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", f"Bearer {token}".encode())]


WRONG = bearer("vt_" + "w" * 43)


def refusal(
    gate: Gate, headers: Sequence[tuple[bytes, bytes]], target: str = "/", sender: Sender = PEER
) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        gate.admit(headers, target, sender)
    return caught.value


# The headers.


def test_W01_without_pages_of_our_own_our_address_has_no_privilege(clocks: Clocks) -> None:
    headers = [(b"Host", b"127.0.0.1:8888"), (b"Origin", b"http://127.0.0.1:8888")]

    make_gate(OPEN, clocks, pages="http").check_headers(headers, Sender())
    for pages in (None, "https"):
        with pytest.raises(Forbidden):
            make_gate(OPEN, clocks, pages=pages).check_headers(headers, Sender())


def test_H07_what_a_proxy_was_asked_for_is_judged_beside_what_we_were_asked_for(clocks: Clocks) -> None:
    gate = make_gate(OPEN, clocks, AuthSettings(hosts=("config.example",)), pages="http")
    ours, evil = [(b"host", b"127.0.0.1")], [(b"host", b"evil.example")]

    gate.check_headers(ours, Sender(authority=b"config.example"))
    for headers, authority in ((ours, b"evil.example"), (evil, b"config.example")):
        with pytest.raises(Forbidden):
            gate.check_headers(headers, Sender(authority=authority))


def test_W01_the_origin_of_our_pages_is_what_a_proxy_says_it_was_asked_for(clocks: Clocks) -> None:
    gate = make_gate(OPEN, clocks, AuthSettings(hosts=("config.example",)), pages="http")
    headers = [(b"host", b"127.0.0.1:8888"), (b"origin", b"https://config.example")]

    gate.check_headers(headers, Sender(scheme="https", authority=b"config.example"))
    for sender in (Sender(), Sender(scheme="https"), Sender(authority=b"config.example")):
        with pytest.raises(Forbidden):
            gate.check_headers(headers, sender)


def test_H07_a_request_without_a_host_passes_and_the_host_of_the_proxy_is_still_checked(clocks: Clocks) -> None:
    gate = make_gate(OPEN, clocks, pages="http")

    gate.check_headers([], Sender())
    with pytest.raises(Forbidden, match="^the Host isn't allowed$"):
        gate.check_headers([], Sender(authority=b"evil.example"))


def test_W01_without_a_host_no_origin_is_that_of_our_pages(clocks: Clocks) -> None:
    gate = make_gate(OPEN, clocks, pages="http")
    origin = [(b"origin", b"http://127.0.0.1:8888")]

    with pytest.raises(Forbidden, match="^the Origin isn't allowed$"):
        gate.check_headers(origin, Sender())
    gate.check_headers(origin, Sender(authority=b"127.0.0.1:8888"))


def test_W01_a_rebound_name_is_no_origin_of_ours_unless_clients_need_a_token(clocks: Clocks) -> None:
    headers = [(b"host", b"evil.example"), (b"origin", b"http://evil.example")]

    make_gate(authority(), clocks, bound=EVERYWHERE, pages="http").check_headers(headers, Sender())
    with pytest.raises(Forbidden):
        make_gate(OPEN, clocks, bound=EVERYWHERE, pages="http").check_headers(headers, Sender())


def test_W01_a_listed_origin_may_connect_and_keeps_doing_so_beside_our_pages(clocks: Clocks) -> None:
    settings = AuthSettings(origins=("https://app.example",))
    headers = [(b"host", b"127.0.0.1:8888"), (b"origin", b"https://app.example")]

    for pages in (None, "http"):
        make_gate(OPEN, clocks, settings, pages=pages).check_headers(headers, Sender())


@pytest.mark.parametrize("name", [b"host", b"origin"])
def test_H07_a_header_that_occurs_twice_is_refused(name: bytes, clocks: Clocks) -> None:
    headers = [(name, b"127.0.0.1"), (name.upper(), b"127.0.0.1")]

    with pytest.raises(RemoteError, match="occurs twice") as caught:
        make_gate(OPEN, clocks).check_headers(headers, Sender())
    assert 400 == caught.value.status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([(b"host", b"evil.example"), (b"origin", b"x"), *WRONG], 403),
        ([(b"host", b"a b"), *WRONG], 400),
        ([(b"origin", b"https://evil.example"), *WRONG], 403),
        (WRONG, 401),
    ],
)
def test_a_wrong_host_or_origin_is_refused_before_the_token_is_looked_at(
    headers: list[tuple[bytes, bytes]], status: int, clocks: Clocks
) -> None:
    gate = make_gate(authority(), clocks, AuthSettings(failure_burst=1))

    assert status == refusal(gate, headers).status
    # Only a token that was looked at counts as a wrong one.
    assert (429 if status == 401 else 401) == refusal(gate, WRONG).status


def test_the_host_is_checked_before_the_origin(clocks: Clocks) -> None:
    error = refusal(make_gate(authority(), clocks), [(b"origin", b"x"), (b"host", b"evil.example")])

    assert "the Host isn't allowed" == error.reason


# Credentials.


def test_a_token_in_a_header_or_in_the_target_admits_its_owner(clocks: Clocks) -> None:
    gate = make_gate(authority(), clocks)

    for headers, target in ((bearer(TOKEN), "/"), ([], f"/?token={TOKEN}")):
        admission = gate.admit(headers, target, PEER)
        assert ("ci", digest_of(TOKEN)) == (admission.name, admission.identity)


def test_equal_credentials_are_admitted_as_one_principal(clocks: Clocks) -> None:
    gate = make_gate(authority(), clocks)

    assert gate.admit(bearer(TOKEN), "/", PEER).principal is gate.admit([], f"/?token={TOKEN}", PEER).principal


def test_an_open_gate_admits_everybody_as_anonymous_without_an_identity(clocks: Clocks) -> None:
    gate = make_gate(OPEN, clocks, AuthSettings(failure_burst=1))

    for headers in ([], WRONG, WRONG, bearer("")):
        admission = gate.admit(headers, "/", PEER)
        assert ("anonymous", "", False) == (admission.name, admission.identity, admission.is_expired)
    assert gate.is_open
    assert not make_gate(authority(), clocks).is_open


def test_a_certificate_of_the_sender_identifies_it(clocks: Clocks) -> None:
    text = '[[certificate]]\nname = "ops"\ncommon_name = "Ops"\nrights = ["admin"]\n'
    judge = Authority(certificates=Certificates(load_certificates(text, "tokens.toml")))
    certificate = ClientCertificate(((NameKind.COMMON_NAME, "Ops"),), NOW + 60)
    gate = make_gate(judge, clocks)

    assert "ops" == gate.admit([], "/", Sender("192.0.2.1", certificate=certificate)).name
    assert 401 == refusal(gate, []).status


# Wrong tokens.


def test_T07_wrong_tokens_beyond_the_burst_are_answered_with_429_and_the_seconds_to_wait(clocks: Clocks) -> None:
    gate = make_gate(authority(), clocks, AuthSettings(failure_burst=2, failures_per_second=0.4))

    errors = [refusal(gate, WRONG) for _ in range(3)]

    assert [Unauthorized, Unauthorized, TooManyFailures] == [type(error) for error in errors]
    assert (429, "too many wrong tokens from this address") == (errors[2].status, errors[2].reason)
    # 2.5 seconds, rounded up to whole ones.
    assert {"Retry-After": "3"} == errors[2].headers


def test_T07_a_token_that_was_admitted_before_is_no_failure(clocks: Clocks) -> None:
    gate = make_gate(authority(), clocks, AuthSettings(failure_burst=1))

    for _ in range(3):
        with pytest.raises(Unauthorized):
            gate.admit(WRONG, "/", PEER, was_admitted=True)
    assert [401, 429] == [refusal(gate, WRONG).status for _ in range(2)]


def test_T07_a_client_that_is_only_recognized_is_never_counted(clocks: Clocks) -> None:
    gate = make_gate(authority(), clocks, AuthSettings(failure_burst=1))
    foreign = [*bearer(TOKEN), (b"host", b"evil.example")]

    assert [None] * 3 == [gate.recognize(WRONG, "/", PEER) for _ in range(3)]
    assert [None, None] == [gate.recognize(headers, "/", PEER) for headers in ([], foreign)]
    admission = gate.recognize(bearer(TOKEN), "/", PEER)
    assert admission is not None
    assert admission.principal is gate.admit(bearer(TOKEN), "/", PEER).principal
    assert 401 == refusal(gate, WRONG).status


def test_a_recognized_client_is_recalled_with_its_principal_and_an_admission_of_its_own(clocks: Clocks) -> None:
    gate = make_gate(authority(), clocks)
    admission = gate.recognize(bearer(TOKEN), "/", PEER)
    assert admission is not None
    recognition = gate.recognition(admission)
    recalled = [gate.recall(recognition) for _ in range(2)]

    for each in recalled:
        assert each is not None
        assert each.principal is admission.principal
        assert each.may(Right.READ, KEY)
        assert each is not admission
    assert recalled[0] is not recalled[1]


def test_a_client_is_not_recalled_once_its_token_has_expired(clocks: Clocks) -> None:
    gate = make_gate(authority("expires = 2027-01-01T00:00:00Z"), clocks)
    expires = datetime(2027, 1, 1, tzinfo=UTC).timestamp()
    clocks.epoch = expires - 1
    admission = gate.recognize(bearer(TOKEN), "/", PEER)
    assert admission is not None
    recognition = gate.recognition(admission)

    assert gate.recall(recognition) is not None
    clocks.epoch = expires
    assert gate.recall(recognition) is None


def test_no_client_is_recalled_after_a_reload_even_if_nothing_has_changed(clocks: Clocks) -> None:
    known = authority()
    gate = make_gate(known, clocks)
    admission = gate.recognize(bearer(TOKEN), "/", PEER)
    assert admission is not None
    recognition = gate.recognition(admission)
    gate.replace(AuthSettings(), known)

    assert gate.recall(recognition) is None
    assert gate.recall(gate.recognition(admission)) is not None


def test_T07_wrong_tokens_are_forgiven_by_the_monotonic_clock(clocks: Clocks) -> None:
    gate = make_gate(authority(), clocks, AuthSettings(failure_burst=1, failures_per_second=0.5))
    statuses = [refusal(gate, WRONG).status]
    for moment in (1.9, 2.0):
        clocks.monotonic = moment
        statuses.append(refusal(gate, WRONG).status)

    assert [401, 429, 401] == statuses


def test_T07_a_valid_token_is_admitted_after_any_number_of_wrong_ones(clocks: Clocks) -> None:
    gate = make_gate(authority(), clocks, AuthSettings(failure_burst=1))
    for _ in range(3):
        refusal(gate, WRONG)

    assert "ci" == gate.admit(bearer(TOKEN), "/", PEER).name


def test_T07_a_request_without_credentials_is_no_wrong_token(clocks: Clocks) -> None:
    gate = make_gate(authority(), clocks, AuthSettings(failure_burst=1))

    assert [401] * 3 == [refusal(gate, []).status for _ in range(3)]
    assert [401, 429] == [refusal(gate, WRONG).status for _ in range(2)]
    assert 401 == refusal(gate, []).status


def test_T07_a_malformed_token_counts_as_a_wrong_one(clocks: Clocks) -> None:
    gate = make_gate(authority(), clocks, AuthSettings(failure_burst=1))

    assert [401, 429] == [refusal(gate, bearer("")).status for _ in range(2)]


def test_T07_wrong_tokens_count_for_the_address_of_the_sender(clocks: Clocks) -> None:
    gate = make_gate(authority(), clocks, AuthSettings(failure_burst=1))
    refusal(gate, WRONG)

    assert 401 == refusal(gate, WRONG, sender=Sender("192.0.2.2")).status
    assert 429 == refusal(gate, WRONG).status


def test_T07_no_more_addresses_are_counted_than_the_settings_allow(clocks: Clocks) -> None:
    gate = make_gate(authority(), clocks, AuthSettings(failure_burst=1, failure_addresses=1))

    assert [401, 401, 401] == [refusal(gate, WRONG, sender=Sender(f"192.0.2.{end}")).status for end in (1, 2, 1)]


def test_other_limits_of_wrong_tokens_are_in_force_at_once_and_the_same_ones_forget_nothing(clocks: Clocks) -> None:
    known = authority()
    settings = AuthSettings(failure_burst=1)
    gate = make_gate(known, clocks, settings)

    def status() -> int:
        return refusal(gate, WRONG).status

    assert [401, 429] == [status(), status()]
    gate.replace(settings, known)
    assert 429 == status()
    gate.replace(AuthSettings(failure_burst=2), known)
    assert [401, 401, 429] == [status(), status(), status()]


@pytest.mark.parametrize(
    "changed",
    [AuthSettings(failure_burst=1, failures_per_second=0.5), AuthSettings(failure_burst=1, failure_addresses=9)],
)
def test_any_changed_limit_begins_the_counts_anew(changed: AuthSettings, clocks: Clocks) -> None:
    gate = make_gate(authority(), clocks, AuthSettings(failure_burst=1))
    assert [401, 429] == [refusal(gate, WRONG).status for _ in range(2)]

    gate.replace(changed, authority())
    assert [401, 429] == [refusal(gate, WRONG).status for _ in range(2)]


# Clients that were admitted.


def test_L10_a_jump_of_the_wall_clock_moves_what_expires_by_it_and_nothing_else(clocks: Clocks) -> None:
    clocks.epoch = 1_000.0
    gate = make_gate(authority('expires = "1970-01-01T01:00:00Z"'), clocks, AuthSettings(failure_burst=1))
    admission = gate.admit(bearer(TOKEN), "/", PEER)
    assert [401, 429] == [refusal(gate, WRONG).status for _ in range(2)]
    clocks.epoch += 31_536_000.0

    assert admission.is_expired
    assert 429 == refusal(gate, WRONG).status
    clocks.epoch = 0.0
    assert not admission.is_expired


def test_W16_a_client_expires_at_the_second_of_its_token(clocks: Clocks) -> None:
    # 2027-01-15T08:00:00Z is NOW.
    admission = make_gate(authority('expires = "2027-01-15T08:00:01Z"'), clocks).admit(bearer(TOKEN), "/", PEER)

    clocks.epoch = NOW + 0.9
    assert (False, True) == (admission.is_expired, admission.may(Right.READ, KEY))
    clocks.epoch = NOW + 1
    assert (True, False) == (admission.is_expired, admission.may(Right.READ, KEY))
    with pytest.raises(Unauthorized):
        admission.authorize(Right.READ, KEY)
    with pytest.raises(Unauthorized):
        admission.renew()


def test_W16_an_expired_token_admits_nobody_and_counts_as_a_wrong_one(clocks: Clocks) -> None:
    gate = make_gate(authority('expires = "2027-01-15T08:00:01Z"'), clocks, AuthSettings(failure_burst=1))
    clocks.epoch = NOW + 1

    assert [401, 429] == [refusal(gate, bearer(TOKEN)).status for _ in range(2)]


@pytest.mark.parametrize(
    ("right", "where", "is_allowed"),
    [
        (Right.READ, KEY, True),
        (Right.READ, parse_pattern("shop:d*"), True),
        (Right.READ, parse_pattern("*"), False),
        (Right.READ, Key("cart", "dev", "main"), False),
        (Right.SUBSCRIBE, KEY, False),
        (Right.ADMIN, None, False),
    ],
)
def test_may_is_true_where_authorize_does_not_raise(
    right: Right, where: Key | Pattern | None, is_allowed: bool, clocks: Clocks
) -> None:
    admission = make_gate(authority(), clocks).admit(bearer(TOKEN), "/", PEER)

    assert is_allowed == admission.may(right, where)
    if is_allowed:
        admission.authorize(right, where)
    else:
        with pytest.raises(Forbidden, match="^the token doesn't allow this$"):
            admission.authorize(right, where)


def test_W16_after_a_reload_a_renewed_client_has_the_rights_of_the_new_authority(clocks: Clocks) -> None:
    gate = make_gate(authority(), clocks)
    admission = gate.admit(bearer(TOKEN), "/", PEER)
    gate.replace(AuthSettings(), authority(rights='["subscribe"]'))

    # Until it is renewed, a client keeps its principal.
    assert (True, False) == (admission.may(Right.READ, KEY), admission.may(Right.SUBSCRIBE, KEY))
    admission.renew()
    assert (False, True) == (admission.may(Right.READ, KEY), admission.may(Right.SUBSCRIBE, KEY))


def test_W16_a_client_whose_token_was_removed_is_not_renewed(clocks: Clocks) -> None:
    gate = make_gate(authority(), clocks)
    admission = gate.admit(bearer(TOKEN), "/", PEER)
    before = admission.principal
    gate.replace(AuthSettings(), authority(token="vt_" + "d" * 43))

    with pytest.raises(Unauthorized):
        admission.renew()
    assert before is admission.principal


def test_the_names_of_tokens_are_those_of_the_authority_in_force(clocks: Clocks) -> None:
    gate = make_gate(authority(), clocks)
    admission = gate.admit(bearer(TOKEN), "/", PEER)
    assert Names(frozenset({"shop"})) == admission.names

    gate.replace(AuthSettings(), OPEN)
    assert Names() == admission.names
    assert gate.is_open
    assert OPEN is gate.authority


def test_a_reload_replaces_hosts_origins_and_pages(clocks: Clocks) -> None:
    gate = make_gate(OPEN, clocks, pages="http")
    host, origin = [(b"host", b"config.example")], [(b"origin", b"https://app.example")]
    own = [(b"host", b"127.0.0.1:8888"), (b"origin", b"http://127.0.0.1:8888")]
    for headers in (host, origin):
        with pytest.raises(Forbidden):
            gate.check_headers(headers, Sender())
    gate.check_headers(own, Sender())

    gate.replace(AuthSettings(hosts=("config.example",), origins=("https://app.example",)), OPEN)

    for headers in (host, origin):
        gate.check_headers(headers, Sender())
    with pytest.raises(Forbidden):
        gate.check_headers(own, Sender())


def test_the_gate_tells_the_time_of_its_epoch_clock(clocks: Clocks) -> None:
    gate = make_gate(OPEN, clocks)
    clocks.monotonic, clocks.epoch = 5.0, 7.0

    assert 7.0 == gate.now()


def test_a_client_that_sends_no_origin_may_use_any_port(clocks: Clocks) -> None:
    """Only an Origin is compared with our own. A port that no origin can have was an internal error."""
    gate = Gate(AuthSettings(), OPEN, LOOPBACK, lambda: clocks.epoch, lambda: clocks.monotonic, "http")

    gate.check_headers([(b"host", b"localhost:99999")], PEER)


@pytest.mark.parametrize(
    ("origin", "is_listed"),
    [
        ("https://page.example", True),
        ("https://page.example:443", True),
        ("https://page.example:444", False),
        ("https://other.example", False),
        ("page", False),
        (None, False),
    ],
)
def test_the_origins_of_pages_that_may_read_responses(origin: str | None, is_listed: bool) -> None:
    gate = Gate(AuthSettings(origins=("https://page.example",)), Authority(), [], lambda: 0.0, lambda: 0.0)

    assert is_listed == gate.lists_origin(origin)
