"""Signals outside of the part that awaits them: before it has begun they do what they did, and once it is over they do nothing.

An orderly stop ends with 0, even if the operator was impatient, or asked for a reload, in the moment in which the interpreter ends.
"""

import signal
from types import FrameType

from . import early_signals


class LateSignals:
    """See the module. Use it with `with`, around everything that receives the signals by itself."""

    def __init__(self, *numbers: signal.Signals) -> None:
        self._numbers = numbers
        self._is_over = False

    def are_awaited(self) -> None:
        """Raise a SIGHUP again that came too early. Call it as soon as somebody awaits it."""
        if early_signals.take_reload():
            signal.raise_signal(signal.SIGHUP)

    def over(self) -> None:
        """From now on they do nothing."""
        self._is_over = True

    def __enter__(self) -> "LateSignals":
        self._former = {number: signal.signal(number, self._receive) for number in self._numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, former in self._former.items():
            # A handler in Python would be taken back when the interpreter ends; to be ignored is the process's own.
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
