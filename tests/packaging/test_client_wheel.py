"""The wheel `vortexd-client`: the modules that the client loads, under another name, with the dependencies that they import.

tests/packaging/test_both_wheels.py installs it, which takes longer.
"""

import ast
import importlib
import importlib.util
import sys
import tomllib
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import pytest

import vortexd.client
import vortexd.client.asyncio
import vortexd.client.blocking
from tests.client.loading import SHOWN, import_alone, use
from tests.client.test_loaded import (
    AT_FIRST,
    BY_NAME,
    DISTRIBUTIONS_AT_FIRST,
    DISTRIBUTIONS_IN_USE,
    IN_USE,
    WHEN_BOUND,
    WITH_CATTRS,
    WITH_PROBLEMS,
)

from .building import CLIENT, ROOT, build, contents, unpack_sdist, unpack_wheel

# The wheel's own modules, which lead to those of the client.
OWN = ["__init__.py", "asyncio.py", "blocking.py", "py.typed", "pydantic_settings.py"]
NAME = "vortexd_client-" + vortexd.__version__


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(CLIENT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(CLIENT, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack_wheel(wheel, tmp_path_factory.mktemp("unpacked"))


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    return BytesParser().parsebytes(contents(wheel)[f"{NAME}.dist-info/METADATA"])


@pytest.fixture
def importable(unpacked: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The unpacked wheel as a package of this interpreter, forgotten afterwards."""
    monkeypatch.syspath_prepend(unpacked)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "vortexd_client"]:
        del sys.modules[name]


def project(path: Path) -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((path / "pyproject.toml").read_text())["project"]
    return table


def path_of(module: str) -> str:
    """The path of a module below vortexd/."""
    path = Path(*module.split(".")[1:])
    return str(path / "__init__.py" if (ROOT / "vortexd" / path).is_dir() else path.with_suffix(".py"))


def files_of(directory: Path) -> dict[Path, bytes]:
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def renamed(modules: list[str]) -> list[str]:
    return [name.replace("vortexd", "vortexd_client", 1) for name in modules]


LATE = [*WHEN_BOUND, *WITH_CATTRS, *WITH_PROBLEMS, *BY_NAME]
SHARED = [path_of(module) for module in [*AT_FIRST, *IN_USE, *LATE] if module != "vortexd"]
EXTRAS = {"bind": {"cattrs"}, "pydantic": {"pydantic", "pydantic-settings"}}
# This comes with pydantic.
BROUGHT = {"pydantic_core"}


def test_the_wheel_holds_the_modules_that_the_client_loads_and_no_others(wheel: Path) -> None:
    held = [name for name in contents(wheel) if not name.startswith(f"{NAME}.dist-info/")]

    assert sorted(f"vortexd_client/{path}" for path in [*OWN, *SHARED]) == sorted(held)


def test_each_module_is_the_one_of_the_tree(wheel: Path) -> None:
    held = contents(wheel)

    for path in SHARED:
        assert (ROOT / "vortexd" / path).read_bytes() == held[f"vortexd_client/{path}"]
    for path in OWN:
        assert (CLIENT / "vortexd_client" / path).read_bytes() == held[f"vortexd_client/{path}"]


def test_a_source_distribution_builds_the_same_wheel_without_the_tree(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    again = build(unpack_sdist(sdist, tmp_path / "source"), "wheel", tmp_path / "wheel")

    assert wheel.name == again.name
    assert contents(wheel) == contents(again)


def test_a_source_distribution_builds_the_same_source_distribution(sdist: Path, tmp_path: Path) -> None:
    source = unpack_sdist(sdist, tmp_path / "source")
    again = build(source, "sdist", tmp_path / "sdist")

    assert sdist.name == again.name
    assert files_of(source) == files_of(unpack_sdist(again, tmp_path / "again"))


def test_a_source_distribution_takes_nothing_from_a_tree_around_it(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "vortexd/client").mkdir(parents=True)
    (tmp_path / "vortexd/client/foreign.py").touch()
    source = unpack_sdist(sdist, tmp_path / "packaging")

    assert contents(wheel) == contents(build(source, "wheel", tmp_path / "wheel"))


def test_version_licence_readme_and_pythons_are_those_of_vortexd(wheel: Path, metadata: Message) -> None:
    licence = (ROOT / "LICENSE").read_bytes()

    assert ["vortexd-client", vortexd.__version__] == [metadata["Name"], metadata["Version"]]
    assert project(ROOT)["requires-python"] == metadata["Requires-Python"]
    assert project(ROOT)["license"] == metadata["License-Expression"]
    assert licence == contents(wheel)[f"{NAME}.dist-info/licenses/LICENSE"]
    assert (CLIENT / "README.md").read_text() == metadata.get_payload()


def test_it_requires_what_its_modules_import_within_the_bounds_of_vortexd(metadata: Message) -> None:
    everything = metadata.get_all("Requires-Dist", [])
    required = [each for each in everything if ";" not in each]
    imported = set()
    for path in SHARED:
        for node in ast.walk(ast.parse((ROOT / "vortexd" / path).read_text())):
            match node:
                case ast.Import(names=names):
                    imported |= {alias.name.partition(".")[0] for alias in names}
                case ast.ImportFrom(level=0, module=str(module)):
                    imported.add(module.partition(".")[0])
    third_party = {name.replace("_", "-") for name in imported - set(sys.stdlib_module_names) - BROUGHT}

    assert third_party == {each.partition(">=")[0] for each in everything}
    assert third_party - set().union(*EXTRAS.values()) == {each.partition(">=")[0] for each in required}
    assert set(required) <= set(project(ROOT)["dependencies"])


def test_its_extras_have_the_libraries_of_models_within_the_bounds_of_vortexd(metadata: Message) -> None:
    extras = project(CLIENT)["optional-dependencies"]
    here = project(ROOT)

    assert sorted(EXTRAS) == sorted(metadata.get_all("Provides-Extra", []))
    assert {name: {each.partition(">=")[0] for each in extra} for name, extra in extras.items()} == EXTRAS
    assert set(extras["bind"]) <= set(here["dependencies"])
    assert extras["pydantic"] == here["optional-dependencies"]["pydantic"]
    assert set(extras["pydantic"]) <= set(here["optional-dependencies"]["dev"])


@pytest.mark.usefixtures("importable")
def test_it_offers_the_names_of_vortexd_client() -> None:
    package = importlib.import_module("vortexd_client")

    assert vortexd.client.__all__ == package.__all__
    assert [] == [name for name in package.__all__ if not hasattr(package, name)]
    assert package.client.watching.watch is package.watch
    assert vortexd.client.watch is not package.watch
    with pytest.raises(AttributeError, match=r"^module 'vortexd_client' has no attribute 'serve'$"):
        package.serve  # noqa: B018 - it is the question


@pytest.mark.usefixtures("importable")
def test_its_source_for_pydantic_settings_is_that_of_the_client() -> None:
    module = importlib.import_module("vortexd_client.pydantic_settings")
    client = importlib.import_module("vortexd_client.client.pydantic_settings")

    assert ["VortexSettingsSource"] == module.__all__
    assert client.VortexSettingsSource is module.VortexSettingsSource


@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize("kind", ["asyncio", "blocking"])
def test_its_kinds_of_client_are_those_of_the_client(kind: str) -> None:
    module = importlib.import_module(f"vortexd_client.{kind}")
    client = importlib.import_module(f"vortexd_client.client.{kind}")

    assert ["Config", "watch"] == module.__all__
    assert [client.Config, client.watch] == [module.Config, module.watch]


async def test_importing_it_loads_neither_trio_nor_vortexd(unpacked: Path) -> None:
    loaded = await import_alone("vortexd_client", {"PYTHONPATH": str(unpacked)})

    assert renamed(AT_FIRST) == loaded.modules
    assert DISTRIBUTIONS_AT_FIRST == loaded.distributions


async def test_from_the_wheel_it_follows_a_server_on_trio_asyncio_and_threads(unpacked: Path) -> None:
    loaded = await use("vortexd_client", {"PYTHONPATH": str(unpacked)})

    assert 3 * SHOWN == loaded.shown
    own = ["vortexd_client.asyncio", "vortexd_client.blocking"]
    assert sorted([*own, *renamed([*AT_FIRST, *IN_USE])]) == loaded.modules
    assert sorted(DISTRIBUTIONS_AT_FIRST + DISTRIBUTIONS_IN_USE) == loaded.distributions


def test_it_refuses_to_be_installed_in_place(tmp_path: Path) -> None:
    """In place it would have no modules, for they are in another folder."""
    spec = importlib.util.spec_from_file_location("hatch_build", CLIENT / "hatch_build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    hook = module.SharedModules(str(tmp_path), {"modules": []}, None, None, str(tmp_path), "wheel")

    with pytest.raises(ValueError, match=r"^vortexd-client can't be installed in place; install vortexd, "):
        hook.initialize("editable", {"force_include": {}})
