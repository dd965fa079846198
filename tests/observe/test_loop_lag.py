"""The delay of the event loop, computed from its waits: as a task would measure it that wakes ten times a second."""

from vortexd.observe.loop_lag import LoopLag


class Loop:
    """An event loop whose clock a test moves."""

    def __init__(self) -> None:
        self.time = 100.0
        self.found: list[tuple[float, int]] = []
        self.lag = LoopLag(lambda seconds, count: self.found.append((round(seconds, 6), count)), lambda: self.time)

    def wait(self, seconds: float, timeout: float = 3_600.0) -> None:
        """Begin to wait, and end it after so many seconds."""
        self.lag.before_io_wait(timeout)
        self.time += seconds
        self.lag.after_io_wait(timeout)

    def work(self, seconds: float) -> None:
        self.time += seconds


def test_a_loop_that_waits_is_never_late() -> None:
    loop = Loop()
    loop.wait(30.0501)
    assert [] == loop.found
    loop.wait(0.01)

    assert [(0.0, 300)] == loop.found
    loop.wait(0.1)
    loop.wait(0.1)
    assert [(0.0, 300), (0.0, 1)] == loop.found


def test_work_is_a_delay_from_the_time_at_which_a_measurement_was_due() -> None:
    loop = Loop()
    loop.wait(0.08)
    loop.work(0.25)
    loop.wait(0.0)

    assert [(0.23, 1)] == loop.found
    # The next one is due a tenth of a second later.
    loop.wait(0.0999)
    loop.wait(0.0)
    assert 1 == len(loop.found)
    loop.wait(0.0002)
    loop.wait(0.0)
    assert [(0.23, 1), (0.0, 1)] == loop.found


def test_a_wait_and_the_work_after_it_are_told_apart() -> None:
    loop = Loop()
    loop.wait(0.55)
    loop.work(0.2)
    loop.wait(0.0)

    assert [(0.0, 5), (0.15, 1)] == loop.found


def test_work_that_ends_before_a_measurement_is_due_is_no_delay() -> None:
    loop = Loop()
    loop.wait(0.01)
    loop.work(0.08)
    loop.wait(0.02)
    loop.wait(0.0)

    assert [(0.0, 1)] == loop.found


def test_a_loop_that_wakes_after_its_deadline_has_been_late_since_then() -> None:
    """The machine or another thread kept it from running."""
    loop = Loop()
    loop.wait(0.43, timeout=0.15)
    loop.wait(0.0)

    assert [(0.0, 1), (0.23, 1)] == loop.found


def test_a_busy_loop_is_late_by_one_round_not_by_all_of_them() -> None:
    loop = Loop()
    loop.wait(0.07)
    for _ in range(5):
        loop.work(0.02)
        loop.wait(0.0, timeout=0.0)

    assert [(0.01, 1)] == loop.found


def test_a_measurement_that_is_due_at_this_moment_is_made() -> None:
    loop = Loop()
    loop.time, loop.lag._due = 200.0, 200.0
    loop.lag.before_io_wait(1.0)
    assert [(0.0, 1)] == loop.found
