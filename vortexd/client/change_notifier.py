"""Waiting for a view to become different, on Trio."""

import trio

from .view import View


class ChangeNotifier:
    """Tells one or more tasks that a view is different.

    Attributes:
        event: Is set with the next news; then there is another one. Taken before looking, it misses nothing.
    """

    def __init__(self, view: View) -> None:
        self.event = trio.Event()
        view.listen(self._tell)

    def _tell(self) -> None:
        self.event.set()
        self.event = trio.Event()
