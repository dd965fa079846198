"""The garbage collector pauses while many objects are made."""

import ctypes
import gc
import sys
from platform import libc_ver

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vortexd.aio.collector import MANY, Collector, trim_memory


class FakeCollector:
    """Notes the calls."""

    def __init__(self, *, is_enabled: bool = True) -> None:
        self.is_enabled = is_enabled
        self.calls: list[str] = []

    def isenabled(self) -> bool:
        return self.is_enabled

    def enable(self) -> None:
        self.is_enabled = True
        self.calls.append("enable")

    def disable(self) -> None:
        self.is_enabled = False
        self.calls.append("disable")

    def freeze(self) -> None:
        self.calls.append("freeze")

    def unfreeze(self) -> None:
        self.calls.append("unfreeze")

    def collect(self) -> int:
        self.calls.append("collect")
        return 0

    def trim(self) -> None:
        self.calls.append("trim")

    def made(self) -> Collector:
        return Collector(self, self.trim)


def test_all_objects_are_frozen_after_the_pause() -> None:
    fake = FakeCollector()
    with fake.made().paused(MANY):
        assert ["disable"] == fake.calls

    assert ["disable", "freeze", "enable", "trim"] == fake.calls


def test_few_objects_are_no_reason_to_pause() -> None:
    fake = FakeCollector()
    with fake.made().paused(MANY - 1):
        pass

    assert [] == fake.calls


def test_the_pause_ends_with_an_error_too() -> None:
    fake = FakeCollector()
    with pytest.raises(ZeroDivisionError), fake.made().paused():
        raise ZeroDivisionError

    assert ["disable", "freeze", "enable", "trim"] == fake.calls


def test_pauses_of_several_tasks_are_one() -> None:
    fake = FakeCollector()
    collector = fake.made()
    one, other = collector.paused(), collector.paused()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert ["disable"] == fake.calls
    other.__exit__(None, None, None)
    assert ["disable", "freeze", "enable", "trim"] == fake.calls
    with collector.paused():
        pass

    assert 2 * ["disable", "freeze", "enable", "trim"] == fake.calls


def test_a_collector_that_was_disabled_stays_so() -> None:
    fake = FakeCollector(is_enabled=False)
    with fake.made().paused():
        pass

    assert ["disable", "freeze", "trim"] == fake.calls


async def test_what_was_frozen_is_examined_once_an_hour(autojump_clock: MockClock) -> None:
    fake = FakeCollector()
    collector = fake.made()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collector.run)
        await trio.sleep(3_601)
        assert [] == fake.calls
        with collector.paused():
            pass
        fake.calls.clear()
        await trio.sleep(3_598)
        assert [] == fake.calls
        await trio.sleep(2)
        assert ["unfreeze", "collect", "freeze"] == fake.calls
        await trio.sleep(7_200)
        assert ["unfreeze", "collect", "freeze"] == fake.calls
        nursery.cancel_scope.cancel()


async def test_nothing_is_examined_during_a_pause(mock_clock: MockClock) -> None:
    fake = FakeCollector()
    collector = fake.made()
    with collector.paused():
        pass
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collector.run)
        await wait_all_tasks_blocked()
        with collector.paused():
            fake.calls.clear()
            mock_clock.jump(3_600)
            await wait_all_tasks_blocked()
            assert [] == fake.calls
        fake.calls.clear()
        mock_clock.jump(3_600)
        await wait_all_tasks_blocked()
        assert ["unfreeze", "collect", "freeze"] == fake.calls
        nursery.cancel_scope.cancel()


async def test_a_brief_pause_is_like_any_other_until_it_takes_too_long(mock_clock: MockClock) -> None:
    fake = FakeCollector()
    collector = fake.made()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collector.run)
        await wait_all_tasks_blocked()
        with collector.briefly_paused(MANY - 1):
            assert [] == fake.calls
        for _ in range(2):
            with collector.briefly_paused(MANY):
                await wait_all_tasks_blocked()
                mock_clock.jump(9.9)
                await wait_all_tasks_blocked()
                assert ["disable"] == fake.calls
            assert ["disable", "freeze", "enable", "trim"] == fake.calls
            fake.calls.clear()
        # The time of a pause that has ended concerns no later one.
        mock_clock.jump(0.2)
        await wait_all_tasks_blocked()
        assert [] == fake.calls
        nursery.cancel_scope.cancel()


async def test_slow_subscriptions_that_overlap_end_the_pause_after_ten_seconds(mock_clock: MockClock) -> None:
    fake = FakeCollector()
    collector = fake.made()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collector.run)
        await wait_all_tasks_blocked()
        one, other, third = (collector.briefly_paused() for _ in range(3))
        one.__enter__()
        await wait_all_tasks_blocked()
        mock_clock.jump(9)
        other.__enter__()
        one.__exit__(None, None, None)
        await wait_all_tasks_blocked()
        assert ["disable"] == fake.calls
        mock_clock.jump(1)
        await wait_all_tasks_blocked()
        assert ["disable", "freeze", "enable"] == fake.calls
        # A further one doesn't pause the collector. And what was frozen is examined.
        third.__enter__()
        assert fake.is_enabled
        mock_clock.jump(3_590)
        await wait_all_tasks_blocked()
        assert ["disable", "freeze", "enable", "unfreeze", "collect", "freeze"] == fake.calls
        fake.calls.clear()
        for each in (third, other):
            each.__exit__(None, None, None)
        assert fake.is_enabled
        assert ("freeze", "trim") == (fake.calls[0], fake.calls[-1])
        fake.calls.clear()
        # When all have ended, the next one pauses it again, as long as any other.
        with collector.briefly_paused():
            assert not fake.is_enabled
            await wait_all_tasks_blocked()
            mock_clock.jump(10)
            await wait_all_tasks_blocked()
            assert ["disable", "freeze", "enable"] == fake.calls
        nursery.cancel_scope.cancel()


async def test_a_publication_keeps_the_collector_paused_for_longer(mock_clock: MockClock) -> None:
    fake = FakeCollector()
    collector = fake.made()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collector.run)
        await wait_all_tasks_blocked()
        with collector.briefly_paused():
            with collector.paused():
                await wait_all_tasks_blocked()
                mock_clock.jump(20)
                await wait_all_tasks_blocked()
                assert ["disable"] == fake.calls
            assert ["disable", "freeze", "enable", "trim"] == fake.calls
            fake.calls.clear()
            with collector.paused():
                assert ["disable"] == fake.calls
            assert fake.is_enabled
        fake.calls.clear()
        with collector.paused():
            with collector.briefly_paused():
                pass
            assert ["disable"] == fake.calls
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("is_brief", [False, True])
def test_an_error_ends_either_pause(is_brief: bool) -> None:
    fake = FakeCollector()
    collector = fake.made()
    with pytest.raises(ZeroDivisionError), collector.briefly_paused() if is_brief else collector.paused():
        raise ZeroDivisionError

    assert ["disable", "freeze", "enable", "trim"] == fake.calls


def test_the_module_gc_is_the_collector() -> None:
    assert gc is Collector()._collector
    assert trim_memory is Collector()._trim


def test_free_memory_is_returned_to_the_system() -> None:
    assert (libc_ver()[0] == "glibc") == trim_memory()


def test_a_c_library_that_cannot_do_that_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())

    assert not trim_memory()


def test_a_publication_is_done_even_if_the_library_for_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> object:
        raise OSError(24, "too many open files")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert not trim_memory()
    # This makes the import fail.
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert not trim_memory()
