"""[[certificate]]: the owner that a name in a certificate identifies, the time for which it is valid, and the refused settings."""

import gc
import weakref

import attrs
import pytest

from vortexd.auth import Authority, Credentials, Kind, Right, Tokens, Unauthorized
from vortexd.auth.certificates import Certificates, load_certificates, repeated_certificates
from vortexd.auth.tokens import entry_of, load_tokens, new_token
from vortexd.core.errors import SettingsError
from vortexd.core.model import Key
from vortexd.net.client_certificate import ClientCertificate, NameKind

from .conftest import NOW

CA = frozenset({"ca"})
FILE = """
[[certificate]]
name = "orders"
uri = "spiffe://example/orders"
rights = ["read", "subscribe"]
patterns = ["orders:*"]
[[certificate]]
name = "ops"
common_name = "Ops"
rights = ["admin"]
"""
ORDERS = ClientCertificate(((NameKind.URI, "spiffe://example/orders"), (NameKind.COMMON_NAME, "Ops")), NOW + 60, CA)


def authority(text: str = FILE, authorities: frozenset[str] = CA, tokens: Tokens | None = None) -> Authority:
    return Authority(tokens, certificates=Certificates(load_certificates(text, "t"), authorities))


def problems(text: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load_certificates(text, "tokens.toml")
    return dict(caught.value.problems)


def test_a_name_of_a_certificate_is_somebody_until_the_certificate_ends() -> None:
    principal = authority().authenticate(Credentials(), NOW, ORDERS)

    assert ("orders", Kind.CERTIFICATE, NOW + 60) == (principal.name, principal.kind, principal.expires_at)
    authority().authorize(principal, Right.READ, Key("orders", "prod", "main"), NOW)
    with pytest.raises(Unauthorized):
        authority().authorize(principal, Right.READ, Key("orders", "prod", "main"), NOW + 60)
    with pytest.raises(Unauthorized):
        authority().authenticate(Credentials(), NOW + 60, ORDERS)


def test_names_are_looked_at_in_their_order_and_compared_whole() -> None:
    def named(kind: NameKind, name: str) -> ClientCertificate:
        return ClientCertificate(((kind, name),), NOW + 60, CA)

    assert "ops" == authority().authenticate(Credentials(), NOW, named(NameKind.COMMON_NAME, "Ops")).name
    for kind, name in (
        (NameKind.COMMON_NAME, "ops"),
        (NameKind.DNS, "Ops"),
        (NameKind.URI, "spiffe://example/orders/x"),
        (NameKind.COMMON_NAME, "spiffe://example/orders"),
        (NameKind.COMMON_NAME, ""),
    ):
        with pytest.raises(Unauthorized):
            authority().authenticate(Credentials(), NOW, named(kind, name))
    with pytest.raises(Unauthorized):
        authority().authenticate(Credentials(), NOW, ClientCertificate((), NOW + 60, CA))


def test_where_a_token_is_sent_the_token_alone_is_judged() -> None:
    token = new_token()
    judge = authority(tokens=Tokens(load_tokens(entry_of("ci", token), "t")))

    assert "ci" == judge.authenticate(Credentials(token), NOW, ORDERS).name
    for wrong in (Credentials(new_token()), Credentials(is_malformed=True)):
        with pytest.raises(Unauthorized):
            judge.authenticate(wrong, NOW, ORDERS)


def test_a_spare_token_is_not_judged_where_a_certificate_says_who_it_is() -> None:
    token = new_token()
    judge = authority(tokens=Tokens(load_tokens(entry_of("ci", token), "t")))
    spare = (Credentials(token, is_spare=True), Credentials(is_malformed=True, is_spare=True))

    assert {judge.authenticate(Credentials(), NOW, ORDERS).name} == {
        judge.authenticate(each, NOW, ORDERS).name for each in spare
    }
    assert "ci" == judge.authenticate(spare[0], NOW).name
    with pytest.raises(Unauthorized):
        judge.authenticate(spare[1], NOW)


def test_W16_a_withdrawn_certificate_is_nobody_and_a_changed_one_has_its_new_rights() -> None:
    principal = authority().authenticate(Credentials(), NOW, ORDERS)

    assert principal == authority().renew(principal, NOW)
    more = authority(FILE.replace("orders:*", "billing:*"))
    assert more.renew(principal, NOW).grants != principal.grants
    with pytest.raises(Unauthorized):
        authority("").renew(principal, NOW)
    with pytest.raises(Unauthorized):
        authority().renew(principal, NOW + 60)


def test_clients_with_equal_certificates_share_one_principal_also_after_a_reload() -> None:
    judge, again = authority(), authority()
    first, second = (judge.authenticate(Credentials(), NOW, attrs.evolve(ORDERS, expires_at=NOW + 60)) for _ in "ab")
    assert first is second
    # Two clients that a former authority has admitted, each with a principal of its own.
    former = [attrs.evolve(first) for _ in range(2)]
    assert former[0] is not former[1]
    renewed = [again.renew(each, NOW) for each in former]

    assert renewed[0] is renewed[1]
    assert renewed[0] is again.authenticate(Credentials(), NOW, ORDERS)
    assert renewed[0] == first
    assert renewed[0] is not first


@pytest.mark.parametrize(
    "other",
    [
        attrs.evolve(ORDERS, expires_at=NOW + 61),
        attrs.evolve(ORDERS, authorities=frozenset()),
        attrs.evolve(ORDERS, names=((NameKind.COMMON_NAME, "Ops"),)),
    ],
)
def test_clients_with_other_certificates_share_none(other: ClientCertificate) -> None:
    judge = authority()
    first, second = (judge.authenticate(Credentials(), NOW, each) for each in (ORDERS, other))

    assert (NOW + 60, CA, "uri:spiffe://example/orders") == (first.expires_at, first.authorities, first.identity)
    assert (other.expires_at, other.authorities) == (second.expires_at, second.authorities)
    assert ("orders" if other.names == ORDERS.names else "ops") == second.name
    # Each is shared by others like it.
    assert second is judge.authenticate(Credentials(), NOW, other)


def test_a_principal_is_kept_only_while_a_client_has_it() -> None:
    certificates = Certificates(load_certificates(FILE, "t"), CA)
    principal = certificates.find(ORDERS)
    kept = weakref.ref(principal)
    assert certificates.renewed(principal) is kept()
    del principal
    gc.collect()

    assert kept() is None


def test_W16_who_came_before_an_authority_was_withdrawn_comes_again() -> None:
    two = frozenset({"ca", "other"})
    principal = authority(authorities=two).authenticate(Credentials(), NOW, attrs.evolve(ORDERS, authorities=two))

    assert authority(authorities=two | {"third"}).renew(principal, NOW)
    for authorities in (CA, frozenset[str]()):
        with pytest.raises(Unauthorized):
            authority(authorities=authorities).renew(principal, NOW)
        with pytest.raises(Unauthorized):
            authority(authorities=authorities).authenticate(Credentials(), NOW, attrs.evolve(ORDERS, authorities=two))


def test_P14_applications_that_certificates_name_own_their_files() -> None:
    assert frozenset({"orders"}) == authority().names.applications


@pytest.mark.parametrize(
    ("entry", "place"),
    [
        ('uri = "spiffe://x"\ndns = "x"', ""),
        ("", ""),
        ('dns = "*"', ".dns"),
        ('dns = "UPPER.example"', ".dns"),
        ('uri = "no uri"', ".uri"),
        ('common_name = ""', ".common_name"),
        ("common_name = 1", ".common_name"),
        ('common_name = "x"\nserial = "y"', ".serial"),
    ],
)
def test_what_can_not_be_known_says_where(entry: str, place: str) -> None:
    text = f'[[certificate]]\nname = "a"\nrights = ["read"]\npatterns = ["*"]\n{entry}\n'

    assert [f"certificate[0]{place}"] == list(problems(text))


def test_names_rights_and_patterns_are_as_of_tokens() -> None:
    text = '[[certificate]]\nname = "-"\ncommon_name = "x"\nrights = ["write"]\npatterns = ["a:b:c:d"]\n'

    assert {"name", "rights[0]", "patterns[0]"} == {each.partition(".")[2] for each in problems(text)}


def test_what_is_there_twice_is_found() -> None:
    entries = load_certificates(FILE, "t")

    assert [] == list(repeated_certificates(entries))
    assert ["again"] == list(repeated_certificates([*entries, attrs.evolve(entries[0], name="again")]))
    assert ["ops"] == list(repeated_certificates([*entries, attrs.evolve(entries[1], value="y")]))
