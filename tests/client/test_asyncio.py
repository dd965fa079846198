"""The client on asyncio. Each test runs its own asyncio loop, outside Trio."""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import assert_type

import pytest

import vortexd.client
from vortexd.client import BindError, Connected, Failed, WatchFailed
from vortexd.client.asyncio import Config, watch
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


def run(do: Callable[[], Awaitable[None]]) -> None:
    async def within_reason() -> None:
        async with asyncio.timeout(10):
            await do()

    asyncio.run(within_reason())
    assert "vortexd.client" not in [thread.name for thread in threading.enumerate()]


def test_it_is_a_mapping_and_a_stream(server: Elsewhere) -> None:
    async def do() -> None:
        async with watch(URL, "orders", "dev", connect=server.connect) as config:
            assert OLD == dict(config)
            assert Connected() == config.state
            server.say(change(OLD, NEW, PATCH))
            step = await anext(config)

            assert (version_of(OLD), PATCH, NEW) == (step.old_version, step.patch, step.document)
        assert [] == [step async for step in config]

    run(do)


def test_the_loop_runs_on_while_there_is_no_server(server: Elsewhere) -> None:
    server.is_away = True

    async def do() -> None:
        entering = asyncio.create_task(enter())
        await asyncio.sleep(0)
        server.is_away = False
        assert OLD == await entering

    async def enter() -> dict[str, object]:
        async with watch(URL, "orders", "dev", connect=server.connect) as config:
            return config.document

    run(do)


def test_states_and_changes_end_where_the_server_says_no(server: Elsewhere) -> None:
    async def do() -> None:
        async with watch(URL, "orders", "dev", connect=server.connect) as config:
            server.close(4403)
            *_, last = [state async for state in config.states()]

            assert isinstance(last, Failed)
            assert [] == [step async for step in config]

    run(do)


def test_a_cancelled_wait_loses_no_change(server: Elsewhere) -> None:
    async def do() -> None:
        async with watch(URL, "orders", "dev", connect=server.connect) as config:
            waiting = asyncio.ensure_future(anext(config))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            server.say(change(OLD, NEW, PATCH))

            assert NEW == (await anext(config)).document

    run(do)


@pytest.mark.parametrize("is_away", [True, False])
def test_cancelled_it_leaves_no_thread(server: Elsewhere, is_away: bool) -> None:
    server.is_away = is_away

    async def follow(entered: asyncio.Event) -> None:
        async with watch(URL, "orders", "dev", connect=server.connect) as config:
            entered.set()
            async for _ in config:
                pass

    async def do() -> None:
        entered = asyncio.Event()
        task = asyncio.create_task(follow(entered))
        await (asyncio.sleep(0) if is_away else entered.wait())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(do)


def test_an_ack_is_said_and_so_is_goodbye(server: Elsewhere) -> None:
    async def do() -> None:
        async with watch(URL, "orders", "dev", connect=server.connect, timeouts=Timeouts(close=0.05)) as config:
            await config.ack(version_of(OLD), "rejected", "no")
            said = await asyncio.to_thread(server.heard.get, timeout=10)
            assert said is not None
            assert ("ack", "rejected", "no") == (said["type"], said["status"], said["error"])

    run(do)
    assert server.heard.get(timeout=10) is None


def test_where_there_is_nothing_to_begin_with_it_says_so(server: Elsewhere) -> None:
    server.refusal = 403

    async def do() -> None:
        with pytest.raises(WatchFailed, match="403"):
            async with watch(URL, "orders", "dev", connect=server.connect):
                pytest.fail("there is nothing to begin with")

    run(do)


def test_two_loops_one_after_the_other_are_no_trouble(server: Elsewhere) -> None:
    kept: list[Config] = []

    async def do() -> None:
        async with watch(URL, "orders", "dev", connect=server.connect) as config:
            kept.append(config)

    run(do)
    run(do)
    assert [OLD, OLD] == [config.document for config in kept]


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

    monkeypatch.setattr("vortexd.client.asyncio.Background", Elsewhither)
    options = {name: object() for name in list(inspect.signature(watch).parameters)[4:]}

    async def do() -> None:
        with pytest.raises(KeyError):
            async with watch(URL, "orders", "dev", "main", **options):  # type: ignore[arg-type]  # any objects will do
                pytest.fail("nothing begins")

    run(do)
    assert [URL, "orders", "dev", "main", options] == given


# Objects of models.

FIRST = {"pool": {"size": 1}}
THIRD = {"pool": {"size": 3}}


async def heard(server: Elsewhere) -> tuple[object, ...]:
    """The next acknowledgement: its version, its status and the reason."""
    message = await asyncio.to_thread(server.heard.get, timeout=10)
    assert message is not None
    return message["version"], message["status"], message.get("error")


def test_a_document_becomes_an_object() -> None:
    server = Elsewhere().greet(snapshot(FIRST))

    async def do() -> None:
        async with watch(URL, "orders", "dev", connect=server.connect) as config:
            assert Settings(Pool(1)) == assert_type(await config.bind(Settings), Settings)
            assert Pool(1) == await config.bind(Pool, prefix="pool")

    run(do)


def test_a_document_that_doesnt_fit_raises_all_problems_with_their_places() -> None:
    server = Elsewhere().greet(snapshot(BAD))
    server.explanation = explained(BAD)

    async def do() -> None:
        async with watch(URL, "orders", "dev", connect=server.connect) as config:
            with pytest.raises(BindError) as raised:
                await config.bind(Settings)
            assert f"{PROBLEM} (orders.yml:3)" == str(raised.value)
        with pytest.raises(BindError) as raised:
            await config.bind(Settings)
        assert PROBLEM == str(raised.value)

    run(do)


def test_an_answer_that_doesnt_come_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vortexd.client.asyncio.PATIENCE", 0.01)
    monkeypatch.setattr(Config, "explain", lambda *_: None)

    async def do() -> None:
        async with watch(URL, "orders", "dev", connect=Elsewhere().greet(snapshot(BAD)).connect) as config:
            with pytest.raises(BindError) as raised:
                await config.bind(Settings)
            assert PROBLEM == str(raised.value)

    run(do)


def test_a_bound_object_follows_changes_and_keeps_the_last_good_one() -> None:
    server = Elsewhere().greet(snapshot(FIRST))
    applied: list[tuple[Settings, threading.Thread]] = []

    def apply(value: Settings) -> None:
        applied.append((value, threading.current_thread()))

    async def do() -> None:
        async with watch(URL, "orders", "dev", connect=server.connect) as config:
            server.explanation = explained(BAD)
            async with config.bound(Settings, apply=apply) as live:
                assert (version_of(FIRST), "applied", None) == await heard(server)
                server.say(change(FIRST, BAD, TO_BAD))
                reason = "pool.size: isn't an integer (orders.yml:3)"
                assert (version_of(BAD), "rejected", reason) == await heard(server)
                assert (Settings(Pool(1)), f"{PROBLEM} (orders.yml:3)") == (live.value, str(live.error))
                server.say(change(BAD, THIRD, FROM_BAD))
                assert (version_of(THIRD), "applied", None) == await heard(server)
                assert (Settings(Pool(3)), None) == (assert_type(live.value, Settings), live.error)
                # The stream of changes is the program's own.
                await anext(config)
            assert "vortexd.client bound" not in [task.get_name() for task in asyncio.all_tasks()]

    run(do)
    here = threading.current_thread()
    assert [(Settings(Pool(1)), here), (Settings(Pool(3)), here)] == applied


def test_a_bound_object_has_the_last_change_when_the_server_refuses_the_client() -> None:
    server = Elsewhere().greet(snapshot(FIRST))

    async def do() -> None:
        async with watch(URL, "orders", "dev", connect=server.connect) as config:
            async with config.bound(Settings) as live:
                [bound] = [task for task in asyncio.all_tasks() if task.get_name() == "vortexd.client bound"]
                server.say(change(FIRST, THIRD, FROM_BAD))
                server.close(4403)
                await bound

                assert Settings(Pool(3)) == live.value

    run(do)


def test_a_first_document_that_doesnt_fit_raises_and_is_rejected() -> None:
    server = Elsewhere().greet(snapshot(BAD))
    server.explanation = explained(BAD)

    async def do() -> None:
        async with watch(URL, "orders", "dev", connect=server.connect) as config:
            with pytest.raises(BindError):
                async with config.bound(Settings):
                    raise AssertionError("the block isn't entered")
            assert (version_of(BAD), "rejected", "pool.size: isn't an integer (orders.yml:3)") == await heard(server)

    run(do)


def test_an_error_of_the_block_leaves_it_as_it_is_and_ends_the_task() -> None:
    server = Elsewhere().greet(snapshot(FIRST))

    async def do() -> None:
        async with watch(URL, "orders", "dev", connect=server.connect) as config:
            with pytest.raises(LookupError, match="of the block"):
                async with config.bound(Settings):
                    raise LookupError("of the block")
            assert "vortexd.client bound" not in [task.get_name() for task in asyncio.all_tasks()]

    run(do)
