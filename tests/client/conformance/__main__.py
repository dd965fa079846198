"""`python -m tests.client.conformance COMMAND...`: plays the conversations to the client behind an adapter, and reports."""

import argparse
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import attrs
import trio

from .play import Options, Outcome, play
from .transcript import TRANSCRIPTS, Transcript, load

_MOST_JOBS = 64
# Nothing in a conversation takes longer; a client may have a reason of its own to be slow.
_LONGEST_CONVERSATION = 120.0
_SKIPPED_BY_NAME = "--skip names it"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0 if no conversation failed and at least one passed, 1 otherwise, and 2 for wrong arguments."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if not given.command:
        parser.error("name the command of an adapter")
    if not 1 <= given.jobs <= _MOST_JOBS:
        parser.error(f"--jobs must be from 1 to {_MOST_JOBS}")
    transcripts = [load(path) for path in sorted(given.transcripts.glob("*.jsonl"))]
    names = {each.name for each in transcripts}
    if unknown := sorted({*given.only, *given.skip} - names):
        parser.error(f"there is no conversation {' '.join(unknown)} in {given.transcripts}")
    chosen = [each for each in transcripts if not given.only or each.name in given.only]
    if not chosen:
        parser.error(f"there are no conversations in {given.transcripts}")
    options = Options(given.transport, given.token, given.deadline, given.longest_wait)
    outcomes = trio.run(partial(_all, chosen, given.command, options, given.jobs, frozenset(given.skip)))
    for line in report(outcomes, len(chosen)):
        print(line)
    results = [each.result for each in outcomes]
    return 0 if len(results) == len(chosen) and "failed" not in results and "passed" in results else 1


def report(outcomes: Sequence[Outcome], number: int) -> list[str]:
    """Return the lines of the closing report: the failed conversations, the skipped ones, and the sums."""
    lines = []
    for each in sorted(outcomes, key=lambda each: (each.result, each.name)):
        if each.result != "passed":
            lines.append(f"{each.result} {each.name}: {each.reason}")
            lines += [f"    {line}" for line in each.complaints.splitlines()[-10:]]
    results = [each.result for each in outcomes]
    sums = [f"{results.count(each)} {each}" for each in ("passed", "failed", "skipped")]
    if len(outcomes) < number:
        sums.append(f"{number - len(outcomes)} not played")
    return [*lines, ", ".join(sums)]


async def _all(
    transcripts: Sequence[Transcript], command: Sequence[str], options: Options, jobs: int, skipped: frozenset[str]
) -> list[Outcome]:
    """Play the conversations, some at a time. A signal ends them early, with their processes."""
    outcomes: list[Outcome] = []
    limit = trio.CapacityLimiter(jobs)

    async def one(transcript: Transcript) -> None:
        async with limit:
            outcome = Outcome(transcript.name, "failed", f"it wasn't over after {_LONGEST_CONVERSATION:g} s")
            with trio.move_on_after(_LONGEST_CONVERSATION):
                outcome = await play(transcript, command, options)
            outcomes.append(outcome)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_at_signal, nursery.cancel_scope)
        async with trio.open_nursery() as playing:
            for transcript in transcripts:
                if transcript.name in skipped:
                    outcomes.append(Outcome(transcript.name, "skipped", _SKIPPED_BY_NAME))
                else:
                    playing.start_soon(one, transcript)
        nursery.cancel_scope.cancel()
    return outcomes


async def _stop_at_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


def _parser() -> argparse.ArgumentParser:
    default = attrs.fields(Options)
    parser = argparse.ArgumentParser(
        prog="python -m tests.client.conformance",
        description="Speak as the server to a client of vortexd, and check it by recorded conversations.",
        epilog="Options stand before COMMAND. tests/client/conformance/ADAPTERS.md describes what COMMAND must do.",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="the adapter, with its arguments")
    parser.add_argument("--transport", choices=("websocket", "sse"), default=default.transport.default)
    parser.add_argument("--token", help="give the client this token, and expect it in each request")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="play only this conversation; may be repeated"
    )
    parser.add_argument(
        "--skip", action="append", default=[], metavar="NAME", help="don't play this conversation; may be repeated"
    )
    parser.add_argument("--jobs", type=int, default=4, help="conversations at a time (4)")
    parser.add_argument(
        "--deadline", type=float, default=default.deadline.default, metavar="SECONDS", help="for each answer (5)"
    )
    parser.add_argument(
        "--longest-wait",
        type=float,
        default=default.longest_wait.default,
        metavar="SECONDS",
        help="wait for no step that is later, if the adapter's clock can't be set (4)",
    )
    parser.add_argument("--transcripts", type=Path, default=TRANSCRIPTS, metavar="DIRECTORY")
    return parser


if __name__ == "__main__":
    sys.exit(main())
