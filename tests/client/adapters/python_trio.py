"""The adapter of vortexd.client on Trio; ../conformance/ADAPTERS.md describes its lines. Its clock can be set.

The view of an application shows changes and states one after another, and combines them if the application is slow. This adapter prints
them in their order, as they reach the view.
"""

import json
import logging
import os
from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from vortexd.client.change import Change
from vortexd.client.following import Options, following
from vortexd.client.link import REFUSED
from vortexd.client.view import Connected, Failed, Stale, State, WatchFailed
from vortexd.client.watching import Config


def report(event: Any) -> None:
    print(json.dumps(event), flush=True)


class Reporter(Config):
    """Prints what a program would see."""

    _has_ended = False

    def change(self, change: Change, *, is_main: bool) -> None:
        super().change(change, is_main=is_main)
        self._report_end(may_return=True)
        names = ("old_version", "version", "document", "patch", "is_behind")
        report({"change": {"key": str(change.key), **{name: getattr(change, name) for name in names}}})

    def turn(self, state: State) -> None:
        was_connected = isinstance(self.state, Connected)
        super().turn(state)
        match state:
            case Stale():
                self._report_end(may_return=True)
                self._has_ended = True
                # `Failed` follows at once if no server lets this client come back.
                trio.lowlevel.current_trio_token().run_sync_soon(self._report_end)
            case Failed():
                self._report_end(may_return=False)
            case Connected() if not was_connected:
                self._report_end(may_return=True)
                report("current")

    def _report_end(self, may_return: bool = True) -> None:
        if self._has_ended:
            self._has_ended = False
            report({"end": {"return": may_return}})


class Refusals(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == REFUSED and isinstance(record.args, tuple):
            report({"refused": record.args[0]})


async def obey(view: Reporter, clock: MockClock | None) -> None:
    """Perform the commands on standard input, until it ends."""
    unread = b""
    async for data in trio.lowlevel.FdStream(os.dup(0)):
        *lines, unread = (unread + data).split(b"\n")
        for line in lines:
            command = json.loads(line)
            if "ack" in command:
                await view.ack(**command["ack"])
            elif clock is not None and "clock" in command:
                # `current_time` begins anywhere; the clock of the runner begins at 0.
                clock.jump(max(0.0, command["clock"] - trio.current_time()))
                await wait_all_tasks_blocked(0.005)
                report({"clock": command["clock"]})


async def main(clock: MockClock | None) -> None:
    handler = Refusals()
    logging.getLogger("vortexd.client").addHandler(handler)
    options: Options = {
        "token": os.environ["CONFORMANCE_TOKEN"] or None,
        "patterns": os.environ["CONFORMANCE_PATTERNS"].split(),
    }
    views: list[Reporter] = []

    def make(since: float) -> Reporter:
        views.append(Reporter(since))
        return views[0]

    subject = os.environ["CONFORMANCE_APPLICATION"], os.environ["CONFORMANCE_PROFILE"]
    if clock is not None:
        report({"clock": 0})
    async with trio.open_nursery() as nursery:

        async def follow() -> None:
            try:
                async with following(make, os.environ["CONFORMANCE_URL"], *subject, None, options):
                    await trio.sleep_forever()
            except WatchFailed:
                # The end was reported. Standard input says when to stop.
                await trio.sleep_forever()

        nursery.start_soon(follow)
        await wait_all_tasks_blocked()
        await obey(views[0], clock)
        nursery.cancel_scope.cancel()


def run() -> None:
    fake = MockClock()
    trio.run(main, fake, clock=fake)


if __name__ == "__main__":
    run()
