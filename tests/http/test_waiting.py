"""What the application expects of a wait is what the waits of long polls have."""

import inspect

from vortexd.http.waiting import Waiting
from vortexd.http.watchers import Waiter


def test_a_long_poll_is_what_the_application_expects() -> None:
    for name in ("wait", "leave"):
        expected, found = (inspect.signature(getattr(each, name)) for each in (Waiting, Waiter))

        assert [*expected.parameters] == [*found.parameters]
        assert inspect.iscoroutinefunction(getattr(Waiting, name)) == inspect.iscoroutinefunction(getattr(Waiter, name))
