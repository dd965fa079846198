"""Handles signals that arrive before the event loop starts (previous action) or after it has ended (ignored).

An orderly stop ends with status 0. This holds even if the operator sends another signal while the interpreter ends.
"""

import signal
from types import FrameType

from . import early_signals


class LateSignals:
    """Holds the signal handlers outside the event loop. Use it with `with`, around the code that receives the signals."""

    def __init__(self, *numbers: signal.Signals) -> None:
        self._numbers = numbers
        self._is_over = False

    def are_awaited(self) -> None:
        """Raise a SIGHUP again that came too early. Call this as soon as a task awaits the signal."""
        if early_signals.take_reload():
            signal.raise_signal(signal.SIGHUP)

    def over(self) -> None:
        """Ignore the signals from now on."""
        self._is_over = True

    def __enter__(self) -> "LateSignals":
        self._former = {number: signal.signal(number, self._receive) for number in self._numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, former in self._former.items():
            # The interpreter resets Python handlers when it ends. SIG_IGN belongs to the process and stays.
            signal.signal(number, signal.SIG_IGN if self._is_over else former)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._is_over:
            return
        former = self._former[signal.Signals(number)]
        if callable(former):
            former(number, frame)
        else:
            signal.signal(number, former)
            signal.raise_signal(number)
