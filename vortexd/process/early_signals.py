"""Signals that arrive before the daemon handles them. SIGTERM ends the process with status 0. SIGHUP is remembered.

Imports and settings take a moment. Without this module, the kernel would end the process in that time. The status
would be -15 at an orderly stop, and -1 at a reload. The module imports almost nothing, so an entry point can call it first.
"""

import os
import signal
from types import FrameType

_former: "dict[signal.Signals, signal._HANDLER]" = {}
_is_reload_wanted = False


def begin() -> None:
    """Handle both signals until `end`, or until the daemon handles them itself. May be called repeatedly."""
    _install(signal.SIGTERM, _exit)
    _install(signal.SIGHUP, _remember)


def begin_worker() -> None:
    """Ignore SIGTERM and SIGINT, which are meant for the supervisor, and remember SIGHUP."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _install(signal.SIGHUP, _remember)


def end() -> None:
    """Restore the signal handlers from before `begin`, for commands that don't serve. Raise a remembered SIGHUP again.

    If other code has replaced a handler meanwhile, that handler stays.
    """
    for number, former in _former.items():
        if signal.getsignal(number) in (_exit, _remember):
            signal.signal(number, former)
    _former.clear()
    if take_reload():
        signal.raise_signal(signal.SIGHUP)


def take_reload() -> bool:
    """Return whether SIGHUP has arrived since the last call."""
    global _is_reload_wanted
    is_wanted, _is_reload_wanted = _is_reload_wanted, False
    return is_wanted


def _install(number: signal.Signals, handler: "signal._HANDLER") -> None:
    if number not in _former:
        _former[number] = signal.signal(number, handler)


def _exit(_number: int, _frame: FrameType | None) -> None:
    # Nothing has started that needs cleaning up. An exception could be lost in the module that is being imported.
    os._exit(0)


def _remember(_number: int, _frame: FrameType | None) -> None:
    global _is_reload_wanted
    _is_reload_wanted = True
