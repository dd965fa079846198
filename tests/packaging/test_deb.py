"""The Debian package as files: contents, control files and scripts. Only .ci/extended installs it; see test_deb_installed.py.

It is built without its libraries, which take a registry and a minute.
"""

import gzip
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from io import BytesIO
from pathlib import Path

import pytest

from vortexd import __version__
from vortexd.ctl import cli
from vortexd.process.installation import contents

from .building import ROOT, build, unpack_wheel

DEB = ROOT / "packaging/deb"
HOME = "usr/lib/vortexd"
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
SITE = f"{HOME}/lib/{PYTHON}/site-packages"
UNITS = "usr/lib/systemd/system"

pytestmark = [
    pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="there is no dpkg-deb"),
    pytest.mark.slow,
]


def make(site: Path, directory: Path) -> Path:
    environment = {**os.environ, "PYTHON": sys.executable, "VORTEXD_DEB_SITE": str(site)}
    subprocess.run([DEB / "build", directory], env=environment, check=True, capture_output=True, text=True)
    (built,) = directory.iterdir()
    return built


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of vortexd as pip unpacks it, with a library in C, and with traces of this machine."""
    site = unpack_wheel(build(ROOT, "wheel", tmp_path_factory.mktemp("wheel")), tmp_path_factory.mktemp("site"))
    (site / "fast.abi3.so").write_bytes(b"\x7fELF GLIBC_2.4 GLIBC_2.34 GLIBC_2.17\0")
    (site / "bin").mkdir()
    (site / "bin/vortexd").write_text("#!/tmp/of/this/machine/python\n")
    (information,) = site.glob("*.dist-info")
    (information / "direct_url.json").write_text('{"url": "file:///tmp/of/this/machine"}')
    with (information / "RECORD").open("a") as record:
        record.write(f"../../bin/vortexd,sha256=a,1\n{information.name}/direct_url.json,sha256=a,1\n")
    return site


@pytest.fixture(scope="module")
def package(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(site, tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="module")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("unpacked")
    subprocess.run(["dpkg-deb", "-R", package, directory], check=True)
    return directory


@pytest.fixture(scope="module")
def members(package: Path) -> dict[str, tarfile.TarInfo]:
    listed = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True)
    with tarfile.open(fileobj=BytesIO(listed.stdout)) as archive:
        return {each.name.removeprefix("./"): each for each in archive.getmembers()}


@pytest.fixture(scope="module")
def control(unpacked: Path) -> dict[str, str]:
    lines = re.findall(r"^([\w-]+): (.*)$", (unpacked / "DEBIAN/control").read_text(), re.MULTILINE)
    return dict(lines)


def test_the_control_file_names_version_libraries_and_python(package: Path, control: dict[str, str]) -> None:
    architecture = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout
    depends = control["Depends"].split(", ")

    assert f"vortexd_{__version__}_{architecture.strip()}.deb" == package.name
    assert ("vortexd", __version__) == (control["Package"], control["Version"])
    assert [PYTHON, "libc6 (>= 2.34)"] == depends[:2]
    assert "git" in control["Recommends"]
    assert int(control["Installed-Size"]) > 1000
    assert not [value for value in control.values() if "@" in value.replace("maintainers@", "")]


def test_the_settings_are_the_only_file_of_the_administrator(
    unpacked: Path, members: dict[str, tarfile.TarInfo]
) -> None:
    below_etc = [name for name, each in members.items() if name.startswith("etc/") and each.isfile()]

    assert "/etc/vortexd/vortexd.toml\n" == (unpacked / "DEBIAN/conffiles").read_text()
    assert ["etc/vortexd/vortexd.toml"] == below_etc
    assert members["etc/vortexd/config"].isdir()


def test_the_settings_are_valid_and_serve_the_directory_of_the_package(unpacked: Path, tmp_path: Path) -> None:
    text = (unpacked / "etc/vortexd/vortexd.toml").read_text()
    settings = tmp_path / "vortexd.toml"
    settings.write_text(text.replace("/etc/vortexd/config", str(tmp_path)))
    command: list[str | Path] = [sys.executable, "-m", "vortexd", "--check", "--config", settings]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert [{"path": "/etc/vortexd/config"}] == tomllib.loads(text)["source"]
    # A reader of the file learns that a local user may do anything.
    assert "# Without [auth], every user of this machine has all rights at this address:" in text
    assert "auth" not in tomllib.loads(text)
    assert 0 == checked.returncode, checked.stderr


def test_its_files_belong_to_root_and_nobody_else_may_write_them(members: dict[str, tarfile.TarInfo]) -> None:
    assert {("root", "root")} == {(each.uname, each.gname) for each in members.values()}
    assert {0o755} == {each.mode for each in members.values() if each.isdir()}
    assert {0o644, 0o755} == {each.mode for each in members.values() if each.isfile()}
    programs = [name for name, each in members.items() if each.isfile() and each.mode == 0o755]
    assert [f"{HOME}/bin/vortexctl", f"{HOME}/bin/vortexd"] == sorted(
        name for name in programs if not name.startswith(SITE)
    )


def test_its_programs_are_on_the_path_and_run_on_the_python_of_the_system(
    unpacked: Path, members: dict[str, tarfile.TarInfo]
) -> None:
    assert f"../../../bin/{PYTHON}" == members[f"{HOME}/bin/python3"].linkname
    for name, module in (("vortexd", "vortexd.__main__"), ("vortexctl", "vortexd.ctl.cli")):
        text = (unpacked / HOME / "bin" / name).read_text()
        assert f"../lib/vortexd/bin/{name}" == members[f"usr/bin/{name}"].linkname
        assert f"#!/{HOME}/bin/python3 -I\n" == text.partition("import")[0]
        assert f"from {module} import main\n" in text
    assert "home = /usr/bin\n" in (unpacked / HOME / "pyvenv.cfg").read_text()


def test_it_has_all_that_install_units_installs(unpacked: Path) -> None:
    for path, content in contents([f"/{HOME}/bin/vortexd"]).items():
        if path.startswith("share/man/"):
            assert content == gzip.decompress((unpacked / "usr" / f"{path}.gz").read_bytes())
        elif path == "/etc/vortexd/vortexd.toml":
            assert content == (unpacked / "usr/share/doc/vortexd/vortexd.toml.example").read_bytes()
        elif path.endswith("/vortexd.service"):
            expected = content.replace(b"DynamicUser=yes\n", b"")
            assert expected == (unpacked / "usr" / path).read_bytes()
        else:
            assert content == (unpacked / "usr" / path).read_bytes()


def test_the_service_runs_as_the_user_that_the_package_makes(unpacked: Path) -> None:
    unit = (unpacked / UNITS / "vortexd.service").read_text()
    [user] = re.findall(r"^u (\w+) - ", (unpacked / "usr/lib/sysusers.d/vortexd.conf").read_text(), re.MULTILINE)

    assert f"\nUser={user}\nGroup={user}\n" in unit
    assert "DynamicUser" not in unit
    # What DynamicUser= implies is also said itself.
    for setting in (
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "PrivateTmp=yes",
        "RemoveIPC=yes",
        "NoNewPrivileges=yes",
        "RestrictSUIDSGID=yes",
    ):
        assert f"\n{setting}\n" in unit
    assert f"\nExecStart=/{HOME}/bin/vortexd --config /etc/vortexd/vortexd.toml\n" in unit


@pytest.mark.parametrize("unit", ["vortexd.service", "vortexctl-agent.service"])
def test_a_reload_needs_no_program_of_other_packages(unpacked: Path, unit: str) -> None:
    # /bin/kill is in procps, which a minimal Debian doesn't have.
    assert '\nExecReload=/bin/sh -c "kill -HUP ${MAINPID}"\n' in (unpacked / UNITS / unit).read_text()


def test_the_completion_is_that_of_vortexctl(unpacked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for shell, path in {
        "bash": "bash-completion/completions/vortexctl",
        "zsh": "zsh/vendor-completions/_vortexctl",
        "fish": "fish/vendor_completions.d/vortexctl.fish",
    }.items():
        assert 0 == cli.main(["completion", shell])
        assert capsys.readouterr().out == (unpacked / "usr/share" / path).read_text()


def test_it_is_compiled_for_its_place_and_needs_no_time_of_a_source(unpacked: Path) -> None:
    compiled = sorted((unpacked / SITE / "vortexd").rglob("*.pyc"))
    sources = sorted((unpacked / SITE / "vortexd").rglob("*.py"))

    assert len(sources) == len(compiled) > 100
    for each in compiled:
        head = each.read_bytes()
        # PEP 552: a hash that Python doesn't compare with the source.
        assert 1 == int.from_bytes(head[4:8], "little")
    assert (
        f"/{SITE}/vortexd/__init__.py".encode()
        in (unpacked / SITE / f"vortexd/__pycache__/__init__.cpython-3{sys.version_info[1]}.pyc").read_bytes()
    )


def test_no_file_names_this_machine(unpacked: Path) -> None:
    files = [path for path in unpacked.rglob("*") if path.is_file() and not path.is_symlink()]
    record = next((unpacked / SITE).glob("vortexd-*.dist-info/RECORD")).read_text()

    assert [] == [path for path in files if b"of/this/machine" in path.read_bytes()]
    assert [] == [path for path in files if str(ROOT).encode() in path.read_bytes()]
    assert "direct_url" not in record
    assert "bin/vortexd" not in record
    assert "vortexd/__init__.py," in record
    assert not (unpacked / SITE / "bin").exists()


def test_its_changelog_is_that_of_debian_and_leads_to_the_other(unpacked: Path) -> None:
    documents = unpacked / "usr/share/doc/vortexd"
    first, _, entry, _, last = gzip.decompress((documents / "changelog.gz").read_bytes()).decode().splitlines()

    assert f"vortexd ({__version__}) stable; urgency=medium" == first
    assert "  * See CHANGELOG.md.gz." == entry
    assert re.fullmatch(r" -- The vortexd maintainers <\S+>  \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000", last)
    assert (ROOT / "CHANGELOG.md").read_bytes() == gzip.decompress((documents / "CHANGELOG.md.gz").read_bytes())


def test_the_digests_are_those_of_the_files(unpacked: Path) -> None:
    subprocess.run(["md5sum", "--check", "--quiet", "DEBIAN/md5sums"], cwd=unpacked, check=True)
    listed = {line.split("  ", 1)[1] for line in (unpacked / "DEBIAN/md5sums").read_text().splitlines()}
    files = [path for path in (unpacked / "usr").rglob("*") if path.is_file() and not path.is_symlink()]

    assert {str(path.relative_to(unpacked)) for path in files} == listed


def test_two_builds_of_the_same_sources_are_equal(site: Path, package: Path, tmp_path: Path) -> None:
    copied = tmp_path / "site"
    shutil.copytree(site, copied)
    for path in copied.rglob("*"):
        os.utime(path, (1, 1))
    again = make(copied, tmp_path / "again")

    assert package.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"PYTHON": "python9.9"}, "there is no python9.9"),
        ({"PATH": "/nowhere"}, "there is no dpkg-deb; this script needs Debian or a system made of it"),
    ],
)
def test_what_it_lacks_is_said(variables: dict[str, str], reason: str, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "dirname", "realpath"):
        (programs / name).symlink_to(str(shutil.which(name)))
    given = {**os.environ, **variables}
    if "PATH" in variables:
        given["PATH"] = str(programs)
    command: list[str | Path] = ["/usr/bin/env", "bash", DEB / "build", tmp_path / "out"]
    ended = subprocess.run(command, env=given, capture_output=True, text=True, check=False)

    assert (1, f"deb: error: {reason}\n") == (ended.returncode, ended.stderr)
    assert not (tmp_path / "out").exists()


def test_the_check_of_an_upgrade_leaves_out_what_would_act_at_its_end() -> None:
    script = (DEB / "postinst").read_text()
    function = script[script.index("without_consequences() {") :].partition("\n}\n")[0]
    unit = r"""[Unit]
OnFailure=a.service
OnFailure = \
# A comment.
  b.service \
  c.service
After=d.service
; OnSuccess=e.service \
OnSuccess=f.service
FailureAction=reboot
SuccessAction=exit
StartLimitAction=reboot
[Service]
ExecStartPre=/bin/g \
OnFailure=an-argument
NotOnFailure=h
"""
    kept = r"""[Unit]
# A comment.
After=d.service
; OnSuccess=e.service \
[Service]
ExecStartPre=/bin/g \
OnFailure=an-argument
NotOnFailure=h
"""
    command = ["sh", "-c", f"{function}\n}}\nwithout_consequences"]
    done = subprocess.run(command, input=unit, capture_output=True, text=True, check=True)

    assert kept == done.stdout


@pytest.mark.parametrize(
    ("said", "starts", "expected"),
    [
        ("a problem", False, (1, "a problem\n", "")),
        (
            "",
            False,
            (1, "the reason of systemd\n", "--sync\n--no-pager -q -o cat -n 5 -u vortexd-upgrade-check.service\n"),
        ),
        ("valid", True, (0, "valid\n", "")),
        ("", True, (0, "", "")),
    ],
    ids=["refused", "not started", "accepted", "silent"],
)
def test_the_check_of_an_upgrade_keeps_its_reason(
    said: str, starts: bool, expected: tuple[int, str, str], tmp_path: Path
) -> None:
    script = (DEB / "postinst").read_text()
    functions = script[script.index("# Prints a unit") : script.index("\nstart() {")]
    functions = functions.replace("/run/systemd/system", f"{tmp_path}/system")
    (log := tmp_path / "log").write_text("of a former check\n")
    stand_ins = """
systemctl() {
    case $1 in
    cat) printf '[Service]\\nExecStart=/bin/vortexd\\n' ;;
    start) touch "$log"; [ -z "$said" ] || echo "$said" >>"$log"; cp "$unit" "$unit.seen"; $starts ;;
    esac
}
journalctl() { echo "$*" >>"$asked"; case $* in *-u*) echo 'the reason of systemd' ;; esac; }
"""
    variables = f"service=vortexd.service log={log} asked={tmp_path}/asked said='{said}' starts={str(starts).lower()}"
    command = ["sh", "-ec", f"{variables}\n{stand_ins}\n{functions}\naccepts_settings"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    asked = tmp_path / "asked"
    seen = (tmp_path / "system/vortexd-upgrade-check.service.seen").read_text()

    assert expected == (done.returncode, log.read_text(), asked.read_text() if asked.exists() else ""), done.stderr
    # What a drop-in adds beside the check is reset, and each command's output is kept.
    for reset in ("ExecCondition", "ExecStart", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost"):
        assert f"\n{reset}=\n" in seen
    assert f"\nStandardOutput=append:{log}\nStandardError=append:{log}\n" in seen
    assert not (tmp_path / "system/vortexd-upgrade-check.service").exists()


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_a_library_that_searches_in_directories_of_this_machine_is_refused(site: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(site, tmp_path / "site")
    command: list[str | Path] = ["cc", "-shared", "-nostdlib", "-Wl,-rpath,/home/me/lib", "-x", "c", os.devnull]
    subprocess.run([*command, "-o", copied / "slow.abi3.so"], check=True)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        make(copied, tmp_path / "out")

    assert "check_runpath: error: slow.abi3.so has the RUNPATH /home/me/lib\n" in refused.value.stderr
    assert "deb: error: a library searches for others in directories of this machine\n" in refused.value.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", sorted(DEB.glob("requirements-*.txt")), ids=lambda path: path.name)
def test_each_library_has_a_version_and_a_digest(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    names = {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["gate"], *extras["otel"]]
    bounded = {re.sub(r"[-_.]+", "-", re.split(r"[\[<>=;]", each)[0]).lower() for each in needed}

    assert [] == [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+ --hash=sha256:[0-9a-f]{64}", line)]
    assert lines == sorted(lines, key=lambda line: line.partition("==")[0])
    assert bounded <= names
    assert not {"vortexd", "vortexd-native", "pip", "setuptools"} & names


def test_the_long_checks_install_it() -> None:
    part = r"^ +part deb \d+ env VORTEXD_DEB=1 \.venv/bin/python -m pytest -q tests/packaging/test_deb_installed\.py$"

    assert re.search(part, (ROOT / ".ci/extended").read_text(), re.MULTILINE)
