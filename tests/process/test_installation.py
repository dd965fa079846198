"""The installation: files that it writes, leaves alone, and removes again."""

import json
import tomllib
from pathlib import Path

import pytest

from vortexd.core.errors import StartError
from vortexd.process.installation import Place, Result, contents, install, is_hidden, uninstall

ROOT = Path(__file__).parents[2]
SETTINGS = "/etc/vortexd/vortexd.toml"
UNIT = "lib/systemd/system/vortexd.service"
OLD = {UNIT: b"old unit", SETTINGS: b"old settings"}
NEW = {UNIT: b"new unit", SETTINGS: b"new settings"}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def put(place: Place, files: dict[str, bytes]) -> list[Result]:
    return [each.result for each in install(place, files)]


def held(place: Place) -> dict[str, bytes]:
    """Every file there, by its path from the root on, without the record."""
    found = {str(each.relative_to(place.root)): each.read_bytes() for each in place.root.rglob("*") if each.is_file()}
    return {name: content for name, content in found.items() if not name.endswith("installed.json")}


def test_what_is_not_there_is_installed_and_again_nothing_happens(place: Place) -> None:
    assert [Result.INSTALLED, Result.INSTALLED] == put(place, OLD)
    assert {f"usr/local/{UNIT}": b"old unit", "etc/vortexd/vortexd.toml": b"old settings"} == held(place)
    assert [Result.UNCHANGED, Result.UNCHANGED] == put(place, OLD)
    assert 0o644 == place.of(SETTINGS).stat().st_mode & 0o777
    assert (place.root / "etc/vortexd/config").is_dir()


def test_what_nobody_changed_is_updated(place: Place) -> None:
    put(place, OLD)

    assert [Result.UPDATED, Result.UPDATED] == put(place, NEW)
    assert {f"usr/local/{UNIT}": b"new unit", "etc/vortexd/vortexd.toml": b"new settings"} == held(place)


def test_a_changed_file_stays_and_what_is_new_is_put_beside_it_once(place: Place) -> None:
    put(place, OLD)
    place.of(SETTINGS).write_bytes(b"mine")

    assert [Result.UNCHANGED, Result.EDITED] == put(place, OLD)
    assert [Result.UPDATED, Result.NEW_VERSION_SAVED] == put(place, NEW)
    assert [Result.UNCHANGED, Result.EDITED] == put(place, NEW)
    assert b"mine" == place.of(SETTINGS).read_bytes()
    assert b"new settings" == place.of(SETTINGS + ".new").read_bytes()


def test_a_file_that_was_there_before_is_somebody_elses(place: Place) -> None:
    place.of(SETTINGS).parent.mkdir(parents=True)
    place.of(SETTINGS).write_bytes(b"theirs")

    assert [Result.INSTALLED, Result.NEW_VERSION_SAVED] == put(place, OLD)
    assert [Result.REMOVED, Result.KEPT] == [each.result for each in uninstall(place)]
    assert {"etc/vortexd/vortexd.toml": b"theirs"} == held(place)


def test_a_link_is_never_followed(place: Place) -> None:
    target = place.root / "target"
    target.write_bytes(b"old settings")
    place.of(SETTINGS).parent.mkdir(parents=True)
    place.of(SETTINGS).symlink_to(target)

    assert [Result.INSTALLED, Result.NEW_VERSION_SAVED] == put(place, NEW)
    assert [Result.REMOVED, Result.KEPT] == [each.result for each in uninstall(place)]
    assert b"old settings" == target.read_bytes()
    assert place.of(SETTINGS).is_symlink()


def test_without_its_record_everything_counts_as_changed(place: Place) -> None:
    put(place, OLD)
    place.of("share/vortexd/installed.json").write_text("{")

    assert [Result.NEW_VERSION_SAVED, Result.NEW_VERSION_SAVED] == put(place, NEW)


def test_what_is_removed_leaves_nothing_of_ours_behind(place: Place) -> None:
    put(place, contents_of_a_release := contents(["/opt/vortexd/bin/vortexd"]))

    assert [Result.REMOVED] * len(contents_of_a_release) == [each.result for each in uninstall(place)]
    assert {} == held(place)
    assert not place.of(SETTINGS).parent.exists()
    assert [] == list(uninstall(place))


def test_what_is_served_stays_when_vortexd_is_removed(place: Place) -> None:
    put(place, OLD)
    (place.root / "etc/vortexd/config/application.yml").write_bytes(b"a: 1")
    list(uninstall(place))

    assert {"etc/vortexd/config/application.yml": b"a: 1"} == held(place)


def test_a_dry_run_says_the_same_and_writes_nothing(place: Place) -> None:
    assert [Result.INSTALLED, Result.INSTALLED] == [each.result for each in install(place, OLD, is_dry=True)]
    assert [] == list(place.root.iterdir())
    put(place, OLD)
    before = held(place)

    assert [Result.UPDATED, Result.UPDATED] == [each.result for each in install(place, NEW, is_dry=True)]
    assert [Result.REMOVED, Result.REMOVED] == [each.result for each in uninstall(place, is_dry=True)]
    assert before == held(place)


def test_what_is_in_place_before_an_error_is_remembered(place: Place) -> None:
    (place.root / "etc").write_bytes(b"in the way")
    with pytest.raises(StartError, match="etc"):
        put(place, OLD)

    assert {UNIT} <= json.loads(place.of("share/vortexd/installed.json").read_bytes()).keys()
    (place.root / "etc").unlink()
    assert [Result.UPDATED, Result.INSTALLED] == put(place, NEW)


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (["/opt/x/bin/vortexd"], "/opt/x/bin/vortexctl"),
        (["/opt/x/bin/python3", "-m", "vortexd"], "/opt/x/bin/python3 -m vortexd.ctl"),
    ],
)
def test_the_unit_of_the_agent_starts_the_vortexctl_of_that_program(command: list[str], word: str) -> None:
    unit = contents(command)["lib/systemd/system/vortexctl-agent.service"].decode()

    assert f"\nExecStart={word} agent --config /etc/vortexd/agent.toml\n" in unit


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (["/opt/vortexd/bin/vortexd"], "/opt/vortexd/bin/vortexd"),
        (["/opt/x/bin/python3", "-m", "vortexd"], "/opt/x/bin/python3 -m vortexd"),
        (["/opt/a b/100%/$x/vortexd"], '"/opt/a b/100%%/$$x/vortexd"'),
    ],
)
def test_the_units_start_the_program_that_installs_them(command: list[str], word: str) -> None:
    unit = contents(command)[UNIT].decode()

    assert f"\nExecStart={word} --config /etc/vortexd/vortexd.toml\n" in unit
    assert f"\nExecStartPre={word} --check --config /etc/vortexd/vortexd.toml\n" in unit


def test_every_unit_and_every_page_is_installed_and_in_the_wheel() -> None:
    names = {Path(path).name for path in contents(["vortexd"])}
    included = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    wheel = included["force-include"]

    assert {each.name for each in (*(ROOT / "systemd").iterdir(), *(ROOT / "man").iterdir())} < names
    for own in ("systemd", "man", "conf/vortexd.toml", "conf/agent.toml.example", "conf/tokens.toml.example"):
        assert (ROOT / own).exists()
        assert f"vortexd/data/{own}" == wheel[own]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/root/bin/python", True),
        ("/home/me/x", True),
        ("/opt/vortexd/bin/vortexd", False),
        ("/rooted/x", False),
    ],
)
def test_what_the_service_can_not_see_is_known(path: str, expected: bool) -> None:
    assert expected is is_hidden(["/usr", path])
