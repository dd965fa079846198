"""Waiting for news of a view."""

import trio
from trio.testing import wait_all_tasks_blocked

from vortexd.client.change_notifier import ChangeNotifier
from vortexd.client.view import Connected, View


async def test_each_task_that_waits_is_woken_by_the_next_news(nursery: trio.Nursery) -> None:
    view, woken = View(0.0), []
    notifier = ChangeNotifier(view)

    async def wait(number: int) -> None:
        await notifier.event.wait()
        woken.append(number)

    nursery.start_soon(wait, 1)
    nursery.start_soon(wait, 2)
    await wait_all_tasks_blocked()
    assert [] == woken
    view.turn(Connected())
    await wait_all_tasks_blocked()

    assert [1, 2] == sorted(woken)


async def test_an_event_that_was_taken_before_the_view_was_read_misses_no_news() -> None:
    view = View(0.0)
    notifier = ChangeNotifier(view)
    event = notifier.event
    view.confirm(1.0)

    assert event.is_set()


async def test_after_news_a_new_event_waits_for_the_next() -> None:
    view = View(0.0)
    notifier = ChangeNotifier(view)
    first = notifier.event
    view.confirm(1.0)
    second = notifier.event
    assert not second.is_set()
    view.end()

    assert first is not second
    assert second.is_set()


async def test_several_notifiers_of_one_view_are_independent() -> None:
    view = View(0.0)
    first, second = ChangeNotifier(view), ChangeNotifier(view)
    events = first.event, second.event
    view.confirm(1.0)

    assert events[0] is not events[1]
    assert [True, True] == [event.is_set() for event in events]
