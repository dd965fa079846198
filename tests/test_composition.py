"""The parts that `build` connects: each part gets the parts that it needs, and none of them runs yet."""

import contextlib
import os
import socket
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
from structlog.testing import capture_logs

from tests.http.rolling import NEW, rollout
from vortexd import composition
from vortexd.aio.collector import Collector
from vortexd.audit import Actor, Audit
from vortexd.auth import ALL_RIGHTS, Authority, Tokens
from vortexd.auth.credential_files import NamedFiles, load_named_files
from vortexd.composition import Parts, Process, build
from vortexd.core.errors import RemoteError, UnknownLabel
from vortexd.core.model import Files, Key, Origin, Tree
from vortexd.core.patterns import parse_pattern
from vortexd.encryption.files import Encryption
from vortexd.fleet import Fleet, Instance
from vortexd.http.cluster import ClusterFleet, ClusterMembers
from vortexd.http.console import Console
from vortexd.http.fleet import FleetPages
from vortexd.http.monitor import Monitor
from vortexd.http.status import Status
from vortexd.http.watch import LateWatchers, Watch
from vortexd.http.watchers import Limits
from vortexd.net.inherited import Inherited
from vortexd.observe.publication import Publication
from vortexd.pipeline.broadcast import Delivery
from vortexd.process.peers import Peers, WorkerSlot
from vortexd.process.systemd import Notifier
from vortexd.realtime.server import WebSocketServer
from vortexd.settings.audit import AuditSettings
from vortexd.settings.cluster import ClusterSettings
from vortexd.settings.console import ConsoleSettings
from vortexd.settings.file import own_files
from vortexd.settings.formats import FormatSettings
from vortexd.settings.history import HistorySettings
from vortexd.settings.http import HttpSettings
from vortexd.settings.monitor import MonitorSettings
from vortexd.settings.root import Settings
from vortexd.settings.server import ServerSettings
from vortexd.source.composite import Sources
from vortexd.source.files.settings import FilesSettings
from vortexd.source.git.settings import GitSettings
from vortexd.source.published.history import PublishedHistory


class FakeSources(Sources):
    """Sources that give what a test hands over, and note what they are asked."""

    def __init__(self, in_use: Callable[[], Collection[str]]) -> None:
        super().__init__([], [])
        self.in_use = in_use
        self.asked: list[object] = []

    async def load(self, label: str) -> bool:
        self.asked.append(label)
        return False

    async def before(self, root: str, commit: str) -> Files | None:
        self.asked.append((root, commit))
        return None


class Opened:
    """Stands for `open_sources`, and notes its arguments."""

    def __init__(self) -> None:
        self.never_served: list[str] = []
        self.memory: Path | None = None
        self.settings: Settings | None = None

    def __call__(
        self,
        settings: Settings,
        environ: object,
        random: object,
        own: list[str],
        memory: Path | None,
        in_use: Callable[[], Collection[str]],
    ) -> FakeSources:
        self.settings, self.never_served, self.memory = settings, own, memory
        return FakeSources(in_use)


SHOP = Key("shop", "dev", "main")


def tree(content: bytes) -> Tree:
    files = Files({"shop.yml": content}, root="git:/a", revision="c2", origin=Origin("c2", "Ann", ""))
    return Tree({"main": files}, "main")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    monkeypatch.setattr(composition, "open_sources", opened := Opened())
    return opened


def built(settings: Settings | None = None, **of_process: Any) -> Parts:
    process = Process(Inherited(), Notifier({}, os.getpid()), Peers(), **of_process)
    settings = settings or Settings()
    return build(settings, load_named_files(settings, [], {}), lambda: settings, process)


async def test_the_reader_asks_the_sources_for_labels_and_former_commits(opened: Opened) -> None:
    stages = built().stages
    await stages.publisher.publish(tree(b"a: 1"))
    with pytest.raises(UnknownLabel):
        await stages.reader.read(attrs.evolve(SHOP, label="next"))
    await stages.reader.before(SHOP)

    assert ["next", ("git:/a", "c2")] == cast(FakeSources, stages.sources).asked


async def test_the_sources_keep_the_labels_of_main_subscriptions(opened: Opened) -> None:
    stages = built().stages
    in_use = cast(FakeSources, stages.sources).in_use
    await stages.publisher.publish(tree(b"a: 1"))
    assert not in_use()
    stages.pipeline.hold(SHOP)

    assert {"main"} == set(in_use())


async def test_the_sources_know_which_files_are_never_served_and_where_last_good_content_is_kept(
    opened: Opened, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s")
    secret.chmod(0o600)
    settings = Settings(monitor=MonitorSettings(secret=str(secret)))
    built(settings, own=["/etc/vortexd.toml"], memory=tmp_path)

    assert [*own_files(settings), "/etc/vortexd.toml"] == opened.never_served
    assert str(secret) in opened.never_served
    assert (tmp_path, settings) == (opened.memory, opened.settings)


async def test_publications_reach_the_trace_the_metrics_and_the_fleet(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed: list[Key] = []
    monkeypatch.setattr(Fleet, "changed", lambda _, key, now: changed.append(key))
    traced: list[Publication] = []
    made = built(trace=traced.append)
    stages = made.stages
    await stages.publisher.publish(tree(b"a: 1"))
    stages.pipeline.hold(SHOP)
    await stages.publisher.publish(tree(b"a: 2"))

    assert [0, 1] == [each.changes for each in traced]
    assert [SHOP] == changed
    assert b"vortexd_publications_total 2.0" in made.metrics.render()
    assert stages.key_usage.version_of == stages.fleet._version_of


async def test_the_fleet_knows_the_roll_outs_in_force_and_counts_again_when_connections_move(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[tuple[Collection[Key], int]] = []

    async def retrack(_: WebSocketServer, keys: Collection[Key]) -> None:
        moved.append((keys, fleet.changes))

    monkeypatch.setattr(WebSocketServer, "retrack", retrack)
    made = built()
    fleet = made.stages.fleet
    fleet.join(Instance(SHOP, "id", name="host"), 1.0)
    assert [None] == [each.target for each in fleet.counts([SHOP])]
    before = fleet.changes
    made.stages.tracks.put({SHOP: rollout(SHOP)})
    await made.stages.publisher._retrack([SHOP])

    assert [NEW] == [each.target for each in fleet.counts([SHOP])]
    assert [([SHOP], before + 1)] == moved


async def test_publications_and_subscriptions_pause_the_same_collector(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused: list[tuple[Collector, int]] = []

    def pausing(collector: Collector, count: int) -> AbstractContextManager[None]:
        paused.append((collector, count))
        return nullcontext()

    monkeypatch.setattr(Collector, "paused", pausing)
    monkeypatch.setattr(Collector, "briefly_paused", pausing)
    stages = built().stages
    await stages.publisher.publish(tree(b"a: 1"))
    await stages.pipeline.subscribe(Ignoring(), [parse_pattern("shop")], 10)

    assert [(stages.collector, 1), (stages.collector, 1)] == paused


class Ignoring:
    """A subscriber that does nothing."""

    def deliver(self, delivery: Delivery) -> None:
        pass


async def test_keys_overrides_and_bounds_of_the_settings_are_in_force_from_the_start(opened: Opened) -> None:
    stages = built(
        Settings(
            overrides={"b": "over"}, formats=FormatSettings(nodes=3), history=HistorySettings(versions=1, idle_keys=0)
        )
    ).stages
    await stages.publisher.publish(tree(b"a: 1"))
    assert {"a": 1, "b": "over"} == (await stages.reader.read(SHOP)).document
    stages.pipeline.hold(SHOP)
    stages.pipeline.release(SHOP)
    assert SHOP not in stages.store

    await stages.publisher.publish(tree(b"a: [1, 2, 3, 4, 5]"))
    assert [("main", "shop.yml")] == [*stages.reader.broken]
    assert 3 == stages.reader.formats.nodes


@pytest.mark.parametrize(
    ("source", "secret", "is_open", "is_warned"),
    [
        (GitSettings(uri="https://git.example/a.git"), False, True, True),
        (GitSettings(uri="https://git.example/a.git"), True, True, False),
        (GitSettings(uri="https://git.example/a.git"), False, False, False),
        (FilesSettings(path="/nowhere"), False, True, False),
    ],
)
async def test_unsigned_webhooks_that_make_an_open_server_fetch_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Any, secret: bool, is_open: bool, is_warned: bool
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    (file := tmp_path / "secret").write_text("s")
    file.chmod(0o600)
    settings = Settings(source=(source,), monitor=MonitorSettings(secret=str(file) if secret else ""))
    authority = Authority(anonymous=ALL_RIGHTS) if is_open else Authority(Tokens([]))
    files = NamedFiles(authority, None, Encryption())
    with capture_logs() as logs:
        build(settings, files, lambda: settings, Process(Inherited(), Notifier({}, os.getpid()), Peers()))

    assert is_warned == any(each["event"] == "webhooks unsigned" for each in logs)


@pytest.mark.parametrize(
    ("sources", "is_open", "is_warned"),
    [
        ((GitSettings(uri="https://git.example/a.git", push=True),), True, True),
        ((FilesSettings(path="/nowhere"), GitSettings(uri="https://git.example/a.git", push=True)), True, True),
        ((GitSettings(uri="https://git.example/a.git", push=True),), False, False),
        ((GitSettings(uri="https://git.example/a.git"),), True, False),
        ((FilesSettings(path="/nowhere"),), True, False),
    ],
)
async def test_pushes_that_need_no_token_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: tuple[Any, ...], is_open: bool, is_warned: bool
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    settings = Settings(source=sources)
    files = NamedFiles(Authority(anonymous=ALL_RIGHTS) if is_open else Authority(Tokens([])), None, Encryption())
    with capture_logs() as logs:
        build(settings, files, lambda: settings, Process(Inherited(), Notifier({}, os.getpid()), Peers()))
    found = [each for each in logs if each["event"] == "pushes without token"]

    expected = {
        "event": "pushes without token",
        "log_level": "warning",
        "consequence": "any client that reaches the server can push commits to a repository",
        "remedy": "set auth.tokens, or push = false",
    }
    assert ([expected] if is_warned else []) == found


@pytest.mark.parametrize("is_enabled", [True, False])
async def test_the_console_has_a_route_where_it_is_enabled(opened: Opened, is_enabled: bool) -> None:
    routes = built(Settings(console=ConsoleSettings(enabled=is_enabled))).routes

    try:
        found: object = routes.find("/console/")
    except RemoteError as error:
        found = error.status
    assert isinstance(found, Console) if is_enabled else 404 == found


CLUSTER = ClusterSettings(name="shop", node="a", endpoints=("http://127.0.0.1:9",))


async def test_without_a_cluster_there_is_no_node_and_no_metric_of_one(opened: Opened) -> None:
    made = built()

    assert made.cluster is None
    assert b"vortexd_cluster" not in made.metrics.render()
    assert made.routes.endpoints
    assert not [each for each in made.routes.endpoints if "cluster" in each.route]
    [pages] = [each for each in made.routes.endpoints if isinstance(each, FleetPages)]
    assert pages._nodes is None
    assert made.departures is None


@pytest.mark.parametrize(
    ("cluster", "source", "stands_in"),
    [
        (ClusterSettings(), FilesSettings(path="/a"), False),
        (CLUSTER, FilesSettings(path="/a"), False),
        (attrs.evolve(CLUSTER, publish=True), None, False),
        (attrs.evolve(CLUSTER, publish=True), FilesSettings(path="/a", files=7), True),
    ],
)
async def test_a_node_that_publishes_reads_the_published_state_for_its_start_and_for_clients_that_resume(
    opened: Opened, cluster: ClusterSettings, source: FilesSettings | None, stands_in: bool
) -> None:
    made = built(Settings(cluster=cluster, source=(source,) if source is not None else ()))

    assert (made.stand_in is not None) is made.stages.sources.has_former is stands_in
    if made.stand_in is not None:
        history = made.stages.sources._common
        assert isinstance(history, PublishedHistory)
        assert history._present == made.stages.sources.present
        assert ("shop", 7) == (history._settings.cluster, history._settings.files)
        assert cast(object, made.stand_in._sources) is made.stages.sources
        assert made.cluster is not None
        assert not made.cluster.report().stands_in
        made.stand_in._is_serving = True
        assert made.cluster.report().stands_in


async def test_the_reader_looks_former_states_up_in_the_sources(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    async def former(_: Sources, before: object) -> None:
        asked.append(before)

    monkeypatch.setattr(Sources, "has_former", True)
    monkeypatch.setattr(Sources, "former", former)
    stages = built().stages
    await stages.publisher.publish(tree(b"a: 1"))
    stages.pipeline.hold(SHOP)
    await stages.pipeline.catch_up(SHOP, "0" * 16)

    assert [(0, 0)] == asked


async def test_a_node_of_a_cluster_counts_its_fleet_and_answers_for_it(opened: Opened) -> None:
    made = built(Settings(cluster=CLUSTER))
    node = made.cluster
    assert node is not None
    [pages] = [each for each in made.routes.endpoints if isinstance(each, FleetPages)]
    [questions] = [each for each in made.routes.endpoints if isinstance(each, ClusterFleet)]
    [members] = [each for each in made.routes.endpoints if isinstance(each, ClusterMembers)]
    neighbours: list[object] = [pages._nodes, questions._node, members._node]
    assert [node] * 3 == neighbours
    assert cast(object, questions._fleet) is pages
    assert made.departures is not None
    assert (made.stages.fleet, node) == (made.departures._fleet, cast(object, made.departures._nodes))

    made.stages.fleet.join(Instance(Key("a", "b", "c"), "id", name="host"), 1.0)
    assert node._summary is not None
    assert [1] == [each.connected for each in await node._summary._counts()]


async def test_each_worker_of_a_node_tells_the_first_its_counts(opened: Opened) -> None:
    peers = Peers()
    peers.number = 1
    process = Process(Inherited(), Notifier({}, os.getpid()), peers)
    settings = Settings(cluster=CLUSTER)
    made = build(settings, load_named_files(settings, [], {}), lambda: settings, process)
    made.stages.fleet.join(Instance(Key("a", "b", "c"), "id", name="host"), 1.0)

    assert made.cluster is not None
    assert made.cluster._summary is None
    assert '"connected":1' in peers._handlers["fleet counts"]("{}")


async def test_a_node_of_a_cluster_hears_of_webhooks_and_of_new_states_and_is_shown(opened: Opened) -> None:
    made = built(Settings(cluster=CLUSTER))
    node, sources = made.cluster, cast(FakeSources, made.stages.sources)
    assert node is not None
    monitor = next(each for each in made.routes.endpoints if isinstance(each, Monitor))
    assert monitor._announce == node.announce_push
    assert sources._report == node.announce_news
    assert node._hints._sources is sources
    assert node._membership is not None
    assert ("shop", "a") == (node.report().name, node.report().node)
    assert b"vortexd_cluster_store_up 0.0" in made.metrics.render()
    status = next(each for each in made.routes.endpoints if isinstance(each, Status))
    assert "shop" == status._members([])["cluster"]["name"]


async def test_a_node_without_a_name_is_called_like_the_machine(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "node 7")
    node = built(Settings(cluster=attrs.evolve(CLUSTER, node=""))).cluster
    assert node is not None

    assert "node-7" == node.report().node


@pytest.mark.parametrize(("number", "is_member"), [(0, True), (1, False)])
async def test_the_first_worker_is_the_member(opened: Opened, number: int, is_member: bool) -> None:
    peers = Peers()
    peers.number = number
    process = Process(Inherited(), Notifier({}, os.getpid()), peers)
    settings = Settings(cluster=CLUSTER)
    node = build(settings, load_named_files(settings, [], {}), lambda: settings, process).cluster
    assert node is not None

    assert is_member == (node._membership is not None)


def opened_files() -> set[str]:
    """What this process has open, but for what polls it."""
    found = set()
    for each in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/self/fd/{each}"))
    return {each for each in found if not each.startswith("anon_inode:")}


def test_a_daemon_is_built_without_a_file_a_socket_or_a_loop(tmp_path: Path) -> None:
    """Everything is opened and run by `run`."""
    before = opened_files()
    made = built(Settings(source=(FilesSettings(path=str(tmp_path / "none")),)))

    assert opened_files() <= before
    assert made.stages.store.served is None


async def test_what_the_sources_publish_is_offered_to_the_cluster(opened: Opened) -> None:
    alone, member = built(Settings()), built(Settings(cluster=CLUSTER))
    assert alone.publish == alone.stages.publisher.publish
    assert member.publish != member.stages.publisher.publish


# What instances have acknowledged.


@pytest.mark.parametrize(("number", "count"), [(0, 1), (1, 2)])
async def test_acknowledgements_are_kept_beside_the_content_by_each_worker(
    opened: Opened, tmp_path: Path, number: int, count: int
) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        peers = Peers(WorkerSlot(number, count, ours, 30.0)) if count > 1 else Peers()
        settings = Settings()
        process = Process(Inherited(), Notifier({}, os.getpid()), peers, memory=tmp_path / "remembered")
        made = build(settings, load_named_files(settings, [], {}), lambda: settings, process)
        made.stages.fleet.join(Instance(Key("a", "b", "c"), "id", name="host"), 1.0)
        for _ in range(2):
            await made.acknowledgements._step()
        await made.acknowledgements.close()

        assert {f"worker-{number}.json", f"worker-{number}.lock"} == {*os.listdir(tmp_path / "fleet")}
        assert [(Key("a", "b", "c"), "host")] * (count - 1) == list(made.arrivals._waiting)
    ours.close()


async def test_without_a_state_directory_no_acknowledgements_are_kept(opened: Opened, tmp_path: Path) -> None:
    assert None is built().acknowledgements._directory


async def test_a_reload_applies_other_limits_to_the_audit_log(opened: Opened, tmp_path: Path) -> None:
    settings = [Settings(audit=AuditSettings(entries=limit)) for limit in (4, 100)]
    process = Process(Inherited(), Notifier({}, os.getpid()), Peers(), audit=tmp_path / "audit")
    made = build(settings[0], load_named_files(settings[0], [], {}), lambda: settings[1], process)
    log = Audit(tmp_path / "audit", lambda: 0.0)
    for _ in range(8):
        await log.record("pin", Actor("ann"))
    # The reload is an entry itself. By then its limits are in force.
    await made.reload.reload()

    assert 9 == len((await log.entries())[0])


@pytest.mark.parametrize(("limits", "count"), [(AuditSettings(entries=4), 3), (AuditSettings(bytes=1), 1)])
async def test_the_audit_log_has_the_limits_of_the_settings_at_the_start(
    opened: Opened, tmp_path: Path, limits: AuditSettings, count: int
) -> None:
    settings = Settings(audit=limits)
    process = Process(Inherited(), Notifier({}, os.getpid()), Peers(), audit=tmp_path / "audit")
    made = build(settings, load_named_files(settings, [], {}), lambda: settings, process)
    log = Audit(tmp_path / "audit", lambda: 0.0)
    for _ in range(8):
        await log.record("pin", Actor("ann"))
    await made.reload.reload()

    assert count == len((await log.entries())[0])


# Requests that wait.


@pytest.mark.parametrize(
    ("watches", "connections", "total"), [(4_096, 20, 10), (7, 20, 7), (4_096, 1, 1), (4_096, 21, 10)]
)
async def test_requests_that_wait_leave_half_of_the_connections_to_others(
    opened: Opened, watches: int, connections: int, total: int
) -> None:
    http = HttpSettings(watches=watches, watches_per_client=5)
    made = built(Settings(http=http, server=ServerSettings(connections=connections)))
    watchers = await made.watchers.get()

    assert Limits(total, 5) == watchers._limits()
    made.in_force.settings = Settings(http=HttpSettings(watches=3), server=ServerSettings(connections=connections))
    assert Limits(min(3, max(1, connections // 2)), 256) == watchers._limits()


async def test_requests_that_wait_share_the_pipeline_and_are_shown(opened: Opened) -> None:
    made = built()
    assert b"vortexd_waiting_requests 0.0" in made.metrics.render()
    watchers = await made.watchers.get()
    watchers._count = 2

    assert (made.stages.pipeline, made.stages.registry) == (watchers._keys, watchers._registry)
    assert b"vortexd_waiting_requests 2.0" in made.metrics.render()
    assert any(isinstance(each, Watch) for each in made.routes.endpoints)


async def test_the_tracks_of_requests_that_wait_change_with_those_of_connections(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []

    async def retrack(_: object, keys: Collection[Key]) -> None:
        done.append(("connections", keys))

    monkeypatch.setattr(LateWatchers, "wake_keys", lambda _, keys: done.append(("requests", keys)))
    monkeypatch.setattr(WebSocketServer, "retrack", retrack)
    monkeypatch.setattr(Fleet, "recount", lambda _: done.append("fleet"))
    await built().stages.publisher._retrack([SHOP])
    assert ["fleet", ("requests", [SHOP]), ("connections", [SHOP])] == done


async def test_a_reload_checks_requests_that_wait_by_all_new_settings(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = built()
    woken: list[str] = []
    monkeypatch.setattr(LateWatchers, "wake_all", lambda _: woken.append("woken"))
    last = made.reload._parts[-1]
    assert not last.apply(last.prepare(cast(Any, None)))
    assert ["woken"] == woken
