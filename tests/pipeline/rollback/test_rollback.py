"""Roll-backs: what may be carried out, in which order its steps happen, and what each failure leaves."""

import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, cast

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from vortexd.core.commits import Commit, PastFiles
from vortexd.core.errors import RemoteError, SourceError
from vortexd.core.model import Config, Files, Key, Origin, Tree
from vortexd.core.pushes import Branch, NewCommit, PushError, PushFault
from vortexd.gate.finding import Finding
from vortexd.gate.gate import PublicationGate, Verdict
from vortexd.pipeline.rollback import rollback as module
from vortexd.pipeline.rollback.plan import Plan
from vortexd.pipeline.rollback.rollback import RollBacks, Wanted
from vortexd.resolve.tree import ParsedFiles
from vortexd.settings.server import ServerSettings
from vortexd.source.git.push import CHECK_SECONDS, PUSH_SECONDS

from ...wiring import Wired
from .branches import ROOT, SHOP, files_of, id_of, past_of

REF = (["git:/a"], ["refs/heads/main"])


class Repositories:
    """A repository with one branch. Each act is noted.

    Attributes:
        states: The files of each commit, the oldest first.
        errors: What the acts raise, by name.
        made: Changes the files of a new commit.
        looked: What a fetch does.
        gate: Set to a new Event to make a push wait for it.
        pushing: Set once a push has begun.
    """

    def __init__(self, *states: Mapping[str, str]) -> None:
        self.states: dict[str, Mapping[str, str]] = {id_of(number): each for number, each in enumerate(states)}
        self.found: Branch | None = Branch("git:/a", "main", id_of(len(states) - 1), ["main", "unserved"], pushes=True)
        self.known = len(states)
        self.errors: dict[str, Exception] = {}
        self.acts: list[str] = []
        self.new: list[NewCommit] = []
        self.made: Callable[[dict[str, str]], object] = lambda files: None
        self.looked: Callable[[], object] = lambda: None
        self.gate: trio.Event | None = None
        self.pushing = trio.Event()
        self.unservable: set[str] = set()
        self.roots: list[str] = []

    def branch(self, root: str, label: str) -> Branch | None:
        assert "main" == label
        self.roots.append(root)
        return self.found if root == ROOT else None

    def commits(self, root: str, commit: str) -> Sequence[Commit]:
        number = int(commit, 16)
        if number >= self.known:
            return ()
        return [
            Commit(Origin(id_of(each), "Ada", ""), id_of(each - 1) if each else None, ["shop.yml"])
            for each in range(number, -1, -1)
        ]

    async def at(self, root: str, commit: str, near: PastFiles | None) -> PastFiles | None:
        await self._act(f"read {int(commit, 16)}")
        return None if commit in self.unservable else past_of(self.states[commit], int(commit, 16))

    async def commit(self, root: str, new: NewCommit) -> str:
        await self._act("commit")
        self.new.append(new)
        files = dict(self.states[new.head])
        for each in new.changes:
            files.pop(each.path, None)
            if each.content is not None:
                files[each.path] = each.content.decode()
        self.made(files)
        commit = id_of(len(self.states))
        self.states[commit] = files
        return commit

    async def push(self, root: str, branch: str, head: str, commit: str) -> None:
        self.pushing.set()
        if self.gate is not None:
            await self.gate.wait()
        await self._act(f"push {branch} {int(head, 16)} {int(commit, 16)}")

    async def wait_looked(self, addresses: Collection[str], refs: Collection[str]) -> None:
        assert REF == (addresses, refs)
        await self._act("looked")
        self.looked()

    async def _act(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        self.acts.append(name)
        if (error := self.errors.get(name.partition(" ")[0])) is not None:
            raise error


def value(number: int) -> dict[str, str]:
    return {"shop.yml": f"a: {number}"}


class Case:
    """Roll-backs of a repository whose newest commit is served."""

    def __init__(self, *states: Mapping[str, str], **more: Any) -> None:
        self.repositories = Repositories(*(states or (value(0), value(1), value(2))))
        self.wired = Wired()
        self.refreshed: list[object] = []
        self.begins: list[tuple[str, str, list[str]]] = []
        self.begin: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
        store, reader = self.wired.store, self.wired.reader
        self.rollbacks = RollBacks(store, reader, self.repositories, self._refresh, now=lambda: 77.9, **more)

    def _refresh(self, addresses: Collection[str], refs: Collection[str]) -> None:
        self.refreshed.append((addresses, refs))
        self.repositories.acts.append("refresh")

    async def publish(self, number: int | None = None, *others: Files) -> None:
        number = len(self.repositories.states) - 1 if number is None else number
        files = files_of(self.repositories.states[id_of(number)], number, others=others)
        await self.wired.publisher.publish(Tree({"main": files, "dev": files_of(value(9))}, "main"))

    async def carry_out(self, to: int = 0, expected: int = 2, **more: Any) -> tuple[Any, str]:
        wanted = Wanted(SHOP, id_of(to), author="ada", reason="incident 7", expected=id_of(expected), **more)
        return await self.rollbacks.carry_out(wanted, self.begun)

    async def begun(self, plan: Plan, commit: str) -> None:
        self.begins.append((plan.target, commit, [*self.repositories.acts]))
        await self.begin()

    async def refused(self, to: int = 0, expected: int = 2, **more: Any) -> RemoteError:
        with pytest.raises(RemoteError) as caught:
            await self.carry_out(to, expected, **more)
        return caught.value


async def made(*states: Mapping[str, str], **more: Any) -> Case:
    case = Case(*states, **more)
    await case.publish()
    return case


# A roll-back that is carried out.


async def test_the_steps_come_in_order_and_all_servers_fetch() -> None:
    case = await made()
    with capture_logs() as logs:
        plan, commit = await case.carry_out()

    assert ["read 2", "read 0", "commit", "read 3", "push main 2 3", "refresh"] == case.repositories.acts
    assert (id_of(3), id_of(0), [REF]) == (commit, plan.target, case.refreshed)
    [said] = [each for each in logs if each["event"] == "rolled back"]
    assert ("shop:dev:main", id_of(0), commit, "main", ["shop.yml"], 1) == tuple(
        said[name] for name in ("key", "target", "commit", "branch", "files", "others")
    )
    assert {"plan_seconds", "commit_seconds", "push_seconds"} <= said.keys()


async def test_the_commit_names_the_person_the_key_the_target_and_the_reason() -> None:
    case = await made()
    await case.carry_out()

    [new] = case.repositories.new
    text = f"Roll back shop:dev:main to {id_of(0)[:12]}\n\nReason: incident 7\n\nVortexd-Rollback: {id_of(0)}\n"
    assert (id_of(2), text, "ada", 77, id_of(0)) == (new.head, new.message, new.author, new.seconds, new.origin)
    assert [("shop.yml", b"a: 0")] == [(each.path, each.content) for each in new.changes]


async def test_a_plan_changes_nothing() -> None:
    case = await made()
    plan = await case.rollbacks.plan(Wanted(SHOP, id_of(1)))

    assert (["read 2", "read 1"], []) == (case.repositories.acts, case.refreshed)
    assert (b'{"a":2}', b'{"a":1}') == (plan.old and plan.old.body, plan.new.body)


async def test_keys_in_use_are_among_the_others() -> None:
    case = await made()
    other = Key("shop", "made-up", "main")
    case.wired.pipeline.hold(other)
    plan = await case.rollbacks.plan(Wanted(SHOP, id_of(1)))

    assert [Key("shop", "default", "main"), other] == plan.others


async def test_keys_in_use_at_other_workers_are_among_the_others() -> None:
    case = await made()
    other = Key("shop", "made-up", "main")
    plan = await case.rollbacks.plan(Wanted(SHOP, id_of(1), in_use=(other, Key("cart", "x", "main"))))

    assert [Key("shop", "default", "main"), other] == plan.others


async def test_a_worker_names_the_keys_that_only_its_clients_use(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case()
    assert [] == case.rollbacks.unlisted("main")
    await case.publish()
    used = [Key("shop", name, label) for name, label in (("x", "main"), ("y", "dev"), ("z", "dev,main"))]
    for each in (*used, Key("shop", "default", "main")):
        case.wired.pipeline.hold(each)

    assert [used[0], used[2]] == case.rollbacks.unlisted("main")
    monkeypatch.setattr(module, "MOST_UNLISTED", 1)
    assert used[:1] == case.rollbacks.unlisted("main")


async def test_the_newest_commit_counts_even_if_another_one_is_served() -> None:
    """As while the gate holds the label back."""
    case = Case()
    await case.publish(0)
    plan, _ = await case.carry_out(0)

    assert (id_of(2), id_of(0)) == (plan.branch.head, plan.target)
    assert b'{"a":2}' == plan.old.body


async def test_if_the_newest_commit_is_not_loaded_the_served_one_has_the_history() -> None:
    case = Case()
    await case.publish(1)
    case.repositories.known = 2

    assert id_of(0) == (await case.rollbacks.plan(Wanted(SHOP, id_of(0)))).target


async def test_the_layer_of_the_repository_is_found_behind_others() -> None:
    case = Case()
    files = files_of(value(2), 2, group=1)
    top = Files({"shop.yml": b"o: 1"}, root="file:/o/", others=(files,))
    await case.wired.publisher.publish(Tree({"main": top}, "main"))
    plan, _ = await case.carry_out()

    assert b'{"a":0,"o":1}' == plan.new.body
    assert ["file:/o/", ROOT] == case.repositories.roots[:2]


async def test_shared_files_are_restored_if_that_is_wanted() -> None:
    shared = {"application.yml": "x: 1"}, {"application.yml": "x: 2"}
    case = await made(value(0) | shared[0], value(0), value(0) | shared[1])

    assert 409 == (await case.refused()).status
    assert ["application.yml"] == [each.path for each in (await case.carry_out(shared=True))[0].files]


# What isn't carried out.


async def test_a_source_that_may_not_push_is_named_with_the_remedy() -> None:
    case = await made()
    case.repositories.found = Branch("git:/a", "main", id_of(2), ["main"], pushes=False)
    error = await case.refused()

    assert 403 == error.status
    assert "git:/a; set push of the source, or pin the key (vortexctl pin)" in error.reason
    assert [] == case.repositories.acts
    assert not (await case.rollbacks.plan(Wanted(SHOP, id_of(1)))).branch.pushes


async def test_a_pinned_key_is_neither_planned_nor_rolled_back() -> None:
    asked: list[Key] = []

    def is_pinned(key: Key) -> bool:
        asked.append(key)
        return True

    case = await made(is_pinned=is_pinned)
    error = await case.refused()
    with pytest.raises(RemoteError) as planned:
        await case.rollbacks.plan(Wanted(SHOP, id_of(1)))

    assert (409, 409, {SHOP}) == (error.status, planned.value.status, set(asked))
    assert "the key is pinned" in error.reason
    assert [] == case.repositories.acts


async def test_another_pinned_key_does_not_matter() -> None:
    case = await made(is_pinned=lambda key: key.profile == "prod")

    assert await case.carry_out()


async def test_a_key_of_several_labels_is_refused() -> None:
    case = await made()
    with pytest.raises(RemoteError, match="one label") as caught:
        await case.rollbacks.plan(Wanted(Key("shop", "dev", "main,dev"), id_of(1)))

    assert 400 == caught.value.status


async def test_a_key_without_a_repository_is_not_found() -> None:
    case = await made()
    case.repositories.found = None
    error = await case.refused()

    assert 404 == error.status
    assert "vortexctl pin" in error.reason


async def test_while_the_sources_are_replaced_nothing_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    case = await made()

    def branch(root: str, label: str) -> Branch:
        raise SourceError("the sources are being read")

    monkeypatch.setattr(case.repositories, "branch", branch)
    error = await case.refused()
    assert (503, {"Retry-After": "1"}) == (error.status, error.headers)


async def test_a_document_that_is_equal_already_is_not_committed() -> None:
    case = await made(value(0), value(1), value(0))
    error = await case.refused()

    assert 409 == error.status
    assert "nothing to push" in error.reason
    assert ["read 2", "read 0"] == case.repositories.acts
    assert [] == (await case.rollbacks.plan(Wanted(SHOP, id_of(0)))).files


async def test_a_newest_commit_that_can_not_be_served_is_refused() -> None:
    case = await made()
    case.repositories.unservable = {id_of(2)}

    assert (409, "the newest commit can't be served; see /status") == (
        (error := await case.refused()).status,
        error.reason,
    )


# The gate.


class Gate:
    """A gate that gives these verdicts. It judges the keys of some applications.

    Attributes:
        judged: The keys and the documents that were judged, with the schemas' and the new contents of shop.yml.
    """

    def __init__(self, verdict: Verdict, applications: Collection[str] = ("shop",)) -> None:
        self.verdict = verdict
        self.applications = applications
        self.judged: list[tuple[str, bytes, bytes, bytes]] = []
        self.hangs = False

    def judges(self, key: Key) -> bool:
        return key.application in self.applications

    async def judge(
        self, configs: Sequence[Config], served: Mapping[str, ParsedFiles], new: Mapping[str, ParsedFiles]
    ) -> dict[str, Verdict]:
        await trio.lowlevel.checkpoint()
        if self.hangs:
            await trio.sleep_forever()
        before, after = (each["main"].files.contents["shop.yml"] for each in (served, new))
        self.judged += ((str(each.key), each.body, before, after) for each in configs)
        return {each.key.label: self.verdict for each in configs}


FINDING = Finding(SHOP, "/a", "minimum", "shop.schema.json", "shop.yml", 1)
REFUSED = Verdict((FINDING,), 1)


def gated(gate: Gate) -> dict[str, Any]:
    return {"gate": lambda: cast(PublicationGate, gate)}


async def test_a_roll_back_that_the_gate_refuses_is_not_committed() -> None:
    case = await made(**gated(gate := Gate(REFUSED)))
    error = await case.refused()

    text = "the gate would hold the commit back: shop:dev:main: minimum of shop.schema.json at /a (shop.yml:1)"
    assert (409, f"{text}; nothing was pushed") == (error.status, error.reason)
    assert (["read 2", "read 0"], []) == (case.repositories.acts, case.begins)
    texts = b'{"a":0}', b"a: 2", b"a: 0"
    assert [("shop:dev:main", *texts), ("shop:default:main", *texts)] == gate.judged


async def test_a_plan_shows_that_the_gate_refuses_it() -> None:
    case = await made(**gated(Gate(REFUSED)))

    assert REFUSED == (await case.rollbacks.plan(Wanted(SHOP, id_of(0)))).refused


async def test_a_roll_back_that_the_gate_accepts_is_pushed() -> None:
    case = await made(**gated(Gate(Verdict())))
    plan, _ = await case.carry_out()

    assert plan.refused is None
    assert "push main 2 3" in case.repositories.acts


async def test_if_there_is_no_gate_any_more_nothing_is_judged() -> None:
    case = await made(gate=lambda: None)

    assert (await case.carry_out())[0].refused is None


async def test_keys_without_a_rule_are_not_judged() -> None:
    case = await made(**gated(gate := Gate(REFUSED, ["cart"])))
    await case.carry_out()

    assert [] == gate.judged


async def test_a_document_that_is_served_is_not_judged() -> None:
    """So a person can always go back to it, whatever the rules are."""
    case = Case(**gated(gate := Gate(REFUSED)))
    await case.publish(0)
    await case.carry_out(0)

    assert [] == gate.judged


async def test_a_gate_that_can_not_judge_is_an_error_that_passes() -> None:
    case = await made(**gated(Gate(Verdict(failure="took longer than 5 s"))))
    error = await case.refused()

    assert (503, {"Retry-After": "1"}) == (error.status, error.headers)
    assert "the gate took longer than 5 s; nothing was pushed, so try again" == error.reason


async def test_a_gate_that_hangs_ends_with_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLAN_SECONDS", 0.2)
    case = await made(**gated(gate := Gate(REFUSED)))
    gate.hangs = True
    with trio.fail_after(20):
        error = await case.refused()

    assert 503 == error.status
    assert "the plan wasn't ready and judged within " in error.reason


# The commit that the person has seen.


async def test_a_branch_that_has_moved_is_refused_after_one_fetch() -> None:
    case = await made()
    error = await case.refused(expected=1)

    assert (409, f"the branch has moved to {id_of(2)}; look at the plan again") == (error.status, error.reason)
    assert ["refresh", "looked"] == case.repositories.acts


async def test_a_worker_that_is_behind_fetches_the_commit_that_the_person_has_seen() -> None:
    case = await made()
    behind, ahead = Branch("git:/a", "main", id_of(1), ["main"], True), case.repositories.found
    case.repositories.found = behind
    case.repositories.looked = lambda: setattr(case.repositories, "found", ahead)
    plan, _ = await case.carry_out()

    assert id_of(2) == plan.branch.head
    assert ["refresh", "looked", "read 2"] == case.repositories.acts[:3]


async def test_a_fetch_that_takes_too_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FETCH_SECONDS", 0.01)
    case = await made()

    async def hang(addresses: object, refs: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(case.repositories, "wait_looked", hang)
    with trio.fail_after(20):
        assert 409 == (await case.refused(expected=1)).status


# Faults.


@pytest.mark.parametrize(
    ("fault", "status", "consequence"),
    [
        (PushFault.MOVED, 409, "nothing has changed"),
        (PushFault.REJECTED, 409, "nothing has changed"),
        (PushFault.AWAY, 503, "nothing has changed"),
        (PushFault.UNKNOWN, 503, "the server fetches now, so look at the history before you try again"),
    ],
)
async def test_a_failed_push_is_explained_and_all_servers_fetch(
    fault: PushFault, status: int, consequence: str
) -> None:
    case = await made()
    case.repositories.errors["push"] = PushError("git push failed: x", fault)
    with capture_logs() as logs:
        error = await case.refused()

    assert (status, f"{fault.value} (git:/a): git push failed: x; {consequence}") == (error.status, error.reason)
    [said] = [each for each in logs if each["event"] == "roll-back not pushed"]
    assert ("warning", "shop:dev:main", "git:/a", "main", "git push failed: x", consequence) == tuple(
        said[name] for name in ("log_level", "key", "source", "branch", "reason", "consequence")
    )
    assert ({"Retry-After": "1"} if status == 503 else {}) == error.headers
    assert [REF] == case.refreshed
    assert [] == [each for each in logs if each["event"] == "rolled back"]


async def test_a_commit_that_can_not_be_made_is_not_pushed() -> None:
    case = await made()
    case.repositories.errors["commit"] = PushError("/secret/mirror is full", PushFault.LOCAL)
    with capture_logs() as logs:
        error = await case.refused()

    assert 503 == error.status
    assert "/secret" not in error.reason
    assert "see the server's log; nothing has changed" in error.reason
    assert ["/secret/mirror is full"] == [each["reason"] for each in logs]
    assert "commit" == case.repositories.acts[-1]


async def test_a_commit_that_gives_another_document_is_not_pushed() -> None:
    case = await made()
    case.repositories.made = lambda files: files.update({"shop-dev.yml": "a: 5"})
    error = await case.refused()

    assert 409 == error.status
    assert "nothing was pushed" in error.reason
    assert "read 3" == case.repositories.acts[-1]


async def test_a_commit_that_can_not_be_served_is_not_pushed() -> None:
    case = await made()
    case.repositories.unservable = {id_of(3)}

    assert 409 == (await case.refused()).status
    assert "read 3" == case.repositories.acts[-1]


async def test_a_commit_that_can_not_be_read_is_not_pushed(monkeypatch: pytest.MonkeyPatch) -> None:
    case = await made()
    original = case.repositories.at

    async def at(root: str, commit: str, near: PastFiles | None) -> PastFiles | None:
        if commit == id_of(3):
            raise SourceError("the mirror is away")
        return await original(root, commit, near)

    monkeypatch.setattr(case.repositories, "at", at)
    with capture_logs() as logs:
        error = await case.refused()

    assert 503 == error.status
    assert ["the mirror is away"] == [each["reason"] for each in logs]
    assert "commit" == case.repositories.acts[-1]


async def test_a_repository_that_can_not_be_read_is_logged() -> None:
    case = await made()
    case.repositories.errors["read"] = SourceError("/secret/path is away")
    with capture_logs() as logs:
        error = await case.refused()

    assert (503, {"Retry-After": "1"}) == (error.status, error.headers)
    assert "/secret" not in error.reason
    [said] = logs
    assert ("roll-back not planned", "warning", "shop:dev:main", "/secret/path is away") == tuple(
        said[name] for name in ("event", "log_level", "key", "reason")
    )


async def test_a_plan_that_takes_too_long_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PLAN_SECONDS", 0.02)
    case = await made()

    async def hang(root: str, commit: str, near: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(case.repositories, "at", hang)
    with trio.fail_after(20):
        error = await case.refused()
    assert 503 == error.status
    assert "the plan wasn't ready" in error.reason


async def test_the_work_in_a_thread_ends_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RemoteError) as caught:
        module._tick(time.monotonic() - 1)

    assert 503 == caught.value.status
    module._tick(time.monotonic() + 60)


async def test_if_it_is_cancelled_during_the_push_all_servers_fetch() -> None:
    case = await made()
    case.repositories.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(case.carry_out)
        with trio.fail_after(20):
            await case.repositories.pushing.wait()
        nursery.cancel_scope.cancel()

    assert [REF] == case.refreshed


async def test_a_commit_that_takes_too_long_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMMIT_SECONDS", 0.02)
    case = await made()

    async def hang(root: str, new: NewCommit) -> str:
        await trio.sleep_forever()

    monkeypatch.setattr(case.repositories, "commit", hang)
    with trio.fail_after(20):
        error = await case.refused()
    assert 503 == error.status
    assert "nothing was pushed" in error.reason
    assert "read 0" == case.repositories.acts[-1]


async def test_a_push_is_announced_once_the_commit_is_made() -> None:
    case = await made()
    _, commit = await case.carry_out()

    assert [(id_of(0), commit, ["read 2", "read 0", "commit", "read 3"])] == case.begins


async def test_a_roll_back_that_is_not_pushed_is_not_announced() -> None:
    case = await made()
    case.repositories.unservable = {id_of(3)}
    await case.refused()

    assert [] == case.begins


async def test_a_push_does_not_wait_long_until_its_beginning_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECORD_SECONDS", 0.01)
    case = await made()
    case.begin = trio.sleep_forever
    with trio.fail_after(20):
        await case.carry_out()

    assert "push main 2 3" in case.repositories.acts


# Two at once.


async def test_two_roll_backs_of_one_repository_take_turns() -> None:
    case = await made()
    case.repositories.gate = trio.Event()
    outcomes: list[object] = []

    async def carry_out() -> None:
        try:
            outcomes.append((await case.carry_out())[1])
            case.repositories.found = Branch("git:/a", "main", id_of(3), ["main"], True)
        except RemoteError as error:
            outcomes.append(error.status)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(carry_out)
        nursery.start_soon(carry_out)
        with trio.fail_after(20):
            await case.repositories.pushing.wait()
        await wait_all_tasks_blocked(0.05)
        assert 1 == len(case.repositories.new)
        case.repositories.gate.set()

    assert [id_of(3), 409] == outcomes
    assert 1 == len(case.repositories.new)


async def test_a_turn_that_takes_too_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_SECONDS", 0.01)
    case = await made()
    case.repositories.gate = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(case.carry_out)
        with trio.fail_after(20):
            await case.repositories.pushing.wait()
        error = await case.refused()
        assert (503, {"Retry-After": "1"}) == (error.status, error.headers)
        assert "another roll-back" in error.reason
        case.repositories.gate.set()

    assert await case.rollbacks.plan(Wanted(SHOP, id_of(1)))
    assert case.rollbacks._turns[ROOT].statistics().owner is None


def test_all_waits_fit_into_a_request() -> None:
    own = (
        module.PLAN_SECONDS + module.COMMIT_SECONDS + module.TURN_SECONDS + module.FETCH_SECONDS + module.RECORD_SECONDS
    )

    assert own + PUSH_SECONDS + CHECK_SECONDS < ServerSettings().request_timeout
