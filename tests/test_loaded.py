"""The modules and distributions that a start loads. A start takes as long as its imports, so each new one has to be chosen.

`LATE` lists the modules that the server loads only when it needs them, and all others are loaded at the start.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import attrs
import pytest

from vortexd.cli import worker

PACKAGE = Path(__file__).parent.parent / "vortexd"
EXAMPLE = PACKAGE.parent / "conf/example"
# Runs a program's `main`, and prints what it has loaded at its end.
_PROGRAM = """
import importlib.metadata, json, sys
before = set(sys.modules)
module, *sys.argv[1:] = sys.argv[1:]
try:
    __import__(module)
    sys.modules[module].main()
except SystemExit:
    pass
new = set(sys.modules) - before
ours = [name for name in new if name.partition(".")[0] == "vortexd"]
others = {name.partition(".")[0] for name in new} - {"vortexd"} - set(sys.stdlib_module_names)
distributions = importlib.metadata.packages_distributions()
print(json.dumps([sorted(ours), sorted(new), sorted({each for name in others for each in distributions.get(name, [])})]))
"""
# structlog imports these if they are installed. They come with the extra `dev`, and never with vortexd.
_OF_STRUCTLOG = {"Pygments", "markdown-it-py", "mdurl", "rich"}
# The standard library's large packages that no start needs.
_LARGE = {
    "email",
    "http.client",
    "http.server",
    "importlib.metadata",
    "multiprocessing",
    "sqlite3",
    "unittest",
    "urllib.request",
    "wsgiref.simple_server",
    "xml",
}
# Other programs of this distribution. The server loads nothing of them.
_OTHER_PROGRAMS = ("vortexd.agent", "vortexd.client", "vortexd.ctl", "vortexd.console")


@attrs.frozen
class Loaded:
    """What a program has loaded.

    Attributes:
        ours: The modules of vortexd.
        modules: All modules.
        distributions: The names of all others that aren't Python's own.
    """

    ours: list[str]
    modules: list[str]
    distributions: list[str]


def run(module: str, *arguments: str, until: Callable[["subprocess.Popen[str]"], None] = lambda _: None) -> Loaded:
    """Run the `main` of a module in a fresh interpreter.

    Args:
        until: Called with the running program, and ends it.
    """
    command = [sys.executable, "-c", _PROGRAM, module, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "VORTEXD_NATIVE": "off"}
    ) as process:
        try:
            until(process)
            shown, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert 0 == process.returncode, errors
    ours, modules, distributions = json.loads(shown.splitlines()[-1])
    return Loaded(ours, modules, sorted(set(distributions) - _OF_STRUCTLOG))


def ready(process: "subprocess.Popen[str]") -> None:
    """Wait until the server is ready, and end it."""
    assert process.stderr is not None
    wait_for(process.stderr, '"ready"')
    process.send_signal(signal.SIGTERM)


def wait_for(lines: IO[str], text: str) -> None:
    read: list[str] = []
    for line in lines:
        read.append(line)
        if text in line:
            return
    raise AssertionError("".join(read))


def all_modules() -> set[str]:
    """The modules of the server."""
    found = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in PACKAGE.rglob("*.py")
    }
    return {each for each in found if not any(f"{each}.".startswith(f"{other}.") for other in _OTHER_PROGRAMS)}


# Loaded for the first request with a body, the first HTTP/2 connection, the first scrape, the first event stream, and the first
# request that waits.
LATE_FOR_CLIENTS = [
    "vortexd.http.adapter.h2",
    "vortexd.http.adapter.hypercorn",
    "vortexd.http.allowance",
    "vortexd.http.http2",
    "vortexd.http.http2_body",
    "vortexd.http.http2_request",
    "vortexd.http.watchers",
    "vortexd.observe.exposition",
    "vortexd.protocol.events",
    "vortexd.realtime.events",
    "vortexd.realtime.events.cursor",
    "vortexd.realtime.events.ending",
    "vortexd.realtime.events.form",
    "vortexd.realtime.events.input",
    "vortexd.realtime.events.opening",
    "vortexd.realtime.events.secrets",
    "vortexd.realtime.events.target",
    "vortexd.state.shared_secret",
]
# The server's modules that a start on a directory doesn't load.
LATE = [
    # Work in bounded processes has a program of its own.
    "vortexd.aio.isolated_main",
    # Each is loaded if the settings name a file of its kind.
    "vortexd.auth.jwt",
    "vortexd.encryption.ciphers",
    "vortexd.encryption.keys",
    "vortexd.encryption.pkcs12",
    "vortexd.encryption.private_keys",
    "vortexd.net.x509",
    # For a gate.
    "vortexd.gate.command",
    "vortexd.gate.decision",
    "vortexd.gate.files",
    "vortexd.gate.gate",
    "vortexd.gate.inference",
    "vortexd.gate.judge",
    "vortexd.gate.lines",
    "vortexd.gate.places",
    "vortexd.gate.schemas",
    "vortexd.gate.validation",
    "vortexd.http.gate_decisions",
    "vortexd.pipeline.gated",
    "vortexd.pipeline.holding",
    "vortexd.state.accepted_files",
    # For a pin.
    "vortexd.core.term",
    "vortexd.pins.changes",
    "vortexd.pins.file",
    "vortexd.pins.keeper",
    "vortexd.pins.pin",
    "vortexd.pipeline.pin_targets",
    "vortexd.pipeline.pinning",
    "vortexd.shelf",
    "vortexd.shelf.acts",
    "vortexd.shelf.file",
    "vortexd.shelf.kind",
    "vortexd.shelf.layers",
    "vortexd.shelf.shared",
    "vortexd.shelf.shelf",
    # For a roll-out.
    "vortexd.pipeline.pacing",
    "vortexd.rollouts.changes",
    "vortexd.rollouts.counts",
    "vortexd.rollouts.file",
    "vortexd.rollouts.keeper",
    "vortexd.rollouts.plan",
    "vortexd.rollouts.progress",
    "vortexd.rollouts.reports",
    "vortexd.rollouts.rollout",
    # Commands that don't serve.
    "vortexd.cli.commands",
    "vortexd.process.installation",
    "vortexd.settings.sample",
    *LATE_FOR_CLIENTS,
    "vortexd.http.adapter.quart",
    # For several workers.
    "vortexd.cli.worker",
    "vortexd.process.assignment",
    "vortexd.process.fork_server",
    "vortexd.process.forked",
    "vortexd.process.processes",
    "vortexd.process.starter",
    "vortexd.process.supervisor",
    # For several machines, and for a source in etcd.
    "vortexd.cluster",
    "vortexd.cluster.connection",
    "vortexd.cluster.engine",
    "vortexd.cluster.etcd",
    "vortexd.cluster.etcd.access",
    "vortexd.cluster.etcd.engine",
    "vortexd.cluster.etcd.gateway",
    "vortexd.cluster.etcd.wire",
    "vortexd.cluster.fleet",
    "vortexd.cluster.generations",
    "vortexd.cluster.hints",
    "vortexd.cluster.keys",
    "vortexd.cluster.late_labels",
    "vortexd.cluster.membership",
    "vortexd.cluster.node",
    "vortexd.cluster.positions",
    "vortexd.cluster.published",
    "vortexd.cluster.published.checks",
    "vortexd.cluster.published.fetching",
    "vortexd.cluster.published.head",
    "vortexd.cluster.published.manifest",
    "vortexd.cluster.published.manifest_reader",
    "vortexd.cluster.published.manifest_writer",
    "vortexd.cluster.published.newest",
    "vortexd.cluster.published.packing",
    "vortexd.cluster.published.publisher",
    "vortexd.cluster.published.transactions",
    "vortexd.cluster.published.version",
    "vortexd.cluster.questions",
    "vortexd.cluster.quota",
    "vortexd.cluster.records",
    "vortexd.cluster.renewal",
    "vortexd.cluster.roster",
    "vortexd.cluster.shared_records",
    "vortexd.cluster.store_state",
    "vortexd.cluster.summaries",
    "vortexd.cluster.summary_writer",
    "vortexd.cluster.warnings",
    "vortexd.http.cluster",
    "vortexd.http.fleet_departures",
    "vortexd.http.fleet_counts",
    "vortexd.source.etcd.keys",
    "vortexd.source.etcd.source",
    "vortexd.source.published.history",
    "vortexd.source.published.reading",
    "vortexd.source.published.source",
    "vortexd.source.published.stand_in",
    # For a Git source.
    "vortexd.source.following",
    "vortexd.source.git.assembly",
    "vortexd.source.git.commits",
    "vortexd.source.git.complaints",
    "vortexd.source.git.disk",
    "vortexd.source.git.fetch",
    "vortexd.source.git.history",
    "vortexd.source.git.labels",
    "vortexd.source.git.links",
    "vortexd.source.git.mirror",
    "vortexd.source.git.notices",
    "vortexd.source.git.objects",
    "vortexd.source.git.process",
    "vortexd.source.git.push",
    "vortexd.source.git.reader",
    "vortexd.source.git.refs",
    "vortexd.source.git.schedule",
    "vortexd.source.git.snapshots",
    "vortexd.source.git.source",
    "vortexd.source.git.trailers",
    "vortexd.source.git.wanted_labels",
]
# Trio needs idna, outcome, sniffio and sortedcontainers, and wsproto needs h11.
DISTRIBUTIONS = [
    "PyYAML",
    "attrs",
    "h11",
    "idna",
    "inotify-simple",
    "orjson",
    "outcome",
    "sniffio",
    "sortedcontainers",
    "structlog",
    "trio",
    "wsproto",
]
# For a settings file. cattrs needs typing_extensions.
DISTRIBUTIONS_FOR_A_FILE = ["cattrs", "typing_extensions"]


def serve(*arguments: str) -> Loaded:
    """Run the server until it is ready."""
    return run("vortexd.__main__", "--bind", "127.0.0.1:0", "--log-format", "json", *arguments, until=ready)


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What another server has left in the state directory would be loaded, too."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_a_start_on_a_directory_loads_all_modules_but_these() -> None:
    loaded = serve("--source", str(EXAMPLE))

    assert sorted(LATE) == sorted(all_modules() - set(loaded.ours))
    assert set() == set(loaded.ours) - all_modules()
    assert DISTRIBUTIONS == loaded.distributions
    assert set() == _LARGE & set(loaded.modules)


def test_a_start_with_a_settings_file_loads_cattrs_and_no_more_modules(tmp_path: Path) -> None:
    file = tmp_path / "vortexd.toml"
    file.write_text(f'[[source]]\npath = "{EXAMPLE}"\n')
    loaded = serve("--config", str(file))

    assert sorted(LATE) == sorted(all_modules() - set(loaded.ours))
    assert sorted(DISTRIBUTIONS + DISTRIBUTIONS_FOR_A_FILE) == loaded.distributions


def test_the_version_needs_the_settings_and_neither_trio_nor_a_server() -> None:
    loaded = run("vortexd.__main__", "--version")

    packages = {each.split(".")[1] for each in loaded.ours if "." in each}
    assert {"__main__", "aio", "cli", "core", "process", "settings", "source"} == packages
    assert ["attrs", "orjson", "structlog"] == loaded.distributions


def test_the_fork_server_also_loads_what_its_workers_would_load_for_clients() -> None:
    """All workers share the memory of these modules. Quart is the exception: most workers never receive a body."""
    program = (
        "import sys; from importlib import import_module; [*map(import_module, sys.argv[1:])]; print(*sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program, *worker._MODULES], stdout=subprocess.PIPE, text=True, check=True
    )

    assert [*LATE_FOR_CLIENTS] == [each for each in LATE_FOR_CLIENTS if each in shown.stdout.split()]
    assert "vortexd.http.adapter.quart" not in shown.stdout.split()


# The modules of vortexctl that all commands need.
CTL = [
    "vortexd",
    "vortexd.core",
    "vortexd.core.errors",
    "vortexd.core.model",
    "vortexd.core.text",
    "vortexd.ctl",
    "vortexd.ctl.cli",
    "vortexd.ctl.errors",
]
# `vortexctl get` needs these beside them.
GET = [
    "vortexd.agent",
    "vortexd.agent.environment",
    "vortexd.core.names",
    "vortexd.core.version",
    "vortexd.ctl.conditions",
    "vortexd.ctl.configuration",
    "vortexd.ctl.forms",
    "vortexd.ctl.get",
    "vortexd.ctl.key",
    "vortexd.ctl.printing",
    "vortexd.ctl.server",
    "vortexd.http",
    "vortexd.http.spring",
    "vortexd.http.spring.placeholders",
    "vortexd.http.spring.scalars",
    "vortexd.http.spring.suffixes",
    "vortexd.http.spring.yaml",
    "vortexd.resolve",
    "vortexd.resolve.nest",
    "vortexd.resolve.ordinary",
    "vortexd.settings",
    "vortexd.settings.secure_files",
    "vortexd.settings.systemd_credentials",
]


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_the_help_and_version_of_vortexctl_load_no_command(option: str) -> None:
    loaded = run("vortexd.ctl.cli", option)

    assert CTL == loaded.ours
    assert ["attrs", "orjson"] == loaded.distributions


def test_a_command_of_vortexctl_loads_only_what_it_needs() -> None:
    loaded = run("vortexd.ctl.cli", "get", "--help")

    assert sorted(CTL + GET) == loaded.ours
    assert ["PyYAML", "attrs", "orjson"] == loaded.distributions
