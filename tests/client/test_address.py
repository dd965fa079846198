import pytest

from vortexd.client.address import Address, headers, parse_address, subject_of, target
from vortexd.core.generation import HIGHEST_NUMBER, Generation
from vortexd.realtime.handshake import parse_target

LOCAL = Address("127.0.0.1", 8888)


@pytest.mark.parametrize(
    ("url", "expected", "authority"),
    [
        ("ws://127.0.0.1:8888", LOCAL, "127.0.0.1:8888"),
        ("http://127.0.0.1:8888/", LOCAL, "127.0.0.1:8888"),
        ("https://config.example", Address("config.example", 443, True), "config.example"),
        ("wss://config.example:80/vortex/", Address("config.example", 80, True, "/vortex"), "config.example:80"),
        ("ws://[::1]:80", Address("::1", 80), "[::1]"),
        ("unix:///run/vortexd.sock", Address("/run/vortexd.sock", None), "localhost"),
    ],
)
def test_a_url_says_where_a_server_is(url: str, expected: Address, authority: str) -> None:
    assert expected == parse_address(url)
    assert authority == expected.authority


@pytest.mark.parametrize(
    "url",
    [
        "",
        "config.example",
        "ftp://config.example",
        "ws://",
        "ws://s3cret@config.example",
        "ws://user:s3cret@config.example",
        "ws://config.example?token=s3cret",
        "ws://config.example#s3cret",
        "ws://config.example:s3cret",
        "ws://[s3cret",
        "ws://config.example/s3cret path",
        "unix://run/s3cret",
        "unix:s3cret",
    ],
)
def test_what_is_none_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="address") as caught:
        parse_address(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("label", [None, "main", "feature/x", "v1.0", "feature/x,main"])
@pytest.mark.parametrize(("app", "profile"), [("orders", "dev"), ("team/orders,base", "dev,a+b@c")])
def test_the_server_reads_the_target_as_it_was_meant(app: str, profile: str, label: str | None) -> None:
    read = parse_target(target(LOCAL, subject_of(app, profile, label, "a b&c:1"), "05ec"))

    assert (app, profile, label, "05ec") == (read.application, read.profile, read.label, read.last_version)


def test_a_prefix_goes_before_the_path_and_an_empty_instance_is_said() -> None:
    subject = subject_of("orders", "dev", None, "")

    assert "/vortex/ws/orders/dev?instance=" == target(Address("h", 80, prefix="/vortex"), subject, None)


def query(last_version: str | None, generation: Generation | None = None, *, is_sent_on: bool = False) -> str:
    subject = subject_of("orders", "dev", "main", "web")
    return target(LOCAL, subject, last_version, generation, is_sent_on=is_sent_on).partition("?")[2]


def test_a_generation_is_sent_beside_the_version_and_sent_on_only_if_it_is_so() -> None:
    generation = Generation("5f3a", 17)

    assert "label=main&last_version=05ec&instance=web" == query("05ec")
    assert "label=main&last_version=05ec&generation=5f3a.17&instance=web" == query("05ec", generation)
    assert "label=main&last_version=05ec&generation=5f3a.17&sent_on=1&instance=web" == query(
        "05ec", generation, is_sent_on=True
    )
    assert "label=main&sent_on=1&instance=web" == query(None, is_sent_on=True)


def test_the_longest_generation_has_fewer_than_64_characters_in_a_query() -> None:
    longest = Generation(32 * "f", HIGHEST_NUMBER)

    assert f"generation={longest}&" in query("05ec", longest)
    assert 49 == len(str(longest))


@pytest.mark.parametrize(
    "names", [("..", "dev", None), ("orders", "de/v", None), ("orders", "dev", "a b"), ("orders", "dev", "a,")]
)
def test_names_that_can_not_be_ones_are_refused(names: tuple[str, str, str | None]) -> None:
    with pytest.raises(ValueError, match="invalid"):
        subject_of(*names, "web:1")


@pytest.mark.parametrize("instance", ["x" * 129, " a", "a\n"])
def test_an_instance_is_what_the_server_takes(instance: str) -> None:
    with pytest.raises(ValueError, match="instance"):
        subject_of("orders", "dev", None, instance)


def test_a_token_goes_into_a_header() -> None:
    assert [(b"Authorization", b"Bearer s3cret")] == headers("s3cret")
    assert [] == headers(None)


@pytest.mark.parametrize("token", ["", "s3cret\r\nX: y", "s3cret x", "s3crét"])
def test_a_token_that_would_be_more_than_one_header_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="token") as caught:
        headers(token)
    assert "s3c" not in str(caught.value)
