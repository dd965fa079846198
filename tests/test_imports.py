"""The import rule of the map in vortexd/__init__.py: the imports of each package, no circles, and no impure imports in pure modules."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "vortexd"

# What each package, and each module beside the packages, may import of the others. The graph has no circles: a package stands below those it imports.
ALLOWED = {
    "core": "",
    "aio": "core",
    "protocol": "core",
    "settings": "core",
    "fleet": "core settings",
    "cluster": "aio core fleet settings",
    "encryption": "core settings",
    "state": "aio core fleet",
    "audit": "aio core state",
    "source": "aio cluster core settings state",
    "net": "core settings",
    "observe": "core settings",
    "resolve": "core encryption settings",
    "auth": "core encryption net settings",
    "gate": "aio core resolve settings",
    "process": "aio core net observe settings",
    "shelf": "aio core state",
    "pins": "audit core process resolve settings shelf",
    "rollouts": "audit core fleet process settings shelf",
    "pipeline": "aio core encryption gate observe pins protocol resolve rollouts settings",
    "realtime": "aio auth core fleet net pipeline protocol settings",
    "http": "aio audit auth core encryption fleet gate net observe pins pipeline process realtime resolve rollouts settings source",
    "reload": "aio audit auth core encryption gate observe pipeline process realtime settings source",
    "composition": "aio audit auth cluster core encryption fleet gate http net observe pins pipeline process realtime reload rollouts settings source state",
    "daemon": "auth composition net observe process settings",
    "cli": "aio auth core daemon gate observe process settings source",
    "__main__": "cli process",
    "client": "core protocol",
    "agent": "aio client core process settings",
    "ctl": "agent aio auth cli client core encryption gate http observe pipeline process resolve settings source",
}
MOST_MODULES = 6
PURE = [
    "core",
    "protocol",
    "encryption",
    "resolve",
    "fleet",
    "gate.decision",
    "gate.finding",
    "gate.inference",
    "gate.lines",
    "gate.places",
    "gate.schemas",
    "gate.validation",
    "rollouts.changes",
    "rollouts.counts",
    "rollouts.plan",
    "rollouts.progress",
    "rollouts.rollout",
    "shelf.kind",
    "shelf.layers",
    "cluster.engine",
    "cluster.etcd.wire",
    "cluster.keys",
    "cluster.positions",
    "cluster.published.head",
    "cluster.published.checks",
    "cluster.published.manifest",
    "cluster.published.manifest_reader",
    "cluster.published.manifest_writer",
    "cluster.published.packing",
    "cluster.published.version",
    "cluster.records",
    "cluster.summaries",
    "source.fields",
    "source.files.index",
    "audit.entry",
    "pins.changes",
    "pins.pin",
    "agent.environment",
    "agent.filters",
    "agent.pacing",
    "agent.rendering",
    "agent.settings",
    "agent.settings_file",
    "client.address",
    "client.backoff",
    "client.binding",
    "client.change",
    "client.disconnect",
    "client.fields",
    "client.origins",
    "client.paths",
    "client.problem",
    "client.client_state",
    "client.protocol",
    "client.relaxed",
    "client.replica",
    "client.server_rotation",
    "client.structuring",
    "client.view",
    "http.adapter.h2",
    "http.allowance",
    "http.endpoint",
    "http.forms",
    "http.operation",
    "http.request_head",
    "http.schemas",
    "http.spring",
    "http.webhooks",
    "net.client_certificate",
    "net.first_bytes",
    "net.outgoing",
    "net.proxies",
    "net.proxy_protocol",
    "net.slots",
    "observe.series",
    "pipeline.broadcast",
    "pipeline.comparison",
    "pipeline.dependencies",
    "pipeline.encoder",
    "pipeline.key_usage",
    "pipeline.matching",
    "pipeline.registry",
    "pipeline.resolution",
    "pipeline.rollback.branch_states",
    "pipeline.rollback.plan",
    "pipeline.served",
    "pipeline.state",
    "pipeline.store",
    "pipeline.ungated",
    "process.peers.wire",
    "realtime.chain",
    "realtime.client",
    "realtime.events.cursor",
    "realtime.events.target",
    "realtime.forms",
    "realtime.groups",
    "realtime.handshake",
    "realtime.inbound",
    "realtime.lifecycle",
    "realtime.parked",
    "realtime.quota",
    "realtime.reports",
    "realtime.row",
    "realtime.session",
    "realtime.versions",
    "source.etcd.keys",
    "source.files.settling",
    "source.files.writes",
    "source.git.complaints",
    "source.git.labels",
    "source.git.links",
    "source.git.refs",
    "source.git.remotes",
    "source.git.repositories",
    "source.git.schedule",
    "source.git.trailers",
    "source.git.wanted_labels",
    "source.layout",
    "source.lfs",
    "settings",
]
IMPURE = {"trio", "socket", "time", "random", "logging", "structlog", "threading", "asyncio"}


def modules() -> Iterator[tuple[str, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if name != "__init__":
            yield name, path.read_text()


def imported(module: str, source: str, *, is_package: bool = False) -> Iterator[str]:
    """What a module imports: names within vortexd without the package's own, others as they are."""
    depth = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (f"/{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield f"/{node.module}"
        elif isinstance(node, ast.ImportFrom):
            above = depth[: len(depth) - node.level + 1]
            if node.module:
                yield ".".join([*above, node.module])
            else:
                yield from (".".join([*above, alias.name]) for alias in node.names)


def violations(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """Imports that `ALLOWED` or `PURE` forbid."""
    package = module.split(".")[0]
    is_pure = any(module == each or module.startswith(each + ".") for each in PURE)
    found = []
    for name in imported(module, source, is_package=is_package):
        top = name.removeprefix("/").split(".")[0]
        if name.startswith("/"):
            if top == "vortexd" or (is_pure and top in IMPURE):
                found.append(f"{module} imports {name[1:]}")
        elif top not in (package, "__version__") and top not in ALLOWED[package].split():
            found.append(f"{module} imports {name}, and {package} may not import {top}")
    return found


MODULES = list(modules())


def is_package(module: str) -> bool:
    return (PACKAGE / module.replace(".", "/") / "__init__.py").exists()


@pytest.mark.parametrize(("module", "source"), MODULES, ids=[name for name, _ in MODULES])
def test_a_module_imports_what_its_package_may_import_and_stays_pure(module: str, source: str) -> None:
    assert [] == violations(module, source, is_package=is_package(module))


def test_packages_import_each_other_without_circles() -> None:
    below: set[str] = set()
    for package, allowed in ALLOWED.items():
        assert set(allowed.split()) <= below, f"{package} stands above one that it imports"
        below.add(package)


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_may_import_only_what_it_does_import(package: str) -> None:
    """A line that is wider than the code would let the next import in unseen."""
    found = {
        name.split(".")[0]
        for module, source in MODULES
        if module.split(".")[0] == package
        for name in imported(module, source, is_package=is_package(module))
        if not name.startswith("/") and name != "__version__"
    }

    assert set() == set(ALLOWED[package].split()) - (found - {package}), (
        "the line allows imports that the package doesn't do"
    )


def test_the_folder_shows_packages_and_few_modules_beside_them() -> None:
    modules = list(PACKAGE.glob("*.py"))
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}

    assert len(modules) <= MOST_MODULES
    assert set(ALLOWED) == packages | {path.stem for path in modules} - {"__init__"}


def test_the_pipeline_makes_payloads_and_knows_no_frames() -> None:
    """A transport frames them; so another transport is a module of its own."""
    found = {
        (node.module, alias.name)
        for module, source in MODULES
        if module.startswith("pipeline.")
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("protocol")
        for alias in node.names
    }

    assert {("protocol", "messages")} == found


@pytest.mark.parametrize("package", sorted(path.parent.relative_to(PACKAGE) for path in PACKAGE.rglob("*/__init__.py")))
def test_a_package_says_what_it_is_for(package: Path) -> None:
    docstring = ast.get_docstring(ast.parse((PACKAGE / package / "__init__.py").read_text()))

    assert docstring
    assert docstring.splitlines()[0].rstrip().endswith((".", ":"))


def test_the_map_names_every_package_on_one_screen() -> None:
    docstring = ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text())) or ""
    named = {
        line.split()[0].removesuffix("/").removesuffix(".py")
        for line in docstring.splitlines()
        if line.startswith("    ")
    }

    assert len(docstring.splitlines()) <= 50
    assert set(ALLOWED) - {"__main__"} <= named


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pipeline.store", "import trio"),
        ("resolve.yaml", "from time import monotonic"),
        ("realtime.session", "import structlog"),
        ("settings.file", "from ..source.kinds import KINDS"),
        ("resolve.yaml", "from ..protocol import messages"),
        ("source.files.source", "from ...http.app import create_app"),
        ("http.app", "from .. import daemon"),
        ("core.diff", "from ..pipeline import state"),
        ("pipeline.pipeline", "from vortexd.core.model import Key"),
    ],
)
def test_a_planted_violation_is_found(module: str, source: str) -> None:
    assert 1 == len(violations(module, source))
