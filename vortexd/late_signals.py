"""What signals do outside of the part that awaits them: what they did before it began, and nothing once it is over.

An orderly stop ends with 0, even where the operator was impatient, or had it reload, in the moment in which the interpreter ends.
"""

import signal


class LateSignals:
    """See the module. Use it with `with`, around everything that receives them by itself."""

    def __init__(self, *numbers: signal.Signals) -> None:
        self._numbers = numbers
        self._is_over = False

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

    def _receive(self, number: int, _: object) -> None:
        if not self._is_over:
            signal.signal(number, self._former[signal.Signals(number)])
            signal.raise_signal(number)
