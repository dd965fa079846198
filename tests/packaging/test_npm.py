"""The package for npm: vortex.js, unchanged, with types that agree with it. tests/system/test_vortex_js_proxies.py runs the programs of its README."""

import json
import re
import shutil
import subprocess
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.console.node import NODE, VORTEX, needs_node
from tests.system.test_spring_clients import found, installed, run
from vortexd import __version__

from .building import ROOT

NPM = ROOT / "packaging/npm"
TOOLS = ("typescript@5.9.3", "esbuild@0.28.2")
TYPES = (NPM / "vortex.d.ts").read_text()

pytestmark = [needs_node, pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm")]


def build(directory: Path, script: Path = NPM / "build") -> Path:
    subprocess.run([script, directory], check=True, capture_output=True, text=True, timeout=120)
    (tarball,) = directory.iterdir()
    return tarball


def contents(tarball: Path) -> dict[str, bytes]:
    with tarfile.open(tarball) as archive:
        members = [(each.name, archive.extractfile(each)) for each in archive.getmembers()]
        return {name.removeprefix("package/"): file.read() for name, file in members if file is not None}


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("npm"))


@pytest.fixture(scope="module")
def package(tarball: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(contents(tarball)["package.json"])
    return made


@pytest.fixture
def user(tarball: Path, tmp_path: Path) -> Path:
    """Return the directory of a project that has the package, and nothing else."""
    directory = tmp_path / "user"
    with tarfile.open(tarball) as archive:
        archive.extractall(directory / "node_modules", filter="data")
    (directory / "node_modules/package").rename(directory / "node_modules/vortexd-client")
    (directory / "package.json").write_text('{"type": "module", "private": true}')
    return directory


def test_it_holds_the_module_its_types_its_readme_and_the_licence(tarball: Path) -> None:
    held = contents(tarball)
    expected = {
        "LICENSE": ROOT / "LICENSE",
        "README.md": NPM / "README.md",
        "vortex.d.ts": NPM / "vortex.d.ts",
        "vortex.js": VORTEX,
    }

    assert {*expected, "package.json"} == set(held)
    assert {name: path.read_bytes() for name, path in expected.items()} == {name: held[name] for name in expected}


def test_version_licence_and_address_are_those_of_vortexd(tarball: Path, package: dict[str, Any]) -> None:
    address = re.findall(r'^repository = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)

    assert f"vortexd-client-{__version__}.tgz" == tarball.name
    assert ["vortexd-client", __version__] == [package["name"], package["version"]]
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"] == package["license"]
    assert [package["homepage"]] == address
    assert {"type": "git", "url": f"git+{address[0]}.git", "directory": "packaging/npm"} == package["repository"]


def test_it_is_one_module_without_dependencies(package: dict[str, Any]) -> None:
    assert "module" == package["type"]
    assert {"types": "./vortex.d.ts", "default": "./vortex.js"} == package["exports"]["."]
    # TypeScript takes the first condition that fits.
    assert "types" == next(iter(package["exports"]["."]))
    assert {"node": ">=20"} == package["engines"]
    assert package["sideEffects"] is False
    assert set() == {"dependencies", "devDependencies", "optionalDependencies", "scripts"} & set(package)
    assert ["ws"] == list(package["peerDependencies"])
    assert {"ws": {"optional": True}} == package["peerDependenciesMeta"]


def test_the_same_files_make_the_same_bytes(tarball: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for name in ("packaging/npm", "vortexd/console"):
        shutil.copytree(ROOT / name, copy / name)
    for name in ("LICENSE", "pyproject.toml", "vortexd/__init__.py"):
        shutil.copy(ROOT / name, copy / name)
    command: list[str | Path] = [
        "bash",
        "-c",
        'umask 077; exec "$0" "$1"',
        copy / "packaging/npm/build",
        tmp_path / "out",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)

    assert tarball.read_bytes() == (tmp_path / "out" / tarball.name).read_bytes()


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("vortexd/__init__.py", "", "vortexd/__init__.py names no version"),
        ("pyproject.toml", "", "pyproject.toml names no repository"),
    ],
)
def test_without_a_version_or_an_address_there_is_no_package(tmp_path: Path, name: str, text: str, error: str) -> None:
    for each in ("packaging/npm/build", "pyproject.toml", "vortexd/__init__.py"):
        (tmp_path / each).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / each, tmp_path / each)
    (tmp_path / name).write_text(text)
    command = [tmp_path / "packaging/npm/build", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (1, f"npm/build: error: {error}\n") == (done.returncode, done.stderr)
    assert not (tmp_path / "out").exists()


def test_the_repository_has_no_lock_file_of_npm() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert [] == re.findall(r"^.*(?:package-lock\.json|yarn\.lock|npm-shrinkwrap\.json)$", listed, re.MULTILINE)


def run_node(directory: Path, script: str) -> Any:
    command = [str(NODE), "--input-type=module", "--eval", script]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout)


def test_a_program_imports_it_by_its_name(user: Path) -> None:
    script = """
    import { watch } from "vortexd-client";
    import { createRequire } from "node:module";
    const { version } = createRequire(import.meta.url)("vortexd-client/package.json");
    process.stdout.write(JSON.stringify([typeof watch, version]));
    """

    assert ["function", __version__] == run_node(user, script)


# Its types.

MEMBERS = """
import * as vortex from "vortexd-client";
const transport = { fetch: () => new Promise(() => {}), transport: "sse" };
const config = vortex.watch("ws://server", "a", "b", transport);
const own = Object.getOwnPropertyNames(config);
const shared = Object.getOwnPropertyNames(Object.getPrototypeOf(config)).filter((name) => name !== "constructor");
const state = Object.keys(config.state);
config.close();
process.stdout.write(JSON.stringify({ exports: Object.keys(vortex), watch: [...own, ...shared].sort(), state: state.sort() }));
"""


def declared(interface: str) -> list[str]:
    """Return the names of an interface's members, in the order of the alphabet."""
    (body,) = re.findall(rf"^export interface {interface}\b[^\n]*{{\n(.*?)^}}", TYPES, re.MULTILINE | re.DOTALL)
    return sorted(re.findall(r"^  (?:readonly )?(\w+)[?]?[:(<]", body, re.MULTILINE))


def test_the_types_declare_what_the_module_has(user: Path) -> None:
    has = run_node(user, MEMBERS)

    assert has["watch"] == declared("Watch")
    assert has["state"] == declared("State")
    assert "[Symbol.asyncIterator](): AsyncGenerator" in TYPES
    assert {"watch"} == set(re.findall(r"^export (?:declare )?function (\w+)", TYPES, re.MULTILINE))
    assert "watch" in has["exports"]


def test_the_types_declare_the_options_and_states_of_the_module() -> None:
    source = VORTEX.read_text()
    used = re.findall(r"\bconst {([^}]*)} = this\.#options", source)
    names = {each.split(" ")[0] for part in used for each in part.strip().split(", ")}
    states = set(re.findall(r'#become\("(\w+)"', source)) | set(re.findall(r'\bstate = { name: "(\w+)"', source))

    assert {*names, "transport"} == set(declared("Options"))
    assert states == set(re.findall(r'"(\w+)"', next(line for line in TYPES.splitlines() if "  name: " in line)))


def test_the_types_declare_the_members_of_a_change() -> None:
    (members,) = re.findall(r'return {\s*(type: "changed".*?)\s*};', VORTEX.read_text())

    assert sorted(each.partition(":")[0] for each in members.split(", ")) == declared("Change")


@pytest.fixture
def tools(pytestconfig: pytest.Config) -> Path:
    """Return the directory of programs from npm, which the tests install into pytest's cache."""
    npm = found("npm")
    command = [npm, "install", "--no-audit", "--no-fund", "--no-save", "--no-package-lock", *TOOLS, "--prefix"]
    modules = installed(pytestconfig, "npm", TOOLS, lambda directory: run([*command, str(directory)], directory))
    return modules / "node_modules" / ".bin"


GOOD = """
import { watch, type Change, type Options, type State, type Watch } from "vortexd-client";

// The types need neither those of Node nor those of browsers.
const say = (...values: unknown[]): number => values.length;
interface Billing { database: { pool: { size: number } } }

const options: Options = { token: "secret", patterns: ["billing:*"] as const, transport: "auto", instance: "" };
const config: Watch<Billing> = watch<Billing>(["ws://a:8888", "ws://b:8888"], "billing", "prod", options);
const remove: () => void = config.on("state", ({ name, reason, transport }: State) => {
  if (name === "failed" && transport === "sse") say(reason?.length);
});
config.on("refused", ({ code, message }) => say(code.length + message.length));
config.on("change", (change) => say(change.document?.database.pool.size));
config.on("beat", ({ type }) => say(type));
const { document } = await config.ready;
const size: number | undefined = document?.database.pool.size;
const sent: boolean = config.ack(config.version ?? "", "rejected", size === undefined ? "no size" : null);
for await (const change of config) {
  const typed: Change<Billing> = change;
  for (const operation of typed.patch ?? []) if (operation.op === "move") say(operation.from, sent);
  if (change.version !== null) config.ack(change.version);
  break;
}
for (const [key, other] of config.documents) say(key.length, other);
remove();
config.close();
const untyped = watch("ws://a", "billing");
say(untyped.document.any.member);
"""
BAD = [
    'watch("ws://a", "billing", "prod", { transport: "polling" });',
    'watch("ws://a", "billing", "prod", { tokens: [] });',
    'watch(1, "billing");',
    'watch("ws://a");',
    'watch("ws://a", "b").on("closed", () => {});',
    'watch("ws://a", "b").ack("v", "done");',
    'watch("ws://a", "b").state.name = "done";',
    'watch("ws://a", "b").version = "v";',
    'watch<{ a: number }>("ws://a", "b").document.a;',
    'watch("ws://a", "b").version.length;',
    'import { Conversation } from "vortexd-client"; new Conversation();',
]


def compiled(user: Path, tools: Path, program: str, *options: str) -> list[str]:
    """Return the lines of a TypeScript program's errors, each once."""
    (user / "program.ts").write_text(program)
    strict = ["--strict", "--noEmit", "--target", "es2022", "--skipLibCheck", "false", *options]
    command: list[str | Path] = [tools / "tsc", *strict, "program.ts"]
    done = subprocess.run(command, cwd=user, capture_output=True, text=True, timeout=240, check=False)
    return sorted(set(re.findall(r"^\S+?\((\d+),", done.stdout, re.MULTILINE)), key=int) or done.stdout.split("\n")[:-1]


RESOLUTIONS = [
    ("--module", "nodenext", "--lib", "es2022"),
    ("--module", "esnext", "--moduleResolution", "bundler", "--lib", "es2022,dom", "--exactOptionalPropertyTypes"),
]


@pytest.mark.slow
@pytest.mark.parametrize("options", RESOLUTIONS, ids=["Node", "browser"])
def test_a_users_typescript_program_compiles(user: Path, tools: Path, options: tuple[str, ...]) -> None:
    assert [] == compiled(user, tools, GOOD, *options)


@pytest.mark.slow
def test_the_mistakes_of_a_users_program_are_found(user: Path, tools: Path) -> None:
    program = "\n".join(['import { watch } from "vortexd-client";', *BAD, "export {};"])

    assert [str(number) for number in range(2, len(BAD) + 2)] == compiled(user, tools, program, *RESOLUTIONS[0])


@pytest.mark.slow
def test_a_bundle_for_browsers_needs_no_package_ws_and_leaves_out_what_is_not_used(user: Path, tools: Path) -> None:
    (user / "used.js").write_text('import { watch } from "vortexd-client";\nglobalThis.watch = watch;\n')
    (user / "unused.js").write_text('import { watch } from "vortexd-client";\nglobalThis.x = 1;\n')
    sizes = []
    for name in ("used.js", "unused.js"):
        command: list[str | Path] = [
            tools / "esbuild",
            name,
            "--bundle",
            "--minify",
            "--format=esm",
            "--platform=browser",
        ]
        done = subprocess.run(command, cwd=user, capture_output=True, text=True, timeout=60, check=False)
        assert (0, "") == (done.returncode, done.stderr)
        sizes.append(len(done.stdout))

    assert sizes[0] > 10_000
    assert sizes[1] < 100


@pytest.mark.slow
def test_npm_installs_it_without_a_registry(tarball: Path, tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"type": "module", "private": true}')
    command = [found("npm"), "install", "--offline", "--no-audit", "--no-fund", str(tarball)]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)

    assert ["vortexd-client"] == [each.name for each in (tmp_path / "node_modules").iterdir() if each.name[0] != "."]
