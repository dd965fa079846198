"""The import rule of the map in vortexd/__init__.py: to the left only, and nothing impure in what is pure."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "vortexd"

# From left to right; a module imports those of its own group and of the groups before it.
GROUPS = [
    ("core",),
    ("settings",),
    ("net",),
    ("auth",),
    ("installation",),
    ("terminal",),
    ("commands",),
    ("encryption",),
    ("fleet",),
    ("aio",),
    ("observe",),
    ("systemd",),
    ("peers",),
    ("protocol",),
    ("resolve",),
    ("pipeline",),
    ("realtime",),
    ("source",),
    ("http",),
    ("early_signals",),
    ("late_signals",),
    ("named_files",),
    ("reload",),
    ("daemon",),
    ("supervisor",),
    ("post",),
    ("cli",),
    ("__main__",),
    ("client",),
    ("processes",),
    ("agent",),
    ("ctl",),
    ("worker",),
]
PURE = [
    "core.errors",
    "core.model",
    "core.names",
    "core.text",
    "core.patterns",
    "core.cache",
    "core.faults",
    "encryption",
    "settings.remotes",
    "net.proxies",
    "net.client_certificate",
    "core.constraints",
    "settings.toml_schema",
    "source.git.complaints",
    "source.git.labels",
    "source.lfs",
    "source.git.links",
    "source.git.refs",
    "source.files.settling",
    "source.files.writes",
    "resolve",
    "core.effort",
    "core.subsequence",
    "core.alignment",
    "core.diff",
    "pipeline.comparison",
    "core.version",
    "pipeline.state",
    "pipeline.store",
    "pipeline.matching",
    "pipeline.registry",
    "pipeline.key_usage",
    "pipeline.broadcast",
    "fleet",
    "realtime.session",
    "protocol.messages",
    "protocol.close",
    "protocol.frames",
    "realtime.inbound",
    "realtime.handshake",
    "protocol.encoder",
    "protocol.deflate",
    "protocol.limits",
    "realtime.quota",
    "realtime.reports",
    "net.first_bytes",
    "http.forms",
    "net.outgoing",
    "net.proxy_protocol",
    "http.schemas",
    "net.slots",
    "http.webhooks",
    "http.spring",
    "source.git.repositories",
    "peers.wire",
    "agent.settings",
    "agent.settings_file",
    "agent.pacing",
    "agent.rendering",
    "agent.environment",
    "agent.filters",
    "client.address",
    "client.backoff",
    "client.change",
    "client.ends",
    "client.held",
    "client.protocol",
    "client.replica",
    "client.turns",
    "client.view",
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


def group_of(module: str) -> int:
    first = module.split(".")[0]
    return next(number for number, group in enumerate(GROUPS) if first in group)


def violations(module: str, source: str, *, is_package: bool = False) -> list[str]:
    found = []
    for name in imported(module, source, is_package=is_package):
        if name.startswith("/"):
            top = name[1:].split(".")[0]
            is_pure = any(module == each or module.startswith(each + ".") for each in PURE)
            if top == "vortexd" or (is_pure and top in IMPURE):
                found.append(f"{module} imports {name[1:]}")
        elif name != "__version__" and group_of(name) > group_of(module):
            found.append(f"{module} imports {name}, which is to its right")
    return found


@pytest.mark.parametrize(("module", "source"), list(modules()), ids=lambda value: value if len(value) < 40 else "")
def test_a_module_imports_to_its_left_only_and_stays_pure(module: str, source: str) -> None:
    is_package = (PACKAGE / module.replace(".", "/") / "__init__.py").exists()

    assert [] == violations(module, source, is_package=is_package)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pipeline.store", "import trio"),
        ("resolve.yaml", "from time import monotonic"),
        ("realtime.session", "import structlog"),
        ("resolve.yaml", "from ..realtime import messages"),
        ("source.files.source", "from ...http.app import create_app"),
        ("http.app", "from .. import daemon"),
        ("pipeline.pipeline", "from vortexd.core.model import Key"),
    ],
)
def test_a_planted_violation_is_found(module: str, source: str) -> None:
    assert 1 == len(violations(module, source))
