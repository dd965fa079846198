"""Lets Trio tasks wait until a view has changed."""

import trio

from .view import View


class ChangeNotifier:
    """Wakes the tasks that wait for news of a view.

    Attributes:
        event: Set at the next news, and then replaced by a new event. Take it before you read the view, so that you miss no news.
    """

    def __init__(self, view: View) -> None:
        self.event = trio.Event()
        view.listen(self._notify)

    def _notify(self) -> None:
        self.event.set()
        self.event = trio.Event()
