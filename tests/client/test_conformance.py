"""The runner of conversations finds what adapters do right and wrong, over real sockets and with real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from tests.client.conformance.__main__ import main, report
from tests.client.conformance.adapter import running
from tests.client.conformance.channel import MOST_WAITING, Channel, Failed
from tests.client.conformance.play import Options, Outcome, play
from tests.client.conformance.server import Head, response
from tests.client.conformance.transcript import TRANSCRIPTS, Step, Transcript, difference, load
from tests.console.node import NODE, needs_node

from .adapters.faulty import FAULTS
from .adapters.forks import FORKED

ROOT = Path(__file__).parent.parent.parent
PYTHON = [sys.executable, "-m", "tests.client.adapters.python_trio"]
SSE = [sys.executable, "-m", "tests.client.adapters.python_sse"]
JAVASCRIPT = [str(NODE), "--experimental-websocket", "tests/client/adapters/vortex_js.mjs"]
NUMBER = len(list(TRANSCRIPTS.glob("*.jsonl")))


def run(*arguments: str) -> tuple[int, list[str]]:
    command = [sys.executable, "-m", "tests.client.conformance", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    return done.returncode, [*done.stdout.splitlines(), *done.stderr.splitlines()]


def only(*names: str) -> list[str]:
    return [part for name in names for part in ("--only", name)]


def faulty(fault: str, *names: str, deadline: str = "3") -> tuple[int, list[str]]:
    return run("--deadline", deadline, *only(*names), sys.executable, "-m", "tests.client.adapters.faulty", fault)


@contextmanager
def forks(directory: Path) -> Iterator[list[str]]:
    """Run the server of forks, and yield the command of an adapter."""
    path = str(directory / "forks")
    command = [sys.executable, "-m", "tests.client.adapters.forks", path]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert "ready\n" == server.stdout.readline()
        yield [sys.executable, "-I", "-S", str(FORKED), path]
        server.stdin.close()
        assert 0 == server.wait(10)


# The clients of this project.


@pytest.mark.slow
def test_the_client_in_python_conforms(tmp_path: Path) -> None:
    with forks(tmp_path) as command:
        assert (0, [f"{NUMBER} passed, 0 failed, 0 skipped"]) == run(*command)


def test_the_client_in_python_conforms_without_a_server_of_forks() -> None:
    assert (0, ["3 passed, 0 failed, 0 skipped"]) == run(*only("change", "dead_server", "patterns"), *PYTHON)


def test_a_fork_passes_its_output_and_its_status_on(tmp_path: Path) -> None:
    with forks(tmp_path) as command:
        # Without a token, the adapter fails.
        environment = {"CONFORMANCE_PATTERNS": ""}
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, env=environment)

    assert 1 == done.returncode
    assert "KeyError: 'CONFORMANCE_TOKEN'" in done.stderr


def test_a_fork_ends_with_the_process_that_stands_for_it(tmp_path: Path) -> None:
    given = {"TOKEN": "", "PATTERNS": "", "APPLICATION": "a", "PROFILE": "b", "URL": "ws://127.0.0.1:9"}
    environment = {f"CONFORMANCE_{name}": value for name, value in given.items()}
    with (
        forks(tmp_path) as command,
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stand_in,
    ):
        assert stand_in.stdout is not None
        assert b'{"clock": 0}\n' == stand_in.stdout.readline()
        stand_in.kill()

        # Standard input is still open. The output ends, because the fork has ended.
        assert b"" == stand_in.stdout.read()


@pytest.mark.slow
@needs_node
def test_the_client_in_javascript_conforms() -> None:
    # A browser doesn't tell a page the status of a refused handshake. Over HTTP, every server answers 426.
    assert (0, ["skipped refused_426: --skip names it", f"{NUMBER - 1} passed, 0 failed, 1 skipped"]) == run(
        "--skip", "refused_426", *JAVASCRIPT
    )


@needs_node
def test_the_client_in_javascript_sends_its_token() -> None:
    assert (0, ["1 passed, 0 failed, 0 skipped"]) == run("--token", "secret", *only("change"), *JAVASCRIPT)


@pytest.mark.slow
@needs_node
def test_the_client_in_javascript_conforms_over_server_sent_events() -> None:
    status, lines = run("--transport", "sse", *JAVASCRIPT)

    assert (0, "65 passed, 0 failed, 58 skipped") == (status, lines[-1])


def test_a_client_that_names_a_state_that_it_ignored_is_found() -> None:
    status, lines = run("--transport", "sse", *only("generation_main_key"), *SSE)

    assert 1 == status
    assert "the request must have {'Last-Event-ID': '0c0ded72a0f47438'}" in lines[0]


def test_an_event_stream_is_played_to_a_client_and_resumed() -> None:
    names = ("change", "resume_diff", "resume_snapshot", "patterns", "refused_401", "refused_503", "hello_shortest")

    assert (0, ["7 passed, 0 failed, 0 skipped"]) == run("--transport", "sse", "--token", "secret", *only(*names), *SSE)


# Faults of clients. Each is found in the conversation that states the duty.


@pytest.mark.parametrize(
    ("fault", "name", "reason"),
    [
        ("lossy", "change", "line 7, expect: no event within 3 s; expected {'change'"),
        ("trusting", "wrong_snapshot", "line 7, send: no message within 3 s; expected {'type': 'resync'"),
        ("forgetful", "resume_in_sync", "line 9, open: the request must have {'last_version': '0c0ded72a0f47438'"),
        ("mute", "ack", "line 7, send: no message within 3 s; expected {'type': 'ack'"),
        ("hasty", "closing", "after the last line: the client reconnected 0 s after the end, and the server asked for 1.5 s"),
        ("stubborn", "close_4401", 'line 7, expect: expected {"end": {"return": false, "after_ms": null}}, got {"end": {"return": true}}'),
        ("hanging", "change", "line 4, expect: no event within 3 s; expected {'change'"),
        ("rambling", "change", "line 2, open: the adapter printed a line that is no event: 'the client has started'"),
        ("crashing", "change", "line 4, expect: the adapter ended with status 3; expected {'change'"),
        ("flooding", "close_4401", 'line 7, expect: expected {"end": {"return": false, "after_ms": null}}, got "current"'),
        ("flooding", "dead_server", "line 6, at: the adapter didn't confirm its clock within 3 s"),
        ("endless", "change", "line 2, open: the adapter printed a line of more than 8388608 bytes"),
    ],
)  # fmt: skip
def test_a_fault_is_found(fault: str, name: str, reason: str) -> None:
    status, [first, *rest] = faulty(fault, name)

    assert 1 == status
    assert first.startswith(f"failed {name}: {reason}")
    assert "0 passed, 1 failed, 0 skipped" == rest[-1]


def test_each_faulty_adapter_is_tested() -> None:
    [mark] = [each for each in test_a_fault_is_found.pytestmark if each.name == "parametrize"]  # type: ignore[attr-defined]

    assert FAULTS.keys() == {fault for fault, *_ in mark.args[1]} | {"clockless", "orphaning"}


def test_the_end_of_standard_error_is_shown_for_a_failed_conversation() -> None:
    _, lines = faulty("crashing", "change")

    assert "    out of luck" in lines


def test_a_process_that_an_adapter_leaves_behind_is_ended() -> None:
    _, lines = faulty("orphaning", "change")

    assert not is_alive(int(lines[1]))


def is_alive(process: int) -> bool:
    """Whether a process runs. One that was killed may not be reaped yet."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
        time.sleep(0.05)
    return True


def test_without_a_clock_a_later_step_is_skipped_by_name_and_those_before_are_played() -> None:
    status, lines = faulty("clockless", "dead_server", "change")

    assert 0 == status
    assert [
        "skipped dead_server: line 6: at 39 s, and the adapter has no clock that can be set; the lines before passed",
        "1 passed, 0 failed, 1 skipped",
    ] == lines


def test_without_a_clock_an_early_step_and_a_delay_are_waited_for() -> None:
    began = time.monotonic()

    assert (0, ["2 passed, 0 failed, 0 skipped"]) == faulty("clockless", "resume_in_sync", "closing")
    assert time.monotonic() - began > 1.5


def test_without_a_clock_a_reconnect_that_is_too_early_is_found() -> None:
    # The client that speaks Server-Sent Events has no clock. It waits as long as the server asks.
    status, lines = run("--transport", "sse", *only("refused_503"), sys.executable, "-c", HASTY)

    assert 1 == status
    assert lines[0].startswith(
        "failed refused_503: after the last line: the server asked for a delay of 2 s, and the client reconnected after 0."
    )


HASTY = "import time; time.sleep = lambda _: None; from tests.client.adapters.python_sse import main; main()"


def test_if_nothing_passed_the_status_isnt_success() -> None:
    assert 1 == faulty("clockless", "dead_server")[0]


def test_a_command_that_cant_be_run_fails() -> None:
    assert (
        1,
        ["failed change: the command can't be run: No such file or directory", "0 passed, 1 failed, 0 skipped"],
    ) == (run(*only("change"), "/nonexistent/adapter"))


def test_an_adapter_that_ends_before_its_client_connects_is_found_at_once() -> None:
    began = time.monotonic()
    _, lines = run(*only("change"), "sh", "-c", "exit 4")

    assert "failed change: line 2, open: the adapter ended with status 4" == lines[0]
    assert time.monotonic() - began < 10


def test_a_signal_ends_the_adapters_and_the_report_says_what_wasnt_played(tmp_path: Path) -> None:
    number = tmp_path / "number"
    command = [sys.executable, "-m", "tests.client.conformance", *only("change")]
    script = f"echo $$ >{number}.new; mv {number}.new {number}; exec sleep 600"
    with subprocess.Popen([*command, "sh", "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) as runner:
        for _ in range(400):
            if number.exists():
                break
            time.sleep(0.05)
        runner.send_signal(signal.SIGTERM)
        said, _ = runner.communicate(timeout=30)

    assert "0 passed, 0 failed, 0 skipped, 1 not played\n" == said
    assert 1 == runner.returncode
    assert not is_alive(int(number.read_text()))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "name the command of an adapter"),
        (["--only", "nothing", "true"], "there is no conversation nothing in "),
        (["--skip", "nothing", "true"], "there is no conversation nothing in "),
        (["--jobs", "0", "true"], "--jobs must be from 1 to 64"),
        (["--jobs", "65", "true"], "--jobs must be from 1 to 64"),
        (["--transcripts", "/nonexistent", "true"], "there are no conversations in /nonexistent"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert 2 == ended.value.code
    assert error in capsys.readouterr().err


# Its parts.


def test_the_report_has_failed_conversations_first() -> None:
    outcomes = [Outcome("c", "skipped", "why"), Outcome("b", "passed"), Outcome("a", "failed", "no", "1\n2")]

    assert ["failed a: no", "    1", "    2", "skipped c: why", "1 passed, 1 failed, 1 skipped"] == report(outcomes, 3)


def test_the_lines_of_a_conversation_are_steps_with_their_answers() -> None:
    transcript = load(TRANSCRIPTS / "snapshot.jsonl")

    assert (2, "open", []) == (transcript.steps[0].line, transcript.steps[0].kind, transcript.steps[0].answers)
    assert [4, 5] == [line for line, _, _ in transcript.steps[1].answers]


def test_a_file_that_begins_with_an_answer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"about":"x"}\n{"expect":"current"}\n')

    with pytest.raises(ValueError, match="an answer precedes the first step"):
        load(tmp_path / "a.jsonl")


CHANGE = {"key": "a:b:c", "old_version": None, "version": "1", "document": {"n": 1, "is": True}}


@pytest.mark.parametrize(
    ("expected", "actual", "agrees"),
    [
        ("current", "current", True),
        ("current", {"refused": "X"}, False),
        ({"refused": "X"}, {"refused": "X"}, True),
        ({"refused": "X"}, {"refused": "Y"}, False),
        ({"change": CHANGE}, {"change": CHANGE | {"patch": [1], "is_behind": False}}, True),
        ({"change": CHANGE}, {"change": {name: each for name, each in CHANGE.items() if each is not None}}, True),
        ({"change": CHANGE}, {"change": CHANGE | {"document": {"n": 1.0, "is": True}}}, True),
        ({"change": CHANGE}, {"change": CHANGE | {"document": {"n": 1, "is": 1}}}, False),
        ({"change": CHANGE}, {"change": CHANGE | {"old_version": "0"}}, False),
        ({"change": CHANGE}, {"change": CHANGE | {"is_behind": True}}, False),
        ({"change": CHANGE | {"is_behind": True}}, {"change": CHANGE}, False),
        ({"change": CHANGE | {"patch": [1]}}, {"change": CHANGE}, True),
        ({"change": CHANGE | {"patch": [1]}}, {"change": CHANGE | {"patch": [2]}}, False),
        ({"change": CHANGE}, {"change": "all"}, False),
        ({"end": {"return": True, "after_ms": 5}}, {"end": {"return": True}}, True),
        ({"end": {"return": True, "after_ms": 5}}, {"end": {"return": True, "after_ms": 6}}, False),
        ({"end": {"return": True, "after_ms": None}}, {"end": {"return": True, "after_ms": 6}}, False),
        ({"end": {"return": False, "after_ms": None}}, {"end": {}}, False),
        ({"type": "subscribe", "patterns": ["a"]}, {"type": "subscribe", "patterns": ["a"]}, True),
        ({"type": "subscribe", "patterns": ["a"]}, {"type": "subscribe", "patterns": ["a"], "more": None}, False),
    ],
)
def test_an_answer_agrees_or_differs(expected: object, actual: object, agrees: bool) -> None:
    assert agrees == (difference(expected, actual) is None)


@pytest.mark.parametrize(
    ("step", "obstacle"),
    [
        (Step(2, "ack", {}), "line 2: a client can't acknowledge over Server-Sent Events"),
        (Step(2, "close", {}), "line 2: an event stream has no close codes"),
        (Step(2, "recv_text", ""), "line 2: an event stream has no frames of text"),
        (Step(2, "recv", {"type": "x"}, [(3, "send", {"type": "resync"})]), "line 3: a client can't send resync over Server-Sent Events"),
        (Step(2, "recv", {"type": "ping"}, [(3, "expect", "x")]), "line 2: a heartbeat on an event stream is a comment, and names no versions"),
        (Step(2, "recv", {"type": "ping"}), None),
        (Step(2, "open", {}, [(3, "send", {"type": "subscribe"})]), None),
        (Step(2, "lost", True), None),
    ],
)  # fmt: skip
def test_steps_without_a_meaning_over_an_event_stream_are_named(step: Step, obstacle: str | None) -> None:
    transcript = Transcript("name", "about", [], [step])

    assert obstacle == transcript.obstacle("sse")
    assert transcript.obstacle("websocket") is None


async def test_a_channel_keeps_no_more_than_its_limit() -> None:
    channel = Channel("events")
    for number in range(MOST_WAITING + 1):
        channel.put(number)

    assert channel.failed.is_set()
    assert list(range(MOST_WAITING)) == [channel.next_nowait() for _ in range(MOST_WAITING)]
    with pytest.raises(Failed, match=f"more than {MOST_WAITING} events that nothing asked for"):
        channel.next_nowait()


async def test_a_channel_keeps_its_first_error() -> None:
    channel = Channel("events")
    channel.fail("one")
    channel.fail("two")

    with pytest.raises(Failed, match="one"):
        await channel.next(1)


@pytest.mark.parametrize(
    ("query", "headers", "token"),
    [
        ({}, {}, None),
        ({"token": "a"}, {}, "a"),
        ({}, {"authorization": "Bearer a"}, "a"),
        ({}, {"sec-websocket-protocol": "vortex.v1, bearer.a"}, "a"),
        ({}, {"authorization": "Basic a"}, None),
    ],
)
def test_a_token_is_found_where_clients_put_it(
    query: dict[str, str], headers: dict[str, str], token: str | None
) -> None:
    assert token == Head("/", query, headers, b"").token


def test_a_refusal_is_a_whole_response() -> None:
    head, _, body = response(503, {"Retry-After": "2"}, b"{}").partition(b"\r\n\r\n")

    assert b"{}" == body
    assert {b"HTTP/1.1 503 Refused", b"Retry-After: 2", b"Content-Length: 2", b"Connection: close"} < {
        *head.split(b"\r\n")
    }


async def test_the_command_gets_what_its_client_needs(tmp_path: Path) -> None:
    said = tmp_path / "said"
    transcript = attrs.evolve(load(TRANSCRIPTS / "patterns.jsonl"), patterns=["a:*:*", "b:*:*"])
    await play(transcript, ["sh", "-c", f"env | grep ^CONFORMANCE_ | sort >{said}"], Options(token="secret"))

    url, *_ = [line for line in said.read_text().splitlines() if line.startswith("CONFORMANCE_URL=ws://127.0.0.1:")]
    assert {
        "CONFORMANCE_APPLICATION=orders",
        "CONFORMANCE_PROFILE=dev",
        "CONFORMANCE_PATTERNS=a:*:* b:*:*",
        "CONFORMANCE_TOKEN=secret",
        "CONFORMANCE_TRANSPORT=websocket",
        url,
    } == {*said.read_text().splitlines()}


async def test_an_adapter_that_doesnt_read_its_commands_is_found() -> None:
    async with running(["sleep", "600"], {}) as adapter:
        with pytest.raises(Failed, match="the adapter doesn't read its standard input"):
            while True:
                await adapter.command({"ack": "x" * 65_536}, 0.1)


async def test_standard_input_ends_when_the_conversation_is_over(tmp_path: Path) -> None:
    async with running(["sh", "-c", f"cat >{tmp_path}/read; echo over >{tmp_path}/end"], {}) as adapter:
        await adapter.command({"ack": 1}, 1)

    assert ('{"ack": 1}\n', "over\n") == ((tmp_path / "read").read_text(), (tmp_path / "end").read_text())


def test_the_runner_needs_no_test_framework() -> None:
    code = "import sys, tests.client.conformance.__main__; sys.exit('pytest' in sys.modules)"

    assert 0 == subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ}, check=False).returncode
