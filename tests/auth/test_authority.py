"""The authority: identifies the owner of a credential, and decides about the owner's rights."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vortexd.core.patterns
from vortexd.auth import (
    Authority,
    Credentials,
    Forbidden,
    Gate,
    Grant,
    Kind,
    Principal,
    Right,
    Tokens,
    Unauthorized,
    digest_of,
    extract_credentials,
    load_tokens,
)
from vortexd.auth.jwt import JwtVerifier, load_secret
from vortexd.auth.principal import ALL_RIGHTS
from vortexd.core.errors import RemoteError
from vortexd.core.model import Key, Names
from vortexd.core.patterns import parse_pattern
from vortexd.net.proxies import Sender
from vortexd.settings.auth import AuthSettings

from .conftest import NOW

SECRET = b"s" * 32


def token_of(name: str) -> str:
    return "vt_" + name.ljust(43, "_")


def authority(*entries: tuple[str, str, str], expires: str = "") -> Authority:
    """An authority of tokens: name, rights and patterns, each separated by spaces."""
    text = "".join(
        f'[[token]]\nname = "{name}"\nsha256 = "{digest_of(token_of(name))}"\n'
        f"rights = {rights.split()}\npatterns = {patterns.split()}\n{expires}\n"
        for name, rights, patterns in entries
    )
    return Authority(Tokens(load_tokens(text, "tokens.toml")))


def who(judge: Authority, name: str) -> Principal:
    return judge.authenticate(Credentials(token_of(name)), NOW)


def allowed(judge: Authority, name: str, right: Right, where: str | None) -> bool:
    """Whether it may; `where` is a key or, with a star in it, a pattern."""
    place = None if where is None else parse_pattern(where) if "*" in where else Key(*where.split(":"))
    try:
        judge.authorize(who(judge, name), right, place, NOW)
    except Forbidden:
        return False
    return True


# Who somebody is.


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials(),
        Credentials(is_malformed=True),
        Credentials(token_of("a"), is_malformed=True),
        Credentials(token_of("b")),
        Credentials(""),
        Credentials("null"),
        Credentials("a.b.c"),
        Credentials("\u00fc" * 50),
        Credentials("\ud800"),
        Credentials("x" * 1_000_000),
        Credentials("." * 1_000_000),
    ],
)
def test_T04_who_is_nobody_gets_401_and_one_text(credentials):
    for judge in (authority(("a", "read", "*")), Authority(jwt=JwtVerifier([load_secret(SECRET, "secret")]))):
        with pytest.raises(Unauthorized) as caught:
            judge.authenticate(credentials, NOW)

        assert (401, "a valid token is required") == (caught.value.status, caught.value.reason)


@given(st.text() | st.text("vt_.eyJ0a-9="), st.booleans(), st.lists(st.tuples(st.binary(), st.binary())), st.text())
def test_no_bytes_raise_anything_but_unauthorized(token, is_malformed, headers, target):
    judge = Authority(Tokens(), JwtVerifier([load_secret(SECRET, "secret")]))
    for value in (
        Credentials(token, is_malformed),
        extract_credentials(headers, target),
        extract_credentials([(b"authorization", value) for _, value in headers], "/?token=" + target),
    ):
        with pytest.raises(Unauthorized):
            judge.authenticate(value, NOW)


def test_T03_an_authority_of_nothing_lets_nobody_in():
    with pytest.raises(Unauthorized):
        Authority().authenticate(Credentials(), NOW)


def test_what_nobody_asked_for_is_ignored_where_it_is_open():
    judge = Authority(anonymous=frozenset({Right.READ}))

    for credentials in (
        Credentials(),
        Credentials("x"),
        Credentials(is_malformed=True),
        Credentials("\ud800"),
        Credentials("x", is_spare=True),
    ):
        assert Kind.ANONYMOUS == judge.authenticate(credentials, NOW).kind
    judge.authorize(judge.authenticate(Credentials(), NOW), Right.READ, Key("a,b", "c", "d"), NOW)
    with pytest.raises(Forbidden):
        judge.authorize(judge.authenticate(Credentials(), NOW), Right.ADMIN, None, NOW)


def test_a_jwt_and_a_token_are_told_apart(sign):
    tokens = Tokens(load_tokens(f'[[token]]\nname="a"\nsha256="{digest_of(token_of("a"))}"\nrights=["admin"]', "t"))
    judge = Authority(tokens, JwtVerifier([load_secret(SECRET, "secret")]))

    assert Kind.TOKEN == who(judge, "a").kind
    assert Kind.JWT == judge.authenticate(Credentials(sign(SECRET, "HS256")), NOW).kind
    with pytest.raises(Unauthorized):
        Authority(tokens).authenticate(Credentials(sign(SECRET, "HS256")), NOW)


def test_one_token_is_one_object_however_often_it_comes():
    judge = authority(("a", "read", "*"))

    assert who(judge, "a") is who(judge, "a")


# What they may do.


@pytest.mark.parametrize(
    ("right", "where", "expected"),
    [
        (Right.READ, "shop:dev:main", True),
        (Right.READ, "shop:dev:other", True),
        (Right.READ, "shop:prod:main", False),
        (Right.READ, "cart:dev:main", False),
        (Right.SUBSCRIBE, "shop:dev:main", True),
        (Right.REPORT, "shop:dev:main", False),
        (Right.ADMIN, "shop:dev:main", False),
        (Right.ADMIN, None, False),
        (Right.READ, None, False),
        (Right.SUBSCRIBE, "shop:dev:*", True),
    ],
)
def test_M12_a_right_holds_for_its_patterns_and_nowhere_else(right, where, expected):
    assert expected == allowed(authority(("a", "read subscribe", "shop:dev")), "a", right, where)


@pytest.mark.parametrize("where", ["*", "shop:*", "*:dev:*", "sh*:dev:*", "shop:d*:main"])
def test_M11_a_pattern_wider_than_the_right_is_refused(where):
    assert not allowed(authority(("a", "subscribe", "shop:dev")), "a", Right.SUBSCRIBE, where)


@pytest.mark.parametrize("where", ["shop:dev,prod:main", "shop:prod,dev:main", "shop,cart:dev:main"])
def test_T09_every_element_must_be_allowed(where):
    assert not allowed(authority(("a", "read", "shop:dev")), "a", Right.READ, where)


def test_T09_elements_may_be_allowed_by_different_patterns_but_each_pair_must():
    judge = authority(("a", "read", "shop:dev shop:prod cart:dev"))

    assert allowed(judge, "a", Right.READ, "shop:dev,prod:main")
    assert allowed(judge, "a", Right.READ, "shop,cart:dev:main")
    assert not allowed(judge, "a", Right.READ, "shop,cart:dev,prod:main")


def test_T09_every_label_of_a_list_must_be_allowed():
    judge = authority(("a", "read", "shop:dev:main shop:dev:next shop:dev:release/*"))

    for where in ("main,next", "next,main", "main,release/1"):
        judge.authorize(who(judge, "a"), Right.READ, Key("shop", "dev", where), NOW)
    for where in ("main,secret", "secret,main", "release/1,secret"):
        with pytest.raises(Forbidden):
            judge.authorize(who(judge, "a"), Right.READ, Key("shop", "dev", where), NOW)


PARTS = st.sampled_from(["a", "b", "c", "*"])


@given(
    st.lists(st.tuples(PARTS, PARTS, PARTS), min_size=1, max_size=6),
    st.tuples(*(st.lists(st.sampled_from("abc"), min_size=1, max_size=3) for _ in range(3))),
)
def test_T09_a_list_is_allowed_if_and_only_if_each_pairing_is(patterns, names):
    judge = authority(("a", "read", " ".join(map(":".join, patterns))))
    pairings = [Key(*each) for each in product(*names)]
    parsed = [parse_pattern(":".join(each)) for each in patterns]

    expected = all(any(pattern.matches(each) for pattern in parsed) for each in pairings)
    assert expected == who(judge, "a").may(Right.READ, Key(*map(",".join, names)))


def test_T09_thousands_of_pairings_are_judged_by_looking_at_each_name_once(monkeypatch):
    patterns = [f"a*:*-{number}:*" for number in range(16)]
    judge = authority(("a", "read", " ".join(patterns)))
    key = Key(*(",".join(f"{name}-{number}" for number in range(16)) for name in "apl"))
    looked_at = 0

    def counted(glob: str, text: str) -> bool:
        nonlocal looked_at
        looked_at += 1
        return matches(glob, text)

    matches = vortexd.core.patterns._matches
    monkeypatch.setattr(vortexd.core.patterns, "_matches", counted)
    judge.authorize(who(judge, "a"), Right.READ, key, NOW)

    # Once for each pattern as a whole, and once for each of its parts.
    assert looked_at <= 2 * len(patterns) * 3 * 16


def test_the_names_that_tokens_name_in_full_are_known():
    judge = authority(("a", "read", "shop:dev cart-*:prod"), ("b", "read", "billing:*"))

    assert Names(frozenset(["shop", "billing"]), frozenset(["dev", "prod"])) == judge.names


def test_T09_the_default_profile_and_the_shared_application_are_names_like_others():
    judge = authority(("a", "read", "shop:dev:main"))

    assert not allowed(judge, "a", Right.READ, "shop:default:main")
    assert not allowed(judge, "a", Right.READ, "application:dev:main")
    assert not allowed(judge, "a", Right.READ, "shop:dev:secret")


def test_admin_is_for_the_daemon_and_gives_no_configuration():
    judge = authority(("a", "admin", "*"))

    assert allowed(judge, "a", Right.ADMIN, None)
    assert not allowed(judge, "a", Right.READ, "shop:dev:main")
    assert not allowed(judge, "a", Right.SUBSCRIBE, "*")


def test_M13_rights_do_not_depend_on_what_exists():
    judge = authority(("a", "read", "shop:*"))

    assert allowed(judge, "a", Right.READ, "shop:nothing:nowhere")
    assert not allowed(judge, "a", Right.READ, "nothing:nothing:nowhere")


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("a:dev:main", True),
        ("a:us-east:main", True),
        ("a:b-c:main", False),
        ("a:b:main", False),
        ("a:dev,b-c:main", False),
        ("a:bc:main", True),
    ],
)
def test_P14_a_file_belongs_to_the_longest_application_that_a_token_names(where, expected):
    judge = authority(("a", "read", "a:*"), ("owner", "read", "a-b:*"))

    assert expected == allowed(judge, "a", Right.READ, where)
    assert not allowed(judge, "owner", Right.READ, where)


def test_P14_who_may_both_may_read_what_is_of_both():
    judge = authority(("a", "read", "a:* a-b:*"), ("b", "read", "a-b:*"))

    assert allowed(judge, "a", Right.READ, "a:b-c:main")
    assert allowed(judge, "b", Right.READ, "a-b:c:main")


def test_the_text_of_a_refusal_says_nothing_of_what_was_asked():
    judge = authority(("a", "read", "shop:*"))
    with pytest.raises(Forbidden) as caught:
        judge.authorize(who(judge, "a"), Right.READ, Key("secret", "dev", "main"), NOW)

    assert (403, "the token doesn't allow this") == (caught.value.status, caught.value.reason)


# Time and reloads.


def test_W16_an_expired_token_is_nobody_at_once_and_at_each_thing_it_does():
    # 2027-01-15T08:00:00Z is NOW.
    judge = authority(("a", "read", "*"), expires='expires = "2027-01-15T08:00:01Z"')
    principal = who(judge, "a")
    key = Key("shop", "dev", "main")

    judge.authorize(principal, Right.READ, key, NOW + 0.9)
    for place in (key, parse_pattern("shop:*"), None):
        with pytest.raises(Unauthorized):
            judge.authorize(principal, Right.READ, place, NOW + 1)
    with pytest.raises(Unauthorized):
        judge.authenticate(Credentials(token_of("a")), NOW + 1)
    with pytest.raises(Unauthorized):
        judge.renew(principal, NOW + 1)


def test_W16_who_is_renewed_has_the_rights_of_the_new_file():
    old = authority(("a", "read", "*"), ("gone", "read", "*"))
    new = authority(("a", "read", "shop:*"))

    renewed = new.renew(who(old, "a"), NOW)

    assert renewed is who(new, "a")
    with pytest.raises(Unauthorized):
        new.renew(who(old, "gone"), NOW)


def test_W16_a_new_token_under_an_old_name_is_not_who_had_the_old_one():
    old = Authority(Tokens(load_tokens(f'[[token]]\nname="a"\nsha256="{"1" * 64}"\nrights=["admin"]', "t")))
    principal = Principal("a", Kind.TOKEN, (Grant(ALL_RIGHTS, ()),), None, "1" * 64)

    assert "a" == old.renew(principal, NOW).name
    with pytest.raises(Unauthorized):
        authority(("a", "admin", "*")).renew(principal, NOW)


def test_W16_a_jwt_lives_as_long_as_its_key_and_audience_are_in_force(sign):
    judge = Authority(jwt=JwtVerifier([load_secret(SECRET, "secret")]))
    principal = judge.authenticate(Credentials(sign(SECRET, "HS256")), NOW)

    assert principal == judge.renew(principal, NOW)
    for verifier in (
        None,
        JwtVerifier([load_secret(b"t" * 32, "secret")]),
        JwtVerifier([load_secret(SECRET, "secret")], "vortexd"),
        JwtVerifier([load_secret(SECRET, "secret")], issuer="x"),
    ):
        with pytest.raises(Unauthorized):
            Authority(jwt=verifier).renew(principal, NOW)


def test_who_came_while_it_was_open_is_nobody_once_it_is_closed():
    opened = Authority(anonymous=frozenset({Right.READ}))
    anonymous = opened.authenticate(Credentials(), NOW)

    assert anonymous == opened.renew(anonymous, NOW)
    assert Kind.ANONYMOUS == opened.renew(who(authority(("a", "read", "*")), "a"), NOW).kind
    with pytest.raises(Unauthorized):
        authority(("a", "read", "*")).renew(anonymous, NOW)


def test_L10_a_jump_of_the_wall_clock_moves_what_expires_by_it_and_nothing_else() -> None:
    epoch, monotonic = 1_000.0, 0.0
    token = "vt_" + "c" * 43
    file = (
        f'[[token]]\nname = "c"\nsha256 = "{digest_of(token)}"\nrights = ["read"]\npatterns = ["*"]\n'
        'expires = "1970-01-01T01:00:00Z"\n'
    )
    settings = AuthSettings(failure_burst=1, failures_per_second=1.0)
    gate = Gate(settings, Authority(Tokens(load_tokens(file, "t"))), [], lambda: epoch, lambda: monotonic)
    headers = [(b"authorization", f"Bearer {token}".encode())]
    wrong = [(b"authorization", b"Bearer vt_" + b"w" * 43)]
    admission = gate.admit(headers, "/", Sender("192.0.2.1"))
    for _ in range(2):
        with pytest.raises(RemoteError) as caught:
            gate.admit(wrong, "/", Sender("192.0.2.1"))
    assert 429 == caught.value.status
    epoch += 31_536_000.0

    assert admission.is_expired
    with pytest.raises(RemoteError) as caught:
        gate.admit(wrong, "/", Sender("192.0.2.1"))
    assert 429 == caught.value.status
    epoch = 0.0
    assert not admission.is_expired


def test_what_is_only_recognized_is_never_counted_as_a_failure() -> None:
    token = "vt_" + "c" * 43
    file = f'[[token]]\nname = "c"\nsha256 = "{digest_of(token)}"\nrights = ["read"]\npatterns = ["*"]\n'
    gate = Gate(AuthSettings(failure_burst=1), Authority(Tokens(load_tokens(file, "t"))), [], lambda: 0.0, lambda: 0.0)
    sender, wrong = Sender("192.0.2.1"), [(b"authorization", b"Bearer vt_" + b"w" * 43)]
    foreign = [(b"authorization", f"Bearer {token}".encode()), (b"host", b"evil.example")]

    assert [None] * 3 == [gate.recognize(wrong, "/", sender) for _ in range(3)]
    assert gate.recognize([], "/", sender) is None
    assert gate.recognize(foreign, "/", sender) is None
    admission = gate.recognize([(b"authorization", f"Bearer {token}".encode())], "/", sender)
    assert admission is not None
    assert "c" == admission.name
    with pytest.raises(RemoteError) as caught:
        gate.admit(wrong, "/", sender)
    assert 401 == caught.value.status


def test_other_limits_of_wrong_tokens_are_in_force_at_once_and_the_same_ones_forget_nothing() -> None:
    known = Authority(
        Tokens(load_tokens(f'[[token]]\nname = "c"\nsha256 = "{"0" * 64}"\nrights = ["read"]\npatterns = ["*"]\n', "t"))
    )
    settings = AuthSettings(failure_burst=1)
    gate = Gate(settings, known, [], lambda: 0.0, lambda: 0.0)
    wrong = [(b"authorization", b"Bearer vt_" + b"w" * 43)]

    def status() -> int:
        with pytest.raises(RemoteError) as caught:
            gate.admit(wrong, "/", Sender("192.0.2.1"))
        return caught.value.status

    assert [401, 429] == [status(), status()]
    gate.replace(settings, known)
    assert 429 == status()
    gate.replace(AuthSettings(failure_burst=2), known)
    assert [401, 401, 429] == [status(), status(), status()]
