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
from vortexd.auth.certificates import Certificates, load_certificates
from vortexd.auth.jwt import JwtVerifier, load_secret
from vortexd.auth.principal import ALL_RIGHTS
from vortexd.core.model import Key, Names
from vortexd.core.patterns import parse_pattern
from vortexd.net.client_certificate import ClientCertificate, NameKind

from .conftest import NOW, Sign

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
def test_T04_who_is_nobody_gets_401_and_one_text(credentials: Credentials) -> None:
    for judge in (authority(("a", "read", "*")), Authority(jwt=JwtVerifier([load_secret(SECRET, "secret")]))):
        with pytest.raises(Unauthorized) as caught:
            judge.authenticate(credentials, NOW)

        assert (401, "a valid token is required") == (caught.value.status, caught.value.reason)


@given(st.text() | st.text("vt_.eyJ0a-9="), st.booleans(), st.lists(st.tuples(st.binary(), st.binary())), st.text())
def test_no_bytes_raise_anything_but_unauthorized(
    token: str, is_malformed: bool, headers: list[tuple[bytes, bytes]], target: str
) -> None:
    judge = Authority(Tokens(), JwtVerifier([load_secret(SECRET, "secret")]))
    for value in (
        Credentials(token, is_malformed),
        extract_credentials(headers, target),
        extract_credentials([(b"authorization", value) for _, value in headers], "/?token=" + target),
    ):
        with pytest.raises(Unauthorized):
            judge.authenticate(value, NOW)


def test_T03_an_authority_of_nothing_lets_nobody_in() -> None:
    with pytest.raises(Unauthorized):
        Authority().authenticate(Credentials(), NOW)


def test_what_nobody_asked_for_is_ignored_where_it_is_open() -> None:
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


def test_a_jwt_and_a_token_are_told_apart(sign: Sign) -> None:
    tokens = Tokens(load_tokens(f'[[token]]\nname="a"\nsha256="{digest_of(token_of("a"))}"\nrights=["admin"]', "t"))
    judge = Authority(tokens, JwtVerifier([load_secret(SECRET, "secret")]))

    assert Kind.TOKEN == who(judge, "a").kind
    assert Kind.JWT == judge.authenticate(Credentials(sign(SECRET, "HS256")), NOW).kind
    with pytest.raises(Unauthorized):
        Authority(tokens).authenticate(Credentials(sign(SECRET, "HS256")), NOW)


def test_a_certificate_counts_unless_the_client_sends_a_token_too() -> None:
    entry = '[[certificate]]\nname = "ops"\ncommon_name = "Ops"\nrights = ["admin"]\n'
    token = f'[[token]]\nname = "a"\nsha256 = "{digest_of(token_of("a"))}"\nrights = ["admin"]\n'
    judge = Authority(Tokens(load_tokens(token, "t")), certificates=Certificates(load_certificates(entry, "t")))
    certificate = ClientCertificate(((NameKind.COMMON_NAME, "Ops"),), NOW + 60)

    for credentials, name in (
        (Credentials(), "ops"),
        (Credentials("x", is_spare=True), "ops"),
        (Credentials(is_malformed=True, is_spare=True), "ops"),
        (Credentials(token_of("a")), "a"),
    ):
        assert name == judge.authenticate(credentials, NOW, certificate).name
    for credentials in (Credentials("x"), Credentials(is_malformed=True)):
        with pytest.raises(Unauthorized):
            judge.authenticate(credentials, NOW, certificate)
    principal = judge.authenticate(Credentials(), NOW, certificate)
    assert principal == judge.renew(principal, NOW + 59)
    with pytest.raises(Unauthorized):
        judge.renew(principal, NOW + 60)
    with pytest.raises(Unauthorized):
        Authority().renew(principal, NOW)


def test_one_token_is_one_object_however_often_it_comes() -> None:
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
def test_M12_a_right_holds_for_its_patterns_and_nowhere_else(right: Right, where: str | None, expected: bool) -> None:
    assert expected == allowed(authority(("a", "read subscribe", "shop:dev")), "a", right, where)


@pytest.mark.parametrize("where", ["*", "shop:*", "*:dev:*", "sh*:dev:*", "shop:d*:main"])
def test_M11_a_pattern_wider_than_the_right_is_refused(where: str) -> None:
    assert not allowed(authority(("a", "subscribe", "shop:dev")), "a", Right.SUBSCRIBE, where)


@pytest.mark.parametrize("where", ["shop:dev,prod:main", "shop:prod,dev:main", "shop,cart:dev:main"])
def test_T09_every_element_must_be_allowed(where: str) -> None:
    assert not allowed(authority(("a", "read", "shop:dev")), "a", Right.READ, where)


def test_T09_elements_may_be_allowed_by_different_patterns_but_each_pair_must() -> None:
    judge = authority(("a", "read", "shop:dev shop:prod cart:dev"))

    assert allowed(judge, "a", Right.READ, "shop:dev,prod:main")
    assert allowed(judge, "a", Right.READ, "shop,cart:dev:main")
    assert not allowed(judge, "a", Right.READ, "shop,cart:dev,prod:main")


def test_T09_every_label_of_a_list_must_be_allowed() -> None:
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
def test_T09_a_list_is_allowed_if_and_only_if_each_pairing_is(
    patterns: list[tuple[str, str, str]], names: tuple[list[str], list[str], list[str]]
) -> None:
    judge = authority(("a", "read", " ".join(map(":".join, patterns))))
    pairings = [Key(*each) for each in product(*names)]
    parsed = [parse_pattern(":".join(each)) for each in patterns]

    expected = all(any(pattern.matches(each) for pattern in parsed) for each in pairings)
    assert expected == who(judge, "a").may(Right.READ, Key(*map(",".join, names)))


def test_T09_thousands_of_pairings_are_judged_by_looking_at_each_name_once(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_names_that_tokens_name_in_full_are_known() -> None:
    judge = authority(("a", "read", "shop:dev cart-*:prod"), ("b", "read", "billing:*"))

    assert Names(frozenset(["shop", "billing"]), frozenset(["dev", "prod"])) == judge.names


def test_T09_the_default_profile_and_the_shared_application_are_names_like_others() -> None:
    judge = authority(("a", "read", "shop:dev:main"))

    assert not allowed(judge, "a", Right.READ, "shop:default:main")
    assert not allowed(judge, "a", Right.READ, "application:dev:main")
    assert not allowed(judge, "a", Right.READ, "shop:dev:secret")


def test_admin_is_for_the_daemon_and_gives_no_configuration() -> None:
    judge = authority(("a", "admin", "*"))

    assert allowed(judge, "a", Right.ADMIN, None)
    assert not allowed(judge, "a", Right.READ, "shop:dev:main")
    assert not allowed(judge, "a", Right.SUBSCRIBE, "*")


def test_M13_rights_do_not_depend_on_what_exists() -> None:
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
def test_P14_a_file_belongs_to_the_longest_application_that_a_token_names(where: str, expected: bool) -> None:
    judge = authority(("a", "read", "a:*"), ("owner", "read", "a-b:*"))

    assert expected == allowed(judge, "a", Right.READ, where)
    assert not allowed(judge, "owner", Right.READ, where)


def test_P14_who_may_both_may_read_what_is_of_both() -> None:
    judge = authority(("a", "read", "a:* a-b:*"), ("b", "read", "a-b:*"))

    assert allowed(judge, "a", Right.READ, "a:b-c:main")
    assert allowed(judge, "b", Right.READ, "a-b:c:main")


def test_the_text_of_a_refusal_says_nothing_of_what_was_asked() -> None:
    judge = authority(("a", "read", "shop:*"))
    with pytest.raises(Forbidden) as caught:
        judge.authorize(who(judge, "a"), Right.READ, Key("secret", "dev", "main"), NOW)

    assert (403, "the token doesn't allow this") == (caught.value.status, caught.value.reason)


# Time and reloads.


def test_W16_an_expired_token_is_nobody_at_once_and_at_each_thing_it_does() -> None:
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


def test_W16_who_is_renewed_has_the_rights_of_the_new_file() -> None:
    old = authority(("a", "read", "*"), ("gone", "read", "*"))
    new = authority(("a", "read", "shop:*"))

    renewed = new.renew(who(old, "a"), NOW)

    assert renewed is who(new, "a")
    with pytest.raises(Unauthorized):
        new.renew(who(old, "gone"), NOW)


def test_W16_a_new_token_under_an_old_name_is_not_who_had_the_old_one() -> None:
    old = Authority(Tokens(load_tokens(f'[[token]]\nname="a"\nsha256="{"1" * 64}"\nrights=["admin"]', "t")))
    principal = Principal("a", Kind.TOKEN, (Grant(ALL_RIGHTS, ()),), None, "1" * 64)

    assert "a" == old.renew(principal, NOW).name
    with pytest.raises(Unauthorized):
        authority(("a", "admin", "*")).renew(principal, NOW)


def test_W16_a_jwt_lives_as_long_as_its_key_and_audience_are_in_force(sign: Sign) -> None:
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


def test_who_came_while_it_was_open_is_nobody_once_it_is_closed() -> None:
    opened = Authority(anonymous=frozenset({Right.READ}))
    anonymous = opened.authenticate(Credentials(), NOW)

    assert anonymous == opened.renew(anonymous, NOW)
    assert Kind.ANONYMOUS == opened.renew(who(authority(("a", "read", "*")), "a"), NOW).kind
    with pytest.raises(Unauthorized):
        authority(("a", "read", "*")).renew(anonymous, NOW)


# Decisions that are remembered.


class Counted:
    """Counts how often a principal is judged."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        may = Principal.may

        def counted(principal: Principal, right: Right, where: object) -> bool:
            self.count += 1
            return may(principal, right, where)  # type: ignore[arg-type]

        monkeypatch.setattr(Principal, "may", counted)


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


@pytest.mark.parametrize("right", [Right.READ, Right.SUBSCRIBE])
def test_a_decision_is_made_once_per_principal_right_and_key(judged: Counted, right: Right) -> None:
    judge = authority(("a", "read", "x:*"), ("b", "subscribe", "x:*"))
    for _ in range(3):
        assert (right is Right.READ) == allowed(judge, "a", right, "x:dev:main")
        assert (right is Right.SUBSCRIBE) == allowed(judge, "b", right, "x:dev:main")
    assert 2 == judged.count

    assert not allowed(judge, "a", right, "y:dev:main")
    assert not allowed(judge, "a", right, "x:dev:main") or right is Right.READ
    assert 3 == judged.count


def test_T05_another_authority_decides_anew() -> None:
    for rights in ("read", "subscribe", "read"):
        judge = authority(("a", rights, "x:*"))
        assert (rights == "read") == allowed(judge, "a", Right.READ, "x:dev:main")


def test_a_remembered_decision_does_not_outlive_the_token() -> None:
    judge = authority(("a", "read", "x:*"), expires="expires = 2030-01-01T00:00:00Z")
    principal, key = who(judge, "a"), Key("x", "dev", "main")
    assert principal.expires_at is not None
    judge.authorize(principal, Right.READ, key, NOW)

    with pytest.raises(Unauthorized):
        judge.authorize(principal, Right.READ, key, principal.expires_at)


def test_a_principal_with_the_number_of_another_is_judged_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = authority(("a", "read", "x:*"), ("b", "read", "y:*"))
    monkeypatch.setattr("vortexd.auth.authority.id", lambda _: 1, raising=False)

    for _ in range(2):
        assert allowed(judge, "a", Right.READ, "x:dev:main")
        assert not allowed(judge, "b", Right.READ, "x:dev:main")


def test_decisions_about_a_jwt_are_not_remembered(sign: Sign, judged: Counted) -> None:
    judge = Authority(jwt=JwtVerifier([load_secret(SECRET, "secret")]))
    principal = judge.authenticate(Credentials(sign(SECRET, "HS256")), NOW)
    for _ in range(2):
        with pytest.raises(Forbidden):
            judge.authorize(principal, Right.REPORT, Key("x", "dev", "main"), NOW)

    assert 2 == judged.count


def test_L04_only_so_many_decisions_are_remembered(monkeypatch: pytest.MonkeyPatch, judged: Counted) -> None:
    monkeypatch.setattr("vortexd.auth.authority._DECISIONS", 3)
    judge = authority(("a", "read", "*"))
    for number in (0, 1, 2, 0, 1, 2):
        assert allowed(judge, "a", Right.READ, f"x{number}:dev:main")
    assert (3, 3) == (judged.count, len(judge._decisions))

    assert allowed(judge, "a", Right.READ, "x3:dev:main")
    assert 1 == len(judge._decisions)
    assert allowed(judge, "a", Right.READ, "x0:dev:main")
    assert 5 == judged.count


@pytest.mark.parametrize(("length", "times"), [(256, 1), (257, 2)])
def test_L04_decisions_about_long_keys_are_not_remembered(judged: Counted, length: int, times: int) -> None:
    judge = authority(("a", "read", "*"))
    key = "x" * (length - len(":dev:main")) + ":dev:main"
    for _ in range(2):
        assert allowed(judge, "a", Right.READ, key)

    assert times == judged.count
