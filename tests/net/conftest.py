"""Fixtures for tests of listeners on real sockets."""

import pytest
from trio.testing import MockClock


@pytest.fixture
def socket_clock() -> MockClock:
    """Return a clock for clients and servers in this process, on sockets of the loopback interface.

    If all tasks have waited for a twentieth of a second, no byte is on its way. Then the clock jumps to the next deadline.
    """
    return MockClock(autojump_threshold=0.05)
