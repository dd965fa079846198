"""How the agent follows a configuration: the arguments of the client, its errors, its file, and its token."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from vortexd.agent.following import Origin, kept_in, token_of, watch_of
from vortexd.agent.item import Subject
from vortexd.agent.loop import AgentError
from vortexd.client import WatchFailed
from vortexd.core.errors import SettingsError

from .fakes import SUBJECT, FakeWatched


class FakeClient:
    """Replaces `vortexd.client.watch`.

    Attributes:
        calls: The positional and the keyword arguments of each call.
        error: Raised on entering.
        ends: For each block that has ended, the type of its exception.
    """

    def __init__(self) -> None:
        self.config = FakeWatched({"size": 1})
        self.calls: list[tuple[tuple[object, ...], dict[str, object]]] = []
        self.error: BaseException | None = None
        self.ends: list[type[BaseException] | None] = []

    @asynccontextmanager
    async def watch(self, *arguments: object, **options: object) -> AsyncIterator[FakeWatched]:
        self.calls.append((arguments, options))
        if self.error is not None:
            raise self.error
        try:
            yield self.config
        except BaseException as error:
            self.ends.append(type(error))
            raise
        self.ends.append(None)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    client = FakeClient()
    monkeypatch.setattr("vortexd.client.watch", client.watch, raising=False)
    return client


def no_token() -> None:
    return None


# The client.


async def test_the_client_gets_what_the_origin_and_the_subject_say(client: FakeClient) -> None:
    origin = Origin(("ws://a", "ws://b"), no_token, "web:1", "ca.pem", lambda subject: Path(f"/state/{subject}"))
    async with watch_of(origin, 2.5)(Subject("shop", "prod", "v1")) as config:
        assert config is client.config

    expected: dict[str, Any] = {
        "token": no_token,
        "instance": "web:1",
        "start_timeout": 2.5,
        "ca_file": "ca.pem",
        "last_known_good": Path("/state/shop:prod:v1"),
    }
    assert [((("ws://a", "ws://b"), "shop", "prod", "v1"), expected)] == client.calls


async def test_an_origin_needs_only_addresses_and_a_token(client: FakeClient) -> None:
    async with watch_of(Origin(("ws://a",), no_token))(SUBJECT):
        pass

    expected: dict[str, Any] = {
        "token": no_token,
        "instance": None,
        "start_timeout": None,
        "ca_file": None,
        "last_known_good": None,
    }
    assert [((("ws://a",), "shop", "prod", None), expected)] == client.calls


async def test_the_client_ends_with_the_block(client: FakeClient) -> None:
    watch = watch_of(Origin(("ws://a",), no_token))
    async with watch(SUBJECT):
        assert [] == client.ends
    async with watch(SUBJECT):
        pass

    assert [None, None] == client.ends


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (WatchFailed("refused with 403"), "shop:prod: refused with 403"),
        (ValueError("the address is invalid"), "shop:prod: the address is invalid"),
        (FileNotFoundError(2, "No such file", "ca.pem"), "shop:prod: [Errno 2] No such file: 'ca.pem'"),
    ],
)
async def test_an_error_of_the_client_names_the_configuration(client: FakeClient, error: Exception, text: str) -> None:
    client.error = error
    with pytest.raises(AgentError) as caught:
        async with watch_of(Origin(("ws://a",), no_token))(SUBJECT):
            pytest.fail("there is no configuration")

    assert text == str(caught.value)
    assert (None, True) == (caught.value.__cause__, caught.value.__suppress_context__)


async def test_an_argument_that_the_client_refuses_is_such_an_error() -> None:
    with pytest.raises(AgentError, match="^shop:prod: the address of a server must be "):
        async with watch_of(Origin(("nowhere",), no_token))(SUBJECT):
            pytest.fail("there is no configuration")


async def test_any_other_error_stays_as_it_is(client: FakeClient) -> None:
    client.error = KeyError("a mistake")
    with pytest.raises(KeyError, match="a mistake"):
        async with watch_of(Origin(("ws://a",), no_token))(SUBJECT):
            pytest.fail("there is no configuration")


@pytest.mark.parametrize("error", [OSError("full"), ValueError("mine"), WatchFailed("mine")])
async def test_an_error_of_the_block_stays_as_it_is_and_ends_the_client(client: FakeClient, error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        async with watch_of(Origin(("ws://a",), no_token))(SUBJECT):
            raise error

    assert error is caught.value
    assert [type(error)] == client.ends


async def test_a_cancelled_block_ends_the_client(client: FakeClient) -> None:
    with trio.CancelScope() as scope:
        async with watch_of(Origin(("ws://a",), no_token))(SUBJECT):
            scope.cancel()
            await trio.lowlevel.checkpoint()

    assert scope.cancelled_caught
    assert [trio.Cancelled] == client.ends


# The file of the last known good configuration.


def test_each_configuration_has_a_file_of_its_own_which_is_the_same_after_a_restart(tmp_path: Path) -> None:
    subjects = [SUBJECT, Subject("shop", "prod", "v1"), Subject("shop", "dev", ""), Subject("../shop", "prod", "")]
    files = [kept_in(tmp_path)(subject) for subject in subjects]

    assert len(subjects) == len(set(files))
    assert files == [kept_in(tmp_path)(subject) for subject in subjects]
    assert {tmp_path} == {each.parent for each in files}


def test_the_name_of_the_file_stays_the_same_from_version_to_version(tmp_path: Path) -> None:
    """Otherwise a new version of vortexd would start without the file."""
    assert tmp_path / "422c8e9d6fc3095941fa73cdbe228288.configuration" == kept_in(tmp_path)(SUBJECT)


# The token.


def write(path: Path, token: str, mode: int = 0o600) -> None:
    path.write_text(token)
    path.chmod(mode)


def test_without_a_file_there_is_no_token() -> None:
    token = token_of("")

    assert (None, None) == (token(), token())


def test_a_renewed_token_is_used(tmp_path: Path) -> None:
    file = tmp_path / "token"
    write(file, " old\n")
    token = token_of(str(file))
    assert "old" == token()
    write(file, "new\n\n")

    assert "new" == token()


def test_if_the_file_becomes_unusable_the_last_token_stays_until_there_is_a_new_one(tmp_path: Path) -> None:
    file = tmp_path / "token"
    write(file, "old")
    token = token_of(str(file))
    write(file, "newer")
    assert "newer" == token()
    write(file, "open", 0o640)
    assert "newer" == token()
    file.unlink()
    assert "newer" == token()
    write(file, "newest")

    assert "newest" == token()


def test_the_token_of_the_start_stays_if_the_file_is_unusable_at_the_first_connection(tmp_path: Path) -> None:
    file = tmp_path / "token"
    write(file, " old\n")
    token = token_of(str(file))
    file.unlink()

    assert "old" == token()


def test_a_file_that_is_unusable_from_the_beginning_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be read"):
        token_of(str(tmp_path / "none"))
    write(tmp_path / "token", "open", 0o604)
    with pytest.raises(SettingsError, match="chmod 600"):
        token_of(str(tmp_path / "token"))
