"""An object of a model that follows a view: replaced as a whole at each change that binds, kept at each change that doesn't.

The client of each kind calls `refresh` after each update of its view, asks for the places of an error, and calls `reject`. Invariants: `value` is
always a whole object of one version. Each version that the program has seen here is acknowledged as applied or rejected.
"""

import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from .binding import bind
from .change import Change
from .origins import places
from .problem import BindError, Problem
from .view import View

log = logging.getLogger("vortexd.client")
T = TypeVar("T")
Apply = Callable[[T], object]


class Bound(Generic[T]):
    """The newest valid object of a configuration.

    Args:
        apply: Called with each new object before it is shown. If it raises, the version is rejected, and the object before stays.
    """

    def __init__(self, view: View, model: type[T], prefix: str, apply: Apply[T] | None) -> None:
        self._view = view
        self._model = model
        self._prefix = prefix
        self._apply = apply
        self._seen: Change | None = None
        self._shown: tuple[T, str | None] | None = None
        self._error: BindError | None = None

    @property
    def value(self) -> T:
        """The object. A later change that binds makes a new one; read it anew each time, and never keep a part of it."""
        return self._begun[0]

    @property
    def version(self) -> str | None:
        """The version of the configuration that the object was made of."""
        return self._begun[1]

    @property
    def error(self) -> BindError | None:
        """Why the newest version isn't shown. None if it is."""
        return self._error

    def __repr__(self) -> str:
        # No values, as in `View`.
        return f"<Bound {self._model.__name__} {self._shown and self._shown[1]}{' rejected' if self._error else ''}>"

    @property
    def _begun(self) -> tuple[T, str | None]:
        if self._shown is None:
            raise RuntimeError("there is no object before the block is entered")
        return self._shown

    # For the client.

    @property
    def is_current(self) -> bool:
        """Whether `refresh` has seen the newest version."""
        return self._view.current is self._seen

    def refresh(self) -> "Rejection | None":
        """Show an object of the newest version. Return the rejection if that isn't possible; then call `reject`."""
        change = self._view.current
        if self._shown is not None and self._seen is change:
            return None
        self._seen = change
        version = change.version if change else None
        if self._shown is not None and version is None:
            # Defaults in place of values that were there a moment ago would surprise the program.
            removed = "the server no longer has the configuration"
            return Rejection(BindError([Problem("", removed, removed)]), None)
        if self._shown is None or version != self._shown[1]:
            try:
                self._show(self._bound(change), version)
            except BindError as error:
                return Rejection(error, version)
        self._error = None
        if version is not None:
            self._view.acknowledge(version, "applied")
        return None

    def reject(self, rejection: "Rejection") -> None:
        """Report that a version isn't shown: in `error`, in the log, and to the server."""
        self._error = rejection.error
        log.warning("version %s isn't used for %s: %s", rejection.version, self._model.__name__, rejection.error.reason)
        if rejection.version is not None:
            self._view.acknowledge(rejection.version, "rejected", rejection.error.reason)

    def _bound(self, change: Change | None) -> T:
        document = (change.document if change else None) or {}
        try:
            return bind(document, self._model, self._prefix)
        except BindError:
            raise
        except Exception as error:
            if self._shown is None:
                raise
            # The first document was bound, so this one has reached a mistake in the model's own code.
            log.exception("%s failed", self._model.__name__)
            raise self._failed(f"{self._model.__name__} failed: {type(error).__name__}") from error

    def _show(self, value: T, version: str | None) -> None:
        if self._shown is not None and value == self._shown[0]:
            # Another part of the configuration has changed.
            self._shown = self._shown[0], version
            return
        if self._apply is not None:
            try:
                self._apply(value)
            except Exception as error:
                if self._shown is None:
                    raise
                log.exception("the settings of version %s couldn't be applied", version)
                raise self._failed(f"couldn't be applied: {type(error).__name__}") from error
        self._shown = value, version

    def _failed(self, text: str) -> BindError:
        return BindError([Problem(self._prefix, text, text)])


class Rejection:
    """A version that doesn't bind.

    Attributes:
        error: The problems.
        version: None if the configuration has ended.
    """

    def __init__(self, error: BindError, version: str | None) -> None:
        self.error = error
        self.version = version

    @property
    def wanted(self) -> str | None:
        """The flat key whose explanation has the places. None if the server can't know any."""
        return self.error.wanted if self.version is not None and any(each.key for each in self.error.problems) else None

    def located(self, body: bytes | None) -> "Rejection":
        """Return the same rejection, with the places from a server's explanation."""
        return Rejection(self.error.located(places(body, self.version)), self.version)


def attempt(view: View, model: type[T], prefix: str) -> "T | Rejection":
    """Make one object of the newest version."""
    change: Any = view.current
    try:
        return bind((change.document if change else None) or {}, model, prefix)
    except BindError as error:
        return Rejection(error, change.version if change else None)
