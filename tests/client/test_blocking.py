import inspect
import threading
from collections.abc import Callable
from typing import assert_type

import pytest

import vortexd.client
from vortexd.client import BindError, Connected, Failed, WatchFailed
from vortexd.client.blocking import Config, watch
from vortexd.client.link import Timeouts
from vortexd.client.replica import version_of

from .elsewhere import Elsewhere
from .said import change, snapshot
from .server import URL
from .test_watching import BAD, FROM_BAD, PROBLEM, TO_BAD, Pool, Settings, explained

OLD, NEW = {"pool": 1}, {"pool": 2}
PATCH = [{"op": "replace", "path": "/pool", "value": 2}]


@pytest.fixture
def server() -> Elsewhere:
    return Elsewhere().greet(snapshot(OLD))


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "vortexd.client"]


def test_it_is_a_mapping_and_a_stream_and_its_thread_ends_with_the_block(server: Elsewhere) -> None:
    with watch(URL, "orders", "dev", connect=server.connect) as config:
        assert OLD == dict(config)
        assert Connected() == config.state
        server.say(change(OLD, NEW, PATCH))
        step = config.next_change(10)

        assert step is not None
        assert (version_of(OLD), PATCH, NEW) == (step.old_version, step.patch, step.document)
        assert NEW == config.document
    assert [] == threads()
    assert NEW == config.document
    assert [] == list(config.changes())


def test_who_waits_in_vain_waits_no_longer_than_said(server: Elsewhere) -> None:
    with watch(URL, "orders", "dev", connect=server.connect) as config:
        assert config.next_change(0.01) is None
        assert not config.is_over


def test_changes_end_where_the_server_says_no(server: Elsewhere) -> None:
    with watch(URL, "orders", "dev", connect=server.connect) as config:
        server.say(change(OLD, NEW, PATCH))
        server.close(4403)
        states = config.states()
        while not isinstance(next(states), Failed):
            pass

        assert [NEW] == [step.document for step in config.changes()]
        assert [] == list(states)
        assert NEW == dict(config)


def test_another_thread_may_wait_while_this_one_ends_the_block(server: Elsewhere) -> None:
    seen, has_seen = [], threading.Event()

    def follow(config: Config) -> None:
        for step in config.changes():
            seen.append(step.document)
            has_seen.set()

    with watch(URL, "orders", "dev", connect=server.connect) as config:
        follower = threading.Thread(target=follow, args=(config,))
        follower.start()
        server.say(change(OLD, NEW, PATCH))
        assert has_seen.wait(10)
    follower.join(10)

    assert not follower.is_alive()
    assert [NEW] == seen


def test_an_ack_is_said_and_so_is_goodbye(server: Elsewhere) -> None:
    with watch(URL, "orders", "dev", connect=server.connect, timeouts=Timeouts(close=0.05)) as config:
        config.ack(version_of(OLD), "applied")
        said = server.heard.get(timeout=10)
        assert said is not None
        assert ("ack", "applied") == (said["type"], said["status"])
        with pytest.raises(ValueError, match="status"):
            config.ack(version_of(OLD), "maybe")
    config.ack(version_of(OLD), "applied")

    assert server.heard.get(timeout=10) is None


def test_where_there_is_nothing_to_begin_with_it_says_so(server: Elsewhere) -> None:
    server.refusal = 403
    with pytest.raises(WatchFailed, match="403"), watch(URL, "orders", "dev", connect=server.connect):
        pytest.fail("there is nothing to begin with")
    server.is_away = True
    with pytest.raises(WatchFailed, match="refused"):
        with watch(URL, "orders", "dev", connect=server.connect, start_timeout=0.01):
            pytest.fail("there is nothing to begin with")
    assert [] == threads()


def test_arguments_that_can_not_be_are_refused_in_the_callers_thread() -> None:
    with pytest.raises(ValueError, match="address"), watch("nowhere", "orders"):
        pytest.fail("there is nowhere to go")


def test_errors_of_the_block_are_as_they_are(server: Elsewhere) -> None:
    with pytest.raises(KeyError), watch(URL, "orders", "dev", connect=server.connect) as config:
        config["missing"]
    assert [] == threads()


def test_an_error_of_the_thread_is_in_the_log_and_in_the_state(
    server: Elsewhere, caplog: pytest.LogCaptureFixture
) -> None:
    with watch(URL, "orders", "dev", connect=server.connect) as config:
        server.crash()
        assert [] == list(config.changes())

    assert Failed("an error in this client; see the log") == config.state
    assert "a mistake of somebody" in caplog.text


def test_its_keywords_are_those_on_trio_but_for_how_long_a_start_may_take() -> None:
    def keywords(function: Callable[..., object]) -> dict[str, inspect.Parameter]:
        return {
            name: each.replace(default=None) if name == "start_timeout" else each
            for name, each in inspect.signature(function).parameters.items()
        }

    assert keywords(vortexd.client.watch) == keywords(watch)
    assert 60.0 == inspect.signature(watch).parameters["start_timeout"].default


@pytest.mark.parametrize("misspelt", ["tokn", "last_known_god", "starttimeout"])
def test_a_keyword_that_there_is_not_is_refused(misspelt: str) -> None:
    with pytest.raises(TypeError, match=misspelt):
        watch(URL, "orders", **{misspelt: None})  # type: ignore[arg-type]  # the keyword is the mistake
    assert "vortexd.client" not in [thread.name for thread in threading.enumerate()]


def test_every_keyword_reaches_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []

    class Elsewhither:
        def __init__(self, _: object, *arguments: object) -> None:
            given.extend(arguments)
            raise KeyError("that is all")

    monkeypatch.setattr("vortexd.client.blocking.Background", Elsewhither)
    options = {name: object() for name in list(inspect.signature(watch).parameters)[4:]}
    with pytest.raises(KeyError), watch(URL, "orders", "dev", "main", **options):  # type: ignore[arg-type]  # any objects will do
        pytest.fail("nothing begins")

    assert [URL, "orders", "dev", "main", options] == given


# Objects of models.

FIRST = {"pool": {"size": 1}}
THIRD = {"pool": {"size": 3}}


def heard(server: Elsewhere) -> tuple[object, ...]:
    """The next acknowledgement: its version, its status and the reason."""
    message = server.heard.get(timeout=10)
    assert message is not None
    return message["version"], message["status"], message.get("error")


def test_a_document_becomes_an_object() -> None:
    server = Elsewhere().greet(snapshot(FIRST))
    with watch(URL, "orders", "dev", connect=server.connect) as config:
        assert Settings(Pool(1)) == assert_type(config.bind(Settings), Settings)
        assert Pool(1) == config.bind(Pool, prefix="pool")


def test_a_document_that_doesnt_fit_raises_all_problems_with_their_places() -> None:
    server = Elsewhere().greet(snapshot(BAD))
    server.explanation = explained(BAD)
    with watch(URL, "orders", "dev", connect=server.connect) as config:
        with pytest.raises(BindError) as raised:
            config.bind(Settings)
        assert f"{PROBLEM} (orders.yml:3)" == str(raised.value)
    with pytest.raises(BindError) as raised:
        config.bind(Settings)
    assert PROBLEM == str(raised.value)


def test_an_answer_that_doesnt_come_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vortexd.client.blocking.PATIENCE", 0.01)
    monkeypatch.setattr(Config, "explain", lambda *_: None)
    with watch(URL, "orders", "dev", connect=Elsewhere().greet(snapshot(BAD)).connect) as config:
        with pytest.raises(BindError) as raised:
            config.bind(Settings)
    assert PROBLEM == str(raised.value)


def test_a_bound_object_follows_changes_and_keeps_the_last_good_one() -> None:
    server = Elsewhere().greet(snapshot(FIRST))
    applied: list[Settings] = []
    with watch(URL, "orders", "dev", connect=server.connect) as config:
        server.explanation = explained(BAD)
        with config.bound(Settings, apply=applied.append) as live:
            assert (version_of(FIRST), "applied", None) == heard(server)
            server.say(change(FIRST, BAD, TO_BAD))
            assert (version_of(BAD), "rejected", "pool.size: isn't an integer (orders.yml:3)") == heard(server)
            assert (Settings(Pool(1)), f"{PROBLEM} (orders.yml:3)") == (live.value, str(live.error))
            server.say(change(BAD, THIRD, FROM_BAD))
            assert (version_of(THIRD), "applied", None) == heard(server)
            assert (Settings(Pool(3)), None) == (assert_type(live.value, Settings), live.error)
            # The stream of changes is the program's own.
            assert config.next_change(10)
        assert "vortexd.client bound" not in [thread.name for thread in threading.enumerate()]
    assert [Settings(Pool(1)), Settings(Pool(3))] == applied


def test_a_bound_object_has_the_last_change_when_the_server_refuses_the_client() -> None:
    server = Elsewhere().greet(snapshot(FIRST))
    with watch(URL, "orders", "dev", connect=server.connect) as config:
        with config.bound(Settings) as live:
            [bound] = [thread for thread in threading.enumerate() if thread.name == "vortexd.client bound"]
            server.say(change(FIRST, THIRD, FROM_BAD))
            server.close(4403)
            bound.join(10)

            assert not bound.is_alive()
            assert Settings(Pool(3)) == live.value


def test_a_first_document_that_doesnt_fit_raises_and_is_rejected() -> None:
    server = Elsewhere().greet(snapshot(BAD))
    server.explanation = explained(BAD)
    with watch(URL, "orders", "dev", connect=server.connect) as config:
        with pytest.raises(BindError):
            with config.bound(Settings):
                raise AssertionError("the block isn't entered")
        assert (version_of(BAD), "rejected", "pool.size: isn't an integer (orders.yml:3)") == heard(server)


def test_an_error_of_the_block_leaves_it_as_it_is() -> None:
    server = Elsewhere().greet(snapshot(FIRST))
    with watch(URL, "orders", "dev", connect=server.connect) as config:
        with pytest.raises(LookupError, match="of the block"):
            with config.bound(Settings):
                raise LookupError("of the block")
        assert "vortexd.client bound" not in [thread.name for thread in threading.enumerate()]
