"""One template, from a document to its outcome: applied, or rejected with the old state restored. Checks and reloads are real commands."""

import os
from pathlib import Path
from typing import Any

import pytest
import trio

from vortexd.agent.commands import Failure
from vortexd.agent.files import FileSnapshot
from vortexd.agent.item import Hook, Outcome, State, TemplateItem
from vortexd.agent.record import Known, Record, digest_of, make_private
from vortexd.agent.settings import HookSettings, TemplateSettings
from vortexd.client.replica import version_of

from .fakes import SUBJECT, comes_true, has_text


class Bench:
    """A template, its target, and a program. At each reload the program records its input, and refuses an input that contains `bad`."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.target = directory / "app.conf"
        self.loaded = directory / "loaded"
        self.source = directory / "app.conf.j2"
        self.source.write_text("size={{ config.size }}\n")
        self.state = directory / "state"
        make_private(self.state)
        takes = f"cat '{self.target}' >> '{self.loaded}' 2>/dev/null || echo nothing >> '{self.loaded}'"
        self.settings = TemplateSettings(
            **{
                "application": "shop",
                "source": str(self.source),
                "target": str(self.target),
                "shell": True,
                "check": ("! grep -q broken \"$VORTEXD_FILE\" || { echo 'line 1: broken' >&2; exit 1; }",),
                "reload": (f"{takes}; ! grep -qs bad '{self.target}' || {{ echo 'bad size' >&2; exit 3; }}",),
                **settings,
            }
        )

    def item(self) -> TemplateItem:
        """Return a new item, as after a restart."""
        return TemplateItem(self.settings, self.record(), trio.Lock())

    def record(self) -> Record:
        return Record(self.state, str(self.target))

    async def apply(self, size: object) -> Outcome:
        return await self.item().apply(state(size))

    def held(self) -> str | None:
        return self.target.read_text() if self.target.exists() else None

    def loads(self) -> list[str]:
        return self.loaded.read_text().splitlines() if self.loaded.exists() else []


def state(size: object) -> State:
    document = {"size": size}
    return State(SUBJECT, version_of(document), document)


def failure(outcome: Outcome) -> Failure:
    assert outcome.failure is not None
    return outcome.failure


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def test_a_document_becomes_a_file_that_is_taken(bench: Bench) -> None:
    outcome = await bench.apply(1)

    assert Outcome(state(1).version) == outcome
    assert ("size=1\n", ["size=1"]) == (bench.held(), bench.loads())
    assert Known(digest_of(b"size=1\n"), state(1).version) == bench.record().read()


async def test_what_is_the_same_is_not_reloaded(bench: Bench) -> None:
    await bench.apply(1)
    outcome = await bench.apply(1)

    assert Outcome(state(1).version, has_changed=False) == outcome
    assert ["size=1"] == bench.loads()


async def test_another_version_that_makes_the_same_file_is_known_as_applied(bench: Bench) -> None:
    await bench.apply(1)
    other = State(SUBJECT, "v2", {"size": 1, "other": 2})

    assert Outcome("v2", has_changed=False) == await bench.item().apply(other)
    assert "v2" == bench.record().read().version


async def test_what_the_check_refuses_leaves_the_old_file_untouched(bench: Bench) -> None:
    await bench.apply(1)
    inode = bench.target.stat().st_ino
    outcome = await bench.apply("broken")

    assert ("check ended with status 1", "line 1: broken") == (failure(outcome).reason, failure(outcome).stderr)
    assert state("broken").version == outcome.version
    assert ("size=1\n", inode, ["size=1"]) == (bench.held(), bench.target.stat().st_ino, bench.loads())
    assert not bench.item().target.candidate.exists()


async def test_what_the_reload_refuses_is_put_back_and_reloaded(bench: Bench) -> None:
    await bench.apply(1)
    bench.target.chmod(0o640)
    outcome = await bench.apply("bad")

    assert ("reload ended with status 3", "bad size") == (failure(outcome).reason, failure(outcome).stderr)
    assert ("size=1\n", ["size=1", "size=bad", "size=1"]) == (bench.held(), bench.loads())
    assert 0o640 == bench.target.stat().st_mode & 0o777
    assert Known(digest_of(b"size=1\n"), "") == bench.record().read()


async def test_where_there_was_no_file_there_is_none_after_a_refusal(bench: Bench) -> None:
    outcome = await bench.apply("bad")

    assert "reload ended with status 3" == failure(outcome).reason
    assert (None, ["size=bad", "nothing"]) == (bench.held(), bench.loads())


async def test_a_reload_that_fails_with_the_old_file_too_is_said_and_not_known_as_applied(tmp_path: Path) -> None:
    bench = Bench(tmp_path, reload=("exit 4",))
    bench.target.write_text("size=0\n")
    outcome = await bench.apply(1)

    assert (
        "reload ended with status 4; after the old file was restored: reload ended with status 4"
        == failure(outcome).reason
    )
    assert ("size=0\n", Known()) == (bench.held(), bench.record().read())


async def test_a_template_that_cannot_be_rendered_is_a_refusal(bench: Bench) -> None:
    await bench.apply(1)
    bench.source.write_text("size={{ config.sise }}\n")
    outcome = await bench.apply(2)

    assert failure(outcome).reason.startswith(f"{bench.source}:1: sise isn't in the configuration")
    assert "size=1\n" == bench.held()


async def test_a_template_that_others_write_is_refused(bench: Bench) -> None:
    bench.source.chmod(0o666)

    assert "open to other users" in failure(await bench.apply(1)).reason


async def test_a_file_that_is_not_known_as_applied_is_checked_and_reloaded(bench: Bench) -> None:
    bench.target.write_text("size=1\n")

    assert Outcome(state(1).version) == await bench.apply(1)
    assert ["size=1"] == bench.loads()


async def test_another_mode_in_the_settings_is_reason_to_write_again(bench: Bench, tmp_path: Path) -> None:
    await bench.apply(1)
    await Bench(tmp_path, mode="0644").apply(1)

    assert 0o644 == bench.target.stat().st_mode & 0o777


async def killed_after_the_replacement(bench: Bench, size: str) -> None:
    """Leave the files as a kill between the replacement and the reload does."""
    old = bench.target.read_bytes() if bench.target.exists() else None
    held = FileSnapshot(old, 0o600, os.geteuid(), os.getegid()) if old is not None else None
    content = f"size={size}\n".encode()
    record = bench.record()
    record.begin(record.read(), digest_of(content), held)
    bench.target.write_bytes(content)


async def test_a_kill_before_the_reload_is_mended_at_the_next_start(bench: Bench) -> None:
    await bench.apply(1)
    await killed_after_the_replacement(bench, "2")

    assert Outcome(state(2).version) == await bench.apply(2)
    assert ["size=1", "size=2"] == bench.loads()
    assert Known(digest_of(b"size=2\n"), state(2).version) == bench.record().read()


async def test_after_a_kill_the_file_to_go_back_to_is_the_one_that_was_good(bench: Bench) -> None:
    await bench.apply(1)
    await killed_after_the_replacement(bench, "bad")
    outcome = await bench.apply("bad")

    assert "reload ended with status 3" == failure(outcome).reason
    assert ("size=1\n", ["size=1", "size=bad", "size=1"]) == (bench.held(), bench.loads())


@pytest.mark.parametrize("spoil", ["the check", "the template"])
async def test_after_a_kill_a_refusal_puts_the_good_file_back(bench: Bench, spoil: str) -> None:
    await bench.apply(1)
    await killed_after_the_replacement(bench, "bad")
    if spoil == "the template":
        bench.source.write_text("{{ config.nothing }}")
    outcome = await bench.apply("broken")

    assert outcome.failure is not None
    assert ("size=1\n", ["size=1", "size=1"]) == (bench.held(), bench.loads())


async def test_after_a_kill_that_left_nothing_to_go_back_to_the_next_version_is_tried(bench: Bench) -> None:
    await bench.apply(1)
    await killed_after_the_replacement(bench, "2")
    next(bench.state.glob("*.old")).unlink()

    assert Outcome(state(3).version) == await bench.apply(3)


async def test_nothing_cancels_between_the_replacement_and_its_end(tmp_path: Path) -> None:
    began, go = tmp_path / "began", tmp_path / "go"
    bench = Bench(tmp_path, reload=(f"echo > '{began}'; until test -e '{go}'; do sleep 0.05; done",))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.apply, 1)
        assert await comes_true(lambda: has_text(began))
        nursery.cancel_scope.cancel()
        go.touch()

    assert Known(digest_of(b"size=1\n"), state(1).version) == bench.record().read()


async def test_a_cancelled_check_leaves_nothing(tmp_path: Path) -> None:
    began = tmp_path / "began"
    bench = Bench(tmp_path, check=(f"echo > '{began}'; sleep 600",))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.apply, 1)
        assert await comes_true(lambda: has_text(began))
        nursery.cancel_scope.cancel()

    assert (None, Known()) == (bench.held(), bench.record().read())
    assert not bench.item().target.candidate.exists()


async def test_words_of_a_check_name_the_file_to_check(tmp_path: Path) -> None:
    bench = Bench(tmp_path, shell=False, check=("grep", "-q", "size=1", "{file}"), reload=())

    assert None is (await bench.apply(1)).failure
    assert "check ended with status 1" == failure(await bench.apply(2)).reason


async def test_a_signal_reloads(tmp_path: Path) -> None:
    bench = Bench(tmp_path, reload=(), signal="HUP", pid_file=str(tmp_path / "pid"))

    assert failure(await bench.apply(1)).reason.startswith("signal: ")
    assert None is bench.held()


async def test_a_preview_is_a_diff_and_changes_nothing(bench: Bench) -> None:
    await bench.apply(1)
    diff = await bench.item().preview(state(2))

    assert "-size=1\n+size=2\n" == diff[diff.index("-size") :]
    assert ("size=1\n", "") == (bench.held(), await bench.item().preview(state(1)))


async def test_only_variables_that_settings_allow_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGION", "north")
    monkeypatch.setenv("PASSWORD", "hunter2")
    bench = Bench(tmp_path, environment=("REGION", "UNSET"))
    bench.source.write_text("{{ env.REGION }} {{ env.UNSET | default('-') }} {{ env.PASSWORD | default('-') }}")
    await bench.apply(1)

    assert "north - -" == bench.held()


async def test_a_hook_runs_once_for_each_version(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    make_private(tmp_path / "state")
    settings = HookSettings(application="shop", shell=True, reload=(f"echo $VORTEXD_VERSION >> '{ran}'",))

    def hook() -> Hook:
        return Hook(settings, Record(tmp_path / "state", "hook"), trio.Lock())

    assert [True, False, True] == [(await hook().apply(state(size))).has_changed for size in (1, 1, 2)]
    assert [state(1).version, state(2).version] == ran.read_text().split()


async def test_a_hook_that_fails_runs_again(tmp_path: Path) -> None:
    make_private(tmp_path / "state")
    settings = HookSettings(application="shop", reload=("false",))
    hook = Hook(settings, Record(tmp_path / "state", "hook"), trio.Lock())

    assert ["reload ended with status 1"] * 2 == [failure(await hook.apply(state(1))).reason for _ in range(2)]
